"""A whole reconstruction: aligned maps, files that other programs read, one surface; and what is done again."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_scene import VIEWS, K, KnownDepth, pose, true_depth, write_scene

from pro_engine.io.depth import load_depth
from pro_engine.io.lens import ColmapLens, distorted
from pro_engine.io.reconstruction import View, load_reconstruction
from pro_engine.jobs.options import SceneOptions
from pro_engine.jobs.photos import Failure, Photo
from pro_engine.jobs.scene import SceneJob, ViewReport, infer_views
from pro_engine.jobs.scene_results import finish, map_error
from pro_engine.jobs.straight import straightened
from pro_engine.types import Intrinsics

pycolmap = pytest.importorskip("pycolmap")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A scene that was done: its job, its report, and what was inferred."""
    folder = tmp_path_factory.mktemp("scene")
    write_scene(folder)
    options = SceneOptions(
        folder / "images", layouts=("colmap", "graphdeco", "nerfstudio", "exr"), points=("ply", "laz"), voxel=0.04
    )
    job, predictor = SceneJob(folder / "sparse/0", folder / "out", options), KnownDepth()
    photos, failures = job.photos()
    assert not failures
    reports = [job.attempt(photo, predictor) for photo in photos]
    steps: list[str] = []
    report = finish(job, reports, steps.append)
    assert steps == ["compare"] * VIEWS + ["fuse"] * VIEWS
    return job, report, predictor


def unprojected(depth: np.ndarray, k: Intrinsics, to_world: np.ndarray) -> np.ndarray:
    row, column = np.nonzero(depth > 0)
    z = depth[row, column]
    there = np.stack([(column - k.cx) / k.fx * z, (row - k.cy) / k.fy * z, z, np.ones_like(z)], axis=1)
    return there @ to_world[:3].T


def test_the_error_of_maps_is_told_by_all_views_together():
    def view(error: float, shared: float, pairs: int) -> ViewReport:
        return ViewReport("a.jpg", "a", 90, 90, error, True, shared, pairs)

    assert map_error([view(0.02, 0.5, 300), view(0.01, 0.0, 100), view(0.03, 0.25, 200)]) == pytest.approx(
        0.02 * np.sqrt(200 / 600)
    )
    assert map_error([view(0.02, -0.2, 300)]) == 0.0
    assert map_error([view(0.02, 0.5, 100)]) is None


def pixel_errors(world: np.ndarray, number: int) -> np.ndarray:
    """How far each point lies, in pixels of a view, from where the true surface behind its pixel of view 2 lands."""
    there = world @ pose(number)[:, :3].T + pose(number)[:, 3]
    true = unprojected(true_depth(2), K, np.linalg.inv(np.vstack([pose(2), [0, 0, 0, 1]])))
    truth = true @ pose(number)[:, :3].T + pose(number)[:, 3]
    return np.linalg.norm((there[:, :2] / there[:, 2:] - truth[:, :2] / truth[:, 2:]) * K.fx, axis=1)


def test_maps_are_aligned_and_agree(made):
    job, report, _ = made
    for number, view in enumerate(report.views):
        depth, info = load_depth(job.map_of(view.name))
        assert np.median(np.abs(depth / true_depth(number) - 1)) < 0.01
        assert view.error < 0.01 and view.corrected and view.points > 100 and view.matched > 30
        assert info.metadata["fit"]["points"] == view.points
        np.testing.assert_allclose(load_depth(job.folder / f"exr/{view.name}.exr")[0], depth)
    confidence = np.asarray(Image.open(job.folder / "confidence/cam/2.png.png"))[..., 0]
    assert np.median(confidence) == 255
    assert report.contradicted < 0.05
    assert json.loads((job.folder / "scene.json").read_text())["views"][0]["name"] == "cam/0.png"


