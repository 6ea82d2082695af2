"""A real Blender window, and the add-on's own buttons pressed in it by simulated events.

Each scene is played once, in the tree of `window_tree.py`: by a Blender under Xvfb, with the engine of this environment
where a scene wants a real one. What the screen showed is kept as pictures in `out/blender-window`, and beside them as
JSON how many seconds things took: the longest gap of the main loop, idle and at work, and from a click to its effect.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image

from tests.blender.engines import engine_python, program
from tests.blender.window_tree import HOST, NotRun, command_in_tree, find_tree

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "out" / "blender-window"
PHOTO = ROOT / "docs" / "photos" / "drum.jpg"
PHOTO_HEIGHT = 1200
PLAYERS = ("window_driver.py", "window_hands.py", "window_runner.py")
LIMIT_S = 1200.0  # only matters where something is broken
FIGURES = ("idle", "watch", "button back", "engine gone", "killed", "end")
TREE_PYTHON = "/usr/bin/python3"
BAR_COLOUR = (71, 114, 179)  # of Blender's own theme
SLOW = """
ready()
for job in requests():
    for done in range(200, 400 if job["do"] == "infer" else 0):
        work(job, done=done, total=400, seconds_left=(400 - done) / 10)
        time.sleep(0.1)
"""
DEAF = """
ready()
for job in requests():
    if job["do"] == "infer":
        work(job, done=1, total=2)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)
"""
PATIENT = """
ready()
folder = os.path.dirname(os.path.abspath(__file__))
for job in requests():
    if job["do"] == "infer":
        work(job, done=1, total=2)
        while not os.path.exists(os.path.join(folder, "go")):
            time.sleep(0.1)
        disparity, picture = (os.path.join(folder, name) for name in ("made.disparity.npy", "made.picture.png"))
        finish(job, disparity=disparity, picture=picture, width=64, height=48)
"""

package = pytest.importorskip("blender_addon.package")  # needs Python 3.11

try:
    TREE = find_tree()
except NotRun as reason:
    pytest.skip(str(reason), allow_module_level=True)


def real_engine(folder):
    """The engine of this environment, as a program inside the tree: it goes back to the system's own root folder."""
    path = folder / "real-engine"
    path.write_text(f'#!/bin/sh\nexec chroot /{HOST} {shlex.quote(engine_python())} -m pro_engine "$@"\n')
    path.chmod(0o755)


def picture_of_screen(path):
    """A screen as X stores it: a header of big-endian numbers, a map of colours, then rows of blue, green, red, 0."""
    data = path.read_bytes()
    header = np.frombuffer(data, ">u4", 25)
    start, width, height, row, colours = (int(header[n]) for n in (0, 4, 5, 12, 19))
    pixels = np.frombuffer(data, np.uint8, height * row, start + 12 * colours).reshape(height, row // 4, 4)
    return Image.fromarray(np.ascontiguousarray(pixels[:, :width, 2::-1]))


def prepare(folder):
    """Put all that a scene needs into an empty folder."""
    (folder / "addon.zip").write_bytes(package.zip_of(ROOT / "blender_addon"))
    for player in PLAYERS:
        shutil.copy(Path(__file__).with_name(player), folder)
    shutil.copy(PHOTO, folder / "large.jpg")
    photo = Image.open(PHOTO)
    photo.thumbnail((PHOTO_HEIGHT, PHOTO_HEIGHT))
    photo.save(folder / "photo.jpg", quality=95)
    real_engine(folder)
    for name, body in (("slow", SLOW), ("deaf", DEAF), ("patient", PATIENT)):
        program(folder, body, name=f"{name}-engine", python=TREE_PYTHON)
    np.save(folder / "made.disparity.npy", np.linspace(1, 2, 48 * 64, dtype=np.float32).reshape(48, 64))
    photo.resize((64, 48)).save(folder / "made.picture.png")


def run_scene(scene, folder):
    """Play a scene; its facts, as "end" how it ended if it came to its end, and as "log" what the console said."""
    runner = ["python3", str(folder / "window_runner.py"), scene, str(folder), str(LIMIT_S)]
    command = command_in_tree(TREE, runner, shared=folder)
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S + 60, check=False)
    seen = {"log": done.stderr + "".join(path.read_text(errors="replace") for path in folder.glob("*.log"))}
    facts, end = folder / f"{scene}.json", folder / "end.json"
    return {**seen, **json.loads(facts.read_text()), "end": json.loads(end.read_text())} if facts.exists() else seen


