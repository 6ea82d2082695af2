"""Radiance of the sky in any direction: an HDRI picture, or a gradient with clouds on a flat layer above."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import PurePath

import cv2
import numpy as np
from numpy.typing import NDArray

from ..parts.scene import Sky
from ..parts.textures import noise

Array = NDArray[np.float32]

HDRI_SIZE = (1024, 512)
HDRI_CLIP = 8.0
"""Brightest value kept of an HDRI whose median is 0.8: the sun itself is a `Light`."""

SKYLINES_DEG = {"city": 68, "dawn": 9, "night": 21, "park": 25, "sky": 1, "sunrise": 23, "sunset": 55, "venice": 19}
"""Height above which an HDRI, by the stem of its file, shows sky and nothing else. The others show a roof, trees all
around, or what nobody has looked at."""


def shows_sky(sky: Sky, direction: Array) -> NDArray[np.bool_]:
    """(N,) whether it is surely sky that is seen along unit `direction` (N, 3), and not the ground below a horizon or
    the houses and trees of an HDRI, which are no surfaces of the scene either."""
    least = SKYLINES_DEG.get(PurePath(sky.hdri).stem.lower(), 90) if sky.hdri else 0
    return np.asarray(direction[:, 2] >= math.sin(math.radians(least)), np.bool_)


@lru_cache(maxsize=6)
def load_hdri(path: str) -> Array:
    """Equirectangular linear RGB, 512 x 1024 x 3, scaled to a median brightness of 0.8. OSError when unreadable."""
    rgb = np.nan_to_num(read_hdr(path), posinf=1e4).clip(0, 1e4)
    rgb = cv2.resize(rgb, HDRI_SIZE, interpolation=cv2.INTER_AREA).astype(np.float32)
    rgb *= 0.8 / max(1e-3, float(np.median(rgb.mean(-1))))
    return np.minimum(rgb, HDRI_CLIP)


def read_hdr(path: str) -> Array:
    """Linear RGB (H, W, 3) of a .hdr file, or of an .exr where the package OpenEXR is installed. Raises OSError."""
    if path.lower().endswith(".exr"):
        try:
            import OpenEXR
        except ImportError as error:
            raise OSError(f"reading {path} needs the package OpenEXR; .hdr files need none") from error
        with OpenEXR.File(path, separate_channels=True) as file:
            channels = file.channels()
            return np.stack([np.asarray(channels[name].pixels, np.float32) for name in "RGB"], axis=-1)
    picture = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    if picture is None or picture.ndim != 3:
        raise OSError(f"cannot read HDRI {path}")
    return np.ascontiguousarray(picture[..., 2::-1], np.float32)


def sky_radiance(sky: Sky, direction: Array) -> Array:
    """Linear radiance (N, 3) seen along unit `direction` (N, 3)."""
    radiance = _hdri(sky, direction) if sky.hdri else _gradient(sky, direction)
    return (radiance * np.float32(sky.strength)).astype(np.float32)


def _hdri(sky: Sky, direction: Array) -> Array:
    picture = load_hdri(sky.hdri)
    height, width = picture.shape[:2]
    u = (np.arctan2(direction[:, 1], direction[:, 0]) + sky.turn) / (2 * math.pi) % 1.0
    v = 0.5 - np.arcsin(np.clip(direction[:, 2], -1, 1)) / math.pi
    x, y = u * width - 0.5, np.clip(v * height - 0.5, 0, height - 1.001)
    x0, y0 = np.floor(x).astype(np.int32), y.astype(np.int32)
    wx, wy = (x - x0)[:, None], (y - y0)[:, None]
    left, right = x0 % width, (x0 + 1) % width
    upper = picture[y0, left] * (1 - wx) + picture[y0, right] * wx
    lower = picture[y0 + 1, left] * (1 - wx) + picture[y0 + 1, right] * wx
    return upper * (1 - wy) + lower * wy


def _gradient(sky: Sky, direction: Array) -> Array:
    horizon, zenith = np.asarray(sky.horizon, np.float32), np.asarray(sky.zenith, np.float32)
    up = direction[:, 2:3]
    height = np.sqrt(np.clip(up, 0, 1))
    radiance = horizon * (1 - height) + zenith * height
    if sky.clouds > 0:
        radiance = _clouded(sky, direction, radiance)
    below = np.clip(-up * 25, 0, 1)
    return radiance * (1 - below) + np.asarray(sky.ground, np.float32) * below


def _clouded(sky: Sky, direction: Array, clear: Array) -> Array:
    up = np.clip(direction[:, 2], 0, 1)
    cos, sin = math.cos(sky.turn), math.sin(sky.turn)
    x, y = direction[:, 0] / (up + 0.12), direction[:, 1] / (up + 0.12)  # a flat layer, bent down at the horizon
    u, v = (cos * x - sin * y) * 0.06 + sky.turn, (sin * x + cos * y) * 0.06 - sky.turn
    spread = 0.0004 / (up + 0.12) ** 2
    thickness = noise().sample(u, v, spread)[:, 0]
    cover = np.clip((thickness - (0.85 - 0.75 * sky.clouds)) / 0.3, 0, 1) * np.clip(up * 12, 0, 1)
    shade = 1.05 - 0.45 * np.clip(thickness - 0.5 + 0.4 * sky.clouds, 0, 1)
    brightness = max(0.6, float(np.mean(sky.horizon)) * 1.1)
    cloud = (np.float32(brightness) * np.array([1.0, 1.0, 1.02], np.float32)) * shade[:, None]
    return clear * (1 - cover[:, None]) + cloud.astype(np.float32) * cover[:, None]
