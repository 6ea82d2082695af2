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

STRIDES = (16, 8, 4, 2, 1)
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
    image = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)  # noise is no outline
    image = image * (0.5**0.5 / COLOUR_SIGMA)
    # Patch by patch, so that what is worked on stays in the processor's cache.
    return torch.stack([_snap(patch, colours, strides) for patch, colours in zip(maps, image, strict=True)])


def _snap(patch: Tensor, colours: Tensor, strides: Sequence[int]) -> Tensor:
    """(1, h, w) and colours (3, h, w) in units of which the squared distance is a weight's exponent -> (1, h, w)."""
    height, width = patch.shape[-2:]
    for stride in strides:
        both = torch.cat((patch, colours))[None]
        values, *channels = F.pad(both, (stride,) * 4, mode="replicate")[0]  # each (h + 2 s, w + 2 s)
        total, weights = values.clone(), torch.ones_like(values)  # a pixel itself has weight 1
        for down, right in HALF_OF_THE_NEIGHBOURS:
            here, there = pairs(values.shape, down * stride, right * stride)
            distance = torch.zeros_like(values[here])
            for channel in channels:
                distance += (channel[here] - channel[there]).square_()
            weight = distance.clamp_(max=_FARTHEST).neg_().exp_()
            for one, other in ((here, there), (there, here)):
                total[one].addcmul_(weight, values[other])
                weights[one].add_(weight)
        inside = (slice(stride, stride + height), slice(stride, stride + width))
        contrast = weights[inside].mul(-CONTRAST_GAIN / 9).add_(CONTRAST_GAIN).clamp_(0, 1)
        patch = torch.lerp(patch, total[inside] / weights[inside], contrast)
    return patch


def pairs(shape: Sequence[int], down: int, right: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Windows on a map of such a shape: all pixels that have a neighbour `down` and `right` of them, and these."""
    height, width = shape
    rows = slice(0, height - down), slice(down, height)
    columns = slice(max(0, -right), width - max(0, right)), slice(max(0, right), width - max(0, -right))
    return (rows[0], columns[0]), (rows[1], columns[1])
