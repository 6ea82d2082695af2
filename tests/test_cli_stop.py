"""Ctrl-C and SIGTERM wherever they come, names that are no UTF-8, and a stdout that holds results alone."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import names, runner, write_photo

import pro_engine
from pro_engine.cli import stop
from pro_engine.io.depth import load_depth
from pro_engine.jobs import photo_job, shapes, writing

ROOT = Path(pro_engine.__file__).parent.parent
ASKING = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def run(tiny, monkeypatch, tmp_path):
    """run(*arguments) -> the finished command; the model is tiny and the working folder is empty."""
    return runner(tiny, monkeypatch, tmp_path)


@pytest.fixture
def listening() -> Iterator[None]:
    """Signals are heard as in the command itself."""
    numbers = [*ASKING, signal.SIGHUP, signal.SIGALRM]
    before, hook = {number: signal.getsignal(number) for number in numbers}, sys.unraisablehook
    stop.listen()
    yield
    sys.unraisablehook = hook
    for number, handler in before.items():
        signal.signal(number, handler)


def caught(number: int) -> None:
    """As a library with `except BaseException` around it."""
    with contextlib.suppress(BaseException):
        signal.raise_signal(number)


def turned(number: int) -> None:
    """As a library that makes an error of its own of it."""
    try:
        signal.raise_signal(number)
    except BaseException as error:
        raise RuntimeError("the library's own words") from error


class Unraisable:
    """A destructor, where no exception can be raised."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        signal.raise_signal(self.number)


WAYS: list[Callable[[int], object]] = [signal.raise_signal, caught, turned, Unraisable]
PLACES = ["find_lens", "make_preview", "save_depth", "save_mesh", "PhotoReport"]
"""Names in the job at whose first call a signal comes."""


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("place", PLACES)
def test_a_signal_stops_the_job_whatever_a_library_makes_of_it(run, monkeypatch, place, way):
    number = ASKING[PLACES.index(place) % 2]
    for name in ("a.png", "b.png"):
        write_photo(Path("in", name))
    module = next(one for one in (photo_job, writing, shapes) if hasattr(one, place))
    real, calls = getattr(module, place), []

    def interrupted(*given: Any, **options: Any) -> Any:
        if not calls:
            calls.append(place)
            way(number)
        return real(*given, **options)

    monkeypatch.setattr(module, place, interrupted)
    done = run("infer", "in", "-o", "out", "--near", 1, "--far", 5, "--mesh", "glb", "--preview", "--json")
    assert done.exit_code == 128 + number
    document = json.loads(done.stdout)
    assert document["stopped"] is True and document["failures"] == document["results"] == []
    assert "Stopped: 0 of 2 photos are done." in done.stderr.splitlines()
    assert "Traceback" not in done.stderr and "Unexpected" not in done.stderr
    assert not [name for name in (names(Path("out")) if Path("out").exists() else ()) if name.startswith(".")]


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_signal_while_the_model_is_loaded(run, tiny, monkeypatch, way):
    def load(_: object) -> Any:
        way(signal.SIGTERM)
        return tiny.predictor()

    write_photo(Path("a.png"))
    monkeypatch.setattr("pro_engine.inference.load.load", load)
    done = run("infer", "a.png", "--json")
    assert done.exit_code == 143
    assert json.loads(done.stdout)["stopped"] is True
    assert re.fullmatch(r"Stopped: 0 of [01] photos are done\.", done.stderr.splitlines()[-1])
    done = run("bench", "--size", "64x64", "--tiles", "1x1")
    assert (done.exit_code, done.stderr.splitlines()[-1], done.stdout) == (143, "Stopped.", "")


def test_a_second_signal_within_a_second_changes_nothing(listening):
    with pytest.raises(KeyboardInterrupt), stop.working():  # noqa: PT012
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    assert stop.exit_code() == 143


def test_a_signal_in_an_import_waits_for_its_end(listening, monkeypatch, tmp_path):
    """PyTorch aborts the process at an exception in its own."""
    (tmp_path / "victim.py").write_text("import signal\nsignal.raise_signal(signal.SIGTERM)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    victim = None
    with pytest.raises(stop.Stopped), stop.working():  # noqa: PT012
        victim = importlib.import_module("victim")
        threading.Event().wait(60)
        pytest.fail("nothing came after the import")
    assert victim is not None and victim.whole
    assert stop.exit_code() == 143


def command(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8:strict", "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    program = [sys.executable, "-m", "pro_engine", *arguments]
    return subprocess.Popen(program, stdout=pipe, stderr=pipe, text=True, env=environment, **options)


def test_a_real_process_stops_and_goes_on_where_it_was(tmp_path):
    """Its photos have names that are no UTF-8."""
    try:
        for number in range(3):
            write_photo(tmp_path / "in" / f"caf\udce9 {number}.png")
    except OSError:
        pytest.skip("this disk takes only names in UTF-8")
    flags = ["infer", "in", "-o", "out", "--offline", "--refine", "none", "--near", "1", "--far", "5", "--stride", "9"]
    flags += ["--maps", "npz,exr", "--mesh", "obj,glb"]
    job = command(*flags, "--json", cwd=tmp_path)
    while job.poll() is None and not (tmp_path / "out").is_dir():
        pass
    job.send_signal(signal.SIGTERM)
    stdout, stderr = job.communicate()
    assert job.returncode == 143, stderr
    assert json.loads(stdout)["stopped"] is True
    assert not [name for name in names(tmp_path / "out") if name.startswith(".")]
    job = command(*flags, "--existing", "skip", cwd=tmp_path)
    stdout, stderr = job.communicate()
    assert job.returncode == 0, stderr
    assert [line.split(": ")[0] for line in stdout.splitlines()] == [
        rf"in/caf\udce9 {number}.png" for number in range(3)
    ]
    for number in range(3):
        name = f"caf\udce9 {number}"
        assert load_depth(tmp_path / f"out/{name}.depth.exr")[1].metadata["photo"] == f"{name}.png"
        assert "usemtl" in (tmp_path / f"out/{name}.mesh.obj").read_text(encoding="utf-8")
    cameras = json.loads((tmp_path / "out/intrinsics.json").read_text(encoding="utf-8"))["photos"]
    assert set(cameras) == {f"caf\udce9 {number}" for number in range(3)}


def test_a_signal_in_an_exec_has_the_exit_code_too(tmp_path):
    """Python would end such a process by SIGINT, as if nothing had caught the exception."""
    code = "import signal, sys\nfrom pro_engine.cli import stop\nstop.listen()\ntry:\n"
    code += "    with stop.working(): exec('signal.raise_signal(signal.SIGTERM)')\n"
    code += "except KeyboardInterrupt: sys.exit(stop.exit_code())"
    (tmp_path / "job.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "job"], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stderr) == (143, "")


def test_stdout_holds_what_we_say_and_nothing_else(tmp_path):
    code = "import os; from pro_engine.cli import output as c\n"
    code += "with c.own_stdout(): print('noise'); os.system('echo more'); c.print_json({'a': 'caf\\udce9'})\n"
    code += "print('later')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == '{\n  "a": "caf\\udce9"\n}\nlater\n', done.stderr
    assert json.loads(done.stdout.removesuffix("later\n")) == {"a": "caf\udce9"}
    assert sorted(done.stderr.split()) == ["more", "noise"]
