"""Ψ = Depth Pro: inverse depth in one canonical scale, and the lens that turns it into metres; on `transformers` (extra
`hub`). Its weights may be used for research only.

Every input is squeezed to a square of 1536 pixels, of which a ViT sees 35 overlapping patches at three scales. The
decoder is not that of Depth Anything, so there are no features for a PRO refiner.

Source: Bochkovskii et al., "Depth Pro: Sharp Monocular Metric Depth in Less Than a Second", 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pro_engine.models.checkpoint import load_strict
from pro_engine.models.contract import DepthBase, PsiOutput, PsiSpec, WholeOutput
from pro_engine.models.depth_anything import import_transformers, published_key

if TYPE_CHECKING:
    from transformers import DepthProConfig


def depth_pro_spec(side: int = 1536) -> PsiSpec:
    """What the predictor must know. Inverse metres are disparity * width / focal length, and the input's width is
    always the same."""
    return PsiSpec(
        feature_channels=(),
        input_area=side * side,
        multiple=side,
        keep_aspect=False,
        fixed_size=(side, side),
        unit="inverse metres by focal",
        canonical_focal_px=float(side),
        gives_lens=True,
    )


class DepthPro(DepthBase):
    """image (B, 3, 1536, 1536) RGB in [0, 1], squeezed to that whatever its shape -> disparity (B, 1, 1536, 1536) >= 0,
    where 0 is infinitely far, and of whole pictures the lens."""

    def __init__(self, config: DepthProConfig) -> None:
        """config: with `use_fov_model`; the weights are random.

        Raises:
            DependencyError: `transformers` is not installed.
        """
        super().__init__()
        self.network = import_transformers().DepthProForDepthEstimation(config)
        # The smallest of the scales is one patch.
        self.spec = depth_pro_spec(round(self.network.config.patch_size / min(config.scaled_images_ratios)))

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

    def forward(self, image: Tensor) -> PsiOutput:
        """See the class."""
        return self._seen(2 * image - 1)[0]

    def whole(self, image: Tensor, aspect: float) -> PsiOutput:
        """See `DepthBase.whole`."""
        output, deepest = self._seen(2 * image - 1)
        fov_x_deg = self.network.fov_model(2 * image - 1, deepest).float()  # (B,)
        focal_px = 0.5 * image.shape[-1] / torch.tan(torch.deg2rad(fov_x_deg) / 2)
        return output._replace(whole=WholeOutput(focal_px=focal_px[:, None]))

    def _seen(self, normalised: Tensor) -> tuple[PsiOutput, Tensor]:
        """Disparity, and the deepest features, which the angle of view is made of, too."""
        features = self.network.depth_pro(normalised, return_dict=True).features
        disparity = self.network.head(self.network.fusion_stage(features)[-1])[:, None]
        return PsiOutput(disparity, ()), features[0]

    def load_published(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads the tensors of the published `model.safetensors`, strictly, whatever release of transformers runs.

        Raises:
            WeightsError: they do not fit.
        """
        named = {published_key(key): value for key, value in tensors.items()}
        load_strict(self.network, named, what="Depth Pro", key_in_file=published_key)
