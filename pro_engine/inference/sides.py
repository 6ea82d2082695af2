"""What the network for outlines says of a canvas, band by band, so that memory does not grow with the picture."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pro_engine.inference.resize import resized
from pro_engine.inference.surfaces import Sides
from pro_engine.models.outline_net import COARSE_CELL, MULTIPLE, OutlineNet
from pro_engine.types import FloatMap, ImageArray

REACHES_PX = (5, 15)
"""Distances within which a map's range is looked at."""
_TINY = 1e-4
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
        small = resized(soft, (size[0] // COARSE_CELL, size[1] // COARSE_CELL))
        colours = picture.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        inputs = (colours, patterns(refined, *limits[0]), patterns(small, *limits[1]))
        said = network(*(torch.from_numpy(each)[None].to(device) for each in inputs))
        inside = slice(top - rows.start, stop - rows.start)
        near_by, near_side = (each[0, inside, :width].float().cpu() for each in said)
        found.near_by[top:stop] = near_by.sigmoid().numpy()
        found.near_side[top:stop] = near_side.numpy()
    return found


def patterns(values: FloatMap, low: float, high: float) -> NDArray[np.float32]:
    """What the network sees of a map (h, w) whose 1st and 99th percentile are low and high: (4, h, w) its place in the
    range around, the share of that range that is close by, the range's size, and the place in the whole map."""
    extent = max(high - low, 1e-12)
    (_, span), (wide_floor, wide) = (_range(values, reach) for reach in REACHES_PX)
    around = wide + _TINY * extent
    size = 0.25 * np.log(wide / extent + 1e-3) + 0.5
    place = np.clip((values - low) / extent, -0.5, 1.5) - 0.5
    return np.stack(((values - wide_floor) / around - 0.5, span / around - 0.5, size, place)).astype(np.float32)


def _range(values: FloatMap, reach: int) -> tuple[FloatMap, FloatMap]:
    """Least value within a square of `reach` pixels, and the largest one less that."""
    window = np.ones((2 * reach + 1,) * 2, np.uint8)
    low = np.asarray(cv2.erode(values, window), np.float32)
    return low, np.asarray(cv2.dilate(values, window), np.float32) - low


def _limits(values: FloatMap) -> tuple[float, float]:
    low, high = np.percentile(values[::4, ::4], (1, 99))
    return float(low), float(high)


def _grown(array: NDArray, size: tuple[int, ...]) -> NDArray:
    """With its last rows and columns repeated, up to a size (h, w)."""
    (h, w), (height, width) = array.shape[:2], size
    return np.pad(array, ((0, height - h), (0, width - w)) + ((0, 0),) * (array.ndim - 2), mode="edge")
