"""The training loop: it learns, goes on to the same numbers after every kind of end, and leaves files whole."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from pro_engine.errors import DeviceError, FileError, InputError
from pro_engine.io.weights import read_weights
from pro_engine.training import run_folder
from pro_engine.training.loop import cosine, train
from pro_engine.training.processes import launch
from pro_engine.training.run_folder import TrainingError, load_checkpoint, save_checkpoint

SCRIPT = Path(__file__).with_name("line_run.py")


def log_of(run: Path) -> list[dict[str, float]]:
    """The log without what the clock says."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "seconds_per_step"} for line in lines]


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """start(run, changes, seconds per step, *more) -> a run in a process of its own; none outlives the test."""
    programs = []

    def start_one(run: Path, changes: dict[str, object], seconds: float = 0.0, *more: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(SCRIPT), str(run), json.dumps(changes), str(seconds), *more]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        programs.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment))
        return programs[-1]

    yield start_one
    for program in programs:
        program.kill()  # does nothing to one that has ended
        program.wait()
        if program.stderr is not None:
            program.stderr.close()


def wait_for_step(run: Path, step: int, program: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        assert program.poll() is None, program.communicate()[1]
        with contextlib.suppress(FileNotFoundError):
            lines = (run / "log.jsonl").read_text().split("\n")[:-1]  # the last one may not be whole yet
            if (run / "last.pt").exists() and lines and json.loads(lines[-1])["step"] >= step:
                return
        time.sleep(0.02)
    raise AssertionError("the run did not get there")


def test_a_run_learns_and_leaves_what_it_should(line: ModuleType, tmp_path: Path) -> None:
    average = train(line.LineTask(), line.line_config(), tmp_path)
    log = log_of(tmp_path)
    assert [entry["step"] for entry in log] == [10, 20, 30, 40]
    assert log[-1]["loss"] < 0.5 * log[0]["loss"]
    assert set(log[0]) == {"step", "loss", "worst", "grad_norm", "learning_rate"}
    weights = read_weights(tmp_path / "model.safetensors")
    torch.testing.assert_close(weights["weight"], average.state_dict()["weight"], rtol=0, atol=0)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["kind"] == "line"
    assert config["config"]["learning_rate"] == 0.1 and len(config["config"]) == 18
    assert config["versions"]["torch"] == torch.__version__
    assert config["identity"] == {"data": "points"}
    assert "resumed" not in config


def test_a_run_goes_on_from_another_with_its_averages_and_moments(line: ModuleType, tmp_path: Path) -> None:
    """At a rate that stays, twice twenty steps are forty, but for the samples, which begin again."""
    steady = {"fall": 0.0, "warm_up": 0, "average": 0.9}
    train(line.LineTask(), line.line_config(steps=20, **steady), tmp_path / "first")
    config = line.line_config(steps=20, previous=tmp_path / "first", weight_decay=0.5, **steady)
    train(line.LineTask(), config, tmp_path / "second")
    first, second = (load_checkpoint(tmp_path / name / "last.pt") for name in ("first", "second"))
    assert log_of(tmp_path / "second")[0]["loss"] < 0.5 * log_of(tmp_path / "first")[0]["loss"]
    assert [entry["learning_rate"] for entry in log_of(tmp_path / "second")] == [0.1, 0.1]
    assert second["step"] == 20 and second["optimizer"]["state"][0]["step"] == 40
    assert second["optimizer"]["param_groups"][0]["weight_decay"] == 0.5
    assert not torch.equal(first["average"]["weight"], second["average"]["weight"])
    assert "previous" in json.loads((tmp_path / "second/config.json").read_text())["identity"]
    (tmp_path / "first/last.pt").unlink()
    with pytest.raises(TrainingError, match=r"has no last\.pt"):
        train(line.LineTask(), config, tmp_path / "second")


def test_the_rate_stays_and_falls_at_the_end() -> None:
    factors = [cosine(step, 100, 10, 0.2) for step in (0, 9, 50, 80, 90, 100)]
    assert factors == pytest.approx([0.1, 1, 1, 1, 0.51, 0.02])
    assert cosine(50, 100, 0) == pytest.approx(0.51) and cosine(100, 100, 0, 0) == 1


def test_tensorboard_gets_the_numbers_and_the_pictures(line: ModuleType, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(line.LineTask(), line.line_config(), tmp_path)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()
    assert {"loss", "worst", "grad_norm", "learning_rate", "seconds_per_step"} <= set(tags["scalars"])
    logged = [entry["loss"] for entry in log_of(tmp_path)]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(logged)
    assert [event.step for event in events.Images("points")] == [15, 30, 40]


def test_a_killed_run_goes_on_to_the_same_curve(line: ModuleType, start, tmp_path: Path) -> None:
    changes = {"steps": 60, "log_every": 5, "save_every": 7}  # most checkpoints lie between two lines of the log
    program = start(tmp_path / "cut", changes, seconds=0.03)
    wait_for_step(tmp_path / "cut", 20, program)
    program.send_signal(signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL
    assert 20 <= log_of(tmp_path / "cut")[-1]["step"] < 60
    reached = load_checkpoint(tmp_path / "cut/last.pt")["step"]

    config = line.line_config(**changes)
    resumed = train(line.LineTask(), config, tmp_path / "cut")
    whole = train(line.LineTask(), config, tmp_path / "whole")
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "whole")
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    (note,) = json.loads((tmp_path / "cut/config.json").read_text())["resumed"]
    assert note["step"] == reached


def test_what_a_network_draws_is_the_same_after_resuming(line: ModuleType, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(_: nn.Module, step: int) -> None:
        if step == 20:
            raise KilledError

    whole = train(line.LineTask(drop=0.5), line.line_config(), tmp_path / "whole")
    with pytest.raises(KilledError):
        train(line.LineTask(drop=0.5), line.line_config(), tmp_path / "cut", on_checkpoint=kill)
    torch.rand(7)
    resumed = train(line.LineTask(drop=0.5), line.line_config(), tmp_path / "cut")
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_a_log_line_that_was_cut_short_is_dropped(line: ModuleType, tmp_path: Path) -> None:
    train(line.LineTask(), line.line_config(), tmp_path)
    before = log_of(tmp_path)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 41, "lo')
    train(line.LineTask(), line.line_config(), tmp_path)
    assert log_of(tmp_path) == before


def test_ctrl_c_saves_and_says_how_to_go_on(start, tmp_path: Path) -> None:
    changes = {"steps": 400, "save_every": 5, "workers": 1}
    program = start(tmp_path, changes, seconds=0.03)
    wait_for_step(tmp_path, 10, program)
    program.send_signal(signal.SIGINT)
    message = program.communicate(timeout=600)[1]
    assert program.returncode == 9
    step = load_checkpoint(tmp_path / "last.pt")["step"]
    assert message.strip() == f"Stopped at step {step} of 400; give the same command again to go on from there."
    assert not (tmp_path / "model.safetensors").exists()


def test_two_processes_are_one_with_the_whole_batch(line: ModuleType, start, tmp_path: Path) -> None:
    changes = {"devices": 2, "batch": 8, "learning_rate": 0.03}
    program = start(tmp_path / "two", changes)
    message = program.communicate(timeout=600)[1]
    assert program.returncode == 0, message
    train(line.LineTask(), line.line_config(**{**changes, "devices": 1}), tmp_path / "one")
    torch.testing.assert_close(
        read_weights(tmp_path / "two/model.safetensors"), read_weights(tmp_path / "one/model.safetensors")
    )
    for two, one in zip(log_of(tmp_path / "two"), log_of(tmp_path / "one"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=2e-5)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], abs=2e-5)


def test_a_broken_loss_in_one_process_stops_both_and_is_told_once(line: ModuleType, start, tmp_path: Path) -> None:
    program = start(tmp_path, {"devices": 2}, 0.0, "25")
    message = program.communicate(timeout=600)[1]
    assert program.returncode == 9
    assert message.count("The loss is nan at step 24; the batch is in") == 1
    bad = load_checkpoint(tmp_path / "bad_batch.pt")
    second = torch.stack([line.Points()[i] for i in (98, 99)])  # the second process has the second half of 96 to 99
    torch.testing.assert_close(bad["batch"][0], second, rtol=0, atol=0)
    assert load_checkpoint(tmp_path / "last.pt")["step"] == 20


def test_accumulated_parts_are_the_whole_batch(line: ModuleType, tmp_path: Path) -> None:
    config = line.line_config(batch=8)
    parts = train(line.LineTask(), replace(config, accumulate=4), tmp_path / "parts")
    whole = train(line.LineTask(), config, tmp_path / "whole")
    halved = train(line.LineTask(), replace(config, batch=4), tmp_path / "halved")
    torch.testing.assert_close(parts.state_dict(), whole.state_dict())
    assert not torch.allclose(halved.state_dict()["weight"], whole.state_dict()["weight"], atol=1e-4)


@pytest.mark.parametrize(("fault", "what"), [("broken", "loss"), ("steep", "gradient")])
def test_a_number_that_is_not_finite_stops_the_run(line: ModuleType, tmp_path: Path, fault: str, what: str) -> None:
    with pytest.raises(TrainingError, match=f"{what} is nan at step 24"):
        train(line.LineTask(**{fault: 25}), line.line_config(), tmp_path)
    bad = load_checkpoint(tmp_path / "bad_batch.pt")
    assert bad["step"] == 24
    expected = torch.stack([line.Points()[i] for i in range(96, 100)])
    torch.testing.assert_close(bad["batch"][0], expected, rtol=0, atol=0)
    kept = load_checkpoint(tmp_path / "last.pt")
    assert kept["step"] == 20
    assert all(torch.isfinite(v).all() for v in kept["model"].values())
    assert not (tmp_path / "model.safetensors").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root on Linux")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_reported_and_the_run_goes_on_once_there_is_space(
    line: ModuleType, small_disk: Path, tmp_path: Path
) -> None:
    filler = small_disk / "filler"

    def fill(_: nn.Module, step: int) -> None:
        if step == 20:
            with filler.open("wb", buffering=0) as file:
                while file.write(b"x" * 512) == 512:
                    pass

    run = small_disk / "run"
    with pytest.raises(OSError, match="No space left"):  # the filler's own complaint: nothing is left
        train(line.LineTask(), line.line_config(), run, on_checkpoint=fill)
    with pytest.raises(FileError, match=r"cannot be written: the disk is full; free some space"):
        train(line.LineTask(), line.line_config(), run)
    with pytest.raises(FileError, match=r"last\.pt cannot be written: the disk is full; free some space"):
        save_checkpoint(run / "last.pt", {"model": torch.zeros(1000)})
    assert load_checkpoint(run / "last.pt")["step"] == 20
    filler.unlink()
    resumed = train(line.LineTask(), line.line_config(), run)
    whole = train(line.LineTask(), line.line_config(), tmp_path / "whole")
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert log_of(run) == log_of(tmp_path / "whole")


@pytest.mark.parametrize("accident", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_earlier_checkpoint(
    line: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accident: BaseException
) -> None:
    real_save, calls = torch.save, []

    def save(state: object, file: object) -> None:
        calls.append(1)
        if len(calls) < 3:
            real_save(state, file)
        else:
            file.write(b"half a file")  # type: ignore[attr-defined]
            raise accident

    monkeypatch.setattr(run_folder.torch, "save", save)
    expected = FileError if isinstance(accident, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        train(line.LineTask(), line.line_config(), tmp_path)
    assert load_checkpoint(tmp_path / "last.pt")["step"] == 20
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]


def test_another_configuration_is_refused_with_the_fields_named(line: ModuleType, tmp_path: Path) -> None:
    train(line.LineTask(), line.line_config(), tmp_path)
    with pytest.raises(TrainingError, match=r"another configuration: batch was 4 and is now 8; seed was 0 and is now"):
        train(line.LineTask(), line.line_config(batch=8, seed=3, workers=1), tmp_path)
    task = line.LineTask()
    task.identity = {"data": "other points"}
    with pytest.raises(TrainingError, match="data was points and is now other points"):
        train(task, line.line_config(), tmp_path)
    train(line.LineTask(), line.line_config(log_every=3, save_every=9, picture_every=0), tmp_path)  # no other curve


def test_a_checkpoint_of_another_model_is_refused(line: ModuleType, tmp_path: Path) -> None:
    train(line.LineTask(), line.line_config(), tmp_path)
    task = line.LineTask()
    task.model = nn.Linear(3, 2)
    with pytest.raises(TrainingError, match="another model"):
        train(task, line.line_config(), tmp_path)


def test_a_damaged_checkpoint_is_named(line: ModuleType, tmp_path: Path) -> None:
    train(line.LineTask(), line.line_config(), tmp_path)
    (tmp_path / "last.pt").write_bytes((tmp_path / "last.pt").read_bytes()[:-40])
    with pytest.raises(TrainingError, match=r"last\.pt is damaged .* delete it"):
        train(line.LineTask(), line.line_config(), tmp_path)


def test_bf16_rounds_inside_the_network_only(line: ModuleType, tmp_path: Path) -> None:
    class Seen(line.LineTask):  # type: ignore[name-defined,misc]
        types: set[torch.dtype] = set()  # noqa: RUF012

        def train_mode(self) -> None:
            super().train_mode()
            self.model.module.register_forward_pre_hook(lambda _, given: self.types.add(given[0].dtype))

    rounded = train(Seen(), line.line_config(precision="bf16-mixed"), tmp_path / "bf16")
    whole = train(line.LineTask(), line.line_config(), tmp_path / "fp32")
    assert Seen.types == {torch.float32}
    a, b = rounded.state_dict()["weight"], whole.state_dict()["weight"]
    assert a.dtype == torch.float32
    assert not torch.equal(a, b)
    torch.testing.assert_close(a, b, atol=0.1, rtol=0.1)


def test_what_the_machine_lacks_is_said_before_the_run(line: ModuleType) -> None:
    with pytest.raises(DeviceError, match="16-mixed needs CUDA, here is cpu; use bf16-mixed or fp32"):
        launch(line.line_config(precision="16-mixed"))
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="accelerator is cuda, which this machine"):
            launch(line.line_config(accelerator="cuda"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0; give a whole number of at least 1."),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; give a number above 0."),
        ({"average": 1.0}, "average is 1.0; give a number from 0 to below 1."),
        ({"clip_norm": float("nan")}, "clip_norm is nan; give a number above 0."),
        ({"precision": "fp8"}, "precision is 'fp8'; give fp32, bf16-mixed or 16-mixed."),
        ({"batch": 6, "devices": 2, "accumulate": 2}, "give a multiple of 4"),
    ],
)
def test_values_outside_their_limits_are_refused(line: ModuleType, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        line.line_config(**changes)
