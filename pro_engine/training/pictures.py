"""Tensors as pictures for TensorBoard."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pro_engine.geometry.color import colorize


def photo_picture(image: Tensor) -> Tensor:
    """(3, H, W) RGB in [0, 1] -> (3, H, W) uint8."""
    return (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)


def map_picture(values: Tensor, valid: Tensor | None = None, limits: tuple[float, float] | None = None) -> Tensor:
    """(H, W) -> (3, H, W) uint8, the nearest in the last colour; black where `valid` (H, W) is False.

    limits: values of the first and the last colour; by default those of the map.
    """
    array = values.detach().float().cpu().numpy()
    low, high = limits or (float(array.min()), float(array.max()))
    if valid is not None:
        array = np.where(valid.cpu().numpy(), array, np.nan)
    if not np.isfinite(array).any():
        return torch.zeros((3, *array.shape), dtype=torch.uint8)
    colored = colorize(array, low=low, high=max(high, low + 1e-6 * (1 + abs(low))))
    return torch.from_numpy(np.ascontiguousarray(colored.transpose(2, 0, 1)))
