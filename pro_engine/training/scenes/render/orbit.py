"""Cameras around what a view of a scene shows, and their poses as a COLMAP model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..parts.scene import SceneCamera
from .camera_view import camera_axes, camera_intrinsics
from .embree import EmbreeScene

Acceptable = Callable[[NDArray[np.float32], SceneCamera, np.random.Generator], bool]

SPANS_DEG = (60.0, 45.0, 32.0, 22.0, 14.0, 8.0)
"""Angles that the cameras may spread over, seen from what they look at; the widest with room for all is taken."""
RISE = 0.06
"""How far the cameras go up and down on their way, as a share of the distance to what they look at."""
SEEN = 0.75
"""Share of the distance to what the cameras look at that has to be free in front of each."""
PROPOSALS = 40
NARROW = math.radians(2.0)


def orbit_cameras(
    tracer: EmbreeScene, count: int, aspect: float, rng: np.random.Generator, acceptable: Acceptable
) -> list[SceneCamera]:
    """Cameras on an arc around what a good view of the scene looks at; an empty list where none has room.

    Args:
        tracer: the scene, made ready for rays.
        count: of cameras. aspect: height of the pictures divided by their width.
        rng: of the draws. acceptable: whether a view is worth taking, from a coarse grid of its z-depth.
    """
    for span in SPANS_DEG:
        for _ in range(PROPOSALS):
            base = replace(tracer.scene.propose(rng), blur=0.0, roll=0.0)
            depth = tracer.probe(base, 7, 5, aspect)
            if not acceptable(depth, base, rng):
                continue
            near = depth[1:4, 2:5]
            if not np.isfinite(near).any():
                continue
            cameras = _arc(base, float(np.median(near[np.isfinite(near)])), count, math.radians(span))
            if all(_has_room(tracer, base, camera, focus, aspect) for camera, focus in cameras):
                return [camera for camera, _ in cameras]
    return []


def _arc(base: SceneCamera, distance: float, count: int, span: float) -> list[tuple[SceneCamera, NDArray[np.float64]]]:
    """The cameras, and what they look at."""
    focus = np.asarray(base.position) + distance * camera_axes(base)[:, 2]
    offset = np.asarray(base.position) - focus
    cameras = []
    for at in np.linspace(-0.5, 0.5, count) if count > 1 else (0.0,):
        cos, sin = math.cos(at * span), math.sin(at * span)
        turned = np.array([cos * offset[0] - sin * offset[1], sin * offset[0] + cos * offset[1], offset[2]])
        turned[2] += RISE * distance * math.sin(4 * math.pi * at)
        ahead = -turned / np.linalg.norm(turned)
        position = focus + turned
        camera = replace(
            base,
            position=(float(position[0]), float(position[1]), float(position[2])),
            yaw=math.atan2(ahead[1], ahead[0]),
            pitch=math.asin(ahead[2]),
        )
        cameras.append((camera, focus))
    return cameras


def _has_room(
    tracer: EmbreeScene, base: SceneCamera, camera: SceneCamera, focus: NDArray[np.float64], aspect: float
) -> bool:
    """Whether a camera stands free, is not behind a wall seen from the first one, and sees what it looks at."""
    depth = tracer.probe(camera, 7, 5, aspect)
    if float(depth.min()) < camera.min_distance or float(np.isinf(depth).mean()) > 0.6:
        return False
    if depth[2, 3] < SEEN * np.linalg.norm(focus - camera.position):
        return False
    way = np.asarray(camera.position) - base.position
    length = float(np.linalg.norm(way))
    if length < 1e-6:
        return True
    ahead = way / length
    glance = replace(base, yaw=math.atan2(ahead[1], ahead[0]), pitch=math.asin(ahead[2]), fov_x=NARROW)
    return bool(tracer.probe(glance, 3, 3).min() > 1.1 * length)


def pose_of(camera: SceneCamera) -> dict[str, object]:
    """Where a camera stands: its centre in metres and the world directions of its axes, as columns."""
    return {"center": list(camera.position), "axes": camera_axes(camera).tolist()}


def colmap_model(cameras: dict[str, SceneCamera], width: int, height: int) -> dict[str, bytes]:
    """The files of a COLMAP model in text, by name; `cameras` by the names of their pictures.

    COLMAP's pixel centres lie at halves, and its poses lead from the world to the camera.
    """
    fx, fy, cx, cy = camera_intrinsics(next(iter(cameras.values())), width, height)
    lines = []
    for number, (name, camera) in enumerate(cameras.items(), 1):
        turn = camera_axes(camera).T
        shift = -turn @ np.asarray(camera.position)
        numbers = " ".join(f"{value:.12g}" for value in (*_quaternion(turn), *shift))
        lines += [f"{number} {numbers} 1 {name}", ""]
    lens = f"1 PINHOLE {width} {height} {fx:.9f} {fy:.9f} {cx + 0.5} {cy + 0.5}\n"
    return {"cameras.txt": lens.encode(), "images.txt": ("\n".join(lines) + "\n").encode(), "points3D.txt": b""}


def _quaternion(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """(w, x, y, z) of a rotation matrix (3, 3): the eigenvector of Bar-Itzhack's matrix, for any angle."""
    (a, b, c), (d, e, f), (g, h, i) = turn
    matrix = np.array(
        [
            [a - e - i, b + d, c + g, h - f],
            [b + d, e - a - i, f + h, c - g],
            [c + g, f + h, i - a - e, d - b],
            [h - f, c - g, d - b, a + e + i],
        ]
    )
    x, y, z, w = np.linalg.eigh(matrix)[1][:, -1]
    quaternion: NDArray[np.float64] = np.array([w, x, y, z]) * (1 if w >= 0 else -1)
    return quaternion
