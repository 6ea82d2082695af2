"""The MoGe-2 network: a point map without a lens, a mask of finite depth, normals and the metres of one picture.

A DINOv2 trunk, a neck and a head for each map, after the published code and weights (MIT). Names of parameters differ
from the published file's in the trunk only; `published_key` is the map between them. Source: Wang et al., "MoGe-2:
Accurate Monocular Geometry with Metric Scale and Sharp Details", 2025.

Deliberately different from the published code:
- under autocast the last convolution of every head, the scale head and all exponentials run in float32, as a step of
  float16 in a logarithm of depth shows as terraces;
- attention is torch's fused one, which differs in rounding only;
- weights load strictly, where a missing or wrong tensor would leave a layer random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pro_engine.models.checkpoint import load_strict, renamed
from pro_engine.models.vit import DINOV2_KEYS, IMAGENET_MEAN, IMAGENET_STD, PATCH, DinoV2Trunk, TrunkShape

DEFAULT_TOKENS = 3600
"""Tokens of a picture at the highest of the published resolution levels; the network is trained for 1200 to 3600."""
VALID_ABOVE = 0.5
"""A pixel whose mask is above this has a finite depth."""

_LEVELS = 5
_NARROW_WIDTHS = (256, 128, 64, 32)  # of levels 1 to 4; level 0 has the trunk's
_GRID_MARGIN = 0.1  # see TrunkShape

_PUBLISHED_KEYS = (
    (r"^trunk\.(mean|std)$", r"encoder.image_\1"),
    (r"^mask_token$", "encoder.backbone.mask_token"),
    *((pattern, f"encoder.backbone.{theirs}") for pattern, theirs in DINOV2_KEYS),
    (r"^projections\.", "encoder.output_projections."),
    (r"^(\w+_head)\.output\.", r"\1.output_blocks.4."),
    (r"^", ""),  # all others as they are
)


@dataclass(frozen=True)
class MogeShape:
    """Widths and depths of a network of this family.

    taps: blocks of the trunk, counted from 1, whose tokens are added up; neck_blocks, head_blocks: residual blocks at
    each of levels 1 to 3; widths: channels of levels 1 to 4 (level 0 has the trunk's width); normals: whether it has a
    head for them; grid: patches on a side for which the trunk has position embeddings.
    """

    width: int
    depth: int
    heads: int
    taps: tuple[int, ...]
    neck_blocks: int
    head_blocks: int = 1
    widths: tuple[int, int, int, int] = _NARROW_WIDTHS
    normals: bool = True
    grid: int = 37

    @property
    def levels(self) -> tuple[int, ...]:
        """Channels of levels 0 to 4, coarse first."""
        return (self.width, *self.widths)


VITS = MogeShape(384, 12, 6, taps=(6, 12), neck_blocks=1)
VITB = MogeShape(768, 12, 12, taps=(6, 12), neck_blocks=1)
VITL = MogeShape(1024, 24, 16, taps=(6, 12, 18, 24), neck_blocks=2)
VITL_WITHOUT_NORMALS = MogeShape(1024, 24, 16, taps=(6, 12, 18, 24), neck_blocks=2, normals=False)


class MogeMaps(NamedTuple):
    """What the heads give at 16 times the token grid, before anything that is not linear.

    points (B, 3, 16 rows, 16 columns): x / z, y / z and the logarithm of z, see `affine_points`; mask (B, 1, ...):
    logits; normal (B, 3, ...): of any length, or None; log_scale (B,): logarithm of the metres per unit of the points.
    """

    points: Tensor
    mask: Tensor
    normal: Tensor | None
    log_scale: Tensor


class MogeOutput(NamedTuple):
    """The maps of one picture at its own size. Axes: x right, y down, z forward.

    points (B, 3, H, W): affine points, right up to a shift along z and a scale; mask (B, 1, H, W): probability of a
    finite depth (no sky), no confidence; metric_scale (B,): (points + shift) * metric_scale are metres; normal
    (B, 3, H, W): unit vectors towards the camera, or None.
    """

    points: Tensor
    mask: Tensor
    metric_scale: Tensor
    normal: Tensor | None


class _ResidualBlock(nn.Module):
    """Two convolutions after activations, added to their input; positions in `layers` are the published file's."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Identity(), nn.ReLU(), _conv3(channels, channels), nn.Identity(), nn.ReLU(), _conv3(channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class _Stack(nn.Module):
    """Five maps, each of twice the size of the one before -> as many maps of `widths` channels at the same sizes."""

    def __init__(self, inputs: Sequence[int], widths: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.input_blocks = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in zip(inputs, widths, strict=True))
        self.res_blocks = nn.ModuleList(
            nn.Sequential(*(_ResidualBlock(width) for _ in range(blocks if 0 < level < _LEVELS - 1 else 0)))
            for level, width in enumerate(widths)
        )
        *doubled, last = pairwise(widths)
        upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.resamplers = nn.ModuleList(
            [nn.Sequential(nn.ConvTranspose2d(i, o, 2, 2), _conv3(o, o)) for i, o in doubled]
            + [nn.Sequential(upsample, _conv3(*last))]
        )

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        x = self.input_blocks[0](inputs[0])
        maps = [self.res_blocks[0](x)]
        for level in range(1, _LEVELS):
            x = self.resamplers[level - 1](maps[-1]) + self.input_blocks[level](inputs[level])
            maps.append(self.res_blocks[level](x))
        return maps


class _Head(_Stack):
    """As a stack, then the finest map to `channels`, float32."""

    def __init__(self, widths: Sequence[int], blocks: int, channels: int) -> None:
        super().__init__(widths, widths, blocks)
        self.output = nn.Conv2d(widths[-1], channels, 1)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:  # type: ignore[override]
        finest = super().forward(inputs)[-1]
        with torch.autocast(finest.device.type, enabled=False):
            return self.output(finest.float())


class Moge2(nn.Module):
    """The network of one shape, with random weights; `load_published` fills it."""

    def __init__(self, shape: MogeShape) -> None:
        super().__init__()
        self.shape = shape
        width, widths = shape.width, shape.levels
        self.trunk = DinoV2Trunk(
            TrunkShape(width, shape.depth, shape.heads, shape.grid, shape.taps, grid_margin=_GRID_MARGIN)
        )
        # The published file holds these, too: the colours' mean and spread, and what only DINOv2's training looks at.
        self.trunk.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.trunk.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.projections = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in shape.taps)
        self.neck = _Stack((width + 2, 2, 2, 2, 2), widths, shape.neck_blocks)
        self.points_head = _Head(widths, shape.head_blocks, 3)
        self.mask_head = _Head(widths, shape.head_blocks, 1)
        self.normal_head = _Head(widths, shape.head_blocks, 3) if shape.normals else None
        self.scale_head = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def forward(self, image: Tensor, num_tokens: int = DEFAULT_TOKENS) -> MogeOutput:
        """image (B, 3, H, W) RGB in [0, 1] of any size, seen as about `num_tokens` tokens -> maps of its size."""
        height, width = image.shape[-2:]
        rows, columns = token_grid(num_tokens, width / height)
        seen = F.interpolate(
            image, (rows * PATCH, columns * PATCH), mode="bilinear", align_corners=False, antialias=True
        )
        maps = self.maps(seen, width / height)
        normal = (
            None if maps.normal is None else F.normalize(resized_maps(maps.normal, height, width), dim=1, eps=1e-12)
        )
        return MogeOutput(
            points=affine_points(resized_maps(maps.points, height, width)),
            mask=torch.sigmoid(resized_maps(maps.mask, height, width)),
            metric_scale=maps.log_scale.exp(),
            normal=normal,
        )

    def maps(self, image: Tensor, aspect: float) -> MogeMaps:
        """image (B, 3, 14 rows, 14 columns) RGB in [0, 1]; aspect: width by height of the picture it was resized from,
        which the grid meets within rounding only."""
        levels, class_token = self._levels(image, aspect)
        with torch.autocast(image.device.type, enabled=False):
            log_scale = self.scale_head(class_token.float())[:, 0]  # (B,)
        return MogeMaps(
            points=self.points_head(levels),
            mask=self.mask_head(levels),
            normal=None if self.normal_head is None else self.normal_head(levels),
            log_scale=log_scale,
        )

    def points(self, image: Tensor, aspect: float) -> Tensor:
        """`maps(...).points`, and nothing else is computed."""
        return self.points_head(self._levels(image, aspect)[0])

    def _levels(self, image: Tensor, aspect: float) -> tuple[list[Tensor], Tensor]:
        """The neck's maps from coarse to fine, and the class token (B, C) of the last tap."""
        rows, columns = image.shape[-2] // PATCH, image.shape[-1] // PATCH
        taps = self.trunk.tapped(image)
        encoded = sum(
            project(tokens[:, 1:].unflatten(1, (rows, columns)).permute(0, 3, 1, 2))
            for project, tokens in zip(self.projections, taps, strict=True)
        )  # (B, C, rows, columns)
        places = [view_plane(rows * 2**level, columns * 2**level, aspect).to(encoded) for level in range(_LEVELS)]
        places = [place.expand(image.shape[0], -1, -1, -1) for place in places]
        return self.neck([torch.cat([encoded, places[0]], 1), *places[1:]]), taps[-1][:, 0]

    def load_published(self, tensors: Mapping[str, Tensor]) -> None:
        """Loads the tensors of a published `model.pt`, or of the same as safetensors, strictly.

        Raises:
            WeightsError: a key is missing or unexpected, or a shape differs.
        """
        load_strict(self, tensors, what="MoGe-2 of this size", key_in_file=published_key)


