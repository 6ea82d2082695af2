"""Albedo of a `Material` at surface points: periodic tables with mip levels, so that far patterns fade, not sparkle.

Every pattern is a function of two coordinates in pattern units (one repeat each, roughly) and of the *footprint*: how
many pattern units one pixel covers. Tables are made once per process from fixed seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from .scene import Material

Array = NDArray[np.float32]

TABLE_SIZE = 512
IMAGE_SIZE = 256
NOISE_UNITS = 8.0
"""Pattern units that the noise table spans: its coarsest blob is about one unit wide."""
CELL_UNITS = 12.0
"""Pattern units that the Voronoi tables span: one site per square unit, roughly."""


class MipPyramid:
    """A square periodic picture (size a power of two) with its mip levels, stored flat: one gather serves all."""

    def __init__(self, picture: NDArray[np.floating]) -> None:
        """Build the levels of `picture`, (S, S) or (S, S, C), in float32."""
        size = picture.shape[0]
        if picture.shape[1] != size or size & (size - 1):
            raise ValueError(f"a pyramid needs a square picture with a power-of-two side, not {picture.shape[:2]}")
        channels = 1 if picture.ndim == 2 else picture.shape[2]
        level = picture.reshape(size, size, channels).astype(np.float32)
        levels = [level]
        while len(level) > 1:
            level = (level[0::2, 0::2] + level[1::2, 0::2] + level[0::2, 1::2] + level[1::2, 1::2]) * np.float32(0.25)
            levels.append(level)
        sizes = np.array([len(item) for item in levels], np.int32)
        self.sizes = sizes
        self.starts = np.concatenate([[0], np.cumsum(sizes**2)[:-1]]).astype(np.int32)
        self.texels = np.concatenate([item.reshape(-1, channels) for item in levels])

    @property
    def mean(self) -> Array:
        """Average texel, (C,)."""
        return self.texels[-1]

    def sample(
        self, u: NDArray[np.floating], v: NDArray[np.floating], footprint: NDArray[np.floating] | float
    ) -> Array:
        """Bilinear look-up at (u, v) in repeats, (N,) each; `footprint` in repeats per pixel. Returns (N, C)."""
        texels_per_pixel = np.maximum(np.asarray(footprint, np.float32) * np.float32(self.sizes[0]), 1.0)
        level = np.minimum(np.log2(texels_per_pixel).astype(np.int32), len(self.sizes) - 1)
        level = np.broadcast_to(level, u.shape)
        size = self.sizes[level]
        x = (u - np.floor(u)) * size - np.float32(0.5)
        y = (v - np.floor(v)) * size - np.float32(0.5)
        x0, y0 = np.floor(x), np.floor(y)
        wx, wy = (x - x0)[:, None].astype(np.float32), (y - y0)[:, None].astype(np.float32)
        mask = size - 1
        left, top = x0.astype(np.int32) & mask, y0.astype(np.int32) & mask
        right, start = (left + 1) & mask, self.starts[level]
        row, next_row = start + top * size, start + ((top + 1) & mask) * size
        upper = self.texels[row + left] * (1 - wx) + self.texels[row + right] * wx
        lower = self.texels[next_row + left] * (1 - wx) + self.texels[next_row + right] * wx
        return upper * (1 - wy) + lower * wy


def fbm_table(seed: int, cells: int, octaves: int) -> Array:
    """Periodic fractal noise in [0, 1], (TABLE_SIZE, TABLE_SIZE); `cells` blobs per side in the coarsest octave."""
    rng = np.random.default_rng(seed)
    total = np.zeros((TABLE_SIZE, TABLE_SIZE), np.float32)
    for octave in range(octaves):
        count = cells << octave
        if count > TABLE_SIZE:
            break
        values = np.pad(rng.random((count, count)).astype(np.float32), 2, mode="wrap")
        pixels = TABLE_SIZE // count
        smooth = cv2.resize(values, None, fx=pixels, fy=pixels, interpolation=cv2.INTER_CUBIC)
        total += 0.55**octave * smooth[2 * pixels : -2 * pixels, 2 * pixels : -2 * pixels]
    low, high = np.percentile(total, (0.5, 99.5))
    return np.clip((total - low) / (high - low), 0, 1).astype(np.float32)


@lru_cache(maxsize=1)
def noise() -> MipPyramid:
    """Fractal noise, one channel, mean about one half."""
    return MipPyramid(fbm_table(seed=11, cells=int(NOISE_UNITS), octaves=6))


@lru_cache(maxsize=1)
def slopes() -> MipPyramid:
    """Slope of a fine noise along u and v, two channels with unit spread, for bumps."""
    height = fbm_table(seed=12, cells=16, octaves=4)
    steps = np.stack([np.roll(height, -1, axis) - np.roll(height, 1, axis) for axis in (1, 0)], -1)
    return MipPyramid(steps / steps.std())


@lru_cache(maxsize=1)
def voronoi() -> tuple[MipPyramid, MipPyramid]:
    """Distance to the nearest site, and one shade per cell; one channel each."""
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(13)
    sites = rng.random((int(CELL_UNITS) ** 2, 2)) * TABLE_SIZE
    y, x = np.mgrid[:TABLE_SIZE, :TABLE_SIZE]
    distance, index = cKDTree(sites, boxsize=TABLE_SIZE).query(np.stack([x, y], -1).reshape(-1, 2) + 0.5)
    shape = (TABLE_SIZE, TABLE_SIZE)
    near = (distance / np.percentile(distance, 99.5)).clip(0, 1).astype(np.float32).reshape(shape)
    shade = rng.random(len(sites)).astype(np.float32)[index].reshape(shape)
    return MipPyramid(near), MipPyramid(shade)


@lru_cache(maxsize=192)
def load_texture(path: str) -> MipPyramid:
    """Linear RGB pyramid of a picture file. OSError when it cannot be read."""
    picture = cv2.imread(path, cv2.IMREAD_COLOR)
    if picture is None:
        raise OSError(f"cannot read texture {path}")
    small = cv2.resize(picture, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_AREA)[..., ::-1]
    return MipPyramid((small.astype(np.float32) / 255) ** 2.2)


def box_axes(normal: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Object axes that a box projection takes as (u, v) for each `normal` (N, 3): walls get v = z, floors (x, y)."""
    facing = np.abs(normal).argmax(1)
    return np.where(facing == 0, 1, 0), np.where(facing == 2, 1, 2)


