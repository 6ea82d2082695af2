"""`--existing skip`: what is there is kept where it is what would be made, and told of where not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import runner, write_photo
from PIL import Image

from pro_engine.io.depth import load_depth, save_depth
from pro_engine.jobs.options import CLOUD_FORMATS, MAP_FORMATS, MESH_FORMATS, JobOptions
from pro_engine.jobs.photo_job import PhotoJob
from pro_engine.jobs.photos import Photo
from pro_engine.options import InferenceOptions

Run = Callable[..., tuple[dict[str, dict[str, Any]], str]]
EVERY_MAP = "npz,npy,png16,exr,tiff,pfm"
EVERYTHING = [
    "--maps", EVERY_MAP, "--mesh", "glb,obj,ply,stl", "--cloud", "ply,pcd", "--preview", "--picture",
    "--near", 1, "--far", 9, "--stride", 4,
]  # fmt: skip


@pytest.fixture
def command(tiny, monkeypatch, tmp_path):
    return runner(tiny, monkeypatch, tmp_path)


@pytest.fixture
def run(command: Callable[..., Any]) -> Run:
    """run(*arguments) -> the results of `infer ... -o out --existing skip` by photo, and what was said."""

    def infer(*arguments: object) -> tuple[dict[str, dict[str, Any]], str]:
        done = command("infer", *arguments, "-o", "out", "--existing", "skip", "--json")
        document = json.loads(done.stdout)
        assert document["failures"] == [], done.stderr
        return {result["input"]: result for result in document["results"]}, done.stderr

    return infer


def again(results: dict[str, dict[str, Any]]) -> set[str]:
    """The photos that were done."""
    return {name for name, result in results.items() if not result["skipped"]}


def other(path: Path, seed: int = 1, **options: Any) -> Path:
    """A photo unlike all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    Image.fromarray(noise).resize((96, 64), Image.Resampling.BICUBIC).save(path, **options)
    return path


def test_three_runs_over_a_folder_that_grows(run: Run) -> None:
    """Each photo has one right result after each run, and none is done twice."""
    for seed, name in enumerate(("one/a.jpg", "one/a.png", "one/a.tif", "one/b.png", "two/b.png")):
        other(Path(name), seed)
    Path("two/link.png").symlink_to(Path("../one/b.png"))
    grown: dict[int, list[str]] = {1: [], 2: ["one/b.bmp", "two/a.png"], 3: ["three/b.png", "one/link.png"]}
    count = 6
    for number, names in grown.items():
        new = {other(Path(name), 10 * number + seed).as_posix() for seed, name in enumerate(names)}
        folders = [folder for folder in ("one", "two", "three") if Path(folder).is_dir()]
        results, said = run(*folders)
        assert again(results) == (new or set(results))
        assert said == ""
        count += len(new)
        assert len(results) == count
        made = [json.loads(path.read_text())["photo"]["path"] for path in Path("out").rglob("*.made.json")]
        assert sorted(made) == sorted(f"../{name}" for name in results)
        for record in Path("out").rglob("*.made.json"):
            path = record.with_name(record.name.replace(".made.json", ".disparity.npz"))
            photo = Path("out") / json.loads(record.read_text())["photo"]["path"]
            assert load_depth(path)[1].metadata["photo"] == photo.name
    assert len(list(Path("out").rglob("*.npz"))) == count


def test_another_photo_of_the_name(run: Run, command: Callable[..., Any]) -> None:
    other(Path("a.jpg"))
    run("a.jpg")
    other(Path("a.png"), 2)
    results, said = run("a.png")
    assert again(results) == {"a.png"}
    assert said == "note: a.png: Redone: its results were made of another photo, ../a.jpg.\n"
    assert load_depth("out/a.disparity.npz")[1].metadata["photo"] == "a.png"
    assert not again(run("a.png")[0])


def test_a_photo_that_changed_or_was_only_moved(run: Run) -> None:
    other(Path("in/a.png"))
    assert again(run("in")[0])
    os.utime("in/a.png", (1, 1))
    assert not again(run("in")[0])
    shutil.move("in", "elsewhere")
    assert not again(run("elsewhere")[0])
    other(Path("elsewhere/a.png"), 2)
    results, said = run("elsewhere")
    assert again(results)
    assert "the photo has changed" in said or "another photo" in said


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "near": ({"near_m": 2.0}, "near 1.0, not 2.0"),
    "far": ({"far_m": 12.0}, "far 9.0, not 12.0"),
    "align": ({"near_m": None, "align": Path("sensor.npy")}, "near 1.0, not none, other sensor depth"),
    "no scale": ({"near_m": None, "far_m": None}, "near 1.0, not none, far 9.0, not none"),
    "half": ({"exr_half": True}, "exr half False, not True"),
    "channel": ({"channel": "depth.Z"}, "channel Z, not depth.Z"),
    "exr far": ({"exr_far_m": 100.0}, "exr far none, not 100.0"),
    "lens": ({"fov_x_deg": 70.0}, "fov none, not 70.0"),
    "film": ({"focal_35mm": 24.0}, "focal 35mm none, not 24.0"),
    "stride": ({"stride": 5}, "stride 4, not 5"),
    "edge": ({"edge_rtol": 0.1}, "edge rtol 0.04, not 0.1"),
    "size": ({"max_pixels": 5000}, "max pixels none, not 5000"),
    "layer": ({"layer": "AO"}, "layer none, not AO"),
    "background": ({"keep_background": True}, "keep background False, not True"),
    "sequence": ({"sequence": True}, "sequence False, not True"),
}


