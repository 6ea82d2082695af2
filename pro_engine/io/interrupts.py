"""Ctrl-C while a library is at work that catches every exception, as trimesh does around its imports and others."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ASKING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)]


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end of the block where a signal came in it and its exception did not get through.

    Signals go to the handlers that are there, which decide what they raise, if anything. In other threads than the
    main one, which signals do not reach, the block runs as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    raised = False
    before = {int(number): handler for number in _ASKING if callable(handler := signal.getsignal(number))}

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal raised
        try:
            before[number](number, frame)
        except BaseException:
            raised = True
            raise

    for number in before:
        signal.signal(number, pass_on)
    try:
        yield
    except Exception as error:
        if raised:
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if raised:
        raise KeyboardInterrupt
