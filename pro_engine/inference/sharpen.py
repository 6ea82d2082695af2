"""Outlines at the photo's own resolution: enlarging made slopes of steps, and the photo knows where they end.

It is the filter of `pro_engine.models.outlines` in 8-bit colours, by OpenCV: a third of the time, and what differs is
below a thousandth of a map's range on average.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from pro_engine.models.outlines import COLOUR_SIGMA, CONTRAST_GAIN, HALF_OF_THE_NEIGHBOURS, pairs
from pro_engine.types import FloatMap, ImageArray

TILE_PX = 256
MIN_ZOOM = 1.25
STEP = 0.03
"""A tile in which no neighbours on the canvas differ by this share of the map's range has no outline."""

# Distance of two colours, the sum over red, green and blue by the root of 3, and the weight that it gives.
_DISTANCE = np.full((1, 3), 3**-0.5, dtype=np.float32)
_WEIGHT = np.exp(-0.5 * (np.arange(256) / 255 / COLOUR_SIGMA) ** 2).astype(np.float32)


def sharpen(disparity: FloatMap, image: ImageArray, canvas: tuple[int, int]) -> None:
    """Snap the outlines of a map to those of its picture, in place, where the map was enlarged.

    disparity (H, W) of the picture (H, W, 3) uint8 RGB; canvas: height and width of what it was enlarged from. Only
    tiles with an outline are worked on, so memory does not grow with the picture.
    """
    height, width = disparity.shape
    zoom = (height * width / (canvas[0] * canvas[1])) ** 0.5
    if zoom < MIN_ZOOM:
        return
    strides = tuple(2**k for k in range(round(np.log2(2 * zoom)), -1, -1))
    halo = sum(strides) + 1
    low, high = np.percentile(disparity[:: int(4 * zoom), :: int(4 * zoom)], (1, 99))
    step, every = STEP * float(high - low), round(zoom)
    above = disparity[:0].copy()  # the rows over a band as they were before the band over it was worked on

    def work(band: FloatMap, first: int, top: int, stop: int, left: int) -> None:
        right = min(left + TILE_PX, width)
        columns = slice(max(0, left - halo), right + halo)
        tile = band[:, columns]
        if _has_outline(tile[::every, ::every], step):
            inside = snap(tile, image[first : first + len(band), columns], strides)[top - first :]
            disparity[top:stop, left:right] = inside[: stop - top, left - columns.start :][:, : right - left]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for top in range(0, height, TILE_PX):
            stop = min(top + TILE_PX, height)
            band = np.concatenate((above, disparity[top : stop + halo]))
            first = top - len(above)
            above = disparity[max(first, stop - halo) : stop].copy()
            list(threads.map(partial(work, band, first, top, stop), range(0, width, TILE_PX)))


def snap(values: FloatMap, colours: ImageArray, strides: Sequence[int]) -> FloatMap:
    """values (h, w) and colours (h, w, 3) uint8 -> (h, w); see `snap_to_outlines`."""
    height, width = values.shape
    # Noise is no outline.
    colours = np.asarray(cv2.blur(np.ascontiguousarray(colours), (3, 3), borderType=cv2.BORDER_REPLICATE), np.uint8)
    for stride in strides:
        border = (stride, stride, stride, stride, cv2.BORDER_REPLICATE)
        padded, guide = cv2.copyMakeBorder(values, *border), cv2.copyMakeBorder(colours, *border)
        total, weights = padded.copy(), np.ones_like(padded)  # a pixel itself has weight 1
        for down, right in HALF_OF_THE_NEIGHBOURS:
            here, there = pairs(padded.shape, down * stride, right * stride)
            weight = cv2.LUT(cv2.transform(cv2.absdiff(guide[here], guide[there]), _DISTANCE), _WEIGHT)
            for one, other in ((here, there), (there, here)):
                cv2.accumulateProduct(weight, padded[other], total[one])
                cv2.accumulate(weight, weights[one])
        inside = slice(stride, stride + height), slice(stride, stride + width)
        mean, share = total[inside] / weights[inside], weights[inside]
        contrast = np.minimum(np.float32(CONTRAST_GAIN) - share * np.float32(CONTRAST_GAIN / 9), 1)
        values = values + contrast * (mean - values)
    return values


def _has_outline(values: NDArray[np.float32], step: float) -> bool:
    return any(values.shape[axis] > 1 and np.abs(np.diff(values, axis=axis)).max() > step for axis in (0, 1))