def albedo(material: Material, u: Array, v: Array, footprint: Array) -> Array:
    """Linear albedo (N, 3) at (u, v), (N,) each, in object metres or mesh uv; `footprint` (N,) in the same unit."""
    if material.pattern == "solid":
        return np.broadcast_to(np.asarray(material.color, np.float32), (len(u), 3))
    if material.pattern not in PATTERNS:
        raise ValueError(f"unknown pattern {material.pattern!r}, expected one of {('solid', *PATTERNS)}")
    u, v = np.asarray(u, np.float32), np.asarray(v, np.float32)
    cos, sin = math.cos(material.angle) * material.scale, math.sin(material.angle) * material.scale
    across = (cos * u - sin * v + material.offset[0]).astype(np.float32)
    along = ((sin * u + cos * v) * material.stretch + material.offset[1]).astype(np.float32)
    width = (footprint * (material.scale * max(1.0, material.stretch))).astype(np.float32)
    return PATTERNS[material.pattern](material, across, along, width)


def mean_albedo(material: Material) -> Array:
    """Average linear albedo (3,), for light that bounces off the surface."""
    color, color2 = np.asarray(material.color, np.float32), np.asarray(material.color2, np.float32)
    if material.pattern == "image" and material.image is not None:
        mean = load_texture(material.image).mean
        return mean * color if material.tint else mean
    return color if material.pattern in ("solid", "bricks", "image") else (color + color2) * np.float32(0.5)


def _ramp(material: Material, value: Array, softness: float | None = None) -> Array:
    """Blend of the two colours: `color` below the threshold, `color2` above, `softness` wide."""
    soft = max(material.softness if softness is None else softness, 1e-3)
    share = np.clip((value - material.threshold) / soft + 0.5, 0, 1)[:, None].astype(np.float32)
    color, color2 = np.asarray(material.color, np.float32), np.asarray(material.color2, np.float32)
    return color + share * (color2 - color)


