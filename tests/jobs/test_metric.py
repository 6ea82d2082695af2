"""Metres of a model's own through the command line and its files: a wall 3 m away, whatever tells the lens."""

from __future__ import annotations

import json
from pathlib import Path

import command_line
import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from pro_engine.cli.main import app
from pro_engine.io.depth import load_depth

WIDTH, HEIGHT = 192, 128  # twice the input of the tiny network
WALL_M = 3.0
FOV_DEG = 2 * np.degrees(np.arctan(WIDTH / 2 / 200))  # of a focal length of 200 pixels, for which the wall is at 3 m


def photo_in(folder: Path, *, exif: bool = False) -> Path:
    more = {}
    if exif:
        tags = Image.Exif()
        tags.get_ifd(0x8769)[0xA405] = round(200 * np.hypot(36, 24) / np.hypot(WIDTH, HEIGHT))
        more["exif"] = tags
    return command_line.write_photo(folder / "wall.jpg", WIDTH, HEIGHT, **more)


@pytest.fixture
def run(tiny, monkeypatch, tmp_path):
    """run(wall, *arguments) -> the finished command and what it tells, with a model that knows the wall."""
    monkeypatch.chdir(tmp_path)

    def started(wall, *arguments):
        predictor = tiny.predictor(psi=tiny.WallPsi(**wall), trained=False)
        monkeypatch.setattr("pro_engine.inference.load.load_model", lambda name, **_: predictor)
        asked = ("infer", *map(str, arguments), "--refine", "blend", "--json")
        done = CliRunner().invoke(app, asked)
        return done, json.loads(done.stdout or "{}")

    return started


def cloud_of(path: Path) -> np.ndarray:
    """The points (N, 3) of a binary PLY."""
    header, data = path.read_bytes().split(b"end_header\n", 1)
    kinds = {"float": "<f4", "float32": "<f4", "uchar": "u1", "uint8": "u1"}
    fields = [line.split()[1:] for line in header.decode().splitlines() if line.startswith("property")]
    points = np.frombuffer(data, [(name, kinds[kind]) for kind, name in fields])
    return np.stack([points[name] for name in "xyz"], 1)


LENSES = {
    "given": ({"by_focal": True, "focal_px": 33.0}, ("--fov", f"{FOV_DEG:.6f}"), False, WALL_M, 200),
    "exif": ({"by_focal": True, "focal_px": 33.0}, (), True, None, None),
    "model": ({"by_focal": True, "focal_px": 50.0}, (), False, WALL_M / 2, 100),
    "assumed": ({}, (), False, WALL_M, None),
}


@pytest.mark.parametrize("source", LENSES)
def test_a_wall_is_where_it_is_whatever_tells_the_lens(run, tmp_path, source):
    wall, flags, exif, distance_m, focal_px = LENSES[source]
    photo = photo_in(tmp_path, exif=exif)
    done, told = run(wall, photo, *flags, "--scale", "metric", "--cloud", "ply", "--maps", "npy")
    assert done.exit_code == 0, done.stderr
    (result,) = told["results"]
    lens, scale = result["lens"], result["scale"]
    assert (lens["source"], scale["source"]) == (source, "metric")
    assert focal_px is None or lens["fx"] == pytest.approx(focal_px, rel=1e-5)
    wanted_m = distance_m or WALL_M * lens["fx"] / 200  # EXIF tells whole millimetres
    assert abs(wanted_m - WALL_M) < 0.1 or source == "model"
    depth, info = load_depth(tmp_path / "wall.depth.npy")
    assert info.quantity == "depth"
    np.testing.assert_allclose(depth, wanted_m, rtol=5e-3)
    points = cloud_of(tmp_path / "wall.cloud.ply")
    z = points[:, 2] if np.median(points[:, 2]) > 0 else -points[:, 2]
    np.testing.assert_allclose(z, wanted_m, rtol=5e-3)
    assert np.ptp(points[:, 0]) == pytest.approx(wanted_m * (WIDTH - 1) / lens["fx"], rel=0.02)
    assert ("the model estimates" in done.stderr) == (source == "model")


def test_metres_by_an_assumed_lens_are_told_apart(run, tmp_path):
    photo = photo_in(tmp_path)
    done, told = run({"by_focal": True}, photo)
    assert told["results"][0]["scale"]["source"] == "assumed" and "depend on the lens" in done.stderr
    done, told = run({"by_focal": True}, photo, "--scale", "metric")
    assert done.exit_code == 1 and "give --fov or --focal-35mm" in told["failures"][0]["error"]


def test_a_relative_model_says_what_to_do(tiny, monkeypatch, tmp_path):
    run = command_line.runner(tiny, monkeypatch, tmp_path)
    done = run("infer", photo_in(tmp_path), "--scale", "metric", "-o", "out")
    assert done.exit_code == 1 and "gives no metres; choose one that does" in done.stderr and not Path("out").exists()
    both = run("infer", photo_in(tmp_path), "--scale", "metric", "--near", 1, "--far", 2)
    assert both.exit_code == 2 and "--scale is metric and --near is given" in " ".join(both.stderr.split())


