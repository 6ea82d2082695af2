"""Which pixels are sky, from the estimate of a head on a frozen network (`models/photo_heads.py`) and the picture.

The estimate is made for each place alone and wavers within one sky. A sky is an even area, so the estimate is averaged
over even areas, up to the outlines of the picture. It is coarser than leaves and wires, so in the end colours decide.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from pro_engine.inference.resize import resized
from pro_engine.types import BoolMap, FloatMap, ImageArray

REACH = 0.18
"""How far it is averaged where the picture is even, as a share of the square root of its area."""
CONTRAST = 0.5
"""Sum of the differences of red, green and blue, each from 0 to 1, that counts as the whole reach."""
SURE = 4.0
"""Logits beyond are cut, so that a few places do not outvote an area."""
ROUNDS = 3
WINDOW = 0.036
"""To either side in which colours tell sky from what is before it, as a share of the square root of the area."""
NOISE = 2e-4
"""Variance of red, green and blue, each from 0 to 1, that tells nothing."""
LEAST_SHARE = 0.001
"""Areas below this share of the picture are none."""
LOW_SHARE = 0.3
"""Of an area at most, in the lowest quarter of the picture; what is spread over all of it has 0.25 there."""
NEAR, SURE_MEAN = 0.2, 0.68
"""Where the map lies by more than this share of its range before the farthest surfaces, a sky is believed from this
mean estimate on."""
THIN = 0.03
"""Up to this share of the square root of the picture's area a thing is thin, such as a lamp."""
THING = 0.03, 0.09
"""By so much of that range it lies before what is behind: up to the first nothing of it is left, from the second on
all."""
_FARTHEST, _NEAREST = 0.5, 99  # percentiles of surfaces, as a few undershoot at outlines
_COUNTED, _BAND, _TINY = 250_000, 256, 1e-12


def averaged(share: FloatMap, image: ImageArray) -> FloatMap:
    """The estimate averaged over even areas.

    It is the recursive domain transform of Gastal and Oliveira (2011): each pixel is mixed with its neighbour, the less
    the more their colours differ, along rows and columns in both directions, in rounds that reach half as far each.

    Args:
        share: (h, w) in [0, 1], how likely a pixel is sky.
        image: (h, w, 3) the picture at that size.

    Returns:
        (h, w) in [0, 1].
    """
    # Logits are what may be added up.
    limits = 1 / (1 + math.exp(SURE)), 1 / (1 + math.exp(-SURE))
    odds = np.clip(share, *limits).astype(np.float32)
    mixed = np.log(odds / (1 - odds))
    reach = REACH * math.sqrt(mixed.size)
    colours = image.astype(np.float32) / 255
    steps = [1 + reach / CONTRAST * np.abs(np.diff(colours, axis=axis)).sum(2) for axis in (0, 1)]
    for number in range(ROUNDS):
        sigma = reach * math.sqrt(3) * 2 ** (ROUNDS - number - 1) / math.sqrt(4**ROUNDS - 1)
        across, down = (np.exp(-math.sqrt(2) / sigma * one).astype(np.float32) for one in (steps[1].T, steps[0]))
        _mix(mixed.T, across)
        _mix(mixed, down)
    return np.asarray(1 / (1 + np.exp(-mixed)), np.float32)


def _mix(values: FloatMap, weights: FloatMap) -> None:
    """Mix each row (n, m) with the one before and then with the one after, in place; weights (n - 1, m)."""
    for row in range(1, len(values)):
        values[row] += weights[row - 1] * (values[row - 1] - values[row])
    for row in range(len(values) - 2, -1, -1):
        values[row] += weights[row] * (values[row + 1] - values[row])


def by_colours(share: FloatMap, image: ImageArray) -> FloatMap:
    """The estimate at the picture's size, as near to it as a linear function of the colour can be around each place.

    It is the guided filter of He, Sun and Tang (2013) in its fast form: the functions are fitted at the size of the
    estimate and enlarged.

    Args:
        share: (h, w) in [0, 1], how likely a pixel is sky.
        image: (H, W, 3) the picture, at any size.

    Returns:
        (H, W), for the most part in [0, 1].
    """
    reach = max(1, round(WINDOW * math.sqrt(share.size)))
    guide = resized(image, share.shape).astype(np.float32) / np.float32(255)
    mean, of_share = _blurred(guide, reach), _blurred(share, reach)
    together = _blurred(guide * share[..., None], reach) - mean * of_share[..., None]
    products = guide[..., :, None] * guide[..., None, :]  # (h, w, 3, 3)
    spread = _blurred(products.reshape(*share.shape, 9), reach).reshape(products.shape)
    spread += NOISE * np.eye(3, dtype=np.float32) - mean[..., :, None] * mean[..., None, :]
    slope = np.linalg.solve(spread, together[..., None])[..., 0].astype(np.float32)
    offset = of_share - (slope * mean).sum(2)
    slope, offset = (resized(_blurred(one, reach), image.shape[:2]) for one in (slope, offset))
    told = cv2.transform(slope * image, np.full((1, 3), 1 / 255, np.float32))  # summed up over the colours
    return np.asarray(told + offset, np.float32)


