"""Maps as some unknown Ψ might have given them: true disparity, spoilt in the ways in which depth networks err.

Lost thin things, displaced and soft outlines, forgotten objects, a bent scale, slow errors of level and contrast,
traces of the picture's brightness. One `Style` is one imagined network: the whole picture and its patches share it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FloatMap = NDArray[np.float32]

_HOLE_BLUR_PX = 12.0


@dataclass(frozen=True)
class Style:
    """How one imagined network errs; lengths in pixels of its input, levels as shares of the map's range.

    Attributes:
        blur: sigma of the softness.
        warp: displacement of outlines.
        thin: things thinner than this are lost (0: none).
        stride: the map is known on every n-th pixel only.
        contrast, level: size of the slow multiplicative and additive errors.
        bend: exponent on the disparity.
        leak: how much of the brightness shines through.
        holes: how many places at most are forgotten.
    """

    blur: float
    warp: float
    thin: int
    stride: int
    contrast: float
    level: float
    bend: float
    leak: float
    holes: int


def draw_style(rng: np.random.Generator) -> Style:
    """A random network."""
    return Style(
        blur=math.exp(rng.uniform(math.log(0.6), math.log(4.5))),
        warp=rng.uniform(0, 2.5),
        thin=int(rng.integers(3, 9)) if rng.random() < 0.6 else 0,
        stride=int(rng.choice([1, 2, 2, 4])),
        contrast=rng.uniform(0, 0.3),
        level=rng.uniform(0, 0.15),
        bend=math.exp(rng.normal(0, 0.2)),
        leak=rng.uniform(0, 0.05) if rng.random() < 0.5 else 0.0,
        holes=int(rng.integers(1, 4)) if rng.random() < 0.4 else 0,
    )


def degrade(disparity: FloatMap, brightness: FloatMap, style: Style, rng: np.random.Generator) -> FloatMap:
    """What the network of `style` would make of a picture whose true disparity is known.

    disparity (h, w), not negative; brightness (h, w) in [0, 1] -> (h, w) float32, known up to scale and shift as any
    output of a Ψ is.
    """
    h, w = disparity.shape
    values = disparity
    if style.thin:
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (style.thin, style.thin))
        lost = cv2.MORPH_OPEN if rng.random() < 0.7 else cv2.MORPH_CLOSE  # thin things before, or gaps between
        values = _as_map(cv2.morphologyEx(values, lost, kernel))
    y, x = np.mgrid[:h, :w].astype(np.float32)
    x += style.warp * slow_noise(rng, (h, w), 8)
    y += style.warp * slow_noise(rng, (h, w), 8)
    values = _as_map(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    values = _forget(values, style.holes, rng)
    values = _as_map(cv2.GaussianBlur(values, (0, 0), style.blur))
    if style.stride > 1:
        small = cv2.resize(values, (w // style.stride, h // style.stride), interpolation=cv2.INTER_AREA)
        values = _as_map(cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR))
    top = max(float(values.max()), 1e-6)
    values = np.power(np.clip(values / top, 0, 1), np.float32(style.bend)).astype(np.float32)
    contrast = 1 + style.contrast * slow_noise(rng, (h, w), rng.uniform(2, 5))
    level = style.level * slow_noise(rng, (h, w), rng.uniform(2, 5))
    return (top * (values * contrast + level + style.leak * brightness)).astype(np.float32)


def _forget(values: FloatMap, count: int, rng: np.random.Generator) -> FloatMap:
    """Up to `count` ellipses are replaced by what is around them."""
    if not count:
        return values
    h, w = values.shape
    around = cv2.GaussianBlur(values, (0, 0), _HOLE_BLUR_PX)
    mask = np.zeros((h, w), np.float32)
    for _ in range(count):
        center = (int(rng.integers(w)), int(rng.integers(h)))
        axes = (int(rng.integers(4, max(w // 6, 5))), int(rng.integers(4, max(h // 6, 5))))
        cv2.ellipse(mask, center, axes, rng.uniform(0, 180), 0, 360, 1, -1)
    return _as_map(values + cv2.GaussianBlur(mask, (0, 0), 2) * (around - values))


def _as_map(values: NDArray) -> FloatMap:
    return np.asarray(values, dtype=np.float32)


def slow_noise(rng: np.random.Generator, shape: tuple[int, int], waves: float) -> FloatMap:
    """(h, w) of smooth noise with unit deviation at its nodes, `waves` of them along the longer side."""
    counts = [max(2, round(waves * side / max(shape))) + 1 for side in shape]
    nodes = rng.normal(0, 1, counts).astype(np.float32)
    return cv2.resize(nodes, shape[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32)
