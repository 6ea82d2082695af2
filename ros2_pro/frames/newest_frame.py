"""The thread that does the work, beside the executor: always on the newest frame, never on a queue of old ones."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

Frame = TypeVar("Frame")


def in_thread(job: Callable[[], Any], name: str) -> Future[Any]:
    """Run a job in a thread of its own, which does not keep the process; the future has its result or exception."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(job())
        except BaseException as error:  # whoever asks for the result gets it
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


class FrameWorker(Generic[Frame]):
    """Runs `process(frame)` in a thread of its own, on the newest frame that was put, and jobs in between.

    `process` must not raise. A frame put before the last one was taken replaces it.
    """

    def __init__(self, process: Callable[[Frame], None], *, name: str = "pro-worker") -> None:
        self._process = process
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._stopping = False
        self._earliest = 0.0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called: what is under way should end soon."""
        return self._stopping

    def put(self, frame: Frame) -> bool:
        """Give the newest frame; whether it replaced one that nobody looked at."""
        with self._changed:
            replaced = self._frame is not None
            self._frame = frame
            self._changed.notify_all()
        return replaced

    def ask(self, job: Callable[[], Any]) -> Future[Any]:
        """Run a job between two frames; the future has its result or exception."""
        future: Future[Any] = Future()
        with self._changed:
            if self._stopping:
                future.cancel()
            else:
                self._jobs.append((job, future))
                self._changed.notify_all()
        return future

    def rest_until(self, earliest: float) -> None:
        """Take no frame before this time of `time.monotonic`, to bound the rate."""
        with self._changed:
            self._earliest = earliest

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to end and wait; whether it did. Jobs that were not begun are cancelled."""
        with self._changed:
            self._stopping = True
            self._frame = None
            for _, future in self._jobs:
                future.cancel()
            self._jobs.clear()
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._wait()
                if self._stopping:
                    return
                if self._jobs:
                    job, future = self._jobs.popleft()
                    frame = None
                else:
                    frame, self._frame = self._frame, None
            if frame is not None:
                self._process(frame)
                del frame  # not kept while waiting: it may be 100 MB
                continue
            try:
                future.set_result(job())
            except Exception as error:
                future.set_exception(error)

    def _wait(self) -> None:
        """Until there is a job, a frame whose time has come, or the end."""
        while not self._stopping and not self._jobs:
            rest = self._earliest - time.monotonic() if self._frame is not None else None
            if rest is not None and rest <= 0:
                return
            self._changed.wait(rest)
