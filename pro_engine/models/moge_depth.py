"""Ψ = MoGe-2: metres, a lens, the sky and normals of its own, see `models.moge`. It has no features for refiners."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pro_engine.models.contract import DepthBase, PsiOutput, PsiSpec, WholeOutput
from pro_engine.models.moge import DEFAULT_TOKENS, Moge2, MogeShape, affine_points, resized_maps
from pro_engine.models.moge_config import check_config
from pro_engine.models.vit import PATCH


def moge_spec(shape: MogeShape) -> PsiSpec:
    """What the predictor must know of a network of this shape."""
    return PsiSpec(
        feature_channels=(),
        input_area=DEFAULT_TOKENS * PATCH**2,
        multiple=PATCH,
        keep_aspect=True,
        unit="inverse metres by points",
        affine_depth=True,
        gives_lens=True,
        gives_sky=True,
        gives_valid=True,
        gives_normals=shape.normals,
    )


class MogeDepth(DepthBase):
    """Ψ = MoGe-2. A patch is no centred view, as the network takes it for: nothing but its depth is used, whose scale
    and shift are its own."""

    def __init__(self, shape: MogeShape) -> None:
        super().__init__()
        self.spec = moge_spec(shape)
        self.network = Moge2(shape)

    def forward(self, image: Tensor) -> PsiOutput:
        """See `DepthBase.forward`."""
        height, width = image.shape[-2:]
        return PsiOutput(_disparity(self.network.points(image, width / height), height, width), ())

    def whole(self, image: Tensor, aspect: float) -> PsiOutput:
        """See `DepthBase.whole`."""
        maps = self.network.maps(image, aspect)
        slopes, log_z = maps.points.split((2, 1), 1)
        metric = torch.cat([slopes, log_z + maps.log_scale[:, None, None, None]], 1)
        told = WholeOutput(sky=torch.sigmoid(-maps.mask), normals=maps.normal, points=affine_points(metric))
        return PsiOutput(_disparity(metric, *image.shape[-2:]), (), told)

    def load_published(self, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> None:
        """Loads a published file, strictly: its tensors, and the `model_config` beside them where it has one.

        Raises:
            WeightsError: they do not fit, or are of another network.
        """
        if config is not None:
            check_config(self.network.shape, config)
        self.network.load_published(tensors)


def _disparity(raw: Tensor, height: int, width: int) -> Tensor:
    """1 / z (B, 1, h, w) of what the points head gives; the logarithm is what is resized."""
    return (-resized_maps(raw[:, 2:], height, width)).exp()
