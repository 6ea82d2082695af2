"""`pro-engine train`: flags that come from the fields of the run's options, and runs from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pro_engine.cli.flags import verb as add_verb
from pro_engine.cli.main import app
from pro_engine.io.weights import read_weights, save_weights
from pro_engine.models.presets import PRESETS, build_psi, build_refiner
from pro_engine.training.options import BaseConfig, BundleConfig, OutlinesConfig, RefinerConfig, ScenesConfig

VERBS = {
    "scenes": ScenesConfig,
    "base": BaseConfig,
    "refiner": RefinerConfig,
    "outlines": OutlinesConfig,
    "bundle": BundleConfig,
}
REQUIRED = {
    "scenes": ["--out", "o", "--count", "2"],
    "base": ["--data", "a", "--out", "o", "--steps", "5"],
    "refiner": ["--data", "a", "--out", "o", "--steps", "5"],
    "outlines": ["--data", "a", "--out", "o", "--steps", "5"],
    "bundle": ["--base", "b", "--refiner", "r", "--out", "o"],
}


def run(*arguments: object):
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def options_of_command(owner: type, flags: list[str]) -> object:
    """What a verb with the options `owner` is called with."""
    seen: list[object] = []

    def run(options: object) -> None:
        seen.append(options)

    run.__annotations__["options"] = owner
    again = typer.Typer()
    add_verb(again, "verb")(run)
    done = CliRunner().invoke(again, flags)
    assert done.exit_code == 0, done.output
    return seen[0]


@pytest.fixture
def views(tmp_path: Path) -> Path:
    """One view of 96x64: a near box before a ramp."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    depth = np.repeat(np.linspace(9, 2, 64, dtype=np.float16)[:, None], 96, axis=1)
    depth[20:40, 30:60] = 1.5
    picture = np.random.default_rng(0).integers(0, 40, (64, 96, 3), dtype=np.uint8)
    picture[20:40, 30:60] += 150
    cv2.imwrite(str(folder / "v.jpg"), picture)
    np.savez(folder / "v.npz", depth=depth, transparent=np.zeros((64, 96), np.uint8))
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_flags_left_out_are_the_defaults_of_the_fields(verb: str) -> None:
    seen = options_of_command(VERBS[verb], REQUIRED[verb])
    paths = {"base": {"data": (Path("a"),), "out": Path("o"), "steps": 5}, "scenes": {"out": Path("o"), "count": 2}}
    paths["refiner"] = paths["outlines"] = paths["base"]
    paths["bundle"] = {"base": Path("b"), "refiner": Path("r"), "out": Path("o")}
    assert seen == VERBS[verb](**paths[verb])


def test_flags_reach_their_fields() -> None:
    flags = "--data a --data b --out o --steps 5 --patch 518x392 --no-gpct --no-bfm --precision bf16-mixed --devices 2"
    seen = options_of_command(RefinerConfig, [*flags.split(), "--initial", "x.safetensors", "--overlap", "0"])
    assert seen == RefinerConfig(
        data=(Path("a"), Path("b")),
        out=Path("o"),
        steps=5,
        patch=(518, 392),
        gpct=False,
        bfm=False,
        precision="bf16-mixed",
        devices=2,
        initial=Path("x.safetensors"),
        overlap=0.0,
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("refiner --overlap 1", "--overlap is 1.0; give a number from 0 to below 1."),
        ("refiner --batch 3 --devices 2", "--batch is 3, which 2 devices"),
        ("refiner --patch 100", "--patch is '100'; give WIDTHxHEIGHT, such as 256x192, each at least 1."),
        ("base --precision fp8", "--precision is 'fp8'; give fp32, bf16-mixed or 16-mixed."),
        ("scenes --cameras-per-scene 0", "--cameras-per-scene is 0; give a whole number of at least 1."),
    ],
)
def test_a_flag_that_cannot_be_is_a_mistake_in_the_command(flags: str, message: str) -> None:
    verb, *rest = flags.split()
    done = run(verb, *REQUIRED[verb], *rest)
    assert done.exit_code == 2
    assert message in done.stderr.splitlines()[-1]


def test_scenes_are_rendered_and_continued(tmp_path: Path) -> None:
    pytest.importorskip("embreex")
    flags = ("--out", tmp_path / "s", "--count", 1, "--size", "64x48", "--seed", 3, "--cameras-per-scene", 2)
    done = run("scenes", *flags)
    assert done.exit_code == 0, done.stderr
    pictures = len(list((tmp_path / "s").glob("*.jpg")))
    assert 1 <= pictures <= 2
    assert done.stdout.strip() == f"{tmp_path / 's'}: {pictures} pictures rendered"
    assert run("scenes", *flags).stdout.strip().endswith(": 0 pictures rendered")


def test_a_folder_without_pictures_is_one_line(tmp_path: Path) -> None:
    done = run("base", "--data", tmp_path, "--out", tmp_path / "run", "--steps", 1)
    assert done.exit_code == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith(f"pro-engine: {tmp_path} holds no rendered views")


def test_base_and_refiner_become_one_file(tmp_path: Path) -> None:
    preset = PRESETS["compact"]
    save_weights(tmp_path / "b.safetensors", build_psi(preset).state_dict())
    save_weights(tmp_path / "r.safetensors", build_refiner(preset).state_dict())
    out = tmp_path / "both.safetensors"
    done = run("bundle", "--base", tmp_path / "b.safetensors", "--refiner", tmp_path / "r.safetensors", "--out", out)
    assert done.exit_code == 0, done.stderr
    assert {key.partition(".")[0] for key in read_weights(out)} == {"psi", "refiner"}
    wrong = run("bundle", "--base", tmp_path / "r.safetensors", "--refiner", tmp_path / "b.safetensors", "--out", out)
    assert wrong.exit_code == 1
    assert "do not fit" in wrong.stderr


def test_ctrl_c_ends_a_run_with_a_checkpoint_and_130(views: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    flags = ["--data", str(views), "--out", str(out), "--steps", "5000", "--batch", "1", "--patch", "96x64"]
    start = [sys.executable, "-c", "from pro_engine.cli import start; start()", "train", "refiner"]
    program = subprocess.Popen(
        [*start, *flags, "--log-every", "1"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 600
        while not (out / "log.jsonl").exists():
            assert program.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        program.send_signal(signal.SIGINT)
        stdout, stderr = program.communicate(timeout=600)
    finally:
        program.kill()
    assert program.returncode == 130
    assert stdout == ""
    last = json.loads((out / "log.jsonl").read_text().splitlines()[-1])["step"]
    assert stderr.strip() == f"Stopped at step {last} of 5000; give the same command again to go on from there."
    assert (out / "last.pt").exists()
    assert json.loads((out / "config.json").read_text())["config"]["patch"] == [96, 64]


def test_help_needs_no_torch() -> None:
    code = "import sys\nfrom pro_engine.cli.main import app\nassert not {'torch', 'cv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
