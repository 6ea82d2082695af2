"""Ψ = a DINOv2 vision transformer and a light decoder that takes outlines from the picture.

The trunk is the ViT-S/14 of DINOv2 (Oquab et al. 2023, arXiv 2304.07193): learned position embeddings on a 37x37 grid,
brought to other sizes by bicubic interpolation; pre-norm blocks with a learned scale on each branch. Four of its depths
are read by a decoder after DPT (Ranftl et al. 2021). A patch of 14x14 pixels is too coarse to say where things end, so
a few convolutions look at the picture itself and join in at strides 4 and 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pro_engine.models.checkpoint import load_strict
from pro_engine.models.contract import DepthBase, PsiOutput, PsiSpec, float32_where_inferring
from pro_engine.models.photo_heads import PhotoHeads, without_heads
from pro_engine.models.refiner_published import ResidualUnit

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PATCH = 14
_UNIT = ("first", "second")  # names of the convolutions of a residual unit
VIT_SPEC = PsiSpec(
    feature_channels=(128, 96, 96, 64, 32, 16), input_area=588 * PATCH**2, multiple=PATCH, keep_aspect=True
)
VIT_HEADS_SPEC = replace(VIT_SPEC, gives_lens=True, gives_sky=True, gives_span=True)

DINOV2_KEYS = (
    (r"^trunk\.cls$", "cls_token"),
    (r"^trunk\.pos$", "pos_embed"),
    (r"^trunk\.patch\.", "patch_embed.proj."),
    (r"^trunk\.blocks\.(\d+)\.(qkv|proj)\.", r"blocks.\1.attn.\2."),
    (r"^trunk\.blocks\.(\d+)\.(fc\d)\.", r"blocks.\1.mlp.\2."),
    (r"^trunk\.blocks\.(\d+)\.(ls\d)$", r"blocks.\1.\2.gamma"),
    (r"^trunk\.", ""),
)
"""Beginning of a key of a network's `trunk` -> of the same key where a file has DINOv2's own names."""


@dataclass(frozen=True)
class TrunkShape:
    """Widths and depths of a trunk; as published unless said otherwise.

    grid: patches on a side for which it has position embeddings. taps: the blocks, counted from 1, whose output the
    decoder reads, shallow first. grid_margin: patches added to each side of another grid to find the scale by which
    the embeddings are resized; DINOv2's own code adds 0.1, and networks trained with it expect that. norm_eps: of the
    final norm; those in the blocks have 1e-6.
    """

    width: int = 384
    depth: int = 12
    heads: int = 6
    grid: int = 37
    taps: tuple[int, ...] = (3, 6, 9, 12)
    grid_margin: float = 0.0
    norm_eps: float = 1e-6


def per_channel(values: tuple[float, float, float]) -> Tensor:
    """(1, 3, 1, 1); on the CPU even of a network that is built on the meta device, as no file holds it."""
    return torch.tensor(values, device="cpu").view(1, 3, 1, 1)


class _Block(nn.Module):
    """Pre-norm attention and MLP, each branch with a learned scale per channel."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.ls1 = nn.Parameter(torch.ones(width))
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.ls2 = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)
        x = x + self.ls1 * self.proj(mixed)
        return x + self.ls2 * self.fc2(F.gelu(self.fc1(self.norm2(x))))


