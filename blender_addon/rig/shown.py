# SPDX-License-Identifier: GPL-3.0-or-later
"""Which rigs of a scene are shown: many stand in the same place. The check box of the Outliner does the same."""

from __future__ import annotations

from collections.abc import Iterator

import bpy


def show(scene: bpy.types.Scene, collection: bpy.types.Collection, shown: bool = True) -> None:
    """Show a collection in all view layers of a scene, or leave it out of them."""
    for layer in scene.view_layers:
        for found in _layers_of(layer.layer_collection, collection):
            found.exclude = not shown


def _layers_of(
    parent: bpy.types.LayerCollection, collection: bpy.types.Collection
) -> Iterator[bpy.types.LayerCollection]:
    if parent.collection == collection:
        yield parent
    for child in parent.children:
        yield from _layers_of(child, collection)
