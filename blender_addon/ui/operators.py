# SPDX-License-Identifier: GPL-3.0-or-later
"""What the buttons do. Those that take time run beside Blender when clicked, and to the end when called from a script.

Annotations are evaluated here: Blender makes properties of them.
"""

import time
from pathlib import Path
from typing import NamedTuple

import bpy
from bpy.props import StringProperty

from ..engine.activity import Activity
from ..engine.client import wait_for_ends
from ..errors import UserError
from ..rig.place import pixel_of, rebuild
from ..rig.rebuild_estimate import remember
from ..rig.shot import is_shot, rebuild_shot
from ..work import current
from ..work.folders import drop_folder, new_folder
from ..work.photo_job import RigJob
from ..work.status import show_status
from . import preferences, properties
from .look import show_photo
from .photos import file_of, image_file, photo_file, photos_in
from .sentence import AtOnce, OnRig, Returned, Sentence

PAUSE_S = 0.03  # between looks at the engine, in a script


class Photos(NamedTuple):
    """What to work on; `plate` is the image of the .blend that the only one is."""

    files: list[Path]
    plate: bpy.types.Image | None = None
    are_a_shot: bool = False


class _Active(Sentence):
    """An operator that starts an activity and follows it to its end."""

    bl_options = set()  # not to be repeated nor adjusted; each result pushes a step of undo itself

    def begin(self, scene: bpy.types.Scene) -> Activity:
        """Start the activity. UserError: it cannot be."""
        raise NotImplementedError

    def execute(self, context: bpy.types.Context) -> Returned:
        """Start, and wait for the end."""
        try:
            activity = self.begin(context.scene)
        except Exception as error:
            return self.refuse(error)
        try:
            while activity.poll():
                time.sleep(PAUSE_S)
        finally:
            activity.stop("The run was interrupted.")
            wait_for_ends()  # a script may have nobody who would look after the engine later
        return self._leave(activity)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> Returned:
        """Start, and let Blender live."""
        try:
            self._activity = self.begin(context.scene)
        except Exception as error:
            return self.refuse(error)
        self._shown: tuple[object, ...] = ()
        self._timer = current.start_timer(context)
        context.window_manager.modal_handler_add(self)
        current.redraw()
        return {"RUNNING_MODAL"}

    def modal(self, _context: bpy.types.Context, event: bpy.types.Event) -> Returned:
        """Look after it at each tick; all events go on to whom they are meant for."""
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        if self._activity.poll():
            if self._activity.shown != self._shown:
                self._shown = self._activity.shown
                show_status(self._activity)
                current.redraw()
            return {"PASS_THROUGH"}
        current.stop_timer(self._timer)
        return self._leave(self._activity)

    def cancel(self, _context: bpy.types.Context) -> None:
        """Called by Blender when the window is closed or another file is opened."""
        self._activity.stop(f"The window or the file was closed, so the run was ended; press {self.bl_label} again.")
        current.stop_timer(self._timer)

    def _leave(self, activity: Activity) -> Returned:
        current.redraw()
        notice = activity.notice
        if notice is not None:
            self.report({"INFO"} if not notice.is_error else {"WARNING"} if activity.worked else {"ERROR"}, notice.text)
        return {"FINISHED" if activity.worked else "CANCELLED"}


class Running(_Active):
    """An operator that makes rigs of photos."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """One run at a time."""
        if current.busy():
            cls.poll_message_set("A photo is being worked on")
        return not current.busy()

    def photos(self, scene: bpy.types.Scene, folder: Path) -> Photos:
        """The photos to work on, written to `folder` if need be. UserError: there are none."""
        raise NotImplementedError

    def begin(self, scene: bpy.types.Scene) -> Activity:
        """Start the run."""
        chosen = preferences.chosen()
        recipe = properties.recipe_of(scene, chosen.device)
        properties.check_metres_of(scene)
        if scene.library is not None:
            raise UserError(f"The scene {scene.name} comes from another file; make it local, or use another scene.")
        folder = new_folder(preferences.cache_folder())
        try:
            photos = self.photos(scene, folder)
            job = RigJob(
                scene,
                photos.files,
                recipe,
                folder,
                engine=chosen.engine,
                online=bpy.app.online_access,
                shot=photos.are_a_shot,
                plate=photos.plate,
            )
            return current.begin(job)
        except Exception:
            drop_folder(folder)
            raise


class PRO_DEPTH_OT_estimate(Running, bpy.types.Operator):  # noqa: N801 - Blender's manner
    """Estimate depth, and build a mesh with the camera of the photo"""

    bl_idname = "pro_depth.estimate"
    bl_label = "Estimate"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Returned:
        """Ask for the photo first, if none is chosen."""
        settings = properties.settings_of(context.scene)
        if settings.photo_source == "FILE" and not settings.photo.strip():
            bpy.ops.pro_depth.open("INVOKE_DEFAULT")  # type: ignore[attr-defined]
            return {"CANCELLED"}
        return invoke_and_show(super().invoke(context, event))

    def photos(self, scene: bpy.types.Scene, folder: Path) -> Photos:
        """The one that is chosen."""
        settings = properties.settings_of(scene)
        if settings.photo_source == "FILE":
            return Photos([photo_file(settings.photo)])
        if settings.image is None:
            raise UserError("No image is chosen; choose one.")
        return Photos([image_file(settings.image, folder)], plate=settings.image)


def invoke_and_show(found: Returned) -> Returned:
    """What an operator returns that has begun a run, whose first rig is to be shown if that is chosen."""
    if found == {"RUNNING_MODAL"}:
        current.job.show_photo = _show_as_chosen
    return found


def _show_as_chosen(rig: bpy.types.Object) -> str:
    """Show the photo of a new rig, if that is wanted now and its scene is the one in the window; what was done."""
    context = bpy.context
    wanted = properties.settings_of(context.scene).show_photo and context.scene in rig.users_scene
    return show_photo(context, rig) if wanted else ""


class PRO_DEPTH_OT_batch(Running, bpy.types.Operator):  # noqa: N801
    """Estimate every photo of the folder, one after another; a photo that fails is left out"""

    bl_idname = "pro_depth.batch"
    bl_label = "Batch"

    def photos(self, scene: bpy.types.Scene, folder: Path) -> Photos:
        """All of the folder."""
        settings = properties.settings_of(scene)
        files = photos_in(file_of(settings.batch_folder, "folder"), settings.batch_pattern)
        return Photos(files, are_a_shot=settings.batch_shot)


class PRO_DEPTH_OT_cancel(bpy.types.Operator):  # noqa: N801
    """Stop the engine; what is built stays"""

    bl_idname = "pro_depth.cancel"
    bl_label = "Cancel"
    bl_options = set()

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Something runs."""
        return current.busy()

    def execute(self, _context: bpy.types.Context) -> Returned:
        """Stop it."""
        current.cancel()
        return {"FINISHED"}


