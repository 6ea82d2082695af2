"""The PRO refiner ("Patch Refine Once", arXiv 2503.22351): one residual network over non-overlapping patches.

The arithmetic is that of the published network. What differs on purpose:

- Any six channel counts, deepest level first; the published network is `ProRefiner((C, C, C, C, C, 32))`. Where the
  counts differ, the 1x1 convolution that ends a head block maps to the next level's count.
- That 1x1 convolution is applied before the bilinear enlargement instead of after it. The two commute, as the weights
  of a bilinear sample add up to one; the result differs by rounding only, at a quarter of the work.
- The last head block enlarges to the size of level 4, not by a factor of two; for Depth Anything V2 that is the same.
- The three groups of the high-band convolution run one by one, and the Haar synthesis adds and subtracts instead of
  convolving. The Haar filters are constants, not entries of the state dict; `official.load_official` checks that those
  of an official checkpoint are the same.
- Refiners that we train start from the frequency blend of coarse and fine map (`blend.py`), snapped to the outlines of
  the picture (`outlines.py`), instead of the coarse map, and see it where the published network sees the coarse map
  once more, stretched to [0, 1]. It has the patch's outlines before anything is learnt: the residual has less to do.
- The statistics of the whole-image disparity are arguments, not state of the module, so one module can serve several
  images at a time. No parameter carries an official name; `official.official_key` translates.
- Regions are sampled from one whole-image map without a copy per patch.
- `fold_batch_norm` merges batch norms into the convolutions before them; again the result differs by rounding only.

Kept as published, though one may wonder: the min-max of a constant patch is the patch itself, and nothing guards
against a spread of zero (the caller must).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pro_engine.models.contract import Refiner, RefinerInput
from pro_engine.models.fusion import LEVELS, FrequencyFusion, JoinedConv2d
from pro_engine.models.outlines import snap_to_outlines
from pro_engine.models.refiner_blend import BlendRefiner

_MIN_MAX_EPS = 1e-8
_POSITION_ERROR = 1e-3  # pixels; boxes are float32
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def center_and_spread(disparity: Tensor) -> tuple[Tensor, Tensor]:
    """Median (of an even count the lower one) and mean absolute deviation from it, per image.

    disparity (B, 1, h, w) -> two of (B, 1, 1, 1).
    """
    center = disparity.flatten(1).median(1).values.view(-1, 1, 1, 1)  # (B, 1, 1, 1)
    return center, (disparity - center).abs().mean((1, 2, 3), keepdim=True)


def min_max(maps: Tensor) -> Tensor:
    """Each (1, h, w) of (P, 1, h, w) stretched to [0, 1]; a constant one stays as it is."""
    low, high = maps.amin((1, 2, 3), keepdim=True), maps.amax((1, 2, 3), keepdim=True)
    span = high - low
    return torch.where(span == 0, maps, (maps - low) / (span + _MIN_MAX_EPS))


def sample_roi(maps: Tensor, boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Samples every box of one image's maps to the same size: ROI-align with aligned=True and one bilinear sample per
    output pixel, which is what the published network computes as long as a box is no larger than its output.

    maps (1, C, H, W); boxes (P, 4) as x0 y0 x1 y1 in [0, 1] of the image, edges of pixels; size (h, w) of the output.
    Output pixel (i, j) looks at x = x0 * W + (j + 0.5) * (x1 - x0) * W / w - 0.5, likewise y, clamped to the centres of
    the border pixels. Gives (P, C, h, w) in the type and memory format of the maps.
    """
    last = maps.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    if maps.device.type == "cpu":
        enlarged = [_enlarged_box(maps, box, size, layout) for box in boxes.tolist()]
        parts = [part for part in enlarged if part is not None]
        if len(parts) == len(boxes):
            return torch.cat(parts).contiguous(memory_format=layout)
    height, width = size
    grid_type = torch.promote_types(maps.dtype, torch.float32)  # half precision cannot hold positions
    x0, y0, x1, y1 = boxes.to(maps.device, grid_type).unbind(1)
    columns = (torch.arange(width, device=maps.device, dtype=grid_type) + 0.5) / width
    rows = (torch.arange(height, device=maps.device, dtype=grid_type) + 0.5) / height
    # grid_sample wants [-1, 1] from edge to edge.
    x = 2 * (x0[:, None] + (x1 - x0)[:, None] * columns) - 1  # (P, w)
    y = 2 * (y0[:, None] + (y1 - y0)[:, None] * rows) - 1  # (P, h)
    grid = torch.stack((x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)), -1)  # (P, h, w, 2)
    spread = maps.to(grid_type).expand(len(boxes), -1, -1, -1)  # (P, C, H, W), one copy in memory
    sampled = F.grid_sample(spread, grid, mode="bilinear", padding_mode="border", align_corners=False)  # (P, C, h, w)
    return sampled.to(maps.dtype, memory_format=layout)


