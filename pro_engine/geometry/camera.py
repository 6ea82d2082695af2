"""Pixels to points and back, for a pinhole camera (x right, y down, z forward; pixel centres at integers)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pro_engine.errors import InputError
from pro_engine.geometry.checks import as_array, as_map, check_intrinsics, usable_depth
from pro_engine.types import FloatMap, Intrinsics

Directions = NDArray[np.float32]
"""(..., 3) unit vectors in the camera frame."""

Points = NDArray[np.float32]


def ray_slopes(intrinsics: Intrinsics) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """x / z of every column, shape (W,), and y / z of every row, shape (H,), float32."""
    columns = (np.arange(intrinsics.width) - intrinsics.cx) / intrinsics.fx
    rows = (np.arange(intrinsics.height) - intrinsics.cy) / intrinsics.fy
    return columns.astype(np.float32), rows.astype(np.float32)


def unproject(depth: ArrayLike, intrinsics: Intrinsics) -> Points:
    """The 3D point behind every pixel.

    Args:
        depth: (H, W) z in metres.
        intrinsics: of an image of the same size.

    Returns:
        (H, W, 3) float32: x, y, z in metres in the camera frame; NaN in all three where the depth is not a finite
        number above 0, so that one test tells sky and unknown pixels from points.

    Raises:
        InputError: `depth` is not a real (H, W) map, has no usable pixel, or its size is not that of the intrinsics.
    """
    z = as_map(depth, "depth")
    check_intrinsics(intrinsics, z.shape)
    usable = usable_depth(z)
    x_slope, y_slope = ray_slopes(intrinsics)
    points = np.full((*z.shape, 3), np.nan, dtype=np.float32)
    np.copyto(points[..., 2], z, where=usable)
    np.multiply(points[..., 2], x_slope, out=points[..., 0])
    np.multiply(points[..., 2], y_slope[:, None], out=points[..., 1])
    return points


def project(points: ArrayLike, intrinsics: Intrinsics) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where points land in the image.

    Args:
        points: (N, 3) x, y, z in metres in the camera frame.
        intrinsics: the camera; points outside its image are not cut.

    Returns:
        Pixels (N, 2) float32 as (column, row), NaN for a point that is not in front of the camera, and depth (N,)
        float32 in metres, which is z.

    Raises:
        InputError: `points` is not a real (N, 3) array.
    """
    array = as_array(points, "points")
    if array.ndim != 2 or array.shape[1] != 3:
        raise InputError(f"points has shape {array.shape}; give x, y, z in a row a point, shape (N, 3).")
    xyz = array.astype(np.float32, copy=False)
    depth: FloatMap = xyz[:, 2].copy()
    z = np.where(depth > 0, depth, np.float32(np.nan))
    pixels = np.empty((len(xyz), 2), dtype=np.float32)
    pixels[:, 0] = xyz[:, 0] / z * np.float32(intrinsics.fx) + np.float32(intrinsics.cx)
    pixels[:, 1] = xyz[:, 1] / z * np.float32(intrinsics.fy) + np.float32(intrinsics.cy)
    return pixels, depth


def directions(rows: ArrayLike, columns: ArrayLike, height: int, width: int) -> Directions:
    """(R, C, 3) unit vectors in the camera frame through pixel rows (R,) and columns (C,); centres lie at integers."""
    up = (0.5 - (np.asarray(rows, np.float64) + 0.5) / height)[:, None] * math.pi
    right = ((np.asarray(columns, np.float64) + 0.5) / width - 0.5)[None] * 2 * math.pi
    flat = np.cos(up)
    return np.stack(np.broadcast_arrays(flat * np.sin(right), -np.sin(up), flat * np.cos(right)), -1).astype(np.float32)
