# SPDX-License-Identifier: GPL-3.0-or-later
"""Fewer faces where a depth map is flat: 2x2 blocks of cells become one, again and again, without cracks.

A block is a square of 2^level cells whose cells are all drawn. It may become one face if the inverse depth of its
vertices is close to a plane (a plane in space has planar inverse depth in the picture) and if its texture would not
slide: UV runs evenly along an edge in space, so it is off in the picture where the far end is foreshortened. Blocks
that share an edge differ by one level at most; a block with finer neighbours is cut into a fan that uses their corners,
so every edge has the same two ends on both sides.

Corners of a block in the picture (y down), in the order of faces, counter-clockwise as the camera sees them:

    0 7 6
    1   5
    2 3 4
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatMap = NDArray[np.float32]
BoolMap = NDArray[np.bool_]
Indices = NDArray[np.int32]

MAX_LEVEL = 8
PIXELS_PER_UNIT = 50.0  # so many pixels of sliding texture count as much as a relative error in depth of 1
TIE_BREAK = 1e-6  # relative error; flat blocks are merged one after another, evenly spread, not all at once
MAX_KEYS = 1 << 16  # candidates of the search for a vertex count
SEARCH_STEPS = 20
CLOSE_ENOUGH = 0.02


class Faces(NamedTuple):
    """Faces as indices of the vertices used, which are counted row by row."""

    used: BoolMap  # (rows, columns) the vertices that have a face
    quads: Indices  # (Q, 4)
    triangles: Indices  # (T, 3)


class Leaves(NamedTuple):
    """Blocks that stay whole, in grid lines."""

    top: Indices  # (K,)
    bottom: Indices
    left: Indices
    right: Indices
    half: Indices  # half the size of a block, 0 for a single cell


def cell_faces(drawn: BoolMap) -> Faces:
    """A quad for every cell drawn (rows - 1, columns - 1)."""
    used = cell_corners(drawn)
    number = _numbered(used)
    quads = np.empty((np.count_nonzero(drawn), 4), np.int32)
    for k, corner in enumerate((number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:])):
        quads[:, k] = corner[drawn]
    return Faces(used, quads, np.empty((0, 3), np.int32))


def cell_corners(drawn: BoolMap) -> BoolMap:
    """(rows, columns): the vertices of the cells drawn (rows - 1, columns - 1)."""
    used = np.zeros((drawn.shape[0] + 1, drawn.shape[1] + 1), dtype=np.bool_)
    used[:-1, :-1] |= drawn
    used[:-1, 1:] |= drawn
    used[1:, :-1] |= drawn
    used[1:, 1:] |= drawn
    return used


@dataclass(frozen=True)
class BlockPyramid:
    """The blocks of a grid and what merging each would cost.

    drawn: (rows - 1, columns - 1) the cells.
    errors: of the blocks of level 1, 2, ...; inf where a cell is missing; a block's is above those of its parts. Blocks
    at the right and lower border may reach over it: the grid goes on there with its last line.
    """

    drawn: BoolMap
    errors: tuple[FloatMap, ...]

    @classmethod
    def of(cls, inverse: FloatMap, drawn: BoolMap, rows: Indices, columns: Indices) -> BlockPyramid:
        """Judge all blocks.

        Args:
            inverse: (rows, columns) 1 / depth at the grid's vertices; anything where no cell is drawn.
            drawn: (rows - 1, columns - 1).
            rows, columns: the pixel of each grid line, increasing.
        """
        levels = max(1, min(MAX_LEVEL, int(np.log2(min(drawn.shape)))))
        y_line, x_line = (np.minimum(np.arange(_padded(n, levels) + 1), n) for n in drawn.shape)
        w = inverse[np.ix_(y_line, x_line)]
        w[~np.isfinite(w)] = 1
        y, x = rows[y_line].astype(np.float32), columns[x_line].astype(np.float32)
        whole = np.pad(drawn, [(0, _padded(n, levels) - n) for n in drawn.shape], constant_values=True)
        bend = error = np.zeros(whole.shape, np.float32)
        errors = []
        for level in range(1, levels + 1):
            whole = _of_four(whole, np.logical_and)
            own, slide = _misfit(w, y, x, 1 << level)
            bend = _of_four(bend, np.maximum) + own  # no less than the true error: a sum over all levels
            error = np.maximum(np.maximum(bend, slide / PIXELS_PER_UNIT), _of_four(error, np.maximum))
            error += TIE_BREAK * _spread(error.shape)
            errors.append(np.where(whole, error, np.float32(np.inf)))
        return cls(drawn, tuple(errors))

    def whole_blocks(self, tolerance: float) -> list[BoolMap]:
        """Which blocks stay whole, the largest whose error is within `tolerance`; a mask a level, from cells up."""
        split: list[BoolMap] = []  # of levels 1, 2, ...
        for errors in self.errors:
            over = errors > tolerance
            if split:
                over |= _of_four(_with_neighbours(split[-1]), np.logical_or)
            split.append(over)
        found = [self.drawn, *(~over for over in split)]
        for level, over in enumerate(split):
            height, width = found[level].shape
            found[level] = found[level] & over.repeat(2, 0).repeat(2, 1)[:height, :width]
        return found

    def corners(self, whole: list[BoolMap]) -> BoolMap:
        """(rows, columns): the vertices of the whole blocks."""
        used = cell_corners(whole[0])
        flat, columns = used.reshape(-1), used.shape[1]
        for level in range(1, len(whole)):
            top, bottom, left, right, _ = self._leaves(whole, level)
            for row in (top * columns, bottom * columns):
                flat[row + left] = True
                flat[row + right] = True
        return used

    def _leaves(self, whole: list[BoolMap], level: int) -> Leaves:
        (height, width), size = self.drawn.shape, 1 << level
        top, left = (lines.astype(np.int32) * size for lines in np.nonzero(whole[level]))
        inside = (top < height) & (left < width)
        top, left = top[inside], left[inside]
        bottom, right = np.minimum(top + size, height), np.minimum(left + size, width)
        return Leaves(top, bottom, left, right, np.full(len(top), size // 2, np.int32))

    def tolerance_for(self, vertices: int) -> float | None:
        """The tolerance that gives about as many vertices, None if even the coarsest blocks give more."""
        errors = np.concatenate([level[np.isfinite(level)] for level in self.errors])
        errors = np.append(0, np.sort(errors[:: 1 + len(errors) // MAX_KEYS]))
        low, high = 0, len(errors) - 1  # as indices: at `low` there are too many vertices
        best, miss = None, np.inf
        for step in range(SEARCH_STEPS):
            middle = high if step == 0 else (low + high) // 2
            count = np.count_nonzero(self.corners(self.whole_blocks(errors[middle])))
            if abs(count - vertices) < miss:
                best, miss = float(errors[middle]), abs(count - vertices)
            if miss <= CLOSE_ENOUGH * vertices:
                break
            if count > vertices:
                if step == 0:
                    return None
                low = middle
            else:
                high = middle
            if high - low <= 1:
                break
        return best

    def faces(self, tolerance: float) -> Faces:
        """The mesh of the leaves: a quad each, or a fan of triangles where neighbours are finer."""
        whole = self.whole_blocks(tolerance)
        used = self.corners(whole)
        leaves = [self._leaves(whole, level) for level in range(len(whole))]
        top, bottom, left, right, half = (np.concatenate(values) for values in zip(*leaves, strict=True))
        y, x, columns = top + half, left + half, np.int32(self.drawn.shape[1] + 1)
        rows = (top, y, bottom, bottom, bottom, y, top, top)
        lines = (left, left, left, x, right, right, right, x)
        ring = np.stack([row * columns + line for row, line in zip(rows, lines, strict=True)])  # (8, K)
        tall, wide = (half > 0) & (y < bottom), (half > 0) & (x < right)  # a block cut by the border may have no middle
        middles = np.stack([tall, wide, tall, wide])
        finer = middles & used.reshape(-1)[np.where(middles, ring[1::2], 0)]
        pattern = (finer * np.array([[1], [2], [4], [8]])).sum(axis=0)
        ring = _numbered(used).reshape(-1).take(ring, mode="clip")  # a block cut by the border has no middle there
        quads = ring[::2, pattern == 0].T
        triangles = [np.empty((0, 3), np.int32)]
        for bits in range(1, 16):
            chosen = ring[:, pattern == bits]
            triangles += [chosen[list(corners)].T for corners in _fan(bits)]
        return Faces(used, np.ascontiguousarray(quads), np.concatenate(triangles))


def _numbered(used: BoolMap) -> Indices:
    """(rows, columns): how many vertices are used before this one."""
    number = np.cumsum(used, dtype=np.int32).reshape(used.shape)
    number -= used
    return number


def _padded(length: int, levels: int) -> int:
    """The next multiple of the largest block."""
    return -(-length >> levels) << levels


def _of_four(blocks: NDArray[Any], combine: np.ufunc) -> NDArray[Any]:
    """(H, W) -> (H / 2, W / 2), four by four."""
    rows = combine(blocks[::2], blocks[1::2])
    combined: NDArray[Any] = combine(rows[:, ::2], rows[:, 1::2])
    return combined


def _with_neighbours(mask: BoolMap) -> BoolMap:
    """`mask` and the blocks that share an edge with it."""
    grown: BoolMap = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _misfit(w: FloatMap, y: FloatMap, x: FloatMap, size: int) -> tuple[FloatMap, FloatMap]:
    """For blocks of `size` cells: the relative error in depth against blocks half as large, and the slide of UV.

    The largest difference of two bilinear patches, one of them in four parts, lies at the five new vertices. A twisted
    block is no plane: what its two triangles leave of it is added.
    """
    low, mid, high = slice(None, -1, size), slice(size // 2, None, size), slice(size, None, size)
    a, b, c, d = w[low, low], w[low, high], w[high, low], w[high, high]
    height, width = y[high] - y[low], x[high] - x[low]
    down = ((y[mid] - y[low]) / np.maximum(height, 1))[:, None]  # a block beyond the border has no height
    across = (x[mid] - x[low]) / np.maximum(width, 1)
    above, below = a + (b - a) * across, c + (d - c) * across
    middle = above + (below - above) * down
    off = np.abs(w[mid, mid] - middle) + np.abs(a - b - c + d) / 4
    for vertex, expected in (
        (w[low, mid], above),
        (w[high, mid], below),
        (w[mid, low], a + (c - a) * down),
        (w[mid, high], b + (d - b) * down),
    ):
        np.maximum(off, np.abs(vertex - expected), out=off)
    near, far = np.maximum(np.maximum(a, b), np.maximum(c, d)), np.minimum(np.minimum(a, b), np.minimum(c, d))
    # An edge from 1/near to 1/far: what is drawn in its middle lies at far / (near + far) of its length, not at half.
    slide = np.maximum(height[:, None], width) * (near - far) / (2 * (near + far))
    return off / middle, slide


def _spread(shape: tuple[int, int]) -> FloatMap:
    """Numbers in [0, 1) that neighbours share as little as possible (Roberts 2018, the R2 sequence)."""
    i, j = np.arange(shape[0])[:, None] * 0.7548776662466927, np.arange(shape[1]) * 0.5698402909980532
    return np.mod(i + j, 1).astype(np.float32)


def _fan(bits: int) -> list[tuple[int, int, int]]:
    """The triangles of a block with finer neighbours, as indices of its ring; bit k stands for ring vertex 2k + 1.

    All start at a middle of an edge: it lies on a line with its two neighbours on the ring and with no other two.
    """
    ring = [vertex for vertex in range(8) if vertex % 2 == 0 or bits >> vertex // 2 & 1]
    start = next(k for k, vertex in enumerate(ring) if vertex % 2)
    ring = ring[start:] + ring[:start]
    return [(ring[0], ring[k], ring[k + 1]) for k in range(1, len(ring) - 1)]
