"""The picture in an OpenEXR file: which of its layers is the beauty, and its colours as 8-bit sRGB."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import FileError
from pro_engine.io import exr
from pro_engine.io.linear import REC_709, expose, rgb_to_rgb, rgb_to_xyz
from pro_engine.io.paths import check_size
from pro_engine.types import LoadedPhoto, Panorama, Plate

_COLOURS = {"r": "r", "red": "r", "g": "g", "green": "g", "b": "b", "blue": "b", "a": "a", "alpha": "a"}
_LUMINANCE = {"y": "y", "ry": "ry", "by": "by"}

# Names of the finished picture among the layers of a render, as renderers and compositors write them.
_BEAUTY = (
    "rgba",
    "rgb",
    "combined",
    "beauty",
    "c",
    "ci",
    "composite",
    "finalimage",
    "final",
    "color",
    "colour",
    "image",
)
_LATITUDE_LONGITUDE = b"\0"  # of the attribute `envmap`; 1 is a cube
_LIKE_BEAUTY = ("beauty", "combined", "rgba")
_DATA = ("crypto", "normal", "position", "motion", "velocity", "vector", "uv", "depth", "index", "denoising")
_VIEWS = ("left", "main", "default", "center", "right")
_GENERIC_PART = re.compile(r"(part|subimage|layer|image)?[ _.-]*\d*")
_MOST_NAMES = 8


@dataclass(frozen=True)
class _Layer:
    """Channels that make a picture: `channels` maps r, g, b and a, or y, ry and by, to their names in the part."""

    part: exr.Part
    name: str
    channels: dict[str, str]
    rank: tuple[int, int] = field(default=(0, 0))

    @property
    def names(self) -> tuple[str, ...]:
        """All by which a user may call the layer, in lower case."""
        own = self.name.casefold()
        whole = f"{self.part.name}.{self.name}".strip(".").casefold()
        return own, whole, own.rpartition(".")[2], self.part.name.casefold()


def read_exr(path: Path, max_pixels: int, layer: str | None = None) -> LoadedPhoto:
    """Read the colours of an OpenEXR file, the whole data window of one layer.

    Without a name the beauty is taken, whatever it is called and in whatever part it stands: the unnamed RGB, then
    rgba, Combined, beauty, C and the like, then luminance, then any other; the default or left view before others.

    Args:
        path: the file.
        max_pixels: the largest width x height that is read.
        layer: name of a layer, a part or a single channel, in letters of any case; None: the beauty.

    Raises:
        DependencyError: the package OpenEXR is missing.
        FileError: too large, damaged, deep, without colours, or without that layer.
    """
    parts = exr.read_layout(path)
    layers = sorted(_layers(parts), key=lambda found: found.rank)
    chosen, notes = _beauty(path, parts, layers) if layer is None else (_named(path, parts, layers, layer), ())
    part = chosen.part
    check_size(path, *part.size, max_pixels)
    primaries = _primaries(part)
    linear = _linear(path, chosen, max_pixels, primaries)
    image, more = expose(linear, matrix=rgb_to_rgb(primaries))
    plate = _plate(part)
    if plate is not None and plate.data != plate.display:
        more += (_window_note(plate),)
    panorama = None
    if "envmap" in part.attributes:
        latitudes = part.attributes["envmap"][1][:1] == _LATITUDE_LONGITUDE
        panorama = Panorama("its header calls it an environment map", equirectangular=latitudes)
    return LoadedPhoto(image, plate=plate, notes=(*notes, *more), panorama=panorama)


def _layers(parts: Sequence[exr.Part]) -> Iterator[_Layer]:
    """All layers with colours or luminance, in the order of the file."""
    views = [view.casefold() for view in parts[0].texts("multiView")]
    known = {*views, *_VIEWS, *(part.view.casefold() for part in parts)} - {""}
    for part in parts:
        groups: dict[str, dict[str, str]] = {}
        for channel, how in part.channels.items():
            prefix, _, suffix = channel.rpartition(".")
            meaning = (_COLOURS | _LUMINANCE).get(suffix.casefold())
            if meaning is not None and how.dtype is not np.uint32:
                groups.setdefault(prefix, {}).setdefault(meaning, channel)
        for prefix, found in groups.items():
            wanted = "rgba" if {"r", "g", "b"} <= found.keys() else ("y", "ry", "by") if "y" in found else ()
            channels = {meaning: found[meaning] for meaning in wanted if meaning in found}
            if not channels:
                continue
            name = prefix if not part.multipart else f"{part.name}.{prefix}".strip(".")
            if prefix.casefold().startswith(part.name.casefold()):
                name = prefix
            words, view = _without_views(name, known)
            view = part.view.casefold() or view
            order = views or list(_VIEWS)
            view_rank = 0 if not view else order.index(view) if view in order else len(order)
            yield _Layer(part, name, channels, (_rank(words, grey="y" in channels), view_rank))


def _without_views(name: str, views: set[str]) -> tuple[list[str], str]:
    """The segments of a layer's name in lower case without those that name a view, and the view; "" for none."""
    found, segments = "", []
    for segment in name.casefold().split("."):
        words = [word for word in re.split(r"[ _-]+", segment) if word]
        found = next((word for word in words if word in views), found)
        segments.append("_".join(word for word in words if word not in views))
    segments = [segment for segment in segments if segment]
    return ([] if len(segments) == 1 and _GENERIC_PART.fullmatch(segments[0]) else segments), found


