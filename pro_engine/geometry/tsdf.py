"""Depth maps of a scene into one surface: a truncated signed distance on voxels near what the maps see.

Curless and Levoy, A Volumetric Method for Building Complex Models from Range Images, 1996; the surface is drawn out by
naive surface nets (Gibson, Constrained Elastic Surface Nets, 1998): a vertex in each cell that the surface crosses.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import InputError
from pro_engine.geometry.views import DepthView
from pro_engine.types import ImageArray, Mesh

Keys = NDArray[np.int64]

BITS = 20
OFFSET = 1 << (BITS - 1)
CORNERS = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)])
EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(CORNERS[a] - CORNERS[b]).sum() == 1]
CHUNK = 1 << 20
MOST_VOXELS = 30_000_000


def _pack(cells: NDArray[np.integer]) -> Keys:
    x, y, z = (cells[:, axis].astype(np.int64) + OFFSET for axis in range(3))
    return (x << 2 * BITS) | (y << BITS) | z


def _unpack(keys: Keys) -> Keys:
    mask = (1 << BITS) - 1
    return np.stack([keys >> 2 * BITS, (keys >> BITS) & mask, keys & mask], axis=1) - OFFSET


def _step(axis: int) -> int:
    return 1 << ((2 - axis) * BITS)


class Volume:
    """Signed distances on voxels of one size, in the unit of the poses.

    Args:
        voxel: side of a voxel. truncation: distance from a surface up to which a map says something.
        low, high: (3,) corners of the box that is kept.
    """

    def __init__(self, voxel: float, truncation: float, low: NDArray[np.floating], high: NDArray[np.floating]) -> None:
        self._voxel, self._truncation = voxel, truncation
        self._low, self._cells = np.asarray(low, dtype=np.float64), np.ceil((high - low) / voxel)
        self._keys: Keys = np.empty(0, dtype=np.int64)
        self._sums: NDArray[np.float32] | None = None

    def reserve(self, view: DepthView) -> None:
        """Make room around what a view sees. All views come before the first `add`."""
        k = view.intrinsics
        finite = view.depth[np.isfinite(view.depth)]
        if not finite.size:
            return
        stride = max(1, int(0.7 * self._voxel * k.fx / max(float(np.median(finite)), 1e-12)))
        world = view.world_points()[::stride, ::stride].reshape(-1, 3).astype(np.float64)
        world = world[np.isfinite(world[:, 0])]
        center = -view.pose[:, :3].T @ view.pose[:, 3]
        ray = world - center
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        found = [self._keys]
        for along in np.arange(-self._truncation, self._truncation + self._voxel, self._voxel):
            cells = np.floor((world + ray * along - self._low) / self._voxel)
            cells = cells[((cells >= 0) & (cells < self._cells)).all(axis=1)].astype(np.int64)
            found.append(np.unique(_pack(cells)))
        self._keys = np.unique(np.concatenate(found))
        if len(self._keys) > MOST_VOXELS:
            raise InputError(f"The surface needs more than {MOST_VOXELS:,} voxels; give larger ones.")

    def add(self, view: DepthView, weight: NDArray[np.float32], image: ImageArray) -> None:
        """Take what a view sees: weight (H, W), 0 for pixels that do not count; image (H, W, 3)."""
        if self._sums is None:
            self._sums = np.zeros((len(self._keys), 6), dtype=np.float32)  # weight, distance, r, g, b, views
        colors, trust = image.reshape(-1, 3), weight.ravel()
        for start in range(0, len(self._keys), CHUNK):
            part = slice(start, start + CHUNK)
            world = _unpack(self._keys[part]) * self._voxel + self._low
            z, seen, pixel = view.sample(world)
            with np.errstate(invalid="ignore"):
                distance = (seen - z) / self._truncation
                near = np.flatnonzero(np.isfinite(seen) & (trust[pixel] > 0) & (distance > -1))
            at, share = np.minimum(distance[near], 1).astype(np.float32), trust[pixel[near]]
            sums = self._sums[part]
            sums[near, 0] += share
            sums[near, 1] += share * at
            sums[near, 2:5] += share[:, None] * colors[pixel[near]]
            sums[near, 5] += 1

    def surface(self, least_views: int = 1) -> Mesh:
        """The surface where at least so many views say something.

        Raises:
            InputError: there is none.
        """
        sums = self._sums if self._sums is not None else np.zeros((0, 6), dtype=np.float32)
        known = np.flatnonzero((sums[:, 0] > 0) & (sums[:, 5] >= least_views))
        keys, distance = self._keys[known], sums[known, 1] / sums[known, 0]
        corner, values = _crossed(keys, distance)
        if not len(corner):
            raise InputError("The maps show no common surface; check that they were aligned, or give smaller voxels.")
        cells = corner[:, 0]
        place, count = np.zeros((len(cells), 3)), np.zeros((len(cells), 1))
        for a, b in EDGES:
            first, second = values[:, a], values[:, b]
            cut = (first < 0) != (second < 0)
            share = first[cut] / (first[cut] - second[cut])
            place[cut] += CORNERS[a] + share[:, None] * (CORNERS[b] - CORNERS[a])
            count[cut] += 1
        vertices = (_unpack(keys[cells]) + place / count) * self._voxel + self._low
        number = np.full(len(keys), -1)
        number[cells] = np.arange(len(cells))
        faces = _faces(keys, distance, number)
        if not len(faces):
            raise InputError("The maps show no common surface; check that they were aligned, or give smaller voxels.")
        of_corners = (sums[known[rows]] for rows in corner.T)
        tint = np.mean([one[:, 2:5] / one[:, :1] for one in of_corners], axis=0).round().astype(np.uint8)
        return Mesh(vertices.astype(np.float32), faces.astype(np.int32), colors=tint)


def _rows(keys: Keys, wanted: Keys) -> NDArray[np.int64]:
    """Where sorted keys hold those that are wanted; -1 for others."""
    if not len(keys):
        return np.full(len(wanted), -1)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, place, -1)


def _crossed(keys: Keys, distance: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The cells that the surface crosses: rows (C, 8) of their corners, the cell's own first, and distances there."""
    shifts = CORNERS @ [_step(axis) for axis in range(3)]
    found = [(np.empty((0, 8), dtype=np.int64), np.empty((0, 8), dtype=np.float32))]
    for start in range(0, len(keys), CHUNK):
        corner = np.stack([_rows(keys, keys[start : start + CHUNK] + shift) for shift in shifts], axis=1)
        corner = corner[(corner >= 0).all(axis=1)]
        values = distance[corner]
        crossed = (values.min(axis=1) < 0) & (values.max(axis=1) >= 0)
        found.append((corner[crossed], values[crossed]))
    corners, distances = zip(*found, strict=True)
    return np.concatenate(corners), np.concatenate(distances)


def _faces(keys: Keys, distance: NDArray[np.float32], number: NDArray[np.int64]) -> NDArray[np.int64]:
    """Two triangles around each edge between voxels whose signs differ; seen from outside counter-clockwise."""
    found = []
    for axis, start in product(range(3), range(0, len(keys), CHUNK)):
        part = slice(start, start + CHUNK)
        after = _rows(keys, keys[part] + _step(axis))
        crossed = start + np.flatnonzero((after >= 0) & ((distance[part] < 0) != (distance[after] < 0)))
        second, third = _step((axis + 1) % 3), _step((axis + 2) % 3)
        around = [_rows(keys, keys[crossed] - shift) for shift in (0, second, second + third, third)]
        corners = np.stack([np.where(rows >= 0, number[rows], -1) for rows in around], axis=1)
        whole = (corners >= 0).all(axis=1)
        corners, inside = corners[whole], distance[crossed[whole]] < 0
        corners = np.where(inside[:, None], corners, corners[:, ::-1])
        found += [corners[:, (0, 1, 2)], corners[:, (0, 2, 3)]]
    return np.concatenate(found)