def token_grid(num_tokens: int, aspect: float) -> tuple[int, int]:
    """Rows and columns of about `num_tokens` square patches over a picture `aspect` times as wide as high."""
    return max(round(math.sqrt(num_tokens / aspect)), 1), max(round(math.sqrt(num_tokens * aspect)), 1)


def view_plane(rows: int, columns: int, aspect: float) -> Tensor:
    """Where pixels of a grid lie from the centre of the view, in half diagonals of the picture: (1, 2, rows, columns),
    right then down. aspect: width by height of the picture."""
    diagonal = (1 + aspect * aspect) ** 0.5  # not math.hypot, which an export would take for a constant
    right = (2 * torch.arange(columns) + 1 - columns) / columns * (aspect / diagonal)
    down = (2 * torch.arange(rows) + 1 - rows) / rows / diagonal
    return torch.stack([right.expand(rows, columns), down[:, None].expand(rows, columns)])[None]


def affine_points(raw: Tensor) -> Tensor:
    """The points (B, 3, H, W) that the points head means with `raw` (B, 3, H, W): x / z, y / z and the logarithm of z.

    To be called last, as logarithms are what may be resized.
    """
    slopes, log_z = raw.float().split((2, 1), 1)
    z = log_z.exp()
    return torch.cat([slopes * z, z], 1)


def published_key(key: str) -> str:
    """The name that a parameter or buffer of `Moge2` has in the published file."""
    return renamed(key, _PUBLISHED_KEYS)


def resized_maps(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps (B, C, h, w) of the heads at another size, bilinear."""
    return F.interpolate(maps, (height, width), mode="bilinear", align_corners=False)


def _conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="replicate")
