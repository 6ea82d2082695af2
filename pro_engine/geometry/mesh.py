"""Depth map to textured triangle mesh: the pixel grid, torn open where the depth jumps.

Corners of a grid cell, as seen in the picture (y down), with both ways to cut it in two:

    a b     falling "\\": (a, c, d) and (a, d, b)
    c d     rising  "/": (a, c, b) and (b, c, d)

All four triangles run counter-clockwise as seen from the camera. Each cell is cut along the diagonal with the smaller
step in depth, which follows outlines and keeps three corners when the fourth is missing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pro_engine.errors import InputError
from pro_engine.geometry.camera import ray_slopes
from pro_engine.geometry.checks import (
    as_map,
    check_image,
    check_intrinsics,
    check_positive,
    check_stride,
    usable_depth,
)
from pro_engine.geometry.depth import jump_links
from pro_engine.options import GeometryOptions
from pro_engine.types import BoolMap, FloatMap, ImageArray, Intrinsics, Mesh

Corner = tuple[slice, slice]
A: Corner = (slice(None, -1), slice(None, -1))
B: Corner = (slice(None, -1), slice(1, None))
C: Corner = (slice(1, None), slice(None, -1))
D: Corner = (slice(1, None), slice(1, None))


class Triangles(NamedTuple):
    """The same triangle of every cell, and in which cells it is drawn."""

    corners: tuple[Corner, Corner, Corner]
    drawn: BoolMap  # (rows - 1, columns - 1)


def depth_to_mesh(
    depth: ArrayLike,
    intrinsics: Intrinsics,
    *,
    image: ImageArray | None = None,
    edge_rtol: float = GeometryOptions.edge_rtol,
    stride: int = 1,
) -> Mesh:
    """A mesh of the surfaces in view, with holes where nothing is known and tears where one surface hides another.

    No face spans a depth edge (see `depth_edges`) or a pixel without a finite depth above 0, be it one that `stride`
    skips. Vertices without a face are left out.

    Args:
        depth: (H, W) z in metres, at least 2x2.
        intrinsics: of an image of the same size.
        image: (H, W, 3) uint8 RGB of the same size, becomes the texture.
        edge_rtol: relative step in depth between neighbouring pixels from which the mesh is torn.
        stride: a vertex every `stride` pixels; the last row and column always have theirs.

    Returns:
        Mesh in the camera frame: normals point towards the camera; uv of pixel centres, ((column + 0.5) / W,
        1 - (row + 0.5) / H); texture None without an image.

    Raises:
        InputError: arrays of a wrong kind or of sizes that differ, a bad stride or tolerance, or no face left.
    """
    z = as_map(depth, "depth")
    check_intrinsics(intrinsics, z.shape)
    check_stride(stride)
    check_positive(edge_rtol, "edge_rtol", "relative step in depth")
    if min(z.shape) < 2:
        raise InputError(f"depth has shape {z.shape}; a mesh needs at least 2x2 pixels.")
    texture = None if image is None else check_image(np.asarray(image), shape=z.shape)
    torn = tear(z, edge_rtol=edge_rtol, stride=stride)
    x_slope, y_slope = ray_slopes(intrinsics)
    vertices = np.empty((np.count_nonzero(torn.used), 3), dtype=np.float32)
    vertices[:, 2] = torn.grid[torn.used]
    vertices[:, 0] = torn.of_columns(x_slope[torn.columns])
    vertices[:, 1] = torn.of_rows(y_slope[torn.rows])
    vertices[:, :2] *= vertices[:, 2:]
    uv = torn.uv(torn.rows, torn.columns, z.shape)
    return Mesh(vertices, torn.faces, uv, texture)


class Torn(NamedTuple):
    """A grid of vertices and the faces between them: grid (R, C) depth of the pixel rows (R,) and columns (C,) that are
    kept; used (R, C) bool, the vertices that a face has; faces (F, 3) int32 their numbers in row order."""

    grid: FloatMap
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    used: BoolMap
    faces: NDArray[np.int32]

    def of_columns(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(V,) for each vertex the value of its column, of values (C,)."""
        return np.broadcast_to(values, self.grid.shape)[self.used]

    def of_rows(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(V,) for each vertex the value of its row, of values (R,)."""
        return np.broadcast_to(values[:, None], self.grid.shape)[self.used]

    def uv(
        self, rows: NDArray[np.floating | np.integer], columns: NDArray[np.integer], shape: tuple[int, ...]
    ) -> NDArray[np.float32]:
        """(V, 2) of the vertices, for their rows (R,) and columns (C,) in a texture of this height and width."""
        u = self.of_columns(((columns + 0.5) / shape[1]).astype(np.float32))
        return np.stack([u, self.of_rows((1 - (rows + 0.5) / shape[0]).astype(np.float32))], axis=1)


def tear(depth: FloatMap, *, edge_rtol: float, stride: int) -> Torn:
    """The faces of `depth_to_mesh`. depth: (H, W), checked, at least 2x2. Raises InputError where no face is left."""
    usable = usable_depth(depth)
    rows, columns = (np.append(np.arange(0, length - 1, stride), length - 1) for length in depth.shape)
    grid = np.where(usable, depth, np.float32(np.nan))
    if stride == 1:
        kinds = _cut_cells(grid, 1 + edge_rtol, None)
    else:
        grid = grid[np.ix_(rows, columns)]
        kinds = _cut_cells(grid, np.inf, _blocked_cells(depth, usable, edge_rtol, rows, columns))
    return Torn(grid, rows, columns, *_collect(grid.shape, kinds))


def _blocked_cells(
    depth: FloatMap, usable: BoolMap, rtol: float, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> BoolMap:
    """(rows - 1, columns - 1): cells whose pixels hold a depth edge or an unusable pixel, borders included."""
    across, down = jump_links(depth, rtol)
    blocked = _any_in_cells(~usable, rows, columns, True, True)
    blocked |= _any_in_cells(across, rows, columns, True, False)
    blocked |= _any_in_cells(down, rows, columns, False, True)
    return blocked


def _any_in_cells(
    mask: BoolMap, rows: NDArray[np.intp], columns: NDArray[np.intp], last_row: bool, last_column: bool
) -> BoolMap:
    """Whether any of `mask` is set between consecutive `rows` and `columns`, with or without the closing ones."""
    strips = np.logical_or.reduceat(mask, rows[:-1], axis=0)
    if last_row:
        strips |= mask[rows[1:]]
    cells: BoolMap = np.logical_or.reduceat(strips, columns[:-1], axis=1)
    if last_column:
        cells |= strips[:, columns[1:]]
    return cells


def _cut_cells(grid: FloatMap, ratio: float, blocked: BoolMap | None) -> list[Triangles]:
    """The triangles to draw: three known corners (not NaN) whose depths are within `ratio`, in cells not blocked."""
    a, b, c, d = grid[A], grid[B], grid[C], grid[D]
    falling_step = np.abs(a - d)
    rising_step = np.abs(b - c)
    falling: BoolMap = (falling_step < rising_step) | (np.isnan(rising_step) & ~np.isnan(falling_step))
    del falling_step, rising_step
    kinds = []
    for corners, cells in (
        ((A, C, D), falling),
        ((A, D, B), falling),
        ((A, C, B), ~falling),
        ((B, C, D), ~falling),
    ):
        first, second, third = (grid[corner] for corner in corners)
        low = np.minimum(np.minimum(first, second), third)
        low *= np.float32(ratio)
        drawn: BoolMap = np.maximum(np.maximum(first, second), third) <= low  # False where a corner is NaN
        drawn &= cells
        if blocked is not None:
            drawn &= ~blocked
        kinds.append(Triangles(corners, drawn))
    return kinds


def _collect(shape: tuple[int, ...], kinds: list[Triangles]) -> tuple[BoolMap, NDArray[np.int32]]:
    """Number the vertices that the triangles use: where these are on the grid, and the faces."""
    used = np.zeros(shape, dtype=np.bool_)
    for corners, drawn in kinds:
        for corner in corners:
            used[corner] |= drawn
    number = (np.cumsum(used, dtype=np.int32) - 1).astype(np.int32, copy=False).reshape(shape)
    counts = [int(np.count_nonzero(drawn)) for _, drawn in kinds]
    if not sum(counts):
        raise InputError(
            "No face is left: every cell has a depth edge or an unknown corner; raise edge_rtol or fill gaps."
        )
    faces = np.empty((sum(counts), 3), dtype=np.int32)
    start = 0
    for (corners, drawn), count in zip(kinds, counts, strict=True):
        for column, corner in enumerate(corners):
            faces[start : start + count, column] = number[corner][drawn]
        start += count
    return used, faces
