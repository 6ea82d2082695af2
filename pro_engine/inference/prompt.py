"""What a Ψ is told of depth: the readings of a sensor as a dense map, and the part of it that each patch sees.

Source of the network that is told: Lin et al., "Prompting Depth Anything for 4K Resolution Accurate Metric Depth
Estimation", 2024. It knows no holes, so they are filled before.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pro_engine.errors import InputError
from pro_engine.inference.resize import filled, resized
from pro_engine.models.contract import Prompt
from pro_engine.models.refiner_published import sample_roi
from pro_engine.types import FloatMap


def photo_prompt(depth: FloatMap, size: tuple[int, int], device: torch.device) -> Prompt:
    """The prompt for a whole picture, without holes and no larger than `size`.

    Args:
        depth: of a sensor, (p, q) metres over the whole photo; what is not finite or not above 0 is a hole.
        size: height and width of Ψ's input. Of a larger map every pixel is the mean of the readings in it; then a hole
            gets the nearest reading.

    Raises:
        InputError: not such a map, or no reading in it.
    """
    if not isinstance(depth, np.ndarray) or depth.ndim != 2 or depth.dtype.kind != "f":
        raise InputError(f"prompt is {getattr(depth, 'shape', type(depth).__name__)}; give (p, q) float32 metres.")
    known = np.isfinite(depth) & (depth > 0)
    if not known.any():
        raise InputError("The prompt has no pixel with a depth above 0; check its unit (metres).")
    values = np.where(known, depth, 0).astype(np.float32)
    smaller = min(depth.shape[0], size[0]), min(depth.shape[1], size[1])
    share = resized(known.astype(np.float32), smaller)
    known = share > 0
    values = np.divide(resized(values, smaller), share, out=np.zeros(smaller, np.float32), where=known)
    return Prompt.whole(torch.from_numpy(filled(values, known))[None, None].to(device))


def patch_prompts(prompt: Prompt, boxes: Tensor) -> Prompt:
    """The parts of a photo's prompt (1, 1, p, q) over boxes (P, 4) as of `sample_roi`, all with the range of the whole,
    as otherwise each patch had a scale of its own."""
    height, width = prompt.depth.shape[-2:]
    x0, y0, x1, y1 = boxes[0].tolist()
    size = max(2, round(height * (y1 - y0))), max(2, round(width * (x1 - x0)))
    return Prompt(sample_roi(prompt.depth, boxes, size), prompt.near, prompt.far)
