"""What the tests of bad input share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pro_engine.errors import ProEngineError


def check_refused(action: Callable[[Path], object], folder: Path, expected: str, kind: type[ProEngineError]) -> None:
    """`action` raises `kind` with a sentence that has `expected` and, after a semicolon, the next step."""
    with pytest.raises(kind) as caught:
        action(folder)
    message = str(caught.value)
    assert re.search(expected, message), message
    assert re.search(r"[;:] \w.*\w", message), f"no next step: {message}"
    assert "\n" not in message


@pytest.fixture
def refused() -> Callable[[Callable[[Path], object], Path, str, type[ProEngineError]], None]:
    """The check that an action on a folder is refused with a helpful sentence."""
    return check_refused
