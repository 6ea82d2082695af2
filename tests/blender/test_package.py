"""The zip of the add-on: what goes in, what is refused, and what it leaves in a Blender that has had it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pro_engine

pytest.importorskip("tomllib", reason="Python 3.10 cannot read the manifest")

from blender_addon import package
from tests.blender.blenders import PYTHONS, facts, needs_blender

ADDON = Path(package.__file__).parent
INSIDE = Path(__file__).with_name("inside_package.py")
SPDX = "# SPDX-License-Identifier: GPL-3.0-or-later\n"
NEEDED = {"LICENSE", "__init__.py", "blender_manifest.toml", "engine/client.py", "ui/export.py"}


@pytest.fixture(scope="session")
def addon(tmp_path_factory):
    """The add-on as it is now."""
    left_out = shutil.ignore_patterns("__pycache__")
    return Path(shutil.copytree(ADDON, tmp_path_factory.mktemp("source") / "addon", ignore=left_out))


@pytest.fixture
def copy(addon, tmp_path):
    """A copy to change, whose files are younger."""
    return Path(shutil.copytree(addon, tmp_path / "addon", copy_function=shutil.copyfile))


@pytest.fixture(scope="session")
def zipped(addon, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zip")
    assert package.main(["--folder", str(addon), "--output", str(folder)]) == 0
    (path,) = folder.glob("*.zip")
    return path


def manifest(folder, old, new):
    path = folder / package.MANIFEST
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


# ---- the zip


def test_1_nothing_is_wrong_with_the_add_on():
    assert package.problems(ADDON, pro_engine.__version__) == []


@pytest.mark.parametrize("name", package.COPIES)
def test_copies_of_the_engine_s_files_have_the_same_bytes(name: str) -> None:
    assert (ADDON / name).read_bytes() == (ADDON.parent / package.COPIES[name]).read_bytes(), (
        "python blender_addon/package.py copies it"
    )


def test_the_same_files_give_the_same_bytes(zipped, copy, tmp_path):
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__" / "x.pyc").write_bytes(b"of another machine")
    (copy / ".DS_Store").write_bytes(b"of another machine")
    (copy / "engine" / "client.py").chmod(0o600)
    os.utime(copy / "engine" / "client.py", (0, 0))
    assert package.main(["--folder", str(copy), "--output", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / zipped.name).read_bytes() == zipped.read_bytes()


def test_1_the_zip_holds_the_add_on_and_its_licence_and_nothing_else(zipped):
    with zipfile.ZipFile(zipped) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert set(names) >= NEEDED and names == sorted(names)
    assert {Path(name).suffix for name in names} == {"", ".json", ".py", ".toml"}
    assert "package.py" not in names
    assert zipped.name == f"pro_depth-{pro_engine.__version__}.zip"
    assert zipped.stat().st_size <= 2_000_000


def test_1_a_large_zip_is_refused(copy, tmp_path, capsys):
    (copy / "picture.png").write_bytes(bytes(package.MAX_BYTES))
    assert package.main(["--folder", str(copy), "--output", str(tmp_path / "out")]) == 1
    assert "it may have 2000000" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_earlier_zip_stays_when_the_new_one_is_refused(copy, tmp_path, zipped, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / zipped.name).write_bytes(b"an earlier one")
    manifest(copy, '"SPDX:GPL-3.0-or-later"', '"GPL-3.0-or-later"')
    assert package.main(["--folder", str(copy), "--output", str(out)]) == 1
    assert "license is" in capsys.readouterr().err
    assert [file.read_bytes() for file in out.iterdir()] == [b"an earlier one"]


# ---- what our checks refuse


MANIFEST_FAULTS = {
    "licence without SPDX": ('"SPDX:GPL-3.0-or-later"', '"GPL-3.0-or-later"', "license is"),
    "another licence": ('"SPDX:GPL-3.0-or-later"', '"SPDX:Apache-2.0"', "license is"),
    "Blender too old": ('min = "4.2.0"', 'min = "4.1.0"', "blender_version_min is 4.1.0"),
    "wrong platform": ('type = "add-on"', 'type = "add-on"\nplatforms = ["linux-x86"]', "linux-x86 is unknown"),
    "unknown key": ('type = "add-on"', 'type = "add-on"\nauthor = "me"', "author is unknown"),
    "wheels": ('type = "add-on"', 'type = "add-on"\nwheels = ["./wheels/a.whl"]', "wheels are listed"),
    "clipboard": ("[permissions]", '[permissions]\nclipboard = "Copy"', "permission clipboard"),
    "another version": (f'version = "{pro_engine.__version__}"', 'version = "9.9.9"', "version is 9.9.9"),
    "no TOML": ("[permissions]", "[permissions", "cannot be read"),
}


@pytest.mark.parametrize("fault", MANIFEST_FAULTS)
def test_1_a_fault_of_the_manifest_that_blender_lets_pass_is_found(copy, fault):
    old, new, message = MANIFEST_FAULTS[fault]
    manifest(copy, old, new)
    (problem,) = package.problems(copy, pro_engine.__version__)
    assert message in problem and problem.endswith((".", ")."))


SOURCE_FAULTS = {
    "import torch": "torch may not be imported",
    "import pip": "pip may not be imported",
    "from pip._internal import main": "pip._internal.main may not be imported",
    "def f():\n    import pro_engine.cli.main": "pro_engine.cli.main may not be imported",
    "import socket": "socket may not be imported",
    "from urllib.request import urlopen": "urllib.request.urlopen may not be imported",
    "import http.client": "http.client may not be imported",
    "import importlib\nimportlib.import_module('torch')": "torch may not be imported",
    "__import__('ensurepip')": "ensurepip may not be imported",
    "import sys\nsys.path.insert(0, '/x')": "sys.path is Blender's",
    "import sys\ndel sys.modules['torch']": "sys.modules is Blender's",
    "from sys import path": "sys.path may not be imported",
    "bl_info = {}": "bl_info is for add-ons",
}


@pytest.mark.parametrize("source", SOURCE_FAULTS)
def test_1_a_source_that_connects_installs_or_meddles_is_found(copy, source):
    (copy / "extra.py").write_text(SPDX + source, "utf-8")
    (problem,) = package.problems(copy, pro_engine.__version__)
    assert SOURCE_FAULTS[source] in problem and problem.startswith(f"extra.py:{source.count(chr(10)) + 2}: ")


def test_a_source_without_licence_is_found(copy):
    (copy / "extra.py").write_text("from .engine import client\n", "utf-8")
    (problem,) = package.problems(copy, pro_engine.__version__)
    assert "extra.py:1: the first line" in problem


def test_a_missing_licence_text_is_found(copy):
    (copy / "LICENSE").unlink()
    (problem,) = package.problems(copy, pro_engine.__version__)
    assert "LICENSE is not the text" in problem


# ---- what Blender's tool refuses


TOOL_FAULTS = {
    "no maintainer": ('maintainer = "PRO developers"', ""),
    "no oldest Blender": ('blender_version_min = "4.2.0"', ""),
    "short version": (f'version = "{pro_engine.__version__}"', 'version = "0.1"'),
    "id with a dash": ('id = "pro_depth"', 'id = "pro-depth"'),
    "long tagline": ("A photo becomes", f"A photo {'really ' * 8}becomes"),
    "tagline ends in a stop": ("matches its camera", "matches its camera."),
    "permission ends in a stop": ("start the depth engine", "start the depth engine."),
    "unknown permission": ("[permissions]", '[permissions]\nmicrowave = "Warm up"'),
    "unknown tag": ('"Mesh"]', '"Mesh", "Depthmap"]'),
}


@needs_blender
@pytest.mark.parametrize("fault", TOOL_FAULTS)
def test_blenders_tool_refuses_the_other_faults(copy, tmp_path, python, fault, capsys):
    manifest(copy, *TOOL_FAULTS[fault])
    path = tmp_path / "faulty.zip"
    path.write_bytes(package.zip_of(copy))
    assert package.validate(path, python) == 1
    assert "refuses the zip" in capsys.readouterr().err


@needs_blender
def test_blenders_tool_refuses_an_add_on_without_init(copy, tmp_path, python):
    (copy / "__init__.py").unlink()
    path = tmp_path / "faulty.zip"
    path.write_bytes(package.zip_of(copy))
    assert package.validate(path, python) == 1


@needs_blender
def test_1_blenders_tool_finds_nothing_wrong(zipped, python, capsys):
    assert package.validate(zipped, python) == 0
    assert "Checked by Blender's own tool" in capsys.readouterr().out


@needs_blender
def test_blenders_own_build_takes_the_same_files(zipped, copy, tmp_path, python):
    tool = package.validator(python)[1]
    command = [python, tool, "build", "--source-dir", str(copy), "--output-filepath", str(tmp_path / "theirs.zip")]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    with zipfile.ZipFile(zipped) as ours, zipfile.ZipFile(tmp_path / "theirs.zip") as theirs:
        assert {name: ours.read(name) for name in ours.namelist()} == {
            name: theirs.read(name) for name in theirs.namelist()
        }


@needs_blender
def test_the_folder_is_a_repository_as_blender_makes_one(zipped, tmp_path, python):
    index = zipped.with_name(package.INDEX)
    shutil.copy(zipped, tmp_path)
    tool = package.validator(python)[1]
    command = [python, tool, "server-generate", "--repo-dir", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    ours, theirs = (json.loads(path.read_text("utf-8")) for path in (index, tmp_path / package.INDEX))
    assert ours == theirs and ours["data"][0]["website"].startswith("https://")
    assert index.parent.joinpath(ours["data"][0]["archive_url"]).read_bytes() == zipped.read_bytes()


def test_a_zip_without_any_blender_is_said_to_be_unchecked(zipped, monkeypatch, capsys):
    monkeypatch.setattr(package, "validator", lambda _: None)
    assert package.validate(zipped, None) == 0
    assert "Not checked by Blender's own tool" in capsys.readouterr().out


# ---- in a Blender


@needs_blender
def test_the_zip_can_be_installed_and_taken_away(zipped, python):
    seen = facts(python, INSIDE, "install", str(zipped))
    assert seen["enabled"] and "PRO_DEPTH_OT_export" in seen["classes"]
    assert set(seen["files"]) >= NEEDED
    assert seen["after"] == [False, [], False]


@needs_blender
def test_2_switching_it_on_and_off_ten_times_leaves_nothing(zipped, python):
    seen = facts(python, INSIDE, "leaks", str(zipped))
    assert "PRO_DEPTH_OT_export" in seen["adds"]
    assert seen["left by one"] == {} and seen["left by all"] == {}
    assert seen["grown"] < 8, "MiB in fifteen times"


LEAKS = """

