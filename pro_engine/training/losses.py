"""Losses. Disparity maps are (B, h, w); a mask is (B, h, w) bool or None for all pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RELATIVE_WEIGHT = 1.5
OUTLINE = 0.1
OUTLINE_FLOOR = 300
SOFTNESS_WEIGHT = 2.0


def normalise(disparity: Tensor, mask: Tensor | None = None) -> Tensor:
    """(d - median) / mean absolute deviation from it, one number each per map, so that only shape is compared.

    Both are taken over the mask; without a pixel in it a map becomes 0.
    """
    flat = disparity.flatten(1)
    if mask is None:
        center = flat.median(1, keepdim=True).values
        spread = (flat - center).abs().mean(1, keepdim=True)
    else:
        inside = mask.flatten(1)
        center = flat.masked_fill(~inside, torch.nan).nanmedian(1, keepdim=True).values.nan_to_num()
        deviation = torch.where(inside, (flat - center).abs(), 0)
        spread = deviation.sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp(min=1)
    return ((flat - center) / (spread + 1e-4)).view_as(disparity)


def mask_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the pixels of the mask, 0 for an empty one."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def gradient_matching(error: Tensor, mask: Tensor | None = None, scales: int = 4) -> Tensor:
    """Mean absolute difference between neighbours of the error map, summed over strides 1, 2, 4, ... (multi-scale
    gradient matching, MegaDepth 2018). A pair counts where both pixels are in the mask."""
    mask = torch.ones_like(error, dtype=torch.bool) if mask is None else mask
    total = error.new_zeros(())
    for k in range(scales):
        step = 2**k
        e, m = error[:, ::step, ::step], mask[:, ::step, ::step]
        total = total + mask_mean((e[:, :, 1:] - e[:, :, :-1]).abs(), m[:, :, 1:] & m[:, :, :-1])
        total = total + mask_mean((e[:, 1:] - e[:, :-1]).abs(), m[:, 1:] & m[:, :-1])
    return total


def relative_error(prediction: Tensor, target: Tensor, floor: float = 0.03, mask: Tensor | None = None) -> Tensor:
    """Mean |fit - target| / (target + floor) after the least-squares scale and shift of each map.

    This is what AbsRel measures after the alignment that evaluations use, on disparity. `target` is not negative; sky,
    where it is 0, has no depth to be measured and is left out. `floor` bounds the weight of the farthest things.
    """
    p, t = prediction.flatten(1), target.flatten(1)
    inside = (t > 0).to(t.dtype)
    if mask is not None:
        inside = inside * mask.flatten(1)
    inside = inside / inside.sum(1, keepdim=True).clamp(min=1)  # (B, N), sums to one per map
    p_mean, t_mean = (p * inside).sum(1, keepdim=True), (t * inside).sum(1, keepdim=True)
    covariance = ((p - p_mean) * (t - t_mean) * inside).sum(1, keepdim=True)
    variance = ((p - p_mean).square() * inside).sum(1, keepdim=True)
    scale = (covariance / (variance + 1e-6)).clamp(min=0)
    fit = t_mean + scale * (p - p_mean)
    return ((fit - t).abs() / (t + floor) * inside).sum(1).mean()


def base_loss(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> tuple[Tensor, dict[str, float]]:
    """The base model's loss: L1 and gradient matching on normalised maps plus the relative error after alignment.

    Args:
        prediction: (B, h, w) raw disparity of the network.
        target: (B, h, w) disparity, not negative, 0 for sky.
        mask: (B, h, w), where the target is known.

    Returns:
        The scalar loss and its parts as floats, for the log.
    """
    goal = normalise(target, mask).clamp(-6, 6)
    error = normalise(prediction, mask) - goal
    l1 = error.abs().mean() if mask is None else mask_mean(error.abs(), mask)
    gradient = gradient_matching(error, mask)
    relative = relative_error(prediction, target, mask=mask)
    loss = l1 + 0.5 * gradient + RELATIVE_WEIGHT * relative
    return loss, {"l1": l1.item(), "gradient": gradient.item(), "relative": relative.item()}


def data_loss(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, float]]:
    """PRO's data losses on the mask: L1 (weight 1), L2 (1) and multi-scale gradient matching (5), per valid pixel."""
    error = prediction - target
    l1, l2 = mask_mean(error.abs(), mask), mask_mean(error.square(), mask)
    gradient = gradient_matching(torch.where(mask, error, torch.zeros_like(error)), mask)
    return l1 + l2 + 5.0 * gradient, {"l1": l1.item(), "l2": l2.item(), "gradient": gradient.item()}


def outline_loss(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Losses against `targets.local_target` on the mask, each per pixel that it looks at:

    l1: absolute error, which of a step that may be a pixel off makes a step, where a squared one makes a slope.
    gradient: multi-scale gradient matching away from outlines (weight 0.5); on them its best answer to doubt is none.
    softness: by how much the range within 5 x 5 pixels falls short of the target's on outlines (weight 2).

    An outline is where the target's own range within 5 x 5 pixels exceeds 0.1 of its deviation; maps are normalised.
    """
    error = torch.where(mask, prediction - target, torch.zeros_like(target))
    wanted = _local_range(target)
    outline = (wanted > OUTLINE) & mask
    near = F.max_pool2d(outline[:, None].to(target.dtype), 5, 1, 2)[:, 0] > 0
    l1 = mask_mean(error.abs(), mask)
    gradient = gradient_matching(error, mask & ~near)
    # A few hundred pixels are added to the count, so that a target with hardly any outline has hardly any say.
    softness = (F.relu(wanted - _local_range(prediction)) * outline).sum() / (outline.sum() + OUTLINE_FLOOR)
    parts = {"l1": l1.item(), "gradient": gradient.item(), "softness": softness.item()}
    return l1 + 0.5 * gradient + SOFTNESS_WEIGHT * softness, parts


def _local_range(maps: Tensor) -> Tensor:
    """Maximum minus minimum within 5 x 5 pixels of (B, h, w)."""
    both = torch.stack((maps, -maps), 1)
    return F.max_pool2d(both, 5, 1, 2).sum(1)
