"""nuScenes (Caesar et al., CVPR 2020): photos from a car, with one lidar sweep each as sparse depth.

The tables are those of https://github.com/nutonomy/nuscenes-devkit/blob/master/docs/schema_nuscenes.md. A sweep is
brought from the lidar to the car, to the world, to the car at the time of the photo and to the camera. As in that
devkit, points less than 1 m in front of the camera are left out. The lidar stands above the camera, so it sees a
little of what is hidden from it: where points meet in a pixel, the nearest counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.datasets.files import Checklist, Form, damaged, inverse, pinhole, read_picture, read_raw, require
from pro_engine.datasets.sample import EvalSample, ListedDataset
from pro_engine.io.paths import decoding
from pro_engine.types import FloatMap, Intrinsics

CAMERA, LIDAR = "CAM_FRONT", "LIDAR_TOP"
VERSIONS = ("v1.0-trainval", "v1.0-mini", "v1.0-test")
NEAREST_M = 1.0
_TABLES = ("scene", "sample", "sensor", "calibrated_sensor", "ego_pose", "sample_data")
_POINT_VALUES = 5
_NO_POINTS = f"no whole number of points of {4 * _POINT_VALUES} bytes"
_CHUNK = 1 << 20

FORM = Form(
    "nuscenes",
    f"v1.0-mini or v1.0-trainval with {', '.join(f'{name}.json' for name in _TABLES)}, and beside it "
    f"samples/{CAMERA}/*.jpg and samples/{LIDAR}/*.pcd.bin",
    "https://www.nuscenes.org/nuscenes",
)

Matrix = NDArray[np.float64]
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class DrivingView:
    """A photo, its sweep, the way from lidar to camera (4, 4) and the camera matrix as its table has it."""

    name: str
    group: str
    picture: Path
    sweep: Path
    lidar_to_camera: Matrix
    camera_matrix: Sequence[Sequence[float]]
    calibration: Path


def rows(path: Path) -> Iterator[Row]:
    """The records of a table, one after the other: the large tables of v1.0-trainval need gigabytes at once.

    Raises:
        FileError: no JSON list of records, or one that is cut short.
    """
    require(path)
    decoder = json.JSONDecoder()
    with decoding(path, "JSON table"), open(path, encoding="utf-8") as file:
        text = file.read(_CHUNK).lstrip()
        if not text.startswith("["):
            raise damaged(path, "not a JSON list of records")
        text = text[1:]
        while True:
            text = text.lstrip(", \r\n\t")
            if text.startswith("]"):
                return
            try:
                record, end = decoder.raw_decode(text)
            except ValueError as error:
                more = file.read(_CHUNK)
                if not more:
                    size = path.stat().st_size
                    raise damaged(path, f"cut short: {size} bytes without the end of the list") from error
                text += more
                continue
            yield record
            text = text[end:]


def rotation(quaternion: Sequence[float]) -> Matrix:
    """The (3, 3) rotation of a unit quaternion (w, x, y, z)."""
    w, x, y, z = np.asarray(quaternion, dtype=np.float64) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def pose(row: Row) -> Matrix:
    """The (4, 4) pose of a row with `rotation` and `translation` in metres: from its own frame to the one above it."""
    result = np.eye(4)
    result[:3, :3] = rotation(row["rotation"])
    result[:3, 3] = row["translation"]
    return result


def sparse_depth(points: NDArray[np.floating[Any]], lidar_to_camera: Matrix, intrinsics: Intrinsics) -> FloatMap:
    """The z-depth in metres of points at the pixels they fall on, (H, W) float32, inf elsewhere.

    Args:
        points: (N, 3) metres in the frame of the lidar.
        lidar_to_camera: (4, 4).
        intrinsics: of the photo.
    """
    in_camera = points @ lidar_to_camera[:3, :3].T + lidar_to_camera[:3, 3]
    in_camera = in_camera[in_camera[:, 2] > NEAREST_M]
    x, y, z = in_camera.T
    columns = np.rint(intrinsics.fx * x / z + intrinsics.cx).astype(np.int64)
    lines = np.rint(intrinsics.fy * y / z + intrinsics.cy).astype(np.int64)
    inside = (columns >= 0) & (columns < intrinsics.width) & (lines >= 0) & (lines < intrinsics.height)
    depth = np.full((intrinsics.height, intrinsics.width), np.inf, dtype=np.float32)
    np.minimum.at(depth, (lines[inside], columns[inside]), z[inside].astype(np.float32))
    return depth


def _version(root: Path) -> Path | None:
    """The folder of the tables: the given one, or the first of `VERSIONS` in it."""
    folders = [root, *(root / name for name in VERSIONS)]
    return next((folder for folder in folders if (folder / "sample_data.json").exists()), None)


def recognise(root: Path) -> bool:
    """Whether the tables are there."""
    return _version(root) is not None


def open_nuscenes(root: Path) -> ListedDataset[DrivingView]:
    """Every key frame of the front camera in the order of the table; the group is the name of the drive ("scene-0061").

    The folder is that of the tables, or the one above, of which v1.0-trainval is read before v1.0-mini.

    Raises:
        DatasetError: every table, photo or sweep that is missing, or of no whole number of points.
    """
    folder = _version(root) or root / VERSIONS[1]
    check = Checklist(root, FORM)
    check.need_all(folder / f"{name}.json" for name in _TABLES)
    if check.faults:
        check.done(0)
    with decoding(folder, "set of nuScenes tables", FORM.next_step()):
        views = list(_views(folder))
    for view in views:
        check.need(view.picture)
        if check.need(view.sweep) and _point_count(view.sweep) is None:
            check.faults.append((view.sweep, f"{view.sweep.stat().st_size} bytes, {_NO_POINTS}"))
    check.done(len(views))
    return ListedDataset(FORM.kind, tuple(views), _sample)


def _views(folder: Path) -> Iterator[DrivingView]:
    """The front photos with the sweeps of the same key frame, from the tables in `folder`."""
    drives = {row["token"]: row["name"] for row in rows(folder / "scene.json")}
    names = {row["token"]: drives[row["scene_token"]] for row in rows(folder / "sample.json")}
    channels = {row["token"]: row["channel"] for row in rows(folder / "sensor.json")}
    sensors = {
        row["token"]: row
        for row in rows(folder / "calibrated_sensor.json")
        if channels.get(row["sensor_token"]) in (CAMERA, LIDAR)
    }
    frames: dict[str, dict[str, Row]] = {}
    for row in rows(folder / "sample_data.json"):
        sensor = sensors.get(row["calibrated_sensor_token"])
        if row["is_key_frame"] and sensor is not None:
            frames.setdefault(row["sample_token"], {})[channels[sensor["sensor_token"]]] = row
    wanted = {row["ego_pose_token"] for frame in frames.values() for row in frame.values()}
    cars = {row["token"]: pose(row) for row in rows(folder / "ego_pose.json") if row["token"] in wanted}
    for token, frame in frames.items():
        camera, lidar = frame[CAMERA], frame[LIDAR]
        calibrated = sensors[camera["calibrated_sensor_token"]]
        to_world = cars[lidar["ego_pose_token"]] @ pose(sensors[lidar["calibrated_sensor_token"]])
        from_world = np.linalg.inv(cars[camera["ego_pose_token"]] @ pose(calibrated))
        yield DrivingView(
            name=f"{names[token]}/{Path(camera['filename']).stem}",
            group=names[token],
            picture=folder.parent / camera["filename"],
            sweep=folder.parent / lidar["filename"],
            lidar_to_camera=from_world @ to_world,
            camera_matrix=calibrated["camera_intrinsic"],
            calibration=folder / "calibrated_sensor.json",
        )


def _point_count(path: Path) -> int | None:
    """How many points a sweep has by its size; None where the size is that of no whole number of them."""
    count, rest = divmod(path.stat().st_size, 4 * _POINT_VALUES)
    return None if rest else count


def _read_points(path: Path) -> NDArray[np.float32]:
    """A sweep: (N, 3) metres in the frame of the lidar; each point has x, y, z, intensity and ring as float32."""
    require(path)
    count = _point_count(path)
    if count is None:
        raise damaged(path, f"{path.stat().st_size} bytes, {_NO_POINTS}")
    return read_raw(path, (count, _POINT_VALUES), "<f4")[:, :3]


def _sample(view: DrivingView) -> EvalSample:
    image = read_picture(view.picture)
    intrinsics = pinhole(view.calibration, view.camera_matrix, image)
    depth = sparse_depth(_read_points(view.sweep), view.lidar_to_camera, intrinsics)
    valid = np.isfinite(depth)
    return EvalSample(view.name, view.group, image, inverse(depth, valid), valid, intrinsics=intrinsics)
