"""Memory of large arrays."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from pro_engine.geometry.large import large_empty


@pytest.mark.parametrize("shape", [(0, 5), (3, 4), (2048, 2049), (2000, 3000, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_they_are_arrays_like_any_other(shape, dtype):
    array = large_empty(shape, dtype)
    assert array.shape == shape and array.dtype == dtype and array.flags.c_contiguous and array.flags.writeable
    array[...] = 3
    assert array.sum(dtype=np.int64) == 3 * np.prod(shape)
    assert np.array_equal(pickle.loads(pickle.dumps(array)), array)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell")
def test_what_is_freed_goes_back_to_the_system():
    def held() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    array = large_empty((2**26,), np.uint8)
    array[...] = 1
    full = held()
    del array
    assert held() < full - 2**25
