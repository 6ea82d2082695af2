# SPDX-License-Identifier: GPL-3.0-or-later
"""What hides a whole photo from its camera, such as the cube of a new file: put out of sight, and shown again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import bpy
from mathutils import Vector

from .build import FRAME_KEY
from .datablocks import has

HIDDEN_KEY = "pro_hidden"  # on what was hidden: whether renders left it out before
SIDE = 9  # rays across and down the picture
WHOLE = 0.95  # of the rays; what covers less may be meant to stand before the photo
SLACK = 1e-4  # relative; the surface itself is not in its own way


class Obstacles(NamedTuple):
    """Names of what was hidden, and of what stays around the rig: behind the photo, before everybody who is outside."""

    hidden: list[str]
    around: list[str]


def clear_view(context: bpy.types.Context, rig: bpy.types.Object, camera: bpy.types.Object) -> Obstacles:
    """Hide each mesh that stands between the camera and all of the photo."""
    layer, family = context.view_layer, {rig, *rig.children_recursive}
    layer.update()
    graph = context.evaluated_depsgraph_get()
    rays = list(_rays(context.scene, camera))
    surfaces = [one for one in family if one.type == "MESH" and one.visible_get(view_layer=layer)]
    reach: list[float] = []
    found, around = [], []
    for thing in list(layer.objects):
        if thing.type != "MESH" or thing in family or thing.library or not thing.visible_get(view_layer=layer):
            continue
        hits = [_distance(thing, graph, *ray) for ray in rays]
        if sum(hit < float("inf") for hit in hits) < WHOLE * len(rays):
            continue
        reach = reach or [min((_distance(one, graph, *ray) for one in surfaces), default=0.0) for ray in rays]
        if sum(hit < far * (1 - SLACK) for hit, far in zip(hits, reach, strict=True)) >= WHOLE * len(rays):
            found.append(thing)
        elif surfaces and _encloses(thing, surfaces):
            around.append(thing.name)
    for thing in found:
        thing[HIDDEN_KEY] = thing.hide_render
        thing.hide_render = True
        thing.hide_set(True, view_layer=layer)
    return Obstacles([thing.name for thing in found], around)


def _encloses(thing: bpy.types.Object, surfaces: list[bpy.types.Object]) -> bool:
    """Whether the box around a mesh holds the boxes around all of the rig's."""
    outer, inner = _box([thing]), _box(surfaces)
    return all(low <= least and most <= high for (low, high), (least, most) in zip(outer, inner, strict=True))


def _box(things: list[bpy.types.Object]) -> list[tuple[float, float]]:
    """From where to where in the world, along x, y and z."""
    corners = [thing.matrix_world @ Vector(corner) for thing in things for corner in thing.bound_box]
    return [(min(one[k] for one in corners), max(one[k] for one in corners)) for k in range(3)]


def hidden_in(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """What `clear_view` has hidden in a scene."""
    return [thing for thing in scene.objects if has(thing, HIDDEN_KEY)]


def show_again(scene: bpy.types.Scene, layer: bpy.types.ViewLayer) -> list[str]:
    """Show all that `clear_view` has hidden; their names."""
    found = hidden_in(scene)
    for thing in found:
        thing.hide_render = bool(thing[HIDDEN_KEY])
        del thing[HIDDEN_KEY]
        if layer.objects.get(thing.name) == thing:
            thing.hide_set(False, view_layer=layer)
    return [thing.name for thing in found]


def _rays(scene: bpy.types.Scene, camera: bpy.types.Object) -> Iterator[tuple[Vector, Vector]]:
    """Origin and direction in the world of rays through the picture."""
    assert has(camera, FRAME_KEY)
    corners = camera.data.view_frame(scene=scene)
    left, right = (choose(corner.x for corner in corners) for choose in (min, max))
    low, high = (choose(corner.y for corner in corners) for choose in (min, max))
    place, turn = camera.matrix_world.translation, camera.matrix_world.to_quaternion()
    shares = [(k + 0.5) / SIDE for k in range(SIDE)]
    for across, down in itertools.product(shares, shares):
        there = Vector((left + (right - left) * across, low + (high - low) * down, corners[0].z))
        yield place, turn @ there.normalized()


def _distance(thing: bpy.types.Object, graph: bpy.types.Depsgraph, origin: Vector, direction: Vector) -> float:
    """Units of the scene to where a ray meets a mesh; inf where it does not."""
    world = thing.matrix_world
    back = world.inverted_safe()
    start = back @ origin
    hit, place, *_ = thing.ray_cast(start, (back @ (origin + direction)) - start, depsgraph=graph)
    return (world @ place - origin).length if hit else float("inf")
