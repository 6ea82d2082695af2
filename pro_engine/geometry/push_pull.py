# SPDX-License-Identifier: Apache-2.0
"""Values of some pixels continued to others, smoothly and at every scale.

Needs numpy alone and imports nothing of the project: the Blender add-on has a copy of this file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatMap = NDArray[np.float32]


def push_pull(
    shape: tuple[int, ...], source: NDArray[np.intp], values: FloatMap, weight: FloatMap, wanted: NDArray[np.intp]
) -> FloatMap:
    """Values made up from those around, the nearest foremost.

    Averages of weighted pixels in ever larger squares (push), enlarged again to fill what is empty (pull).
    Gortler, Grzeszczuk, Szeliski, Cohen: The Lumigraph, SIGGRAPH 1996, section 3.4.

    Args:
        shape: of the picture, (H, W).
        source: (N,) flat indices of the pixels that are known, each once; the others count for nothing.
        values: (N, C) of these.
        weight: (N,) of these, above 0 and at most 1.
        wanted: (M,) flat indices of pixels, each once.

    Returns:
        (M, C); a known pixel of weight 1 keeps its value.
    """
    known = values * weight[:, None]
    levels = [_halved_sparse(shape, source, known, weight)]
    while max(levels[-1][1].shape) > 1:
        levels.append(_sure(*(_halved(array) for array in levels[-1])))
    sums, weights = levels.pop()
    filled: FloatMap = sums / np.maximum(weights, np.float32(1e-12))[..., None]
    while levels:
        sums, weights = levels.pop()
        filled = sums + (1 - weights)[..., None] * _doubled(filled, weights.shape)
    result = _doubled_at(filled, shape, wanted)
    own = np.zeros(shape, np.float32)
    own.reshape(-1)[source] = weight
    result *= 1 - own.reshape(-1)[wanted][:, None]
    place = np.full(own.size, -1, np.int32)
    place[wanted] = np.arange(len(wanted))
    at = place[source]
    result[at[at >= 0]] += known[at >= 0]
    return result


def _sure(sums: FloatMap, weights: FloatMap) -> tuple[FloatMap, FloatMap]:
    """A level (H, W, C), (H, W), as sure as it can be once one pixel of it is."""
    over: FloatMap = np.maximum(weights, np.float32(1))
    return sums / over[..., None], weights / over


def _halved_sparse(
    shape: tuple[int, ...], source: NDArray[np.intp], known: FloatMap, weight: FloatMap
) -> tuple[FloatMap, FloatMap]:
    """The second level of what is known at `source` (N,) alone."""
    rows, columns = ((length + 1) // 2 for length in shape)
    row, column = np.divmod(source, shape[1])
    square = row // 2 * columns + column // 2
    count = rows * columns
    sums = np.empty((rows, columns, known.shape[1]), np.float32)
    for channel in range(known.shape[1]):
        sums[..., channel] = np.bincount(square, known[:, channel], count).reshape(rows, columns)
    return _sure(sums, np.bincount(square, weight, count).reshape(rows, columns).astype(np.float32))


def _halved(array: FloatMap) -> FloatMap:
    """Sums of 2x2, of (H, W, ...)."""
    rows, columns = array.shape[:2]
    if rows % 2 or columns % 2:
        array = np.pad(array, ((0, rows % 2), (0, columns % 2), *((0, 0),) * (array.ndim - 2)))
    array = array[::2] + array[1::2]
    result: FloatMap = array[:, ::2] + array[:, 1::2]
    return result


def _doubled(array: FloatMap, shape: tuple[int, ...]) -> FloatMap:
    """(H, W, C) twice as large, cut to `shape`, linear between the centres of the squares."""
    for _ in range(2):
        padded = np.concatenate([array[:1], array, array[-1:]])
        twice = np.empty((2 * len(array), *array.shape[1:]), np.float32)
        twice[::2] = 0.75 * array + 0.25 * padded[:-2]
        twice[1::2] = 0.75 * array + 0.25 * padded[2:]
        array = twice.swapaxes(0, 1)
    result: FloatMap = array[: shape[0], : shape[1]]
    return result


def _doubled_at(array: FloatMap, shape: tuple[int, ...], wanted: NDArray[np.intp]) -> FloatMap:
    """(M, C): as `_doubled`, of some pixels, by flat index."""
    near, far = [], []  # rows, then columns, of the squares that a pixel lies in and next to
    for at, length in zip(np.divmod(wanted, shape[1]), array.shape[:2], strict=True):
        near.append(at // 2)
        far.append((at // 2 + at % 2 * 2 - 1).clip(0, length - 1))
    array = np.ascontiguousarray(array)
    result: FloatMap = np.float32(0.5625) * array[near[0], near[1]]
    result += np.float32(0.1875) * array[near[0], far[1]]
    result += np.float32(0.1875) * array[far[0], near[1]]
    result += np.float32(0.0625) * array[far[0], far[1]]
    return result
