"""Items taken in a thread of their own while those before them are used."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Generator, Iterable
from queue import SimpleQueue
from typing import Any, TypeVar

from pro_engine.errors import CancelledError

Item = TypeVar("Item")

_END = object()


def ahead(items: Iterable[Item], count: int, *, breaks_off: bool = False) -> Generator[Item, None, None]:
    """The items in their order, taken in a thread of their own, up to `count` of them before they are asked for.

    An error there is raised here, after the items before it. Closing the iterator waits for the item under way;
    breaks_off: raises CancelledError there at the next step of Python first, as one may take a minute.
    """
    asked, stopped = threading.Semaphore(count), threading.Event()
    ready: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
    # No thread that a signal kept from being stopped may keep the program.
    thread = threading.Thread(target=_take, args=(items, asked, stopped, ready), daemon=True)
    item: Any = None
    try:
        thread.start()
        while item is not _END:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is not _END:
                asked.release()
                yield item
                item = None  # its memory may go while the next one is waited for
    finally:
        stopped.set()
        asked.release()
        if thread.ident is not None:
            if breaks_off and item is not _END and thread.is_alive():  # else its number may be that of another by now
                number, error_type = ctypes.c_ulong(thread.ident), ctypes.py_object(CancelledError)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(number, error_type)
            thread.join()


def _take(
    items: Iterable[Item],
    asked: threading.Semaphore,
    stopped: threading.Event,
    ready: SimpleQueue[tuple[Any, BaseException | None]],
) -> None:
    """What the thread does: an item whenever one is asked for, then `_END`, also behind an error."""
    iterator, item = iter(items), None
    try:
        while item is not _END:
            item = None  # its memory is that of whoever uses it
            asked.acquire()
            if stopped.is_set():
                return
            item = next(iterator, _END)
            ready.put((item, None))
    except BaseException as error:  # raised again where the items are used
        ready.put((_END, error))
    finally:
        getattr(iterator, "close", bool)()
