# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the engine is: what the user chose, the variable PRO_ENGINE, or `pro-engine` on the PATH."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ..errors import EngineError

VARIABLE = "PRO_ENGINE"
PROGRAM = "pro-engine"


def engine_command(chosen: str = "", environment: Mapping[str, str] | None = None) -> list[str]:
    """The command that starts the engine; an absolute path comes first.

    Args:
        chosen: a Python that has the engine, the program `pro-engine`, or the folder of a virtual environment; "" for
            what the environment says.
        environment: of this process unless given.

    Raises:
        EngineError: nothing is there, or nothing that can be started.
    """
    environment = os.environ if environment is None else environment
    set_before = environment.get(VARIABLE, "")
    for said, where in ((chosen, "the add-on's preferences"), (set_before, f"the variable {VARIABLE}")):
        if text := said.strip().strip("\"'"):  # Windows copies paths with quotes
            return _command(text, where, environment.get("PATH"))
    if found := shutil.which(PROGRAM, path=environment.get("PATH")):
        return _serving(Path(found))
    raise EngineError("No engine was found; install pro-engine, and choose its Python in the add-on's preferences.")


def _command(text: str, where: str, search_path: str | None) -> list[str]:
    path = Path(os.path.expanduser(text))
    if path.is_dir():
        inside = ("bin/python", "Scripts/python.exe", f"bin/{PROGRAM}", "python.exe")
        program = next((path / name for name in inside if (path / name).is_file()), None)
        if program is None:
            raise EngineError(f"There is no Python in {path}; choose in {where} a Python that has pro-engine.")
        path = program
    elif not path.exists():
        found = shutil.which(text, path=search_path) if path.name == text else None
        if found is None:
            raise EngineError(f"{path} does not exist; choose in {where} a Python that has pro-engine.")
        path = Path(found)
    if not os.access(path, os.X_OK):
        raise EngineError(f"{path} is no program that can be started; choose in {where} a Python that has pro-engine.")
    return _serving(path)


def _serving(program: Path) -> list[str]:
    """Not resolved: the Python of a virtual environment is a link, and what it links to knows nothing of it."""
    path = os.path.abspath(program)
    is_python = program.name.lower().startswith(("python", "pypy"))
    return [path, "-m", "pro_engine", "serve"] if is_python else [path, "serve"]
