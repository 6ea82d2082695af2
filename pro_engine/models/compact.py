"""Ψ = our own small network: an EfficientNet-Lite0 encoder and a DPT-style decoder with PRO's six feature levels.

The encoder follows "EfficientNet-Lite" (Tan and Le 2019; Liu 2020): no squeeze-and-excitation, ReLU6, TensorFlow "same"
padding on the strided convolutions, batch norm with eps 1e-3, input (x - 127) / 128 for x in 0..255. Two transformer
blocks at stride 32 let every part of the picture see every other, as layout is what a small network gets wrong first.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pro_engine.models.contract import DepthBase, PsiOutput, PsiSpec, float32_where_inferring
from pro_engine.models.refiner_published import fold_batch_norm

# kernel, stride, expansion, channels, repeats
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_TAPS = (0, 2, 4, 10, 15)  # last block at strides 2, 4, 8, 16 and 32
_TAP_CHANNELS = (16, 24, 40, 112, 320)
_CONTEXT_WIDTH = 160


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class _SameConv(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: one-sided when the stride is 2 and the input even."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] == 2:
            total = self.kernel_size[0] - 2
            before, after = total // 2, total - total // 2
            x = F.pad(x, (before, after, before, after))
        return super().forward(x)

    def symmetric(self) -> nn.Conv2d:
        """The same, rounding apart, as a convolution padded alike on both sides: where the stride is 2, the kernel
        begins with a row and a column of zeros, which takes less than to copy the map into a larger one."""
        if self.stride[0] == 1:
            return self
        inputs, outputs, size = self.in_channels, self.out_channels, self.kernel_size[0]
        with torch.device("meta"):
            grown = nn.Conv2d(inputs, outputs, size + 1, 2, size // 2, groups=self.groups, bias=self.bias is not None)
        grown.weight, grown.bias = nn.Parameter(F.pad(self.weight, (1, 0, 1, 0)), requires_grad=False), self.bias
        return grown


class _InvertedBottleneck(nn.Module):
    """Expand, filter each channel, project; with a skip when the shape allows."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        wider = (_SameConv(inputs, hidden, 1), _norm(hidden), nn.ReLU6())
        self.expand = nn.Sequential(*wider) if expansion > 1 else None
        self.depthwise = nn.Sequential(_SameConv(hidden, hidden, kernel, stride, hidden), _norm(hidden), nn.ReLU6())
        self.project = nn.Sequential(_SameConv(hidden, outputs, 1), _norm(outputs))
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.skip else y


class EfficientNetLite0(nn.Module):
    """The trunk without its classifier; `forward` gives the maps at strides 2, 4, 8, 16 and 32.

    Stem and first block are in float32 where the rest is in 16 bits: they make the map at stride 2, and three of a
    hundred outlines are lost where it is rounded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_SameConv(3, 32, 3, 2), _norm(32), nn.ReLU6())
        blocks: list[nn.Module] = []
        inputs = 32
        for kernel, stride, expansion, outputs, repeats in _STAGES:
            for i in range(repeats):
                blocks.append(_InvertedBottleneck(inputs, outputs, kernel, stride if i == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self._frozen: list[nn.ModuleList] = []  # in a list, so that it is no submodule

    def forward(self, image: Tensor) -> list[Tensor]:
        """image (B, 3, h, w) RGB in [0, 1] -> five maps, shallow first."""
        image = (image * 255.0 - 127.0) / 128.0
        maps: list[Tensor] = []
        if self._frozen:
            stem, *front = self._frozen[0]
            with torch.no_grad():
                x = self._pass(stem(image), front, 0, maps)
        else:
            front = list(self.blocks[:1])
            with float32_where_inferring(self, image):
                x = self._pass(self.stem(image), front, 0, maps)  # (B, 16, h/2, w/2)
        self._pass(x, self.blocks[len(front) :], len(front), maps)
        return maps

    @staticmethod
    def _pass(x: Tensor, blocks: Iterable[nn.Module], first: int, maps: list[Tensor]) -> Tensor:
        """x through some blocks, of which `first` is the first; what the decoder taps is appended to `maps`."""
        for i, block in enumerate(blocks, first):
            x = block(x)
            if i in _TAPS:
                maps.append(x)
        return x

    def freeze_front(self, count: int) -> None:
        """Leave the stem and the first `count` blocks as they are from now on: no gradient, and, what makes it worth
        while, batch norms folded into the convolutions. Call it once the module is on its device.

        The folded copy is not part of the state dict, which stays what it was.
        """
        front = nn.ModuleList([self.stem, *list(self.blocks)[:count]]).requires_grad_(False)
        self._frozen = [fold_batch_norm(copy.deepcopy(front))]

    def freeze_filters(self) -> None:
        """Leave the depthwise filters as they are from now on: 5 % of the parameters, whose gradient takes 40 % of a
        training step in bfloat16 on a processor."""
        for block in self.blocks:
            block.get_submodule("depthwise.0").requires_grad_(False)

    def load_imagenet(self, weights: Mapping[str, Tensor]) -> None:
        """Load the published PyTorch weights of EfficientNet-Lite0, strictly.

        Keys are `_conv_stem`, `_bn0` and `_blocks.N...`; the classifier and the last 1x1 convolution are left out.
        """
        parts = {
            "_expand_conv": "expand.0",
            "_bn0": "expand.1",
            "_depthwise_conv": "depthwise.0",
            "_bn1": "depthwise.1",
            "_project_conv": "project.0",
            "_bn2": "project.1",
        }
        renamed = {}
        for key, value in weights.items():
            head, _, rest = key.partition(".")
            if head == "_blocks":
                index, part, leaf = rest.split(".", 2)
                renamed[f"blocks.{index}.{parts[part]}.{leaf}"] = value
            elif head in ("_conv_stem", "_bn0"):
                renamed[f"stem.{0 if head == '_conv_stem' else 1}.{rest}"] = value
        self.load_state_dict(renamed)


class _ContextBlock(nn.Module):
    """Pre-norm transformer block on a map; position comes from a depthwise convolution, so that any size works."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.position = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        x = x + self.position(x)
        tokens = x.flatten(2).transpose(1, 2)  # (B, h*w, C)
        q, k, v = self.qkv(self.norm1(tokens)).view(b, h * w, 3, self.heads, c // self.heads).unbind(2)
        mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(b, h * w, c))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(b, c, h, w)


