"""What a refiner is to aim at: the label's outlines on Ψ's layout.

A small Ψ is often wrong in the large: it sees a slope where there is a floor and a wall. A refiner sees one patch at a
time, cannot know better, and, asked for the label itself, spends its strength on guesses that differ from patch to
patch. So the label is first fitted to Ψ's map of the region with a scale and a shift that vary smoothly (the local
linear model of the guided filter, He et al. 2010, with the label as guide and no smoothing of it). Where Ψ is right the
fit changes nothing; where it is wrong the outlines stay and the layout is Ψ's. Ψ's map is the frequency blend of the
whole picture's and the patches' maps, as that knows of things which the former alone has missed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW_SHARE = 0.2
"""Radius of the fit's window as a share of the patch's shorter side: more than the blur of a coarse map."""
LARGEST_SCALE = 4.0
"""A label is never exaggerated by more than this; an inverted one is flattened (scale 0)."""
_CELL = 4
_FLAT = 0.01
"""Variance, in units of the normalised label, below which a window holds nothing to fit."""


def local_target(label: Tensor, coarse: Tensor, radius: int, mask: Tensor | None = None) -> Tensor:
    """The label with the local scale and shift of the coarse map.

    Args:
        label: (B, H, W) normalised disparity.
        coarse: (B, H, W) the coarse map on the same pixels, normalised likewise.
        radius: of the window in pixels, at least 4.
        mask: (B, H, W) bool, where the label is known; None for everywhere. Windows are fitted over it alone.

    Returns:
        (B, H, W) scale * label + shift. Scale and shift are fitted by least squares per window on a lattice of
        4x4 pixels and interpolated.
    """
    height, width = label.shape[-2:]
    known = torch.ones_like(label) if mask is None else mask.to(label.dtype)
    label = torch.where(known > 0, label, torch.zeros_like(label))
    stack = torch.stack((known, label, known * coarse, label * label, label * coarse), 1)  # (B, 5, H, W)
    reach = max(1, radius // _CELL)
    total, *sums = box_mean(F.avg_pool2d(stack, _CELL, ceil_mode=True), reach).split(1, 1)
    mean, goal, square, product = (value / total.clamp_min(1e-6) for value in sums)  # (B, 1, H / 4, W / 4)
    scale = ((product - mean * goal) / (square - mean * mean + _FLAT)).clamp(0, LARGEST_SCALE)
    both = box_mean(torch.cat((scale, goal - scale * mean), 1), reach)
    both = F.interpolate(both, (height, width), mode="bilinear", align_corners=False)
    return both[:, 0] * label + both[:, 1]


def box_mean(maps: Tensor, radius: int) -> Tensor:
    """Mean over windows of 2 * radius + 1 cells, borders repeated; (B, C, h, w) -> (B, C, h, w)."""
    size = 2 * radius + 1
    maps = F.avg_pool2d(F.pad(maps, (0, 0, radius, radius), mode="replicate"), (size, 1), 1)
    return F.avg_pool2d(F.pad(maps, (radius, radius, 0, 0), mode="replicate"), (1, size), 1)
