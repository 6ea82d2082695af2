"""Memory for arrays as large as a photo."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_LARGE_BYTES = 1 << 24


def large_empty(shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """As `np.empty`, but a large array has pages of its own.

    The system gets these back as soon as nothing holds the array. In the heap, where several threads take memory for
    other photos in between, it would leave gaps into which the next one does not fit.
    """
    count = int(np.prod(shape, dtype=np.int64))
    size = count * np.dtype(dtype).itemsize
    if size < _LARGE_BYTES:
        return np.empty(shape, dtype)
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    return np.frombuffer(mmap.mmap(-1, size, **private), dtype, count).reshape(shape)
