"""Reconstructions: the same cameras and points, read from COLMAP's files and from nerfstudio's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pro_engine.errors import FileError
from pro_engine.io.lens import ColmapLens, distorted, lens_pixels, undistorted, undistorted_camera
from pro_engine.io.reconstruction import is_reconstruction, load_points, load_reconstruction

pycolmap = pytest.importorskip("pycolmap")

BENT = (500.0, 510.0, 321.0, 239.0, 0.08, -0.02, 0.001, -0.002)
TURN = pycolmap.Rotation3d(np.array([0.02, -0.1, 0.1, 0.99]) / np.linalg.norm([0.02, -0.1, 0.1, 0.99]))


def model(folder: Path, *, text: bool) -> pycolmap.Reconstruction:
    """One view, named a/one.jpg, of 50 points, through a bent lens."""
    made = pycolmap.Reconstruction()
    camera = pycolmap.Camera(model="OPENCV", width=640, height=480, params=BENT, camera_id=1)
    made.add_camera_with_trivial_rig(camera)
    pose = pycolmap.Rigid3d(TURN, np.array([0.1, 0.2, 0.3]))
    xyz = np.random.default_rng(0).uniform((-1, -1, 3), (1, 1, 6), (50, 3))
    there = xyz @ pose.matrix()[:, :3].T + pose.matrix()[:, 3]
    image = pycolmap.Image(name="a/one.jpg", keypoints=camera.img_from_cam(there), camera_id=1, image_id=1)
    made.add_image_with_trivial_frame(image, pose)
    for number, point in enumerate(xyz):
        track = pycolmap.Track()
        track.add_element(1, number)
        made.add_point3D(point, track, np.array([number, 100, 200], dtype=np.uint8))
    folder.mkdir(parents=True, exist_ok=True)
    (made.write_text if text else made.write_binary)(str(folder))
    return made


@pytest.mark.parametrize("text", [True, False])
def test_colmap_models_are_read_with_our_pixels(tmp_path, text):
    made = model(tmp_path / "sparse/0", text=text)
    assert is_reconstruction(tmp_path)
    found = load_reconstruction(tmp_path)
    (view,) = found.views
    assert (found.kind, view.name, view.lens.model) == ("colmap", "a/one.jpg", "OPENCV")
    np.testing.assert_allclose(view.lens.parameters, BENT)
    np.testing.assert_allclose(view.pose, made.images[1].cam_from_world().matrix(), atol=1e-9)
    there = found.xyz[view.points] @ view.pose[:, :3].T + view.pose[:, 3]
    np.testing.assert_allclose(view.depth, there[:, 2])
    pixels, _ = lens_pixels(view.lens, there)
    np.testing.assert_allclose(pixels, view.pixels, atol=1e-6)
    np.testing.assert_allclose(view.pixels + 0.5, [p.xy for p in made.images[1].points2D], atol=1e-6)
    assert found.view_of(Path("photos/a/one.jpg")) is view
    assert found.view_of(Path("one.png")) is view
    with pytest.raises(FileError, match="no view of"):
        found.view_of(Path("two.jpg"))
    np.testing.assert_allclose(view.resized(320, 240).pixels, (view.pixels + 0.5) / 2 - 0.5)


def test_lenses_bend_and_straighten():
    lens = ColmapLens("OPENCV", BENT, 640, 480)
    pixels = np.array([[0.0, 0.0], [320.5, 238.5], [639.0, 100.0]])
    np.testing.assert_allclose(distorted(lens, undistorted(lens, pixels)), pixels, atol=1e-4)
    straight = undistorted_camera(lens)
    assert straight.fx == pytest.approx(500.0)
    flat = ColmapLens("PINHOLE", BENT[:4], 640, 480)
    assert undistorted_camera(flat) == flat.pinhole
    np.testing.assert_allclose(distorted(flat, undistorted(flat, pixels)), pixels, atol=1e-9)
    for kind, params in (("SIMPLE_RADIAL", (500, 320, 240, 0.1)), ("RADIAL", (500, 320, 240, 0.1, 0))):
        k = ColmapLens(kind, params, 640, 480).resized(320, 240).pinhole
        assert (k.fx, k.fy, k.cx, k.cy) == (250, 250, 159.5, 119.5)


def test_nerfstudio_says_the_same_as_colmap(tmp_path):
    import trimesh

    model(tmp_path / "sparse/0", text=True)
    known = load_reconstruction(tmp_path / "sparse/0")
    (view,) = known.views
    pose = np.vstack([view.pose, [0, 0, 0, 1]])
    matrix = np.linalg.inv(pose) @ np.diag([1, -1, -1, 1])  # to the world, y up and z backwards
    trimesh.PointCloud(known.xyz, np.full((50, 4), 200, dtype=np.uint8)).export(tmp_path / "points.ply")
    names = ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2")
    frame = {"file_path": "a/one.jpg", "transform_matrix": matrix.tolist()}
    text = {"w": 640, "h": 480, "camera_model": "OPENCV", "frames": [frame], "ply_file_path": "points.ply"}
    (tmp_path / "transforms.json").write_text(json.dumps({**dict(zip(names, BENT, strict=True)), **text}))
    found = load_reconstruction(tmp_path / "transforms.json")
    (same,) = found.views
    assert found.kind == "nerfstudio"
    assert same.lens == view.lens
    np.testing.assert_allclose(same.pose, view.pose, atol=1e-9)
    there = dict(zip(view.points, view.pixels, strict=True))
    assert len(same.points) > 30
    for point, pixel in zip(same.points, same.pixels, strict=True):
        np.testing.assert_allclose(pixel, there[point], atol=1e-2)  # a PLY holds floats of 32 bits


def test_what_is_no_reconstruction_is_refused(tmp_path):
    with pytest.raises(FileError, match="no reconstruction"):
        load_reconstruction(tmp_path)
    for name in ("cameras", "images", "points3D"):
        (tmp_path / f"{name}.txt").write_text("1 NOTHING 3\n" if name == "cameras" else "")
    with pytest.raises(FileError):
        load_reconstruction(tmp_path)
    (tmp_path / "transforms.json").write_text('{"frames": [{}]}')
    with pytest.raises(FileError, match="cannot be read as nerfstudio"):
        load_reconstruction(tmp_path / "transforms.json")
    points = tmp_path / "points.xyz"
    points.write_text("# x y z\n1 2 3 255 0 0\n4, 5, 6\n")
    np.testing.assert_array_equal(load_points(points), [[1, 2, 3], [4, 5, 6]])
    points.write_text("1 2\n")
    with pytest.raises(FileError, match="three finite numbers"):
        load_points(points)
