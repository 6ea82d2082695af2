# SPDX-License-Identifier: GPL-3.0-or-later
"""The depth of a shot, in a folder beside the .blend: one grid of vertices for all frames, and memory for one frame.

- shot.json: what is known of the shot and of each frame.
- disparity.f32, metres.f32: of the engine, at the vertices, frame after frame; enough to build again.
- points.pc2: where the vertices are, which Blender's Mesh Cache modifier reads frame by frame (PC2, its header is
  "POINTCACHE2", version, vertices, first frame, frames a sample, samples).
"""

from __future__ import annotations

import bisect
import json
import math
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..maths.mesh import MIN_BUDGET, Intrinsics, MeshArrays
from ..maths.scale import DepthScale
from ..maths.simplify import FloatMap, cell_faces
from ..options import Checked, option
from .place import Recipe
from .source import ScaleChoice, Source, farthest

TABLE, POINTS = "shot.json", "points.pc2"
DISPARITY, METRES = "disparity.f32", "metres.f32"
PC2_HEAD = struct.Struct("<12siiffi")
BEHIND_FAR = 2.0  # times the far distance: where vertices without depth stand, which are not drawn
SKY_SLACK = 1e-3  # relative, behind far, from where nothing is drawn


@dataclass(frozen=True)
class ShotOptions(Checked):
    """Which frames are taken, and how fine their mesh is."""

    first: int = option(0, "Number of the first frame; 0 for the first that there is", label="First", minimum=0)
    last: int = option(0, "Number of the last frame; 0 for the last that there is", label="Last", minimum=0)
    vertices: int = option(
        180_000,  # a file of 100 frames stays below 20 MB
        "About how many vertices the mesh of the shot has; 12 bytes each and frame in the depth cache",
        label="Vertices",
        minimum=MIN_BUDGET,
    )


@dataclass
class Shot:
    """What `TABLE` holds. Frames have their numbers in the names of the files, or in the movie, from 1."""

    photo: str  # the first frame's file, or the movie
    width: int
    height: int
    rows: list[int]  # pixel rows and columns of the vertices
    columns: list[int]
    exif: list[float] | None
    lens_source: str
    scale_source: str
    has_metres: bool
    numbers: list[int] = field(default_factory=list)
    anchors: list[dict[str, float] | None] = field(default_factory=list)
    estimates: list[list[float] | None] = field(default_factory=list)  # near and far; caches before had none
    farthest_m: float = 0.0  # of the model's metres in all frames

    @property
    def vertices(self) -> int:
        """How many there are."""
        return len(self.rows) * len(self.columns)

    @property
    def span(self) -> tuple[int, int]:
        """The first frame, and how many there are to the last; those that failed between count."""
        return self.numbers[0], self.numbers[-1] - self.numbers[0] + 1


