"""Frequency fusion: joins what Ψ saw in the whole picture with what it saw in the patch, level by level.

Channel counts are given deepest level first, as Ψ yields its features: (C, C, C, C, C, 32) in the published network,
any six counts here. The Haar transform adds and subtracts, which beats convolutions with its filters; what is to be
halved twice is divided by four once, as what lies between is linear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

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
"""The orthonormal 2x2 Haar filters LL, LH, HL, HH of a cell [[a, b], [c, d]], as published checkpoints hold them."""


class JoinedConv2d(nn.Conv2d):
    """A convolution of several maps, whose channels it joins itself: in 8 bits (`int8.py`) that copies a quarter."""

    def forward(self, maps: Sequence[Tensor]) -> Tensor:  # type: ignore[override]
        """maps: (B, C_i, h, w) each -> (B, outputs, h', w')."""
        return super().forward(torch.cat(tuple(maps), 1))


class BandConv2d(nn.Conv2d):
    """A convolution in groups whose maps are given and returned group by group, which saves joining them."""

    def forward(self, bands: Sequence[Sequence[Tensor]]) -> list[Tensor]:  # type: ignore[override]
        """bands: of every group its maps, (B, C_i, h, w) each -> (B, outputs / groups, h', w') per group."""
        weights = self.weight.chunk(self.groups)
        joined = (torch.cat(tuple(maps), 1) for maps in bands)
        return [F.conv2d(band, weight, padding=self.padding) for band, weight in zip(joined, weights, strict=True)]

    def separate(self) -> list[JoinedConv2d]:
        """A convolution for each group, with the same weights."""
        bands = []
        for weight in self.weight.chunk(self.groups):
            outputs, inputs = weight.shape[:2]
            with torch.device("meta"):
                band = JoinedConv2d(inputs, outputs, self.kernel_size, padding=self.padding, bias=False)  # type: ignore[arg-type]
            band.weight = nn.Parameter(weight, requires_grad=False)
            bands.append(band)
        return bands


class DoubleConv(nn.Sequential):
    """Twice a 3x3 convolution without bias, batch norm and ReLU; (B, inputs, h, w) -> (B, outputs, h, w).

    first_size: of the first convolution's kernel, odd. joins: whether it is given several maps with `inputs` channels
    together.
    """

    def __init__(self, inputs: int, outputs: int, first_size: int = 3, *, joins: bool = False) -> None:
        first = JoinedConv2d if joins else nn.Conv2d
        super().__init__(
            first(inputs, outputs, first_size, padding=first_size // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


def haar_sums(maps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Twice the bands of one level of the orthonormal Haar wavelet transform.

    maps (B, C, h, w) with even sides. Each cell [[a, b], [c, d]] gives a+b+c+d, a+b-c-d, a-b+c-d and a-b-c+d, that is
    2 LL, 2 LH, 2 HL and 2 HH, all (B, C, h/2, w/2).
    """
    a, b = maps[..., ::2, ::2], maps[..., ::2, 1::2]
    c, d = maps[..., 1::2, ::2], maps[..., 1::2, 1::2]
    upper, upper_step, lower, lower_step = a + b, a - b, c + d, c - d
    return upper + lower, upper - lower, upper_step + lower_step, upper_step - lower_step


