"""The mean of several grids of patches on one canvas, each patch weighted towards its middle.

As the research code of PRO averages them ("m2"): the plain grid and three more that are moved by half a patch. A weight
is 1 in the patch and 0 in a margin of a tenth of its sides, blurred, stretched to [0, 1], and a thousandth more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pro_engine.inference.tiling import Plan
from pro_engine.types import FloatMap

MOVES = ((False, False), (False, True), (True, False), (True, True))
"""Where the grids are moved by half a patch, down and right; the plain one first."""
_MARGIN, _BLUR, _LEAST = 0.1, 1 / 16, 1e-3


def patch_weights(size: tuple[int, int]) -> FloatMap:
    """(h, w): the weights of a patch's values in the mean."""
    down, across = (_profile(side) for side in size)
    inner = np.outer(down, across)
    low = inner.min()
    return np.asarray((inner - low) / (inner.max() - low) + _LEAST, np.float32)


def _profile(side: int) -> NDArray[np.float64]:
    """One side of the mask, blurred; the mask and the blur are separable."""
    margin, sigma = int(_MARGIN * side), max(int(_BLUR * side), 1)
    line = np.ones((1, side))
    line[:, :margin] = line[:, side - margin :] = 0
    return np.asarray(cv2.GaussianBlur(line, (2 * math.ceil(2 * sigma) + 1, 1), sigma))[0]


def divide(canvas: FloatMap, layouts: Sequence[Plan], weights: FloatMap) -> None:
    """Make the sum of all patches of all grids their mean, in place; row of patches by row, as the sum of the weights
    would be another canvas."""
    height = layouts[0].patch[0]
    for top in range(0, len(canvas), height):
        total = np.zeros((height, canvas.shape[1]), np.float32)
        for rows, columns in (layout.cell(index) for layout in layouts for index in range(layout.patches)):
            first, last = max(rows.start, top), min(rows.stop, top + height)
            if first < last:
                total[first - top : last - top, columns] += weights[first - rows.start : last - rows.start]
        canvas[top : top + height] /= total
