# SPDX-License-Identifier: GPL-3.0-or-later
"""A new rig as Blender's importers leave what they made: selected, active, and in view."""

from __future__ import annotations

import contextlib

import bpy

from ..rig.build import Built


def present(scene: bpy.types.Scene, built: Built) -> None:
    """Select a rig alone, make its surface active, and frame it in the viewports that show its scene."""
    windows = [one for one in bpy.context.window_manager.windows if one.scene == scene]
    layers = {one.view_layer for one in windows} or {scene.view_layers[0]}
    for layer in layers:
        for thing in layer.objects:
            if thing is not None:  # Blender 5 has None for an object that was just deleted
                thing.select_set(False, view_layer=layer)
        for thing in (built.rig, *built.rig.children):
            thing.select_set(True, view_layer=layer)
        layer.objects.active = built.surface
    for window in windows:
        _frame(window)


def _frame(window: bpy.types.Window) -> None:
    """Show what is selected, in all viewports but those that look through a camera."""
    for area in window.screen.areas:
        region = next((one for one in area.regions if one.type == "WINDOW"), None)
        space = area.spaces.active
        if region is None or not isinstance(space, bpy.types.SpaceView3D):
            continue
        if space.region_3d is None or space.region_3d.view_perspective == "CAMERA":
            continue
        with contextlib.suppress(RuntimeError), bpy.context.temp_override(window=window, area=area, region=region):
            bpy.ops.view3d.view_selected()
