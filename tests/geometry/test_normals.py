"""Normals of planes through any lens, at outlines and holes, and their files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import pro_engine as pro
from pro_engine.geometry.camera import ray_slopes
from pro_engine.io.normals import save_mask

LENS = pro.Intrinsics(90.0, 120.0, 40.0, 20.0, 96, 64)


def plane(normal: tuple[float, float, float], distance_m: float) -> np.ndarray:
    """Depth of a plane whose unit normal points towards the camera."""
    x, y = ray_slopes(LENS)
    away = -(normal[0] * x + normal[1] * y[:, None] + normal[2])
    return (distance_m / away).astype(np.float32)


def unit(*values: float) -> tuple[float, float, float]:
    length = float(np.linalg.norm(values))
    return values[0] / length, values[1] / length, values[2] / length


@pytest.mark.parametrize("normal", [(0.0, 0.0, -1.0), unit(0.3, 0.2, -1.0), unit(-0.5, 0.4, -0.8), unit(0, -1, -0.6)])
def test_a_plane_has_its_own_normal_everywhere(normal):
    for scale in (1.0, 40.0):
        normals = pro.depth_to_normals(scale * plane(normal, 3.0), LENS)
        assert normals.dtype == np.float32 and normals.shape == (64, 96, 3)
        np.testing.assert_allclose(normals, np.broadcast_to(np.float32(normal), normals.shape), atol=2e-3)


def test_two_planes_keep_their_normals_up_to_the_outline_and_holes_have_none():
    one, other = (0.0, 0.0, -1.0), unit(0.4, 0.1, -1.0)
    depth = plane(one, 2.0)
    depth[:, 48:] = plane(other, 6.0)[:, 48:]
    depth[10:20, 10:20] = np.inf
    depth[40, 60] = np.nan
    normals = pro.depth_to_normals(depth, LENS)
    holes = ~np.isfinite(depth)
    assert np.isnan(normals[holes]).all() and np.isfinite(normals[~holes]).all()
    for part, wanted in ((np.s_[:, :48], one), (np.s_[:, 48:], other)):
        seen = normals[part][~holes[part]]
        np.testing.assert_allclose(seen, np.broadcast_to(np.float32(wanted), seen.shape), atol=2e-3)


def test_files_say_which_way_y_points(tmp_path: Path):
    normals = pro.depth_to_normals(plane(unit(0.3, -0.5, -1.0), 3.0), LENS)  # leans back: its top is farther
    normals[0, 0] = np.nan
    for y, sign in (("opengl", 1), ("directx", -1)):
        path = tmp_path / f"{y}.png"
        pro.save_normals(path, normals, y=y, metadata={"photo": "ü.jpg"})
        told = json.loads(Image.open(path).text["pro_engine"])
        assert (told["convention"], told["y"], told["photo"]) == (y, "up" if sign > 0 else "down", "ü.jpg")
        seen = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
        assert seen.dtype == np.uint16 and (seen[0, 0] // 256 == 128).all()
        np.testing.assert_allclose(seen[5, 5] / 32767.5 - 1, np.multiply(unit(0.3, 0.5 * sign, 1.0), 1), atol=3e-3)


def test_exr_holds_the_vectors_themselves(tmp_path: Path):
    openexr = pytest.importorskip("OpenEXR")
    normals = pro.depth_to_normals(plane(unit(0.3, -0.5, -1.0), 3.0), LENS)
    pro.save_normals(tmp_path / "n.exr", normals)
    with openexr.File(str(tmp_path / "n.exr"), separate_channels=True) as file:
        found = np.stack([file.channels()[f"N.{axis}"].pixels for axis in "XYZ"], 2)
        assert "towards the viewer" in file.header()["pro_engine"]
    np.testing.assert_array_equal(found, normals * np.float32([1, -1, -1]))


@pytest.mark.parametrize(
    ("name", "normals", "y", "message"),
    [
        ("n.jpg", np.zeros((4, 4, 3), np.float32), "opengl", "has the suffix"),
        ("n.png", np.zeros((4, 4), np.float32), "opengl", "what depth_to_normals returns"),
        ("n.png", np.zeros((4, 4, 3), np.float32), "up", "give opengl or directx"),
    ],
)
def test_what_cannot_be_written(tmp_path, name, normals, y, message):
    with pytest.raises(pro.ProEngineError, match=message):
        pro.save_normals(tmp_path / name, normals, y=y)
    assert not list(tmp_path.iterdir())


def test_a_mask_is_black_and_white(tmp_path):
    save_mask(tmp_path / "m.png", np.array([[True, False]]))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "m.png")), [[255, 0]])
