"""What our own programs set for their whole process; a library that others import must leave it alone.

Imports nothing heavy: it is called before torch is imported.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's malloc.h
_KEPT_BYTES = 2**30


def prepare() -> None:
    """Make threads wait, and memory stay, as suits networks on a CPU; what the environment says counts more."""
    # Threads of torch that wait by spinning steal the cores from each other as soon as anything else runs on the
    # machine: more than ten times slower on two busy cores. Those that sleep at once are slow on a quiet machine. So
    # they spin for some microseconds. It must be said before torch is imported.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    # glibc takes every large map from the system and gives it back at once, and the system clears each page anew: with
    # a large model that is a third of the time. Now what is free stays, up to a limit.
    libc = _glibc()
    if libc is not None and not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_memory_back() -> None:
    """Return memory that is free to the system, where `prepare` made it stay."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> Any:
    """The C library of this process, None where it is another one."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
