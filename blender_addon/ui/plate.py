# SPDX-License-Identifier: GPL-3.0-or-later
"""Buttons for what is added to the photo: background, projection, maps for compositors and their nodes.

Annotations are evaluated here: Blender makes properties of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty
from bpy_extras.io_utils import ExportHelper

from ..errors import UserError
from ..rig.build import parts_of
from ..rig.compositor import set_up
from ..rig.passes import check_free, pass_files, write_passes
from ..rig.plate import project, show_behind
from ..rig.shot import is_shot
from ..rig.shown_depth import depth_of, frames_of, pinhole_of
from ..work import current
from .panel import PanelBase
from .photos import file_of
from .properties import settings_of
from .sentence import OnRig, Returned


class PRO_DEPTH_OT_background(OnRig, bpy.types.Operator):  # noqa: N801 - Blender's manner
    """Show the photo behind everything in the view through the camera of the selected rig"""

    bl_idname = "pro_depth.background"
    bl_label = "Photo as background"

    def work(self, context: bpy.types.Context, rig: bpy.types.Object) -> str:
        """Set the background."""
        show_behind(parts_of(rig))
        return f"The camera of {rig.name} shows the photo behind everything; renders do not, the compositor does."


class PRO_DEPTH_OT_project(OnRig, bpy.types.Operator):  # noqa: N801
    """Give your own selected objects the photo, projected from the camera of the rig. It also lands on what another
    object hides from the camera"""

    bl_idname = "pro_depth.project"
    bl_label = "Project onto selection"

    def work(self, context: bpy.types.Context, rig: bpy.types.Object) -> str:
        """Give them the material."""
        names = project(parts_of(rig), context.selected_objects, settings_of(context.scene).material)
        return f"The photo is projected onto {', '.join(names)}; hidden parts get it too."


def _each(context: bpy.types.Context, frames: list[int | None]) -> Iterator[int | None]:
    """The frames, with the scene at each of them; then it stands where it did."""
    scene, manager = context.scene, context.window_manager
    stood = scene.frame_current
    manager.progress_begin(0, len(frames))
    try:
        for k, frame in enumerate(frames):
            manager.progress_update(k)
            if frame is not None and frame != scene.frame_current:
                scene.frame_set(frame)
            yield frame
    finally:
        manager.progress_end()
        if scene.frame_current != stood:
            scene.frame_set(stood)


class PRO_DEPTH_OT_passes(OnRig, bpy.types.Operator, ExportHelper):  # type: ignore[misc]  # noqa: N801
    """Save distance, position, normal and mask of the selected rig as OpenEXR files of 32-bit floats"""

    if TYPE_CHECKING:
        filepath: str  # of ExportHelper

    bl_idname = "pro_depth.passes"
    bl_label = "Save Z, position, normal"
    bl_options = set()

    filename_ext = ".exr"
    filter_glob: StringProperty(default="*.exr", options={"HIDDEN"})
    space: EnumProperty(
        name="Space",
        description="In which axes position and normal are; all lengths are in units of the scene",
        items=[
            ("CAMERA", "Camera", "x to the right, y up, the camera looks along -z"),
            ("WORLD", "World", "The axes of the scene"),
        ],
    )
    frames: EnumProperty(
        name="Frames",
        description="Of a shot: which frames are written, each with its number",
        items=[
            ("CURRENT", "Current", "The frame at which the scene stands"),
            ("ALL", "All", "Every frame of the shot; Blender waits for them"),
        ],
    )
    replace: BoolProperty(name="Replace", description="Replace files that are there")

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> Returned:  # type: ignore[override]
        """Ask for the name of the files; they are named after the rig, beside the saved .blend."""
        if not self.filepath:
            name = bpy.path.clean_name(current.rig_in(context).name)
            self.filepath = str(Path(bpy.data.filepath).parent / f"{name}.exr")
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def work(self, context: bpy.types.Context, rig: bpy.types.Object) -> str:
        """Write them."""
        path, lens = file_of(self.filepath, "file name"), pinhole_of(rig)
        if path.is_dir():
            raise UserError(f"{path} is a folder; give a file name in it.")
        frames: list[int | None] = list(frames_of(rig)) or [None]
        if self.frames == "CURRENT" and frames != [None]:
            frames = [context.scene.frame_current]
        if not self.replace:
            check_free(file for frame in frames for file in pass_files(path, frame).values())
        for frame in _each(context, frames):
            files = write_passes(rig, depth_of(rig), lens, path, self.space, frame)
        names = ", ".join(file.name for file in files)
        more = f", and the same of {len(frames) - 1} frames before" if len(frames) > 1 else ""
        return f"Wrote {names}{more}; where there is nothing, the mask is 0 and Z far away."


class PRO_DEPTH_OT_compositor(OnRig, bpy.types.Operator):  # noqa: N801
    """Put the render over the photo of the selected rig in the compositor, with its Z and its mask at hand"""

    bl_idname = "pro_depth.compositor"
    bl_label = "Set up compositor"

    def work(self, context: bpy.types.Context, rig: bpy.types.Object) -> str:
        """Add the nodes."""
        lens = pinhole_of(rig)
        shown = set_up(context.scene, parts_of(rig), None if is_shot(rig) else depth_of(rig), lens)
        what = "the render lies over the photo" if shown else "your nodes stay, link the new ones as you need them"
        more = " Z and mask of a shot are files: Save Z, position, normal." if is_shot(rig) else ""
        return f"The film is transparent, and {what}.{more}"


class PRO_DEPTH_PT_plate(PanelBase, bpy.types.Panel):  # noqa: N801
    """What is added to the photo."""

    bl_parent_id = "PRO_DEPTH_PT_main"
    bl_label = "CG on the plate"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw it."""
        layout = self.layout
        layout.operator("pro_depth.background", icon="IMAGE_BACKGROUND")
        layout.operator("pro_depth.project", icon="MOD_UVPROJECT")
        layout.operator("pro_depth.passes", icon="RENDERLAYERS")
        layout.operator("pro_depth.compositor", icon="NODE_COMPOSITING")


classes = (
    PRO_DEPTH_OT_background,
    PRO_DEPTH_OT_project,
    PRO_DEPTH_OT_passes,
    PRO_DEPTH_OT_compositor,
    PRO_DEPTH_PT_plate,
)
