# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of the engine, and the rigs that come of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import bpy

from ..engine.activity import Notice, sentence_of
from ..engine.run import EngineRun, PhotoDepth, SkippedPhoto, lines_of
from ..errors import UserError
from ..rig.place import Recipe, place
from ..rig.rebuild_estimate import remember
from ..rig.shown import show
from .present import present


class RigJob(EngineRun):
    """What a run makes of its photos. Holds no datablock between polls: undo replaces them all.

    Rigs are built after the engine's last photo: that holds the window up, which the engine's work never does.

    Args:
        scene: found again by its `session_uid`, which outlives undo and renaming.
        photos, folder, engine, online, shot: as of `EngineRun`.
        recipe: what to make of the results.
        plate: the image of the .blend that is the photo, if it is one; found again like the scene.

    Attributes:
        built: names of the rigs so far.
        rig_uid: `session_uid` of the first of them, 0 before.
        lost: results that are in no scene, as files.
        waiting: whether a result waits for the user to leave Edit Mode.
        show_photo: called with the first rig, in its step of undo; what it returns is said at the end.
    """

    def __init__(
        self,
        scene: bpy.types.Scene,
        photos: Sequence[Path],
        recipe: Recipe,
        folder: Path,
        *,
        engine: str,
        online: bool,
        shot: bool = False,
        plate: bpy.types.Image | None = None,
    ) -> None:
        super().__init__(photos, folder, recipe.engine, engine=engine, online=online, shot=shot)
        self.recipe, self.folder = recipe, folder
        self.built: list[str] = []
        self.rig_uid = 0
        self.lost: list[PhotoDepth] = []
        self.waiting = False
        self.show_photo: Callable[[bpy.types.Object], str] = lambda _rig: ""
        self._scene_uid, self._scene_name = scene.session_uid, scene.name
        self._plate_uid = 0 if plate is None else plate.session_uid
        self._taken = 0  # of the results
        self._announced = False  # whether the panel could say that the next one is being built
        self._unplaced: list[SkippedPhoto] = []
        self._notes: list[str] = []
        self._begun_s = time.monotonic()

    @property
    def worked(self) -> bool:
        """Whether there is a rig."""
        return bool(self.built)

    @property
    def doing(self) -> str:
        """As of `EngineRun`, then what is built."""
        if self.waiting:
            return "Waiting for Object Mode"
        if self.client is not None:
            return super().doing
        found = len(self.results)
        return f"Building {self._taken + 1}/{found}" if self._taken < found > 1 else "Building"

    @property
    def plate(self) -> bpy.types.Image | None:
        """The image that is the photo, if it is one and still there."""
        plate: bpy.types.Image | None = _found(bpy.data.images, self._plate_uid)
        return plate

    def stop(self, why: str, *, is_error: bool = False) -> None:
        """As of `Activity`; results not yet placed are kept as files."""
        if self.over:
            return
        self.lost += self.results[self._taken :]
        self._taken = len(self.results)
        if len(self.photos) > 1:
            why += f" {len(self.built)} of {len(self.photos)} photos are done"
            why += f"; {len(self.lost)} more are kept, press Place to build them." if self.lost else "."
        self._dismiss()
        self.notice = Notice(why, is_error, lines_of([*self.skipped, *self._unplaced]))

    def _conclude(self) -> None:
        """Build one result after another, each a poll after the panel could say so, and then say what came of it."""
        if self._taken == len(self.results):
            self.notice = self._sum()
            return
        self.waiting = not undo_holds_objects()
        if self.waiting:
            return
        self._announced = not self._announced
        if self._announced:
            return
        result = self.results[self._taken]
        self._taken += 1
        try:
            self._place(result)
        except Exception as error:
            self.lost.append(result)
            self._unplaced.append(SkippedPhoto(result.photo, sentence_of(error)))

    def _place(self, result: PhotoDepth) -> None:
        scene = _found(bpy.data.scenes, self._scene_uid)
        if scene is None:
            raise UserError(f"The scene {self._scene_name} is gone; press Place to use another one.")
        placed = place(scene, result, self.recipe, self.plate)
        remember(placed.built.rig, placed.source)
        self._notes += [placed.note] if placed.note else []
        if self.built:
            show(scene, placed.built.collection, False)
        else:
            present(scene, placed.built)
            self._notes += [text] if (text := self.show_photo(placed.built.rig)) else []
        self.rig_uid = self.rig_uid or placed.built.rig.session_uid
        self.built.append(placed.built.rig.name)
        push_undo(f"PRO {placed.built.rig.name}")

    def _sum(self) -> Notice:
        """What came of it all."""
        skipped, count = [*self.skipped, *self._unplaced], len(self.photos)
        spent = f"{time.monotonic() - self._begun_s:.0f} s"
        if self.failure or (count == 1 and skipped):
            text = self.failure or skipped[0].reason
            return Notice(text, is_error=True, details=lines_of(skipped) if count > 1 else ())
        if count == 1:
            return Notice(" ".join([f"{self.built[0]} is done after {spent}.", *self._elsewhere(), *self._notes]))
        text = f"{len(self.built)} of {count} photos are done after {spent}; all but the first are hidden."
        if skipped:
            text += f" {len(skipped)} failed:"
        return Notice(text, bool(skipped), lines_of(skipped))

    def _elsewhere(self) -> list[str]:
        """Which scene the rig is in, if no window shows it."""
        scene = _found(bpy.data.scenes, self._scene_uid)
        shown = [window.scene for window in bpy.context.window_manager.windows]
        return [f"It is in the scene {scene.name}."] if scene is not None and shown and scene not in shown else []


def _found(datablocks: Iterable[Any], uid: int) -> Any:
    """The datablock of a `session_uid`, if it is still there."""
    return next((one for one in datablocks if one.session_uid == uid), None)


def undo_holds_objects() -> bool:
    """Whether a step of undo would hold a new object; modes other than Object Mode have steps of their own."""
    return bpy.app.background or bpy.context.mode == "OBJECT"


def push_undo(message: str) -> None:
    """One step of undo, where there is a window to undo in."""
    if not bpy.app.background:
        bpy.ops.ed.undo_push(message=message)