@cache  # also of a scene that fails
def played(scene):
    """The facts of a scene, whose pictures are kept."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        seen = run_scene(scene, folder)
        PICTURES.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*.xwd"):
            picture_of_screen(path).save(PICTURES / f"{path.stem}.png")
        figures = {name: seen[name] for name in FIGURES if name in seen}
        (PICTURES / f"{scene}.json").write_text(json.dumps(figures, indent=1))
        return seen


def play(scene):
    """The facts of a scene that was played to its end."""
    seen = played(scene)
    assert "end" in seen, seen["log"]
    return seen


@pytest.fixture
def real():
    return play("estimate")


@pytest.fixture
def faulty():
    return play("faults")


def filled(name):
    """(H, W) bool: which pixels of a picture have the colour of a bar that is full."""
    return (np.asarray(Image.open(PICTURES / name)) == BAR_COLOUR).all(2)


# With the engine of this environment


def test_3_progress_rises_and_is_drawn(real):
    steps = real["progress"]
    assert len(steps) >= 3 and steps == sorted(set(steps)) and steps[-1] <= 1
    masks = [filled(f"estimate-2-progress-{n + 1}.png") for n in range(len(steps) - 1)]
    rows = (masks[-1] & ~masks[0]).any(axis=1)  # of the bar; its text hides some of it, but no column
    widths = [int(mask[rows].any(axis=0).sum()) for mask in masks]
    assert widths == sorted(widths)
    assert len(set(widths)) >= 0.7 * len(widths)  # on a busy machine a picture may come before the redraw
    assert "photo is done" in real["said"]


def test_3_a_result_is_one_step_of_undo_and_of_redo(real):
    assert real["result"]["objects"] == real["before"]["objects"] + 4
    assert real["undone"] == real["before"]
    assert real["redone"] == real["result"] and real["same mesh"]


@pytest.mark.parametrize("scene", ["estimate", "faults"])
def test_3_cancel_frees_the_button_and_ends_the_engine(scene):
    seen = play(scene)
    assert "pro_depth.estimate" in seen["buttons"] and "pro_depth.cancel" not in seen["buttons"]


def test_cancel_leaves_nothing(real, faulty):
    assert real["cancelled"] == real["redone"]
    assert faulty["after faults"] == faulty["before"]


def test_9_the_engine_dies_with_blender(real):
    assert real["engines"] == 1
    assert real["end"]["code"] == -signal.SIGKILL
    assert not real["end"]["left"]


# With engines that fail


def test_3_a_missing_engine_is_said_in_the_panel(faulty):
    assert "no-such-engine does not exist; choose in" in faulty["missing"]


def test_9_the_death_of_the_engine_is_said(faulty):
    assert faulty["at work"]
    assert "The engine was killed from outside" in faulty["said of killed"]


def test_no_bar_is_left_under_the_mouse(faulty):
    """It stays where Estimate was pressed, over the bar; Blender would fill the box that comes there."""
    assert abs(filled("faults-2-killed.png").sum() - filled("faults-1-missing.png").sum()) < 500


def test_undo_during_a_run_disturbs_neither(faulty):
    assert faulty["undone at work"] == faulty["before"] and faulty["still at work"]
    assert faulty["result after undo"] == faulty["result"] != faulty["before"]
    assert faulty["undone after undo"] == faulty["before"]


# Somebody who has never used it


def test_a_first_run_ends_with_the_photo_in_view():
    seen = play("first")
    assert seen["active"] == "photo surface" and seen["selected"] == 4
    assert "photo is done" in seen["said"] and "Cube stood before the camera" in seen["said"]
    assert seen["shown"] == ["SOLID", "FLAT", "TEXTURE", "CAMERA", "photo camera", "Standard"]
    assert seen["cube"] and not seen["cube again"]
    assert seen["undone"] == ["Camera", "AgX"], "one step of undo takes all of it back"
    assert seen["shown by the button"] == seen["shown"] and "Cube stood" in seen["said of the photo"]
    assert "Traceback" not in seen["log"]


# In both


@pytest.mark.parametrize("scene", ["estimate", "faults"])
def test_10_the_add_on_holds_up_nothing_while_the_engine_works(scene):
    watch = play(scene)["watch"]  # its seconds are figures, see above
    assert watch["calls"] > 10 and watch["beats"] > 10


@pytest.mark.parametrize("scene", ["estimate", "faults"])
def test_nothing_is_said_in_the_console_but_sentences(scene):
    assert "Traceback" not in play(scene)["log"]


def test_1_this_blenders_own_tool_finds_no_fault_in_the_zip(tmp_path):
    """Blender as a module does not look at the tags."""
    (tmp_path / "addon.zip").write_bytes(package.zip_of(ROOT / "blender_addon"))
    tool = ["blender", "--factory-startup", "--command", "extension", "validate", str(tmp_path / "addon.zip")]
    done = subprocess.run(
        command_in_tree(TREE, tool, shared=tmp_path), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0 and "Success" in done.stdout, done.stdout + done.stderr
