"""First hits laid out as a picture: evenly spread random rays, the filter against noise, edges and their neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .triangles import dot

Array = NDArray[np.float32]
Index = NDArray[np.integer]


@dataclass
class Hits:
    """Where rays met surfaces; N entries, `ray` tells which ray each belongs to."""

    ray: Index
    triangle: Index
    distance: Array
    point: Array
    direction: Array
    flat: Array
    """Geometric normal, turned towards the viewer."""
    normal: Array
    """Shading normal: smoothed and bumped."""
    material: Index
    albedo: Array

    @property
    def origin(self) -> Array:
        """Points lifted off the surface, where rays can start."""
        return self.point + self.flat * (1e-3 + 1e-4 * self.distance)[:, None]


_VECTORS = ((0, 3), np.float32)
NO_HITS = ((0, np.intp), (0, np.int32), (0, np.float32), *[_VECTORS] * 4, (0, np.int32), _VECTORS)
"""Shapes and types of `Hits` without an entry."""


def joined(parts: list[Hits], rays: int) -> Hits:
    """The hits of successive batches of `rays` rays each (the last may have fewer) as those of one."""
    for number, part in enumerate(parts):
        part.ray = part.ray + number * rays
    return Hits(*(np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Hits)))


class Screen:
    """The first hits of a picture laid out as images, for what needs neighbours."""

    def __init__(self, width: int, height: int, hits: Hits, eye: Array) -> None:
        self.width, self.height, self.hits = width, height, hits
        self.distance = self._image(hits.distance, 1e6)
        self.normal = self._image(hits.normal, 0.0)
        self.flat = self._image(hits.flat, 0.0)
        self.offset = self._image(dot(hits.point - eye, hits.flat), 1e6)
        """Signed distance from the eye to the tangent plane: equal for two pixels of one plane."""
        self.albedo = self._image(hits.albedo, 0.0)
        self.material = self._image(hits.material, -1)
        self.entry = self._image(np.arange(len(hits.ray)), -1)

    def _image(self, values: NDArray, empty: float) -> NDArray:
        flat = np.full((self.height * self.width, *values.shape[1:]), empty, values.dtype)
        flat[self.hits.ray] = values
        return flat.reshape(self.height, self.width, *values.shape[1:])

    def denoise(self, sharp: Array, soft: Array) -> Array:
        """Sum of two noisy light maps (N, 3), averaged over neighbours on the same surface: `soft` twice as widely."""
        both = self._average(self._image(np.concatenate([sharp, soft], 1), 0.0), 1)
        wide = self._average(self._average(np.ascontiguousarray(both[..., 3:]), 3), 1)
        return (both[..., :3] + wide).reshape(-1, 3)[self.hits.ray]

    def _average(self, light: Array, stride: int) -> Array:
        """Mean over the 3 x 3 neighbours at `stride` pixels that lie on the same surface."""
        total, count = light.copy(), np.ones(light.shape[:2], np.float32)
        tolerance = 0.02 * self.distance
        for down, right in ((0, stride), (stride, 0), (stride, stride), (stride, -stride)):
            here = (slice(0, self.height - down), slice(max(0, -right), self.width - max(0, right)))
            there = (slice(down, self.height), slice(max(0, right), self.width - max(0, -right)))
            alike = np.abs(self.offset[here] - self.offset[there]) < tolerance[here]
            normals = np.einsum("ijk,ijk->ij", self.normal[here], self.normal[there])
            same = (alike & (normals > 0.85)).astype(np.float32)
            total[here] += light[there] * same[..., None]
            total[there] += light[here] * same[..., None]
            count[here] += same
            count[there] += same
        return total / count[..., None]

    def edges(self) -> Index:
        """Flat indices of pixels beside a jump in depth, orientation, material or colour."""
        edge = np.zeros((self.height, self.width), bool)
        for down, right in ((0, 1), (1, 0)):
            here = (slice(0, self.height - down), slice(0, self.width - right))
            there = (slice(down, self.height), slice(right, self.width))
            jump = np.abs(self.offset[here] - self.offset[there]) > 0.02 * np.minimum(
                self.distance[here], self.distance[there]
            )
            jump |= self.material[here] != self.material[there]
            jump |= np.einsum("ijk,ijk->ij", self.flat[here], self.flat[there]) < 0.8
            jump |= np.abs(self.albedo[here] - self.albedo[there]).max(-1) > 0.12
            edge[here] |= jump
            edge[there] |= jump
        return np.flatnonzero(edge)

    def nearest_surface(self, hits: Hits, around: Index) -> Index:
        """Entry of the first hits whose surface suits each of `hits` best, out of the pixels `around` (K, N)."""
        cost = np.abs(self.distance.ravel()[around] - hits.distance) / hits.distance
        cost += (self.material.ravel()[around] != hits.material) * np.float32(0.3)
        cost += 0.5 * (1 - np.einsum("knj,nj->kn", self.normal.reshape(-1, 3)[around], hits.normal))
        cost[self.entry.ravel()[around] < 0] = np.inf
        best = np.take_along_axis(around, cost.argmin(0)[None], 0)[0]
        return np.maximum(self.entry.ravel()[best], 0)


class Jitter:
    """Random directions for the hits of a picture, spread evenly over every 9 x 9 pixels (less finely, every 3 x 3).

    The filter averages over just such blocks, so it sees the whole sphere once and little noise is left.
    """

    def __init__(self, pixel: Index, width: int, rng: np.random.Generator) -> None:
        row, column = np.divmod(pixel, width)
        fine = row % 3 * 3 + column % 3
        coarse = row // 3 % 3 * 3 + column // 3 % 3
        self.cell = fine * 9 + coarse
        self.other = coarse * 9 + fine
        self.rng = rng
        self.rotation = np.eye(3)

    def sphere(self, turn: int, turns: int) -> Array:
        """Unit vectors (N, 3); the `turns` calls of one batch cover the sphere together."""
        points = _fibonacci_sphere(81 * turns)[81 * turn : 81 * (turn + 1)]
        if turn == 0:
            self.rotation = np.linalg.qr(self.rng.standard_normal((3, 3)))[0]
        return (points @ self.rotation).astype(np.float32)[self.cell]

    def share(self) -> Array:
        """Numbers (N,) in [0, 1), spread evenly over the blocks too."""
        return ((self.other + self.rng.random(len(self.other), np.float32)) / 81).astype(np.float32)


@lru_cache(maxsize=8)
def _fibonacci_sphere(count: int) -> NDArray[np.float64]:
    index = np.arange(count) + 0.5
    height, turn = 1 - 2 * index / count, index * math.pi * (1 + math.sqrt(5))
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)
