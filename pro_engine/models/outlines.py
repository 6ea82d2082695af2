"""Soft outlines of a map snapped to those of the picture: an edge-avoiding à-trous filter without parameters.

Where a small Ψ sees an object end is right to some ten pixels, not to one; the picture knows better. Every pixel takes
the mean of neighbours that have its colour, from far neighbours to near ones, so that each side of a soft step takes
the value of what it belongs to. A patch of even colour stays as it is, as nothing is to be learnt from it. The weights
are those of the cross-bilateral filter, the spacing that of the edge-avoiding à-trous wavelet (Dammertz et al. 2010).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

STRIDES = (16, 7, 3, 1)
"""Distance of the neighbours in pixels, pass by pass; together more than the softness of a map from a small Ψ."""
COLOUR_SIGMA = 0.05
"""Distance in RGB, each in [0, 1], at which a neighbour's weight has fallen to exp(-1/2)."""
CONTRAST_GAIN = 2.0
"""A pixel half of whose neighbours have another colour takes the mean in full."""

HALF_OF_THE_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Steps (down, right) to half of the eight neighbours: two pixels weigh each other alike, so each pair is seen once."""
_FARTHEST = 20.0  # exponents end here: beyond, weights are nothing, and slow to calculate with where they underflow


def snap_to_outlines(maps: Tensor, image: Tensor, strides: Sequence[int] = STRIDES) -> Tensor:
    """maps (P, 1, h, w) and the picture (P, 3, h, w) RGB in [0, 1] -> (P, 1, h, w)."""
    image = _mean3(image.contiguous()) * (0.5**0.5 / COLOUR_SIGMA)  # noise is no outline
    # Patch by patch, so that what is worked on stays in the processor's cache.
    return torch.stack([_snap(patch, colours, strides) for patch, colours in zip(maps, image, strict=True)])


def _mean3(image: Tensor) -> Tensor:
    """Mean of 3x3 pixels of (P, C, h, w); plain sums beat the pooling of torch on few channels."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    rows = (padded[..., :-2, :] + padded[..., 1:-1, :]).add_(padded[..., 2:, :])  # (P, C, h, w + 2)
    return (rows[..., :-2] + rows[..., 1:-1]).add_(rows[..., 2:]).div_(9)  # (P, C, h, w)


def _snap(patch: Tensor, colours: Tensor, strides: Sequence[int]) -> Tensor:
    """(1, h, w) and colours (3, h, w) in units of which the squared distance is a weight's exponent -> (1, h, w)."""
    height, width = patch.shape[-2:]
    reach = max(strides)
    colours = F.pad(colours[None], (reach,) * 4, mode="replicate")[0]  # (3, h + 2 reach, w + 2 reach)
    # To ask the system for memory of this size takes longer than to fill it, so all passes share some.
    scratch = patch.new_empty(4, (height + 2 * reach) * (width + 2 * reach))
    for stride in strides:
        values = F.pad(patch[None], (stride,) * 4, mode="replicate")[0, 0]  # (h + 2 s, w + 2 s)
        rim = slice(reach - stride, stride - reach or None)
        near = colours[:, rim, rim]  # (3, h + 2 s, w + 2 s)
        total, weights = (_as_map(line, values.shape) for line in scratch[:2])
        total.copy_(values)
        weights.fill_(1)  # a pixel itself has weight 1
        for down, right in HALF_OF_THE_NEIGHBOURS:
            here, there = pairs(values.shape, down * stride, right * stride)
            distance, part = (_as_map(line, values[here].shape) for line in scratch[2:])
            distance.zero_()
            for channel in near:
                torch.sub(channel[here], channel[there], out=part)
                distance.addcmul_(part, part)
            weight = distance.clamp_(max=_FARTHEST).neg_().exp_()
            for one, other in ((here, there), (there, here)):
                total[one].addcmul_(weight, values[other])
                weights[one].add_(weight)
        inside = (slice(stride, stride + height), slice(stride, stride + width))
        contrast = weights[inside].mul(-CONTRAST_GAIN / 9).add_(CONTRAST_GAIN).clamp_(0, 1)
        patch = torch.lerp(patch, total[inside].div_(weights[inside]), contrast)
    return patch


def _as_map(line: Tensor, shape: torch.Size) -> Tensor:
    return line[: shape.numel()].view(shape)


def pairs(shape: Sequence[int], down: int, right: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Windows on a map of such a shape: all pixels that have a neighbour `down` and `right` of them, and these."""
    height, width = shape
    rows = slice(0, height - down), slice(down, height)
    columns = slice(max(0, -right), width - max(0, right)), slice(max(0, right), width - max(0, -right))
    return (rows[0], columns[0]), (rows[1], columns[1])
