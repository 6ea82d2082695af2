# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rigs of a scene are shown: many stand in the same place. The check box of the Outliner does the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bpy
from mathutils import Vector

from .build import ends_of, is_whole
from .place import rig_of

SAME_PLACE = 1e-3  # of the distance to what is seen


def show(scene: bpy.types.Scene, collection: bpy.types.Collection, shown: bool = True) -> None:
    """Show a collection in all view layers of a scene, or leave it out of them."""
    for layer in scene.view_layers:
        for found in _layers_of(layer.layer_collection, collection):
            found.exclude = not shown
            if shown:
                found.hide_viewport = False
    if shown and not collection.library:
        collection.hide_viewport = collection.hide_render = False


def hidden_of(rig: bpy.types.Object, layer: bpy.types.ViewLayer) -> bool:
    """Whether the surface of a rig is hidden in the viewport or in renders. UserError: it is gone."""
    surface = ends_of(rig)[1]
    return surface.hide_render or not surface.visible_get(view_layer=layer)


def leave_out_others(scene: bpy.types.Scene, layer: bpy.types.ViewLayer, rig: bpy.types.Object) -> list[str]:
    """Leave out what else stands where a rig does: rigs whose cameras are in the place of its own; their names.

    One of which a collection holds other things, too, stays.
    """
    here = ends_of(rig)[0].matrix_world.translation
    left = []
    for other in scene.objects:
        if rig_of(other) != other or other == rig or not is_whole(other) or hidden_of(other, layer):
            continue
        camera = ends_of(other)[0]
        family = {other, *other.children_recursive}
        is_apart = all(set(one.all_objects) <= family for one in other.users_collection)
        if is_apart and (camera.matrix_world.translation - here).length <= SAME_PLACE * _reach(other):
            for collection in other.users_collection:
                show(scene, collection, False)
            left.append(other.name)
    return left


def _reach(rig: bpy.types.Object) -> float:
    """Units of the scene to the middle of its surface."""
    camera, surface = ends_of(rig)
    corners: Any = surface.bound_box
    middle = sum((Vector(corner) for corner in corners), Vector()) / len(corners)
    return float((surface.matrix_world @ middle - camera.matrix_world.translation).length)


def _layers_of(
    parent: bpy.types.LayerCollection, collection: bpy.types.Collection
) -> Iterator[bpy.types.LayerCollection]:
    if parent.collection == collection:
        yield parent
    for child in parent.children:
        yield from _layers_of(child, collection)