def _enlarged_box(
    maps: Tensor, box: Sequence[float], size: Sequence[int], layout: torch.memory_format
) -> Tensor | None:
    """`sample_roi` of one box (x0, y0, x1, y1) whose edges fall on pixels of the map enlarged by whole numbers, which a
    processor does several times as fast as sampling; None of any other box."""
    columns = _enlargement(box[0], box[2], maps.shape[3], size[1])
    rows = _enlargement(box[1], box[3], maps.shape[2], size[0])
    if rows is None or columns is None:
        return None
    (top, bottom, down, y), (left, right, across, x) = rows, columns
    part = maps[:, :, top:bottom, left:right].contiguous(memory_format=layout)  # else enlarging is slow
    enlarged = (down * part.shape[2], across * part.shape[3])
    part = F.interpolate(part, enlarged, mode="bilinear", align_corners=False)
    return part[:, :, y : y + size[0], x : x + size[1]]  # (1, C, h, w)


def _enlargement(low: float, high: float, count: int, wanted: int) -> tuple[int, int, int, int] | None:
    """Of one side of a box, from low to high in [0, 1] of `count` pixels, sampled to `wanted`: first and last pixel to
    enlarge, by how much, and where the box begins in that; None where its edges fall between pixels of that.

    One pixel more on either side is enlarged, so that the border of what is enlarged does not show.
    """
    by = max(1, round(wanted / ((high - low) * count)))
    edges = low * count * by, high * count * by
    begin, end = round(edges[0]), round(edges[1])
    if end - begin != wanted or max(abs(edges[0] - begin), abs(edges[1] - end)) > _POSITION_ERROR:
        return None
    first, last = max(0, begin // by - 1), min(count, -(-end // by) + 1)
    return first, last, by, begin - first * by


class ResidualUnit(nn.Module):
    """x + conv(ReLU(conv(ReLU(x)))), 3x3 with bias; (P, C, h, w) -> (P, C, h, w). names: of the two convolutions, as
    files of weights have them."""

    def __init__(self, channels: int, names: tuple[str, str] = ("conv1", "conv2")) -> None:
        super().__init__()
        for name in names:
            self.add_module(name, nn.Conv2d(channels, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """x (P, C, h, w) -> the same shape."""
        first, second = self.children()
        return x + second(F.relu(first(F.relu(x)), inplace=True))


class HeadBlock(nn.Module):
    """One fusion step of the DPT decoder, from deep to shallow; skips: whether it is ever given a skip."""

    def __init__(self, channels: int, outputs: int, *, skips: bool = True) -> None:
        super().__init__()
        self.skip_unit = ResidualUnit(channels) if skips else nn.Identity()
        self.unit = ResidualUnit(channels)
        self.project = nn.Conv2d(channels, outputs, 1)

    def forward(self, x: Tensor, skip: Tensor | None, size: Sequence[int]) -> Tensor:
        """x and skip (P, channels, h, w); size the (h', w') of the next level -> (P, outputs, h', w')."""
        if skip is not None:
            x = x + self.skip_unit(skip)
        x = self.project(self.unit(x))  # (P, outputs, h, w)
        return F.interpolate(x, (size[0], size[1]), mode="bilinear", align_corners=True)  # (P, outputs, h', w')


class ResidualHead(nn.Module):
    """A DPT decoder without a final ReLU: six fused levels -> the residual.

    Blocks 4 to 1 take levels 0 to 3 and end in the channels of the next level; `join` takes the last block's output
    with level 4 (2 c4 -> c4 / 2), `last` that with level 5 (c4 / 2 + c5 -> c5 -> 1). Block 4 starts from level 0 alone,
    so its `skip_unit` has parameters (the published checkpoint has them) but no use.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        c0, c1, c2, c3, c4, c5 = channels
        self.block4 = HeadBlock(c0, c1)
        self.block3 = HeadBlock(c1, c2)
        self.block2 = HeadBlock(c2, c3)
        self.block1 = HeadBlock(c3, c4)
        self.join = JoinedConv2d(2 * c4, c4 // 2, 3, padding=1)
        self.last = nn.Sequential(
            JoinedConv2d(c4 // 2 + c5, c5, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(c5, 1, 1, bias=False)
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """levels: six maps (P, C_l, h_l, w_l), deepest first -> (P, 1, h_5, w_5)."""
        level0, level1, level2, level3, level4, level5 = levels
        x = self.block4(level0, None, level1.shape[-2:])  # (P, c1, h_1, w_1)
        x = self.block3(x, level1, level2.shape[-2:])  # (P, c2, h_2, w_2)
        x = self.block2(x, level2, level3.shape[-2:])  # (P, c3, h_3, w_3)
        x = self.block1(x, level3, level4.shape[-2:])  # (P, c4, h_4, w_4)
        x = self.join((x, level4))  # (P, c4 / 2, h_4, w_4)
        x = F.interpolate(x, level5.shape[-2:], mode="bilinear", align_corners=True)  # (P, c4 / 2, h_5, w_5)
        return self.last((x, level5))  # (P, 1, h_5, w_5)


Start = Literal["coarse", "snapped"]
"""What the residual is added to: the coarse map as published, or the frequency blend snapped to outlines."""


class MapStart(nn.Module):
    """What a refiner looks at and adds its residual to, but for Ψ's features. Has no parameters."""

    def __init__(self, kind: Start) -> None:
        super().__init__()
        self.kind = kind
        self.blend = BlendRefiner()

    def forward(self, patches: RefinerInput) -> tuple[Tensor, Tensor]:
        """Returns the map that the residual is added to, (P, 1, h, w) in units of (D - center) / spread, and the six
        input channels (P, 6, h, w)."""
        initial = (patches.coarse - patches.center) / patches.spread  # (P, 1, h, w)
        if self.kind == "coarse":
            start, second = initial, min_max(patches.coarse)
        else:
            start = second = snap_to_outlines(self.blend(patches), patches.image.float())
        return start, torch.cat((initial, second, min_max(patches.fine), patches.image), 1)


class ProRefiner(Refiner):
    """The trained refiner for a Ψ whose six feature levels have `channels` channels, deepest first.

    start: "coarse" is the published network, which also leaves the borders of patches alone.
    """

    gains_in_int8 = True

    def __init__(self, channels: Sequence[int], *, start: Start = "snapped") -> None:
        super().__init__()
        if len(channels) != LEVELS:
            raise ValueError(f"channels is {tuple(channels)}; give {LEVELS} counts, deepest level first")
        self.channels = tuple(channels)
        self.level_borders = start != "coarse"
        self.sharpens = start == "snapped"
        self.start = MapStart(start)
        self.fusion = FrequencyFusion(channels)
        self.head = ResidualHead(channels)

    def forward(self, patches: RefinerInput) -> Tensor:
        """See `Refiner.forward`; source: section 3 of the paper."""
        start, x = self.start(patches)
        return start + self.residual(x, patches.coarse_features, patches.fine_features)

    def residual(self, x: Tensor, coarse: Sequence[Tensor], fine: Sequence[Tensor]) -> Tensor:
        """All that is learnt: input channels (P, 6, h, w) and six maps of each pass -> (P, 1, h, w)."""
        return self.head(self.fusion(x, coarse, fine))


def fold_batch_norm(module: AnyModule) -> AnyModule:
    """Merges every batch norm that follows a convolution in an `nn.Sequential` into it, for inference.

    Works in place, puts the module in eval mode and returns it; outputs stay the same up to rounding. The batch norms
    leave the state dict, so load weights before and do not train afterwards.
    """
    module.eval()
    for part in module.modules():
        if not isinstance(part, nn.Sequential):
            continue
        for i in range(len(part) - 1):
            conv, norm = part[i], part[i + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                part[i], part[i + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return module
