# SPDX-License-Identifier: GPL-3.0-or-later
"""Planes in a cloud of points of a camera (x right, y up, it looks along -z, metres). Needs numpy only."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

Vector = NDArray[np.float64]

DRAWN = 4000  # points that are looked at
TRIALS = 600
RELATIVE = 0.02  # of the distance, up to which a point is on a plane
BELOW_COSTS = 2.0  # points on a plane that one point below it outweighs
MIN_SHARE = 0.08  # of all points that the ground has
MIN_UP = 0.2  # of the normal of the ground along y: cameras that look straight down see a floor as they see walls
REFITS = 5


class Plane(NamedTuple):
    """A unit normal that points to the camera's side, and a point of the plane."""

    normal: Vector  # (3,)
    point: Vector  # (3,)


def plane_through(points: Vector) -> Plane:
    """The plane nearest to points (N, 3). UserError: fewer than three, or all on a line."""
    middle = points.mean(0) if len(points) else np.zeros(3)
    spread = np.linalg.svd(points - middle, full_matrices=False) if len(points) >= 3 else None
    if spread is None or spread.S[1] <= 1e-6 * max(spread.S[0], 1e-12):
        raise UserError(f"{len(points)} points make no plane; pick three that are not on a line.")
    normal = spread.Vh[2]
    return Plane(normal if normal @ middle <= 0 else -normal, middle)


def plane_around(points: Vector) -> Plane:
    """The plane that most of the points (N, 3) of a patch are on. UserError: there is none."""
    return _most(points, 0.0, -1.0) or plane_through(points)


def ground_in(points: Vector) -> Plane:
    """The plane that has many of the points (N, 3) and next to none below it. UserError: there is none."""
    plane = _most(points, BELOW_COSTS, MIN_UP)
    if plane is None or plane.normal[1] <= MIN_UP:
        raise UserError("No ground was found; pick three points of it, or a point of a plane.")
    return plane


def _most(points: Vector, below_costs: float, min_up: float) -> Plane | None:
    """Of planes through three points, that with the most points, less those below it; None if it has few. Draws are
    seeded."""
    rng = np.random.default_rng(0)
    points = points[rng.permutation(len(points))[:DRAWN]]
    if len(points) < 3:
        return None
    a, b, c = (points[k] for k in rng.integers(0, len(points), (3, TRIALS)))
    normals = np.cross(b - a, c - a)
    length = np.linalg.norm(normals, axis=1)
    normals = normals[length > 0] / length[length > 0, None]
    at = a[length > 0]
    normals *= np.where(np.sum(normals * at, axis=1) > 0, -1, 1)[:, None]  # towards the camera
    normals, at = (one[normals[:, 1] > min_up] for one in (normals, at))
    if not len(normals):
        return None
    tolerance = RELATIVE * np.linalg.norm(points, axis=1)
    height = normals @ points.T - np.sum(normals * at, axis=1)[:, None]  # (planes, points)
    best = int(np.argmax((np.abs(height) <= tolerance).sum(1) - below_costs * (height < -tolerance).sum(1)))
    plane = Plane(normals[best], at[best])
    for _ in range(REFITS):
        inside = np.abs((points - plane.point) @ plane.normal) <= tolerance
        if inside.mean() < MIN_SHARE or np.count_nonzero(inside) < 3:
            return None
        plane = plane_through(points[inside])
    return plane


def up_of_horizon(points: Vector) -> Vector:
    """Where up is, as a unit vector, from one or two points (N, 3) on the horizon; one alone means that it is not
    tilted in the picture. UserError: another number of points, or both in one direction.
    """
    if len(points) not in (1, 2):
        raise UserError(f"{len(points)} points are picked; the horizon needs one, or two if it is tilted.")
    first = points[0]
    second = points[1] if len(points) == 2 else first + np.array([np.linalg.norm(first), 0, 0])
    up = np.cross(first, second)
    length = float(np.linalg.norm(up))
    if length <= 1e-6 * float(np.linalg.norm(first) * np.linalg.norm(second)):
        raise UserError("Both points are in one direction; pick two that are apart on the horizon.")
    return up / length if up[1] >= 0 else -up / length
