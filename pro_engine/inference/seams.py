"""How visible patch borders are in a map, and taking out what is left of them."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pro_engine.types import FloatMap, ImageArray

EVEN, UNEVEN = 8, 24
"""Levels of 255 by which a picture differs around a pixel, to which it counts as even, and from which it does not."""
EVEN_PX = 4
_BAND = 256
_AROUND = np.ones((2 * EVEN_PX + 5,) * 2, np.uint8)
_MEAN = (2 * EVEN_PX + 1,) * 2


class SeamJumps(NamedTuple):
    """Mean absolute difference between neighbouring pixels: across the borders of patches, and across their middles."""

    border: float
    middle: float

    @property
    def ratio(self) -> float:
        """border / middle; 1 means that borders look like any other place, nan that the map has no borders."""
        return self.border / self.middle if self.middle > 0 else float("nan")


def seam_jumps(values: FloatMap, tiles: tuple[int, int]) -> SeamJumps:
    """Jumps of `values` (H, W) across the borders of a (rows, columns) grid and across the same lines shifted by half a
    patch. nan where the grid is 1x1 and so has no borders."""
    border, middle = [], []
    for axis, count in enumerate(tiles):
        lines = np.moveaxis(values, axis, 0)
        length = lines.shape[0]
        for k in range(1, count):
            border.append(_jumps(lines, round(k * length / count)))
            middle += [_jumps(lines, round((k + half) * length / count)) for half in (-0.5, 0.5)]
    if not border:
        return SeamJumps(float("nan"), float("nan"))
    return SeamJumps(float(np.mean(np.concatenate(border))), float(np.mean(np.concatenate(middle))))


def _jumps(lines: FloatMap, at: int) -> FloatMap:
    return np.abs(lines[at] - lines[at - 1])


def join_patches(canvas: FloatMap, coarse: FloatMap, grid: tuple[int, int], picture: ImageArray) -> None:
    """Make one map of the patches of a canvas, in place: `level_seams`, then `smooth_even`."""
    level_seams(canvas, coarse, grid)
    smooth_even(canvas, coarse, picture)


def level_seams(canvas: FloatMap, coarse: FloatMap, grid: tuple[int, int]) -> None:
    """Make the patches of a canvas (rows * h, columns * w) meet, in place.

    The step across a border beyond that of the coarse map there, which has no seams (same shape as the canvas), is
    shared by both patches. Its part that is smooth along the border, a difference of level or tilt, fades out over
    a quarter of a patch; the rest over a few pixels, so that outlines inside a patch stay as they are. Consistency
    training makes the step small; this takes out what remains of it.
    """
    for axis, count in ((1, grid[1]), (0, grid[0])):
        lines, guide = (canvas, coarse) if axis == 1 else (canvas.T, coarse.T)  # a border is a column of these
        size = lines.shape[1] // count
        patch_length = lines.shape[0] // grid[1 - axis]
        for k in range(1, count):
            at = k * size
            step = (lines[:, at] - lines[:, at - 1]) - (guide[:, at] - guide[:, at - 1])
            smooth = _blur(step, patch_length / 12)
            _share(lines, at, smooth, size // 4)
            _share(lines, at, step - smooth, max(4, size // 24))


def smooth_even(canvas: FloatMap, coarse: FloatMap, picture: ImageArray) -> None:
    """Where a picture is even, make what the patches add to the coarse map even, too, in place.

    canvas and coarse (H, W), picture (H, W, 3) uint8 RGB. Nothing is to be seen there that a patch could add: what it
    adds is noise, and the lines at its borders. Even is where grey levels stay within EVEN around; there what is added
    becomes its mean over `EVEN_PX` pixels, twice; up to UNEVEN it is mixed.
    """
    margin, before = 3 * EVEN_PX, None
    for top in range(0, len(canvas), _BAND):
        stop = min(top + _BAND, len(canvas))
        rows = slice(max(0, top - margin), stop + margin)
        grey = cv2.blur(cv2.cvtColor(picture[rows], cv2.COLOR_RGB2GRAY), (3, 3))
        contrast = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, _AROUND).astype(np.float32)
        even = cv2.blur(np.clip((UNEVEN - contrast) / (UNEVEN - EVEN), 0, 1), (5, 5))
        added = canvas[rows] - coarse[rows]
        smooth = canvas[rows] + even * (cv2.blur(cv2.blur(added, _MEAN), _MEAN) - added)
        if before is not None:  # only now, as this band looked at the last one
            canvas[before[0]] = before[1]
        before = slice(top, stop), smooth[top - rows.start : stop - rows.start]
    if before is not None:
        canvas[before[0]] = before[1]


def _blur(profile: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    blurred = cv2.GaussianBlur(np.ascontiguousarray(profile)[None], (0, 0), sigmaX=sigma, sigmaY=1e-3)
    return np.asarray(blurred[0], dtype=np.float32)


def _share(lines: FloatMap, at: int, step: NDArray[np.float32], reach: int) -> None:
    """Give half of `step` (one value per row) to each side of column `at`, fading linearly over `reach` columns."""
    fade = (0.5 - 0.5 * np.arange(reach, dtype=np.float32) / reach)[None]
    lines[:, at : at + reach] -= step[:, None] * fade
    lines[:, at - reach : at] += step[:, None] * fade[:, ::-1]
