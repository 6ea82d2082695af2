"""Things laid on one another: a grid of heights says how high each new one comes to rest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .builder import Array
from .dice import Dice
from .scene import SceneMesh

CELL_M = 0.012
SAMPLES = 700
"""Points that stand for the surface of a thing; its corners are always among them."""


class Heap:
    """What stands on a rectangle centred on the z axis, as heights over a grid."""

    def __init__(self, dice: Dice, width: float, depth: float, z: float = 0.0) -> None:
        self._dice, self._size = dice, (width, depth)
        shape = (max(1, round(width / CELL_M)), max(1, round(depth / CELL_M)))
        self.heights = np.full(shape, z)

    def block(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        """Keep a rectangle free of things."""
        first, last = (self._cells(np.array([[x[side], y[side]]]))[0] for side in (0, 1))
        low, high = np.maximum(first, 0), last + 1
        self.heights[low[0] : high[0], low[1] : high[1]] = np.inf

    def lay(self, mesh: SceneMesh, turn: Array, *, tries: int = 4, highest: float = np.inf) -> Array | None:
        """Put a mesh, turned by a 4x4 rotation, on the lowest of some random places.

        Returns its 4x4 placement; None where no place was wide enough, or the thing would rise above `highest`.
        """
        points = _surface(mesh, self._dice.rng) @ turn[:3, :3].T
        best: tuple[float, Array, NDArray[np.int64]] | None = None
        for _ in range(tries):
            spot = [self._dice.uniform(-0.5, 0.5) * side for side in self._size]
            cells = self._cells(points[:, :2] + spot)
            if (cells < 0).any() or (cells >= self.heights.shape).any():
                continue
            rest = float((self.heights[cells[:, 0], cells[:, 1]] - points[:, 2]).max())
            top = rest + float(points[:, 2].max())
            if top <= highest and np.isfinite(top) and (best is None or top < best[0]):
                best = (top, np.array([*spot, rest]), cells)
        if best is None:
            return None
        _, move, cells = best
        np.maximum.at(self.heights, (cells[:, 0], cells[:, 1]), points[:, 2] + move[2])
        placed = turn.copy()
        placed[:3, 3] = move
        return placed

    def _cells(self, places: Array) -> NDArray[np.int64]:
        """Grid cells (N, 2) of ground points (N, 2); outside the grid where the points are."""
        return np.floor((places / self._size + 0.5) * self.heights.shape).astype(np.int64)


def _surface(mesh: SceneMesh, rng: np.random.Generator) -> Array:
    """The corners of a mesh and random points spread evenly over its triangles, (N, 3)."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]].astype(float) for corner in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = rng.choice(len(area), SAMPLES, p=area / area.sum())
    u, v = rng.random((2, SAMPLES, 1))
    over = u + v > 1
    u, v = np.where(over, 1 - u, u), np.where(over, 1 - v, v)
    inside = a[chosen] + u * (b[chosen] - a[chosen]) + v * (c[chosen] - a[chosen])
    return np.concatenate([mesh.vertices.astype(float), inside])
