"""Whole panoramas in a job: maps of distance, metres from the height or a distance, meshes, and what does not go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import trimesh
from PIL import Image

from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.io.depth import load_depth
from pro_engine.jobs.intrinsics import camera_of
from pro_engine.jobs.options import JobOptions
from pro_engine.jobs.photo_job import PhotoJob
from pro_engine.jobs.photos import Failure, Photo
from pro_engine.jobs.report import PhotoReport
from pro_engine.options import InferenceOptions

XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description GPano:ProjectionType='equirectangular' %s/></x:xmpmeta>"
H, W = 96, 192


@pytest.fixture(scope="module")
def predictor() -> DepthPredictor:
    return load_model("compact", device="cpu")


def photo(path: Path, more: bytes | None = b"") -> Path:
    """Light above, dark below, with noise that is alike on both ends."""
    noise = np.random.default_rng(0).random((H, W, 3)).astype(np.float32)
    noise = cv2.GaussianBlur(np.tile(noise, (1, 3, 1)), (0, 0), 4)[:, W : 2 * W]
    picture = 255 * (np.linspace(0.9, 0.2, H)[:, None, None] + noise - noise.mean()).clip(0, 1)
    Image.fromarray(picture.astype(np.uint8)).save(path, **({} if more is None else {"xmp": XMP % more}))
    return path


@pytest.fixture
def attempt(predictor: DepthPredictor, tmp_path: Path) -> Any:
    def run(path: Path, **options: Any) -> PhotoReport | Failure:
        job = PhotoJob(tmp_path / "out", JobOptions(**options), InferenceOptions(tiles=(1, 1), refine="none"))
        return job.attempt(Photo(path, path.stem), predictor, strict=True)

    return run


def done(outcome: PhotoReport | Failure) -> PhotoReport:
    assert isinstance(outcome, PhotoReport), outcome
    return outcome


def test_mesh_and_cloud_go_all_around(tmp_path: Path, attempt: Any) -> None:
    report = done(attempt(photo(tmp_path / "a.jpg"), mesh=("glb",), cloud=("ply",)))
    assert report.lens == {"source": "given", "projection": "equirectangular"}
    assert report.scale is not None and report.scale["source"] == "assumed" and report.scale["shift"] == 0
    for words in ("1.6 m above the ground", "distance along each ray", "torn at outlines"):
        assert any(words in note for note in report.warnings), words
    mesh = trimesh.load(tmp_path / "out/a.mesh.glb", force="mesh")
    cloud = trimesh.load(tmp_path / "out/a.cloud.ply")
    for points in (mesh.vertices, cloud.vertices):
        assert (points.min(axis=0) < 0).all() and (points.max(axis=0) > 0).all()
    camera = camera_of(report.lens, (H, W), (), JobOptions())
    assert camera == {"width": W, "height": H, "projection": "equirectangular", "source": "given"}


def test_a_distance_or_the_height_gives_metres(tmp_path: Path, attempt: Any) -> None:
    report = done(attempt(photo(tmp_path / "a.jpg"), distance=("100,70=2.5",), maps=("npz",)))
    depth, about = load_depth(tmp_path / "out/a.depth.npz")
    assert depth[70, 100] == pytest.approx(2.5, rel=0.02)
    assert about.metadata["lens"]["projection"] == "equirectangular"
    assert report.scale is not None and report.scale["shift"] == 0
    heights = []
    for metres in (1.5, 3.0):
        done(attempt(photo(tmp_path / "a.jpg"), camera_height_m=metres))
        heights.append(load_depth(tmp_path / "out/a.depth.npz")[0])
    known = np.isfinite(heights[0]) & np.isfinite(heights[1])
    assert heights[1][known] == pytest.approx(2 * heights[0][known], rel=1e-4)


def test_the_option_beats_what_the_file_says(tmp_path: Path, attempt: Any) -> None:
    plain = photo(tmp_path / "a.png", None)
    assert done(attempt(plain)).lens["source"] == "assumed"  # type: ignore[index]
    assert "projection" in done(attempt(plain, projection="equirectangular")).lens  # type: ignore[operator]
    said = done(attempt(photo(tmp_path / "b.jpg"), projection="pinhole", mesh=("ply",)))
    assert "projection" not in said.lens  # type: ignore[operator]
    assert any("of no camera" in note for note in said.warnings)


@pytest.mark.parametrize(
    "options",
    [{"html": True}, {"normal_maps": ("exr",)}, {"cloud": ("splat",)}, {"length": ("1,1,9,9=2",)}, {"extend": True}],
)
def test_what_panoramas_do_not_have_is_refused(tmp_path: Path, attempt: Any, options: dict[str, Any]) -> None:
    failure = attempt(photo(tmp_path / "a.jpg"), **options)
    assert isinstance(failure, Failure)
    assert "is a panorama, for which" in failure.error and not (tmp_path / "out").exists()


def test_parts_and_other_shapes_are_no_whole_panoramas(tmp_path: Path, attempt: Any) -> None:
    part = photo(tmp_path / "a.jpg", b"GPano:FullPanoWidthPixels='800' GPano:CroppedAreaImageWidthPixels='192'")
    failure = attempt(part, mesh=("glb",))
    assert isinstance(failure, Failure) and "no whole equirectangular one" in failure.error
    assert "projection" not in done(attempt(part)).lens  # type: ignore[operator]
    Image.new("RGB", (100, 80)).save(tmp_path / "b.png")
    failure = attempt(tmp_path / "b.png", projection="equirectangular")
    assert isinstance(failure, Failure) and "twice as wide as high" in failure.error
