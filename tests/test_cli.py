"""The command line as people and scripts use it, with tiny networks in place of the models."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from command_line import names, runner, write_photo
from PIL import Image
from typer.testing import CliRunner

import pro_engine
from pro_engine.cli.main import app
from pro_engine.io.depth import load_depth, save_depth
from pro_engine.io.image import load_image

ROOT = Path(pro_engine.__file__).parent.parent


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return write_photo(tmp_path / "in" / "garden.png")


@pytest.fixture
def run(tiny, monkeypatch, tmp_path):
    """run(*arguments) -> the finished command; the model is tiny and the working folder is empty."""
    return runner(tiny, monkeypatch, tmp_path)


def test_disparity_is_always_written(run, photo, tmp_path):
    done = run("infer", photo, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert names(tmp_path / "out") == {"garden.disparity.npz", "garden.made.json", "intrinsics.json"}
    values, about = load_depth(tmp_path / "out" / "garden.disparity.npz")
    assert values.shape == (120, 160)
    assert about.quantity == "disparity"
    assert about.metadata["model"] == "tiny"
    assert "garden.png: 160x120, 2x2 patches" in done.stdout
    assert done.stderr == ""


def test_what_is_noted_of_the_model_is_told_once_for_all_photos(run, photo, tmp_path, monkeypatch):
    monkeypatch.setattr("pro_engine.inference.runtime.slow_dtype_notes", lambda *_: ("It is slow.",))
    write_photo(photo.with_name("house.png"))
    done = run("infer", photo.parent, "-o", tmp_path / "out", "--json")
    assert done.exit_code == 0 and done.stderr == "note: It is slow.\n"
    assert [one["warnings"] for one in json.loads(done.stdout)["results"]] == 2 * [["It is slow."]]


def test_every_format_at_once(run, photo, tmp_path):
    done = run(
        "infer", photo, "-o", "out", "--maps", "npz,npy,png16,exr,tiff,pfm", "--near", 1, "--far", 10, "--fov", 60,
        "--mesh", "glb,obj,ply,stl", "--cloud", "ply,pcd", "--preview", "--tiles", "2x3", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    (result,) = summary["results"]
    for kind in ("disparity", "depth"):
        for suffix in ("npz", "npy", "png", "exr", "tiff", "pfm"):
            values, info = load_depth(Path("out") / f"garden.{kind}.{suffix}")
            assert values.shape == (120, 160)
            assert info.quantity == kind
            assert info.metadata["tiles"] == [2, 3]
    assert {Path(out["path"]).name for out in result["outputs"]} <= names(Path("out"))
    assert result["tiles"] == [2, 3]
    assert (result["width"], result["height"]) == (160, 120)
    assert result["scale"]["source"] == "given"
    assert result["lens"]["source"] == "given"
    assert result["lens"]["fov_x_deg"] == pytest.approx(60)
    assert result["warnings"] == []
    assert {"read", "coarse", "patches", "refiner", "write", "total"} <= set(result["timings"])
    assert summary["failures"] == []
    depth, info = load_depth("out/garden.depth.npz")
    assert info.metadata["scale"]["far_m"] == 10
    assert np.nanmin(depth) > 0.5
    assert np.median(depth[np.isfinite(depth)]) < 10.01


def test_mesh_without_a_scale_says_what_it_assumed(run, photo, tmp_path):
    done = run("infer", photo, "-o", "out", "--mesh", "glb", "--cloud", "ply", "--json")
    assert done.exit_code == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert result["scale"]["source"] == "assumed"
    assert (result["scale"]["near_m"], result["scale"]["far_m"]) == (1.0, 20.0)
    assert "assumed nearest surface 1 m, farthest 20 m" in done.stderr
    assert "assumed 55 degrees" in done.stderr
    about = {"garden.made.json", "intrinsics.json"}
    assert names(Path("out")) == {"garden.disparity.npz", "garden.mesh.glb", "garden.cloud.ply"} | about
    for name in ("garden.mesh.glb", "garden.cloud.ply"):
        assert b"assumed nearest surface 1 m" in (Path("out") / name).read_bytes()


def test_a_line_says_where_metres_and_lens_come_from(run, photo):
    given = run("infer", photo, "-o", "out", "--near", 1, "--far", 5, "--fov", 60)
    assert "160x120, 2x2 patches, scale given, lens given, " in given.stdout
    assert "patches, scale assumed, lens assumed, " in run("infer", photo, "-o", "out", "--mesh", "glb").stdout
    assert "scale" not in run("infer", photo, "-o", "out").stdout


def test_scale_from_a_sensor(run, photo, tmp_path):
    run("infer", photo, "-o", "out")
    disparity, _ = load_depth("out/garden.disparity.npz")
    truth = (1 / (0.1 * (disparity - disparity.min()) + 0.2)).astype(np.float32)
    sensor = truth[::2, ::2].copy()
    sensor[::3] = np.nan
    save_depth("sensor/garden.npz", sensor)
    for align in ("sensor/garden.npz", "sensor"):
        done = run("infer", photo, "-o", "out", "--align", align, "--json")
        assert done.exit_code == 0, done.stderr
        (result,) = json.loads(done.stdout)["results"]
        assert result["scale"]["source"] == "fitted"
        depth, _ = load_depth("out/garden.depth.npz")
        assert np.median(np.abs(depth / truth - 1)) < 0.03


def test_preview_shows_photo_coarse_and_refined(run, photo):
    assert run("infer", photo, "-o", "out", "--preview", "--tiles", "2x2").exit_code == 0
    preview, _ = load_image("out/garden.preview.png")
    height, width = preview.shape[:2]
    assert width > 3 * 320
    assert height > 240
    third = width // 3
    photo_panel, coarse, refined = (preview[30:-8, i * third + 8 : (i + 1) * third - 8].astype(int) for i in range(3))
    assert np.abs(photo_panel - coarse).mean() > 10
    assert np.abs(coarse - refined).mean() > 0
    assert run("infer", photo, "-o", "out", "--preview", "--no-refine").exit_code == 0
    assert load_image("out/garden.preview.png")[0].shape[1] < 2.2 * 330


def test_folders_patterns_and_repeats(run, tmp_path):
    for name in ("a.png", "b.jpg", "c.webp"):
        write_photo(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("not a photo")
    done = run("infer", "in", "in/*.jpg", "in/a.png", "-o", "in", "--maps", "png16", "--preview", "--json")
    assert done.exit_code == 0, done.stderr
    assert [Path(r["input"]).name for r in json.loads(done.stdout)["results"]] == ["a.png", "b.jpg", "c.webp"]
    again = run("infer", "in", "-o", "in", "--maps", "png16", "--preview", "--json")
    assert len(json.loads(again.stdout)["results"]) == 3  # its own results are no photos


def test_same_name_does_not_overwrite(run, tmp_path):
    for name in ("one/x.png", "two/x.png", "two/X.jpg", "y.png"):
        write_photo(tmp_path / name)
    done = run("infer", "one/x.png", "two", "y.png", "-o", "out")
    assert done.exit_code == 0, done.stderr
    written = {path.relative_to("out").as_posix() for path in Path("out").rglob("*.npz")}
    assert written == {f"{name}.disparity.npz" for name in ("one/x", "two/x_png", "two/X_jpg", "y")}


def test_one_failure_does_not_stop_the_rest(run, photo, tmp_path):
    (tmp_path / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    write_photo(tmp_path / "in" / "small.png", 16, 16)
    done = run("infer", "in", "missing.png", "-o", "out", "--json")
    assert done.exit_code == 1
    summary = json.loads(done.stdout)
    assert [Path(r["input"]).name for r in summary["results"]] == ["garden.png"]
    assert len(summary["failures"]) == 3
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 3
    assert all(line.startswith("pro-engine: ") for line in lines)
    assert "Traceback" not in done.stderr
    assert names(Path("out")) == {"garden.disparity.npz", "garden.made.json", "intrinsics.json"}


def test_frames_of_one_shot_keep_one_scale_and_a_cut_begins_anew(run, tmp_path):
    with Image.open(write_photo(tmp_path / "in" / "f1.png")) as opened:
        first = np.asarray(opened)
    second, noise = first.copy(), np.random.default_rng(0).integers(0, 256, first.shape, np.uint8)
    second[:40, :40] = 255  # something comes into view
    for name, frame in (("f2", second), ("f3", noise)):
        Image.fromarray(frame).save(tmp_path / "in" / f"{name}.png")
    scales = {}
    for flag in ([], ["--sequence"]):
        done = run("infer", "in", "-o", "out", "--near", 1, "--far", 10, "--json", *flag)
        assert done.exit_code == 0, done.stderr
        results = json.loads(done.stdout)["results"]
        scales[bool(flag)] = [(result["scale"]["scale"], result["scale"]["shift"]) for result in results]
    assert scales[True][0] == scales[False][0]
    assert scales[True][1] == scales[True][0] != scales[False][1]
    assert scales[True][2] == scales[False][2] != scales[True][0]


def test_existing_results(run, photo):
    assert run("infer", photo, "-o", "out").exit_code == 0
    file = Path("out/garden.disparity.npz")
    os.utime(file, (1, 1))
    skipped = run("infer", photo, "-o", "out", "--existing", "skip", "--json")
    assert json.loads(skipped.stdout)["results"][0]["skipped"] is True
    assert file.stat().st_mtime == 1
    failed = run("infer", photo, "-o", "out", "--existing", "fail")
    assert failed.exit_code == 1
    assert "there already" in failed.stderr
    assert run("infer", photo, "-o", "out").exit_code == 0
    assert file.stat().st_mtime > 1


def test_a_result_never_replaces_a_photo(run, tmp_path):
    write_photo(tmp_path / "x.png")
    other = write_photo(tmp_path / "x.disparity.png")
    before = other.read_bytes()
    done = run("infer", "x.png", "x.disparity.png", "-o", ".", "--maps", "png16")
    assert done.exit_code == 1
    assert "would replace the photo" in done.stderr
    assert other.read_bytes() == before


def test_an_unexpected_error_is_one_line_and_debug_shows_it(run, photo, monkeypatch):
    def broken(*_arguments, **_options):
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr("pro_engine.jobs.writing.save_depth", broken)
    done = run("infer", photo, "-o", "out")
    assert done.exit_code == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Unexpected ZeroDivisionError: a bug of ours; run again with --debug" in done.stderr
    debug = run("infer", photo, "-o", "out", "--debug")
    assert isinstance(debug.exception, ZeroDivisionError)


def test_what_the_model_notes_is_told_of_a_relative_map_too(run, photo, monkeypatch):
    from pro_engine.inference.predictor import DepthPredictor

    real = DepthPredictor.infer
    monkeypatch.setattr(
        DepthPredictor, "infer", lambda *given, **more: dataclasses.replace(real(*given, **more), notes=("So it is.",))
    )
    done = run("infer", photo, "-o", "out", "--json")
    assert json.loads(done.stdout)["results"][0]["warnings"] == ["So it is."] and "So it is." in done.stderr


def test_ctrl_c_is_clean(run, tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        write_photo(tmp_path / "in" / name)
    from pro_engine.jobs import writing as job

    real = job.save_depth

    def stop_at_b(path, *arguments, **options):
        if "b.disparity" in str(path):
            raise KeyboardInterrupt
        real(path, *arguments, **options)

    monkeypatch.setattr(job, "save_depth", stop_at_b)
    done = run("infer", "in", "-o", "out", "--json")
    assert done.exit_code == 130
    assert "Stopped: 1 of 2 photos are done." in done.stderr
    assert json.loads(done.stdout)["stopped"] is True
    assert names(Path("out")) == {"a.disparity.npz", "a.made.json", "intrinsics.json"}


USAGE_ERRORS = {
    "no photo": ([], "PHOTO"),
    "map format": (["--maps", "jpg"], "--maps is 'jpg'; give one or more of npz"),
    "no map format": (["--maps", ""], "--maps is empty"),
    "mesh format": (["--mesh", "fbx"], "--mesh is 'fbx'; give one or more of glb"),
    "cloud format": (["--cloud", "las"], "--cloud is 'las'; give one or more of ply"),
    "tiles text": (["--tiles", "4by4"], "--tiles is '4by4'; give auto or ROWSxCOLUMNS, such as 4x4, each"),
    "tiles zero": (["--tiles", "0x4"], "--tiles is '0x4'; give auto or ROWSxCOLUMNS"),
    "tiles large": (["--tiles", "33x1"], "from 1 to 32"),
    "batch": (["--batch", "many"], "--batch is 'many'; give auto or a whole number from 1 to 4096."),
    "batch zero": (["--batch", "0"], "from 1 to 4096"),
    "refine": (["--refine", "maybe"], "--refine is 'maybe'; give trained, sharp, blend or none."),
    "dtype": (["--dtype", "int4"], "--dtype is 'int4'; give auto, float32, bfloat16, float16 or int8."),
    "near alone": (["--near", "1"], "Only one of --near and --far is given"),
    "far alone": (["--far", "1"], "Only one of --near and --far is given"),
    "near text": (["--near", "here", "--far", "2"], "--near is 'here'; give a number above 0 (m)."),
    "near beyond far": (["--near", "5", "--far", "2"], "--near is 5 and --far 2; near must be below far"),
    "near negative": (["--near", "-1", "--far", "2"], "--near is -1.0; give a number above 0 (m)."),
    "far nan": (["--near", "1", "--far", "nan"], "give a number above 0"),
    "near and align": (["--near", "1", "--far", "2", "--align", "x.npz"], "one of them"),
    "fov": (["--fov", "180"], "--fov is 180.0; give a number above 0 and below 180 (degrees)."),
    "fov and focal": (["--fov", "60", "--focal-35mm", "28"], "Both --fov and --focal-35mm are given"),
    "stride": (["--stride", "0"], "--stride is 0; give auto or a whole number of at least 1."),
    "stride text": (["--stride", "few"], "auto or a whole number"),
    "edge": (["--edge-rtol", "-1"], "give a number above 0"),
    "existing": (["--existing", "ask"], "--existing is 'ask'; give overwrite, skip or fail."),
    "unknown flag": (["--speed"], "No such option"),
}


@pytest.mark.parametrize("kind", USAGE_ERRORS)
def test_usage_errors(run, photo, kind):
    flags, message = USAGE_ERRORS[kind]
    done = run("infer", *([] if kind == "no photo" else [photo]), *flags)
    assert done.exit_code == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def bad_file(kind: str, folder: Path) -> list[str]:
    """Arguments that name an input of this kind."""
    path = folder / "bad.png"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("hello")
    elif kind == "cut short":
        path.write_bytes(write_photo(folder / "whole.png").read_bytes()[:300])
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "pattern":
        return [str(folder / "*.tif")]
    elif kind == "thin":
        write_photo(path, 640, 20)
    elif kind == "out is a file":
        write_photo(path)
        (folder / "file").write_text("")
        return [str(path), "-o", str(folder / "file")]
    elif kind in ("align missing", "align no pixel", "align disparity", "align shape", "align folder"):
        write_photo(path)
        depth = np.full((60, 80), 2.0 if kind != "align no pixel" else np.nan, dtype=np.float32)
        sensor = folder / "sensor" / "depth.npz"
        if kind != "align missing":
            save_depth(
                sensor,
                depth[:, :30] if kind == "align shape" else depth,
                quantity="disparity" if kind == "align disparity" else "depth",
            )
        return [str(path), "--align", str(sensor.parent if kind == "align folder" else sensor)]
    elif kind == "no contrast":
        Image.new("RGB", (96, 64), (90, 90, 90)).save(path)
        return [str(path), "--near", "1", "--far", "5", "--no-refine"]
    return [str(path)]


BAD_FILES = {
    "missing": "does not exist",
    "empty": "empty",
    "text": "",
    "cut short": "",
    "empty folder": "holds no picture",
    "pattern": "No picture matches",
    "thin": "at least 32 pixels",
    "out is a file": "",
    "align missing": "does not exist",
    "align no pixel": "no pixel with a depth above 0",
    "align disparity": "relative disparity, not depth",
    "align shape": "another shape",
    "align folder": "has 0 depth files named bad",
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_one_line_and_exit_1(run, tmp_path, kind):
    done = run("infer", *bad_file(kind, tmp_path))
    assert done.exit_code == 1, done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("pro-engine: ")
    assert BAD_FILES[kind] in lines[0]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "compcat"], "did you mean compact"),
        (["--device", "{gpu}"], "--device is '{gpu}'; give auto, cpu, cuda, cuda:N or mps"),
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
        (["--weights", "in/garden.png"], "neither a safetensors file nor a PyTorch checkpoint"),
        (["--device", "cuda:99"], "cuda:99 was asked for"),
    ],
)
def test_bad_models(photo, tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["infer", str(photo), *flags])
    assert done.exit_code == 1
    (line,) = done.stderr.strip().splitlines()
    assert message in line


def help_pages(group: Any, *verbs: str) -> Iterator[list[str]]:
    """The words of every command that shows a page of help."""
    yield list(verbs)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from help_pages(command, *verbs, name)
        else:
            yield [*verbs, name]


@pytest.mark.parametrize("verbs", list(help_pages(typer.main.get_command(app))), ids=" ".join)
def test_help_is_whole_in_narrow_windows_and_in_words_of_the_command_line(verbs):
    command = typer.main.get_command(app)
    for verb in verbs:
        command = command.commands[verb]
    for columns in (60, 80):
        done = CliRunner().invoke(app, [*verbs, "-h"], terminal_width=columns)
        assert done.exit_code == 0
        lines = done.stdout.splitlines()
        assert len(lines) > 3 and max(map(len, lines)) <= columns
        flags = {flag for one in command.params if not getattr(one, "hidden", False) for flag in one.opts}
        assert {flag for flag in flags if flag.startswith("-")} <= set(re.findall(r"--?[\w-]+", done.stdout))
    assert not [line for line in lines[1:] if "…" in line or line.endswith(("..", "-"))]
    assert not re.findall(r"[Tt]rue|[Ff]alse|None|list\[|<\w+>|[a-z]_[a-z]|\([a-z]+, [a-z]+\)", done.stdout)


def test_models_info_and_bench(run, photo, monkeypatch):
    listed = json.loads(run("models", "--json").stdout)
    assert listed[0]["name"] == "hybrid" and len(listed) > 10
    shown = ("name", "licence", "use", "units", "weights", "why")
    for columns in (40, 60, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        table = run("models").stdout
        assert max(map(len, table.splitlines())) <= columns
        assert all(word in table.split() for row in listed for key in shown for word in row[key].split())
    facts = json.loads(run("info", "--json").stdout)
    assert facts["pro_engine"] == pro_engine.__version__
    assert {"python", "torch", "device", "cores", "threads", "memory_free_gib", "extras"} <= set(facts)
    assert "torch" in run("info").stdout
    for source in (["--size", "200x150"], [photo]):
        report = json.loads(run("bench", *source, "--tiles", "2x2", "--runs", 2, "--json").stdout)
        assert report["tiles"] == [2, 2]
        assert report["ratio"] > 0
        assert set(report["phases"]) == {"preprocess", "coarse", "patches", "refiner", "canvas"}
    text = run("bench", photo, "--tiles", "2x2", "--runs", 1).stdout
    for word in ("load", "coarse", "patches", "refiner", "total", "floor: 5", "peak memory", "threads"):
        assert word in text
    assert run("bench", "--size", "big").exit_code == 2
    assert run("bench", "nowhere.png").exit_code == 1


def test_the_card_of_a_model(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    lines = dict(line.split(None, 1) for line in run("info", "moge-2-vits").stdout.splitlines())
    assert lines["licence"].strip() == "MIT" and lines["use"].strip() == "free"
    assert lines["revision"].strip() == "679230677b4d282c6f304189a93e98e14f085902"
    assert lines["sha256"].startswith("79a16621928c2bf0") and "Ruicheng/moge-2-vits-normal" in lines["source"]
    assert [lines[name].strip() for name in ("units", "lens", "sky", "normals", "prompt")] == [
        "metres", "yes", "yes", "yes", "no"
    ]  # fmt: skip
    assert re.match(r"about \d+\.\d GB of memory and \d+ (min|s) for a photo of 4000x3000", lines["expected"])
    lines = dict(line.split(None, 1) for line in run("info", "depth-pro").stdout.splitlines())
    assert lines["use"].strip() == "research. Its licence allows research only."
    assert lines["revision"].strip() == lines["sha256"].strip() == "not pinned"
    assert "There is no model 'moge'" in run("info", "moge").stderr


def test_what_takes_much_is_told_before_it_is_loaded(run, photo, tmp_path):
    large = ("--model", "depth-pro", "--device", "cpu", "--offline", "--cache-dir", tmp_path)
    note = "note: depth-pro is expected to take about 9."
    for verb in (("infer", photo, "-o", tmp_path), ("bench", photo, "--runs", 1)):
        told = run(*verb, *large).stderr
        assert note in told and "; another --model, fewer --tiles or a smaller --fine take less." in told
        assert "for a photo of 4000x3000" not in told  # but of the photo's own size
    assert "expected to take" not in run("infer", photo, "-o", tmp_path, "--device", "cpu").stderr


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-c", "from pro_engine.cli import start; start()", *arguments]
    return subprocess.run(program, capture_output=True, text=True, cwd=cwd, env=environment, timeout=600)


def test_a_real_process(photo, tmp_path):
    assert command("--version", cwd=tmp_path).stdout.strip() == pro_engine.__version__
    good = command("infer", str(photo), "-o", "out", "--refine", "blend", "--preview", "--offline", cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    about = {"garden.made.json", "intrinsics.json"}
    assert names(tmp_path / "out") == {"garden.disparity.npz", "garden.preview.png"} | about
    bad = command("infer", "missing.jpg", cwd=tmp_path)
    assert bad.returncode == 1
    said = bad.stderr.splitlines()[-1]  # above it, where it concerns the processor, that networks compute in bfloat16
    assert said == "pro-engine: missing.jpg does not exist; check the spelling and the folder."
    assert command("infer", str(photo), "--tiles", "x", cwd=tmp_path).returncode == 2


def test_importing_the_command_line_loads_nothing_heavy():
    code = "import pro_engine.cli.main, sys; print([m for m in ('torch', 'cv2', 'PIL', 'trimesh') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
