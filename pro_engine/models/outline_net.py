"""Where outlines of things are in a picture, and which side of one a pixel belongs to: a small network for any map.

A refined map knows which things are before which, and is soft by some ten pixels. The picture is sharp, and does not
know an outline from a pattern. This network sees both, on the whole canvas, and says two things about every pixel:
whether an outline of depth is near by, and whether the pixel lies on the near side of it. Both are easier to learn
than a map: labels are dense, come from renders, and a doubtful answer is no slope. What things are it takes from the
trunk of `compact`, which has seen photos; that runs on the picture at half its size and is not trained.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pro_engine.models.compact import EfficientNetLite0

MULTIPLE = 64
"""Sides of pictures are multiples of it: the trunk's map at stride 32 is of the picture at half its size."""
COARSE_CELL = 4
"""The coarse map is soft, so a mean of this many pixels a side is seen of it."""
TRUNK_BLOCKS = 11
WIDTHS = (16, 32, 48, 64)
"""Channels of the own maps at strides 2, 4, 8 and 16."""
_TAPS = (16, 24, 40, 112)
MAPS = 4
"""Channels in which it sees a map, see `inference/sides.py`."""


class Outlines(NamedTuple):
    """Logits (B, h, w): that an outline is near, and that a pixel is on its near side."""

    near_by: Tensor
    near_side: Tensor


class OutlineNet(nn.Module):
    """The network of the module docstring."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = EfficientNetLite0()
        self.trunk.blocks = self.trunk.blocks[:TRUNK_BLOCKS]
        half, quarter, eighth, sixteenth = WIDTHS
        self.enter = _conv(4 * (3 + MAPS), half)
        self.down = _conv(half, quarter, 2)
        self.coarse = _conv(MAPS, quarter)
        self.deepest = nn.Conv2d(_TAPS[3], sixteenth, 1)
        self.laterals = nn.ModuleList(nn.Conv2d(t, w, 1) for t, w in zip(_TAPS[:3], WIDTHS[1:], strict=True))
        self.mixes = nn.ModuleList(
            (
                nn.Sequential(*_conv(quarter, quarter), *_conv(quarter, quarter)),
                _conv(eighth, eighth),
                _conv(sixteenth, sixteenth),
            )
        )
        self.ups = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(WIDTHS[1:], WIDTHS[:-1], strict=True))
        self.last = _conv(half, half)
        self.leave = nn.Conv2d(half, 8, 3, padding=1)

    def forward(self, image: Tensor, refined: Tensor, coarse: Tensor) -> Outlines:
        """image (B, 3, h, w) RGB in [0, 1]; what `inference.sides.patterns` gives of the refined map (B, 4, h, w), and
        of the coarse one at a quarter of the size (B, 4, h / 4, w / 4); sides multiples of 64."""
        with torch.no_grad():
            taps = self.trunk(F.avg_pool2d(image, 2).contiguous(memory_format=torch.channels_last))
        x = F.pixel_unshuffle(torch.cat((image - 0.5, refined), 1), 2).contiguous(memory_format=torch.channels_last)
        half = self.enter(x)
        quarter = self.down(half) + self.coarse(coarse)
        y = self.deepest(taps[3])
        y = self.mixes[2](_enlarged(y, taps[2]) + self.laterals[2](taps[2]))
        y = self.mixes[1](_enlarged(self.ups[2](y), taps[1]) + self.laterals[1](taps[1]))
        y = self.mixes[0](_enlarged(self.ups[1](y), taps[0]) + self.laterals[0](taps[0]) + quarter)
        y = self.last(_enlarged(self.ups[0](y), half) + half)
        near_by, near_side = F.pixel_shuffle(self.leave(y), 2).float().unbind(1)
        return Outlines(near_by, near_side)


def _enlarged(maps: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=False)


def _conv(inputs: int, outputs: int, shrink: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, shrink, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
