"""A room seen by a camera of known height and attitude: its depth, and a relative disparity of it."""

from __future__ import annotations

import numpy as np

from pro_engine.geometry.ground import down_vector
from pro_engine.types import Intrinsics

WIDTH, HEIGHT = 160, 120
LENS = Intrinsics.from_fov(WIDTH, HEIGHT, fov_x_deg=75)
CEILING_M, AHEAD_M, ASIDE_M = 2.6, 6.0, 2.5


def rays() -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return np.stack([(columns - LENS.cx) / LENS.fx, (rows - LENS.cy) / LENS.fy, np.ones((HEIGHT, WIDTH))], axis=-1)


def directions(pitch_deg: float, roll_deg: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Down, level ahead, and to the right, in the camera frame."""
    down = down_vector(pitch_deg, roll_deg)
    ahead = np.array([0.0, 0.0, 1.0]) - down[2] * down
    ahead /= np.linalg.norm(ahead)
    return down, ahead, np.cross(down, ahead)


def room(camera_m: float, pitch_deg: float, roll_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth (H, W) of a room with boxes on its floor, and where the floor is."""
    down, ahead, right = directions(pitch_deg, roll_deg)
    seen = rays()
    planes = (seen @ down / camera_m, -(seen @ down) / (CEILING_M - camera_m), seen @ ahead / AHEAD_M)
    depth = 1 / np.maximum.reduce([*planes, seen @ right / ASIDE_M])
    floor = depth == 1 / np.maximum(planes[0], 1e-9)
    for distance_m, aside_m, half_m, top_m in ((2.0, -0.7, 0.3, 0.4), (3.5, 0.9, 0.5, 0.8), (5.0, -0.5, 0.6, 0.3)):
        point = seen * (distance_m / np.maximum(seen @ ahead, 1e-9))[..., None]
        height_m = camera_m - point @ down
        hit = (np.abs(point @ right - aside_m) < half_m) & (height_m > 0) & (height_m < top_m)
        hit &= point[..., 2] < depth
        depth, floor = np.where(hit, point[..., 2], depth), floor & ~hit
    return depth, floor


def relative(depth: np.ndarray, noise: float = 0.02) -> np.ndarray:
    """Disparity of an unknown scale and shift, with noise."""
    noisy = (1 + np.random.default_rng(7).normal(0, noise, depth.shape)) / depth
    return (3.7 * noisy + 11.0).astype(np.float32)