def test_the_surface_lies_on_the_truth(made):
    import laspy
    import trimesh

    job, report, _ = made
    mesh = trimesh.load(job.folder / "surface.ply", process=False)
    off = np.minimum(np.abs(mesh.vertices[:, 2] - 4), np.abs(mesh.vertices[:, 2] - 5))
    assert np.median(off) < 0.02
    assert len(mesh.faces) == report.faces > 1000
    facing = mesh.face_normals[:, 2] < -0.5  # towards the cameras, which look along z
    assert facing.mean() > 0.8
    assert tuple(np.median(mesh.visual.vertex_colors[:, 2:3], axis=0)) == (200,)
    scene = trimesh.load(job.folder / "surface.glb", process=False)
    assert len(next(iter(scene.geometry.values())).faces) == report.faces
    cloud = trimesh.load(job.folder / "points.ply", process=False)
    las = laspy.read(job.folder / "points.laz")
    np.testing.assert_allclose(np.stack([las.x, las.y, las.z], axis=1), cloud.vertices, atol=1e-5)
    assert report.points == len(las.x)


def read_ply(path: Path) -> np.ndarray:
    """The vertices of a binary PLY of floats and bytes."""
    head, _, body = path.read_bytes().partition(b"end_header\n")
    kinds = {"float": "<f4", "uchar": "u1"}
    fields = [line.split()[1:] for line in head.decode().splitlines() if line.startswith("property")]
    return np.frombuffer(body, dtype=[(name, kinds[kind]) for kind, name in fields])


def test_colmap_reads_its_workspace(made):
    job, _, _ = made
    model = pycolmap.Reconstruction(str(job.folder / "sparse"))
    for image in model.images.values():
        camera = model.cameras[image.camera_id]
        for point in image.points2D:
            xyz = model.points3D[point.point3D_id].xyz
            assert np.linalg.norm(camera.img_from_cam((image.cam_from_world() * xyz)[None])[0] - point.xy) < 0.5
        read = pycolmap.DepthMap()
        read.read(str(job.folder / f"stereo/depth_maps/{image.name}.geometric.bin"))
        depth = np.asarray(read.to_array())
        known = depth > 0
        assert known.mean() > 0.8
        np.testing.assert_allclose(depth[known], load_depth(job.map_of(image.name))[0][known])
    options = pycolmap.StereoFusionOptions()
    options.min_num_pixels, options.max_depth_error, options.max_normal_error = 2, 0.03, 30.0
    fused = pycolmap.stereo_fusion(job.folder / "fused.ply", job.folder, output_type="PLY", options=options)
    z = np.array([point.xyz[2] for point in fused.points3D.values()])
    assert len(z) > 1000
    assert np.median(np.minimum(np.abs(z - 4), np.abs(z - 5))) < 0.03
    names = "nx", "ny", "nz"
    found = read_ply(job.folder / "fused.ply")
    assert np.median(np.stack([found[name] for name in names], axis=1), axis=0) == pytest.approx([0, 0, -1], abs=0.1)


def test_the_consistency_graph_names_views_of_the_model(made):
    job, _, _ = made
    data = (job.folder / "stereo/consistency_graphs/cam/2.png.geometric.bin").read_bytes()
    width, height, channels, rest = data.split(b"&", 3)
    assert (width, height, channels) == (b"128", b"96", b"1")
    numbers = struct.unpack(f"<{len(rest) // 4}i", rest)
    at, pixels = 0, 0
    while at < len(numbers):
        column, row, count = numbers[at : at + 3]
        assert 0 <= column < 128 and 0 <= row < 96 and 0 < count < VIEWS
        assert set(numbers[at + 3 : at + 3 + count]) <= {0, 1, 3, 4}
        at, pixels = at + 3 + count, pixels + 1
    assert pixels > 0.8 * 128 * 96


