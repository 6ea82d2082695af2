"""Blenders as modules: `PRO_BPY_PYTHON` names the interpreters that have one, as paths like PATH does.

Without it the interpreter that runs the tests is tried. A script that runs inside prints facts as JSON on its last line
and ends by `os._exit`: a Blender module may hang or crash where an interpreter ends.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

LIMIT_S = 1800  # only matters where something is broken
PYTHONS = [path for path in os.environ.get("PRO_BPY_PYTHON", "").split(os.pathsep) if path]
if not PYTHONS and importlib.util.find_spec("bpy"):
    PYTHONS = [sys.executable]

needs_blender = pytest.mark.skipif(
    not PYTHONS, reason="Blender as a module is not installed; let PRO_BPY_PYTHON name a Python that has it"
)
posix = pytest.mark.skipif(os.name == "nt", reason="fake engines are scripts with a #! line")


def facts_of(script: str) -> Callable[..., Any]:
    """facts(python, check, *arguments) of a script beside this file."""
    return lambda python, check, *arguments: facts(python, Path(__file__).with_name(script), check, *arguments)


@cache
def facts(python: str, script: Path, check: str, *arguments: str) -> Any:
    """What one check of a script prints, run once for all tests, in a folder and with user resources of its own."""
    with TemporaryDirectory() as folder:
        resources = {"BLENDER_USER_RESOURCES": str(Path(folder) / "resources"), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [python, str(script), check, folder, *arguments]
        done = subprocess.run(
            command, env={**os.environ, **resources}, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