def test_an_estimated_range_and_lens_stand_in_for_assumed_ones(run, tmp_path):
    wall = {"span": (2.0, 8.0), "focal_px": 50.0}
    photo = photo_in(tmp_path)
    done, told = run(wall, photo, "-o", "out", "--cloud", "ply")
    assert done.exit_code == 0, done.output
    (result,) = told["results"]
    assert (result["scale"]["source"], result["lens"]["source"]) == ("estimated", "model")
    assert any("estimate: nearest surface about 2 m, farthest about 8 m" in note for note in result["warnings"])
    z = -cloud_of(tmp_path / "out" / "wall.cloud.ply")[:, 2]
    assert np.percentile(np.abs(z), 2) == pytest.approx(2, rel=0.1) and np.percentile(np.abs(z), 98) > 7
    done, told = run(wall, photo, "-o", "given", "--cloud", "ply", "--near", 1, "--far", 3, "--fov", 40)
    (result,) = told["results"]
    assert (result["scale"]["source"], result["lens"]["source"]) == ("given", "given")
    done, told = run(wall, photo, "-o", "maps", "--maps", "npy")
    assert told["results"][0]["scale"] is None


def test_the_sky_is_in_no_cloud_and_infinitely_far(run, tmp_path):
    done, told = run({"sky_share": 0.5}, photo_in(tmp_path), "--cloud", "ply", "--maps", "npy", "--anchors")
    depth = np.load(tmp_path / "wall.depth.npy")
    assert np.isposinf(depth[: HEIGHT // 2 - 8]).all() and np.isfinite(depth[HEIGHT // 2 + 8 :]).all()
    points = cloud_of(tmp_path / "wall.cloud.ply")
    near = np.abs(np.abs(points[:, 2]) - WALL_M) < 0.1  # all but the rows whose surface is blurred into the sky
    assert len(points) == np.isfinite(depth).sum() and near.mean() > 0.95
    anchors = told["results"][0]["anchors"]
    assert anchors["far"] < anchors["far_before_sky"] <= anchors["near"], done.stderr


def test_normals_and_mask(run, tmp_path):
    photo = photo_in(tmp_path)
    done, told = run({"sky_share": 0.5}, photo, "--normals", "png,exr", "--mask")
    assert done.exit_code == 0, done.stderr
    assert {out["kind"] for out in told["results"][0]["outputs"]} == {"disparity", "depth", "normals", "mask"}
    mask = np.asarray(Image.open(tmp_path / "wall.mask.png"))
    assert (mask[: HEIGHT // 2 - 8] == 0).all() and (mask[HEIGHT // 2 + 8 :] == 255).all()
    normals = cv2.imdecode(np.fromfile(tmp_path / "wall.normals.png", np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    np.testing.assert_allclose(normals[-20:] / 32767.5 - 1, np.broadcast_to((0, 0, 1), (20, WIDTH, 3)), atol=0.1)
    assert (normals[:40] // 256 == 128).all()


def test_a_model_without_a_mask_says_so(tiny, monkeypatch, tmp_path):
    run = command_line.runner(tiny, monkeypatch, tmp_path)
    done = run("infer", photo_in(tmp_path), "--mask", "-o", "out")
    assert done.exit_code == 1 and "has no mask of sky; choose one that has" in done.stderr


def test_a_model_that_takes_a_prompt_is_told_the_sensor_depth(tiny, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    predictor = tiny.predictor(psi=tiny.ToldPsi(), trained=False)
    monkeypatch.setattr("pro_engine.inference.load.load_model", lambda name, **_: predictor)
    photo = photo_in(tmp_path)

    def run(sensor_m):
        np.save("sensor.npy", np.pad(np.full((30, 46), sensor_m, np.float32), 1))  # without readings at the rim
        asked = ["infer", str(photo), "--refine", "blend", "--maps", "npy", "--json", "--existing", "skip"]
        done = CliRunner().invoke(app, [*asked, *(["--align", "sensor.npy"] if sensor_m else [])])
        assert done.exit_code == 0, done.stderr
        (result,) = json.loads(done.stdout)["results"]
        return result, np.load("wall.disparity.npy")

    result, _ = run(2.0)
    np.testing.assert_allclose(np.load("wall.depth.npy"), 2.0, rtol=1e-3)
    assert (result["scale"]["source"], result["scale"]["inlier_share"], result["scale"]["near_m"]) == ("fitted", 1, 2)
    assert any("The sensor depth was the model's prompt" in one for one in result["warnings"])
    assert run(2.0)[0]["skipped"]
    result, _ = run(4.0)
    assert "other sensor depth" in result["warnings"][0] and np.allclose(np.load("wall.depth.npy"), 4.0, rtol=1e-3)
    result, relative = run(None)  # the disparity is another, too
    assert not result["skipped"] and result["scale"] is None and np.ptp(relative) > 1


def test_frames_have_the_lens_of_the_first_also_after_a_stop(tiny, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    psi = tiny.WallPsi(by_focal=True, focal_px=50.0)
    psi.register_forward_pre_hook(lambda *_: setattr(psi, "focal_px", psi.focal_px + 1))  # another one every time
    predictor = tiny.predictor(psi=psi, trained=False)
    monkeypatch.setattr("pro_engine.inference.load.load_model", lambda name, **_: predictor)
    for number in range(4):
        command_line.write_photo(tmp_path / f"shot/{number}.jpg", WIDTH, HEIGHT)

    def run(*photos):
        asked = ["infer", *photos, "--sequence", "--refine", "none", "--existing", "skip", "-o", "out", "--json"]
        done = CliRunner().invoke(app, asked)
        assert done.exit_code == 0, done.stderr
        return [one for one in json.loads(done.stdout)["results"] if not one["skipped"]]

    before = run("shot/0.jpg", "shot/1.jpg")
    after = run("shot")
    lenses = [one["lens"] for one in before + after]
    assert len(lenses) == 4 and all(one["source"] == "model" for one in lenses)
    assert {one["fx"] for one in lenses} == {lenses[0]["fx"]}
