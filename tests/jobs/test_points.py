"""Photos aligned to sparse points: those of a reconstruction, or of a file beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pro_engine.inference.load import load_model
from pro_engine.io.depth import load_depth
from pro_engine.io.image import load_image, save_image
from pro_engine.jobs.options import JobOptions
from pro_engine.jobs.photo_job import PhotoJob
from pro_engine.jobs.photos import Failure, Photo
from pro_engine.jobs.report import PhotoReport
from pro_engine.options import InferenceOptions, OptionError

WIDTH, HEIGHT, FOCAL = 192, 144, 200.0
INFERENCE = InferenceOptions(tiles=(1, 1), refine="none")


@pytest.fixture(scope="module")
def predictor():
    return load_model("compact", device="cpu")


@pytest.fixture(scope="module")
def known(predictor, tmp_path_factory) -> tuple[Path, np.ndarray, np.ndarray]:
    """A photo, its disparity by the model, and the depth that it is made to have."""
    folder = tmp_path_factory.mktemp("photo")
    image = load_image(Path(__file__).parents[2] / "docs/photos/drum.jpg")[0]
    step = min(image.shape[0] // HEIGHT, image.shape[1] // WIDTH)
    save_image(folder / "one.png", image[: HEIGHT * step : step, : WIDTH * step : step])
    disparity = predictor.infer(load_image(folder / "one.png")[0], options=INFERENCE).disparity
    depth = 1 / (0.2 + 0.8 * (disparity - disparity.min()) / np.ptp(disparity))
    return folder / "one.png", disparity, depth


def points(depth: np.ndarray, count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2), and the points (N, 3) of the camera frame that they show."""
    rng = np.random.default_rng(2)
    pixels = np.stack([rng.integers(0, WIDTH, count), rng.integers(0, HEIGHT, count)], axis=1)
    z = depth[pixels[:, 1], pixels[:, 0]]
    slopes = (pixels - [(WIDTH - 1) / 2, (HEIGHT - 1) / 2]) / FOCAL
    return pixels, np.concatenate([slopes * z[:, None], z[:, None]], axis=1)


def colmap(folder: Path, depth: np.ndarray, count: int = 80) -> Path:
    """A model in text of a camera at the origin."""
    pixels, xyz = points(depth, count)
    folder.mkdir(parents=True)
    (folder / "cameras.txt").write_text(f"1 SIMPLE_PINHOLE {WIDTH} {HEIGHT} {FOCAL} {WIDTH / 2} {HEIGHT / 2}\n")
    seen = " ".join(f"{x + 0.5} {y + 0.5} {number}" for number, (x, y) in enumerate(pixels, 1))
    (folder / "images.txt").write_text(f"1 1 0 0 0 0 0 0 1 one.png\n{seen}\n")
    lines = [f"{n} {x} {y} {z} 9 9 9 0.5 1 {n - 1}" for n, (x, y, z) in enumerate(xyz, 1)]
    (folder / "points3D.txt").write_text("\n".join(lines) + "\n")
    return folder


def run(folder: Path, photo: Path, predictor, **options) -> PhotoReport | Failure:
    job = PhotoJob(folder, JobOptions(**options), INFERENCE)
    return job.attempt(Photo(photo, photo.stem), predictor, strict=True)


def test_a_photo_takes_metres_and_lens_from_a_reconstruction(tmp_path, known, predictor):
    pytest.importorskip("pycolmap")
    photo, _, depth = known
    model = colmap(tmp_path / "sparse/0", depth)
    report = run(tmp_path / "out", photo, predictor, align=tmp_path)
    assert isinstance(report, PhotoReport), report
    assert report.scale["source"] == "fitted"
    assert report.scale["points"]["points"] == 80
    assert report.scale["points"]["error"] < 0.01
    assert (report.lens["source"], report.lens["fx"]) == ("given", FOCAL)
    np.testing.assert_allclose(load_depth(tmp_path / "out/one.depth.npz")[0], depth, rtol=0.02)
    assert run(tmp_path / "out", photo, predictor, align=tmp_path, existing="skip").skipped
    (model / "images.txt").write_text((model / "images.txt").read_text().replace("0 0 0 1 one", "0 0 0.5 1 one"))
    again = run(tmp_path / "out", photo, predictor, align=tmp_path, existing="skip")
    assert again.warnings[0].startswith("Redone")


def test_a_photo_takes_metres_from_a_file_of_points(tmp_path, known, predictor):
    photo, _, depth = known
    np.savetxt(tmp_path / "one.xyz", points(depth)[1])
    fov = float(np.degrees(2 * np.arctan(WIDTH / 2 / FOCAL)))
    report = run(tmp_path / "out", photo, predictor, align=tmp_path, fov_x_deg=fov)
    assert isinstance(report, PhotoReport), report
    np.testing.assert_allclose(load_depth(tmp_path / "out/one.depth.npz")[0], depth, rtol=0.02)


def test_a_photo_without_points_is_named(tmp_path, known, predictor):
    pytest.importorskip("pycolmap")
    photo, _, depth = known
    colmap(tmp_path / "sparse/0", depth, count=5)
    outcome = run(tmp_path / "out", photo, predictor, align=tmp_path / "sparse/0")
    assert isinstance(outcome, Failure)
    assert "one.png cannot be aligned" in outcome.error
    assert "Only 5 points" in outcome.error


def test_a_photo_takes_metres_from_two_distances(tmp_path, known, predictor):
    photo, disparity, depth = known
    order = np.argsort(disparity[20:-20, 20:-20].ravel())
    fov = float(np.degrees(2 * np.arctan(WIDTH / 2 / FOCAL)))
    given = []
    for place in (order[len(order) // 20], order[-len(order) // 20]):
        row, column = np.array(divmod(int(place), WIDTH - 40)) + 20
        slopes = (column - (WIDTH - 1) / 2) / FOCAL, (row - (HEIGHT - 1) / 2) / FOCAL
        near = np.median(depth[row - 2 : row + 3, column - 2 : column + 3])
        given.append(f"{column},{row}={near * np.sqrt(1 + slopes[0] ** 2 + slopes[1] ** 2):.4f}")
    report = run(tmp_path / "out", photo, predictor, distance=tuple(given), fov_x_deg=fov)
    assert isinstance(report, PhotoReport), report
    assert report.scale["source"] == "fitted" and report.warnings == ()
    np.testing.assert_allclose(load_depth(tmp_path / "out/one.depth.npz")[0], depth, rtol=0.1)
    with pytest.raises(OptionError, match=r"distance is '3,4'; give X,Y=METRES"):
        JobOptions(distance=("3,4",))
    with pytest.raises(OptionError, match="the scale comes from one of them"):
        JobOptions(distance=("3,4=1",), near_m=1.0, far_m=2.0)