def _faded(value: NDArray[np.floating], mean: float, width: Array) -> Array:
    """Draw an analytic pattern towards its mean where a pixel covers half a unit or more."""
    keep = np.clip(2.0 - 4.0 * width, 0, 1)
    return (mean + (value - mean) * keep).astype(np.float32)


def _noise(material: Material, u: Array, v: Array, width: Array) -> Array:
    return _ramp(material, noise().sample(u / NOISE_UNITS, v / NOISE_UNITS, width / NOISE_UNITS)[:, 0])


def _cells(material: Material, u: Array, v: Array, width: Array) -> Array:
    return _ramp(material, voronoi()[0].sample(u / CELL_UNITS, v / CELL_UNITS, width / CELL_UNITS)[:, 0])


def _flakes(material: Material, u: Array, v: Array, width: Array) -> Array:
    return _ramp(material, voronoi()[1].sample(u / CELL_UNITS, v / CELL_UNITS, width / CELL_UNITS)[:, 0])


def _checker(material: Material, u: Array, v: Array, width: Array) -> Array:
    odd = ((np.floor(u) + np.floor(v)) % 2).astype(np.float32)
    share = _faded(odd, 0.5, width)[:, None]
    color, color2 = np.asarray(material.color, np.float32), np.asarray(material.color2, np.float32)
    return color * (1 - share) + color2 * share


def _bricks(material: Material, u: Array, v: Array, width: Array) -> Array:
    """Cells of 1/2 x 1/4 unit, rows shifted by half a cell; squarish cells (stretch below 0.75) lie in a plain grid."""
    u, v, width = u * 2, v * 4, width * 4
    row = np.floor(v)
    if material.stretch >= 0.75:
        u = u + np.float32(0.5) * (row % 2)
    column = np.floor(u)
    scrambled = (np.sin(column * 12.9898 + row * 78.233) * 43758.547) % 1  # a number of its own for every brick
    shade = 1 - 0.3 * _faded(scrambled, 0.5, width * 0.5)
    joint_v = min(0.45, material.joint * 2 * material.stretch)
    in_joint = ((u - column < material.joint) | (v - row < joint_v)).astype(np.float32)
    share = _faded(in_joint, min(1.0, material.joint + joint_v), width)[:, None]
    grain = noise().sample(u * 0.31, v * 0.31, width * 0.31)
    face = np.asarray(material.color, np.float32) * (shade[:, None] * (0.85 + 0.3 * grain))
    return face * (1 - share) + np.asarray(material.color2, np.float32) * share


def _wood(material: Material, u: Array, v: Array, width: Array) -> Array:
    """Rings along v, bent by noise, with fine fibres."""
    bend = noise().sample(u * 0.05, v * 0.012, width * 0.05)[:, 0]
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (u + 3.0 * bend))
    fibres = noise().sample(u * 0.9, v * 0.03, width * 0.9)[:, 0]
    return _ramp(material, _faded(0.7 * rings + 0.3 * fibres, 0.5, width), max(material.softness, 0.8))


def _waves(material: Material, u: Array, v: Array, width: Array) -> Array:
    turn = np.float32(2 * np.pi)
    value = 0.5 + 0.25 * (np.sin(turn * u + 2 * np.sin(turn * 0.6 * v)) + np.sin(turn * v + 2 * np.sin(turn * 0.5 * u)))
    return _ramp(material, _faded(value, 0.5, width))


def _image(material: Material, u: Array, v: Array, width: Array) -> Array:
    color = np.asarray(material.color, np.float32)
    if material.image is None:
        return np.broadcast_to(color, (len(u), 3))
    texel = load_texture(material.image).sample(u, -v, width)  # picture rows run down, v runs up
    return texel * color if material.tint else texel


PATTERNS: dict[str, Callable[[Material, Array, Array, Array], Array]] = {
    "noise": _noise,
    "cells": _cells,
    "flakes": _flakes,
    "bricks": _bricks,
    "checker": _checker,
    "wood": _wood,
    "waves": _waves,
    "image": _image,
}
"""All but `solid`: `cells` is distance to Voronoi sites, `flakes` one shade per Voronoi cell, `image` a file."""
