# SPDX-License-Identifier: GPL-3.0-or-later
"""Buttons for where a rig stands: level, scale and place.

Annotations are evaluated here: Blender makes properties of them.
"""

from typing import Any

import bpy
from bpy.props import EnumProperty

from ..maths.planes import Plane, ground_in, plane_around, plane_through, up_of_horizon
from ..rig.place import pixel_of
from ..rig.shown_depth import depth_of, lens_of
from ..rig.space import (
    forget_picks,
    level,
    patch_around,
    pick,
    picked,
    picks_of,
    points_of,
    put_at,
    scale_to_height,
    scale_to_length,
)
from ..work import current
from .panel import PanelBase
from .properties import settings_of
from .sentence import OnRig

LEVELS: dict[str, tuple[str, str, Any]] = {
    "GROUND": ("Ground", "The ground that is found in the photo", "VIEW_PERSPECTIVE"),
    "CURSOR": ("Plane at cursor", "The plane around the 3D cursor, which lies on the surface", "CURSOR"),
    "POINTS": ("Three points", "The plane through the picked points, or the selected vertices", "MESH_PLANE"),
    "HORIZON": ("Horizon", "One picked point of the horizon, or two if it is tilted", "EMPTY_ARROWS"),
}


def _ground(rig: bpy.types.Object) -> Plane:
    return ground_in(points_of(depth_of(rig), lens_of(rig)))


class PRO_DEPTH_OT_level(OnRig, bpy.types.Operator):  # noqa: N801 - Blender's manner
    """Turn the selected rig about its camera until it is level; what was picked comes to lie at height 0"""

    bl_idname = "pro_depth.level"
    bl_label = "Level"

    to: EnumProperty(
        name="To",
        description="What becomes level",
        items=[(key, label, text) for key, (label, text, _) in LEVELS.items()],
    )

    def work(self, context: bpy.types.Context, rig: bpy.types.Object) -> str:
        """Turn it."""
        if self.to == "HORIZON":
            turned = level(rig, up_of_horizon(picked(rig)))
            return f"{rig.name} is level with the horizon, turned by {turned:.1f}°."
        if self.to == "GROUND":
            plane = _ground(rig)
        elif self.to == "CURSOR":
            at = pixel_of(rig, context.scene.cursor.location)
            plane = plane_around(patch_around(depth_of(rig), lens_of(rig), *at))
        else:
            plane = plane_through(picked(rig))
        turned = level(rig, plane.normal, plane.point)
        return f"{rig.name} is level, turned by {turned:.1f}°; the plane lies at height 0."


class PRO_DEPTH_OT_pick(OnRig, bpy.types.Operator):  # noqa: N801
    """Remember the place of the 3D cursor as a picked point of the selected rig"""

    bl_idname = "pro_depth.pick"
    bl_label = "Pick 3D cursor"

    def work(self, context: bpy.types.Context, rig: bpy.types.Object) -> str:
        """Remember it."""
        return f"{pick(rig, context.scene.cursor.location)} points are picked."


class PRO_DEPTH_OT_unpick(OnRig, bpy.types.Operator):  # noqa: N801
    """Forget the picked points of the selected rig"""

    bl_idname = "pro_depth.unpick"
    bl_label = "Forget"

    def work(self, _context: bpy.types.Context, rig: bpy.types.Object) -> str:
        """Forget them."""
        forget_picks(rig)
        return "No point is picked; the selected vertices of the surface count."


class PRO_DEPTH_OT_scale(OnRig, bpy.types.Operator):  # noqa: N801
    """Scale the selected rig about its camera, so that a length is as typed"""

    bl_idname = "pro_depth.scale"
    bl_label = "Scale"

    by: EnumProperty(
        name="By",
        description="Which length is known",
        items=[
            ("LENGTH", "Length", "Between two picked points, or two selected vertices"),
            ("HEIGHT", "Height", "Of the camera over the ground that is found in the photo"),
        ],
    )

    def work(self, context: bpy.types.Context, rig: bpy.types.Object) -> str:
        """Scale it."""
        settings = settings_of(context.scene)
        if self.by == "LENGTH":
            factor = scale_to_length(rig, settings.length)
        else:
            factor = scale_to_height(rig, _ground(rig), settings.height)
        return f"{rig.name} is scaled by {factor:.4g}; Near, Far and Distance above are before that."


class PRO_DEPTH_OT_to_cursor(OnRig, bpy.types.Operator):  # noqa: N801
    """Put the selected rig so that its camera is at the 3D cursor"""

    bl_idname = "pro_depth.to_cursor"
    bl_label = "Camera to 3D cursor"

    def work(self, context: bpy.types.Context, rig: bpy.types.Object) -> str:
        """Move it."""
        put_at(rig, context.scene.cursor.location)
        return f"The camera of {rig.name} is at the 3D cursor."


class PRO_DEPTH_PT_space(PanelBase, bpy.types.Panel):  # noqa: N801
    """Level, scale and place."""

    bl_parent_id = "PRO_DEPTH_PT_main"
    bl_label = "Space"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        layout, settings = self.layout, settings_of(context.scene)
        rig = current.rig_in(context)
        row = layout.row(align=True)
        row.operator("pro_depth.pick", icon="CURSOR")
        row.operator("pro_depth.unpick", icon="X")
        layout.label(text=f"{0 if rig is None else picks_of(rig)} points picked")
        layout.label(text="Level to")
        grid = layout.grid_flow(columns=2, align=True)
        for key, (label, _, icon) in LEVELS.items():
            grid.operator("pro_depth.level", text=label, icon=icon).to = key
        column = self.columns()
        column.prop(settings, "length")
        column.operator("pro_depth.scale", text="Scale by two points").by = "LENGTH"
        column.prop(settings, "height")
        column.operator("pro_depth.scale", text="Scale by height").by = "HEIGHT"
        layout.operator("pro_depth.to_cursor", icon="PIVOT_CURSOR")


classes = (
    PRO_DEPTH_OT_level,
    PRO_DEPTH_OT_pick,
    PRO_DEPTH_OT_unpick,
    PRO_DEPTH_OT_scale,
    PRO_DEPTH_OT_to_cursor,
    PRO_DEPTH_PT_space,
)
