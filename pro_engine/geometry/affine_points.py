"""Affine points: a point map (H, W, 3) in the camera frame, right up to a scale and a shift along z. From them the lens
that they were seen through, and the shift.

A point at (x, y, z + shift) must project to its own pixel. With the focal length f unknown, the error
|f q - d|^2 over q = (x, y) / (z + shift), with d the pixel's place from the centre, is least at f = sum(q d) / sum(q q)
for every shift, so one unknown is left and no solver is needed: shifts are scanned, then the best bracket is refined.
The problem is that of Wang et al., "MoGe", CVPR 2025; their code stops its solver early, this one goes to the optimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import InputError
from pro_engine.geometry.checks import as_mask, check_intrinsics
from pro_engine.types import BoolMap, Intrinsics

Floats = NDArray[np.float64]

_SAMPLES_PER_SIDE = 64
_SCANNED = 200
_EXPONENTS = (-3.0, 3.0)  # shifts reach from 10^-3 to 10^3 times the median z beyond the nearest sample
_REFINEMENTS = 32
_GOLDEN = (math.sqrt(5) - 1) / 2
_LEAST_COSINE = 0.9  # between the points' slopes and the pixels' places: below that they are no camera's view
_TOLERANCE = 0.02  # of the pixels' distance from the centre: what the points of a good network may be off by
_LENS_RANGE = 1.9  # focal lengths further apart than this factor, all within the tolerance, tell no lens


def find_lens(
    points: NDArray[np.float32], valid: BoolMap | None = None, *, photo: tuple[int, int] | None = None
) -> tuple[Intrinsics | None, str]:
    """The centred lens with square pixels that affine points were seen through, or None and why not.

    A lens is told only where the points do tell it: one view of a flat wall fits a long lens as well as a wide one.

    Args:
        points: (H, W, 3), a grid over the whole photo.
        valid: (H, W), which of them are to be used; None for all.
        photo: height and width of the photo in pixels, which are square; None for those of the grid.

    Returns:
        The lens in pixels of the photo and "", or None and a sentence.

    Raises:
        InputError: arrays of other shapes or kinds.
    """
    samples, rows, columns = _sampled(points, valid)
    height, width = photo or points.shape[:2]
    if len(samples) < 2:
        return None, "The lens cannot be told: fewer than two samples of the view have a finite depth."
    rows, columns = (rows + 0.5) / points.shape[0] - 0.5, (columns + 0.5) / points.shape[1] - 0.5
    places = np.stack([columns * width, rows * height], 1) / (math.hypot(width, height) / 2)  # (N, 2) half diagonals
    products = _products(samples, places)
    total = float((places**2).sum())

    def error(shifts: Floats) -> Floats:
        """1 less the cosine squared, with its sign: the share of `total` that the best focal length leaves over."""
        along, squared = products(shifts)
        return 1 - along * np.abs(along) / (squared * total)

    best, shifts = _least(error, samples[:, 2])
    least = float(error(best)[0])
    if not least < 1 - _LEAST_COSINE**2:
        return None, "The lens cannot be told: the model's points are not where any lens would see them."
    along, squared = products(np.append(shifts, best))
    near = error(shifts) <= least + max(_TOLERANCE**2, least / 4)
    focals = (along / squared)[np.append(near, True)]
    half_width = width / math.hypot(width, height)
    if focals.max() > _LENS_RANGE * focals.min():
        wide, narrow = (math.degrees(2 * math.atan(half_width / f)) for f in (focals.min(), focals.max()))
        return None, (
            f"The lens cannot be told: the view is too flat, it fits {narrow:.0f} degrees across as well as {wide:.0f}."
        )
    focal_px = float(focals[-1]) * math.hypot(width, height) / 2
    return Intrinsics(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, width, height), ""


def find_shift(points: NDArray[np.float32], lens: Intrinsics, valid: BoolMap | None = None) -> float:
    """What is to be added to z, so that affine points project to their pixels through a lens that is known.

    0 where that cannot be told: fewer than two samples are valid, or no shift brings the points to this lens.

    Args:
        points: (H, W, 3), a grid over the whole photo.
        lens: of the grid's size (`Intrinsics.resized`); its principal point may lie anywhere.
        valid: (H, W), which of them are to be used; None for all.

    Raises:
        InputError: arrays of other shapes or kinds, a lens of another size.
    """
    samples, rows, columns = _sampled(points, valid)
    check_intrinsics(lens, points.shape, "point map")
    if len(samples) < 2:
        return 0.0
    rays = np.stack([(columns - lens.cx) / lens.fx, (rows - lens.cy) / lens.fy], 1)  # (N, 2)

    products = _products(samples, rays)

    def error(shifts: Floats) -> Floats:
        """The squared error, less what no shift changes."""
        along, squared = products(shifts)
        return squared - 2 * along

    best, shifts = _least(error, samples[:, 2])
    return 0.0 if best[0] > shifts[-2] else float(best[0])


def _sampled(points: NDArray[np.float32], valid: BoolMap | None) -> tuple[Floats, Floats, Floats]:
    """Up to 64 x 64 valid points (N, 3) with their rows and columns (N,)."""
    if not isinstance(points, np.ndarray) or points.ndim != 3 or points.shape[2] != 3 or points.dtype.kind != "f":
        raise InputError(f"points is {getattr(points, 'shape', type(points).__name__)}; give (H, W, 3) float32.")
    height, width = points.shape[:2]
    mask = as_mask(valid, (height, width))
    rows, columns = (np.arange(_SAMPLES_PER_SIDE) * side // _SAMPLES_PER_SIDE for side in (height, width))
    grid = points[rows[:, None], columns]  # (64, 64, 3)
    kept = mask[rows[:, None], columns] & np.isfinite(grid).all(2)
    at_row, at_column = np.nonzero(kept)
    return grid[kept].astype(np.float64), rows[at_row].astype(np.float64), columns[at_column].astype(np.float64)


def _products(samples: Floats, places: Floats) -> Callable[[Floats], tuple[Floats, Floats]]:
    """For S shifts the sums over N samples of q places and q q, both (S,), with q = (x, y) / (z + shift)."""
    sideways = samples[:, :2]
    with_places, with_itself = (sideways * places).sum(1), (sideways**2).sum(1)  # (N,)

    def products(shifts: Floats) -> tuple[Floats, Floats]:
        nearness = 1 / (samples[:, 2] + shifts[:, None])  # (S, N)
        return nearness @ with_places, nearness**2 @ with_itself

    return products


def _least(error: Callable[[Floats], Floats], z: Floats) -> tuple[Floats, Floats]:
    """The shift (1,) at which the error is least, and the shifts (S,) that were scanned for it; all of them put every
    sample in front of the camera."""
    span = float(np.median(np.abs(z)))

    def shift(exponents: Floats) -> Floats:
        return np.asarray(span * 10**exponents - z.min())

    exponents = np.linspace(*_EXPONENTS, _SCANNED)
    at = int(np.argmin(error(shift(exponents))))
    low, high = exponents[max(at - 1, 0)], exponents[min(at + 1, _SCANNED - 1)]
    for _ in range(_REFINEMENTS):  # golden section
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        at_left, at_right = error(shift(np.array([left, right])))
        low, high = (low, right) if at_left <= at_right else (left, high)
    return shift(np.array([(low + high) / 2])), shift(exponents)
