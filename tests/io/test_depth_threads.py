"""Maps that are read in several threads at once, as jobs on folders do."""

from __future__ import annotations

import ast
import gc
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pro_engine import load_depth, save_depth


class Gone:
    """Takes a while to be collected, so that another thread may have its turn."""

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        for _ in range(200):
            pass


def below(depth: int, work: Callable[[], None]) -> None:
    """Call something from as many functions."""
    work() if depth == 0 else below(depth - 1, work)


def test_threads_may_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy parses headers with `ast`, whose count of nested nodes CPython 3.11 keeps for all threads together. Garbage
    that is collected in the midst of it hands over to another thread."""
    path = tmp_path / "a.npz"
    save_depth(path, np.ones((8, 8), np.float32), quantity="depth")
    parse, wrong = ast.literal_eval, []

    def parse_among_garbage(text: str) -> object:
        gc.disable()
        Gone()
        gc.set_threshold(20)
        gc.enable()
        return parse(text)

    def read() -> None:
        for _ in range(200):
            try:
                load_depth(path)
            except Exception as error:
                wrong.append(str(error))

    monkeypatch.setattr(ast, "literal_eval", parse_among_garbage)
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    threads = [threading.Thread(target=below, args=(30 * number, read)) for number in range(4)]
    try:
        sys.setswitchinterval(1e-6)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
    assert not wrong
