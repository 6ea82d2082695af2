"""The formats of depth maps, one writer and one reader each, in two tables by suffix.

A writer takes (temporary path to fill, (H, W) contiguous float32, header, final path, coding). A reader takes (path,
pixel limit) and returns the stored array and the header, or None where the file has none. The header is a small JSON
object with the key `pro_engine_depth`. What a reader raises over a damaged file is put into words by `load_depth`.
"""

from __future__ import annotations

import json
import re
import threading
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import DependencyError, FileError, InputError
from pro_engine.io import exr, pictures, png, tiff
from pro_engine.io.atomic import atomic_path
from pro_engine.io.heif_depth import read_heif_depth
from pro_engine.io.paths import check_size, writing_failed
from pro_engine.types import FloatMap, Plate

Header = dict[str, Any]

_PARSING = threading.Lock()
"""NumPy parses the header of an array with `ast`, and CPython 3.11 counts nested nodes for all threads together: where
two parse at once, one may fail, or the program."""


@dataclass(frozen=True)
class Coding:
    """How a map is written, where its format leaves a choice; as `save_depth` takes it."""

    plate: Plate | None = None
    channel: str | None = None
    half: bool = False
    far_m: float | None = None
    step_m: float | None = None


Loaded = tuple[NDArray[Any], Header | None]

_STRIP_VALUES = 1 << 22
_CACHED_VALUES = 1 << 16
_MARK = "pro_engine"
_KEY = "pro_engine_depth"
_PNG_NONE, _PNG_FIRST, _PNG_LAST = 0, 1, 65535
_PNG_INFINITE = 65535  # of disparity alone, whose last code is the one before
_MILLIMETRE = 0.001
_LONGEST_TEXT = 1 << 24


def _to_text(header: Header) -> str:
    return json.dumps(header)


