"""Depth measured where pictures match: a plane sweep that is led by a depth map.

Collins, A Space-Sweep Approach to True Multi-Image Matching, 1996. The planes are the map itself, moved nearer and
farther by factors, so that windows lean as the surface does. Windows are compared by their normalized correlation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pro_engine.geometry.camera import ray_slopes
from pro_engine.types import FloatMap, Intrinsics

Values = NDArray[np.float32]

SPAN = 0.3  # of the logarithm of depth, to either side of the map
STEPS = 41  # of depth
RADIUS = 3  # of the windows, in pixels
BEST = 3  # pictures whose correlations are averaged: a window may be hidden from the others
LEAST = 0.8  # correlation that a match has
AHEAD = 0.2  # of the correlation at all other depths, so that repeated patterns do not count
AROUND = 3  # steps around the best one that are the same match
NOISE = 4.0  # variance of grey levels that is no texture
CELL = 12  # pixels to either side of which one match is kept


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture without distortion: grey (H, W) float32 from 0 to 255, its camera, its pose (3, 4) from the world."""

    grey: FloatMap
    intrinsics: Intrinsics
    pose: NDArray[np.float64]


def match_depth(
    picture: Picture, depth: FloatMap, others: Sequence[Picture]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure the depth of a picture's pixels that others show, too, and that look like no other place.

    Args:
        picture: what is measured.
        depth: (H, W) of about what it shows, in the unit of the poses; NaN and inf are left out.
        others: pictures of the same from elsewhere.

    Returns:
        pixels (N, 2), column and row, at most one in 12 x 12; their depth (N,).
    """
    moved = (depth * np.float32(factor) for factor in np.exp(np.linspace(-SPAN, SPAN, STEPS)))
    scores, rivals = (np.stack(part) for part in zip(*(_scores(picture, one, others) for one in moved), strict=True))
    best = scores.argmax(0)
    top = np.take_along_axis(scores, best[None], 0)[0]
    apart = np.abs(np.arange(STEPS)[:, None, None] - best) > AROUND
    rival = np.where(apart, rivals, -1).max(0)
    inner = np.clip(best, 1, STEPS - 2)
    before, at, after = (np.take_along_axis(scores, (inner + by)[None], 0)[0] for by in (-1, 0, 1))
    bend = before - 2 * at + after
    known = np.isfinite(depth) & (inner == best) & (top > LEAST) & (top > rival + AHEAD) & (bend < 0)
    move = np.where(known, 0.5 * (before - after) / np.where(bend < 0, bend, -1), 0)  # top of the parabola
    row, column = _one_in_each_cell(np.where(known, top, -1))
    step = 2 * SPAN / (STEPS - 1)
    offset = -SPAN + step * (inner[row, column] + move[row, column])
    pixels = np.stack([column, row], axis=1).astype(np.float64)
    return pixels, depth[row, column].astype(np.float64) * np.exp(offset)


def _scores(picture: Picture, depth: FloatMap, others: Sequence[Picture]) -> tuple[Values, Values]:
    """(H, W) correlation with the pictures that match best, if a picture shows this depth; -1 for one that does not
    see the place. And the same of those alone that see it: what is not seen may look alike."""
    found = np.sort(np.stack([_correlation(picture, depth, other) for other in others]), axis=0)[-BEST:]
    seen = found > -1
    alone: Values = np.where(seen, found, 0).sum(0) / np.maximum(seen.sum(0), 1) - ~seen.any(0)
    average: Values = found.mean(0)
    return average, alone.astype(np.float32)


def _correlation(picture: Picture, depth: FloatMap, other: Picture) -> Values:
    """(H, W) from -1 to 1, of the windows around each pixel and around its place in the other picture."""
    x, y = ray_slopes(picture.intrinsics)
    turn = other.pose[:, :3] @ picture.pose[:, :3].T
    shift = other.pose[:, 3] - turn @ picture.pose[:, 3]
    k = other.intrinsics
    matrix = np.array([[k.fx, 0, k.cx], [0, k.fy, k.cy], [0, 0, 1]])
    ray, start = (matrix @ turn).astype(np.float32), (matrix @ shift).astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):  # of depth that is not known
        place = [depth * (across * x[None] + down * y[:, None] + ahead) for across, down, ahead in ray]
        place = [part + begin for part, begin in zip(place, start, strict=True)]
        column, row = place[0] / place[2], place[1] / place[2]
        seen = (place[2] > 0) & (column >= 0) & (column <= k.width - 1) & (row >= 0) & (row <= k.height - 1)
    column, row = (np.where(seen, part, 0).astype(np.float32) for part in (column, row))
    warped = np.asarray(cv2.remap(other.grey, column, row, cv2.INTER_LINEAR), dtype=np.float32)
    mean, mean_other = _window(picture.grey), _window(warped)
    variance = np.maximum(_window(picture.grey**2) - mean**2, 0) + NOISE
    variance_other = np.maximum(_window(warped**2) - mean_other**2, 0) + NOISE
    made: Values = (_window(picture.grey * warped) - mean * mean_other) / np.sqrt(variance * variance_other)
    made[cv2.erode(seen.astype(np.uint8), np.ones((2 * RADIUS + 1, 2 * RADIUS + 1), np.uint8)) == 0] = -1
    return made


def _window(values: Values) -> Values:
    return np.asarray(cv2.blur(values, (2 * RADIUS + 1, 2 * RADIUS + 1), borderType=cv2.BORDER_REFLECT))


def _one_in_each_cell(scores: Values) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and column of the highest score above 0 in each cell."""
    height, width = scores.shape
    rows, columns = -(-height // CELL), -(-width // CELL)
    padded = np.full((rows * CELL, columns * CELL), -1, dtype=np.float32)
    padded[:height, :width] = scores
    cells: Any = padded.reshape(rows, CELL, columns, CELL).swapaxes(1, 2).reshape(rows, columns, -1)
    at, kept = cells.argmax(-1), cells.max(-1) > 0
    row, column = np.nonzero(kept)
    return row * CELL + at[kept] // CELL, column * CELL + at[kept] % CELL
