# SPDX-License-Identifier: GPL-3.0-or-later
"""Why the engine failed, in one sentence with the next step."""

from __future__ import annotations

import errno
import re
import signal
from collections.abc import Mapping, Sequence
from typing import Any

KILLED = 9
WINDOWS_NO_MEMORY = frozenset({0xC0000017, 0xC000012D})
WINDOWS_CRASH = 0xC0000000  # and above: exit codes that Windows gives
MAX_SAID = 120  # characters of what a program said
WRONG_PROGRAM = frozenset({errno.ENOEXEC, errno.EACCES, errno.EPERM})
_NO_MODULE = re.compile(r"No module named '?([\w.]+)'?")
_FOR_MEMORY = "use fewer patches, a smaller photo or a smaller model"


def sentence_of_start(program: str, error: OSError) -> str:
    """Why a program could not be started at all."""
    if isinstance(error, FileNotFoundError):
        return f"{program} does not exist or lacks its interpreter; choose the Python that has pro-engine."
    if error.errno in WRONG_PROGRAM or getattr(error, "winerror", None) == 193:
        return f"{program} is no program that can be started; choose the Python that has pro-engine."
    return f"{program} could not be started ({error.strerror or error}); free memory and try again."


def sentence_of_error(command: Sequence[str], event: Mapping[str, Any]) -> str:
    """What an event `error` says; the engine's own words, unless it is half installed."""
    message = " ".join(str(event.get("message") or "The engine failed and did not say why; try again.").split())
    module = lacking_module([message]) if event.get("kind") == "Bug" else ""
    return _lacking(command[0], module) if module else message


def sentence_of_end(
    command: Sequence[str],
    code: int,
    stderr: Sequence[str],
    noise: Sequence[str],
    *,
    ready: bool,
    out_of_memory: bool,
    full_folder: str = "",
) -> str:
    """Why a process ended.

    Args:
        command: that started it.
        code: its exit code, minus the signal that killed it.
        stderr, noise: the last lines it wrote there, and to stdout beside the protocol; the newest last.
        ready: whether it had been the engine at work.
        out_of_memory: whether the kernel has killed something meanwhile because memory ran out.
        full_folder: the folder of what it writes there, if its disk is full.
    """
    program = command[0]
    module = lacking_module(stderr)
    if not ready and module:
        return _lacking(program, module)
    if (code == -KILLED and out_of_memory) or code % 2**32 in WINDOWS_NO_MEMORY:
        return f"The memory did not suffice and the system ended the engine; {_FOR_MEMORY}."
    if code == -KILLED:
        return f"The engine was killed from outside, most likely because memory ran out; if so, {_FOR_MEMORY}."
    said = _said(stderr or noise)
    if code < 0 or code % 2**32 >= WINDOWS_CRASH:
        return f"The engine crashed ({_signal_name(code)}){said}; try again, then another device or a smaller photo."
    if full_folder:
        return f"The disk of {full_folder} is full, so the engine could not go on; make room there and try again."
    if not ready:
        return f"{program} is not the engine, it ended with code {code}{said}; choose the Python that has pro-engine."
    return f"The engine ended with exit code {code}{said}; try again."


def lacking_module(lines: Sequence[str]) -> str:
    """The module that Python did not find, "" if it complains of none."""
    return next((found[1] for line in reversed(lines) if (found := _NO_MODULE.search(line))), "")


def _lacking(program: str, module: str) -> str:
    if module == "pro_engine":
        return f"{program} has no pro_engine; install pro-engine there, or choose the Python that has it."
    if module.startswith("pro_engine."):
        return f"The engine of {program} is too old or not whole; install pro-engine there again."
    return f"The engine of {program} lacks {module}; install pro-engine there again."


def _said(lines: Sequence[str]) -> str:
    """The last line that is not empty, as an aside."""
    last = next((text for line in reversed(lines) if (text := line.strip())), "")
    if len(last) > MAX_SAID:
        last = last[: MAX_SAID - 1] + "…"
    return f', saying "{last}"' if last else ""


def _signal_name(code: int) -> str:
    if code >= 0:
        return f"exit code {code % 2**32:#010x}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