def _blurred(values: FloatMap, reach: int) -> FloatMap:
    """Of the square of `reach` to either side of each place, (h, w) or (h, w, C)."""
    return np.asarray(cv2.blur(values, (2 * reach + 1,) * 2, borderType=cv2.BORDER_REPLICATE), np.float32)


def believed(share: FloatMap, disparity: FloatMap) -> BoolMap:
    """The parts of an estimated sky that lie like one.

    Args:
        share: (h, w) in [0, 1], the estimate; above one half it says sky.
        disparity: (h, w) the map of the same picture.

    Returns:
        (h, w), each connected area that is large enough, does not reach far into the lowest quarter of the picture, and
        is far in the map or sure enough to contradict it.
    """
    sky = share > 0.5
    height = len(sky)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(sky.astype(np.uint8), connectivity=4)
    areas = stats[:, cv2.CC_STAT_AREA]
    low = np.bincount(labels[height - max(1, height // 4) :].ravel(), minlength=count)
    keep = (areas >= LEAST_SHARE * sky.size) & (low <= LOW_SHARE * areas)
    keep[0] = False
    if keep.any() and not sky.all():
        farthest, nearest = np.percentile(disparity[~sky], (_FARTHEST, _NEAREST))
        is_far = _means(disparity, labels, count) <= farthest + NEAR * (nearest - farthest)
        keep &= is_far | (_means(share, labels, count) >= SURE_MEAN)
    return np.asarray(keep[labels], np.bool_)


def _means(values: FloatMap, labels: Any, count: int) -> Any:
    """(count) the mean of `values` over each label."""
    flat = labels.ravel()
    return np.bincount(flat, values.ravel(), count) / np.maximum(np.bincount(flat, minlength=count), 1)


def level_sky(disparity: FloatMap, sky: BoolMap) -> bool:
    """Give an estimated sky one level in a map, and take out of the sky what the map has before it, both in place.

    The level is the sky's own median, or that of the farthest surface if this is farther. What lies before it and is
    thin is a thing that the estimate overlooked; else the map is wrong.

    Args:
        disparity: (H, W) the map at the picture's size.
        sky: (H, W) where the sky is.

    Returns:
        Whether an area of some size was near in the map before.
    """
    every = max(1, math.isqrt(sky.size // _COUNTED))
    few, within = disparity[::every, ::every], sky[::every, ::every]
    if not within.any():
        return False
    level, span, was_near = float(np.median(few[within])), math.inf, False
    if not within.all():
        farthest, nearest = np.percentile(few[~within], (_FARTHEST, _NEAREST))
        level, span = min(level, float(farthest)), float(nearest - farthest)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(within.astype(np.uint8), connectivity=4)
        is_near = _means(few, labels, count) > level + NEAR * span
        large = stats[:, cv2.CC_STAT_AREA] >= LEAST_SHARE * few.size
        was_near = bool((is_near & large)[1:].any())
    size = 2 * round(THIN * math.sqrt(few.size) / 2) + 1
    behind = cv2.dilate(cv2.morphologyEx(few, cv2.MORPH_OPEN, np.ones((size, size))), np.ones((3, 3)))
    slope = np.float32(1 / (max(span, _TINY) * (THING[1] - THING[0])))
    for top in range(0, len(sky), _BAND):
        values, here = disparity[top : top + _BAND], sky[top : top + _BAND]
        if not here.any():
            continue
        rows = behind[np.arange(top, top + len(here)) // every]
        share = values - np.repeat(rows, every, axis=1)[:, : sky.shape[1]]
        share = np.clip(share * slope - np.float32(THING[0] / (THING[1] - THING[0])), 0, 1)
        np.copyto(values, share * (values - np.float32(level)) + np.float32(level), where=here)
        here &= share < 0.5
    return was_near
