"""Ψ = Depth Anything 3, the two networks for one photo: relative depth (mono) and metres given a lens (metric).

One architecture, two files of weights: the ViT-L/14 of DINOv2, read after blocks 5, 12, 18 and 24, and the DPT decoder
of Depth Anything V2 with two ends, depth and sky. What differs from V2: the last step is exp and gives depth, not
disparity; the final norm has another epsilon; the position embeddings are stretched as DINOv2's authors stretch them.
The 1x1 convolution that ends a fusion block comes before the enlargement here; the two commute.

Sizes for R x Q patches, C = 256:

| level | what                                     | channels, height, width            |
|-------|------------------------------------------|------------------------------------|
| 0     | deepest stage after its 3x3 projection   | C, ceil(R / 2), ceil(Q / 2)        |
| 1..4  | outputs of the fusion blocks             | C, R / 2 R / 4 R / 8 R, likewise Q |
| 5     | depth's end after its first convolution  | 32, 14 R, 14 Q                     |

Source: Lin et al., "Depth Anything 3", 2025; github.com/ByteDance-Seed/Depth-Anything-3 (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pro_engine.models.checkpoint import load_strict, renamed
from pro_engine.models.contract import DepthBase, PsiOutput, PsiSpec, WholeOutput
from pro_engine.models.refiner_published import HeadBlock
from pro_engine.models.vit import DINOV2_KEYS, PATCH, DinoV2Trunk, TrunkShape

SKY_FROM = 0.3
"""Above this value of the network's sky, a pixel is sky and its depth means nothing."""

_TRUNK = TrunkShape(1024, 24, 16, taps=(5, 12, 18, 24), norm_eps=1e-5, grid_margin=0.1)

_HEAD_KEYS = (
    (r"^decoder\.project\.(\d)\.", r"head.projects.\1."),
    (r"^decoder\.resize\.(\d)\.", r"head.resize_layers.\1."),
    (r"^decoder\.lateral(\d)\.", r"head.scratch.layer\1_rn."),
    (r"^decoder\.block(\d)\.skip_unit\.", r"head.scratch.refinenet\1.resConfUnit1."),
    (r"^decoder\.block(\d)\.unit\.", r"head.scratch.refinenet\1.resConfUnit2."),
    (r"^decoder\.block(\d)\.project\.", r"head.scratch.refinenet\1.out_conv."),
    (r"^decoder\.join\.", "head.scratch.output_conv1."),
    (r"^depth\.", "head.scratch.output_conv2."),
    (r"^sky\.", "head.scratch.sky_output_conv2."),
)


@dataclass(frozen=True)
class DepthAnything3Shape:
    """Widths, as published unless said otherwise.

    stages: channels of the four stages, shallow first; channels: of the fusion; end: of the map before the last step.
    """

    trunk: TrunkShape = _TRUNK
    stages: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    channels: int = 256
    end: int = 32


