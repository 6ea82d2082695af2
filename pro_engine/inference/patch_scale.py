"""Fine maps of patches on the scale of the coarse map, for a Ψ whose patches are right in depth but for a scale and a
shift of their own, as MoGe's affine points are.

1 / depth is no affine map of the true disparity then, which is what refiners expect: with a shift of a third of the
patch's depth and surfaces that are five times as far as others, 6 % of the variance would be left over. So depth is
fitted to the coarse map's, robustly and where both are smooth, and its inverse is what refiners get.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pro_engine.models.refiner_blend import AGREEMENT_RAMP, SIGMA_SHARE, fit_affine, smooth

_SURE = 0.5  # share of surfaces around a place from which on it takes part in the fit
_NEAREST = 2.0  # times the disparity of the nearest surface that the coarse map knows in the patch
_TINY = 1e-12


def on_coarse_scale(fine: Tensor, coarse: Tensor, surface: Tensor) -> Tensor:
    """Disparity of patches on the scale of the coarse map.

    fine (P, 1, h, w) > 0, whose inverse is depth up to a scale and a shift; coarse (P, 1, h, w) the whole-image
    disparity over the patches, > 0 on surfaces; surface (P, 1, h, w) 1 there and 0 in the sky, which has no say. A
    patch that the fit does not explain comes back as it is.
    """
    with torch.autocast(fine.device.type, enabled=False):
        sigma = max(min(fine.shape[-2:]) * SIGMA_SHARE, 1.0)
        step = max(int(sigma), 1)
        both = smooth(torch.stack((fine * surface, coarse * surface, surface)), sigma)[..., ::step, ::step]
        share = both[2].flatten(1)  # (P, N)
        theirs, own = (maps.flatten(1) / share.clamp_min(_TINY) for maps in both[:2].flip(0))
        sure = (share > _SURE) & (theirs > 0) & (own > 0)
        unit, own_unit = (_median(values, sure) for values in (theirs, own))  # (P, 1)
        nearness = torch.where(sure, theirs / unit, 1)
        depth = torch.where(sure, own_unit / own, 1)
        # Weighted by the square of nearness, a difference of depths is one of disparities.
        scale, shift, explained = fit_affine(depth, 1 / nearness, torch.where(sure, nearness.square(), 0))
        scale, shift, explained, unit, own_unit = (
            one.view(-1, 1, 1, 1) for one in (scale, shift, explained, unit, own_unit)
        )
        fitted = scale * own_unit / fine.clamp_min(_TINY) + shift  # depth, in units of 1 / unit
        nearest = _NEAREST * torch.where(sure, nearness, 0).amax(1).view(-1, 1, 1, 1)
        disparity = unit * torch.where(fitted * nearest > 1, 1 / fitted, nearest)
        return torch.where((explained > AGREEMENT_RAMP[0]) & (scale > 0), disparity, fine)


def _median(values: Tensor, sure: Tensor) -> Tensor:
    """Of the sure ones in each row (P, N): (P, 1); 1 where there are none."""
    found = torch.where(sure, values, torch.nan).nanmedian(1, keepdim=True).values
    return torch.where(found > 0, found, 1)
