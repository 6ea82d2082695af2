"""Depth map to coloured point cloud."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from pro_engine.geometry.camera import ray_slopes
from pro_engine.geometry.checks import as_map, check_image, check_intrinsics, check_stride, usable_depth
from pro_engine.types import ImageArray, Intrinsics, PointCloud


def depth_to_cloud(
    depth: ArrayLike, intrinsics: Intrinsics, *, image: ImageArray | None = None, stride: int = 1
) -> PointCloud:
    """One point for every pixel (every `stride`-th row and column) that has a finite depth above 0, in row order.

    Args:
        depth: (H, W) z in metres; NaN, inf and values up to 0 give no point.
        intrinsics: of an image of the same size.
        image: (H, W, 3) uint8 RGB of the same size, for the colours.
        stride: 1 keeps every pixel.

    Returns:
        PointCloud in the camera frame; `rgb` is None without an image.

    Raises:
        InputError: arrays of a wrong kind or of sizes that differ, a bad stride, or no pixel left.
    """
    z = as_map(depth, "depth")
    check_intrinsics(intrinsics, z.shape)
    check_stride(stride)
    colours = None if image is None else check_image(np.asarray(image), shape=z.shape)[::stride, ::stride]
    x_slope, y_slope = ray_slopes(intrinsics)
    z = z[::stride, ::stride]
    usable = usable_depth(z)
    xyz = np.empty((np.count_nonzero(usable), 3), dtype=np.float32)
    xyz[:, 2] = z[usable]
    xyz[:, 0] = np.broadcast_to(x_slope[::stride], z.shape)[usable]
    xyz[:, 1] = np.broadcast_to(y_slope[::stride, None], z.shape)[usable]
    xyz[:, :2] *= xyz[:, 2:]
    return PointCloud(xyz, None if colours is None else colours[usable])
