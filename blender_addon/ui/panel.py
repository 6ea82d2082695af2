# SPDX-License-Identifier: GPL-3.0-or-later
"""The sidebar of the 3D viewport, tab PRO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bpy

from ..engine.activity import Notice
from ..errors import UserError
from ..maths.mesh import Estimate
from ..rig.in_the_way import hidden_in
from ..rig.place import TOLD_KEY, Recipe, estimate_before
from ..rig.rebuild_estimate import forecast
from ..rig.relief import can_move
from ..work import current
from .panel_text import duration, number, sentence, size
from .photos import file_of
from .picture_size import picture_size
from .properties import PRO_DEPTH_PG_settings, check_metres_of, recipe_of, settings_of

if TYPE_CHECKING:
    _Base = bpy.types.Panel
else:
    _Base = object  # what many panels share is none itself


class PanelBase(_Base):
    """One of the tab's panels."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "PRO"

    def columns(self) -> bpy.types.UILayout:
        """A column in which labels stand left of the values."""
        column: bpy.types.UILayout = self.layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        return column


class PRO_DEPTH_PT_main(PanelBase, bpy.types.Panel):  # noqa: N801 - Blender's manner
    """Photo, model and the button."""

    bl_idname = "PRO_DEPTH_PT_main"
    bl_label = "PRO Depth"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        settings, layout = settings_of(context.scene), self.layout
        layout.row().prop(settings, "photo_source", expand=True)
        if settings.photo_source == "FILE":
            layout.prop(settings, "photo", text="")
        else:
            layout.template_ID(settings, "image", open="image.open")
        pixels = _pixels(settings)
        if pixels:
            layout.label(text=f"{pixels[0]} x {pixels[1]}, {pixels[0] * pixels[1] / 1e6:.1f} MP")
        column = self.columns()
        column.prop(settings, "model")
        column.prop(settings, "quality")
        if settings.quality == "CUSTOM":
            column.prop(settings, "tiles")
        wrong = ""
        try:
            recipe = recipe_of(context.scene)
        except UserError as error:
            wrong = str(error)
            sentence(layout, context, Notice(wrong, is_error=True))
        else:
            if pixels:
                _show(layout, estimate_before(*pixels, recipe.build), recipe, at_most=True)
        if current.busy():
            return  # PRO_DEPTH_PT_run comes next
        layout.prop(settings, "show_photo")
        _large(layout, "pro_depth.estimate", "PLAY")
        notice = current.said()
        if notice is not None and notice.text != wrong:
            sentence(layout, context, notice)
            if current.job is not None and current.job.lacks_engine and notice == current.job.notice:
                layout.operator("pro_depth.preferences", icon="PREFERENCES")
        if current.lost_count():
            layout.operator("pro_depth.place", icon="IMPORT")


class PRO_DEPTH_PT_run(PanelBase, bpy.types.Panel):  # noqa: N801
    """The progress of the run and the way to stop it.

    A panel of its own: within one, Blender takes the box of a sentence for the bar that was there under the mouse, and
    fills it.
    """

    bl_parent_id = "PRO_DEPTH_PT_main"
    bl_label = "Run"
    bl_options = {"HIDE_HEADER"}

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """While there is one."""
        return current.busy()

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        job = current.job
        left = job.seconds_left
        text = f"{job.doing}, {duration(left)}" if left is not None and left >= 1 else job.doing
        self.layout.progress(factor=job.progress, text=text)
        if job.caution:
            sentence(self.layout, context, Notice(job.caution))
        _large(self.layout, "pro_depth.cancel", "CANCEL")


def _large(layout: bpy.types.UILayout, operator: str, icon: Any) -> None:
    row = layout.row()
    row.scale_y = 1.5
    row.operator(operator, icon=icon)


def _pixels(settings: PRO_DEPTH_PG_settings) -> tuple[int, int] | None:
    """The size of the photo as its header tells, or as Blender has it."""
    if settings.photo_source == "IMAGE":
        image = settings.image
        if image is None:
            return None
        if image.source == "GENERATED":
            return image.generated_width, image.generated_height
        if image.has_data:
            return tuple(image.size) if image.size[0] else None
        return picture_size(bpy.path.abspath(image.filepath, library=image.library))
    try:
        return picture_size(file_of(settings.photo))
    except UserError:
        return None


def _show_again(layout: bpy.types.UILayout, scene: bpy.types.Scene, rig: bpy.types.Object) -> bool:
    """Say what a rebuild takes; whether that is known."""
    try:
        recipe = recipe_of(scene)
        guess = forecast(rig, recipe)
    except UserError:
        return False
    if guess is not None:
        _show(layout, guess, recipe)
    return guess is not None


def _show(layout: bpy.types.UILayout, guess: Estimate, recipe: Recipe, *, at_most: bool = False) -> None:
    layers = recipe.build.has_layers
    count = f"{number(guess.vertices)} vertices{' and outlines' if layers else ''}, {size(guess.bytes)}"
    layout.label(text=f"{'Up to' if at_most and not layers else 'About'} {count}")


