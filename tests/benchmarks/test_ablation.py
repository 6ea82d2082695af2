"""The ablation from end to end at its smallest, and what it says about rows that are known."""

from __future__ import annotations

import importlib
import json
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("embreex")
pytest.importorskip("lightning_fabric")


SMALLEST = ["--steps", "2", "--patch", "64x64", "--size", "128x96", "--pictures", "2", "--test-pictures", "2"]


def status_of(ablation: ModuleType, *flags: str) -> int:
    with pytest.raises(SystemExit) as end:
        ablation.app([*flags])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def ablation() -> ModuleType:
    return importlib.import_module("ablation")


def test_two_rows_from_pictures_to_the_table(
    ablation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PRO_ENGINE_ASSETS", raising=False)
    for name, value in {"KINDS": ("glass",), "GLASS_SHARE": (0, 1), "WRONG_SHARE": 0}.items():  # the next best scenes
        monkeypatch.setattr(f"glass_scenes.{name}", value)
    command = ["--work", str(tmp_path), *SMALLEST, "--rows", "neither,GPCT"]
    assert status_of(ablation, *command) == 0
    table = capsys.readouterr().out
    assert [line.split(" | ")[0] for line in table.splitlines()[2:6]] == [
        "| coarse",
        "| start",
        "| neither",
        "| GPCT",
    ]
    assert "- CE, GPCT over neither: " in table
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["rows"]) == {"coarse", "start", "neither", "GPCT"}
    assert len(results["rows"]["GPCT"]["pictures"]) == 2
    for name in ("neither", "GPCT"):
        assert {"ce", "absrel", "seam_ratio"} <= set(results["rows"][name]["mean"])

    (training,), (test,) = (list(tmp_path.glob(f"{name}-*")) for name in ("train", "test"))
    assert {json.loads((folder / "settings.json").read_text())["glass"] for folder in (training, test)} == {
        "surface",
        "behind",
    }
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert status_of(ablation, *command, "--rows", "neither") == 0
    assert capsys.readouterr().out == table
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path in stamps} == stamps
    assert status_of(ablation, *command, "--steps", "3") == 1
    assert "steps was 2 and is now 3" in capsys.readouterr().err


def test_scenes_have_some_glass_but_not_too_much(
    ablation: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PRO_ENGINE_ASSETS", raising=False)
    glass_scenes = importlib.import_module("glass_scenes")
    numbers = list(islice(glass_scenes.scene_numbers(ablation.TEST_SCENES, tmp_path), 2))
    for name in (f"scene_{number:06d}_0.npz" for number in numbers):
        with np.load(tmp_path / "surface" / name) as right, np.load(tmp_path / "behind" / name) as wrong:
            assert 0.01 <= right["transparent"].mean() <= 0.12
            assert (wrong["depth"] > 2 * right["depth"]).mean() >= 0.01
    assert len(list((tmp_path / "surface").glob("*.done"))) > 2


def test_comparisons_are_of_the_same_pictures(ablation: ModuleType) -> None:
    rows = {
        "neither": {"pictures": {"a": {"ce": 0.2}, "b": {"ce": 0.4}, "c": {}}},
        "GPCT": {"pictures": {"a": {"ce": 0.25}, "b": {"ce": 0.05}, "c": {}}},
    }
    (found,) = ablation.comparisons(rows)
    assert found["ratio"] == pytest.approx(0.5)
    assert (found["lower"], found["pictures"]) == (1, 2)


def test_the_sweep_stands_in_the_order_of_the_overlap(ablation: ModuleType) -> None:
    rows = {name: {"mean": {"ce": 0.5 + i}} for i, name in enumerate(("coarse", "start", *ablation.VARIANTS))}
    parts, sweep = ablation.tables(rows, (128, 96)).split("\n\n")
    assert len(parts.splitlines()) == 2 + 6
    shares = [float(line.split()[1]) for line in sweep.splitlines()[2:]]
    assert len(shares) == 6 and np.all(np.diff(shares) > 0)
    assert "| 0.432 (55 of 128 px) | 4.5000 | – |" in sweep


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rows", "neither,all"], "--rows is 'neither,all'; give one or more of neither, BFM"),
        (["--pictures", "1"], "--pictures is 1"),
        (["--patch", "12"], "--patch is '12'; give WIDTHxHEIGHT"),
    ],
)
def test_a_flag_that_cannot_be_is_refused(
    ablation: ModuleType, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(ablation, "--work", "unused", *flags) == 2
    assert message in capsys.readouterr().err