class DptDecoder(nn.Module):
    """Four token maps -> levels 0 to 4, and the map that both ends start from."""

    def __init__(self, shape: DepthAnything3Shape) -> None:
        super().__init__()
        c, (s1, s2, s3, s4) = shape.channels, shape.stages
        self.project = nn.ModuleList(nn.Conv2d(shape.trunk.width, stage, 1) for stage in shape.stages)
        self.resize = nn.ModuleList(
            [
                nn.ConvTranspose2d(s1, s1, 4, 4),
                nn.ConvTranspose2d(s2, s2, 2, 2),
                nn.Identity(),
                nn.Conv2d(s4, s4, 3, 2, padding=1),
            ]
        )
        self.lateral1 = nn.Conv2d(s1, c, 3, padding=1, bias=False)
        self.lateral2 = nn.Conv2d(s2, c, 3, padding=1, bias=False)
        self.lateral3 = nn.Conv2d(s3, c, 3, padding=1, bias=False)
        self.lateral4 = nn.Conv2d(s4, c, 3, padding=1, bias=False)
        self.block1, self.block2, self.block3 = HeadBlock(c, c), HeadBlock(c, c), HeadBlock(c, c)
        self.block4 = HeadBlock(c, c, skips=False)
        self.join = nn.Conv2d(c, c // 2, 3, padding=1)

    def forward(self, tokens: Sequence[Tensor], rows: int, columns: int) -> tuple[tuple[Tensor, ...], Tensor]:
        """tokens: four of (B, rows * columns, width), shallow first."""
        maps = [x.unflatten(1, (rows, columns)).permute(0, 3, 1, 2) for x in tokens]  # (B, width, R, Q)
        stages = [
            resize(project(x)) for project, resize, x in zip(self.project, self.resize, maps, strict=True)
        ]  # (B, s, ...) at 4, 2, 1 and 1/2 times the patches
        l1, l2, l3 = self.lateral1(stages[0]), self.lateral2(stages[1]), self.lateral3(stages[2])
        level0 = self.lateral4(stages[3])  # (B, C, ceil(R / 2), ceil(Q / 2))
        level1 = self.block4(level0, None, l3.shape[-2:])  # (B, C, R, Q)
        level2 = self.block3(level1, l3, l2.shape[-2:])  # (B, C, 2 R, 2 Q)
        level3 = self.block2(level2, l2, l1.shape[-2:])  # (B, C, 4 R, 4 Q)
        level4 = self.block1(level3, l1, (8 * rows, 8 * columns))  # (B, C, 8 R, 8 Q)
        joined = F.interpolate(self.join(level4), (PATCH * rows, PATCH * columns), mode="bilinear", align_corners=True)
        return (level0, level1, level2, level3, level4), joined  # (B, C / 2, h, w)


class DepthAnything3(DepthBase):
    """image (B, 3, h, w) RGB in [0, 1], sides multiples of 14 -> disparity (B, 1, h, w) > 0, 1 / depth, and of whole
    pictures the sky.

    metric: whether its weights are those of the network for metres, which have the same names and shapes.
    """

    def __init__(self, shape: DepthAnything3Shape | None = None, *, metric: bool = False) -> None:
        super().__init__()
        shape = shape or DepthAnything3Shape()
        self.spec = _spec(shape.channels, shape.end, metric=metric)
        self.trunk = DinoV2Trunk(shape.trunk)
        self.decoder = DptDecoder(shape)
        self.depth = _end(shape)
        self.sky = _end(shape)

    def forward(self, image: Tensor) -> PsiOutput:
        """See the class."""
        return self._seen(image)[0]

    def whole(self, image: Tensor, aspect: float) -> PsiOutput:
        """See `DepthBase.whole`."""
        output, joined = self._seen(image)
        with torch.autocast(image.device.type, enabled=False):
            sky = F.relu(self.sky(joined))  # (B, 1, h, w), no probability and without an upper limit
        return output._replace(whole=WholeOutput(sky=(sky / (2 * SKY_FROM)).clamp(max=1)))

    def _seen(self, image: Tensor) -> tuple[PsiOutput, Tensor]:
        """Disparity with features, and what the sky is made of. All after the trunk runs in float32, as published,
        whatever autocast is on."""
        tokens = [x.float() for x in self.trunk(image)]
        with torch.autocast(image.device.type, enabled=False):
            levels, joined = self.decoder(tokens, image.shape[-2] // PATCH, image.shape[-1] // PATCH)
            full = self.depth[:2](joined)  # (B, 32, h, w)
            disparity = torch.exp(-self.depth[2](full))  # depth is exp of it
        return PsiOutput(disparity, (*levels, full)), joined

    def load_published(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads the tensors of a published `model.safetensors`, strictly.

        The mono and the metric network have the same tensors; which one a file holds, its name alone tells.

        Raises:
            WeightsError: they do not fit.
        """
        load_strict(self, tensors, what="Depth Anything 3 (mono or metric)", key_in_file=published_key)


def depth_anything3_spec(*, metric: bool) -> PsiSpec:
    """What the predictor must know of the published networks."""
    shape = DepthAnything3Shape()
    return _spec(shape.channels, shape.end, metric=metric)


def _spec(channels: int, end: int, *, metric: bool) -> PsiSpec:
    return PsiSpec(
        feature_channels=(channels, channels, channels, channels, channels, end),
        input_area=504 * 378,  # the published longer side, for a photo of 4:3
        multiple=PATCH,
        keep_aspect=True,
        unit="inverse metres by focal" if metric else "relative",
        canonical_focal_px=300.0 if metric else 0.0,  # metres = depth * focal length / 300
        gives_sky=True,
    )


def _end(shape: DepthAnything3Shape) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(shape.channels // 2, shape.end, 3, padding=1), nn.ReLU(), nn.Conv2d(shape.end, 1, 1))


def published_key(key: str) -> str:
    """The name that a parameter of `DepthAnything3` has in the published file."""
    if key.startswith("trunk."):
        return "model.backbone.pretrained." + renamed(key, DINOV2_KEYS)
    return "model." + renamed(key, _HEAD_KEYS)