class PRO_DEPTH_PT_camera(PanelBase, bpy.types.Panel):  # noqa: N801
    """Lens."""

    bl_parent_id = "PRO_DEPTH_PT_main"
    bl_label = "Camera"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        settings, column = settings_of(context.scene), self.columns()
        column.prop(settings, "projection")
        if settings.projection == "equirectangular":
            return
        column.prop(settings, "camera_source")
        names = {"EXIF": ("fov",), "FOCAL": ("focal_mm", "sensor_mm"), "FOV": ("fov",), "CAMERA": ("camera",)}
        for name in names[settings.camera_source]:
            named: Any = {"text": "Else FOV"} if settings.camera_source == "EXIF" else {}
            column.prop(settings, name, **named)


class PRO_DEPTH_PT_scale(PanelBase, bpy.types.Panel):  # noqa: N801
    """Metres and sky."""

    bl_parent_id = "PRO_DEPTH_PT_main"
    bl_label = "Scale"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        settings, column = settings_of(context.scene), self.columns()
        column.prop(settings, "scale_source")
        try:
            check_metres_of(context.scene)
        except UserError as error:
            sentence(self.layout, context, Notice(str(error), is_error=True))
        by = settings.scale_source
        if by == "POINT":
            column.prop(settings, "point")
            column.operator("pro_depth.point_from_cursor", icon="CURSOR")
            column.prop(settings, "distance")
            column.prop(settings, "point_keeps")
        if by in ("ESTIMATE", "NEAR_FAR") or (by == "POINT" and settings.point_keeps == "NEAR"):
            column.prop(settings, "near")
        if by == "METRIC":
            column.prop(settings, "cuts")
        if (
            by in ("ESTIMATE", "NEAR_FAR")
            or (by == "METRIC" and settings.cuts)
            or (by == "POINT" and settings.point_keeps == "FAR")
        ):
            column.prop(settings, "far")
        column.prop(settings, "sky")


class PRO_DEPTH_PT_surface(PanelBase, bpy.types.Panel):  # noqa: N801
    """What is built."""

    bl_parent_id = "PRO_DEPTH_PT_main"
    bl_label = "Surface"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        settings, column = settings_of(context.scene), self.columns()
        for name in ("kind", "material"):
            column.prop(settings, name)
        has_layers = settings.kind == "mesh" and settings.layers
        if settings.kind == "mesh":
            column.prop(settings, "layers")
        if has_layers:
            column.prop(settings, "reveal")
            column.prop(settings, "extend")
        if settings.kind != "adaptive":
            column.prop(settings, "vertices")
        if settings.kind != "adaptive" and not has_layers:
            column.prop(settings, "reduce")
        column.prop(settings, "edge_rtol")
        if not has_layers:
            column.prop(settings, "erode_px")


class PRO_DEPTH_PT_result(PanelBase, bpy.types.Panel):  # noqa: N801
    """What can be done with a rig."""

    bl_parent_id = "PRO_DEPTH_PT_main"
    bl_label = "Result"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        layout = self.layout
        rig = current.rig_in(context)
        layout.label(text=rig.name if rig is not None else "No rig is selected", icon="EMPTY_AXIS")
        if rig is not None:
            if not _show_again(layout, context.scene, rig):
                meshes: list[Any] = [one.data for one in rig.children if one.type == "MESH"]
                layout.label(text=f"{number(sum(len(mesh.vertices) for mesh in meshes))} vertices")
            if told := rig.get(TOLD_KEY):
                layout.label(text=str(told))
            if can_move(rig):
                layout.prop(rig, "pro_depth_relief", slider=True)
        layout.operator("pro_depth.show_photo", icon="IMAGE_DATA")
        layout.operator("pro_depth.look_through", icon="VIEW_CAMERA")
        if hidden_in(context.scene):
            layout.operator("pro_depth.show_hidden", icon="HIDE_OFF")
        layout.operator("pro_depth.rebuild", icon="FILE_REFRESH")
        layout.operator("pro_depth.export", icon="EXPORT")


class PRO_DEPTH_PT_batch(PanelBase, bpy.types.Panel):  # noqa: N801
    """Many photos."""

    bl_parent_id = "PRO_DEPTH_PT_main"
    bl_label = "Batch"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        column = self.columns()
        column.prop(settings_of(context.scene), "batch_folder")
        column.prop(settings_of(context.scene), "batch_pattern")
        column.prop(settings_of(context.scene), "batch_shot")
        self.layout.operator("pro_depth.batch", icon="FILE_FOLDER")


classes = (
    PRO_DEPTH_PT_main,
    PRO_DEPTH_PT_run,
    PRO_DEPTH_PT_result,
    PRO_DEPTH_PT_camera,
    PRO_DEPTH_PT_scale,
    PRO_DEPTH_PT_surface,
    PRO_DEPTH_PT_batch,
)
