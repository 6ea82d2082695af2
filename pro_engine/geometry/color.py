"""Numbers to colours, for people to look at; never a format to store depth in."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pro_engine.errors import InputError
from pro_engine.geometry.checks import as_map
from pro_engine.types import FloatMap, ImageArray, is_finite_number

COLOR_MAPS: dict[str, int | None] = {
    "turbo": cv2.COLORMAP_TURBO,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "magma": cv2.COLORMAP_MAGMA,
    "inferno": cv2.COLORMAP_INFERNO,
    "plasma": cv2.COLORMAP_PLASMA,
    "cividis": cv2.COLORMAP_CIVIDIS,
    "gray": None,
}
LOW_PERCENTILE, HIGH_PERCENTILE = 0.5, 99.5
MAX_SAMPLES = 1_000_000


def colorize(
    values: ArrayLike,
    *,
    cmap: str = "turbo",
    low: float | None = None,
    high: float | None = None,
    invalid: Sequence[int] = (0, 0, 0),
) -> ImageArray:
    """A picture of a map.

    Args:
        values: (H, W); +inf takes the colour of `high`, -inf that of `low`, NaN the colour `invalid`.
        cmap: a name of `COLOR_MAPS`.
        low: the value of the first colour; by default the 0.5th percentile of the finite values.
        high: the value of the last colour; by default the 99.5th percentile.
        invalid: red, green, blue from 0 to 255 for NaN.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: an unknown colour map, `low` not below `high`, a bad colour, or a map without a finite value.
    """
    array = as_map(values, "values")
    table = _color_table(cmap)
    nan_color = _check_color(invalid)
    low, high = _limits(array, low, high)
    with np.errstate(invalid="ignore"):
        index = (array - np.float32(low)) * np.float32(255.0 / (high - low)) + np.float32(0.5)
    np.clip(index, 0, 255, out=index)
    unknown = np.isnan(index)
    index[unknown] = 0
    picture: ImageArray = table[index.astype(np.uint8)]
    picture[unknown] = nan_color
    return picture


def _color_table(cmap: str) -> NDArray[np.uint8]:
    """(256, 3) RGB."""
    if cmap not in COLOR_MAPS:
        raise InputError(f"cmap is {cmap!r}; give one of {', '.join(COLOR_MAPS)}.")
    ramp = np.arange(256, dtype=np.uint8)
    code = COLOR_MAPS[cmap]
    if code is None:
        return np.repeat(ramp[:, None], 3, axis=1)
    bgr = np.asarray(cv2.applyColorMap(ramp[:, None], code), dtype=np.uint8)  # (256, 1, 3)
    return np.ascontiguousarray(bgr[:, 0, ::-1])


def _check_color(color: Sequence[int]) -> NDArray[np.uint8]:
    channels = np.asarray(color)
    if channels.shape != (3,) or channels.dtype.kind not in "iu" or channels.min() < 0 or channels.max() > 255:
        raise InputError(f"invalid is {color!r}; give red, green and blue, whole numbers from 0 to 255.")
    return channels.astype(np.uint8)


def _limits(array: FloatMap, low: float | None, high: float | None) -> tuple[float, float]:
    """`low` and `high`, those missing from the percentiles of the finite values; an even map gets a span of 1."""
    for name, value in (("low", low), ("high", high)):
        if value is not None and not is_finite_number(value):
            raise InputError(f"{name} is {value!r}; give a finite number, or None to take it from the map.")
    if low is None or high is None:
        step = max(1, int((array.size / MAX_SAMPLES) ** 0.5))
        finite = array[::step, ::step]
        finite = finite[np.isfinite(finite)]
        if finite.size == 0:
            finite = array[np.isfinite(array)]
        if finite.size == 0:
            raise InputError("values has no finite number to take its range from; give low and high.")
        found_low, found_high = np.percentile(finite, (LOW_PERCENTILE, HIGH_PERCENTILE))
        if low is None and high is None and found_low == found_high:
            return float(found_low) - 0.5, float(found_high) + 0.5
        low = float(found_low) if low is None else low
        high = float(found_high) if high is None else high
    if not low < high:
        raise InputError(f"low is {low:g} and high {high:g}; give a low below the high.")
    return float(low), float(high)
