# SPDX-License-Identifier: GPL-3.0-or-later
"""What compositors ask of a photo beside its colours: distance, position, normal and a mask. Needs numpy only.

Every number is finite. Where there is nothing, distance and position are those of a far wall and the normal is 0; the
mask tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .mesh import Intrinsics, position_map
from .simplify import FloatMap

BEYOND = 10.0  # times the farthest surface: where the wall stands


class CameraPose(NamedTuple):
    """How the camera stands: a point p of its space (x right, y up, looks along -z) is at turn @ p + place."""

    turn: FloatMap  # (3, 3), with the scale from metres to the units of the result
    place: FloatMap  # (3,)


def passes_of(depth: FloatMap, lens: Intrinsics, pose: CameraPose) -> Mapping[str, Mapping[str, FloatMap]]:
    """Channels by file, each (H, W) float32: Y (grey in Blender) of z and mask; R, G, B for x, y, z
    of position and normal.

    Args:
        depth: (H, W) metres; not finite or not above 0 where there is nothing.
        lens: of the same size.
        pose: of the camera; z takes its scale from there.
    """
    there = np.isfinite(depth) & (depth > 0)
    wall = float(depth[there].max()) * BEYOND if there.any() else 1.0
    filled = np.where(there, depth, np.float32(wall))
    points = position_map(filled, lens)
    scale = float(np.linalg.norm(pose.turn[:, 0]))
    rotation = (pose.turn / np.float32(scale)).astype(np.float32)
    normals = _normals(points) @ rotation.T
    normals[~there] = 0
    placed = points @ pose.turn.T.astype(np.float32) + pose.place.astype(np.float32)
    return {
        "z": {"Y": filled * np.float32(scale)},
        "position": dict(zip("RGB", np.moveaxis(placed, -1, 0), strict=True)),
        "normal": dict(zip("RGB", np.moveaxis(normals, -1, 0), strict=True)),
        "mask": {"Y": there.astype(np.float32)},
    }


def _normals(points: FloatMap) -> FloatMap:
    """(H, W, 3) unit vectors towards the camera, from the neighbours on the same side of an outline."""
    right, down = _steps(points, 1), _steps(points, 0)
    normals = np.cross(down, right).astype(np.float32)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)
    away = np.sum(normals * points, axis=-1, keepdims=True) > 0
    towards: FloatMap = np.where(away, -normals, normals)
    return towards


def _steps(points: FloatMap, axis: int) -> FloatMap:
    """From each pixel along an axis: to the next or from the one before, whichever changes the distance less."""
    if points.shape[axis] < 2:
        return np.zeros_like(points)
    step = np.diff(points, axis=axis)
    ends = [(0, 0)] * points.ndim
    ends[axis] = (0, 1)
    ahead = np.pad(step, ends, mode="edge")
    ends[axis] = (1, 0)
    behind = np.pad(step, ends, mode="edge")
    nearer = np.abs(ahead[..., 2:]) <= np.abs(behind[..., 2:])
    chosen: FloatMap = np.where(nearer, ahead, behind)
    return chosen
