"""Outlines at the photo's own resolution: enlarging made slopes of steps, and the photo knows where they end."""

from __future__ import annotations

import numpy as np
import torch

from pro_engine.models.outlines import snap_to_outlines
from pro_engine.types import FloatMap, ImageArray

TILE_PX = 384
MIN_ZOOM = 1.25
STEP = 0.02
"""A tile in which no neighbours on the canvas differ by this share of the map's range has no outline."""


def sharpen(disparity: FloatMap, image: ImageArray, canvas: tuple[int, int], device: torch.device) -> None:
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
    for top in range(0, height, TILE_PX):
        stop = min(top + TILE_PX, height)
        band = np.concatenate((above, disparity[top : stop + halo]))
        first = top - len(above)
        above = disparity[max(first, stop - halo) : stop].copy()
        for left in range(0, width, TILE_PX):
            right = min(left + TILE_PX, width)
            columns = slice(max(0, left - halo), right + halo)
            tile = band[:, columns]
            if not _has_outline(tile[::every, ::every], step):
                continue
            colours = image[first : first + len(band), columns]
            snapped = snap_to_outlines(_maps(tile, device), _maps(colours, device) / 255, strides)[0, 0].cpu().numpy()
            inside = snapped[top - first :, left - columns.start :]
            disparity[top:stop, left:right] = inside[: stop - top, : right - left]


def _has_outline(values: FloatMap, step: float) -> bool:
    return any(values.shape[axis] > 1 and np.abs(np.diff(values, axis=axis)).max() > step for axis in (0, 1))


def _maps(array: FloatMap | ImageArray, device: torch.device) -> torch.Tensor:
    """(h, w) or (h, w, C) -> (1, C, h, w) float32."""
    channels = np.ascontiguousarray(np.atleast_3d(array).transpose(2, 0, 1))
    return torch.from_numpy(channels).to(device)[None].float()
