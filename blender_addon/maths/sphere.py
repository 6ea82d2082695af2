# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole panoramas: distances all around a point to a sphere of faces that is seen from within. Needs numpy only.

An equirectangular picture is twice as wide as high. Its columns go around, the middle one is straight ahead, and those
to the right of it lie to the right; its rows go from straight up to straight down. Its maps hold distances along the
rays, not z. Directions are in Blender's camera space, as in `mesh`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .mesh import MeshArrays, MeshOptions, even_lines, open_cells
from .sheets import sheet_of
from .simplify import FloatMap, cell_corners, cell_faces


@dataclass(frozen=True)
class Sphere:
    """The lens of a whole panorama of this size in pixels."""

    width: int
    height: int

    def rays(self, rows: NDArray[Any], columns: NDArray[Any]) -> FloatMap:
        """(..., 3) unit vectors of pixels; rows and columns broadcast to one shape."""
        across = (columns + 0.5) * np.float32(2 * math.pi / self.width) - np.float32(math.pi)
        up = np.float32(math.pi / 2) - (rows + 0.5) * np.float32(math.pi / self.height)
        parts = np.broadcast_arrays(np.cos(up) * np.sin(across), np.sin(up), -np.cos(up) * np.cos(across))
        return np.stack(parts, axis=-1).astype(np.float32)

    def positions(self, distance: FloatMap) -> FloatMap:
        """(H, W, 3) metres, of distances (H, W)."""
        rows, columns = (np.arange(n, dtype=np.float32) for n in distance.shape)
        return self.rays(rows[:, None], columns) * distance[..., None]

    def pixel(self, x: float, y: float, z: float) -> tuple[int, int]:
        """Column and row at which a point is seen."""
        column = (math.atan2(x, -z) / (2 * math.pi) + 0.5) * self.width
        row = (0.5 - math.atan2(y, math.hypot(x, z)) / math.pi) * self.height
        return min(int(column), self.width - 1), min(int(row), self.height - 1)


def sphere_mesh(distance: FloatMap, lens: Sphere, options: MeshOptions, *, whole: bool) -> MeshArrays:
    """The surfaces around the middle of a panorama, closed at the poles and where the last column meets the first.

    Args:
        distance: (H, W) metres along the rays; what is not finite and above 0 is no surface.
        lens: of the same size.
        options: threshold, erosion and budget.
        whole: where one thing hides another, the near side goes on instead of a gap; then nothing is eroded.

    Returns:
        Faces look inwards; u is beyond 1 where the last column meets the first.

    Raises:
        UserError: no face is left.
    """
    height, width = distance.shape
    closed = np.empty((height + 2, width + 1), np.float32)  # with the poles, and the first column again
    closed[1:-1, :-1], closed[1:-1, -1] = distance, distance[:, 0]
    for pole, row in ((0, 1), (-1, -2)):
        there = closed[row][np.isfinite(closed[row])]
        closed[pole] = np.median(there) if len(there) else np.nan
    closed[~(closed > 0) | np.isinf(closed)] = np.nan
    drawn = open_cells(closed, options)
    count = int(np.count_nonzero(cell_corners(drawn)))
    if not count:
        raise UserError("No face is left: all is torn, masked or sky; raise Tear or keep the sky.")
    if whole:
        stride = math.ceil(math.sqrt(closed.size / options.vertices)) if options.vertices else 1
        sheet = sheet_of(closed, options.edge_rtol, stride)
        rows, columns, r = sheet.pixels[:, 1], sheet.pixels[:, 0] + 1, sheet.depth
        quads = sheet.quads
    else:
        down, across = (np.arange(n, dtype=np.int32) for n in closed.shape)
        faces = cell_faces(drawn)
        if options.vertices and options.vertices < count:
            down, across, faces = even_lines(drawn, options.vertices, count)
        used = np.nonzero(faces.used)
        at = down[used[0]], across[used[1]]
        rows, columns, r = at[0] - np.float32(1), at[1].astype(np.float32), closed[at]
        quads = faces.quads
    vertices = lens.rays(rows.clip(-0.5, height - 0.5), columns) * r[:, None]
    uv = np.stack([(columns + 0.5) / width, 1 - (rows.clip(0, height - 1) + 0.5) / height], axis=1)
    return MeshArrays(vertices, uv.astype(np.float32), quads.reshape(-1), np.arange(0, quads.size, 4, dtype=np.int32))
