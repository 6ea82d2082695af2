# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of the engine, and the rigs that come of it. Whoever has a timer or a loop drives it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import bpy

from .errors import UserError
from .forecast import remember
from .rigging import Recipe, place
from .run import PhotoDepth, Run, Skipped

WORDS = {"starting": "Starting engine", "loading": "Loading model", "inferring": "Estimating"}


class Notice(NamedTuple):
    """What the panel says: a sentence, whether it is bad news, and a line for each photo that failed."""

    text: str
    is_error: bool = False
    details: tuple[str, ...] = ()


class Job:
    """What a run makes of its photos. Holds no datablock between polls: undo replaces them all.

    Rigs are built after the engine's last photo: that holds the window up, which the engine's work never does.

    Args:
        scene: found again by its `session_uid`, which outlives undo and renaming.
        run: not started yet.
        recipe: what to make of the results.
        folder: of the run's files.
        plate: the image of the .blend that is the photo, if it is one; found again like the scene.

    Attributes:
        built: names of the rigs so far.
        rig_uid: `session_uid` of the first of them, 0 before.
        lost: results that are in no scene, as files.
        notice: what came of it, once it is over.
        waiting: whether a result waits for the user to leave Edit Mode.
    """

    def __init__(
        self, scene: bpy.types.Scene, run: Run, recipe: Recipe, folder: Path, plate: bpy.types.Image | None = None
    ) -> None:
        self.run, self.recipe, self.folder = run, recipe, folder
        self.built: list[str] = []
        self.rig_uid = 0
        self.lost: list[PhotoDepth] = []
        self.notice: Notice | None = None
        self.waiting = False
        self._scene_uid, self._scene_name = scene.session_uid, scene.name
        self._plate_uid = 0 if plate is None else plate.session_uid
        self._taken = 0  # of the run's results
        self._announced = False  # whether the panel could say that the next one is being built
        self._unplaced: list[Skipped] = []
        self._notes: list[str] = []
        self._begun_s = time.monotonic()

    @property
    def over(self) -> bool:
        """Whether nothing more comes."""
        return self.notice is not None

    @property
    def doing(self) -> str:
        """A few words for the progress bar."""
        if self.waiting:
            return "Waiting for Object Mode"
        found, count = len(self.run.results), len(self.run.photos)
        if self.run.ended:
            return f"Building {self._taken + 1}/{found}" if self._taken < found > 1 else "Building"
        text = WORDS.get(self.run.state, "Starting")
        return f"{text} {found + len(self.run.skipped) + 1}/{count}" if count > 1 else text

    @property
    def skipped(self) -> list[Skipped]:
        """Photos without a rig so far, and why."""
        return [*self.run.skipped, *self._unplaced]

    @property
    def plate(self) -> bpy.types.Image | None:
        """The image that is the photo, if it is one and still there."""
        return _found(bpy.data.images, self._plate_uid)

    def poll(self) -> bool:
        """Go on a little; whether more comes. Waits for nothing but the building of one result."""
        if self.over:
            return False
        try:
            self.run.poll()
            if self.run.ended and self._taken < len(self.run.results):
                self._take_next()
            elif self.run.ended:
                self.notice = self._sum()
        except Exception as error:
            self.stop(sentence_of(error), is_error=True)
        return not self.over

    def stop(self, why: str, *, is_error: bool = False) -> None:
        """End the engine and be over; results not yet placed are kept as files. Harmless when it is over."""
        if self.over:
            return
        self.run.cancel()
        self.lost += self.run.results[self._taken :]
        self._taken = len(self.run.results)
        if len(self.run.photos) > 1:
            why += f" {len(self.built)} of {len(self.run.photos)} photos are done"
            why += f"; {len(self.lost)} more are kept, press Place to build them." if self.lost else "."
        self.notice = Notice(why, is_error, _lines(self.skipped))

    def _take_next(self) -> None:
        """Build one result, a poll after the panel could say so."""
        self.waiting = not undo_holds_objects()
        if self.waiting:
            return
        if not self._announced:
            self._announced = True
            return
        self._announced = False
        result = self.run.results[self._taken]
        self._taken += 1
        try:
            self._place(result)
        except Exception as error:
            self.lost.append(result)
            self._unplaced.append(Skipped(result.photo, sentence_of(error)))

    def _place(self, result: PhotoDepth) -> None:
        scene = _found(bpy.data.scenes, self._scene_uid)
        if scene is None:
            raise UserError(f"The scene {self._scene_name} is gone; press Place to use another one.")
        placed = place(scene, result, self.recipe, self.plate)
        remember(placed.built.rig, placed.source)
        if self.built:
            hide(placed.built.collection)
        self.rig_uid = self.rig_uid or placed.built.rig.session_uid
        self.built.append(placed.built.rig.name)
        self._notes += [placed.note] if placed.note else []
        push_undo(f"PRO {placed.built.rig.name}")

    def _sum(self) -> Notice:
        """What came of it all."""
        skipped, count = self.skipped, len(self.run.photos)
        spent = f"{time.monotonic() - self._begun_s:.0f} s"
        if self.run.failure or (count == 1 and skipped):
            text = self.run.failure or skipped[0].reason
            return Notice(text, is_error=True, details=_lines(skipped) if count > 1 else ())
        if count == 1:
            return Notice(" ".join([f"{self.built[0]} is done after {spent}.", *self._notes]))
        text = f"{len(self.built)} of {count} photos are done after {spent}; all but the first are hidden."
        if skipped:
            text += f" {len(skipped)} failed:"
        return Notice(text, bool(skipped), _lines(skipped))


def _found(datablocks: Iterable[Any], uid: int) -> Any:
    """The datablock of a `session_uid`, if it is still there."""
    return next((one for one in datablocks if one.session_uid == uid), None)


def _lines(skipped: Iterable[Skipped]) -> tuple[str, ...]:
    return tuple(f"{one.photo.name}: {one.reason}" for one in skipped)


def hide(collection: bpy.types.Collection) -> None:
    """Not the first rig of many: they stand in the same place, and all at once are slow to draw."""
    collection.hide_viewport = collection.hide_render = True


def sentence_of(error: Exception) -> str:
    """What to tell of an error; one that is a mistake of ours goes to the console in full."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return "The memory did not suffice; lower the number of vertices, or use a smaller photo."
    traceback.print_exception(error)
    return f"Something unexpected happened ({type(error).__name__}); please report what the console says."


def undo_holds_objects() -> bool:
    """Whether a step of undo would hold a new object; modes other than Object Mode have steps of their own."""
    return bpy.app.background or bpy.context.mode == "OBJECT"


def push_undo(message: str) -> None:
    """One step of undo, where there is a window to undo in."""
    if not bpy.app.background:
        bpy.ops.ed.undo_push(message=message)
