# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of the engine over a shot, and the one rig that comes of it. Depth goes to a cache on disk frame by frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import bpy

from ..engine.activity import Notice
from ..engine.run import PhotoDepth, SkippedPhoto, lines_of
from ..errors import UserError
from ..rig.place import Recipe
from ..rig.shot import build_shot
from ..rig.shot_cache import POINTS, Placement, PointFile, ShotCache
from ..rig.source import Source
from .photo_job import RigJob, push_undo, undo_holds_objects
from .present import present


class Frames(NamedTuple):
    """The frames of a shot: a file for each, the same one if it is a movie, and their numbers."""

    files: list[Path]
    numbers: list[int]
    is_movie: bool


class ShotJob(RigJob):
    """What a run makes of a shot; cancelled, it builds what is done.

    Args:
        scene, recipe, folder, engine, online: as of `RigJob`.
        frames: in their order.
        cache: the folder of the depth cache, which is made.
        vertices: of the mesh, about.
        size: width and height with which Blender shows the frames.
    """

    def __init__(
        self,
        scene: bpy.types.Scene,
        frames: Frames,
        recipe: Recipe,
        folder: Path,
        *,
        cache: Path,
        vertices: int,
        size: tuple[int, int],
        engine: str,
        online: bool,
    ) -> None:
        flat = replace(recipe, engine=replace(recipe.engine, projection="pinhole"))  # all frames share one lens
        super().__init__(scene, frames.files, flat, folder, engine=engine, online=online, shot=True)
        self._frames, self._vertices, self._size = frames, vertices, size
        self._cache = ShotCache(cache)
        self._placement: Placement | None = None
        self._points: PointFile | None = None
        self._ended = ""  # why there are no more frames

    @property
    def doing(self) -> str:
        """As of `RigJob`; one rig is built of all frames."""
        return super().doing if self.client is not None or self.waiting else "Building"

    def cancel(self) -> None:
        """Ask for no more frames; what is done is built."""
        if not self.results:
            self.stop("Cancelled.")
        elif not self.over and not self._ended:
            self._ended = "Cancelled."
            self._dismiss()

    def stop(self, why: str, *, is_error: bool = False) -> None:
        """As of `Activity`; the cache stays, to be loaded."""
        if self.over:
            return
        self._dismiss()
        if self.results:
            why = f"{why} {len(self.results)} frames are in {self._cache.folder}; Load shot builds them."
        self.notice = Notice(why, is_error, lines_of(self.skipped))

    def _of_photo(self) -> Mapping[str, Any]:
        return {"frame": self._frames.numbers[self._index]} if self._frames.is_movie else {}

    def _receive(self, result: Any) -> None:
        before = len(self.results)
        super()._receive(result)
        if len(self.results) > before:
            self._keep(self.results[-1])

    def _keep(self, result: PhotoDepth) -> None:
        """Move what the engine found of a frame to the cache."""
        number = self._frames.numbers[self._index - 1]
        try:
            if (result.width, result.height) != self._size:
                raise UserError(
                    f"Blender shows {self._size[0]}x{self._size[1]} pixels where the engine sees {result.width}x"
                    f"{result.height}; convert the frames, so that they are upright and have square pixels."
                )
            kept = self._cache.add(result.photo, number, Source.of_result(result), self._vertices)
            if self._points is None:
                assert self._cache.shot is not None
                self._placement = Placement.of_recipe(self._cache.shot, self.recipe)
                self._points = PointFile(self._cache.folder / POINTS, self._cache.shot.vertices)
            assert self._placement is not None
            self._points.add(number, self._placement.points(kept))
        except UserError as error:
            self.results.pop()
            if not self.results:  # nothing would be right with the others
                raise
            self.skipped.append(SkippedPhoto(result.photo, f"Frame {number}: {error}"))
        except OSError as error:
            self._ended = f"{self._cache.folder} cannot be written ({error.strerror}); make room, or save elsewhere."
            self._dismiss()
        finally:
            for path in filter(None, (result.disparity, result.depth, result.picture)):
                path.unlink(missing_ok=True)

    def _conclude(self) -> None:
        if not self.results:
            self.notice = Notice(self.failure or self._ended or "No frame has depth.", True, lines_of(self.skipped))
            return
        self.waiting = not undo_holds_objects()
        if self.waiting:
            return
        scene = next((one for one in bpy.data.scenes if one.session_uid == self._scene_uid), None)
        if scene is None:
            self.stop(f"The scene {self._scene_name} is gone.", is_error=True)
            return
        assert self._cache.shot is not None and self._placement is not None
        reach_m = Placement.of_recipe(self._cache.shot, self.recipe).far_m  # after a cut things may be farther away
        placed = build_shot(scene, self._cache, self.recipe, has_points=reach_m == self._placement.far_m)
        present(scene, placed.built)
        shown = self.show_photo(placed.built.rig)
        self.rig_uid = placed.built.rig.session_uid
        self.built.append(placed.built.rig.name)
        push_undo(f"PRO {placed.built.rig.name}")
        first, count = placed.shot.span
        text = f"{placed.built.rig.name} has the frames {first} to {first + count - 1}, at these frames of the scene."
        more = [one for one in (self._ended or self.failure, *self._elsewhere(), placed.note, shown) if one]
        details = lines_of(self.skipped)
        self.notice = Notice(" ".join([text, *more]), bool(self.failure or self.skipped), details)
