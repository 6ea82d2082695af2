# SPDX-License-Identifier: GPL-3.0-or-later
"""Seeing the photo on its surface: through its camera, with its colours, and nothing in the way.

Annotations are evaluated here: Blender makes properties of them.
"""

from typing import Any

import bpy
from bpy.props import FloatProperty

from ..rig import in_the_way
from ..rig.build import ends_of, frame_scene, lines_up_told
from ..rig.relief import LEAST, MOST, can_move, range_of, set_relief
from ..rig.shown import hidden_of, leave_out_others, show
from ..rig.shown_depth import cache_told
from . import properties
from .sentence import AtOnce, OnRig

STANDARD = {"view_transform": "Standard", "look": "None", "exposure": 0.0, "gamma": 1.0}


def look(context: bpy.types.Context, rig: bpy.types.Object) -> str:
    """Make a rig's camera that of the scene and of the view, and hide what hides the photo; what was done."""
    scene = context.scene
    camera, surface = ends_of(rig)
    frame_scene(scene, camera)
    for collection in rig.users_collection:  # a batch hides all but its first
        if collection != scene.collection:
            show(scene, collection)
    in_the_way.show_again(scene, context.view_layer)
    left_out = leave_out_others(scene, context.view_layer, rig)
    hidden, around = in_the_way.clear_view(context, rig, camera)
    if isinstance(context.space_data, bpy.types.SpaceView3D) and context.space_data.region_3d is not None:
        context.space_data.region_3d.view_perspective = "CAMERA"
    text = f"The scene renders {rig.name} at {scene.render.resolution_x} x {scene.render.resolution_y}."
    if hidden:
        text += f" {', '.join(hidden)} stood before the camera and {'is' if len(hidden) == 1 else 'are'} hidden;"
        text += " press Show hidden to have it back." if len(hidden) == 1 else " press Show hidden to have them back."
    if left_out:
        are, them = ("is", "it") if len(left_out) == 1 else ("are", "them")
        text += f" {', '.join(left_out)}, in the same place, {are} left out; the Outliner's check boxes show {them}."
    if hidden_of(rig, context.view_layer):
        text += f" {surface.name} is hidden in the viewport or in renders; turn it on in the Outliner."
    text = " ".join(filter(None, [text, lines_up_told(camera), cache_told(rig)]))
    if around:
        text += f" From outside it is hidden by {', '.join(around)}, around it; hide what you do not need."
    return text


def show_colours(context: bpy.types.Context) -> str:
    """Have the viewport and renders show the colours of the photo; what was changed, "" if nothing."""
    space, view, told = context.space_data, context.scene.view_settings, []
    if isinstance(space, bpy.types.SpaceView3D) and space.shading.type in ("SOLID", "WIREFRAME"):
        shading: Any = space.shading
        before = (shading.type, shading.light, shading.color_type)
        shading.type, shading.light, shading.color_type = "SOLID", "FLAT", "TEXTURE"
        if before != ("SOLID", "FLAT", "TEXTURE"):
            told.append("The viewport shows textures without shading.")
    if view.view_transform != STANDARD["view_transform"]:
        told.append(f"The view transform was {view.view_transform} and is Standard now, as {view.view_transform} "
                    "changes colours.")  # fmt: skip
    for name, value in STANDARD.items():
        setattr(view, name, value)
    return " ".join(told)


def show_photo(context: bpy.types.Context, rig: bpy.types.Object) -> str:
    """Look through a rig's camera at the photo in its own colours; what was done."""
    return f"{look(context, rig)} {show_colours(context)}".strip()


class PRO_DEPTH_OT_look_through(OnRig, bpy.types.Operator):  # noqa: N801 - Blender's manner
    """Look through the camera of the selected rig, and set the render size to that of its photo"""

    bl_idname = "pro_depth.look_through"
    bl_label = "Look through"

    def work(self, context: bpy.types.Context, rig: bpy.types.Object) -> str:
        """Make it the camera of the scene, and of the view."""
        return look(context, rig)


class PRO_DEPTH_OT_show_photo(OnRig, bpy.types.Operator):  # noqa: N801
    """Look through the rig's camera at the photo in its own colours: textures in the viewport, the view Standard"""

    bl_idname = "pro_depth.show_photo"
    bl_label = "Show photo"

    def work(self, context: bpy.types.Context, rig: bpy.types.Object) -> str:
        """Look through, then set the colours."""
        return show_photo(context, rig)


class PRO_DEPTH_OT_show_hidden(AtOnce, bpy.types.Operator):  # noqa: N801
    """Show again what was hidden because it stood before the camera of a photo"""

    bl_idname = "pro_depth.show_hidden"
    bl_label = "Show hidden"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Something is hidden."""
        return bool(in_the_way.hidden_in(context.scene))

    def work(self, context: bpy.types.Context, _rig: bpy.types.Object) -> str:
        """Show it."""
        return f"{', '.join(in_the_way.show_again(context.scene, context.view_layer))} can be seen again."


def _relief(rig: bpy.types.Object) -> float:
    near, far = range_of(rig) or (1.0, 1.0)
    return far / near


def _set_relief(rig: bpy.types.Object, relief: float) -> None:
    """Move the surface, and let Near and Far say the same."""
    if not can_move(rig):
        return
    near, far = set_relief(rig, relief)
    for scene in rig.users_scene:
        settings, metres = properties.settings_of(scene), properties.metres_per_unit(scene)
        settings.scale_source, settings.near, settings.far = "NEAR_FAR", near / metres, far / metres


classes = (PRO_DEPTH_OT_look_through, PRO_DEPTH_OT_show_photo, PRO_DEPTH_OT_show_hidden)


def register() -> None:
    """Add the relief to objects; only rigs have one."""
    bpy.types.Object.pro_depth_relief = FloatProperty(  # type: ignore[attr-defined, func-returns-value]
        name="Relief",
        description="Distance of the farthest surface as a multiple of that of the nearest; moves the mesh at once",
        get=_relief,
        set=_set_relief,
        min=LEAST,
        max=MOST,
        soft_max=30.0,
    )


def unregister() -> None:
    """Take it away."""
    del bpy.types.Object.pro_depth_relief  # type: ignore[attr-defined]
