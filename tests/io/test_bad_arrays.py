"""Arrays that are not what a writer takes, and places where no file can be put: each gives one clear sentence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pro_engine.errors import FileError, InputError, ProEngineError
from pro_engine.io.cloud import save_cloud
from pro_engine.io.depth import save_depth
from pro_engine.io.image import load_image, save_image
from pro_engine.io.mesh import save_mesh
from pro_engine.types import Mesh, PointCloud

PHOTO = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
DEPTH = np.random.default_rng(1).random((48, 64), dtype=np.float32) + 1
CORNERS = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1]], np.float32)
FACES = np.array([[0, 2, 1]], np.int32)
UV = np.zeros((3, 2), np.float32)

Bad = Callable[[Path], object]
Refused = Callable[[Bad, Path, str, type[ProEngineError]], None]


def saves_depth(values: object, name: str = "a.npy", **options: Any) -> Bad:
    return lambda folder: save_depth(folder / name, values, **options)  # type: ignore[arg-type]


def saves_mesh(mesh: object, name: str = "a.glb") -> Bad:
    return lambda folder: save_mesh(folder / name, mesh)  # type: ignore[arg-type]


def saves_cloud(cloud: object, name: str = "a.ply") -> Bad:
    return lambda folder: save_cloud(folder / name, cloud)  # type: ignore[arg-type]


def saves_image(image: object, name: str = "a.png") -> Bad:
    return lambda folder: save_image(folder / name, image)  # type: ignore[arg-type]


def writes_into_a_pipe(folder: Path) -> object:
    os.mkfifo(folder / "pipe.png")
    return save_image(folder / "pipe.png", PHOTO)


def below_a_file(folder: Path) -> object:
    (folder / "a").write_text("x")
    return save_depth(folder / "a" / "b.npy", DEPTH)


NAN_CORNERS = np.where(CORNERS == 1, np.nan, CORNERS).astype(np.float32)

BAD_WRITES: dict[str, tuple[Bad, str, type[ProEngineError]]] = {
    "depth: list": (saves_depth([[1.0]]), "depth map is list", InputError),
    "depth: colours": (saves_depth(np.zeros((3, 4, 3), np.float32)), r"float32 \(3, 4, 3\)", InputError),
    "depth: whole numbers": (saves_depth(np.zeros((3, 4), np.uint16)), r"uint16 \(3, 4\)", InputError),
    "depth: no pixels": (saves_depth(np.zeros((0, 4), np.float32)), r"shape \(0, 4\)", InputError),
    "depth: negative": (saves_depth(-DEPTH), r"negative values \(least -1\.\d+ m\)", InputError),
    "depth: unknown quantity": (saves_depth(DEPTH, quantity="metres"), "quantity is 'metres'", InputError),
    "depth: unknown suffix": (saves_depth(DEPTH, "a.jpg"), r"a\.jpg has the suffix '\.jpg'", FileError),
    "depth: metadata of objects": (saves_depth(DEPTH, metadata={"a": np.float32(1)}), "float32", InputError),
    "depth: metadata with NaN": (saves_depth(DEPTH, metadata={"a": float("nan")}), "metadata cannot", InputError),
    "depth: metadata with numbers for keys": (saves_depth(DEPTH, metadata={1: 2}), "metadata is {1: 2}", InputError),
    "depth: a folder": (lambda f: ((f / "a.npy").mkdir(), save_depth(f / "a.npy", DEPTH)), "is a folder", FileError),
    "depth: below a file": (below_a_file, r"cannot be written", FileError),
    "depth: name too long": (saves_depth(DEPTH, "x" * 300 + ".npy"), "name is too long", FileError),
    "depth: null in name": (saves_depth(DEPTH, "a\0.npy"), "null character", FileError),
    "depth: no name": (lambda _: save_depth("", DEPTH), "path is empty", FileError),
    "image: into a pipe": (writes_into_a_pipe, r"pipe\.png is not a regular file", FileError),
    "image: float": (saves_image(PHOTO / 255), "dtype float64", InputError),
    "image: grey": (saves_image(PHOTO[..., 0]), r"grey, shape \(48, 64\)", InputError),
    "image: no pixels": (saves_image(PHOTO[:0]), r"no pixels, shape \(0, 64, 3\)", InputError),
    "image: None": (saves_image(None), "NoneType", InputError),
    "image: unknown suffix": (saves_image(PHOTO, "a.gif"), r"a\.gif has the suffix", FileError),
    "image: too wide for jpeg": (saves_image(np.zeros((1, 70000, 3), np.uint8), "a.jpg"), "70000 x 1", FileError),
    "image: too wide for webp": (saves_image(np.zeros((1, 20000, 3), np.uint8), "a.webp"), "20000 x 1", FileError),
    "cloud: array": (saves_cloud(CORNERS), "cloud is a ndarray", InputError),
    "cloud: flat": (saves_cloud(PointCloud(CORNERS[:, :2])), r"xyz is float32 \(3, 2\)", InputError),
    "cloud: no points": (saves_cloud(PointCloud(CORNERS[:0])), "no points", InputError),
    "cloud: NaN": (saves_cloud(PointCloud(NAN_CORNERS)), "NaN or infinite", InputError),
    "cloud: infinite": (
        saves_cloud(PointCloud(np.full((3, 3), np.inf, np.float32)), "a.pcd"),
        "NaN or infinite",
        InputError,
    ),
    "cloud: too few colours": (saves_cloud(PointCloud(CORNERS, PHOTO[0, :2])), r"rgb is uint8 \(2, 3\)", InputError),
    "cloud: float colours": (saves_cloud(PointCloud(CORNERS, CORNERS)), "rgb is float32", InputError),  # type: ignore[arg-type]
    "cloud: unknown suffix": (saves_cloud(PointCloud(CORNERS), "a.xyz"), r"a\.xyz has the suffix", FileError),
    "mesh: None": (saves_mesh(None), "mesh is a NoneType", InputError),
    "mesh: NaN": (saves_mesh(Mesh(NAN_CORNERS, FACES)), "NaN or infinite", InputError),
    "mesh: no faces": (saves_mesh(Mesh(CORNERS, FACES[:0])), "no faces", InputError),
    "mesh: quads": (saves_mesh(Mesh(CORNERS, np.zeros((1, 4), np.int32))), r"faces are int32 \(1, 4\)", InputError),
    "mesh: float faces": (saves_mesh(Mesh(CORNERS, FACES.astype(float))), "faces are float64", InputError),  # type: ignore[arg-type]
    "mesh: face beyond": (
        saves_mesh(Mesh(CORNERS, FACES + 1)),
        "vertices 1 to 3; give indices from 0 to 2",
        InputError,
    ),
    "mesh: face before": (saves_mesh(Mesh(CORNERS, FACES - 1)), "vertices -1 to 1", InputError),
    "mesh: too few uv": (saves_mesh(Mesh(CORNERS, FACES, UV[:2], PHOTO)), r"uv is float32 \(2, 2\)", InputError),
    "mesh: NaN in uv": (saves_mesh(Mesh(CORNERS, FACES, UV * np.nan, PHOTO)), "give finite", InputError),
    "mesh: texture without uv": (saves_mesh(Mesh(CORNERS, FACES, None, PHOTO)), "texture but no uv", InputError),
    "mesh: grey texture": (saves_mesh(Mesh(CORNERS, FACES, UV, PHOTO[..., 0])), "texture is grey", InputError),
    "mesh: unknown suffix": (saves_mesh(Mesh(CORNERS, FACES), "a.fbx"), r"a\.fbx has the suffix", FileError),
}


@pytest.mark.parametrize("case", BAD_WRITES)
@pytest.mark.filterwarnings("ignore")
def test_bad_arrays_and_targets(tmp_path: Path, refused: Refused, case: str) -> None:
    action, expected, kind = BAD_WRITES[case]
    refused(action, tmp_path, expected, kind)
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write and read everywhere")
def test_forbidden_places(tmp_path: Path, refused: Refused) -> None:
    save_image(tmp_path / "a.png", PHOTO)
    (tmp_path / "a.png").chmod(0)
    refused(lambda folder: load_image(folder / "a.png"), tmp_path, r"a\.png cannot be read: permission", FileError)
    tmp_path.chmod(0o500)
    refused(lambda folder: save_image(folder / "b.png", PHOTO), tmp_path, "permission denied", FileError)
    tmp_path.chmod(0o700)