def _to_header(text: object) -> Header | None:
    """The header in a text from a file; None where the text is something else."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    try:
        header = json.loads(text) if isinstance(text, str) and _KEY in text else None
    except ValueError:
        return None
    return header if isinstance(header, dict) and _KEY in header else None


def _row_strips(height: int, width: int) -> list[slice]:
    """Rows whose values, as they are worked on, stay in the processor's cache."""
    step = max(1, _CACHED_VALUES // width)
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


# .npy: the map, then a second array with the header; np.load of the file gives the first


def _write_npy(path: Path, values: FloatMap, header: Header, _target: Path, _coding: Coding) -> None:
    with open(path, "wb") as file:
        for array in (values, np.array(_to_text(header))):
            # np.save writes past Python, and its error on a full disk does not say that it is full.
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(array.data)


def _read_npy(path: Path, max_pixels: int) -> Loaded:
    with open(path, "rb") as file:
        values = _read_array(file, path, max_pixels)
        return values, _to_header(_read_text(file))


def _read_array(file: IO[bytes], path: Path, max_pixels: int) -> NDArray[Any]:
    """One array in NumPy's format, its shape checked before its values are read; `file` must seek."""
    start = file.tell()
    shape, _, dtype = _read_array_header(file)
    if dtype.kind not in "biuf":
        raise FileError(f"{path} holds {dtype.name} values, not depth; give floats or 16-bit millimetres.")
    if len(shape) == 2:
        check_size(path, shape[1], shape[0], max_pixels)
    elif np.prod(shape, dtype=np.float64) > max_pixels:
        raise FileError(f"{path} holds an array of shape {shape}, not one (H, W) map; export a single map.")
    file.seek(start)
    with _PARSING:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _read_array_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of the array that follows in the file."""
    is_first = np.lib.format.read_magic(file) == (1, 0)
    read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
    with _PARSING:
        return read(file)


def _read_text(file: IO[bytes]) -> object:
    """The text in the array that follows in the file; None where nothing or something else follows."""
    start = file.tell()
    if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
        return None
    file.seek(start)
    shape, _, dtype = _read_array_header(file)
    if shape != () or dtype.kind not in "SU" or dtype.itemsize > _LONGEST_TEXT:
        return None
    file.seek(start)
    with _PARSING:
        return np.lib.format.read_array(file, allow_pickle=False).item()


# .npz: the entries `depth` or `disparity`, and `info`


def _write_npz(path: Path, values: FloatMap, header: Header, _target: Path, _coding: Coding) -> None:
    # Stored: noise in the low bits leaves a deflated map three quarters of its size, for ten times the time.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in (("info", np.array(_to_text(header))), (header["quantity"], values)):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _read_npz(path: Path, max_pixels: int) -> Loaded:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        header = None
        if "info" in names:
            with archive.open("info.npy") as entry:
                header = _to_header(_read_text(entry))
        if header is not None:
            name = str(header.get("quantity"))
        elif len(names) == 1:
            name = names[0]
        else:
            raise FileError(f"{path} holds the entries {names}, not one map; save the map alone.")
        with archive.open(f"{name}.npy") as entry:
            return _read_array(entry, path, max_pixels), header


# .png: 16 bits, value = offset + step * code


def png_reach(step_m: float) -> float:
    """The farthest depth in metres that a 16-bit PNG of this step holds."""
    return step_m * _PNG_LAST


def png_step(reach_m: float) -> float:
    """The step in metres of a 16-bit PNG of depth: a millimetre, or the first of 2, 5, 10, ... that reaches so far."""
    exponent = 0
    while png_reach(_millimetres(exponent) * _MILLIMETRE) < reach_m:
        exponent += 1
    return _millimetres(exponent) * _MILLIMETRE


def _png_scale(values: FloatMap, quantity: str, path: Path) -> tuple[float, float, list[float]]:
    """(offset, step, [least, greatest] finite value) by which a map is quantised."""
    least, greatest = np.inf, -np.inf
    for rows in _row_strips(*values.shape):
        strip = values[rows]
        if np.isneginf(strip).any():
            raise InputError(f"The map has -inf, for which {path} has no code; use .npz or .exr.")
        finite = strip[np.isfinite(strip)]
        if finite.size:
            least, greatest = min(least, float(finite.min())), max(greatest, float(finite.max()))
    if least > greatest:
        return 0.0, _MILLIMETRE, []
    if quantity == "disparity":
        step = (greatest - least) / (_PNG_INFINITE - 1 - _PNG_FIRST) or 1.0
        return least - step * _PNG_FIRST, step, [least, greatest]
    return 0.0, png_step(greatest), [least, greatest]


def _millimetres(index: int) -> int:
    """1, 2, 5, 10, 20, 50, ... for index 0, 1, 2, ..."""
    return int((1, 2, 5)[index % 3] * 10 ** (index // 3))


def _write_png(path: Path, values: FloatMap, header: Header, target: Path, coding: Coding) -> None:
    is_depth = header["quantity"] == "depth"
    offset, step, limits = _png_scale(values, header["quantity"], target)
    step = coding.step_m if is_depth and coding.step_m is not None else step
    told = {"offset": offset, "step": step, "none": _PNG_NONE, "range": limits}
    told |= {} if is_depth else {"infinite": _PNG_INFINITE}
    last, beyond = (_PNG_LAST, _PNG_NONE) if is_depth else (_PNG_INFINITE - 1, _PNG_INFINITE)

    def codes(rows: slice) -> NDArray[np.uint16]:
        found = np.empty((rows.stop - rows.start, values.shape[1]), dtype=np.uint16)
        for part in _row_strips(*found.shape):
            strip = values[rows][part].astype(np.float64)
            unknown, infinite = np.isnan(strip), np.isinf(strip)
            if is_depth:
                infinite |= np.rint(strip / step) > last
            strip[unknown | infinite] = offset
            found[part] = np.clip(np.rint((strip - offset) / step), _PNG_FIRST, last)
            found[part][unknown] = _PNG_NONE
            found[part][infinite] = beyond
        return found

    png.write_grey16(path, (values.shape[0], values.shape[1]), codes, {_MARK: _to_text({**header, "png": told})})


def _read_png(path: Path, max_pixels: int) -> Loaded:
    with pictures.opened(path, max_pixels, ("PNG",), "copy or save it again") as picture:
        if not picture.mode.startswith("I"):
            raise FileError(f"{path} is a picture of mode {picture.mode}, not a 16-bit depth map; give the depth file.")
        picture.load()
        header = _to_header(picture.info.get(_MARK))
        width, height = picture.size
        table = None if header is None else _png_table(header)
        values = np.empty((height, width), dtype=np.uint16 if table is None else np.float32)
        for rows, strip in pictures.strips(picture):
            codes = np.asarray(strip).astype(np.uint16)
            values[rows] = codes if table is None else table[codes]
        return values, header


def _png_table(header: Header) -> FloatMap:
    """The value of each of the 65536 codes."""
    offset, step = float(header["png"]["offset"]), float(header["png"]["step"])
    table = (offset + step * np.arange(65536)).astype(np.float32)
    table[_PNG_NONE] = np.nan
    if "infinite" in header["png"]:
        table[_PNG_INFINITE] = np.inf
    return table


# .exr: one channel, Y for disparity, which every program shows as grey, and Z for depth, as compositors call it


def _write_exr(path: Path, values: FloatMap, header: Header, target: Path, coding: Coding) -> None:
    openexr = exr.import_openexr()
    name, channels = "Y", {"Y": values}
    if header["quantity"] == "depth":
        name = coding.channel or "Z"
        channels = {name: values}
        if coding.far_m is not None:
            valid = np.isfinite(values)
            channels = {name: np.where(valid, values, np.float32(coding.far_m)), _VALID: valid.astype(np.float32)}
        header = {**header, "exr": {"channel": name, "valid": _VALID if coding.far_m is not None else None}}
    if coding.half:
        with np.errstate(over="ignore"):
            channels = {key: channel.astype(np.float16) for key, channel in channels.items()}
    attributes = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage, _MARK: _to_text(header)}
    if coding.plate is not None:
        data, display = coding.plate.data, coding.plate.display
        attributes |= {"dataWindow": (data[:2], data[2:]), "displayWindow": (display[:2], display[2:])}
        attributes["pixelAspectRatio"] = coding.plate.pixel_aspect
    try:
        openexr.File(attributes, channels).write(str(path))
    except (RuntimeError, ValueError) as error:
        raise writing_failed(target, error) from error


_VALID = "valid"
# How likely a channel is to hold depth, by the end of its name; colours never do, others where they are alone.
_EXR_NAMES = {"z": 0, "depth": 0, "y": 1, "v": 1, **dict.fromkeys(("r", "g", "b", "a", "red", "green", "blue"), 3)}
_EXR_OTHER = 2


def read_exr_map(path: Path, max_pixels: int, layer: str | None = None) -> Loaded:
    """As the readers of the table; of several depths the one in `layer`, as `load_depth` says."""
    parts = exr.read_layout(path)
    header = _to_header(parts[0].text(_MARK))
    if header is not None and "exr" in header:
        return _read_own_exr(path, parts[0], header, max_pixels), header
    channels = [(part, name) for part in parts for name in part.channels]
    ranks = [_EXR_NAMES.get(name.rpartition(".")[2].casefold(), _EXR_OTHER) for _, name in channels]
    chosen = [channel for channel, rank in zip(channels, ranks, strict=True) if rank == min(ranks, default=0)]
    if layer is not None:
        key, maps = layer.strip().casefold(), zip(channels, ranks, strict=True)
        exact = [channel for channel, rank in maps if rank in (0, _EXR_OTHER) and channel[1].casefold() == key]
        chosen = exact or [channel for channel in chosen if exr.is_in_layer(*channel, key)] or chosen
    if len(chosen) != 1 or (len(channels) > 1 and min(ranks) > _EXR_OTHER):
        names = ", ".join(name for _, name in channels)
        raise FileError(f"{path} holds the channels {names}, not one map; name its layer or export it alone.")
    part, name = chosen[0]
    return exr.read_channels(path, part, [name], max_pixels)[name], header


def _read_own_exr(path: Path, part: exr.Part, header: Header, max_pixels: int) -> NDArray[Any]:
    """The channel that the header names; NaN where the one beside it says that it has no depth."""
    name, beside = header["exr"]["channel"], header["exr"]["valid"]
    found = exr.read_channels(path, part, [name, *([beside] if beside else [])], max_pixels)
    values: NDArray[Any] = found[name]
    if beside:
        values[found[beside] == 0] = np.nan
    return values


# .tiff


def _write_tiff(path: Path, values: FloatMap, header: Header, _target: Path, _coding: Coding) -> None:
    tifffile = _import_tifffile()
    with tifffile.TiffWriter(path, bigtiff=values.nbytes > 1 << 31) as file:
        file.write(
            values,
            description=_to_text(header),
            metadata=None,
            photometric="minisblack",
            rowsperstrip=max(1, _STRIP_VALUES // values.shape[1]),
        )


def _read_tiff(path: Path, max_pixels: int) -> Loaded:
    with _import_tifffile().TiffFile(path) as file:
        page = file.pages.first
        tiff.check_page(path, page, max_pixels)
        values = tiff.samples_of(path, page, page.samplesperpixel)
        return values[..., 0] if page.samplesperpixel == 1 else values, _to_header(page.description)


def _import_tifffile() -> Any:
    try:
        import tifffile
    except ImportError as error:
        raise DependencyError("TIFF depth maps need the package tifffile; run: pip install tifffile") from error
    return tifffile


# .pfm: rows from the bottom up; the header in a file beside it, with the checksum of the values that it is about


def pfm_side_file(path: Path) -> Path:
    """The file beside a .pfm with its header."""
    return path.with_name(path.name + ".json")


def _write_pfm(path: Path, values: FloatMap, header: Header, target: Path, _coding: Coding) -> None:
    upwards = np.ascontiguousarray(values[::-1], "<f4")
    with open(path, "wb") as file:
        file.write(b"Pf\n%d %d\n-1.0\n" % values.shape[::-1])
        file.write(upwards.data)
    with atomic_path(pfm_side_file(target)) as beside:
        beside.write_text(json.dumps({**header, "crc32": zlib.crc32(upwards.data)}, indent=1), encoding="utf-8")


def _read_pfm(path: Path, max_pixels: int) -> Loaded:
    with open(path, "rb") as file:
        head = re.match(rb"(P[Ff])\s+(\d{1,9})\s+(\d{1,9})\s+([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s", file.read(256))
        if head is None or head[1] == b"PF":
            kind = "a colour PFM file, not a map" if head else "not a PFM file"
            raise FileError(f"{path} is {kind}; give a PFM file that starts with 'Pf'.")
        width, height = int(head[2]), int(head[3])
        check_size(path, width, height, max_pixels)
        file.seek(head.end())
        values = np.fromfile(file, "<f4" if head[4].startswith(b"-") else ">f4", width * height)
    if len(values) < width * height:
        raise FileError(f"{path} is truncated ({width} x {height} values announced); copy it again.")
    try:
        header = _to_header(pfm_side_file(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        header = None
    known = header is not None and header.get("crc32") == zlib.crc32(values.data)
    return values.reshape(height, width)[::-1], header if known else None


WRITERS: dict[str, Callable[[Path, FloatMap, Header, Path, Coding], None]] = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".png": _write_png,
    ".exr": _write_exr,
    ".tiff": _write_tiff,
    ".tif": _write_tiff,
    ".pfm": _write_pfm,
}
READERS: dict[str, Callable[[Path, int], Loaded]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".png": _read_png,
    ".exr": read_exr_map,
    ".tiff": _read_tiff,
    ".tif": _read_tiff,
    ".pfm": _read_pfm,
    **dict.fromkeys((".heic", ".heif", ".hif"), read_heif_depth),
}
