"""Ψ = Prompt Depth Anything: Depth Anything V2 that is told a coarse depth, on `transformers` (extra `hub`).

The prompt is a dense map of metres of any size, say of a sensor. It is stretched to [0, 1] by its nearest and farthest
value and joins in at each of the four fusion layers; the result is stretched back, and so stays within the prompt's
range. There is no mask: holes of a prompt must be filled before, as a 0 would be taken for the nearest value. Without a
prompt, depth is relative.

Source: Lin et al., "Prompting Depth Anything for 4K Resolution Accurate Metric Depth Estimation", 2024.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pro_engine.models.contract import Prompt, PsiOutput, PsiSpec
from pro_engine.models.depth_anything import DepthAnything, Size, depth_anything_spec

if TYPE_CHECKING:
    from transformers import PromptDepthAnythingConfig

_INPUT_AREA = 756 * 1008
"""The published resizing: the shorter side 756, here for a photo of 4:3."""


def prompt_depth_anything_spec(size: Size) -> PsiSpec:
    """What the predictor must know of one size."""
    return _prompted(depth_anything_spec(size, metric=True))


def _prompted(spec: PsiSpec) -> PsiSpec:
    return replace(spec, input_area=_INPUT_AREA, unit="relative", takes_prompt=True)


class PromptDepthAnything(DepthAnything):
    """image (B, 3, h, w) RGB in [0, 1], sides multiples of 14 -> disparity (B, 1, h, w) > 0: 1 / depth, in inverse
    metres with a prompt; features as of Depth Anything V2."""

    _config_class, _network_class = "PromptDepthAnythingConfig", "PromptDepthAnythingForDepthEstimation"

    def __init__(self, config: PromptDepthAnythingConfig) -> None:
        """config: of one of the published networks, whose depth without a prompt ends at 1; the weights are random.

        Raises:
            DependencyError: `transformers` is not installed.
        """
        super().__init__(config)
        self.spec = _prompted(self.spec)

    def prompted(self, image: Tensor, prompt: Prompt) -> PsiOutput:
        """See `DepthBase.prompted`; a prompt of one depth gives that depth."""
        span = prompt.far - prompt.near
        scaled = (prompt.depth - prompt.near) / torch.where(span > 0, span, 1)
        last, features = self.decode(image, prompt_depth=scaled)
        return PsiOutput(1 / (prompt.near + span * torch.sigmoid(last.float())), features)
