"""Depth Pro: inverse depth in one canonical scale, and the lens that turns it into metres; on `transformers` (extra
`hub`). Its weights may be used for research only.

Every input is squeezed to a square of 1536 pixels, of which a ViT sees 35 overlapping patches at three scales. The
decoder is not that of Depth Anything, so there are no features for a PRO refiner.

Source: Bochkovskii et al., "Depth Pro: Sharp Monocular Metric Depth in Less Than a Second", 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from pro_engine.models.checkpoint import load_strict
from pro_engine.models.depth_anything import import_transformers, published_key

if TYPE_CHECKING:
    from transformers import DepthProConfig

INPUT_SIDE = 1536


class DepthProOutput(NamedTuple):
    """disparity (B, 1, h, w) >= 0, larger is nearer, 0 is infinitely far: inverse metres after `metric_scale`;
    fov_x_deg (B,): the horizontal angle of view of the whole picture, as the network guesses it."""

    disparity: Tensor
    fov_x_deg: Tensor


class DepthPro(nn.Module):
    """image (B, 3, 1536, 1536) RGB in [0, 1], squeezed to that whatever its shape -> `DepthProOutput`."""

    def __init__(self, config: DepthProConfig) -> None:
        """config: with `use_fov_model`; the weights are random.

        Raises:
            DependencyError: `transformers` is not installed.
        """
        super().__init__()
        self.network = import_transformers().DepthProForDepthEstimation(config)

    @classmethod
    def as_published(cls) -> DepthPro:
        """The published architecture with random weights.

        Raises:
            DependencyError: `transformers` is not installed.
        """
        vit = {
            "model_type": "dinov2",
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 384,
            "patch_size": 16,
            "use_mask_token": False,
        }
        return cls(
            import_transformers().DepthProConfig(
                image_model_config=dict(vit),
                patch_model_config=dict(vit),
                fov_model_config=dict(vit),
                use_fov_model=True,
            )
        )

    def forward(self, image: Tensor) -> DepthProOutput:
        """See the class."""
        output = self.network(2 * image - 1)
        return DepthProOutput(output.predicted_depth[:, None].float(), output.field_of_view.float())

    def load_published(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads the tensors of the published `model.safetensors`, strictly, whatever release of transformers runs.

        Raises:
            WeightsError: they do not fit.
        """
        named = {published_key(key): value for key, value in tensors.items()}
        load_strict(self.network, named, what="Depth Pro", key_in_file=published_key)


def metric_scale(fov_x_deg: Tensor) -> Tensor:
    """What disparity is multiplied by to become inverse metres: width / focal length, 2 tan(fov / 2); any shape."""
    return 2 * torch.tan(torch.deg2rad(fov_x_deg) / 2)
