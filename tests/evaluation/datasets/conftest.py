"""Tiny folders in the byte formats in which the datasets are published, written without the engine's own writers."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

CALIB = """cam0=[800 0 2.5; 0 800 1.5; 0 0 1]
cam1=[800 0 22.5; 0 800 1.5; 0 0 1]
doffs=20
baseline=250
width=6
height=4
"""
XML = """<?xml version="1.0"?>
<opencv_storage>
<proj_matL type_id="opencv-matrix"><rows>3</rows><cols>4</cols><dt>d</dt>
  <data>1000. 0. 2.5 0. 0. 1000. 1.5 0. 0. 0. 1. 0.</data></proj_matL>
<baselineLR>80.</baselineLR>
</opencv_storage>
"""


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An RGB picture without structure, so that a turn, a flip or a change of channels shows."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write_picture(path: Path, rgb: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1] if rgb.ndim == 3 else rgb)


def write_pfm(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    path.write_bytes(b"Pf\n%d %d\n-1\n" % (width, height) + values[::-1].astype("<f4").tobytes())


def write_npy(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = repr({"descr": values.dtype.str, "fortran_order": False, "shape": values.shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values.tobytes())


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """One rendered scene of 4 x 6 pixels: 2 m, a sky pixel, glass, and one pixel nearer than 2 cm."""
    root = tmp_path / "scenes"
    write_picture(root / "scene_000001_0.jpg", picture(4, 6))
    depth = np.full((4, 6), 2.0, np.float16)
    depth[0, 0], depth[3, 5] = np.inf, 0.001
    glass = np.zeros((4, 6), np.uint8)
    glass[1, 2] = 1
    np.savez(
        root / "scene_000001_0.npz", depth=depth, transparent=glass, kind=np.asarray("street"),
        intrinsics=np.asarray((5, 6, 2.5, 1.5), np.float32),
    )  # fmt: skip
    return root


U4K_DISPARITY = np.array([[20, 10, 0, np.inf, 0.0001, 40]] * 4, np.float32)


@pytest.fixture
def unrealstereo4k(tmp_path: Path) -> Path:
    """One RGBA pair with f = 100 px and a baseline of 0.3 m along a turned x axis: depth = 30 / disparity."""
    scene = tmp_path / "u4k" / "00003"
    rgba = np.dstack([picture(4, 6)[..., ::-1], np.full((4, 6), 7, np.uint8)])
    for camera in (0, 1):
        write_picture(scene / f"Image{camera}" / "00012.png", picture(4, 6))
        assert cv2.imwrite(str(scene / f"Image{camera}" / "00012.png"), rgba)
        write_npy(scene / f"Disp{camera}" / "00012.npy", U4K_DISPARITY)
        # world to camera: a quarter turn about y, then the camera's own shift along its x axis
        pose = f"0 0 -1 {1.5 - 0.3 * camera} 0 1 0 0 1 0 0 2"
        write_text(scene / f"Extrinsics{camera}" / "00012.txt", f"100 0 2.5 0 100 1.5 0 0 1\n{pose}\n")
    return scene.parent


@pytest.fixture
def middlebury2014(tmp_path: Path) -> Path:
    root = tmp_path / "middlebury"
    scene = root / "Piano-perfect"
    write_picture(scene / "im0.png", picture(4, 6))
    disparity = np.arange(24, dtype=np.float32).reshape(4, 6)
    disparity[2, 3] = np.inf
    write_pfm(scene / "disp0.pfm", disparity)
    write_text(scene / "calib.txt", CALIB)
    return root


@pytest.fixture
def eth3d(tmp_path: Path) -> Path:
    """A scene with one photo, and a pair whose truth lies in a folder of its own."""
    root = tmp_path / "eth3d"
    write_picture(root / "pipes/images/dslr_images/DSC_0634.JPG", picture(4, 6))
    depth = np.arange(1, 25, dtype="<f4")
    depth[7] = np.inf
    (root / "pipes/ground_truth_depth/dslr_images").mkdir(parents=True)
    (root / "pipes/ground_truth_depth/dslr_images/DSC_0634.JPG").write_bytes(depth.tobytes())
    write_picture(root / "two_view_training/forest_1s/im0.png", picture(4, 6)[..., 0])
    write_text(root / "two_view_training/forest_1s/calib.txt", CALIB.replace("doffs=20", "doffs=0"))
    disparity = np.full((4, 6), 8, np.float32)
    disparity[0, 0] = np.inf
    write_pfm(root / "two_view_training_gt/forest_1s/disp0GT.pfm", disparity)
    mask = np.full((4, 6), 255, np.uint8)
    mask[1, 1], mask[1, 2] = 0, 128
    write_picture(root / "two_view_training_gt/forest_1s/mask0nocc.png", mask)
    return root


@pytest.fixture
def booster(tmp_path: Path) -> Path:
    scene = tmp_path / "booster/train/balanced/Bottle"
    for number in (0, 1):
        write_picture(scene / f"camera_00/im{number}.png", picture(4, 6, number))
    disparity = np.full((4, 6), 40, np.float32)
    disparity[0, 0] = 0
    write_npy(scene / "disp_00.npy", disparity)
    mask = np.full((4, 6), 255, np.uint8)
    mask[0, 1] = 0
    write_picture(scene / "mask_00.png", mask)
    write_picture(scene / "mask_cat.png", np.array([[0, 1, 2, 3, 0, 0]] * 4, np.uint8))
    write_text(scene / "calib_00-02.xml", XML)
    return tmp_path / "booster"


@pytest.fixture
def dis5k(tmp_path: Path) -> Path:
    root = tmp_path / "DIS5K"
    for split, name in (("DIS-VD", "a#1"), ("DIS-TE1", "b")):
        write_picture(root / split / "im" / f"{name}.jpg", picture(4, 6))
        write_picture(root / split / "gt" / f"{name}.png", np.array([[0, 0, 64, 200, 255, 255]] * 4, np.uint8))
    return root


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    root = tmp_path / "flat"
    write_text(
        root / "index.csv",
        "name,kind,width,height,real_synthetic,group,boundary,alpha\n"
        "room,depth,6,4,real,nyu,0,0\nstones,disparity,3,2,synthetic,mb,1,0\nhair,none,6,4,real,matte,0,1\n"
        "view,none,6,4,real,photo,0,0\n",
    )
    for name in ("room", "stones", "hair", "view"):
        write_picture(root / name / "image.png", picture(4, 6))
    depth = np.array([[4, 0, np.nan], [2, 8, np.inf]], np.float32)
    np.savez(root / "room/depth.npz", kind="depth", depth=depth, boundary=np.int32(0), focal_px=np.float32(5))
    np.savez(root / "stones/depth.npz", kind="disparity", disparity=depth, boundary=np.int32(1))
    write_picture(root / "stones/transparent.png", np.array([[0, 255, 0], [0, 0, 255]], np.uint8))
    write_picture(root / "hair/alpha.png", np.array([[0, 0, 64, 200, 255, 255]] * 4, np.uint8))
    return root


TURN_RIGHT = [0.5**0.5, 0, 0, -(0.5**0.5)]  # about z; the lidar looks along its y, the car along its x
TURN_LEFT = [0.5**0.5, 0, 0, 0.5**0.5]
OPTICAL = [0.5, -0.5, 0.5, -0.5]  # x right, y down, z forward in a car with x forward, y left, z up
LIDAR_POINTS = [
    (2, 11.8, -0.7),  # 10 m before the camera, 2 m to the right of it and 0.4 m below
    (4, 21.8, -1.1),  # behind that point, on the same ray
    (0, 2.0, -0.3),  # 0.2 m before the camera
    (0, -10, -0.3),  # behind the car
    (9, 11.8, -0.7),  # to the right of the picture
]


@pytest.fixture
def nuscenes(tmp_path: Path) -> Path:
    """A key frame whose photo was taken when the car, heading along y of the world, had gone 1 m since the sweep."""
    root = tmp_path / "nuscenes"
    photo, sweep = "samples/CAM_FRONT/n015__CAM_FRONT__2.jpg", "samples/LIDAR_TOP/n015__LIDAR_TOP__1.pcd.bin"
    intrinsic = [[50.0, 0.0, 20.0], [0.0, 50.0, 10.0], [0.0, 0.0, 1.0]]
    frame = {"sample_token": "s", "is_key_frame": True}
    tables: dict[str, list[dict[str, Any]]] = {
        "scene": [{"token": "drive", "name": "scene-0061"}],
        "sample": [{"token": "s", "scene_token": "drive", "timestamp": 1}],
        "sensor": [{"token": name, "channel": name} for name in ("CAM_FRONT", "LIDAR_TOP", "RADAR_FRONT")],
        "calibrated_sensor": [
            {"token": "cam", "sensor_token": "CAM_FRONT", "translation": [1.7, 0, 1.5], "rotation": OPTICAL,
             "camera_intrinsic": intrinsic},
            {"token": "lid", "sensor_token": "LIDAR_TOP", "translation": [0.9, 0, 1.8], "rotation": TURN_RIGHT,
             "camera_intrinsic": []},
            {"token": "rad", "sensor_token": "RADAR_FRONT", "translation": [3, 0, 0.5], "rotation": [1, 0, 0, 0],
             "camera_intrinsic": []},
        ],
        "ego_pose": [
            {"token": "e1", "translation": [100, 50, 0], "rotation": TURN_LEFT},
            {"token": "e2", "translation": [100, 51, 0], "rotation": TURN_LEFT},
        ],
        "sample_data": [
            {**frame, "token": "1", "calibrated_sensor_token": "lid", "ego_pose_token": "e1", "filename": sweep},
            {**frame, "token": "2", "calibrated_sensor_token": "cam", "ego_pose_token": "e2", "filename": photo},
            {**frame, "token": "3", "calibrated_sensor_token": "rad", "ego_pose_token": "e2", "filename": "radar.pcd"},
            {**frame, "token": "4", "calibrated_sensor_token": "cam", "ego_pose_token": "e1",
             "filename": "sweeps/CAM_FRONT/between.jpg", "is_key_frame": False},
        ],
    }  # fmt: skip
    for name, table in tables.items():
        write_text(root / "v1.0-mini" / f"{name}.json", json.dumps(table, indent=0))
    write_picture(root / photo, picture(20, 40))
    (root / sweep).parent.mkdir(parents=True)
    points = np.array([(*xyz, 17.0, 3.0) for xyz in LIDAR_POINTS], "<f4")
    (root / sweep).write_bytes(points.tobytes())
    return root


DatasetFolder = Callable[[str], Path]


@pytest.fixture
def folder_of(request: pytest.FixtureRequest) -> DatasetFolder:
    """The folder of a kind of dataset, made when it is asked for."""

    def make(kind: str) -> Path:
        folder: Any = request.getfixturevalue(kind)
        assert isinstance(folder, Path)
        return folder

    return make
