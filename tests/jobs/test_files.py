"""What a job makes of photos that say more than their pixels: layers, plates, panoramas, lenses that are a guess."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
from PIL import Image

from pro_engine.errors import FileError
from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.io.depth import load_depth
from pro_engine.jobs.intrinsics import camera_of, write_intrinsics
from pro_engine.jobs.options import JobOptions
from pro_engine.jobs.outputs import Output
from pro_engine.jobs.photo_job import PhotoJob
from pro_engine.jobs.photos import Failure, Photo, find_photos
from pro_engine.jobs.report import PhotoReport
from pro_engine.jobs.scale import PhotoLens, find_scale
from pro_engine.options import InferenceOptions
from pro_engine.types import DepthResult, Intrinsics

Job = Callable[..., PhotoReport | Failure]
LENS = PhotoLens(Intrinsics.from_fov(6, 4, fov_x_deg=55), "given")  # a sensor's metres do not need it


@pytest.fixture(scope="module")
def predictor() -> DepthPredictor:
    return load_model("compact", device="cpu")


@pytest.fixture
def attempt(predictor: DepthPredictor, tmp_path: Path) -> Job:
    def run(path: Path, **options: Any) -> PhotoReport | Failure:
        job = PhotoJob(tmp_path / "out", JobOptions(**options), InferenceOptions(tiles=(1, 1), refine="none"))
        return job.attempt(Photo(path, path.stem), predictor, strict=True)

    return run


def done(outcome: PhotoReport | Failure) -> PhotoReport:
    assert isinstance(outcome, PhotoReport), outcome
    return outcome


def noise(height: int = 64, width: int = 96) -> Any:
    return np.random.default_rng(0).random((height, width, 3), dtype=np.float32)


def exr(path: Path, **header: Any) -> Path:
    layers = {"beauty": noise(), "AO": noise() * 0.1}
    OpenEXR.File({"type": OpenEXR.scanlineimage, **header}, layers).write(str(path))
    return path


def test_maps_of_a_plate_lie_on_it(tmp_path: Path, attempt: Job) -> None:
    path = exr(tmp_path / "a.exr", dataWindow=((20, 10), (115, 73)), displayWindow=((0, 0), (199, 99)))
    report = done(attempt(path, maps=("exr", "npz"), near_m=1, far_m=9, fov_x_deg=90))
    for kind in ("disparity", "depth"):
        with OpenEXR.File(str(tmp_path / f"out/a.{kind}.exr")) as file:
            header = dict(file.header())
        assert [corner.tolist() for corner in header["dataWindow"]] == [[20, 10], [115, 73]]
        assert [corner.tolist() for corner in header["displayWindow"]] == [[0, 0], [199, 99]]
    assert report.lens is not None
    assert report.lens["fx"] == pytest.approx(100)
    assert (report.lens["cx"], report.lens["cy"]) == pytest.approx((99.5 - 20, 49.5 - 10))
    assert any("96 x 64 pixels from (20, 10)" in note for note in report.warnings)
    assert any("beauty" in note and "AO" in note for note in report.warnings)
    small = done(attempt(path, maps=("exr",), max_pixels=96 * 16, fov_x_deg=90))
    assert small.lens is not None
    assert small.lens["fx"] == pytest.approx(50)
    assert load_depth(tmp_path / "out/a.disparity.exr")[0].shape == (32, 48)


def test_layer_is_taken_by_name(tmp_path: Path, attempt: Job) -> None:
    report = done(attempt(exr(tmp_path / "a.exr"), layer="ao", picture=True))
    assert report.warnings == ()
    failure = attempt(exr(tmp_path / "a.exr"), layer="specular")
    assert isinstance(failure, Failure)
    assert "no layer 'specular'" in failure.error


def test_panorama_gets_maps_but_no_geometry(tmp_path: Path, attempt: Job) -> None:
    xmp = b"<x:xmpmeta><rdf:Description GPano:ProjectionType='equirectangular'/></x:xmpmeta>"
    Image.fromarray((noise() * 255).astype(np.uint8)).save(tmp_path / "a.jpg", xmp=xmp)
    for options in ({"mesh": ("glb",)}, {"cloud": ("ply",)}):
        failure = attempt(tmp_path / "a.jpg", **options)
        assert isinstance(failure, Failure)
        assert "is a panorama (its XMP data" in failure.error
        assert not (tmp_path / "out").exists()
    assert "is a panorama" in done(attempt(tmp_path / "a.jpg")).warnings[0]


def test_lens_that_is_a_guess_counts_as_assumed(tmp_path: Path, attempt: Job) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0xA405: 26, 0xA002: 4000, 0xA003: 3000})
    Image.fromarray((noise() * 255).astype(np.uint8)).resize((90, 40)).save(tmp_path / "a.jpg", exif=exif)
    report = done(attempt(tmp_path / "a.jpg", mesh=("ply",)))
    assert report.lens is not None
    assert report.lens["source"] == "assumed"
    assert any("cropped and resized" in note for note in report.warnings)
    assert not any("lens is unknown" in note for note in report.warnings)


def test_raw_files_of_a_folder_are_found_where_no_picture_of_them_lies_beside(tmp_path: Path) -> None:
    for name in ("a.CR2", "a.jpg", "b.NEF", "c.tga", "d.txt"):
        (tmp_path / name).write_bytes(b"x")
    photos, failures = find_photos([str(tmp_path)])
    assert [photo.path.name for photo in photos] == ["a.jpg", "b.NEF", "c.tga"]
    assert failures == []


@pytest.mark.parametrize(("share", "reading"), [(0.3, 174.0), (0.02, 65.535), (0.4, 1e10), (0.05, 1e-3)])
def test_reach_of_a_sensor_is_that_of_the_readings_that_fit(tmp_path: Path, share: float, reading: float) -> None:
    random = np.random.default_rng(0)
    depth = random.uniform(1, 20, (60, 80)).astype(np.float32)
    sensor = depth.copy()
    sensor[random.random(depth.shape) < share] = reading
    np.save(tmp_path / "a.npy", sensor)
    result = DepthResult(1 / depth, np.ones(depth.shape, bool))
    scale = find_scale(result, "a", JobOptions(align=tmp_path / "a.npy"), LENS, assume=False)
    assert scale is not None
    assert scale.far_m == pytest.approx(60, rel=0.02)


def test_sensor_depth_mirrors_the_tree_or_is_flat(tmp_path: Path) -> None:
    depth = np.random.default_rng(0).uniform(1, 20, (60, 80)).astype(np.float32)
    result = DepthResult(1 / depth, np.ones(depth.shape, bool))
    for folder, factor in (("cam1", 1), ("cam2", 2)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "0001.npy", depth * factor)
    np.save(tmp_path / "0002.npy", depth * 3)
    for name, factor in (("cam1/0001", 1), ("cam2/0001", 2), ("cam3/0002", 3)):
        scale = find_scale(result, name, JobOptions(align=tmp_path), LENS, assume=False)
        assert scale is not None
        assert scale.scale_shift.scale == pytest.approx(1 / factor)


def test_layer_names_the_depth_of_a_layered_sensor_file(tmp_path: Path) -> None:
    depth = np.random.default_rng(0).uniform(1, 20, (60, 80)).astype(np.float32)
    channels = {"left.Z": depth, "right.Z": depth * 2}
    OpenEXR.File({"type": OpenEXR.scanlineimage}, channels).write(str(tmp_path / "a.exr"))
    result = DepthResult(1 / depth, np.ones(depth.shape, bool))
    for layer, factor in (("left", 1), ("RIGHT", 2)):
        scale = find_scale(result, "a", JobOptions(align=tmp_path / "a.exr", layer=layer), LENS, assume=False)
        assert scale is not None
        assert scale.scale_shift.scale == pytest.approx(1 / factor)
    with pytest.raises(FileError, match=r"left\.Z, right\.Z, not one map; name its layer"):
        find_scale(result, "a", JobOptions(align=tmp_path / "a.exr", layer="beauty"), LENS, assume=False)


def codes_of(path: Path) -> Any:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_png_depth_is_millimetres_whatever_a_photo_holds(tmp_path: Path, attempt: Job) -> None:
    """Two photos of one job whose sensors reach 20 m and 300 m: one step, and a note on what it does not reach."""
    Image.fromarray((noise() * 255).astype(np.uint8)).save(tmp_path / "a.png")
    report = done(attempt(tmp_path / "a.png", maps=("npz",)))
    disparity = load_depth(tmp_path / "out/a.disparity.npz")[0]
    inverse = (disparity - disparity.min()) / np.ptp(disparity) + 0.01
    for reach, is_told in ((20, False), (300, True)):
        np.save(tmp_path / "sensor.npy", (reach * 0.01 / inverse).astype(np.float32))
        report = done(attempt(tmp_path / "a.png", maps=("png16", "npz"), align=tmp_path / "sensor.npy"))
        codes, depth = codes_of(tmp_path / "out/a.depth.png"), load_depth(tmp_path / "out/a.depth.npz")[0]
        near = depth < 65
        assert np.abs(codes[near] / 1000 - depth[near]).max() <= 0.001
        assert (codes[depth > 65.6] == 0).all()
        assert any("farther than the 65.5 m" in note for note in report.warnings) == is_told


def test_png_step_of_a_far_job_is_told_with_the_number_for_others(tmp_path: Path, attempt: Job) -> None:
    Image.fromarray((noise() * 255).astype(np.uint8)).save(tmp_path / "a.png")
    report = done(attempt(tmp_path / "a.png", maps=("png16", "npz"), near_m=1, far_m=100, keep_background=True))
    depth = load_depth(tmp_path / "out/a.depth.npz")[0]
    known = np.isfinite(depth)
    assert np.abs(codes_of(tmp_path / "out/a.depth.png") / 500 - depth)[known].max() <= 0.0011
    assert any("step of 2 mm" in note and "depth scale 500" in note for note in report.warnings)
    assert not done(attempt(tmp_path / "a.png", maps=("png16",), near_m=1, far_m=60)).warnings
    assert not done(attempt(tmp_path / "a.png", maps=("npz",), near_m=1, far_m=100)).warnings


def test_exr_of_a_job_as_asked_for(tmp_path: Path, attempt: Job) -> None:
    Image.fromarray((noise() * 255).astype(np.uint8)).save(tmp_path / "a.png")
    options = {"maps": ("exr",), "near_m": 1, "far_m": 9, "channel": "depth.Z", "exr_half": True, "exr_far_m": 1e4}
    done(attempt(tmp_path / "a.png", **options))
    with OpenEXR.File(str(tmp_path / "out/a.depth.exr"), separate_channels=True) as file:
        found = {name: channel.pixels.dtype for name, channel in file.channels().items()}
    assert found == {"depth.Z": np.float16, "valid": np.float16}
    with OpenEXR.File(str(tmp_path / "out/a.disparity.exr")) as file:
        assert {name: channel.pixels.dtype for name, channel in file.channels().items()} == {"Y": np.float16}


def camera(*outputs: tuple[str, str], fx: float = 50, **options: float) -> dict[str, Any]:
    lens = {"source": "given", "fov_x_deg": 90.0, "fx": fx, "fy": fx, "cx": 49.5, "cy": 29.5}
    files = [Output(kind, form, Path(kind)) for kind, form in outputs]
    return camera_of(lens, (60, 100), files, JobOptions(**options))


def test_cameras_lie_beside_the_maps(tmp_path: Path) -> None:
    first = camera(("disparity", "npz"), ("depth", "png16"), near_m=1, far_m=100)
    write_intrinsics(tmp_path, {"cam1/0001": first})
    write_intrinsics(tmp_path, {"a.b": camera(("disparity", "npz"), fx=70)})
    photos = json.loads((tmp_path / "intrinsics.json").read_text())["photos"]
    assert photos["cam1/0001"] == {
        **{"width": 100, "height": 60, "fx": 50, "fy": 50, "cx": 49.5, "cy": 29.5, "source": "given"},
        "intrinsic_matrix": [50, 0, 0, 0, 50, 0, 49.5, 29.5, 1],
        "png16_depth_scale": 500,
    }
    assert photos["a.b"]["fx"] == 70
    assert "png16_depth_scale" not in photos["a.b"]


@pytest.mark.parametrize("text", ['{"camera_angle_x": 0.7}', "[1, 2]", "no json"])
def test_a_file_of_cameras_of_another_program_is_left(tmp_path: Path, text: str) -> None:
    (tmp_path / "intrinsics.json").write_text(text)
    with pytest.raises(FileError, match=r"intrinsics\.json is not of this program and was left; choose"):
        write_intrinsics(tmp_path, {"a": camera(("disparity", "npz"))})
    assert (tmp_path / "intrinsics.json").read_text() == text
    write_intrinsics(tmp_path, {})
