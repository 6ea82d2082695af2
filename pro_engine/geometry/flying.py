"""Flying points: pixels whose depth hangs between two surfaces, as learned and measured maps have them at outlines."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pro_engine.errors import InputError
from pro_engine.geometry.checks import as_map, check_positive
from pro_engine.options import GeometryOptions
from pro_engine.types import BoolMap, FloatMap

# The inverse depth of a plane is straight in the image: twice the window has twice the range. A step has the same.
# Of the growth that a plane would have, this much is asked; at the border of the image windows grow less.
PLANAR_GROWTH = 0.875
NOISE_SIGMAS = 5.0  # range of the noise within a window
MAX_NOISE_SAMPLES = 1 << 17


def flying_points(depth: ArrayLike, *, rtol: float = GeometryOptions.edge_rtol, radius_px: int = 5) -> BoolMap:
    """Pixels that belong neither to the nearest nor to the farthest surface around them, where both are apart.

    A pixel flies when the depths within `radius_px` reach from more than `rtol` in front of it to more than `rtol`
    behind it, unless the inverse depth goes on in the same slope around, as it does on a slanted plane. Even noise is
    allowed for. Thin things are kept: they are the nearest surface where they are.

    Args:
        depth: (H, W) metres (any unit: the test is relative); +inf is a surface infinitely far, NaN and values up to 0
            are unknown and neither fly nor make others fly.
        rtol: relative difference in depth up to which two pixels are of one surface, above 0.
        radius_px: half the width of the slopes that outlines have, in pixels, at least 1.

    Returns:
        (H, W) bool.

    Raises:
        InputError: a map of a wrong kind, a bad `rtol` or radius.
    """
    z = as_map(depth, "depth")
    check_positive(rtol, "rtol", "relative step in depth")
    if not isinstance(radius_px, int) or isinstance(radius_px, bool) or radius_px < 1:
        raise InputError(f"radius_px is {radius_px!r}; give a whole number from 1.")
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.divide(np.float32(1), z, dtype=np.float32)
    known = inverse >= 0
    known &= z > 0
    everywhere = bool(known.all())
    window = _window(radius_px)
    nearest = _largest(inverse if everywhere else np.where(known, inverse, np.float32(-1)), window)
    farthest = _smallest(inverse if everywhere else np.where(known, inverse, np.float32(np.inf)), window)
    noise = _relative_noise(inverse)
    apart = np.float32(1 + rtol + noise)
    with np.errstate(over="ignore"):  # without a neighbour that is known, the farthest is beyond all numbers
        flying: BoolMap = inverse * apart < nearest
        flying &= farthest * apart < inverse
    flying &= known
    if flying.any():
        flying &= ~_goes_on(nearest, farthest, radius_px, np.float32(noise) * inverse)
    return flying


def _largest(values: FloatMap, window: NDArray[np.uint8]) -> FloatMap:
    return np.asarray(cv2.dilate(values, window), dtype=np.float32)


def _smallest(values: FloatMap, window: NDArray[np.uint8]) -> FloatMap:
    return np.asarray(cv2.erode(values, window), dtype=np.float32)


def _window(radius_px: int) -> NDArray[np.uint8]:
    return np.ones((2 * radius_px + 1, 2 * radius_px + 1), dtype=np.uint8)


def _goes_on(nearest: FloatMap, farthest: FloatMap, radius_px: int, noise: FloatMap) -> BoolMap:
    """Whether the range of inverse depth grows with the window as on a plane."""
    window = _window(radius_px)
    span = nearest - farthest
    wide = _largest(nearest, window)
    wide -= _smallest(farthest, window)
    wide -= noise
    span -= noise
    height, width = span.shape
    span *= np.minimum(_growth(height, radius_px)[:, None], _growth(width, radius_px))
    grows: BoolMap = wide > np.float32(PLANAR_GROWTH) * span
    return grows


def _growth(size: int, radius_px: int) -> NDArray[np.float32]:
    """By how much a window of twice the radius is longer along an axis of so many pixels (N,): 2, less at its ends."""
    before = np.arange(size, dtype=np.float32)
    after = before[::-1]
    narrow, wide = (np.minimum(before, reach) + np.minimum(after, reach) for reach in (radius_px, 2 * radius_px))
    return wide / np.maximum(narrow, 1) if size > 1 else np.full(1, 2, dtype=np.float32)


def _relative_noise(inverse: FloatMap) -> float:
    """Range of the even noise of a map within a window, relative to its values, from how far pixels of a sample are off
    the middle between their neighbours; 0 for a smooth map."""
    step = max(1, inverse.size // MAX_NOISE_SAMPLES)
    rows = inverse[::step]
    if rows.shape[1] < 3:
        return 0.0
    middle = rows[:, 1:-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.abs(middle - 0.5 * (rows[:, :-2] + rows[:, 2:])) / middle
    off = off[np.isfinite(off)]
    if not off.size:
        return 0.0
    # The median of |n - (n1 + n2) / 2| of normal noise is 0.826 of its standard deviation.
    return NOISE_SIGMAS * float(np.median(off)) / 0.826
