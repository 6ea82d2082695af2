"""Where a `SceneCamera` stands, which rays its pixels see, what a renderer returns. Frames as in `scene.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..parts.scene import SceneCamera


@dataclass(frozen=True)
class Rendered:
    """A picture and its geometry.

    rgb (H, W, 3) linear float32; depth (H, W) float32 z in metres, +inf where the sky is; transparent (H, W) bool, True
    where the first surface is clear glass; intrinsics (fx, fy, cx, cy) in pixels, pixel centres at integers.
    """

    rgb: NDArray[np.float32]
    depth: NDArray[np.float32]
    transparent: NDArray[np.bool_]
    intrinsics: tuple[float, float, float, float]


def camera_axes(camera: SceneCamera) -> NDArray[np.float64]:
    """World directions of the camera axes as columns, (3, 3): x right, y down, z forward."""
    cos_yaw, sin_yaw = math.cos(camera.yaw), math.sin(camera.yaw)
    cos_pitch, sin_pitch = math.cos(camera.pitch), math.sin(camera.pitch)
    forward = np.array([cos_pitch * cos_yaw, cos_pitch * sin_yaw, sin_pitch])
    level = np.array([sin_yaw, -cos_yaw, 0.0])
    below = np.cross(forward, level)
    cos_roll, sin_roll = math.cos(camera.roll), math.sin(camera.roll)
    right = cos_roll * level - sin_roll * below
    down = cos_roll * below + sin_roll * level
    return np.stack([right, down, forward], axis=1)


def camera_intrinsics(camera: SceneCamera, width: float, height: float) -> tuple[float, float, float, float]:
    """(fx, fy, cx, cy) in pixels; pixels are square and their centres stand at integers."""
    focal = width / 2 / math.tan(camera.fov_x / 2)
    return focal, focal, (width - 1) / 2, (height - 1) / 2


def pixel_directions(
    camera: SceneCamera, width: float, height: float, x: NDArray[np.floating], y: NDArray[np.floating]
) -> NDArray[np.float32]:
    """World directions (N, 3) through pixel positions (x, y), (N,) each, scaled so that they advance 1 m in z-depth."""
    fx, fy, cx, cy = camera_intrinsics(camera, width, height)
    right, down, forward = camera_axes(camera).T.astype(np.float32)
    across = ((x - cx) / fx).astype(np.float32)[:, None]
    along = ((y - cy) / fy).astype(np.float32)[:, None]
    return across * right + along * down + forward
