"""Skies that renders lack: clouds and colours of any kind, and skies in a frame.

Renders have their sky at the top, mostly even and blue or grey. What learns from them alone misses a cloudy sky, and
one that is seen from inside an arch or through leaves. So many of the pictures that the sky is learnt from
(`training/heads.py`) are composed of two renders.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from pro_engine.types import BoolMap, FloatMap, ImageArray

FRAMED = 0.3
"""Share of the pictures that are seen through something."""
REPAINTED = 0.6
"""Share of the skies that are painted anew."""
_PALETTE = (  # share, hue, saturation and brightness, each from and to: overcast, blue, dawn and dusk, night, any
    (0.35, (0.5, 0.7), (0.0, 0.12), (0.6, 1.0)),
    (0.30, (0.52, 0.66), (0.15, 0.8), (0.4, 1.0)),
    (0.20, (-0.1, 0.13), (0.1, 0.8), (0.4, 1.0)),
    (0.08, (0.55, 0.75), (0.2, 0.8), (0.05, 0.4)),
    (0.07, (0.0, 1.0), (0.0, 0.8), (0.2, 1.0)),
)
_LEAST_SKY = 0.02


def composed(
    rng: np.random.Generator, image: ImageArray, depth: FloatMap, other: ImageArray
) -> tuple[ImageArray, BoolMap]:
    """A picture for the sky.

    Args:
        rng: what decides.
        image: (h, w, 3) a part of a render; depth: (h, w) of it in metres, inf for sky.
        other: (h, w, 3) a part of another one, without a sky.

    Returns:
        The picture and its sky (h, w).
    """
    sky = np.isinf(depth)
    if sky.mean() > _LEAST_SKY and rng.random() < REPAINTED:
        image = _laid_over(image, _painted(rng, sky.shape), sky)
    if rng.random() < FRAMED:
        hole = _hole(rng, sky)
        dark = other * np.float32(rng.uniform(0.02, 1.0) ** 1.5)
        return _laid_over(dark.astype(np.uint8), image, hole), sky & hole
    return image, sky


def _laid_over(ground: ImageArray, image: ImageArray, mask: BoolMap) -> ImageArray:
    """`image` where the mask is, with outlines as soft as those of photos."""
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7)[..., None]
    return np.clip(ground + alpha * (image.astype(np.float32) - ground) + 0.5, 0, 255).astype(np.uint8)


def _colour(rng: np.random.Generator) -> FloatMap:
    """(3,) RGB from 0 to 255."""
    shares = np.array([row[0] for row in _PALETTE])
    _, *ranges = _PALETTE[rng.choice(len(_PALETTE), p=shares / shares.sum())]
    hue, saturation, brightness = (rng.uniform(*one) for one in ranges)
    one = np.array([[[hue % 1 * 360, saturation, brightness]]], np.float32)
    return (cv2.cvtColor(one, cv2.COLOR_HSV2RGB)[0, 0] * 255).astype(np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, int], coarsest: int, falls: float) -> FloatMap:
    """(h, w) of deviation 1: octaves of noise, from `coarsest` cells across the longer side on, each `falls` times."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(5):
        cells = coarsest * 2**octave / max(shape)
        grid = rng.normal(size=(max(2, round(height * cells)), max(2, round(width * cells)))).astype(np.float32)
        total += falls**octave * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return (total - total.mean()) / max(float(total.std()), 1e-6)


def _gradient(rng: np.random.Generator, shape: tuple[int, int]) -> FloatMap:
    """(h, w, 3) from one colour to another, for the most part of the same kind, from top to bottom or nearly so."""
    first = _colour(rng)
    last = _colour(rng) if rng.random() < 0.4 else first + (255 - first) * np.float32(rng.uniform(-0.3, 0.8))
    y, x = (np.linspace(0, 1, size, dtype=np.float32) for size in shape)
    along = np.clip(y[:, None] + np.float32(rng.normal(0, 0.2)) * (x[None] - 0.5), 0, 1) ** rng.uniform(0.4, 2.5)
    return first + (last - first) * along[..., None].astype(np.float32)


def _painted(rng: np.random.Generator, shape: tuple[int, int]) -> ImageArray:
    """(h, w, 3) a sky without clouds, with a few, or covered by them."""
    sky = _gradient(rng, shape)
    if rng.random() < 0.65:
        noise = _noise(rng, shape, int(rng.integers(1, 6)), rng.uniform(0.4, 0.75))
        if rng.random() < 0.5:  # smoother from top to bottom than across
            low = cv2.resize(noise, None, fx=1, fy=rng.uniform(0.2, 0.7), interpolation=cv2.INTER_AREA)
            noise = cv2.resize(low, shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
        cover = 1 / (1 + np.exp(-(noise - rng.uniform(-1, 1.5)) * rng.uniform(1, 6)))
        cloud = _colour(rng) if rng.random() < 0.3 else sky.mean((0, 1)) * 0.3 + rng.uniform(100, 255) * 0.7
        sky = sky + (cover * rng.uniform(0.1, 1.0))[..., None] * (cloud - sky)
    sky += rng.normal(0, rng.uniform(0, 3), (*shape, 1))
    return np.clip(sky, 0, 255).astype(np.uint8)


def _hole(rng: np.random.Generator, sky: BoolMap) -> BoolMap:
    """(h, w) what is seen through a frame: through a hole, an arch, a window with bars, or gaps in leaves."""
    height, width = sky.shape
    rows, columns = np.nonzero(sky)
    middle = rng.uniform(0.2, 0.8, 2) * sky.shape
    if len(rows) and rng.random() < 0.8:
        at = rng.integers(len(rows))
        middle = np.array([rows[at], columns[at]], float)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    size = math.sqrt(height * width) * rng.uniform(0.12, 0.5)
    stretch = math.exp(rng.uniform(-0.6, 0.6))
    v, u = (y - middle[0]) / (size * stretch), (x - middle[1]) / (size / stretch)
    kind = rng.random()
    if kind < 0.4:
        angle = np.arctan2(v, u)
        radius = 1 + sum(rng.normal(0, 0.25 / k) * np.cos(k * angle + rng.uniform(0, 2 * math.pi)) for k in range(1, 6))
        return np.asarray(u * u + v * v < radius * np.abs(radius), np.bool_)
    if kind < 0.55:
        return np.asarray((np.abs(u) < 1) & (v < 1) & ((v > 0) | (u * u + v * v < 1)), np.bool_)
    if kind < 0.75:
        bars = [(value * rng.uniform(0.3, 2)) % 1 < rng.uniform(0, 0.15) for value in (u, v)]
        tilt = rng.normal(0, 0.1)
        return np.asarray((np.abs(u + tilt * v) < 1) & (np.abs(v - tilt * u) < 1) & ~bars[0] & ~bars[1], np.bool_)
    leaves = _noise(rng, sky.shape, int(rng.integers(2, 14)), rng.uniform(0.5, 0.9))
    return np.asarray(leaves + 0.5 * (u * u + v * v) < rng.uniform(-0.5, 1.0), np.bool_)
