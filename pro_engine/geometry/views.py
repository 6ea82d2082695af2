"""Several depth maps of one scene, held against each other through the poses of their cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pro_engine.geometry.camera import unproject
from pro_engine.types import BoolMap, FloatMap, Intrinsics

UNSEEN = 0.5
"""Confidence of a pixel that no other view sees."""


@dataclass(frozen=True, eq=False)
class DepthView:
    """A depth map (H, W), its camera, its pose (3, 4) from the world to the camera, and its relative error."""

    depth: FloatMap
    intrinsics: Intrinsics
    pose: NDArray[np.float64]
    error: float

    def world_points(self) -> NDArray[np.float32]:
        """(H, W, 3) in the world, NaN where the depth is not finite."""
        points = unproject(self.depth, self.intrinsics).astype(np.float64) - self.pose[:, 3]
        world: NDArray[np.float32] = (points @ self.pose[:, :3]).astype(np.float32)
        return world

    def sample(self, world: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
        """Of points (N, 3) of the world: their z here, the depth of the pixel in which they lie, and that pixel.

        The depth is NaN, and the pixel 0, for points outside the picture; the pixel counts along the rows.
        """
        k, (height, width) = self.intrinsics, self.depth.shape
        there = np.asarray(world, dtype=np.float64) @ self.pose[:, :3].T + self.pose[:, 3]
        z = there[:, 2]
        with np.errstate(invalid="ignore", divide="ignore"):
            column, row = there[:, 0] / z * k.fx + k.cx, there[:, 1] / z * k.fy + k.cy
            inside = (z > 0) & (column > -0.5) & (column < width - 0.5) & (row > -0.5) & (row < height - 0.5)
        pixel = np.zeros(len(z), dtype=np.intp)
        pixel[inside] = np.rint(row[inside]).astype(np.intp) * width + np.rint(column[inside]).astype(np.intp)
        return z, np.where(inside, self.depth.ravel()[pixel], np.nan), pixel


@dataclass(frozen=True, eq=False)
class Agreement:
    """What other views say of the pixels of one: agree and contradict (H, W) uint8 count them.

    names: of the views. who (H, W) uint32: bit i is set where view names[i] agrees.
    """

    agree: NDArray[np.uint8]
    contradict: NDArray[np.uint8]
    names: tuple[str, ...]
    who: NDArray[np.uint32]

    @property
    def confidence(self) -> FloatMap:
        """(H, W) float32: the share of the views that agree, of those that say something; 0.5 where none does."""
        total = self.agree.astype(np.float32) + self.contradict
        share = np.where(total > 0, self.agree / np.maximum(total, 1), UNSEEN)
        return share.astype(np.float32)

    @property
    def contradicted(self) -> BoolMap:
        """(H, W) bool: two views (or the only one there is) contradict, and more of them than agree."""
        marked: BoolMap = (self.contradict >= min(2, max(len(self.names), 1))) & (self.contradict > self.agree)
        return marked


def tolerance(*errors: float) -> float:
    """Relative step in depth up to which maps of these errors agree: three of them, within 3 % and 10 %.

    Errors are those at points, where there is texture; between them maps are worse.
    """
    return float(np.clip(3 * max(errors), 0.03, 0.1))


def compare(view: DepthView, others: dict[str, DepthView]) -> Agreement:
    """Hold a map against those of other views, at most 32.

    A view agrees where it sees a surface in the same place. It contradicts where it sees through: its surface lies
    behind. Where its surface lies in front, the place is hidden from it, and it says nothing.
    """
    shape = view.depth.shape
    world = view.world_points().reshape(-1, 3)
    known = np.flatnonzero(np.isfinite(world[:, 2]))
    agree, contradict = (np.zeros(view.depth.size, dtype=np.uint8) for _ in range(2))
    who = np.zeros(view.depth.size, dtype=np.uint32)
    for bit, other in enumerate(others.values()):
        z, seen, _ = other.sample(world[known])
        slack = tolerance(view.error, other.error)
        with np.errstate(invalid="ignore"):
            same, through = np.abs(z - seen) <= slack * seen, z < seen * (1 - slack)
        agree[known[same]] += 1
        who[known[same]] |= np.uint32(1 << bit)
        contradict[known[through]] += 1
    return Agreement(agree.reshape(shape), contradict.reshape(shape), tuple(others), who.reshape(shape))
