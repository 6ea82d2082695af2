"""Pictures and maps at another size."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from pro_engine.geometry.large import large_empty
from pro_engine.types import BoolMap, FloatMap

AnyMap = TypeVar("AnyMap", bound=NDArray[Any])


def resized(array: AnyMap, size: tuple[int, int]) -> AnyMap:
    """`array` at `size` (h, w), edges to edges: linear along a side that grows; averaged along one that shrinks, but a
    picture in 8 bits that shrinks as a whole is filtered bicubically."""
    (h, w), (new_h, new_w) = array.shape[:2], size
    if (h, w) == (new_h, new_w):
        return array
    # OpenCV's area filter averages only when both sides shrink, so a mixed case goes one side at a time.
    if (new_h < h) != (new_w < w) and new_h != h and new_w != w:
        half = cv2.resize(array, (new_w, h) if new_w < w else (w, new_h), interpolation=cv2.INTER_AREA)
        return cast(AnyMap, cv2.resize(half, (new_w, new_h), interpolation=cv2.INTER_LINEAR))
    if array.dtype == np.uint8 and array.ndim == 3 and new_h <= h and new_w <= w:
        # Takes a third of the time of OpenCV's area filter, and Ψ sees as much or more.
        planes = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)[None]  # (1, 3, h, w), no copy
        smaller = F.interpolate(planes, size, mode="bicubic", antialias=True)
        return cast(AnyMap, smaller[0].permute(1, 2, 0).contiguous().numpy())
    way = cv2.INTER_AREA if new_h < h or new_w < w else cv2.INTER_LINEAR
    into = large_empty((new_h, new_w, *array.shape[2:]), array.dtype)
    return cast(AnyMap, cv2.resize(array, (new_w, new_h), dst=into, interpolation=way))


def filled(values: FloatMap, known: BoolMap) -> FloatMap:
    """A map (h, w) in which the value of the nearest known pixel is where nothing is known; as it is without any."""
    if known.all() or not known.any():
        return values
    _, nearest = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    found = np.zeros(int(nearest.max()) + 1, np.float32)
    found[nearest[known]] = values[known]
    return found[nearest]