class _ConvBlock(nn.Sequential):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True))


class _Fuse(nn.Module):
    """Enlarge the deeper map to the skip's size, join the two, mix twice."""

    def __init__(self, deep: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(skip, outputs, 1)
        self.reduce = nn.Conv2d(deep, outputs, 1)
        self.mix = nn.Sequential(_ConvBlock(2 * outputs, outputs), _ConvBlock(outputs, outputs))

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        deep = F.interpolate(self.reduce(deep), size=skip.shape[-2:], mode="bilinear", align_corners=False)
        return self.mix(torch.cat([deep, self.lateral(skip)], 1))


class CompactDepth(DepthBase):
    """image (B, 3, h, w) RGB in [0, 1], sides multiples of 32 -> relative disparity (B, 1, h, w), not clamped, and the
    six levels at strides 32, 16, 8, 4, 2, 1 with `feature_channels` channels."""

    same_in_bfloat16 = True

    def __init__(self, spec: PsiSpec) -> None:
        super().__init__()
        self.spec = spec
        c0, c1, c2, c3, c4, c5 = spec.feature_channels
        s2, s4, s8, s16, s32 = _TAP_CHANNELS
        self.encoder = EfficientNetLite0()
        self.reduce = nn.Sequential(nn.Conv2d(s32, _CONTEXT_WIDTH, 1, bias=False), nn.BatchNorm2d(_CONTEXT_WIDTH))
        self.context = nn.Sequential(_ContextBlock(_CONTEXT_WIDTH), _ContextBlock(_CONTEXT_WIDTH))
        self.deepest = _ConvBlock(_CONTEXT_WIDTH, c0)
        self.fuse16 = _Fuse(c0, s16, c1)
        self.fuse8 = _Fuse(c1, s8, c2)
        self.fuse4 = _Fuse(c2, s4, c3)
        self.fuse2 = _Fuse(c3, s2, c4)
        self.full = nn.Sequential(nn.Conv2d(c4, c5, 3, padding=1), nn.ReLU(True))
        self.head = nn.Conv2d(c5, 1, 1)

    def whole(self, image: Tensor, aspect: float) -> PsiOutput:
        """See `DepthBase.whole`; in float32, as all patches follow this one."""
        with float32_where_inferring(self, image):
            return super().whole(image, aspect)

    def forward(self, image: Tensor) -> PsiOutput:
        """See the class."""
        e2, e4, e8, e16, e32 = self.encoder(image)
        level0 = self.deepest(self.context(self.reduce(e32)))  # (B, c0, h/32, w/32)
        level1 = self.fuse16(level0, e16)  # (B, c1, h/16, w/16)
        level2 = self.fuse8(level1, e8)
        level3 = self.fuse4(level2, e4)
        level4 = self.fuse2(level3, e2)  # (B, c4, h/2, w/2)
        level5 = self.full(F.interpolate(level4, size=image.shape[-2:], mode="bilinear", align_corners=False))
        return PsiOutput(self.head(level5), (level0, level1, level2, level3, level4, level5))
