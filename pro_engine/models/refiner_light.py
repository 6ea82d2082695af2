"""A PRO refiner for a Ψ that is small itself, beside which the published network would be the slow part.

What it does is what `pro.ProRefiner` does, and most of its parts are the same ones. Where it differs:

- All of it is done on the four deepest levels, the shallowest at a quarter of the patch's size: the input is averaged
  over 4x4 pixels, and the residual is enlarged bilinearly. Sharp outlines come from what it is added to
  (`pro.MapStart`). A residual of 16 channels that become 4x4 pixels was tried, and learnt a grid.
- Own and Ψ's maps are mixed pixel by pixel before the first 3x3 convolution, the two shallowest levels join the maps of
  Ψ without the wavelet transform, and the decoder adds a level as it is. Together this saves a third of the arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pro_engine.models.contract import Refiner, RefinerInput
from pro_engine.models.fusion import DoubleConv, InputEncoder, WaveletFusion, fuse_levels
from pro_engine.models.refiner_published import HeadBlock, MapStart

_LEVELS = 4
_DEEP_LEVELS = 2
_CELL = 4


class LightRefiner(Refiner):
    """The refiner of the module docstring, for a Ψ whose feature levels have `channels` channels, deepest first; the
    first four are looked at."""

    sharpens = True
    feature_levels = _LEVELS

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(channels[:_LEVELS])
        if len(self.channels) < _LEVELS:
            raise ValueError(f"channels is {self.channels}; give at least {_LEVELS} counts, deepest level first")
        *deeper, top = self.channels
        self.start = MapStart("snapped")
        self.encoder = InputEncoder(self.channels)
        self.wavelets = nn.ModuleList(WaveletFusion(c) for c in self.channels[:_DEEP_LEVELS])
        self.mixes = nn.ModuleList(DoubleConv(3 * c, c, 1, joins=True) for c in self.channels)
        self.blocks = nn.ModuleList(
            HeadBlock(c, self.channels[level + 1], skips=False) for level, c in enumerate(deeper)
        )
        self.join = nn.Conv2d(2 * top, top // 2, 3, padding=1)
        self.last = nn.Sequential(
            nn.Conv2d(top // 2, top, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(top, 1, 1, bias=False),
        )

    def forward(self, patches: RefinerInput) -> Tensor:
        """See `Refiner.forward`."""
        start, x = self.start(patches)
        return start + self.residual(x, patches.coarse_features, patches.fine_features)

    def residual(self, x: Tensor, coarse: Sequence[Tensor], fine: Sequence[Tensor]) -> Tensor:
        """All that is learnt: input channels (P, 6, h, w) and at least four maps of each pass -> (P, 1, h, w)."""
        small = F.avg_pool2d(x, _CELL).contiguous(memory_format=torch.channels_last)  # (P, 6, h / 4, w / 4)
        joins = (*self.wavelets, *[_fine_alone] * (_LEVELS - _DEEP_LEVELS))
        levels = fuse_levels(self.encoder(small), coarse[:_LEVELS], fine[:_LEVELS], joins, self.mixes)
        y = levels[0]
        for i, block in enumerate(self.blocks):
            y = block(y, levels[i] if i else None, levels[i + 1].shape[-2:])
        y = self.last(self.join(torch.cat((y, levels[-1]), 1)))  # (P, 1, h_3, w_3)
        return F.interpolate(y, x.shape[-2:], mode="bilinear", align_corners=False)


def _fine_alone(coarse: Tensor, fine: Tensor) -> Tensor:
    """In the place of a `WaveletFusion`: the mix sees the coarse map by itself anyway."""
    return fine
