"""Reconstructions of other programs: cameras with poses and sparse points, from COLMAP and nerfstudio.

Both count pixels from the corner of the picture, so that pixel centres lie at halves; here they lie at integers. Poses
here lead from the world to the camera frame of `types` (x right, y down, z forward), which is COLMAP's; nerfstudio's
lead the other way and have y up and z backwards. The unit of a reconstruction is its own: it is called metres here, and
is that only where the reconstruction was scaled to them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import DependencyError, FileError
from pro_engine.io.lens import PINHOLES, ColmapLens, lens_pixels
from pro_engine.io.paths import PathLike, as_path, reading_failed

HIDDEN = 0.05  # relative depth behind the nearest point around it from which a point without tracks counts as hidden
CELLS = 64  # across the longer side, in which the nearest point is sought
TRANSFORMS = "transforms.json"
_AXES = np.diag([1.0, -1.0, -1.0])  # OpenGL camera to ours
_DISTORTIONS = ("k1", "k2", "k3", "k4", "p1", "p2")


@dataclass(frozen=True, eq=False)
class View:
    """A picture of a reconstruction.

    name: its file as the reconstruction names it. lens: of its camera. pose (3, 4) float64, from the world to the
    camera. pixels (N, 2) float64: column and row where the view shows points, pixel centres at integers. depth (N,)
    float64: their z. points (N,) int: their rows in `Reconstruction.xyz`.
    """

    name: str
    lens: ColmapLens
    pose: NDArray[np.float64]
    pixels: NDArray[np.float64]
    depth: NDArray[np.float64]
    points: NDArray[np.int64]

    @property
    def center(self) -> NDArray[np.float64]:
        """(3,) where the camera stands in the world."""
        place: NDArray[np.float64] = -self.pose[:, :3].T @ self.pose[:, 3]
        return place

    def resized(self, width: int, height: int) -> View:
        """The same view in a picture of another size."""
        if (width, height) == (self.lens.width, self.lens.height):
            return self
        factors = np.array([width / self.lens.width, height / self.lens.height])
        return replace(self, lens=self.lens.resized(width, height), pixels=(self.pixels + 0.5) * factors - 0.5)


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Views with poses, and points: xyz (M, 3) float64 in the world, rgb (M, 3) uint8.

    folder: where it was read from. kind: colmap or nerfstudio.
    """

    folder: Path
    kind: str
    views: tuple[View, ...]
    xyz: NDArray[np.float64]
    rgb: NDArray[np.uint8]

    def view_of(self, photo: Path) -> View:
        """The view of a photo: by the end of its path, else by the name of its file, else without its suffix.

        Raises:
            FileError: none, or several.
        """
        path = PurePosixPath(photo.as_posix())
        ways: tuple[Callable[[PurePosixPath], bool], ...] = (
            lambda name: path.parts[-len(name.parts) :] == name.parts,
            lambda name: name.name == path.name,
            lambda name: name.stem == path.stem,
        )
        for way in ways:
            found = [view for view in self.views if way(PurePosixPath(view.name))]
            if len(found) == 1:
                return found[0]
            if found:
                raise FileError(f"The reconstruction {self.folder} has {len(found)} views named like {photo}.")
        raise FileError(
            f"The reconstruction {self.folder} has no view of {photo}; it was not placed, or has another name."
        )


def is_reconstruction(path: Path) -> bool:
    """Whether a path is, or holds, a reconstruction that `load_reconstruction` reads."""
    return _colmap_folder(path) is not None or _transforms(path) is not None


def load_reconstruction(path: PathLike) -> Reconstruction:
    """A reconstruction: a COLMAP model (text or binary), or nerfstudio's transforms.json with its points.

    Args:
        path: the folder with COLMAP's cameras, images and points3D, one with `sparse/0` or `sparse` in it, a
            transforms.json, or the folder with it.

    Raises:
        FileError: no reconstruction, or one that cannot be read or has no view with a pose.
        DependencyError: a COLMAP model without the package pycolmap.
    """
    source = as_path(path)
    found = _colmap_folder(source) or _transforms(source)
    if found is None:
        raise FileError(
            f"{source} is no reconstruction; give COLMAP's folder with cameras, images and points3D (sparse/0), or "
            "nerfstudio's transforms.json."
        )
    files = [found] if found.is_file() else sorted(found.iterdir())
    return _load(found, tuple(file.stat().st_mtime_ns for file in files))