def test_whatever_is_made_otherwise_is_done_again(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photo, model = Photo(other(Path("a.png")), "a"), tiny.predictor()
    save_depth("sensor.npy", np.ones((64, 96), np.float32))
    options = JobOptions(maps=("exr",), mesh=("glb",), near_m=1.0, far_m=9.0, stride=4, existing="skip")
    job = PhotoJob(Path("out"), options)
    job.run(photo, model)
    for what, (changed, words) in CHANGES.items():
        told = replace(job, options=replace(options, **changed)).objection(photo, model)
        assert told == f"its results were made with {words}", what
    for inference, words in (
        (InferenceOptions(tiles=(2, 3)), "tiles auto, not [2, 3]"),
        (InferenceOptions(refine="none"), "refine trained, not none"),
        (InferenceOptions(batch_size=2, keep_coarse=True), None),
    ):
        told = replace(job, inference=inference).objection(photo, model)
        assert told == (words and f"its results were made with {words}")
    for name, value, words in (
        ("name", "big", "model tiny, not big"),
        ("mark", "big", "other weights"),
        ("dtype", "bfloat16", "dtype float32, not bfloat16"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(model, name, value)
            assert job.objection(photo, model) == f"its results were made with {words}"


def test_what_does_not_concern_a_file_keeps_it(run: Run) -> None:
    other(Path("a.png"))
    run("a.png", "--maps", "npz,exr")
    for arguments in (["--fov", 60], ["--near", 1, "--far", 3], ["--maps", "npz", "--half"], ["--maps", "exr"]):
        results, said = run("a.png", *arguments)
        is_metric = "--near" in arguments
        assert bool(again(results)) == is_metric, arguments
        assert ("a.depth.npz is missing" in said) == is_metric
    results, said = run("a.png", "--maps", "npz,exr", "--half")
    assert "exr half" in said


def test_a_file_that_is_damaged_is_made_anew(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file in turn, in one of four ways."""
    monkeypatch.chdir(tmp_path)
    photo, model, out = Photo(other(Path("a b.png")), "a b"), tiny.predictor(), Path("out")
    formats = {"maps": tuple(MAP_FORMATS), "mesh": tuple(MESH_FORMATS), "cloud": tuple(CLOUD_FORMATS)}
    job = PhotoJob(out, JobOptions(**formats, preview=True, picture=True, near_m=1, far_m=9, existing="skip"))
    assert not job.run(photo, model).skipped
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    assert len(whole) == 29
    for number, name in enumerate(sorted(set(whole) - {"a b.made.json"})):
        path, data = out / name, whole[name]
        harms = (data[: len(data) // 2], data[:-9] + b"123456789", b"", None)
        if (harmed := harms[number % 4]) is None:
            path.unlink()
        else:
            path.write_bytes(harmed)
        harm = "is missing" if harmed is None else "is damaged or was changed"
        assert job.objection(photo, model) == f"{name} {harm}"
        path.write_bytes(data)
    assert job.objection(photo, model) is None
    (out / "a b.disparity.npy").write_bytes(b"half")
    report = job.run(photo, model)
    assert report.warnings[0] == "Redone: a b.disparity.npy is damaged or was changed."
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.suffix != ".json"} == {
        name: data for name, data in whole.items() if not name.endswith(".json")
    }
    assert job.run(photo, model).skipped


@pytest.mark.parametrize(
    "record", [None, b"", b"{", b"[" * 2000, b"{}", b'{"pro_engine_made": 1}', b'{"pro_engine_made": 2}']
)
def test_results_without_a_record_are_told_as_such(run: Run, record: bytes | None) -> None:
    other(Path("a.png"))
    run("a.png")
    path = Path("out/a.made.json")
    path.unlink() if record is None else path.write_bytes(record)
    results, said = run("a.png")
    assert again(results)
    assert "nothing tells what its results were made of; an older version or another program wrote them" in said
    assert not again(run("a.png")[0])


def test_a_copy_of_everything_is_kept(run: Run) -> None:
    """Another place, and the times of today."""
    other(Path("a.png"))
    run("a.png", *EVERYTHING)
    for path in [Path("a.png"), *Path("out").iterdir()]:
        os.utime(path, (1e9, 1e9))
    assert not again(run("a.png", *EVERYTHING)[0])


def test_files_beside_an_obj_count_as_results(command: Callable[..., Any]) -> None:
    write_photo(Path("a.png"))
    photo = write_photo(Path("a.mesh_front.jpg"))
    before = photo.read_bytes()
    done = command("infer", "a.png", "a.mesh_front.jpg", "--mesh", "obj")
    assert done.exit_code == 1
    assert "A result would replace the photo a.mesh_front.jpg" in done.stderr
    assert photo.read_bytes() == before
    (photo.parent / "a.mesh.mtl").write_text("someone's")
    photo.unlink()
    done = command("infer", "a.png", "--mesh", "obj", "--existing", "fail")
    assert "a.mesh.mtl is there already" in done.stderr


def test_cameras_of_photos_that_a_killed_job_did(run: Run) -> None:
    for name in ("a.png", "b.png"):
        other(Path("in", name))
    run("in", "--near", 1, "--far", 100, "--maps", "png16")
    written = Path("out/intrinsics.json")
    before = json.loads(written.read_text())
    assert len(before["photos"]) == 2
    written.unlink()  # it is written at the end, which a killed job does not reach
    results, _ = run("in/a.png", "--near", 1, "--far", 100, "--maps", "png16")
    assert not again(results)
    assert json.loads(written.read_text()) == before
    run("in", "--near", 1, "--far", 100, "--maps", "png16", "--fov", 60, "--preview", "--existing", "overwrite")
    results, _ = run("in", "--near", 1, "--far", 100, "--maps", "npz", "--fov", 60)
    assert again(results)
    assert all(camera["png16_depth_scale"] == 500 for camera in json.loads(written.read_text())["photos"].values())
