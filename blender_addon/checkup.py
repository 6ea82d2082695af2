# SPDX-License-Identifier: GPL-3.0-or-later
"""Test engine: what the engine says of itself, asked beside Blender. Kept in this module, never in the file."""

from __future__ import annotations

from .client import EngineCheck, EngineInfo
from .errors import UserError
from .job import Notice
from .locate import engine_command

info: EngineInfo | None = None  # the last good answer
notice: Notice | None = None
_check: EngineCheck | None = None


def busy() -> bool:
    """Whether an answer is waited for."""
    return _check is not None


def doing() -> str:
    """A few words while it is waited for: the devices take longest to tell."""
    version = _check.version if _check is not None else ""
    return f"Engine {version} answers, and looks at its devices ..." if version else "Starting the engine ..."


def begin(engine: str) -> None:
    """Ask an engine, as `locate.engine_command` takes it; `notice` tells if it cannot be started."""
    global _check, notice
    notice = None
    try:
        _check = EngineCheck(engine_command(engine))
    except UserError as error:
        end(str(error), is_error=True)


def poll() -> bool:
    """Whether more comes; afterwards `notice` tells the answer. Never waits."""
    global info
    if _check is None:
        return False
    try:
        answer = _check.poll()
    except UserError as error:
        end(str(error), is_error=True)
        return False
    if answer is None:
        return True
    info = answer
    models = ", ".join(f"{model['name']} ({model['weights']})" for model in info.models)
    end(f"Engine {info.version} on {info.device}, Python {info.python}, PyTorch {info.torch}. Models: {models}.")
    return False


def end(text: str = "", *, is_error: bool = False) -> None:
    """Wait for no answer any more, and say why not."""
    global _check, notice
    if _check is not None:
        _check.close()
    _check, notice = None, Notice(text, is_error) if text else None


def forget() -> None:
    """As if nothing had been asked."""
    global info
    end()
    info = None