@lru_cache(maxsize=2)
def _load(found: Path, _times: tuple[int, ...]) -> Reconstruction:
    """One read for all photos of a job."""
    made = _read_transforms(found) if found.is_file() else _read_colmap(found)
    if not made.views:
        raise FileError(f"The reconstruction {found} has no view with a pose.")
    return made


def reconstruction_files(path: Path) -> list[Path]:
    """The files that a reconstruction consists of."""
    found = _colmap_folder(path) or _transforms(path)
    if found is None:
        return []
    names = ("cameras", "images", "points3D")
    return [found] if found.is_file() else sorted(one for one in found.iterdir() if one.stem in names)


def _colmap_folder(path: Path) -> Path | None:
    for folder in (path, path / "sparse/0", path / "sparse"):
        for suffix in (".bin", ".txt"):
            if all((folder / f"{name}{suffix}").is_file() for name in ("cameras", "images", "points3D")):
                return folder
    return None


def _transforms(path: Path) -> Path | None:
    if path.is_file():
        return path if path.name == TRANSFORMS else None
    return path / TRANSFORMS if (path / TRANSFORMS).is_file() else None


def _read_colmap(folder: Path) -> Reconstruction:
    try:
        import pycolmap
    except ImportError as error:
        raise DependencyError(
            "COLMAP models need the extra `photogrammetry`; run: pip install 'pro-engine[photogrammetry]'."
        ) from error
    try:
        model = pycolmap.Reconstruction(str(folder))
    except (ValueError, RuntimeError, IndexError) as error:
        raise FileError(f"{folder} cannot be read as a COLMAP model: {str(error).splitlines()[0]}") from error
    rows = {number: row for row, number in enumerate(sorted(model.points3D))}
    xyz = np.array([model.points3D[number].xyz for number in rows], dtype=np.float64).reshape(-1, 3)
    rgb = np.array([model.points3D[number].color for number in rows], dtype=np.uint8).reshape(-1, 3)
    views = []
    for image in sorted(model.images.values(), key=lambda image: str(image.name)):
        if not image.has_pose:
            continue
        seen = [(point.xy, rows[point.point3D_id]) for point in image.points2D if point.has_point3D()]
        points = np.array([row for _, row in seen], dtype=np.int64)
        pixels = np.array([place for place, _ in seen], dtype=np.float64).reshape(-1, 2) - 0.5
        pose = np.asarray(image.cam_from_world().matrix(), dtype=np.float64)
        camera = model.cameras[image.camera_id]
        lens = ColmapLens(camera.model.name, tuple(float(one) for one in camera.params), camera.width, camera.height)
        views.append(_view(image.name, lens, pose, xyz, points, pixels))
    return Reconstruction(folder, "colmap", tuple(views), xyz, rgb)


def _view(
    name: str,
    lens: ColmapLens,
    pose: NDArray[np.float64],
    xyz: NDArray[np.float64],
    points: NDArray[np.int64],
    pixels: NDArray[np.float64],
) -> View:
    """A view of the points that lie in front of it."""
    depth = xyz[points] @ pose[2, :3] + pose[2, 3]
    front = depth > 0
    return View(name, lens, pose, pixels[front], depth[front], points[front])


def _read_transforms(path: Path) -> Reconstruction:
    try:
        found = json.loads(path.read_bytes())
        frames = sorted(found["frames"], key=lambda frame: str(frame["file_path"]))
        xyz, rgb = _nerfstudio_points(path, found)
        views = tuple(_frame(found, frame, xyz) for frame in frames)
    except OSError as error:
        raise reading_failed(path, error) from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise FileError(f"{path} cannot be read as nerfstudio's transforms.json: {error!r}.") from error
    return Reconstruction(path.parent, "nerfstudio", views, xyz, rgb)


