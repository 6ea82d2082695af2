"""Ctrl-C, and what else asks a program to end: a verb stops wherever it is, with one sentence and its exit code.

Exit codes are those of a shell: 128 and the number of the signal, 130 for SIGINT and 143 for SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A signal asks to stop.

    A KeyboardInterrupt itself, where it leaves an `exec` of a text, as dataclasses have, makes Python end by SIGINT
    whatever the exit code.
    """


_ASKING = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
_IMPORTED_S = 0.05
_AGAIN_S = 1.0  # a terminal and a parent that passes signals on may both send one

_asked: int | None = None
_raised_s = 0.0
_at_work: bool | None = None  # None before the first verb


def listen() -> None:
    """Have signals stop what is `working`. Before that they end the process at once, after it they change nothing.

    SIGINT is heard even where a shell made it ignored, as for jobs in the background of a script; SIGHUP is not, so
    that `nohup` does what it says.
    """
    for number in _ASKING:
        if number.name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _on_signal)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _on_alarm)
    sys.unraisablehook = _hide_interrupt


def ignore() -> None:
    """Signals change nothing more, nor while Python takes itself apart: all is done."""
    for number in _ASKING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def working() -> Iterator[None]:
    """Signals raise Stopped in the block; of several within a second only the first one does.

    In an import none is raised before its end: libraries in C++, such as PyTorch, abort at an exception there.
    """
    global _at_work, _asked
    _asked, _at_work = None, True
    try:
        yield
    finally:
        _at_work = False


def finish() -> None:
    """What is left of a verb takes no time and is not broken off: from here on signals change nothing."""
    global _at_work
    _at_work = False


def is_asked() -> bool:
    """Whether a signal came; a library may have caught the exception."""
    return _asked is not None


def is_stop(error: BaseException) -> bool:
    """Whether an error ended the work because a signal came; a library may have made one of its own of it."""
    return isinstance(error, KeyboardInterrupt) or is_asked()


def check() -> None:
    """Raise Stopped if a signal came."""
    if is_asked():
        raise Stopped


def exit_code() -> int:
    """Of a program that was stopped."""
    return 128 + (signal.SIGINT if _asked is None else _asked)


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _asked
    if _at_work is None:  # nothing is begun, and imports would take the exception for an error of theirs
        os.write(2, b"Stopped.\n")
        os._exit(128 + number)
    if _at_work and (_asked is None or time.monotonic() - _raised_s > _AGAIN_S):
        _asked = _asked or number
        _on_alarm(number, frame)


def _on_alarm(_number: int, frame: FrameType | None) -> None:
    """Raise Stopped, but for an import: then come again."""
    global _raised_s
    if not _at_work:
        return
    if _is_importing(frame):
        if hasattr(signal, "setitimer"):  # elsewhere `check` finds it
            signal.setitimer(signal.ITIMER_REAL, _IMPORTED_S)
        return
    _raised_s = time.monotonic()
    raise Stopped


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _hide_interrupt(unraisable: sys.UnraisableHookArgs) -> None:
    """Be silent about a KeyboardInterrupt where none can be raised, as in a destructor; `check` finds that it came."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