_register = register


def register():
    import subprocess
    import threading
    import time

    import bpy

    _register()

    class PRO_DEPTH_OT_leak(bpy.types.Operator):
        bl_idname, bl_label = "pro_depth.leak", "Leak"

    bpy.utils.register_class(PRO_DEPTH_OT_leak)
    bpy.types.Scene.pro_leak = bpy.props.IntProperty()
    bpy.app.handlers.load_post.append(lambda *_: None)
    bpy.app.timers.register(lambda: 1.0, first_interval=1e6)
    bpy.types.VIEW3D_MT_view.append(lambda *_: None)
    bpy.data.images.new("leak", 8, 8)
    bpy.leak = open(__file__)
    bpy.context.window_manager.keyconfigs.addon.keymaps.new("Window").keymap_items.new("pro_depth.leak", "F6", "PRESS")
    threading.Thread(target=time.sleep, args=(600,), daemon=True, name="leak").start()
    subprocess.Popen(["cat"], stdin=subprocess.PIPE)  # ends with this process
"""


@needs_blender
@pytest.mark.skipif(sys.platform != "linux", reason="children are counted as Linux tells them")
def test_a_leak_of_any_kind_would_be_seen(copy, tmp_path, python):
    with (copy / "__init__.py").open("a", encoding="utf-8") as file:
        file.write(LEAKS)
    path = tmp_path / "leaky.zip"
    path.write_bytes(package.zip_of(copy))
    left = facts(python, INSIDE, "leak_once", str(path))
    kinds = {"classes", "operators", "properties", "handlers", "timers", "drawn", "keys", "threads", "children"}
    assert set(left) == kinds | {"datablocks", "files"}


def interpreters():
    """Every Python from 3.11 on that is found, this one and those of Blenders among them."""
    named = [shutil.which(f"python3.{minor}") for minor in range(11, 16)]
    paths = {path for path in (*named, *PYTHONS, sys.executable) if path}
    return sorted(path for path in paths if subprocess.run([path, "--version"], capture_output=True).returncode == 0)


@pytest.mark.parametrize("interpreter", interpreters())
def test_20_the_sources_are_python_for_every_interpreter_found(interpreter):
    program = "import sys, pathlib\nfor path in sys.argv[1:]: compile(pathlib.Path(path).read_bytes(), path, 'exec')"
    sources = [str(path) for path in package.files_of(ADDON) if path.suffix == ".py"]
    command = [interpreter, "-W", "error", "-c", program, *sources]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
