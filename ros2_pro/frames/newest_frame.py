"""The thread that does the work, beside the executor: always on the newest frame, never on a queue of old ones.

Several cameras share the thread: each in its turn has its newest frame worked on.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
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


class Turns:
    """A thread that works for several workers, each in its turn; it is there as long as one of them is."""

    def __init__(self, *, name: str = "pro-worker") -> None:
        self.changed = threading.Condition()  # guards what the workers hold, too
        self._name = name
        self._workers: list[FrameWorker[Any]] = []  # the one whose turn is next first
        self._runs = False

    def join(self, worker: FrameWorker[Any]) -> None:
        """Give a worker turns."""
        with self.changed:
            self._workers.append(worker)
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def leave(self, worker: FrameWorker[Any]) -> None:
        """Give a worker no more turns. To be called with `changed` held."""
        if worker in self._workers:
            self._workers.remove(worker)
            self.changed.notify_all()

    def end(self) -> None:
        """Give nobody a turn any more; what is under way is left to end by itself."""
        with self.changed:
            self._workers.clear()
            self.changed.notify_all()

    def _run(self) -> None:
        while True:
            with self.changed:
                while (taken := self._take()) is None:
                    if not self._workers:
                        self._runs = False
                        return
                    rests = [rest for worker in self._workers if (rest := worker.rest_s()) is not None]
                    self.changed.wait(min(rests, default=None))
                worker, work = taken
                worker.busy = True
            try:
                work()
            finally:
                del work, taken  # not kept while waiting: a frame may be 100 MB
                with self.changed:
                    worker.busy = False
                    self.changed.notify_all()

    def _take(self) -> tuple[FrameWorker[Any], Callable[[], object]] | None:
        """The next worker that has something to do, which is the last from now on, and what it has to do."""
        for worker in self._workers:
            if (work := worker.take()) is not None:
                self._workers.remove(worker)
                self._workers.append(worker)
                return worker, work
        return None


class FrameWorker(Generic[Frame]):
    """Runs `process(frame)` in the thread of `turns`, on the newest frame that was put, and jobs in between.

    `process` must not raise. A frame put before the last one was taken replaces it. Without `turns` it has a thread of
    its own.
    """

    def __init__(self, process: Callable[[Frame], object], turns: Turns | None = None) -> None:
        self._process = process
        self._turns = turns or Turns()
        self._changed = self._turns.changed
        self._frame: Frame | None = None
        self._jobs: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._stopping = False
        self._earliest = 0.0
        self.busy = False  # whether it has its turn
        self._turns.join(self)

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
        """End and wait for what is under way; whether that has ended. Jobs that were not begun are cancelled."""
        with self._changed:
            self._stopping = True
            self._frame = None
            for _, future in self._jobs:
                future.cancel()
            self._jobs.clear()
            self._turns.leave(self)
            return self._changed.wait_for(lambda: not self.busy, timeout_s)

    def take(self) -> Callable[[], object] | None:
        """What is to be done now, if anything. To be called with `changed` of the turns held, as `rest_s`."""
        if self._jobs:
            return partial(_run_job, *self._jobs.popleft())
        if self._frame is None or self._earliest > time.monotonic():
            return None
        frame, self._frame = self._frame, None
        return partial(self._process, frame)

    def rest_s(self) -> float | None:
        """For how long the frame at hand has to wait; None without one."""
        return None if self._frame is None else max(0.0, self._earliest - time.monotonic())


def _run_job(job: Callable[[], Any], future: Future[Any]) -> None:
    try:
        future.set_result(job())
    except Exception as error:  # whoever asks for the result gets it
        future.set_exception(error)
