"""What a vision transformer tells of a photo as such, beside its map: the lens, the range of its distances, the sky.

The lens and the range are read from the tokens of the two deepest taps, summed up so that the size of the picture does
not count; the sky from the tokens of all taps, place by place, and from the decoder's maps, which still have its
outline. All of them come from a network that is frozen while these are trained (`training/heads.py`). The shallow taps
know less of renders and of what the network makes of a picture: a sky in a frame that it takes for near is one to them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pro_engine.models.contract import WholeOutput

TAPS = 2
"""How many of the trunk's taps are summed up, deepest ones."""
SKY_LEVELS = slice(3, 5)
"""The decoder's levels of strides 4 and 2, which have the sky's outline."""
USUAL_FOCAL, READ_SHARE = 1.0, 0.2
"""The focal length of cameras, as a share of the square root of the picture's area (60 degrees across the width of a
4:3 picture), and how far the estimate goes from there to what is read, in logarithms. What is read is right about
renders and little more than a guess for photos (`docs/training.md`)."""
_KEYS = "heads."
_SUMS = 6
_HIDDEN, _SKY_HIDDEN = 128, 32


def summed_up(taps: list[Tensor], rows: int, columns: int) -> Tensor:
    """Tokens (B, 1 + rows * columns, C) of each tap, the class token first -> (B, TAPS * 6 * C): the class token; the
    mean of the others, alone and weighted with height, its square and the square of the distance from the middle
    column; their standard deviation."""
    v = _places(rows, taps[0])[:, None].expand(rows, columns).flatten()[:, None]
    u = _places(columns, taps[0])[None].expand(rows, columns).flatten()[:, None]
    parts = []
    for tokens in taps[-TAPS:]:
        rest = tokens[:, 1:].float()
        mean = rest.mean(1)
        spread = ((rest - mean[:, None]) ** 2).mean(1).sqrt()
        weighted = ((rest * weight).mean(1) for weight in (v, v * v, u * u))
        parts += [tokens[:, 0].float(), mean, *weighted, spread]
    return torch.cat(parts, 1)


def sky_maps(taps: list[Tensor], levels: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """What the sky is read from: tokens of all taps (B, sum of C, h/14, w/14) and fine maps (B, sum of C, h/2, w/2)."""
    rows, columns = levels[0].shape[-2:]
    tokens = torch.cat([one[:, 1:].float() for one in taps], 2)
    fine = levels[SKY_LEVELS]
    size = fine[-1].shape[-2:]
    joined = torch.cat([F.interpolate(one.float(), size, mode="bilinear", align_corners=False) for one in fine], 1)
    return tokens.unflatten(1, (rows, columns)).permute(0, 3, 1, 2), joined


def without_heads(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network that are not of its heads."""
    return {key: value for key, value in tensors.items() if not key.startswith(_KEYS)}


class PhotoHeads(nn.Module):
    """Tokens and levels of a whole picture -> `WholeOutput` with focal length, range and sky. taps: how many there are;
    width, channels: of their tokens and of the levels."""

    def __init__(self, taps: int, width: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        sums = TAPS * _SUMS * width
        self.photo = nn.Sequential(
            nn.BatchNorm1d(sums, affine=False),
            nn.Dropout(0.3),
            nn.Linear(sums, _HIDDEN),
            nn.GELU(),
            nn.Dropout(0.2),
            nn.Linear(_HIDDEN, 3),
        )
        self.sky = SkyHead(taps * width, sum(channels[SKY_LEVELS]))

    def forward(self, taps: list[Tensor], levels: tuple[Tensor, ...], size: tuple[int, int]) -> WholeOutput:
        """taps: see `summed_up`; levels: of the decoder; size: height and width of the input in pixels."""
        rows, columns = levels[0].shape[-2:]
        focal, span = lens_and_range(self.photo(summed_up(taps, rows, columns)))
        focal = USUAL_FOCAL * (focal / USUAL_FOCAL) ** READ_SHARE
        sky = torch.sigmoid(self.sky(*sky_maps(taps, levels)))
        return WholeOutput(sky=sky, focal_px=focal * (size[0] * size[1]) ** 0.5, span=span)


class SkyHead(nn.Module):
    """Tokens (B, C, h, w) and fine maps (B, D, H, W) of the same picture -> the sky (B, 1, H, W), logits.

    Enlarging the tokens and weighting their channels are linear both, so the few channels are enlarged.
    """

    def __init__(self, tokens: int, fine: int) -> None:
        super().__init__()
        self.tokens = nn.Conv2d(tokens, _SKY_HIDDEN, 1)
        self.fine = nn.Conv2d(fine, _SKY_HIDDEN, 1)
        self.out = nn.Conv2d(_SKY_HIDDEN, 1, 1)

    def forward(self, tokens: Tensor, fine: Tensor) -> Tensor:
        """See the class."""
        deep = F.interpolate(self.tokens(tokens), fine.shape[-2:], mode="bilinear", align_corners=False)
        found: Tensor = self.out(F.relu(deep + self.fine(fine)))
        return found


def lens_and_range(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 3) -> the focal length (B, 1) as it is read, as a share of the square root of the picture's area; (B, 2)
    metres of the nearest and the farthest surface."""
    focal, near, ratio = numbers.float().split(1, 1)
    near = near.exp()
    return focal.exp(), torch.cat([near, near * F.softplus(ratio).exp()], 1)


def _places(count: int, like: Tensor) -> Tensor:
    """Of `count` cells in a row, from -1 to 1, edges of cells at the ends."""
    return (torch.arange(count, device=like.device) + 0.5) * (2 / count) - 1
