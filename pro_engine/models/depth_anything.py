"""Ψ = Depth Anything V2, on the implementation in `transformers` (extra `hub`).

The network is run module by module, because PRO needs tensors from inside the decoder. In PRO's order, at an input of
518 x 518 and with C = 64, 128 or 256 for small, base and large:

| level | what                                                    | channels, height, width   |
|-------|---------------------------------------------------------|---------------------------|
| 0     | deepest stage after its 3x3 projection (`neck.convs.3`) | C, 19, 19                 |
| 1..4  | outputs of the four fusion layers, deepest first        | C, 37 / 74 / 148 / 296    |
| 5     | the head after its second convolution and ReLU          | 32, 518, 518              |

Source: Yang et al., "Depth Anything V2", 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pro_engine.errors import DependencyError
from pro_engine.models.checkpoint import load_strict
from pro_engine.models.contract import DepthBase, PsiOutput, PsiSpec

if TYPE_CHECKING:
    from transformers import DepthAnythingConfig

Size = Literal["small", "base", "large"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_INPUT_SIDE = 518
_PATCH = 14
_HEAD_CHANNELS = 32

# width and depth of the transformer, its heads, the layers tapped (1 = after the first), neck widths, decoder width C
_SIZES: dict[str, tuple[int, int, int, list[int], list[int], int]] = {
    "small": (384, 12, 6, [3, 6, 9, 12], [48, 96, 192, 384], 64),
    "base": (768, 12, 12, [3, 6, 9, 12], [96, 192, 384, 768], 128),
    "large": (1024, 24, 16, [5, 12, 18, 24], [256, 512, 1024, 1024], 256),
}

# Names inside the attention block: as in the published files, and as newer releases of transformers have them.
_RENAMED = (
    ("attention.attention.query", "attention.q_proj"),
    ("attention.attention.key", "attention.k_proj"),
    ("attention.attention.value", "attention.v_proj"),
    ("attention.output.dense", "attention.o_proj"),
)


def depth_anything_spec(size: Size) -> PsiSpec:
    """What the predictor must know of one size; input and resizing as the published PRO has them."""
    channels = _SIZES[size][-1]
    return _spec(channels, _HEAD_CHANNELS, _INPUT_SIDE, _PATCH)


def _spec(channels: int, head_channels: int, side: int, patch: int) -> PsiSpec:
    return PsiSpec(
        feature_channels=(channels, channels, channels, channels, channels, head_channels),
        input_area=side * side,
        multiple=patch,
        keep_aspect=False,
        published_resize=True,
    )


class DepthAnything(DepthBase):
    """Depth Anything V2: image (B, 3, h, w) RGB in [0, 1], sides multiples of 14 -> disparity (B, 1, h, w) >= 0."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: DepthAnythingConfig) -> None:
        """config: of a relative-depth network; the weights are random.

        Raises:
            DependencyError: `transformers` is not installed.
        """
        super().__init__()
        network = _transformers().DepthAnythingForDepthEstimation(config)
        self.backbone, self.neck, self.head = network.backbone, network.neck, network.head
        self.spec = _spec(
            config.fusion_hidden_size,
            config.head_hidden_size,
            self.backbone.config.image_size,
            self.backbone.config.patch_size,
        )
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def from_size(cls, size: Size) -> DepthAnything:
        """The published architecture with random weights.

        Raises:
            DependencyError: `transformers` is not installed.
        """
        width, depth, heads, taps, neck, channels = _SIZES[size]
        transformers = _transformers()
        backbone = transformers.Dinov2Config(
            hidden_size=width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            image_size=_INPUT_SIDE,
            patch_size=_PATCH,
            out_indices=taps,
            reshape_hidden_states=False,
        )
        return cls(
            transformers.DepthAnythingConfig(
                backbone_config=backbone,
                reassemble_hidden_size=width,
                neck_hidden_sizes=neck,
                fusion_hidden_size=channels,
                head_hidden_size=_HEAD_CHANNELS,
            )
        )

    def forward(self, image: Tensor) -> PsiOutput:
        """See `DepthBase.forward`; the features are listed in the module docstring."""
        height, width = image.shape[-2:]
        rows, columns = height // self.spec.multiple, width // self.spec.multiple
        tokens = self.backbone((image - self.mean) / self.std).feature_maps  # four of (B, 1 + rows * columns, hidden)
        stages = self.neck.reassemble_stage(tokens, rows, columns)  # shallowest first, from 4x to 1/2 of the token grid
        stages = [conv(stage) for conv, stage in zip(self.neck.convs, stages, strict=True)]  # (B, C, ...)
        fused = self.neck.fusion_stage(stages)  # deepest first, the last (B, C, 8 * rows, 8 * columns)
        x = self.head.conv1(fused[-1])  # (B, C / 2, 8 * rows, 8 * columns)
        x = F.interpolate(x, (height, width), mode="bilinear", align_corners=True)  # (B, C / 2, h, w)
        full = F.relu(self.head.conv2(x))  # (B, 32, h, w)
        disparity = F.relu(self.head.conv3(full))  # (B, 1, h, w)
        return PsiOutput(disparity, (stages[-1], *fused, full))

    def load_published(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads the tensors of a published `model.safetensors`, strictly, whatever release of transformers runs.

        Raises:
            WeightsError: they do not fit.
        """
        named = {_published_key(key): value for key, value in tensors.items()}
        load_strict(self, named, what="Depth Anything V2 of this size", key_in_file=_published_key)


def _published_key(key: str) -> str:
    for published, newer in _RENAMED:
        key = key.replace(newer, published)
    return key


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise DependencyError("Depth Anything V2 needs the extra `hub`; run: pip install 'pro-engine[hub]'.") from error
    return transformers
