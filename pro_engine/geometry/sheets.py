# SPDX-License-Identifier: Apache-2.0
"""Faces over the grid of a photo's pixels, with vertices where an outline needs them.

Needs numpy alone and imports nothing of the project: the Blender add-on has a copy of this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatMap = NDArray[np.float32]
BoolMap = NDArray[np.bool_]

_A, _B = (slice(None, -1), slice(None, -1)), (slice(None, -1), slice(1, None))
_C, _D = (slice(1, None), slice(None, -1)), (slice(1, None), slice(1, None))
_CORNERS = (_A, _C, _D, _B)  # counter-clockwise as seen in the picture, y down


class Sheet(NamedTuple):
    """Faces over the grid of pixels. Corners of a quad run counter-clockwise as the camera sees them.

    pixels (V, 2) float32 column and row in the photo, beyond its border too; depth (V,) float32 metres; quads (Q, 4)
    int32; own (V,) bool, False for vertices that hold an outline: they stand at a pixel of the far side, at the depth
    of the near one.
    """

    pixels: FloatMap
    depth: FloatMap
    quads: NDArray[np.int32]
    own: BoolMap


def all_of(combine: np.ufunc, values: list[FloatMap]) -> FloatMap:
    """Four arrays in one."""
    return combine(combine(values[0], values[1]), combine(values[2], values[3]))  # type: ignore[no-any-return]


def offsets_of(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """From the first corner of a cell to each, in a flat array."""
    return 0, shape[1], shape[1] + 1, 1


def extremes_of(values: FloatMap) -> tuple[FloatMap, FloatMap]:
    """The lowest and the highest corner of each cell (rows - 1, columns - 1), NaN left out."""
    corners = [values[corner] for corner in _CORNERS]
    return all_of(np.fmin, corners), all_of(np.fmax, corners)


def sheet_of(
    z: FloatMap,
    rtol: float,
    stride: int,
    *,
    wanted: BoolMap | None = None,
    over: FloatMap | None = None,
    deepest: FloatMap | None = None,
) -> Sheet:
    """Faces of all cells with a corner that has a depth, each on its near side alone, or of those that are wanted.

    Args:
        z: (rows, columns) metres, NaN where there is nothing; the first row and column lie outside the photo.
        rtol: relative step from which a corner is of the far side, and is replaced by one at the depth of the near.
        stride: squares of so many cells become one where none is torn.
        wanted: (rows, columns): only cells with a corner here, and of these only such as are not torn.
        over: (rows, columns) metres of what no larger square may be nearer than.
        deepest: (rows, columns) is set to the depth that larger squares have at their pixels, by whichever diagonal
            they are cut: the greater.
    """
    low, high = extremes_of(z)
    near_limit = low * np.float32(1 + rtol)
    drawn = np.isfinite(low)
    if wanted is not None:
        drawn &= wanted[_A] | wanted[_B] | wanted[_C] | wanted[_D]
    whole = drawn & (high <= near_limit)
    for corner in _CORNERS:
        whole &= np.isfinite(z[corner])
    torn = drawn & ~whole if wanted is None else np.zeros_like(drawn)
    held = np.full(z.shape, np.inf, np.float32)  # the nearest that a pixel is replaced by
    for corner in _CORNERS:
        np.minimum(held[corner], np.where(torn, low, np.float32(np.inf)), out=held[corner])
    rows, columns = np.nonzero(torn)
    first = rows * z.shape[1] + columns
    pixel = np.stack([first + offset for offset in offsets_of(z.shape)], axis=1)  # (T, 4)
    limit = near_limit[torn][:, None]
    with np.errstate(invalid="ignore"):
        is_own = z.reshape(-1)[pixel] <= limit
    # A replaced corner is shared among the cells around it, unless it is too near for one of them.
    highest = np.where(is_own, z.reshape(-1)[pixel], 0).max(axis=1, keepdims=True)
    is_shared = ~is_own & (highest <= held.reshape(-1)[pixel] * np.float32(1 + rtol))
    alone = ~(is_own | is_shared)
    squares, z = _squares(z, whole, stride, over, deepest) if stride > 1 else (_corners_of(whole), z)
    used = np.zeros(z.size, np.bool_)
    used[squares] = used[pixel[is_own]] = True
    extra = np.zeros(z.size, np.bool_)
    extra[pixel[is_shared]] = True
    number, extra_number = (np.cumsum(mask, dtype=np.int32) - 1 for mask in (used, extra))
    counts = int(used.sum()), int(extra.sum()), int(alone.sum())
    quads = np.empty((len(squares) + len(pixel), 4), np.int32)
    quads[: len(squares)] = number[squares]
    edge = np.where(is_own, number[pixel], extra_number[pixel] + counts[0])
    edge[alone] = np.arange(counts[2]) + counts[0] + counts[1]
    quads[len(squares) :] = edge
    places = np.concatenate([np.flatnonzero(used), np.flatnonzero(extra), pixel[alone]])
    flat_low = np.broadcast_to(low[torn][:, None], pixel.shape)
    depth = np.concatenate([z.reshape(-1)[used], held.reshape(-1)[extra], flat_low[alone]])
    pixels = np.stack([places % z.shape[1] - 1, places // z.shape[1] - 1], axis=1).astype(np.float32)
    return Sheet(pixels, depth, quads, np.arange(len(depth)) < counts[0])


def joined(sheets: Sequence[Sheet]) -> Sheet:
    """Several in one."""
    starts = np.cumsum([0, *(len(sheet.depth) for sheet in sheets[:-1])], dtype=np.int32)
    quads = [sheet.quads + start for sheet, start in zip(sheets, starts, strict=True)]
    pixels, depth, own = (np.concatenate([sheet[k] for sheet in sheets]) for k in (0, 1, 3))
    return Sheet(pixels, depth, np.concatenate(quads), own)


def _corners_of(cells: BoolMap) -> NDArray[np.intp]:
    """(N, 4) flat indices of the corners of cells (rows - 1, columns - 1) on a grid (rows, columns)."""
    rows, columns = np.nonzero(cells)
    first, width = rows * (cells.shape[1] + 1) + columns, cells.shape[1] + 1
    return np.stack([first, first + width, first + width + 1, first + 1], axis=1)


def _squares(
    z: FloatMap, whole: BoolMap, stride: int, over: FloatMap | None, deepest: FloatMap | None
) -> tuple[NDArray[np.intp], FloatMap]:
    """Corners of whole cells, `stride` x `stride` of them joined where all are whole; and the depth of the vertices.

    A vertex on the side of a larger square is put onto the straight line that this side is, so that no crack opens.
    """
    lines = [np.append(np.arange(0, n - 1, stride), n - 1) for n in z.shape]
    is_large = np.logical_and.reduceat(np.logical_and.reduceat(whole, lines[0][:-1], axis=0), lines[1][:-1], axis=1)
    if over is not None:
        is_large[is_large] = ~_is_nearer(z, over, lines, is_large)
    large = _corners_of_large(z.shape, lines, is_large)
    if deepest is not None:
        for pixel, depth, _ in _depths_in(z, lines, is_large):
            deepest.reshape(-1)[pixel] = depth
    block = [np.repeat(np.arange(len(line) - 1), np.diff(line)) for line in lines]
    small = whole & ~is_large[np.ix_(*block)]
    straight = z.copy()
    for depth, across, along, beside in ((straight, *lines, is_large), (straight.T, *lines[::-1], is_large.T)):
        has_side = np.zeros((len(across), beside.shape[1]), np.bool_)
        has_side[:-1] ^= beside
        has_side[1:] ^= beside  # between two large squares nothing is on the side
        line, square = np.nonzero(has_side)
        for k in range(1, stride):
            at = along[square] + k
            inside = at < along[square + 1]
            row, start, stop, at = across[line][inside], along[square][inside], along[square + 1][inside], at[inside]
            share = (at - start) / (stop - start)
            depth[row, at] = 1 / ((1 - share) / depth[row, start] + share / depth[row, stop])
    return np.concatenate([large, _corners_of(small)]), straight


def _corners_of_large(shape: tuple[int, ...], lines: list[NDArray[np.intp]], is_large: BoolMap) -> NDArray[np.intp]:
    """(N, 4) flat indices of the corners of squares between some lines of the grid."""
    rows, columns = np.nonzero(is_large)
    top, bottom = (lines[0][rows + k] * shape[1] for k in (0, 1))
    left, right = (lines[1][columns + k] for k in (0, 1))
    return np.stack([top + left, bottom + left, bottom + right, top + right], axis=1)


def _depths_in(
    z: FloatMap, lines: list[NDArray[np.intp]], is_large: BoolMap
) -> Iterator[tuple[NDArray[np.intp], FloatMap, FloatMap]]:
    """Of each place in large squares: flat indices of its pixels (N,), and their greatest and least depth (N,).

    Inverse depth is linear in each half of a square, and there are two ways to cut it in halves.
    """
    rows, columns = np.nonzero(is_large)
    a, c, d, b = 1 / z.reshape(-1)[_corners_of_large(z.shape, lines, is_large)].T  # in turn around the square
    top, left = lines[0][rows], lines[1][columns]
    height, width = lines[0][rows + 1] - top, lines[1][columns + 1] - left
    for row, column in np.ndindex(int(height.max(initial=0)) + 1, int(width.max(initial=0)) + 1):
        down, across = np.minimum(row, height), np.minimum(column, width)
        y, x = (down / height).astype(np.float32), (across / width).astype(np.float32)
        falling = np.where(y > x, a + y * (c - a) + x * (d - c), a + x * (b - a) + y * (d - b))
        rising = np.where(x + y < 1, a + x * (b - a) + y * (c - a), d + (1 - x) * (c - d) + (1 - y) * (b - d))
        at = (top + down) * z.shape[1] + left + across
        yield at, 1 / np.minimum(falling, rising), 1 / np.maximum(falling, rising)


def _is_nearer(z: FloatMap, over: FloatMap, lines: list[NDArray[np.intp]], is_large: BoolMap) -> BoolMap:
    """(N,) of the large squares: whether one is somewhere nearer than `over`, where this is finite."""
    found = np.zeros(np.count_nonzero(is_large), np.bool_)
    for pixel, _, depth in _depths_in(z, lines, is_large):
        found |= depth < over.reshape(-1)[pixel]
    return found
