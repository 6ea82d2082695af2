"""Prompt Depth Anything: Depth Anything V2 that is told a coarse depth, on `transformers` (extra `hub`).

The prompt is a dense map of metres of any size, say of a sensor. It is stretched to [0, 1] by its own nearest and
farthest value and joins in at each of the four fusion layers; the result is stretched back, and so stays within the
prompt's range. There is no mask: holes of a prompt must be filled before, as a 0 would be taken for the nearest value.

Source: Lin et al., "Prompting Depth Anything for 4K Resolution Accurate Metric Depth Estimation", 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pro_engine.models.contract import Prompt, PsiOutput
from pro_engine.models.depth_anything import DepthAnything


class PromptDepthAnything(DepthAnything):
    """image (B, 3, h, w) RGB in [0, 1], sides multiples of 14, and a prompt -> inverse metres (B, 1, h, w)."""

    _config_class, _network_class = "PromptDepthAnythingConfig", "PromptDepthAnythingForDepthEstimation"

    def forward(self, image: Tensor, prompt: Prompt) -> PsiOutput:  # type: ignore[override]
        """See the class; features as of Depth Anything V2. A prompt of one depth gives that depth."""
        span = prompt.far - prompt.near
        scaled = (prompt.depth - prompt.near) / torch.where(span > 0, span, 1)
        last, features = self.decode(image, prompt_depth=scaled)
        return PsiOutput(1 / (prompt.near + span * torch.sigmoid(last.float())), features)