def haar_cells(ll: Tensor, lh: Tensor, hl: Tensor, hh: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four times the a, b, c and d of which `haar_sums` gives the bands, all (B, C, h, w)."""
    row_sum, row_difference, column_sum, column_difference = ll + lh, ll - lh, hl + hh, hl - hh
    return (
        *(row_sum + column_sum, row_sum - column_sum),
        *(row_difference + column_difference, row_difference - column_difference),
    )


def haar_synthesis(ll: Tensor, lh: Tensor, hl: Tensor, hh: Tensor) -> Tensor:
    """Undoes `haar_sums`: four bands (B, C, h, w) -> maps (B, C, 2h, 2w), channels last in memory."""
    cells = haar_cells(*(0.25 * band for band in (ll, lh, hl, hh)))
    a, b, c, d = (cell.permute(0, 2, 3, 1) for cell in cells)  # (B, h, w, C)
    upper, lower = torch.stack((a, b), 3), torch.stack((c, d), 3)  # (B, h, w, 2, C)
    joined = torch.stack((upper, lower), 2)  # (B, h, 2, w, 2, C)
    batch, rows, _, columns, _, channels = joined.shape
    return joined.reshape(batch, 2 * rows, 2 * columns, channels).permute(0, 3, 1, 2)  # (B, C, 2h, 2w)


class WaveletFusion(nn.Module):
    """Fuses the coarse and the fine map of one level, the low and each high band on its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.low = JoinedConv2d(2 * channels, channels, 3, padding=1, bias=False)
        self.high = BandConv2d(6 * channels, 3 * channels, 3, padding=1, bias=False, groups=3)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """coarse and fine (P, C, h, w) -> (P, C, h, w); odd sides are padded with zeros at the right and the bottom."""
        height, width = coarse.shape[-2:]
        low, *details = haar_pairs(coarse, fine)
        fused = haar_synthesis(self.low(low), *self.high(details))  # (P, C, h, w) and the padding
        return fused[:, :, :height, :width]


def haar_pairs(coarse: Tensor, fine: Tensor) -> list[tuple[Tensor, Tensor]]:
    """`haar_sums` of two maps (P, C, h, w), band by band: four pairs of (P, C, h / 2, w / 2), rounded up."""
    height, width = coarse.shape[-2:]
    if torch.compiler.is_exporting() or height % 2 or width % 2:  # an exported graph must not depend on the size
        coarse, fine = (F.pad(maps, (0, width % 2, 0, height % 2)) for maps in (coarse, fine))
    return list(zip(haar_sums(coarse), haar_sums(fine), strict=True))


class InputEncoder(nn.Module):
    """The refiner's own view of a patch: a pyramid of `DoubleConv`, halved by max pooling from level to level."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        widths = list(reversed(channels))
        self.first = DoubleConv(INPUT_CHANNELS, widths[0])
        self.deeper = nn.ModuleList(DoubleConv(before, after) for before, after in pairwise(widths))

    def forward(self, x: Tensor) -> list[Tensor]:
        """x (P, 6, h, w) -> one map per width, deepest first; the last has x's size, each one before it half of
        the next, rounded down."""
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
        self.mixes = nn.ModuleList(DoubleConv(3 * c, c, joins=True) for c in channels)

    def forward(self, x: Tensor, coarse: Sequence[Tensor], fine: Sequence[Tensor]) -> list[Tensor]:
        """x (P, 6, h, w); coarse and fine: six maps each, (P, C_l, h_l, w_l), deepest first -> six maps like these."""
        return fuse_levels(self.encoder(x), coarse, fine, self.wavelets, self.mixes)


def fuse_levels(
    own: Iterable[Tensor],
    coarse: Iterable[Tensor],
    fine: Iterable[Tensor],
    joins: Iterable[Callable[[Tensor, Tensor], Tensor]],
    mixes: Iterable[Callable[[tuple[Tensor, ...]], Tensor]],
) -> list[Tensor]:
    """Level by level: own maps enlarged to the coarse ones' size, coarse and fine joined, the three mixed.

    All of one length, deepest first: own (P, C_l, any size), coarse and fine (P, C_l, h_l, w_l); joins gives
    (P, C_l, h_l, w_l) of a coarse and a fine map; mixes takes three such maps. Returns (P, C_l, h_l, w_l) each.
    """
    fused = []
    for own_map, coarse_map, fine_map, join, mix in zip(own, coarse, fine, joins, mixes, strict=True):
        size = coarse_map.shape[-2:]
        if own_map.shape[-2:] != size:
            own_map = F.interpolate(own_map, size, mode="bilinear", align_corners=True)  # (P, C_l, h_l, w_l)
        fused.append(mix((coarse_map, own_map, join(coarse_map, fine_map))))
    return fused