def _nerfstudio_points(path: Path, found: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """The points, in the world of the poses: nerfstudio writes both after its `applied_transform`."""
    name = found.get("ply_file_path")
    if name is None:
        return np.empty((0, 3)), np.empty((0, 3), dtype=np.uint8)
    import trimesh

    file = path.parent / name
    try:
        with open(file, "rb") as stream:
            cloud: Any = trimesh.load(stream, file_type="ply", process=False)
    except OSError as error:
        raise reading_failed(file, error) from error
    xyz = np.asarray(cloud.vertices, dtype=np.float64).reshape(-1, 3)
    colors = np.asarray(getattr(cloud, "colors", np.empty((0, 4))))
    return xyz, colors[:, :3].astype(np.uint8) if len(colors) == len(xyz) else np.full(xyz.shape, 128, dtype=np.uint8)


def _frame(found: Mapping[str, Any], frame: Mapping[str, Any], xyz: NDArray[np.float64]) -> View:
    def given(name: str) -> Any:
        return frame.get(name, found.get(name))

    width, height = int(given("w")), int(given("h"))
    wide = given("camera_angle_x")
    fx = float(given("fl_x") or width / (2 * math.tan(float(wide) / 2)))
    fy = float(given("fl_y") or fx)
    cx, cy = (
        float(width / 2 if given("cx") is None else given("cx")),
        float(height / 2 if given("cy") is None else given("cy")),
    )
    amounts = {name: float(given(name) or 0.0) for name in _DISTORTIONS}
    kind = str(given("camera_model") or "OPENCV")
    if kind not in ("OPENCV", "OPENCV_FISHEYE", *PINHOLES):
        raise ValueError(f"camera_model {kind} is neither OPENCV, OPENCV_FISHEYE nor PINHOLE")
    core = (fx, fy, cx, cy)
    if kind == "OPENCV_FISHEYE":
        lens = ColmapLens(kind, core + tuple(amounts[name] for name in ("k1", "k2", "k3", "k4")), width, height)
    elif kind == "OPENCV" and amounts["k3"]:
        bent = (amounts["k1"], amounts["k2"], amounts["p1"], amounts["p2"], amounts["k3"], 0.0, 0.0, 0.0)
        lens = ColmapLens("FULL_OPENCV", core + bent, width, height)
    elif kind == "OPENCV" and any(amounts.values()):
        lens = ColmapLens(kind, core + tuple(amounts[name] for name in ("k1", "k2", "p1", "p2")), width, height)
    else:
        lens = ColmapLens("PINHOLE", core, width, height)
    matrix = np.asarray(frame["transform_matrix"], dtype=np.float64)[:3]
    turn = _AXES @ matrix[:, :3].T
    pose = np.concatenate([turn, (-turn @ matrix[:, 3])[:, None]], axis=1)
    pixels, depth = lens_pixels(lens, xyz @ pose[:, :3].T + pose[:, 3])
    inside = (depth > 0) & ((pixels > -0.5) & (pixels < np.array([width, height]) - 0.5)).all(axis=1)
    points = np.flatnonzero(inside)
    points = points[unhidden(pixels[points], depth[points], width, height)]
    return _view(str(frame["file_path"]), lens, pose, xyz, points, pixels[points])


def unhidden(pixels: NDArray[np.float64], depth: NDArray[np.float64], width: int, height: int) -> NDArray[np.bool_]:
    """(N,) whether a point is not far behind the nearest one around it, where nothing tells which points are seen."""
    size = max(width, height) / CELLS
    column, row = ((pixels[:, axis] + 0.5) / size for axis in (0, 1))
    shape = (math.ceil(height / size) + 1, math.ceil(width / size) + 1)
    cell = np.clip(row.astype(np.int64), 0, shape[0] - 1), np.clip(column.astype(np.int64), 0, shape[1] - 1)
    nearest = np.full(shape, np.inf)
    np.minimum.at(nearest, cell, depth)
    return np.asarray(depth <= nearest[cell] * (1 + HIDDEN))


def load_points(path: Path) -> NDArray[np.float64]:
    """Points (N, 3) of a text file with x, y and z on each line; what follows them, such as a colour, is not read.

    Raises:
        FileError: it cannot be read, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise reading_failed(path, error) from error
    lines = [
        line.replace(",", " ").split()
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    return _numbers(path, lines)


def _numbers(path: Path, lines: Sequence[list[str]]) -> NDArray[np.float64]:
    try:
        points = np.array([[float(text) for text in line[:3]] for line in lines], dtype=np.float64)
    except ValueError as error:
        raise FileError(f"{path} holds something else than numbers: {error}; give x y z on each line.") from error
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise FileError(f"{path} has lines without three finite numbers; give x y z on each line.")
    return points
