# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs now, and what was said last. Kept in this module, never in the file: undo would take it back.

There is one run at a time, and one test of the engine.
"""

from __future__ import annotations

import contextlib

import bpy
from bpy.app.handlers import persistent

from ..engine.activity import Notice, sentence_of
from ..engine.client import reap, wait_for_ends
from ..errors import UserError
from ..rig import rebuild_estimate
from ..rig.place import Recipe, place, rig_of
from ..rig.shown import show
from .engine_test import EngineTest
from .folders import drop_folder, release
from .photo_job import RigJob
from .status import clear_status

TICK_S = 0.1  # between looks at the engine
REDRAWN = {"VIEW_3D": "UI", "PREFERENCES": "WINDOW"}  # the kind of region in which we draw, by area

job: RigJob | None = None  # the last run, over or not
test: EngineTest | None = None  # the last test of the engine, over or not
notice: Notice | None = None  # what was said beside a run
_timers: list[bpy.types.Timer] = []
_last_rig = 0  # `session_uid` of the rig that was built last, by runs that are forgotten


def busy() -> bool:
    """Whether a run is under way."""
    return job is not None and not job.over


def said() -> Notice | None:
    """What was said last."""
    return notice or (job.notice if job is not None else None)


def tell(text: str, *, is_error: bool = False) -> None:
    """Say something beside a run."""
    global notice
    notice = Notice(text, is_error)
    redraw()


def begin(new: RigJob) -> RigJob:
    """Start a run; the files of the one before go, unless they hold results that are in no scene.

    Raises:
        UserError: a run is under way.
    """
    global job, notice
    if busy():
        raise UserError("A photo is being worked on; wait for it, or press Cancel.")
    _forget()
    job, notice = new, None
    job.begin()
    return job


def begin_test(engine: str) -> EngineTest:
    """Start a test of an engine, as `find.engine_command` takes it."""
    global test
    test = EngineTest(engine) if test is None else EngineTest(engine, models=test.models, units=test.units)
    test.begin()
    return test


def cancel(why: str = "") -> None:
    """End the run, if there is one: as the user wishes, or for a reason that leaves nowhere to build in."""
    if job is not None:
        if why:
            job.stop(why)
        else:
            job.cancel()
        redraw()


def lost_count() -> int:
    """How many results of the last run are in no scene."""
    return len(job.lost) if job is not None and job.over else 0


def place_lost(scene: bpy.types.Scene, recipe: Recipe) -> tuple[list[str], list[str]]:
    """Build in a scene what the last run could not; names of the rigs, and sentences of what failed again."""
    names: list[str] = []
    reasons: list[str] = []
    for result in list(job.lost if job is not None else ()):
        try:
            built = place(scene, result, recipe, job.plate).built
            if names:
                show(scene, built.collection, False)
            names.append(built.rig.name)
            job.lost.remove(result)
        except Exception as error:
            reasons.append(sentence_of(error))
    return names, reasons


def rig_in(context: bpy.types.Context) -> bpy.types.Object | None:
    """The rig of the active object; else the one that was built last; else the scene's only one."""
    found = rig_of(context.active_object)
    if found is None:
        rigs = [one for one in context.scene.objects if one.type == "EMPTY" and rig_of(one) == one]
        uid = (job.rig_uid if job is not None else 0) or _last_rig
        last = [one for one in rigs if one.session_uid == uid]
        found = next(iter(last or (rigs if len(rigs) == 1 else ())), None)
    return found


def start_timer(context: bpy.types.Context) -> bpy.types.Timer:
    """Events for the modal operator of a window."""
    timer = context.window_manager.event_timer_add(TICK_S, window=context.window)
    _timers.append(timer)
    return timer


def stop_timer(timer: bpy.types.Timer) -> None:
    """No more of them, as what they were for is over; harmless when Blender has done so with the window."""
    clear_status()
    if timer in _timers:
        _timers.remove(timer)
        with contextlib.suppress(ReferenceError, RuntimeError, TypeError):
            bpy.context.window_manager.event_timer_remove(timer)
    if reap() and not bpy.app.background and not bpy.app.timers.is_registered(_reap_later):
        bpy.app.timers.register(_reap_later, first_interval=TICK_S, persistent=True)


def _reap_later() -> float | None:
    """For `bpy.app.timers`: looks after engines that were told to end, as long as there are any."""
    return TICK_S if reap() else None


def redraw() -> None:
    """Have what we draw drawn again."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            for region in area.regions:
                if region.type == REDRAWN.get(area.type):
                    region.tag_redraw()


def _forget() -> None:
    global job, _last_rig
    if job is not None:
        _last_rig = job.rig_uid or _last_rig
        if not job.lost:
            drop_folder(job.folder)
    job = None


@persistent  # type: ignore[untyped-decorator]
def _on_load(*_: object) -> None:
    """The scene that asked is gone with its file."""
    cancel("Another file was opened, so the run was ended; press Estimate again.")


def register() -> None:
    """Listen for files being opened."""
    bpy.app.handlers.load_post.append(_on_load)


def unregister() -> None:
    """End what runs, and leave nothing behind."""
    global test, notice, _last_rig
    for activity in (job, test):
        if activity is not None:
            activity.stop("The add-on was disabled.")
    for timer in list(_timers):
        stop_timer(timer)
    if bpy.app.timers.is_registered(_reap_later):
        bpy.app.timers.unregister(_reap_later)
    wait_for_ends()
    _forget()
    release()
    rebuild_estimate.forget()
    test, notice, _last_rig = None, None, 0
    if _on_load in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(_on_load)