class DinoV2Trunk(nn.Module):
    """image (B, 3, h, w) RGB in [0, 1], sides multiples of 14 -> a token map (B, h/14 * w/14, width) for each tap,
    shallow first, through the final norm and without the class token."""

    mean: Tensor
    std: Tensor

    def __init__(self, shape: TrunkShape) -> None:
        super().__init__()
        self.shape = shape
        self.patch = nn.Conv2d(3, shape.width, PATCH, PATCH)
        self.cls = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.pos = nn.Parameter(torch.zeros(1, 1 + shape.grid**2, shape.width))
        self.blocks = nn.ModuleList(_Block(shape.width, shape.heads) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, eps=shape.norm_eps)
        self.register_buffer("mean", per_channel(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", per_channel(IMAGENET_STD), persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """See the class."""
        return [tokens[:, 1:] for tokens in self.tapped(image)]

    def tapped(self, image: Tensor) -> list[Tensor]:
        """As `forward`, with the class token first: (B, 1 + h/14 * w/14, width) for each tap."""
        x = self.tokens(image)
        taps = []
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            if number in self.shape.taps:
                taps.append(self.norm(x))
        return taps

    def tokens(self, image: Tensor) -> Tensor:
        """What the first block sees: (B, 1 + h/14 * w/14, width), the class token first."""
        x = self.patch((image - self.mean) / self.std)  # (B, width, h/14, w/14)
        x = x.flatten(2).transpose(1, 2) + self._positions(x.shape[-2], x.shape[-1]).to(x.dtype)
        start = (self.cls + self.pos[:, :1]).expand(x.shape[0], -1, -1).to(x.dtype)
        return torch.cat([start, x], 1)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """The position embeddings of a grid of patches: (1, rows * columns, width)."""
        side = self.shape.grid
        known = self.pos[:, 1:]
        if (rows, columns) == (side, side):
            return known
        grid = known.view(1, side, side, -1).permute(0, 3, 1, 2).float()
        if margin := self.shape.grid_margin:
            down, across = (_cubic(count, side, margin).to(grid) for count in (rows, columns))
            grid = down @ grid @ across.T  # (1, width, rows, columns)
        else:
            grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", align_corners=False)
        return grid.flatten(2).transpose(1, 2)


class _FuseScales(nn.Module):
    """Bring the deeper map to the other's size, add the two, mix."""

    def __init__(self, deep: int, other: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(deep, outputs, 1)
        self.lateral = nn.Conv2d(other, outputs, 1)
        self.mix = ResidualUnit(outputs, _UNIT)

    def forward(self, deep: Tensor, other: Tensor) -> Tensor:
        return self.mix(_resized(self.reduce(deep), other) + self.lateral(other))


class _Stem(nn.Module):
    """normalised picture (B, 3, h, w) -> what it looks like at strides 2 and 4, where its outlines are still sharp."""

    def __init__(self, half: int, quarter: int) -> None:
        super().__init__()
        self.stride2 = nn.Sequential(
            nn.Conv2d(3, half, 3, 2, padding=1), nn.ReLU(), nn.Conv2d(half, half, 3, padding=1), nn.ReLU()
        )
        self.stride4 = nn.Sequential(
            nn.Conv2d(half, quarter, 3, 2, padding=1), nn.ReLU(), nn.Conv2d(quarter, quarter, 3, padding=1), nn.ReLU()
        )

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        half = self.stride2(picture)
        return half, self.stride4(half)


class _Decoder(nn.Module):
    """Four token maps and the picture -> the six levels of features, the last at full size."""

    def __init__(self, width: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        c0, c1, c2, c3, c4, c5 = channels
        self.deepest = nn.Sequential(nn.Conv2d(width, c0, 1), ResidualUnit(c0, _UNIT))
        self.fuse14 = _FuseScales(c0, width, c1)
        self.up7 = nn.ConvTranspose2d(width, c2, 2, 2)
        self.fuse7 = _FuseScales(c1, c2, c2)
        self.up4 = nn.ConvTranspose2d(width, c3, 4, 4)
        self.stem = _Stem(c4, c3)
        self.fuse4 = _FuseScales(c2, 2 * c3, c3)
        self.fuse2 = _FuseScales(c3, c4, c4)
        self.full = nn.Sequential(nn.Conv2d(c4, c5, 3, padding=1), nn.ReLU())

    def forward(self, maps: list[Tensor], picture: Tensor) -> tuple[Tensor, ...]:
        rows, columns = picture.shape[-2] // PATCH, picture.shape[-1] // PATCH
        t3, t6, t9, t12 = (_as_map(tokens, rows, columns) for tokens in maps)
        half, quarter = self.stem(picture)
        level0 = self.deepest(t12)  # (B, c0, h/14, w/14)
        level1 = self.fuse14(level0, t9)
        level2 = self.fuse7(level1, self.up7(t6))  # (B, c2, h/7, w/7)
        shallow = _resized(self.up4(t3), quarter)  # from stride 3.5 to 4
        level3 = self.fuse4(level2, torch.cat([shallow, quarter], 1))
        level4 = self.fuse2(level3, half)  # (B, c4, h/2, w/2)
        level5 = self.full(_resized(level4, picture))
        return level0, level1, level2, level3, level4, level5


class VitDepth(DepthBase):
    """image (B, 3, h, w) RGB in [0, 1], sides multiples of 14 -> relative disparity (B, 1, h, w), not clamped, and the
    six levels at strides 14, 14, 7, 4, 2, 1 with `feature_channels` channels. With the heads of `VIT_HEADS_SPEC` the
    pass over the whole picture also gives lens, range and sky."""

    same_in_bfloat16 = True

    def __init__(self, spec: PsiSpec = VIT_SPEC, shape: TrunkShape | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.trunk = DinoV2Trunk(shape or TrunkShape())
        self.decoder = _Decoder(self.trunk.shape.width, spec.feature_channels)
        self.head = nn.Conv2d(spec.feature_channels[-1], 1, 1)
        taps, width = len(self.trunk.shape.taps), self.trunk.shape.width
        self.heads = PhotoHeads(taps, width, spec.feature_channels) if spec.gives_span else None

    def load_published(self, tensors: Mapping[str, Tensor]) -> None:
        """Load the weights of a base run strictly; where they have no heads, there are none. Raises WeightsError."""
        if len(without_heads(tensors)) == len(tensors):
            self.spec, self.heads = replace(self.spec, gives_lens=False, gives_sky=False, gives_span=False), None
        load_strict(self, tensors, what=type(self).__name__)

    def whole(self, image: Tensor, aspect: float) -> PsiOutput:
        """See `DepthBase.whole`; all but the trunk in float32, as all patches follow this one."""
        taps = self.trunk.tapped(image)
        with float32_where_inferring(self, image):
            output = self._decoded(image, taps)
            if self.heads is None:
                return output
            told = self.heads(taps, output.features, (image.shape[-2], image.shape[-1]))
            return output._replace(whole=told)

    def forward(self, image: Tensor) -> PsiOutput:
        """See the class."""
        return self.with_taps(image)[0]

    def with_taps(self, image: Tensor) -> tuple[PsiOutput, list[Tensor]]:
        """What `forward` gives, and the trunk's taps with the class token."""
        taps = self.trunk.tapped(image)
        return self._decoded(image, taps), taps

    def _decoded(self, image: Tensor, taps: list[Tensor]) -> PsiOutput:
        picture = (image - self.trunk.mean) / self.trunk.std
        levels = self.decoder([tokens[:, 1:] for tokens in taps], picture)
        return PsiOutput(self.head(levels[-1]), levels)


def _cubic(count: int, side: int, margin: float) -> Tensor:
    """(count, side): bicubic interpolation of `side` values at `count` places, as `F.interpolate` has it when it is
    given the scale (count + margin) / side; written out, as sizes from a scale in floats cannot be exported."""
    at = (torch.arange(count)[:, None] + 0.5) * (side / (count + margin)) - 0.5
    first = at.floor()
    offset = torch.arange(-1, 3)
    d = (at - first - offset).abs()  # (count, 4)
    near, far = (1.25 * d - 2.25) * d * d + 1, -0.75 * (((d - 5) * d + 8) * d - 4)
    index = (first.long() + offset).clamp(0, side - 1)
    return (F.one_hot(index, side) * torch.where(d <= 1, near, far)[..., None]).sum(1)


def _as_map(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """(B, rows * columns, C) -> (B, C, rows, columns), the channels last in memory as they already are."""
    return tokens.unflatten(1, (rows, columns)).permute(0, 3, 1, 2)


def _resized(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, to the height and width of `like`."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
