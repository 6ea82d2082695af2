"""A ROS domain that no other test run of this machine is in: nodes of two runs never meet."""

from __future__ import annotations

import fcntl
import functools
import tempfile
from pathlib import Path
from typing import TextIO

DOMAINS = range(10, 100)  # below 10 may be in use by people and benchmarks; above 101 ports run out
_held: list[TextIO] = []  # an open file holds its lock, so this one is never closed before the process ends


@functools.cache
def own_domain() -> int:
    """The number of a domain that is locked until this process ends.

    Raises:
        RuntimeError: every domain is locked by another run.
    """
    for domain in DOMAINS:
        path = Path(tempfile.gettempdir()) / f"pro-test-ros-domain-{domain}.lock"
        try:
            file = path.open("a")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # locked by another run, or a file of another user
            continue
        _held.append(file)
        return domain
    raise RuntimeError(f"All ROS domains from {DOMAINS[0]} to {DOMAINS[-1]} are in use by other test runs.")
