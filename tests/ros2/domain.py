"""A ROS domain that no other test run of this machine is in: nodes of two runs never meet."""

from __future__ import annotations

import fcntl
import functools
import os
import tempfile
from contextlib import suppress
from pathlib import Path

DOMAINS = range(10, 100)  # below 10 may be in use by people and benchmarks; above 101 ports run out


@functools.cache
def own_domain() -> int:
    """The number of a domain that is locked until this process ends.

    Raises:
        RuntimeError: every domain is locked by another run.
    """
    for domain in DOMAINS:
        path = Path(tempfile.gettempdir()) / f"pro-test-ros-domain-{domain}.lock"
        with suppress(OSError):  # a file of another user
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # locked by another run
                os.close(descriptor)
            else:
                return domain  # the file stays open, and so locked, until the process ends
    raise RuntimeError(f"All ROS domains from {DOMAINS[0]} to {DOMAINS[-1]} are in use by other test runs.")
