"""What our programs set for their whole process: what is free stays with it, until it is given back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

MEASURE = """
import ctypes, sys
from pathlib import Path
from pro_engine.jobs.kept_memory import give_memory_back, prepare

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
prepare()
before = resident_mb()
block = libc.malloc(200_000_000)
ctypes.memset(block, 1, 200_000_000)
libc.free(block)
kept = resident_mb() - before
give_memory_back()
print(kept, resident_mb() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc is told how to keep memory")
@pytest.mark.parametrize(("extra", "keeps"), [({}, True), ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False)])
def test_free_memory_stays_until_it_is_given_back_unless_the_environment_says_otherwise(extra, keeps):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    said = subprocess.run([sys.executable, "-c", MEASURE], env={**env, **extra}, check=True, stdout=subprocess.PIPE)
    kept_mb, left_mb = map(float, said.stdout.split())
    assert (kept_mb > 190) == keeps and left_mb < 10