class ShotCache:
    """The folder of a shot, written frame after frame or read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shot: Shot | None = None

    @classmethod
    def read(cls, folder: Path) -> ShotCache:
        """A cache that was written. UserError: it is not whole."""
        cache = cls(folder)
        try:
            cache.shot = Shot(**json.loads((folder / TABLE).read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{folder} is no depth cache of a shot; choose the folder that has {TABLE}.") from error
        if not cache.shot.numbers:
            raise UserError(f"{folder} holds no frame; estimate the shot again.")
        return cache

    def add(self, photo: Path, number: int, source: Source, vertices: int) -> Source:
        """Keep a frame; what was kept of it.

        Raises:
            UserError: it is of another size than the first, or cannot be written.
        """
        try:
            if self.shot is None:
                self.shot = _new_shot(photo, source, vertices)
                self.folder.mkdir(parents=True)
            shot = self.shot
            if source.disparity.shape != (shot.height, shot.width):
                raise UserError(f"Frame {number} is of another size than the first one; give frames of one size.")
            grid = np.ix_(shot.rows, shot.columns)
            kept = source._replace(disparity=source.disparity[grid])
            _put(self.folder / DISPARITY, len(shot.numbers), kept.disparity)
            if shot.has_metres:
                if source.metres is None:
                    raise UserError(f"Frame {number} has no metres, others have; estimate the shot again.")
                kept = kept._replace(metres=source.metres[grid])
                _put(self.folder / METRES, len(shot.numbers), kept.metres)
                shot.farthest_m = max(shot.farthest_m, farthest(source.metres, 0.0))
            shot.numbers.append(number)
            shot.anchors.append(source.anchors)
            shot.estimates.append(None if source.estimate is None else list(source.estimate))
            _write_whole(self.folder / TABLE, json.dumps(asdict(shot)).encode())
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written ({error.strerror}); make room, or save elsewhere."
            ) from error
        return kept

    def frames(self) -> Iterator[tuple[int, Source]]:
        """Number and content of every frame, one at a time. UserError: files are gone or cut short."""
        assert self.shot is not None
        for k, number in enumerate(self.shot.numbers):
            yield number, self._frame(k)

    def frame(self, number: int) -> Source:
        """What is shown at a frame of the scene: one that failed looks like the next. UserError: as of `frames`."""
        assert self.shot is not None
        numbers = self.shot.numbers
        return self._frame(min(bisect.bisect_left(numbers, number), len(numbers) - 1))

    def _frame(self, k: int) -> Source:
        assert self.shot is not None
        shot, shape = self.shot, (len(self.shot.rows), len(self.shot.columns))
        disparity = _part(self.folder / DISPARITY, k, shape)
        metres = _part(self.folder / METRES, k, shape) if shot.has_metres else None
        ends = shot.estimates[k] if k < len(shot.estimates) else None
        return Source(
            disparity,
            metres,
            shot.anchors[k],
            _four(shot.exif),
            shot.lens_source,
            shot.scale_source,
            estimate=None if ends is None else (ends[0], ends[1]),
        )


class Placement:
    """From what was kept of a frame to the places of its vertices. The scale is held as long as the anchors are."""

    def __init__(self, shot: Shot, lens: Intrinsics, choice: ScaleChoice) -> None:
        self.lens, self.far_m = lens, choice.far_m
        rows, columns = self._lines = np.array(shot.rows), np.array(shot.columns)
        if choice.by == "POINT":  # the vertex next to it
            at = [
                int(np.abs(lines - place).argmin()) for lines, place in zip((columns, rows), choice.point, strict=True)
            ]
            choice = replace(choice, point=(at[0], at[1]))
        if choice.by == "ESTIMATE":
            self.far_m = max((ends[1] for ends in shot.estimates if ends is not None), default=self.far_m)
        elif choice.by == "METRIC" and not choice.cuts:
            self.far_m = shot.farthest_m or self.far_m
            choice = replace(choice, cuts=True, far_m=self.far_m)
        self._choice = choice
        across, down = ((len(lines) - 1) / max(1, lines[-1]) for lines in (columns, rows))
        k = self.lens
        self._grid_lens = Intrinsics(k.fx * across, k.fy * down, k.cx * across, k.cy * down, len(columns), len(rows))
        self._x = ((_beyond(columns) - k.cx) / k.fx).astype(np.float32)
        self._y = ((k.cy - _beyond(rows)) / k.fy).astype(np.float32)
        self.hides_from_m = self.far_m * (1 + SKY_SLACK) if choice.sky == "drop" else math.inf
        self._held: tuple[object, DepthScale | None] | None = None

    @classmethod
    def of_recipe(cls, shot: Shot, recipe: Recipe) -> Placement:
        """That of a run or a rebuild."""
        return cls(shot, recipe.lens.intrinsics(shot.width, shot.height, _four(shot.exif))[0], recipe.scale)

    def points(self, source: Source) -> FloatMap:
        """(rows, columns, 3) in the camera's space, metres. UserError: the distances fit no scale."""
        depth = self._at_vertices(source)
        depth = np.where(np.isfinite(depth), depth, np.float32(self.far_m * BEHIND_FAR))
        return np.stack([depth * self._x, depth * self._y[:, None], -depth], axis=-1).astype(np.float32)

    def depth(self, source: Source) -> FloatMap:
        """(H, W) metres of the frame, NaN where there is nothing: between vertices as the plane through them has it.

        Raises:
            UserError: as of `points`.
        """
        inverse = 1 / self._at_vertices(source)
        ways = [
            np.interp(np.arange(length), lines, np.arange(len(lines)))
            for lines, length in zip(self._lines, (self.lens.height, self.lens.width), strict=True)
        ]
        below = [np.minimum(way.astype(int), len(lines) - 2) for way, lines in zip(ways, self._lines, strict=True)]
        down, across = (np.float32(way - low) for way, low in zip(ways, below, strict=True))
        nearest = inverse[np.ix_(*(np.rint(way).astype(int) for way in ways))]
        rows = inverse[below[0]] * (1 - down[:, None]) + inverse[below[0] + 1] * down[:, None]
        between = rows[:, below[1]] * (1 - across) + rows[:, below[1] + 1] * across
        depth: FloatMap = np.where(np.isnan(between), 1 / nearest, 1 / between).astype(np.float32)
        return depth

    def _at_vertices(self, source: Source) -> FloatMap:
        """(rows, columns) metres, NaN where there is nothing."""
        shared = source.anchors, source.estimate
        choice = source.settled(self._choice)
        if self._held is None or (self._held[0] != shared and choice.by != "POINT"):
            self._held = shared, source.scale(choice)
        depth = source.depth(choice, self._held[1], self._grid_lens)
        return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan))