def test_splatting_reads_inverse_depth(made):
    job, _, _ = made
    params = json.loads((job.folder / "sparse/0/depth_params.json").read_text())
    assert sorted(params) == [f"cam/{number}" for number in range(VIEWS)]
    code = np.asarray(Image.open(job.folder / "depths/cam/2.png"))
    assert code.dtype == np.uint16
    one = params["cam/2"]
    inverse = code.astype(np.float32) / 65536 * one["scale"] + one["offset"]
    np.testing.assert_allclose(1 / inverse, load_depth(job.map_of("cam/2.png"))[0], rtol=1e-3)
    world = unprojected(1 / inverse, K, np.linalg.inv(np.vstack([pose(2), [0, 0, 0, 1]])))
    assert np.median(pixel_errors(world, 4)) < 0.5


def test_nerfstudio_reads_millimetres_and_poses(made):
    job, _, _ = made
    text = json.loads((job.folder / "transforms.json").read_text())
    frame = next(frame for frame in text["frames"] if frame["file_path"] == "images/cam/2.png")
    assert (job.folder / frame["file_path"]).is_file()
    code = np.asarray(Image.open(job.folder / frame["depth_file_path"]))
    assert code.dtype == np.uint16
    depth = code * text["depth_unit_scale_factor"]
    k = Intrinsics(frame["fl_x"], frame["fl_y"], frame["cx"] - 0.5, frame["cy"] - 0.5, frame["w"], frame["h"])
    to_world = np.array(frame["transform_matrix"]) @ np.diag([1, -1, -1, 1])  # OpenGL's camera
    assert np.median(pixel_errors(unprojected(depth, k, to_world), 4)) < 0.5
    (view,) = [view for view in load_reconstruction(job.folder / "transforms.json").views if "2.png" in view.name]
    np.testing.assert_allclose(view.pose, pose(2), atol=1e-9)


def test_a_second_run_goes_on_and_bad_pictures_are_named(made, tmp_path):
    job, _, _ = made
    again, predictor = job, KnownDepth()
    photos = again.photos()[0]
    # As a worker of a cluster has it, each view with its photo.
    assert [(photo, view.skipped) for photo, view in partial(infer_views, job=again)(photos, predictor=predictor)] == [
        (photo, True) for photo in photos
    ]
    job.map_of("cam/3.png").unlink()
    assert [again.attempt(photo, predictor).skipped for photo in photos] == [True, True, True, False, True]
    assert predictor.seen == [3]
    bad = tmp_path / "4.png"
    bad.write_bytes(b"no picture")
    outcome = again.attempt(Photo(bad, "cam/4.png"), predictor)
    assert isinstance(outcome, Failure) and "4.png" in outcome.input
    elsewhere = replace(job, options=replace(job.options, images=tmp_path))
    found, missing = elsewhere.photos()
    assert [photo.name for photo in found] == ["cam/4.png"]
    assert len(missing) == VIEWS - 1 and "There is no picture" in missing[0].error


def test_a_bent_picture_is_straightened():
    lens = ColmapLens("SIMPLE_RADIAL", (100.0, 64.0, 48.0, -0.15), 128, 96)
    column, row = np.meshgrid(np.arange(128.0), np.arange(96.0))
    from pro_engine.io.lens import undistorted

    slopes = undistorted(lens, np.stack([column.ravel(), row.ravel()], axis=1)).reshape(96, 128, 2)
    picture = np.clip(128 + 150 * slopes, 0, 255)
    image = np.concatenate([picture, picture[..., :1]], axis=-1).round().astype(np.uint8)
    pixels = distorted(lens, np.array([[0.2, -0.1]]))
    view = View("a", lens, np.eye(3, 4), pixels, np.ones(1), np.zeros(1, dtype=np.int64))
    made, straight = straightened(image, view)
    k = straight.lens.pinhole
    assert made.shape[:2] == (k.height, k.width)
    np.testing.assert_allclose(straight.pixels, [[0.2 * k.fx + k.cx, -0.1 * k.fy + k.cy]], atol=1e-6)
    across = (np.arange(k.width) - k.cx) / k.fx
    np.testing.assert_allclose(made[k.height // 2, 2:-2, 0], np.clip(128 + 150 * across, 0, 255)[2:-2], atol=2)
