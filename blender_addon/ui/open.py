# SPDX-License-Identifier: GPL-3.0-or-later
"""A photo from the file browser, the menu Add > Image, or dropped on a viewport, straight to its rig.

Annotations are evaluated here: Blender makes properties of them.
"""

from typing import Any

import bpy
from bpy.props import StringProperty

from ..work import current
from . import properties
from .photos import SUFFIXES
from .sentence import Returned

TAB = "PRO"
ENDINGS = ";".join(sorted(SUFFIXES))


class PRO_DEPTH_OT_open(bpy.types.Operator):  # noqa: N801 - Blender's manner
    """Choose a photo, estimate its depth, and build a mesh with the photo's camera"""

    bl_idname = "pro_depth.open"
    bl_label = "Photo with depth (PRO)"
    bl_options = set()

    filepath: StringProperty(name="Photo", description="The photo that becomes a mesh", subtype="FILE_PATH")
    filter_image: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """One run at a time."""
        if current.busy():
            cls.poll_message_set("A photo is being worked on")
        return not current.busy()

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> Returned:
        """Ask for the photo; one that was dropped is taken as it is."""
        if self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, context: bpy.types.Context) -> None:
        """Beside the files: what comes after the run."""
        self.layout.prop(properties.settings_of(context.scene), "show_photo")

    def execute(self, context: bpy.types.Context) -> Returned:
        """Choose it, and start as the button does; progress and result are in the sidebar."""
        settings = properties.settings_of(context.scene)
        settings.photo_source, settings.photo = "FILE", self.filepath
        self.filepath = ""
        try:
            if bpy.app.background:
                done: Returned = _ours().estimate()
                return done
            open_tab(context)
            _ours().estimate("INVOKE_DEFAULT")
        except RuntimeError as error:  # what the other operator reports
            self.report({"ERROR"}, str(error).strip().removeprefix("Error: "))
            return {"CANCELLED"}
        return {"FINISHED"}


class PRO_DEPTH_FH_photo(bpy.types.FileHandler):  # noqa: N801
    """Photos dropped on a viewport; Blender asks which of its ways to open them is meant."""

    bl_idname = "PRO_DEPTH_FH_photo"
    bl_label = "Photo with depth (PRO)"
    bl_import_operator = "pro_depth.open"
    bl_file_extensions = ENDINGS

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Over a viewport."""
        return context.area is not None and context.area.type == "VIEW_3D"


def _ours() -> Any:
    """Our operators, of which stubs know nothing."""
    return getattr(bpy.ops, "pro_depth")  # noqa: B009


def open_tab(context: bpy.types.Context) -> None:
    """Open the sidebar of the viewport at our tab."""
    space: Any = context.space_data
    if not isinstance(space, bpy.types.SpaceView3D) or context.area is None:
        return
    space.show_region_ui = True
    region: Any = next((one for one in context.area.regions if one.type == "UI"), None)
    if region is not None and hasattr(region, "active_panel_category"):
        with_tabs = region.width > 1  # a sidebar that was never open has no tabs yet
        if with_tabs:
            region.active_panel_category = TAB


def _entry(menu: bpy.types.Menu, _context: bpy.types.Context) -> None:
    menu.layout.separator()
    menu.layout.operator("pro_depth.open", icon="MESH_GRID")


classes = (PRO_DEPTH_OT_open, PRO_DEPTH_FH_photo)


def register() -> None:
    """An entry in the menu Add > Image."""
    bpy.types.VIEW3D_MT_image_add.append(_entry)


def unregister() -> None:
    """Take it away."""
    bpy.types.VIEW3D_MT_image_add.remove(_entry)
