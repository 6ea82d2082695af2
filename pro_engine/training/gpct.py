"""Grouped Patch Consistency Training: 2 x 2 overlapping patches are refined one by one, must agree where they overlap,
and are judged as one merged map (arXiv 2503.22351, section on GPCT). At test time no overlap is needed.

All maps here live on the region's own pixel grid; a patch is an exact window of it, so nothing is resampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import torch
from torch import Tensor

from pro_engine.training.options import PUBLISHED_OVERLAP

CONSISTENCY_WEIGHT = 4.0


@dataclass(frozen=True)
class Group:
    """Windows of four patches of `patch` (h, w) pixels in a region: top left, top right, bottom left, bottom right."""

    patch: tuple[int, int]
    region: tuple[int, int]
    corners: tuple[tuple[int, int], ...]

    def windows(self) -> list[tuple[slice, slice]]:
        """Row and column slices of each patch in the region."""
        h, w = self.patch
        return [(slice(y, y + h), slice(x, x + w)) for y, x in self.corners]


def plan_group(patch: tuple[int, int], overlap: float = PUBLISHED_OVERLAP) -> Group:
    """The group for patches of (h, w) pixels that share `overlap` (0 up to below 1) of their side with a neighbour."""
    h, w = patch
    step_y, step_x = h - round(h * overlap), w - round(w * overlap)
    corners = ((0, 0), (0, step_x), (step_y, 0), (step_y, step_x))
    return Group(patch, (h + step_y, w + step_x), corners)


def cut(group: Group, region: Tensor) -> Tensor:
    """region (..., H, W) -> patches (4, ..., h, w)."""
    return torch.stack([region[..., rows, columns] for rows, columns in group.windows()])


def merge(group: Group, patches: Tensor) -> Tensor:
    """patches (4, h, w) -> region (H, W), averaged where they overlap."""
    total = patches.new_zeros(group.region)
    count = patches.new_zeros(group.region)
    for patch, (rows, columns) in zip(patches, group.windows(), strict=True):
        total[rows, columns] = total[rows, columns] + patch
        count[rows, columns] += 1
    return total / count


def consistency_loss(group: Group, patches: Tensor) -> Tensor:
    """Sum over ordered pairs of patches of the mean squared difference on the area both cover; patches (4, h, w)."""
    h, w = group.patch
    loss = patches.new_zeros(())
    for i, j in permutations(range(4), 2):
        (yi, xi), (yj, xj) = group.corners[i], group.corners[j]
        top, left = max(yi, yj), max(xi, xj)
        bottom, right = min(yi, yj) + h, min(xi, xj) + w
        if top >= bottom or left >= right:
            continue
        a = patches[i, top - yi : bottom - yi, left - xi : right - xi]
        b = patches[j, top - yj : bottom - yj, left - xj : right - xj]
        loss = loss + (a - b).square().mean()
    return loss
