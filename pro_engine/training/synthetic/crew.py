"""Worker processes that take scenes one at a time, so that it is known which scene a worker that dies was at."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import TypeVar

import cv2

Result = TypeVar("Result")
Task = Callable[[int], Result]

NUMBERS_PER_WORKER = 24
"""A worker is replaced after this many, which bounds what memory it can collect."""
DEATHS = 2
"""A number is given up when this many workers have died at it."""


class _Worker:
    """A process and the pipe to it."""

    def __init__(self, task: Task) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, task), daemon=True)
        self.process.start()
        theirs.close()  # from now on the pipe ends when the process does
        self.number: int | None = None
        self.served = 0

    def give(self, number: int) -> None:
        """Have it work at a number."""
        self.number = number
        self.served += 1
        with suppress(OSError):  # a worker that is dead already shows when its answer is read
            self.pipe.send(number)

    def stop(self, *, now: bool) -> None:
        """End it: at once, or when it has nothing more to do, as it must have."""
        if now:
            self.process.kill()
        self.pipe.close()
        self.process.join()


def work_off(task: Task[Result], numbers: Sequence[int], workers: int) -> Iterator[tuple[int, Result | None]]:
    """Yield (number, what `task` gave) as they come, in any order; None where workers died at a number twice.

    The task must be picklable. An exception that it raises is raised here. However this ends, no worker is left; when
    this process itself is killed, its workers end within moments.
    """
    waiting, deaths = deque(numbers), Counter[int]()
    crew: list[_Worker] = []
    try:
        while waiting or crew:
            while waiting and len(crew) < workers:
                crew.append(_Worker(task))
                crew[-1].give(waiting.popleft())
            ready = wait([worker.pipe for worker in crew])
            for worker in [worker for worker in crew if worker.pipe in ready]:
                number = worker.number
                assert number is not None
                try:
                    result, error = worker.pipe.recv()
                except (EOFError, OSError):
                    crew.remove(worker)
                    worker.stop(now=True)
                    deaths[number] += 1
                    if deaths[number] < DEATHS:
                        waiting.append(number)
                    else:
                        yield number, None
                    continue
                if error is not None:
                    raise error
                if waiting and worker.served < NUMBERS_PER_WORKER:
                    worker.give(waiting.popleft())
                else:
                    crew.remove(worker)
                    worker.stop(now=False)
                yield number, result
    finally:
        for worker in crew:
            worker.stop(now=True)


def _serve(pipe: Connection, task: Task) -> None:
    """What a worker does until its pipe is closed."""
    cv2.setNumThreads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a worker has to say goes through the pipe; Blender talks anyway
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            number = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send((task(number), None))
        except Exception as error:  # raised again by `work_off`
            pipe.send((None, error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
