"""Depth and disparity maps in files; the quantity and its unit travel in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import FileError, InputError
from pro_engine.io.atomic import atomic_path
from pro_engine.io.depth_formats import READERS, WRITERS, Coding, Header, read_exr_map
from pro_engine.io.paths import (
    MAX_PIXELS,
    PathLike,
    as_path,
    check_max_pixels,
    checked_metadata,
    decoding,
    readable_file,
    writer_for,
)
from pro_engine.types import FloatMap, Plate

__all__ = ["DEPTH_SUFFIXES", "DepthInfo", "load_depth", "save_depth"]

Quantity = Literal["depth", "disparity", "unknown"]
Unit = Literal["m", "relative", "unknown"]

DEPTH_SUFFIXES = frozenset(WRITERS)
"""Suffixes, in lower case, of the files that `save_depth` writes and `load_depth` reads."""

_UNITS: dict[str, Unit] = {"depth": "m", "disparity": "relative", "unknown": "unknown"}
_VERSION = 1


@dataclass(frozen=True)
class DepthInfo:
    """What the values of a map are.

    quantity: "depth" (z in metres), "disparity" (relative, larger is nearer) or "unknown" (a bare file of floats).
    unit: "m", "relative" or "unknown". metadata: what `save_depth` was given.
    """

    quantity: Quantity
    unit: Unit
    metadata: dict[str, Any] = field(default_factory=dict)


def save_depth(
    path: PathLike,
    values: FloatMap,
    *,
    quantity: Literal["depth", "disparity"] = "depth",
    metadata: Mapping[str, Any] | None = None,
    plate: Plate | None = None,
    channel: str | None = None,
    half: bool = False,
    far_m: float | None = None,
    step_m: float | None = None,
) -> None:
    """Write a map atomically, in the format of the suffix.

    | suffix       | values                          | quantity, unit and metadata                             |
    |--------------|---------------------------------|---------------------------------------------------------|
    | .npy         | float32, bit for bit            | a second array (text) in the same file                  |
    | .npz         | float32, bit for bit            | the entry `info` beside the entry `depth` / `disparity` |
    | .exr         | float32, bit for bit            | the attribute `pro_engine`                              |
    | .tiff, .tif  | float32, bit for bit            | ImageDescription                                        |
    | .pfm         | float32, bit for bit            | NAME.pfm.json beside it, as PFM has no room for a text  |
    | .png         | 16 bits, quantised              | the text chunk `pro_engine`                             |

    Other programs read the bare map (`np.load` gives it from an .npy). In an .exr disparity is the channel Y and depth
    the channel Z. In a .png a value is offset + step * code and the code 0 is none. Depth is millimetres (16UC1 of REP
    118), or has a step of 2, 5, 10, 20, ... of them, the first that reaches the farthest point; sky is 0 too. Disparity
    uses 1 to 65534 between its least and greatest value, and 65535 is +inf. Loading is off by half a step at most (by a
    whole one for a depth below half a step, which has no code of its own).

    Args:
        path: a file with one of these suffixes.
        values: (H, W) floats; depth in metres, or relative disparity. NaN is unknown, +inf infinitely far.
        quantity: what the values are.
        metadata: further facts to store, plain JSON.
        plate: where the map lies on its plate, which .exr alone can tell.
        channel: name of the depth in .exr, instead of Z.
        half: 16-bit floats in .exr.
        far_m: in .exr, the depth in metres of what has none, NaN and +inf alike, instead of these; a channel `valid`
            of 1 and 0 tells which it is, by which loading gives NaN.
        step_m: in .png, the step of depth in metres; what it does not reach is 0.

    Raises:
        FileError: an unknown suffix, or the system refuses.
        InputError: not an (H, W) array of floats, a negative depth, a plate or number that cannot be, or bad metadata.
        DependencyError: .exr without the package OpenEXR.
    """
    target = as_path(path)
    writer = WRITERS[writer_for(target, WRITERS, "a map")]
    if quantity not in ("depth", "disparity"):
        raise InputError(f"quantity is {quantity!r}; give 'depth' or 'disparity'.")
    header: Header = {
        "pro_engine_depth": _VERSION,
        "quantity": quantity,
        "unit": _UNITS[quantity],
        "metadata": checked_metadata(metadata),
    }
    floats = _checked_values(values, quantity)
    coding = _checked_coding(Coding(plate, channel, half, far_m, step_m), floats)
    with atomic_path(target) as temporary:
        writer(temporary, floats, header, target, coding)


def _checked_coding(coding: Coding, values: FloatMap) -> Coding:
    """`coding`, or InputError."""
    size, plate = values.shape[::-1], coding.plate
    if plate is not None and plate.size != size:
        raise InputError(f"The map is {size} but the plate {plate.size} (width, height); give its own.")
    for name, number in (("far_m", coding.far_m), ("step_m", coding.step_m)):
        if number is not None and not 0 < number < np.inf:
            raise InputError(f"{name} is {number!r}; give metres above 0.")
    if coding.channel in ("", "valid"):
        raise InputError(f"channel is {coding.channel!r}; give the name of a channel, such as Z or depth.Z.")
    return coding


def _checked_values(values: NDArray[Any], quantity: str) -> FloatMap:
    """`values` as contiguous float32 (no copy where they are), or InputError."""
    if not isinstance(values, np.ndarray) or not np.issubdtype(values.dtype, np.floating) or values.ndim != 2:
        found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise InputError(f"The {quantity} map is {found}; give a float32 array of shape (H, W).")
    if values.size == 0:
        raise InputError(f"The {quantity} map has the shape {values.shape}, no pixels; give at least 1 x 1.")
    least = np.fmin.reduce(values, axis=None)
    if quantity == "depth" and least < 0:
        raise InputError(f"The depth map has negative values (least {least:g} m); mark unknown depth as NaN.")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def load_depth(path: PathLike, *, layer: str | None = None, max_pixels: int = MAX_PIXELS) -> tuple[FloatMap, DepthInfo]:
    """Read a map that `save_depth` wrote, or the plain file of a sensor or another program.

    A plain map of 16-bit whole numbers is depth in millimetres with 0 = none (REP 118); it comes back in metres.
    A plain map of floats has the quantity and unit "unknown". The suffix decides the format.

    Args:
        path: a file with a suffix of `DEPTH_SUFFIXES`.
        layer: of an .exr with several depths: name of the channel, layer or part of the one to read, in letters of any
            case. It changes nothing where the file has a single depth, or none in a layer of that name.
        max_pixels: the largest width x height that is read; the size is checked before the values are.

    Returns:
        (H, W) float32 and what it is.

    Raises:
        FileError: missing, empty, damaged, too large, an unknown suffix, or not one map (an 8-bit picture, colours).
        DependencyError: .exr without the package OpenEXR.
        InputError: `path` is not a path, or `max_pixels` is not a whole number above 0.
    """
    check_max_pixels(max_pixels)
    reader = READERS[writer_for(as_path(path), READERS, "a map")]
    source = readable_file(path)
    with decoding(source, f"{source.suffix} depth map", "copy or save it again"):
        if layer is not None and reader is read_exr_map:
            values, header = read_exr_map(source, max_pixels, layer)
        else:
            values, header = reader(source, max_pixels)
    if values.ndim != 2 or values.size == 0:
        raise FileError(f"{source} holds an array of shape {values.shape}, not one (H, W) map; export a single map.")
    if header is not None:
        return _as_float_map(values), _info_of(header, str(source))
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        metres = _as_float_map(values)
        metres[metres == 0] = np.nan
        metres /= 1000
        return metres, DepthInfo("depth", "m")
    if values.dtype.kind == "f":
        return _as_float_map(values), DepthInfo("unknown", "unknown")
    raise FileError(f"{source} holds {values.dtype} values, not depth; give floats or 16-bit millimetres.")


def _as_float_map(values: NDArray[Any]) -> FloatMap:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def _info_of(header: Header, source: str) -> DepthInfo:
    """The DepthInfo of a header read from a file, or FileError where this version cannot know what it says."""
    version, quantity, metadata = header.get("pro_engine_depth"), str(header.get("quantity")), header.get("metadata")
    if version != _VERSION:
        raise FileError(f"{source} has a header of version {version!r}, not {_VERSION}; update pro-engine to read it.")
    unit = _UNITS.get(quantity, "unknown")
    if unit == "unknown" or header.get("unit") != unit or not isinstance(metadata, dict):
        raise FileError(f"{source} has a damaged header; save it again with save_depth.")
    return DepthInfo("depth" if unit == "m" else "disparity", unit, metadata)