def _rank(segments: list[str], *, grey: bool) -> int:
    """How much a layer looks like the finished picture; less is more."""
    if not segments:
        return len(_BEAUTY) + 1 if grey else 0
    last = segments[-1]
    if last in _BEAUTY:
        return 1 + _BEAUTY.index(last)
    if any(word in last for word in _LIKE_BEAUTY):
        return len(_BEAUTY) + 2
    return len(_BEAUTY) + (4 if any(last.startswith(word) for word in _DATA) or last == "n" else 3)


def _beauty(path: Path, parts: Sequence[exr.Part], layers: Sequence[_Layer]) -> tuple[_Layer, tuple[str, ...]]:
    flat = [layer for layer in layers if not layer.part.deep]
    if layers and not flat:
        raise FileError(f"{path} is a deep EXR; flatten it (DeepToImage in Nuke) and export it again.")
    if not flat:
        names = sorted({name for part in parts for name in part.channels})
        raise FileError(f"{path} holds no colours, only {_listed(names)}; export it with RGB channels.")
    taken = flat[0]
    if len(flat) == 1:
        return taken, ()
    others = _listed([_shown(layer) for layer in flat[1:]])
    return taken, (f"The colours are those of {_shown(taken)}; the option layer takes another of {others}.",)


def _named(path: Path, parts: Sequence[exr.Part], layers: Sequence[_Layer], wanted: str) -> _Layer:
    """The layer of a name, else the single channel of that name as grey."""
    key = wanted.strip().casefold()
    for kind in range(4):  # the whole name goes before a part of it
        for layer in layers:
            if layer.names[kind] == key:
                return layer
    for part in parts:
        for channel in part.channels:
            if channel.casefold() == key:
                return _Layer(part, channel, {"y": channel})
    names = [_shown(layer) for layer in layers] + [name for part in parts for name in part.channels]
    raise FileError(f"{path} has no layer {wanted!r}; give one of {_listed(list(dict.fromkeys(names)), 40)}.")


def _shown(layer: _Layer) -> str:
    return layer.name or layer.part.name or "the unnamed layer"