class PRO_DEPTH_OT_rebuild(OnRig, bpy.types.Operator):  # noqa: N801
    """Build the selected rig anew from the depth it keeps, with the settings as they are now"""

    bl_idname = "pro_depth.rebuild"
    bl_label = "Rebuild"

    def work(self, context: bpy.types.Context, rig: bpy.types.Object) -> str:
        """Build it again."""
        if is_shot(rig):
            shot = rebuild_shot(rig, properties.recipe_of(context.scene))
            return f"{rig.name} is rebuilt with {len(shot.shot.numbers)} frames. {shot.note}".strip()
        placed = rebuild(context.scene, rig, properties.recipe_of(context.scene))
        remember(rig, placed.source)
        vertices = len(placed.built.surface.data.vertices)
        return " ".join(text for text in (f"{rig.name} is rebuilt with {vertices} vertices.", placed.note) if text)


class PRO_DEPTH_OT_point_from_cursor(OnRig, bpy.types.Operator):  # noqa: N801
    """Take the pixel at which the rig's camera sees the 3D cursor"""

    bl_idname = "pro_depth.point_from_cursor"
    bl_label = "From 3D cursor"

    def work(self, context: bpy.types.Context, rig: bpy.types.Object) -> str:
        """Find the pixel."""
        column, row = pixel_of(rig, context.scene.cursor.location)
        properties.settings_of(context.scene).point = (column, row)
        return f"The point is pixel {column}, {row} of the photo; give its distance and Rebuild."


class PRO_DEPTH_OT_place(AtOnce, bpy.types.Operator):  # noqa: N801
    """Build what the last run could not place, in this scene and with the settings as they are now"""

    bl_idname = "pro_depth.place"
    bl_label = "Place"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Something is left to place."""
        return current.lost_count() > 0

    def work(self, context: bpy.types.Context, _rig: bpy.types.Object) -> str:
        """Build each."""
        names, reasons = current.place_lost(context.scene, properties.recipe_of(context.scene))
        if not names:
            raise UserError(reasons[0])
        return f"{', '.join(names)} placed." + "".join(f" {reason}" for reason in reasons[:1])


class PRO_DEPTH_OT_test_engine(_Active, bpy.types.Operator):  # noqa: N801
    """Start the engine and show its version, device and models"""

    bl_idname = "pro_depth.test_engine"
    bl_label = "Test engine"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """One test at a time."""
        return current.test is None or current.test.over

    def begin(self, _scene: bpy.types.Scene) -> Activity:
        """Start the test."""
        return current.begin_test(preferences.chosen().engine)


class PRO_DEPTH_OT_copy_install(bpy.types.Operator):  # noqa: N801
    """Copy the command that installs the engine; it is yours to run, in a terminal"""

    bl_idname = "pro_depth.copy_install"
    bl_label = "Copy"
    bl_options = set()

    where: StringProperty(name="Where", description="The terminal that it is for", options={"HIDDEN"})

    def execute(self, context: bpy.types.Context) -> Returned:
        """Put it on the clipboard."""
        commands = preferences.INSTALL_COMMANDS
        context.window_manager.clipboard = commands.get(self.where, next(iter(commands.values())))
        self.report({"INFO"}, "The command is on the clipboard; run it in a terminal.")
        return {"FINISHED"}


class PRO_DEPTH_OT_preferences(bpy.types.Operator):  # noqa: N801
    """Open the preferences of the add-on, where the engine is chosen and how to install it is told"""

    bl_idname = "pro_depth.preferences"
    bl_label = "Choose the engine"
    bl_options = set()

    def execute(self, _context: bpy.types.Context) -> Returned:
        """Open them."""
        if not bpy.app.background:
            bpy.ops.preferences.addon_show(module=preferences.ADDON)
        return {"FINISHED"}


classes = (
    PRO_DEPTH_OT_estimate,
    PRO_DEPTH_OT_batch,
    PRO_DEPTH_OT_cancel,
    PRO_DEPTH_OT_rebuild,
    PRO_DEPTH_OT_point_from_cursor,
    PRO_DEPTH_OT_place,
    PRO_DEPTH_OT_test_engine,
    PRO_DEPTH_OT_copy_install,
    PRO_DEPTH_OT_preferences,
)
