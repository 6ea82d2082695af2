# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a rig stands: level, of the right size, in its place. The rig alone is moved; nothing is built again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy
import mathutils
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..maths.mesh import Intrinsics, position_map
from ..maths.planes import Plane
from ..maths.simplify import FloatMap
from ..maths.sphere import Sphere
from ..options import Checked, option
from .build import parts_of, unit_of
from .datablocks import has

Vector = NDArray[np.float64]

PICKS_KEY = "pro_picks"  # on the rig: picked points, x, y and z of each in the space of the camera
PATCH = 0.03  # of the longer side: the radius of what is around a pixel
UP = mathutils.Vector((0, 0, 1))


@dataclass(frozen=True)
class KnownLengths(Checked):
    """What a rig is scaled by, in units of the scene."""

    length: float = option(1.0, "Distance between two picked points", label="Length", above=0)
    height: float = option(1.6, "Height of the camera over the ground", label="Height", above=0)


def points_of(depth: FloatMap, lens: Intrinsics | Sphere) -> Vector:
    """(N, 3) of a map, or of a part of one whose lens is that of the part."""
    places = lens.positions(depth) if isinstance(lens, Sphere) else position_map(depth, lens)
    points = places[np.isfinite(depth) & (depth > 0)]
    return points.astype(np.float64)


def patch_around(depth: FloatMap, lens: Intrinsics | Sphere, column: int, row: int) -> Vector:
    """The points around a pixel."""
    reach = max(2, round(PATCH * max(depth.shape)))
    top, left = max(0, row - reach), max(0, column - reach)
    if isinstance(lens, Sphere):
        around = np.full_like(depth, np.nan)
        inside = np.s_[top : row + reach + 1, left : column + reach + 1]
        around[inside] = depth[inside]
        return points_of(around, lens)
    part = depth[top : row + reach + 1, left : column + reach + 1]
    return points_of(part, Intrinsics(lens.fx, lens.fy, lens.cx - left, lens.cy - top, *part.shape[::-1]))


def pick(rig: bpy.types.Object, place: mathutils.Vector) -> int:
    """Remember a place in the world; the number of those that are remembered."""
    point = _into_camera(rig) @ place
    rig[PICKS_KEY] = [*rig.get(PICKS_KEY, ()), *point.to_tuple()]
    return len(rig[PICKS_KEY]) // 3


def forget_picks(rig: bpy.types.Object) -> None:
    """Remember none."""
    if has(rig, PICKS_KEY):
        del rig[PICKS_KEY]


def picks_of(rig: bpy.types.Object) -> int:
    """How many places are remembered."""
    return len(rig.get(PICKS_KEY, ())) // 3


def picked(rig: bpy.types.Object) -> Vector:
    """(N, 3) in the space of the camera: the places that are remembered, else the selected vertices of the surface."""
    if has(rig, PICKS_KEY):
        return np.array(rig[PICKS_KEY], np.float64).reshape(-1, 3)
    surface = parts_of(rig).surface
    seen = surface.evaluated_get(bpy.context.evaluated_depsgraph_get())
    vertices: Any = surface.data.vertices
    chosen = np.zeros(len(vertices), np.bool_)
    vertices.foreach_get("select", chosen)
    if chosen.all():  # as they are made
        chosen[:] = False
    shown: Any = seen.data.vertices if len(seen.data.vertices) == len(vertices) else vertices
    to_camera = _into_camera(rig) @ surface.matrix_world
    return np.array([to_camera @ shown[int(k)].co for k in np.flatnonzero(chosen)], np.float64).reshape(-1, 3)


def level(rig: bpy.types.Object, up: Vector, floor: Vector | None = None) -> float:
    """Turn a rig about its camera until `up`, a direction in the space of the camera, is up; its heading stays.

    `floor`, a point in that space, comes to lie at the height 0 of the scene. Returns the degrees that it was turned.
    """
    camera = parts_of(rig).camera
    unit_of(camera)
    pivot = camera.matrix_world.to_translation()
    was = (camera.matrix_world.to_3x3() @ mathutils.Vector(up.tolist())).normalized()
    turn = was.rotation_difference(UP)
    around = mathutils.Matrix.Translation(pivot) @ turn.to_matrix().to_4x4() @ mathutils.Matrix.Translation(-pivot)
    rig.matrix_world = around @ rig.matrix_world
    if floor is not None:
        bpy.context.view_layer.update()
        height = (camera.matrix_world @ mathutils.Vector(floor.tolist())).z
        rig.matrix_world = mathutils.Matrix.Translation((0, 0, -height)) @ rig.matrix_world
    return float(np.degrees(turn.angle))


def scale_by(rig: bpy.types.Object, factor: float) -> None:
    """Make a rig larger about its camera, which keeps what it sees."""
    camera = parts_of(rig).camera
    bpy.context.view_layer.update()
    pivot = camera.matrix_world.to_translation()
    about = mathutils.Matrix.Translation(pivot) @ mathutils.Matrix.Scale(factor, 4)
    rig.matrix_world = about @ mathutils.Matrix.Translation(-pivot) @ rig.matrix_world
    data = camera.data
    data.clip_start, data.clip_end = min(data.clip_start, data.clip_start * factor), data.clip_end * max(1.0, factor)


def scale_to_length(rig: bpy.types.Object, length: float) -> float:
    """Scale a rig so that two picked points are so far apart, in units of the scene; returns the factor.

    Raises:
        UserError: not two points, or both in one place.
    """
    points = picked(rig)
    if len(points) != 2:
        raise UserError(f"{len(points)} points are picked; pick two whose distance you know.")
    apart = float(np.linalg.norm(points[1] - points[0])) * _units(rig)
    if not apart > 0:
        raise UserError("Both points are in one place; pick two whose distance you know.")
    scale_by(rig, length / apart)
    return length / apart


def scale_to_height(rig: bpy.types.Object, ground: Plane, height: float) -> float:
    """Scale a rig so that its camera is so high over the ground, in units of the scene; returns the factor."""
    now = float(-ground.normal @ ground.point) * _units(rig)
    scale_by(rig, height / now)
    return height / now


def put_at(rig: bpy.types.Object, place: mathutils.Vector) -> None:
    """Put a rig so that its camera is at a place in the world."""
    camera = parts_of(rig).camera
    bpy.context.view_layer.update()
    move = place - camera.matrix_world.to_translation()
    rig.matrix_world = mathutils.Matrix.Translation(move) @ rig.matrix_world


def _into_camera(rig: bpy.types.Object) -> mathutils.Matrix:
    """From the world to the camera, in metres."""
    camera = parts_of(rig).camera
    unit_of(camera)
    return camera.matrix_world.inverted()


def _units(rig: bpy.types.Object) -> float:
    """Units of the scene that a unit of the camera's space is long."""
    return unit_of(parts_of(rig).camera)
