"""Ψ = Depth Anything V2, on the implementation in `transformers` (extra `hub`).

The network is run module by module, because PRO needs tensors from inside the decoder. In PRO's order, at an input of
518 x 518 and with C = 64, 128 or 256 for small, base and large:

| level | what                                                    | channels, height, width   |
|-------|---------------------------------------------------------|---------------------------|
| 0     | deepest stage after its 3x3 projection (`neck.convs.3`) | C, 19, 19                 |
| 1..4  | outputs of the four fusion layers, deepest first        | C, 37 / 74 / 148 / 296    |
| 5     | the head after its second convolution and ReLU          | 32, 518, 518              |

The networks for metres differ in their last step only: depth = max_depth * sigmoid, where the others have ReLU of
disparity. Their metres hold for the angle of view of the cameras they were trained with, and nothing tells if it is
another.

Source: Yang et al., "Depth Anything V2", 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pro_engine.errors import DependencyError
from pro_engine.models.checkpoint import load_strict, renamed
from pro_engine.models.contract import DepthBase, PsiOutput, PsiSpec
from pro_engine.models.vit import IMAGENET_MEAN, IMAGENET_STD, per_channel

if TYPE_CHECKING:
    from transformers import DepthAnythingConfig, PromptDepthAnythingConfig

Size = Literal["small", "base", "large"]

_INPUT_SIDE = 518
_PATCH = 14
_METRIC_AREA = 518 * 686
"""The published resizing of the networks for metres: the shorter side 518, here for a photo of 4:3."""
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

# Names in transformers -> in the authors' own files, where one tensor holds query, key and value one after the other.
_AUTHORS_PREFIX = "pretrained."
_AUTHORS_KEYS = (
    (r"^backbone\.embeddings\.(cls|mask)_token$", r"pretrained.\1_token"),
    (r"^backbone\.embeddings\.position_embeddings$", "pretrained.pos_embed"),
    (r"^backbone\.embeddings\.patch_embeddings\.projection\.", "pretrained.patch_embed.proj."),
    (r"^backbone\.encoder\.layer\.(\d+)\.attention\.attention\.\w+\.", r"pretrained.blocks.\1.attn.qkv."),
    (r"^backbone\.encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"pretrained.blocks.\1.attn.proj."),
    (r"^backbone\.encoder\.layer\.(\d+)\.layer_scale(\d)\.lambda1$", r"pretrained.blocks.\1.ls\2.gamma"),
    (r"^backbone\.encoder\.layer\.(\d+)\.(mlp|norm\d)\.", r"pretrained.blocks.\1.\2."),
    (r"^backbone\.layernorm\.", "pretrained.norm."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.projection\.", r"depth_head.projects.\1."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.resize\.", r"depth_head.resize_layers.\1."),
    *((rf"^neck\.convs\.{i}\.", f"depth_head.scratch.layer{i + 1}_rn.") for i in range(4)),
    *(
        (rf"^neck\.fusion_stage\.layers\.{i}\.{part}", f"depth_head.scratch.refinenet{4 - i}.{theirs}")
        for i in range(4)
        for part, theirs in (
            (r"projection\.", "out_conv."),
            (r"residual_layer(\d)\.convolution(\d)\.", r"resConfUnit\1.conv\2."),
            *((rf"prompt_depth_layer\.convolution{k + 1}\.", f"resConfUnit_depth.{2 * k}.") for k in range(3)),
        )
    ),
    (r"^head\.conv1\.", "depth_head.scratch.output_conv1."),
    (r"^head\.conv2\.", "depth_head.scratch.output_conv2.0."),
    (r"^head\.conv3\.", "depth_head.scratch.output_conv2.2."),
)


def depth_anything_spec(size: Size, *, metric: bool = False) -> PsiSpec:
    """What the predictor must know of one size; relative: input and resizing as the published PRO has them."""
    return _spec(_SIZES[size][-1], _HEAD_CHANNELS, _INPUT_SIDE, _PATCH, metric=metric)


def _spec(channels: int, head_channels: int, side: int, patch: int, *, metric: bool) -> PsiSpec:
    return PsiSpec(
        feature_channels=(channels, channels, channels, channels, channels, head_channels),
        input_area=_METRIC_AREA if metric else side * side,
        multiple=patch,
        keep_aspect=metric,  # a squashed picture would have two focal lengths
        published_resize=not metric,
        unit="inverse metres" if metric else "relative",
    )


class DepthAnything(DepthBase):
    """Depth Anything V2: image (B, 3, h, w) RGB in [0, 1], sides multiples of 14 -> disparity (B, 1, h, w) >= 0, for
    the networks for metres in inverse metres.

    max_depth: where the metres of a network for metres end; None for relative disparity.
    """

    mean: Tensor
    std: Tensor
    _config_class, _network_class = "DepthAnythingConfig", "DepthAnythingForDepthEstimation"

    def __init__(self, config: DepthAnythingConfig | PromptDepthAnythingConfig) -> None:
        """config: of one of the published networks; the weights are random.

        Raises:
            DependencyError: `transformers` is not installed.
        """
        super().__init__()
        network = getattr(import_transformers(), self._network_class)(config)
        self.backbone, self.neck, self.head = network.backbone, network.neck, network.head
        self.max_depth = float(self.head.max_depth) if config.depth_estimation_type == "metric" else None
        self.spec = _spec(
            config.fusion_hidden_size,
            config.head_hidden_size,
            self.backbone.config.image_size,
            self.backbone.config.patch_size,
            metric=self.max_depth is not None,
        )
        self.register_buffer("mean", per_channel(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", per_channel(IMAGENET_STD), persistent=False)

    @classmethod
    def from_size(cls, size: Size, *, max_depth: int | None = None) -> DepthAnything:
        """The published architecture with random weights; max_depth: of a network for metres.

        Raises:
            DependencyError: `transformers` is not installed.
        """
        width, depth, heads, taps, neck, channels = _SIZES[size]
        transformers = import_transformers()
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
            getattr(transformers, cls._config_class)(
                backbone_config=backbone,
                reassemble_hidden_size=width,
                neck_hidden_sizes=neck,
                fusion_hidden_size=channels,
                head_hidden_size=_HEAD_CHANNELS,
                depth_estimation_type="relative" if max_depth is None else "metric",
                max_depth=max_depth,
            )
        )

    def forward(self, image: Tensor) -> PsiOutput:
        """See `DepthBase.forward`; the features are listed in the module docstring."""
        last, features = self.decode(image)
        if self.max_depth is None:
            return PsiOutput(F.relu(last), features)
        # 1 / (max_depth * sigmoid), in a type that holds what is near 0
        return PsiOutput((1 + torch.exp(-last.float())) / self.max_depth, features)

    def decode(self, image: Tensor, **fusion: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The last convolution's output (B, 1, h, w) and the features; fusion: what else the fusion layers get."""
        height, width = image.shape[-2:]
        rows, columns = height // self.spec.multiple, width // self.spec.multiple
        tokens = self.backbone((image - self.mean) / self.std).feature_maps  # four of (B, 1 + rows * columns, hidden)
        stages = self.neck.reassemble_stage(tokens, rows, columns)  # shallowest first, from 4x to 1/2 of the token grid
        stages = [conv(stage) for conv, stage in zip(self.neck.convs, stages, strict=True)]  # (B, C, ...)
        fused = self.neck.fusion_stage(stages, **fusion)  # deepest first, the last (B, C, 8 * rows, 8 * columns)
        x = self.head.conv1(fused[-1])  # (B, C / 2, 8 * rows, 8 * columns)
        x = F.interpolate(x, (height, width), mode="bilinear", align_corners=True)  # (B, C / 2, h, w)
        full = F.relu(self.head.conv2(x))  # (B, 32, h, w)
        return self.head.conv3(full), (stages[-1], *fused, full)

    def load_published(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads the tensors of a published file, strictly: of a `model.safetensors` for transformers, whatever release
        of it runs, or of the authors' own `depth_anything_v2_*.pth`.

        Raises:
            WeightsError: they do not fit.
        """
        if any(key.startswith(_AUTHORS_PREFIX) for key in tensors):
            load_strict(self, tensors, what="Depth Anything V2 of this size", key_in_file=_authors_key)
            return
        named = {published_key(key): value for key, value in tensors.items()}
        load_strict(self, named, what="Depth Anything V2 of this size", key_in_file=published_key)


def published_key(key: str) -> str:
    """A key of a network of transformers as the files on the hub have it, whatever release runs."""
    for published, newer in _RENAMED:
        key = key.replace(newer, published)
    return key


def _authors_key(key: str) -> str:
    return renamed(published_key(key), _AUTHORS_KEYS)


def import_transformers() -> Any:
    """The package `transformers`.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise DependencyError("This model needs the extra `hub`; run: pip install 'pro-engine[hub]'.") from error
    return transformers
