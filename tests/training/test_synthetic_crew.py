"""Rendering that survives: killed runs end in the same bytes, killed workers are replaced, no file is half-written."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("embreex")

from pro_engine.errors import DependencyError, FileError, InputError
from pro_engine.training.options import ScenesConfig
from pro_engine.training.scenes import generate
from pro_engine.training.scenes.generate import work_off

SIZE = (48, 36)
SCRIPT = """
import sys
from pathlib import Path
from pro_engine.training.options import ScenesConfig
from pro_engine.training.scenes.generate import render_dataset
out, count, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
render_dataset(ScenesConfig(out=out, count=count, size=(48, 36), seed=7, workers=workers, cameras_per_scene=2))
"""
TASKS = """
import os, signal, pathlib

def fragile(folder, number):
    mark = pathlib.Path(folder, str(number))
    first = not mark.exists()
    mark.touch()
    if number == 3 or (number == 1 and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 4:
        raise ValueError("number four")
    return number * number, os.getpid()
"""


def rendered(out: Path, count: int, size: tuple[int, int], **more: object) -> int:
    return generate.render_dataset(ScenesConfig(out=out, count=count, size=size, **more))


def start(folder: Path, count: int, workers: int) -> subprocess.Popen:
    clean = {key: value for key, value in os.environ.items() if key != "PRO_ENGINE_ASSETS"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(count), str(workers)], env=clean, stderr=subprocess.DEVNULL
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bytes(tmp_path):
    assert start(tmp_path / "whole", 4, 1).wait() == 0
    whole = contents(tmp_path / "whole")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "scene_000008_0.npz.123.tmp").write_bytes(b"half")
    for pictures, workers in ((1, 1), (4, 2)):  # killed at once when there are so many pictures
        run = start(broken, 4, workers)
        while run.poll() is None and len(list(broken.glob("*.npz"))) < pictures:
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
    assert start(broken, 4, 1).wait() == 0
    assert contents(broken) == whole
    assert {name.rsplit(".", 1)[-1] for name in whole} == {"done", "jpg", "npz", "json"}


@pytest.fixture
def fragile(tmp_path, monkeypatch):
    (tmp_path / "fragile_tasks.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    import functools

    import fragile_tasks

    return functools.partial(fragile_tasks.fragile, str(tmp_path))


def test_a_killed_worker_is_replaced_and_a_deadly_number_given_up(fragile):
    results = dict(work_off(fragile, [0, 1, 2, 3, 5], 2))
    assert results.pop(3) is None
    assert {number: result[0] for number, result in results.items()} == {0: 0, 1: 1, 2: 4, 5: 25}


def test_workers_are_replaced_after_their_share(fragile, monkeypatch):
    monkeypatch.setattr(generate, "SCENES_PER_WORKER", 2)
    processes = [result[1] for _, result in work_off(fragile, [5, 6, 7, 8], 1)]
    assert len(set(processes)) == 2 and processes[0] == processes[1]


def test_an_exception_of_a_worker_is_raised_and_no_worker_left(fragile):
    with pytest.raises(ValueError, match="number four"):
        list(work_off(fragile, [0, 4, 2], 2))
    import multiprocessing

    assert not multiprocessing.active_children()


def test_a_full_disk_is_one_sentence_and_leaves_no_half_file(tmp_path, monkeypatch):
    monkeypatch.delenv("PRO_ENGINE_ASSETS", raising=False)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, limits[1]))
    try:
        with pytest.raises(FileError, match=r"cannot write .*scene_000000_0\.npz: File too large; make room"):
            rendered(tmp_path, 3, SIZE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_a_folder_keeps_its_size_and_labels(tmp_path, monkeypatch):
    monkeypatch.delenv("PRO_ENGINE_ASSETS", raising=False)
    rendered(tmp_path, 1, SIZE, cameras_per_scene=1)
    settings = {"size": [48, 36], "glass": "surface", "kinds": [], "orbit": None}
    assert json.loads((tmp_path / "settings.json").read_text()) == settings
    begun = "begun with size 48x36, glass surface and kinds the usual ones, not .* 64x48"
    with pytest.raises(InputError, match=begun):
        rendered(tmp_path, 2, (64, 48))
    del settings["glass"], settings["kinds"], settings["orbit"]  # as earlier versions wrote it
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    assert rendered(tmp_path, 1, SIZE) == 0
    with pytest.raises(InputError, match=r"not .* glass behind"):
        rendered(tmp_path, 2, SIZE, glass="behind")
    with pytest.raises(InputError, match=r"not .* kinds office=3"):
        rendered(tmp_path, 2, SIZE, kinds=("office=3",))
    (tmp_path / "settings.json").write_text("[]")
    with pytest.raises(FileError, match="not a settings file"):
        rendered(tmp_path, 2, SIZE)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"size": (3841, 2160)}, "3841x2160; give width x height from 32x24 to 3840x2160"),
        ({"size": (36, 48)}, "not higher than wide"),
        ({"size": (31, 24)}, "31x24"),
        ({"count": 0}, "count is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"cameras_per_scene": 0}, "cameras_per_scene is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"glass": "front"}, "glass is 'front'; give surface or behind"),
        ({"kinds": ("moon=2",)}, "'moon' is no kind of scene; give one of room, street"),
        ({"kinds": ("office",)}, "kinds is 'office'; give NAME=FACTOR"),
        ({"kinds": ("office=-1",)}, "kinds is 'office=-1'"),
    ],
)
def test_values_outside_their_limits_are_refused_before_anything_is_written(tmp_path, values, sentence):
    with pytest.raises(InputError, match=sentence):
        rendered(**{"out": tmp_path / "new", "count": 1, "size": SIZE} | values)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="cannot use the folder"):
        rendered(tmp_path / "file" / "set", 1, SIZE)


def test_a_missing_renderer_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(generate.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"pip install 'pro-engine\[train\]'"):
        rendered(tmp_path, 1, SIZE)
