"""Depth map to surface normals."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pro_engine.geometry.camera import ray_slopes
from pro_engine.geometry.checks import as_map, check_intrinsics
from pro_engine.geometry.depth import jump_links
from pro_engine.options import GeometryOptions
from pro_engine.types import BoolMap, FloatMap, Intrinsics

_BAND_PX = 1 << 20  # pixels worked on at a time


def depth_to_normals(
    depth: ArrayLike, intrinsics: Intrinsics, *, edge_rtol: float = GeometryOptions.edge_rtol
) -> FloatMap:
    """The normal of the surface at every pixel, from its neighbours on the same surface.

    A plane a X + b Y + c Z = 1 has 1 / Z = a x + b y + c over the slopes x = X / Z and y = Y / Z of the rays, so the
    gradient of 1 / depth gives its normal exactly, whatever the lens. The scale of depth does not matter.

    Args:
        depth: (H, W) z in metres or in any unit; NaN, inf and values up to 0 are no surface.
        intrinsics: of an image of the same size.
        edge_rtol: relative step in depth across which two neighbours are of two surfaces.

    Returns:
        (H, W, 3) float32 of unit length in the camera frame (x right, y down, z forward), towards the camera; NaN where
        there is no surface, or no neighbour on it along one side.

    Raises:
        InputError: arrays of a wrong kind or of sizes that differ, or a bad `edge_rtol`.
    """
    z = as_map(depth, "depth")
    check_intrinsics(intrinsics, z.shape)
    height, width = z.shape
    normals = np.empty((height, width, 3), np.float32)
    rows = max(1, _BAND_PX // width)
    for top in range(0, height, rows):
        stop = min(top + rows, height)
        first, last = max(0, top - 1), min(height, stop + 1)
        normals[top:stop] = _band(z[first:last], intrinsics, first, edge_rtol)[top - first : stop - first]
    return normals


def _band(z: FloatMap, intrinsics: Intrinsics, first: int, edge_rtol: float) -> FloatMap:
    """Normals of some rows of a map, from row `first` on."""
    known = np.isfinite(z) & (z > 0)
    inverse = np.where(known, 1 / np.where(known, z, np.float32(1)), np.float32(np.nan))
    across, down = jump_links(np.where(known, z, np.float32(np.nan)), edge_rtol)
    a = _slope(inverse, across) * np.float32(intrinsics.fx)
    b = _slope(inverse.T, down.T).T * np.float32(intrinsics.fy)
    x, y = ray_slopes(intrinsics)
    normals = -np.stack([a, b, inverse - a * x - b * y[first : first + len(z), None]], axis=2)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    return normals


def _slope(values: FloatMap, jumps: BoolMap) -> FloatMap:
    """Change of values (H, W) a pixel along the rows: the mean of both sides, or of the one that is no jump."""
    step = np.diff(values, axis=1)
    step[jumps] = np.nan
    edge = np.full((len(values), 1), np.nan, np.float32)
    before, after = np.hstack([edge, step]), np.hstack([step, edge])
    mean = (before + after) / 2
    return np.where(np.isnan(mean), np.where(np.isnan(before), after, before), mean)
