"""A refiner that needs no training: low frequencies from the whole picture, high frequencies from the patch.

For any Ψ without a trained refiner. The patch's own disparity f is an unknown affine map away from the whole-image
disparity c, so it is first fitted to c on a coarse lattice of smoothed values, by absolute deviation. Then

    refined = c + agreement * limited((f - c) - smooth(f - c)),

which is smooth(c) plus the fine structure of f where the two agree, and c where they do not: `agreement` rises from 0
to 1 with the share of c's deviation that the fit explains (nothing, if it is inverted), and a detail may not be larger
than the range of c around it plus a margin.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from pro_engine.models.contract import Refiner, RefinerInput

SIGMA_SHARE = 1 / 16
"""Sigma of the low-pass as a share of the patch's shorter side: about the blur of an enlarged coarse map."""
DETAIL_MARGIN = 0.5
"""Detail allowed where the coarse map is flat, in mean absolute deviations of the picture: thin things it missed."""
AGREEMENT_RAMP = (0.1, 0.5)
"""Explained share below which the patch is ignored, and above which it counts in full."""
_FIT_ROUNDS = 8
_SMALLEST_RESIDUAL = 0.02
_TINY = 1e-12


class BlendRefiner(Refiner):
    """Frequency blend without parameters; see the module docstring."""

    feature_levels = 0

    def forward(self, patches: RefinerInput) -> Tensor:
        """Uses coarse, fine, center and spread alone, neither image nor features. Returns (P, 1, h, w)."""
        # Convolutions in half precision would show as steps in a smooth surface.
        with torch.autocast(patches.coarse.device.type, enabled=False):
            coarse = (patches.coarse.float() - patches.center) / patches.spread.clamp_min(_TINY)  # (P, 1, h, w)
            fine = _standardised(patches.fine.float())
            sigma = max(min(coarse.shape[-2:]) * SIGMA_SHARE, 1.0)
            smooth_coarse, smooth_fine = smooth(torch.stack((coarse, fine)), sigma)
            step = max(int(sigma), 1)
            lattice = (smooth_fine[..., ::step, ::step].flatten(1), smooth_coarse[..., ::step, ::step].flatten(1))
            scale, shift, explained = (value.view(-1, 1, 1, 1) for value in fit_affine(*lattice))  # (P, 1, 1, 1)
            low, high = AGREEMENT_RAMP
            agreement = ((explained - low) / (high - low)).clamp(0, 1)
            difference = fine * scale + shift - coarse
            detail = difference - (smooth_fine * scale + shift - smooth_coarse)
            limit = local_range(coarse, int(2 * sigma)) + DETAIL_MARGIN
            return coarse + agreement * detail.clamp(-limit, limit)


def _standardised(maps: Tensor) -> Tensor:
    """(P, 1, h, w) with mean 0 and standard deviation 1 each; one without variation becomes 0."""
    mean = maps.mean((1, 2, 3), keepdim=True)
    centered = maps - mean
    deviation = centered.square().mean((1, 2, 3), keepdim=True).sqrt()
    flat = deviation <= 1e-6 * mean.abs() + _TINY
    return torch.where(flat, torch.zeros_like(maps), centered / deviation.clamp_min(_TINY))


def smooth(maps: Tensor, sigma: float) -> Tensor:
    """Gaussian low-pass of (..., h, w), sigma in pixels; beyond a border the map goes on point-symmetrically about its
    border value, so that a slope stays a slope and no step appears between neighbours.

    As two products of matrices, which are faster than convolutions with kernels as long as a quarter of the map.
    """
    height, width = maps.shape[-2:]
    radius = min(max(int(3 * sigma), 1), min(height, width) - 1)
    rows, columns = (_low_pass(side, sigma, radius, maps.device, maps.dtype) for side in (height, width))
    return rows.T @ (maps @ columns)


@lru_cache(maxsize=8)
def _low_pass(length: int, sigma: float, radius: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The filter of `smooth` on a line as a matrix: row (length) @ matrix (length, length) is the filtered row."""
    offsets = torch.arange(1 - length, 2 * length - 1, device=device, dtype=dtype)
    profile = torch.exp(-0.5 * (offsets / sigma).square()) * (offsets.abs() <= radius)
    profile = profile / profile.sum()
    direct = profile[: 2 * length - 1].unfold(0, length, 1).flip(1)  # [i, j]: weight of i - j
    # A sample i beyond the start is twice the first one less sample -i; likewise at the end.
    mirrored = profile[length - 1 :].unfold(0, length, 1).clone()  # [i, j]: weight of -i - j
    mirrored[0] = 0
    matrix = direct - mirrored - mirrored.flip(0, 1)
    beyond = 2 * mirrored.sum(0)
    matrix[0] += beyond
    matrix[-1] += beyond.flip(0)
    return matrix


def local_range(maps: Tensor, radius: int) -> Tensor:
    """Maximum minus minimum of (P, 1, h, w) around each pixel: within half the radius at least, within twice at most.

    Taken on a lattice and interpolated, as a bound need not be exact and a large window on every pixel is slow.
    """
    both = torch.cat((maps, -maps), 1)  # (P, 2, h, w)
    cells = F.max_pool2d(both, max(radius // 2, 1), ceil_mode=True)  # (P, 2, h / cell, w / cell)
    cells = F.max_pool2d(cells, 5, stride=1, padding=2).sum(1, keepdim=True)  # max + max(-x) = max - min
    return F.interpolate(cells, maps.shape[-2:], mode="bilinear", align_corners=False)  # (P, 1, h, w)


def fit_affine(x: Tensor, y: Tensor, importance: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Per row of (P, N): scale > 0 and shift with least sum of importance * |scale * x + shift - y|, by reweighted
    least squares; importance (P, N) >= 0, 1 where it is not given.

    Returns scale, shift and the explained share, each (P, 1): 1 minus that sum over the one of the deviations of y
    from its median. Where x or y does not vary, or the scale would be negative, scale and share are 0.
    """
    importance = torch.ones_like(x) if importance is None else importance
    weight = importance
    for _ in range(_FIT_ROUNDS):
        total = weight.sum(1, keepdim=True).clamp_min(_TINY)
        mean_x, mean_y = (weight * x).sum(1, keepdim=True) / total, (weight * y).sum(1, keepdim=True) / total
        variance = (weight * (x - mean_x).square()).sum(1, keepdim=True) / total
        covariance = (weight * (x - mean_x) * (y - mean_y)).sum(1, keepdim=True) / total
        usable = (covariance > 0) & (variance > _TINY)
        scale = torch.where(usable, covariance / variance.clamp_min(_TINY), torch.zeros_like(covariance))
        shift = mean_y - scale * mean_x
        residual = importance * (scale * x + shift - y).abs()
        weight = importance.square() / residual.clamp_min(_SMALLEST_RESIDUAL)
    deviation = (importance * (y - y.median(1, keepdim=True).values).abs()).sum(1, keepdim=True)
    explained = 1 - residual.sum(1, keepdim=True) / deviation.clamp_min(_TINY)
    return scale, shift, torch.where(usable, explained.clamp(0, 1), torch.zeros_like(explained))
