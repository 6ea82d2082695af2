"""`pro-engine eval` as people and scripts use it, with tiny networks in place of the models."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import names, runner, write_photo


@pytest.fixture
def run(tiny, monkeypatch, tmp_path):
    """run(*arguments) -> the finished command; the model is tiny and the working folder is empty."""
    return runner(tiny, monkeypatch, tmp_path)


@pytest.fixture
def truth(tmp_path):
    """A dataset of two photos with depth, in the plain form."""
    rows = ["name,kind,group,real_synthetic,boundary,alpha"]
    for name in ("near", "far"):
        write_photo(tmp_path / "data" / name / "image.png")
        depth = np.repeat(np.linspace(9, 1, 120, dtype=np.float32)[:, None], 160, axis=1)
        np.savez(tmp_path / "data" / name / "depth.npz", kind="depth", depth=depth)
        rows.append(f"{name},depth,room,real,0,0")
    (tmp_path / "data" / "index.csv").write_text("\n".join(rows))
    return tmp_path / "data"


def test_eval_writes_a_report_and_a_page(run, truth):
    done = run("eval", "--data", truth, "--out", "out", "--tiles", "2x2", "--ce", "--save-maps")
    assert done.exit_code == 0, done.stderr
    assert names(Path("out")) == {"report.json", "index.html", "maps"}
    assert names(Path("out/maps")) == {"near.npy", "far.npy"}
    report = json.loads(Path("out/report.json").read_text())
    assert report["about"]["model"] == "tiny" and report["about"]["tiles"] == [2, 2]
    assert [item["tiles"] for item in report["items"]] == [[2, 2], [2, 2]]
    assert all(item["run"]["ce"] > 0 and item["coarse"] for item in report["items"])
    for word in ("flat / room", "coarse", "AbsRel", "2 items scored, 0 not; see", "index.html"):
        assert word in done.stdout
    again = run("eval", "-d", truth, "-o", "again", "--predictions", "out/maps", "--items", 1, "--json")
    assert again.exit_code == 0, again.stderr
    summary = json.loads(again.stdout)
    assert [item["name"] for item in summary["items"]] == ["near"]
    assert summary["items"][0]["refined"] == report["items"][0]["refined"]


def test_eval_reports_what_failed_and_goes_on(run, truth):
    write_photo(truth / "near" / "image.png", 16, 16)
    done = run("eval", "-d", truth, "-o", "out", "--kind", "flat")
    assert done.exit_code == 1
    assert done.stderr.strip().startswith("pro-engine: near: The image is 16x16 pixels")
    assert "1 item scored, 1 not" in done.stdout
    assert len(json.loads(Path("out/report.json").read_text())["skipped"]) == 1


def test_eval_stopped_reports_what_is_done(run, truth, monkeypatch):
    from pro_engine.evaluation import run as job

    real = job.score_map
    scored = []

    def stop_at_the_second(*arguments):
        scored.append(1)
        if len(scored) == 3:  # every item scores two maps
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(job, "score_map", stop_at_the_second)
    done = run("eval", "-d", truth, "-o", "out")
    assert done.exit_code == 130
    assert "Stopped: 1 of 2 items are done and will be reported." in done.stderr
    report = json.loads(Path("out/report.json").read_text())
    assert report["stopped"] is True and len(report["items"]) == 1


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--data", "nowhere"], 1, "nowhere is not a folder"),
        (["--data", "data", "--kind", "kitti"], 1, "The kind of dataset is 'kitti'; give 'auto' or one of"),
        (["--data", "data", "--predictions", "data"], 1, "near has no prediction; put near.npy"),
        (["--data", "data", "--predictions", "nowhere"], 1, "nowhere is not a folder; give the folder that holds"),
        (["--data", "data", "--predictions", "data", "--ce"], 2, "given; --ce needs a model to run."),
        (["--data", "data", "--items", "0"], 2, "--items is 0; give a whole number of at least 1."),
        (["--data", "data", "--tiles", "0x2"], 2, "--tiles is '0x2'; give auto or ROWSxCOLUMNS"),
        ([], 2, "--data"),
    ],
)
def test_eval_mistakes(run, truth, flags, code, message):
    done = run("eval", "-o", "out", *flags)
    assert done.exit_code == code, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_eval_without_out_is_a_mistake(run, truth):
    assert run("eval", "--data", truth).exit_code == 2
