"""Frequency fusion: joins what Ψ saw in the whole picture with what it saw in the patch, level by level.

Channel counts are given deepest level first, as Ψ yields its features: (C, C, C, C, C, 32) in the published network,
any six counts here. The Haar analysis is a strided convolution, which beats slicing when the channels lie last in
memory; the synthesis adds and subtracts, which beats a transposed convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 6
INPUT_CHANNELS = 6
HAAR = (
    ((0.5, 0.5), (0.5, 0.5)),
    ((0.5, 0.5), (-0.5, -0.5)),
    ((0.5, -0.5), (0.5, -0.5)),
    ((0.5, -0.5), (-0.5, 0.5)),
)
"""The orthonormal 2x2 Haar filters LL, LH, HL, HH, to be multiplied with a cell [[a, b], [c, d]]."""


class DoubleConv(nn.Sequential):
    """Twice a 3x3 convolution without bias, batch norm and ReLU; (B, inputs, h, w) -> (B, outputs, h, w)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


def haar_analysis(maps: Tensor, filters: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One level of the orthonormal Haar wavelet transform.

    maps (B, C, h, w) with even sides; filters `HAAR` as a tensor (4, 1, 2, 2), if at hand. Each cell [[a, b], [c, d]]
    gives LL = (a+b+c+d)/2, LH = (a+b-c-d)/2, HL = (a-b+c-d)/2 and HH = (a-b-c+d)/2, all (B, C, h/2, w/2).
    """
    if filters is None:
        filters = maps.new_tensor(HAAR).unsqueeze(1)
    channels = maps.shape[1]
    ll, lh, hl, hh = (
        F.conv2d(maps, band.expand(channels, 1, 2, 2), stride=2, groups=channels)  # (B, C, h/2, w/2)
        for band in filters
    )
    return ll, lh, hl, hh


def haar_synthesis(ll: Tensor, lh: Tensor, hl: Tensor, hh: Tensor) -> Tensor:
    """Undoes `haar_analysis`: four bands (B, C, h, w) -> maps (B, C, 2h, 2w), channels last in memory."""
    row_sum, row_difference = (ll + lh) * 0.5, (ll - lh) * 0.5
    column_sum, column_difference = (hl + hh) * 0.5, (hl - hh) * 0.5
    a, b = row_sum + column_sum, row_sum - column_sum
    c, d = row_difference + column_difference, row_difference - column_difference
    a, b, c, d = (cell.permute(0, 2, 3, 1) for cell in (a, b, c, d))  # (B, h, w, C)
    upper, lower = torch.stack((a, b), 3), torch.stack((c, d), 3)  # (B, h, w, 2, C)
    cells = torch.stack((upper, lower), 2)  # (B, h, 2, w, 2, C)
    batch, rows, _, columns, _, channels = cells.shape
    return cells.reshape(batch, 2 * rows, 2 * columns, channels).permute(0, 3, 1, 2)  # (B, C, 2h, 2w)


class WaveletFusion(nn.Module):
    """Fuses the coarse and the fine map of one level, the low and each high band on its own."""

    haar: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.low = nn.Conv2d(2 * channels, channels, 3, padding=1, bias=False)
        self.high = nn.Conv2d(6 * channels, 3 * channels, 3, padding=1, bias=False, groups=3)
        self.register_buffer("haar", torch.tensor(HAAR).unsqueeze(1), persistent=False)  # (4, 1, 2, 2)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """coarse and fine (P, C, h, w) -> (P, C, h, w); odd sides are padded with zeros at the right and the bottom."""
        height, width = coarse.shape[-2:]
        both = torch.cat((coarse, fine), 1)  # (P, 2C, h, w)
        if height % 2 or width % 2:
            both = F.pad(both, (0, width % 2, 0, height % 2))
        ll, *details = haar_analysis(both, self.haar)  # four of (P, 2C, h/2, w/2)
        # The three groups of `high` are independent, so each band has its part of the weights; this saves joining them.
        weights = self.high.weight.chunk(3)
        high = [F.conv2d(band, weight, padding=1) for band, weight in zip(details, weights, strict=True)]
        fused = haar_synthesis(self.low(ll), *high)  # (P, C, h, w) and the padding
        return fused[:, :, :height, :width]


class InputEncoder(nn.Module):
    """The refiner's own view of a patch: a pyramid of `DoubleConv`, halved by max pooling from level to level."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        widths = list(reversed(channels))
        self.first = DoubleConv(INPUT_CHANNELS, widths[0])
        self.deeper = nn.ModuleList(DoubleConv(widths[i], widths[i + 1]) for i in range(LEVELS - 1))

    def forward(self, x: Tensor) -> list[Tensor]:
        """x (P, 6, h, w) -> six maps, deepest first: (P, C_l, h / 2^(5-l), w / 2^(5-l)), rounded down."""
        maps = [self.first(x)]
        for block in self.deeper:
            maps.append(block(F.max_pool2d(maps[-1], 2)))
        return maps[::-1]


class FrequencyFusion(nn.Module):
    """Encoder on the six input channels, then per level the wavelet fusion and a `DoubleConv` over all three maps."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.encoder = InputEncoder(channels)
        self.wavelets = nn.ModuleList(WaveletFusion(c) for c in channels)
        self.mixes = nn.ModuleList(DoubleConv(3 * c, c) for c in channels)

    def forward(self, x: Tensor, coarse: Sequence[Tensor], fine: Sequence[Tensor]) -> list[Tensor]:
        """x (P, 6, h, w); coarse and fine: six maps each, (P, C_l, h_l, w_l), deepest first -> six maps like these."""
        levels = zip(self.encoder(x), coarse, fine, self.wavelets, self.mixes, strict=True)
        fused = []
        for own, coarse_map, fine_map, wavelet, mix in levels:
            size = coarse_map.shape[-2:]
            if own.shape[-2:] != size:
                own = F.interpolate(own, size, mode="bilinear", align_corners=True)  # (P, C_l, h_l, w_l)
            joined = torch.cat((coarse_map, own, wavelet(coarse_map, fine_map)), 1)  # (P, 3 C_l, h_l, w_l)
            fused.append(mix(joined))
        return fused
