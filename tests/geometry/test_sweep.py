"""Depth by matching pictures whose poses are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pro_engine.geometry.sweep import Picture, match_depth
from pro_engine.types import Intrinsics

K = Intrinsics(140.0, 140.0, 79.5, 59.5, 160, 120)
LEAN = 0.4  # of the wall: z = 3 + 0.4 x


def texture(seed: int = 0) -> np.ndarray:
    """(600, 600) grey levels of 6 x 6 units around the origin."""
    noise = np.random.default_rng(seed).uniform(0, 255, (150, 150)).astype(np.float32)
    return cv2.resize(noise, (600, 600), interpolation=cv2.INTER_CUBIC)


def seen_from(x: float, wall: np.ndarray) -> tuple[Picture, np.ndarray]:
    """What a camera at (x, 0, 0) sees of the wall, and its depth."""
    column, row = np.meshgrid(np.arange(K.width), np.arange(K.height))
    slope = (column - K.cx) / K.fx, (row - K.cy) / K.fy
    z = (3 + LEAN * x) / (1 - LEAN * slope[0])
    place = [((part * z + start) * 100 + 300).astype(np.float32) for part, start in zip(slope, (x, 0.0), strict=True)]
    grey = cv2.remap(wall, *place, cv2.INTER_LINEAR)
    pose = np.concatenate([np.eye(3), [[-x], [0], [0]]], axis=1)
    return Picture(grey, K, pose), z.astype(np.float32)


@pytest.mark.parametrize("sides", [(0.4,), (-0.4, 0.4), (-0.4, 0.3, 0.5, 40.0)])  # the last one sees something else
def test_a_leaning_wall_is_measured_from_a_wrong_map(sides):
    picture, z = seen_from(0, texture())
    others = [seen_from(x, texture())[0] for x in sides]
    pixels, depth = match_depth(picture, z * np.float32(1.13), others)
    column, row = pixels.astype(int).T
    errors = np.abs(depth / z[row, column] - 1)
    assert len(depth) > 60
    assert np.median(errors) < 0.003 and np.percentile(errors, 95) < 0.01
    cells = set(zip(column // 12, row // 12, strict=True))
    assert len(cells) == len(depth)


def test_even_and_repeated_walls_and_unknown_depth_are_not_measured():
    even = np.full((600, 600), 128, dtype=np.float32)
    bars = np.tile(np.repeat([40, 200], 5).astype(np.float32), (600, 60))
    for wall, most in ((even, 0), (bars, 13)):  # of 140 cells
        picture, z = seen_from(0, wall)
        assert len(match_depth(picture, z, [seen_from(0.4, wall)[0], seen_from(-0.4, wall)[0]])[1]) <= most
    picture, z = seen_from(0, texture())
    z[:, :80], z[:, 85] = np.nan, np.inf
    pixels, depth = match_depth(picture, z, [seen_from(0.4, texture())[0]])
    assert len(depth) and pixels[:, 0].min() >= 80 and np.isfinite(depth).all()
    behind = Picture(picture.grey, K, np.concatenate([np.diag([-1.0, 1, -1]), [[0], [0], [-9]]], axis=1))
    assert len(match_depth(picture, z, [behind])[1]) == 0
