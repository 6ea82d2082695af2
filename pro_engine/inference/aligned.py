"""Resizing with aligned corners, as the published PRO does it: the centres of the corner pixels stay where they are.

Pictures are read row by row, so that one of 100 megapixels never becomes an array of floats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.types import FloatMap, ImageArray

Rows = Callable[[int, int, int], NDArray[np.float32]]
"""rows(y, x0, x1): columns x0 to x1 of row y of an array (H, W, C), float32 (x1 - x0, C)."""

_A = -0.75  # of torch's bicubic kernel


def plain_rows(array: NDArray[Any]) -> Rows:
    """The rows of an array (H, W, C) as they are."""
    return lambda y, x0, x1: array[y, x0:x1].astype(np.float32)


def enlarged_rows(image: ImageArray, size: tuple[int, int]) -> Rows:
    """The rows of a picture enlarged bicubically to `size` (h, w), not clamped, so values leave 0..255 a little."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return plain_rows(image)
    (ys, down), (xs, across) = _cubic_taps(height, size[0]), _cubic_taps(width, size[1])

    def row(y: int, x0: int, x1: int) -> NDArray[np.float32]:
        lines = np.tensordot(down[y], image[ys[y]].astype(np.float32), 1)  # (W, C)
        return np.einsum("wk,wkc->wc", across[x0:x1], lines[xs[x0:x1]])  # (x1 - x0, C)

    return row


def sample_aligned(rows: Rows, box: tuple[int, int, int, int], size: tuple[int, int]) -> FloatMap:
    """Rows y0 to y1 and columns x0 to x1 resized bilinearly with aligned corners to `size`: (h, w, C) float32."""
    x0, y0, x1, y1 = box
    (top, bottom, fy), (left, right, fx) = _taps(y1 - y0, size[0]), _taps(x1 - x0, size[1])
    fx = fx[:, None]
    out = np.empty((*size, rows(y0, x0, x1).shape[1]), dtype=np.float32)
    for i in range(size[0]):
        row = rows(y0 + int(top[i]), x0, x1)
        if fy[i] > 0:
            row += fy[i] * (rows(y0 + int(bottom[i]), x0, x1) - row)
        out[i] = row[left] + fx * (row[right] - row[left])
    return out


def _taps(length: int, new_length: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For every output sample the two input samples it lies between and the share of the second one."""
    at = np.linspace(0.0, length - 1.0, new_length) if new_length > 1 else np.zeros(1)
    low = np.minimum(at.astype(np.intp), max(length - 2, 0))
    return low, np.minimum(low + 1, length - 1), (at - low).astype(np.float32)


def _cubic_taps(length: int, new_length: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For every output sample the four input samples around it, those beyond an end repeated, and their weights."""
    at = np.linspace(0.0, length - 1.0, new_length)
    low = np.floor(at)
    offsets = np.arange(-1, 3)
    d = np.abs((at - low)[:, None] - offsets)  # (new_length, 4)
    near, far = ((_A + 2) * d - (_A + 3)) * d * d + 1, ((_A * d - 5 * _A) * d + 8 * _A) * d - 4 * _A
    index = np.clip(low[:, None] + offsets, 0, length - 1).astype(np.intp)
    return index, np.where(d <= 1, near, far).astype(np.float32)
