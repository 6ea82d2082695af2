# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the engine is: what the user chose, the variable PRO_ENGINE, `pro-engine` on the PATH, or where the page of the
installation puts it. A Blender that is started from a desktop has a short PATH.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ..errors import NoEngineError

VARIABLE = "PRO_ENGINE"
PROGRAM = "pro-engine"
HOMES = ("~/pro", "~/.local/bin", "/opt/homebrew/bin", "/usr/local/bin")  # looked into last
INSIDE = (f"bin/{PROGRAM}", f"Scripts/{PROGRAM}.exe", PROGRAM)  # of such a folder
PYTHONS = ("bin/python", "Scripts/python.exe", f"bin/{PROGRAM}", "python.exe")  # of an environment
LAUNCHERS = ("py", "pyw")  # of Python on Windows


def engine_command(chosen: str = "", environment: Mapping[str, str] | None = None) -> list[str]:
    """The command that starts the engine; an absolute path comes first.

    Args:
        chosen: a Python that has the engine, the program `pro-engine`, or the folder of a virtual environment; "" for
            what the environment says.
        environment: of this process unless given.

    Raises:
        NoEngineError: nothing is there, or nothing that can be started.
    """
    environment = os.environ if environment is None else environment
    set_before = environment.get(VARIABLE, "")
    for said, where in ((chosen, "the add-on's preferences"), (set_before, f"the variable {VARIABLE}")):
        if text := said.strip().strip("\"'"):  # Windows copies paths with quotes
            return _command(text, where, environment.get("PATH"))
    if found := shutil.which(PROGRAM, path=environment.get("PATH")):
        return _serving(Path(found))
    places = (Path(os.path.expanduser(home)) / name for home in HOMES for name in INSIDE)
    if installed := next((place for place in places if place.is_file() and os.access(place, os.X_OK)), None):
        return _serving(installed)
    raise NoEngineError("No engine was found; install pro-engine, and choose its Python in the add-on's preferences.")


def _command(text: str, where: str, search_path: str | None) -> list[str]:
    path = Path(os.path.expanduser(text))
    if path.is_dir():
        program = next((path / name for name in PYTHONS if (path / name).is_file()), None)
        if program is None:
            _refuse_dangling(*(path / name for name in PYTHONS))
            raise NoEngineError(f"There is no Python in {path}; choose in {where} a Python that has pro-engine.")
        path = program
    elif not path.exists():
        found = shutil.which(text, path=search_path) if path.name == text else None
        if found is None:
            _refuse_dangling(path)
            raise NoEngineError(f"{path} does not exist; choose in {where} a Python that has pro-engine.")
        path = Path(found)
    if not os.access(path, os.X_OK):
        raise NoEngineError(
            f"{path} is no program that can be started; choose in {where} a Python that has pro-engine."
        )
    return _serving(path)


def _refuse_dangling(*paths: Path) -> None:
    """NoEngineError: one is a link that leads nowhere here. A Blender in a sandbox sees no Python of the system."""
    for path in paths:
        if path.is_symlink() and not path.exists():
            raise NoEngineError(
                f"{path} is a link to {os.path.realpath(path)}, which this Blender does not see; in Flatpak and "
                "Snap use Blender from blender.org, or a Python in your home folder (uv venv --managed-python)."
            )


def _serving(program: Path) -> list[str]:
    """Not resolved: the Python of a virtual environment is a link, and what it links to knows nothing of it."""
    path = os.path.abspath(program)
    is_python = program.name.lower().startswith(("python", "pypy")) or program.stem.lower() in LAUNCHERS
    return [path, "-m", "pro_engine", "serve"] if is_python else [path, "serve"]