def _listed(names: Sequence[str], most: int = _MOST_NAMES) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _primaries(part: exr.Part) -> tuple[float, ...]:
    """The chromaticities of red, green, blue and white, x and y of each; Rec. 709 where the file does not tell."""
    found = part.floats("chromaticities")
    if not found and (space := part.text("colorInteropID")):
        find = getattr(exr.import_openexr(), "colorInteropIDToChromaticities", lambda _: None)
        found = tuple(find(space) or ())
    sound = len(found) == 8 and all(map(math.isfinite, found)) and min(found[1::2], key=abs) != 0
    return found if sound else REC_709


def _linear(path: Path, layer: _Layer, max_pixels: int, primaries: tuple[float, ...]) -> NDArray[Any]:
    """The picture (H, W) or (H, W, 3 or 4), float16 where all is stored so, else float32."""
    part, channels = layer.part, layer.channels
    width, height = part.size
    plain = all(part.channels[name].x_sampling == part.channels[name].y_sampling == 1 for name in channels.values())
    dtype = np.result_type(*(part.channels[name].dtype for name in channels.values()), np.float16)
    if plain and "y" not in channels:
        linear = np.empty((height, width, len(channels)), dtype)
        into = {name: linear[..., place] for place, name in enumerate(channels.values())}
        exr.read_channels(path, part, list(channels.values()), max_pixels, into)
        return linear
    found = exr.read_channels(path, part, list(channels.values()), max_pixels)
    full = {key: _full_size(found[name], part.channels[name], (height, width)) for key, name in channels.items()}
    if not {"y", "ry", "by"} <= full.keys():
        return full["y"] if "y" in full else np.stack(list(full.values()), axis=-1)
    return _of_luminance_chroma(full["y"], full["ry"], full["by"], primaries)


def _full_size(values: NDArray[Any], channel: exr.Channel, shape: tuple[int, int]) -> NDArray[Any]:
    """A subsampled channel at every pixel: stored values stay where they are, those between are interpolated."""
    for axis, every in ((0, channel.y_sampling), (1, channel.x_sampling)):
        if every > 1:
            place = np.minimum(np.arange(shape[axis]) / every, values.shape[axis] - 1)
            low = place.astype(int)
            high = np.minimum(low + 1, values.shape[axis] - 1)
            share = (place - low).astype(np.float32)
            share = share[:, np.newaxis] if axis == 0 else share
            values = np.take(values, low, axis) * (1 - share) + np.take(values, high, axis) * share
    return values


def _of_luminance_chroma(
    y: NDArray[Any], ry: NDArray[Any], by: NDArray[Any], primaries: tuple[float, ...]
) -> NDArray[np.float32]:
    """RGB from luminance and chroma, as in "Technical Introduction to OpenEXR", luminance/chroma images."""
    weights = rgb_to_xyz(primaries)[1]
    rgb = np.empty((*y.shape, 3), np.float32)
    rgb[..., 0] = (ry + 1) * y
    rgb[..., 2] = (by + 1) * y
    rgb[..., 1] = (y - rgb[..., 0] * weights[0] - rgb[..., 2] * weights[2]) / weights[1]
    return rgb


def _plate(part: exr.Part) -> Plate | None:
    """Where the picture lies; None where it is the whole plate, its corner at (0, 0) and its pixels square."""
    (aspect,) = part.floats("pixelAspectRatio") or (1.0,)
    aspect = aspect if math.isfinite(aspect) and aspect > 0 else 1.0
    plate = Plate(part.data, part.display, aspect)
    width, height = part.size
    return None if plate == Plate((0, 0, width - 1, height - 1), (0, 0, width - 1, height - 1)) else plate


def _window_note(plate: Plate) -> str:
    (width, height), (full_width, full_height) = exr.size_of(plate.data), exr.size_of(plate.display)
    x, y = plate.data[0] - plate.display[0], plate.data[1] - plate.display[1]
    return (
        f"The file holds {width} x {height} pixels from ({x}, {y}) of a plate of {full_width} x {full_height}: maps "
        "have the same pixels, and those in EXR lie on the plate."
    )
