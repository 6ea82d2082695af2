"""Folders of runs: those of a Blender that was killed are removed by the next one, and nobody else's are."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.blender.blenders import posix

FILE = Path(__file__).parents[2] / "blender_addon" / "work" / "folders.py"
OTHER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tests.blender.test_folders import folders
print(folders.new_folder(__import__("pathlib").Path(sys.argv[2])), flush=True)
time.sleep(600)
"""


def module():
    """The module without its package, which needs Blender."""
    spec = importlib.util.spec_from_file_location("blender_addon.work.folders", FILE)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


folders = module()


@pytest.fixture
def other(tmp_path):
    """Another session, and its folder."""
    root = str(FILE.parents[2])
    process = subprocess.Popen([sys.executable, "-c", OTHER, root, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.communicate()


@posix
def test_what_a_killed_session_left_goes_and_what_a_living_one_has_stays(tmp_path, other):
    process, theirs = other
    mine = folders.new_folder(tmp_path)
    foreign = tmp_path / "run-7"
    foreign.mkdir()
    (foreign / "weights.bin").write_bytes(b"of somebody else")
    folders.sweep(tmp_path)
    assert theirs.is_dir() and mine.is_dir() and foreign.is_dir()
    process.send_signal(signal.SIGKILL)
    process.wait()
    folders.sweep(tmp_path)
    assert not theirs.exists() and mine.is_dir() and (foreign / "weights.bin").exists()
    folders.drop_folder(mine)
    assert not mine.exists()


def test_a_folder_that_is_not_there_is_swept_without_a_word(tmp_path):
    folders.sweep(tmp_path / "none")
