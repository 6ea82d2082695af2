"""Flat pictures, letters and lines painted over a render: outlines in the picture that are none of depth."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def printed(image: Picture, other: Picture, rng: np.random.Generator) -> Picture:
    """2 to 6 of them on an image (h, w, 3), in one colour or filled with the picture `other`; as paint, or as a tint
    through which the surface shows."""
    height, width = image.shape[:2]
    for _ in range(int(rng.integers(2, 7))):
        mask = _shape((height, width), rng)
        paint = np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), image.shape)
        if rng.random() < 0.5:
            factor = math.exp(rng.uniform(-0.7, 0.7))
            tile = cv2.resize(other, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            rows, columns = height // tile.shape[0] + 1, width // tile.shape[1] + 1
            paint = np.tile(np.asarray(tile, np.uint8), (rows, columns, 1))[:height, :width]
        colour = paint.astype(np.float32)
        if rng.random() < 0.4:
            colour = (image * (colour / 255 * 0.8 + 0.2)).astype(np.float32)
        share = (mask.astype(np.float32) / 255 * rng.uniform(0.3, 1))[..., None]
        image = (image * (1 - share) + colour * share).astype(np.uint8)
    return image


def _shape(size: tuple[int, int], rng: np.random.Generator) -> Picture:
    """(h, w), 255 inside: a polygon, an ellipse, lines of letters, or strokes."""
    mask = np.zeros(size, np.uint8)
    centre = np.array([rng.integers(size[1]), rng.integers(size[0])], np.float64)
    radius = float(min(size) * rng.uniform(0.05, 0.3))
    kind = rng.random()
    if kind < 0.35:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        corners = np.stack((np.cos(angles), np.sin(angles)), 1) * radius * rng.uniform(0.5, 1, (len(angles), 1))
        cv2.fillPoly(mask, [(centre + corners).astype(np.int32)], 255, cv2.LINE_AA)
    elif kind < 0.5:
        axes = (int(radius), int(radius * rng.uniform(0.3, 1)))
        cv2.ellipse(mask, _point(centre), axes, float(rng.uniform(0, 180)), 0, 360, 255, -1, cv2.LINE_AA)
    elif kind < 0.75:
        text = "".join(chr(int(code)) for code in rng.integers(33, 126, int(rng.integers(3, 12))))
        font, size_of_letters = int(rng.integers(0, 8)), max(radius / 40, 0.3)
        thickness = max(1, int(size_of_letters * rng.uniform(1, 4)))
        for line in range(int(rng.integers(1, 4))):
            start = _point(centre + np.array((-radius, line * 30 * size_of_letters)))
            cv2.putText(mask, text, start, font, size_of_letters, 255, thickness, cv2.LINE_AA)
    else:
        for _ in range(int(rng.integers(3, 20))):
            one = centre + rng.normal(0, radius, 2)
            other = one + rng.normal(0, radius, 2)
            cv2.line(mask, _point(one), _point(other), 255, int(rng.integers(1, 8)), cv2.LINE_AA)
    return mask


def _point(place: NDArray[np.float64]) -> tuple[int, int]:
    return int(place[0]), int(place[1])
