"""What the network for outlines says of a canvas, band by band, so that memory does not grow with the picture."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pro_engine.inference.surfaces import Sides
from pro_engine.models.outline_net import COARSE_CELL, MULTIPLE, OutlineNet, patterns
from pro_engine.types import FloatMap, ImageArray

_BAND_PX = 512
_HALO_PX = 64


def see(network: OutlineNet, canvas: FloatMap, coarse: FloatMap, image: ImageArray, device: torch.device) -> Sides:
    """canvas (h, w) refined, coarse (h, w) the coarse map there, image (h, w, 3) uint8 RGB."""
    height, width = canvas.shape
    found = Sides(np.empty_like(canvas), np.empty_like(canvas))
    limits = [_limits(values) for values in (canvas, coarse)]
    for top in range(0, height, _BAND_PX):
        stop = min(top + _BAND_PX, height)
        rows = slice(max(0, top - _HALO_PX), min(stop + _HALO_PX, height))
        size = tuple(-(-side // MULTIPLE) * MULTIPLE for side in (rows.stop - rows.start, width))
        picture, refined, soft = (_grown(each[rows], size) for each in (image, canvas, coarse))
        small = cv2.resize(soft, (size[1] // COARSE_CELL, size[0] // COARSE_CELL), interpolation=cv2.INTER_AREA)
        colours = picture.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        inputs = (colours, patterns(refined, *limits[0]), patterns(small, *limits[1]))
        said = network(*(torch.from_numpy(each)[None].to(device) for each in inputs))
        inside = slice(top - rows.start, stop - rows.start)
        near_by, near_side = (each[0, inside, :width].float().cpu() for each in said)
        found.near_by[top:stop] = near_by.sigmoid().numpy()
        found.near_side[top:stop] = near_side.numpy()
    return found


def _limits(values: FloatMap) -> tuple[float, float]:
    low, high = np.percentile(values[::4, ::4], (1, 99))
    return float(low), float(high)


def _grown(array: NDArray, size: tuple[int, ...]) -> NDArray:
    """With its last rows and columns repeated, up to a size (h, w)."""
    (h, w), (height, width) = array.shape[:2], size
    return np.pad(array, ((0, height - h), (0, width - w)) + ((0, 0),) * (array.ndim - 2), mode="edge")