class PointFile:
    """A point cache that grows frame after frame, and is whole after each."""

    def __init__(self, path: Path, vertices: int) -> None:
        self._path, self._vertices = path, vertices
        self._first, self._samples = 0, 0
        path.write_bytes(b"")

    def add(self, number: int, points: FloatMap) -> None:
        """Add a frame; those that are missing before it look like this one. OSError: it cannot be written."""
        if not self._samples:
            self._first = number
        data = np.ascontiguousarray(points, dtype="<f4").tobytes()
        times = number - self._first - self._samples + 1
        with self._path.open("r+b") as file:
            file.seek(PC2_HEAD.size + self._samples * len(data))
            for _ in range(times):
                file.write(data)
            file.seek(0)
            self._samples += times
            file.write(PC2_HEAD.pack(b"POINTCACHE2\0", 1, self._vertices, float(self._first), 1.0, self._samples))


def write_points(cache: ShotCache, placement: Placement) -> None:
    """The point cache of all frames anew. UserError: files are gone, the distances fit no scale, the disk is full."""
    assert cache.shot is not None
    unfinished = cache.folder / f"{POINTS}.part"
    try:
        points = PointFile(unfinished, cache.shot.vertices)
        for number, source in cache.frames():
            points.add(number, placement.points(source))
        os.replace(unfinished, cache.folder / POINTS)
    except OSError as error:
        raise UserError(
            f"{cache.folder} cannot be written ({error.strerror}); make room, or save elsewhere."
        ) from error
    finally:
        with suppress(OSError):  # a disk that is not to be written to
            unfinished.unlink(missing_ok=True)


def grid_mesh(shot: Shot, points: FloatMap) -> MeshArrays:
    """The mesh of all vertices, where `points` of `Placement` has them."""
    rows, columns = np.array(shot.rows), np.array(shot.columns)
    faces = cell_faces(np.ones((len(rows) - 1, len(columns) - 1), np.bool_))
    uv = np.empty((len(rows), len(columns), 2), np.float32)
    uv[..., 0] = (_beyond(columns) + 0.5) / shot.width
    uv[..., 1] = (1 - (_beyond(rows) + 0.5) / shot.height)[:, None]
    starts = np.arange(0, faces.quads.size, 4, dtype=np.int32)
    return MeshArrays(points.reshape(-1, 3), uv.reshape(-1, 2), faces.quads.reshape(-1), starts)


def _beyond(lines: NDArray[np.int_]) -> NDArray[np.int_]:
    """Where vertices stand: those of the outermost pixels a pixel farther out, as a renderer's filter looks there."""
    outward = np.zeros_like(lines)
    outward[0], outward[-1] = -1, 1
    moved: NDArray[np.int_] = lines + outward
    return moved


def _new_shot(photo: Path, source: Source, vertices: int) -> Shot:
    height, width = source.disparity.shape
    share = min(1.0, math.sqrt(vertices / (width * height))) if vertices else 1.0
    rows, columns = (
        np.unique(np.rint(np.linspace(0, length - 1, max(2, round(length * share))))).astype(int).tolist()
        for length in (height, width)
    )
    exif = None if source.exif is None else list(source.exif)
    metric = source.metres is not None
    return Shot(str(photo), width, height, rows, columns, exif, source.lens_source, source.scale_source, metric)


def _four(values: list[float] | None) -> tuple[float, float, float, float] | None:
    return None if values is None else (values[0], values[1], values[2], values[3])


def _put(path: Path, k: int, values: Any) -> None:
    """Write the k-th map of a file, after those before it."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.seek(4 * values.size * k)
        file.write(np.ascontiguousarray(values, dtype="<f4").tobytes())


def _part(path: Path, k: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The k-th map of a file."""
    count = shape[0] * shape[1]
    try:
        values = np.fromfile(path, "<f4", count, offset=4 * count * k)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); estimate the shot again.") from error
    if values.size != count:
        raise UserError(f"{path} is cut short; estimate the shot again.")
    return values.reshape(shape).astype(np.float32)


def _write_whole(path: Path, data: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_bytes(data)
    os.replace(unfinished, path)
