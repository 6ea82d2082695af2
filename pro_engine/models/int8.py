"""Convolutions in 8-bit integers, for CPUs with VNNI instructions: about four times as fast as in float32.

Weights have a scale per output channel, fixed when they are quantized; what a convolution is given has one scale and
zero point per call, from its lowest and highest value, so nothing needs calibration. What it gives is float32. The sums
are PyTorch's own, `onednn::qconv2d_pointwise`, which its compiler uses for quantized networks.

Batch norms have to be folded (`pro.fold_batch_norm`) before.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pro_engine.models.fusion import WaveletFusion, haar_cells, haar_pairs
from pro_engine.models.packed import take_activation

_LEAST_CHANNELS = 16  # below, the rounding of the input takes as long as the convolution saves
_WEIGHT_STEPS = 127
_INPUT_STEPS = 255


def int8_supported() -> bool:
    """Whether this processor and this PyTorch have what `quantize_convolutions` needs."""
    has: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = has.get("avx512_vnni") or has.get("avx_vnni")  # without, 16-bit sums of products may overflow
    return bool(fast) and hasattr(torch.ops.onednn, "qconv2d_pointwise") and hasattr(torch, "quantize_per_tensor")


class Cells(NamedTuple):
    """A map (B, C, h, w) as four, of its even and odd rows and columns, (B, C, h / 2, w / 2) rounded up: a, b, c and d
    of the cells [[a, b], [c, d]]. Or as one. size: its h and w."""

    values: tuple[Tensor, ...]
    size: tuple[int, int]


class Int8Conv2d(nn.Module):
    """In the place of a convolution that keeps the size of its input; `relu` after it costs nothing.

    Has no parameters: it can neither be trained nor saved.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, padding: Sequence[int], *, relu: bool = False) -> None:
        super().__init__()
        scales = weight.abs().amax((1, 2, 3)).clamp_min(torch.finfo(torch.float32).tiny) / _WEIGHT_STEPS  # (outputs,)
        steps = (weight / scales.view(-1, 1, 1, 1)).round().to(torch.int8)
        self._padding = list(padding)
        self._scales, self._bias = scales, bias
        self._zeros = torch.zeros(len(scales), dtype=torch.int32)
        self._after = "relu" if relu else "none"
        self._packed = torch.ops.onednn.qconv_prepack(steps, scales, 1.0, 0, [1, 1], self._padding, [1, 1], 1, None)

    def forward(self, maps: Tensor | Sequence[Tensor | Cells]) -> Tensor:
        """maps (B, C, h, w), or several whose channels are joined -> (B, outputs, h, w), channels last in memory."""
        parts = [_cells_of(part) for part in ((maps,) if isinstance(maps, Tensor) else maps)]
        values = [value for part in parts for value in part.values]
        ranges = [torch.stack(torch.aminmax(value.permute(0, 2, 3, 1))).tolist() for value in values]
        low, high = min(0.0, *(low for low, _ in ranges)), max(0.0, *(high for _, high in ranges))
        scale = (high - low) / _INPUT_STEPS
        if not math.isfinite(sum(low + high for low, high in ranges)):
            return values[0].new_full((len(values[0]), len(self._scales), *parts[0].size), math.nan)
        scale = max(scale, torch.finfo(torch.float32).tiny)
        zero = round(-low / scale)
        return torch.ops.onednn.qconv2d_pointwise(
            _quantized(values[0], scale, zero) if len(values) == 1 else _joined(parts, scale, zero),
            *(scale, zero, self._packed, self._scales, self._zeros, self._bias),
            *([1, 1], self._padding, [1, 1], 1),  # stride, padding, dilation, groups
            *(1.0, 0, torch.float32),  # scale, zero point and type of the output
            *(self._after, [], "none"),
        )


class Int8WaveletFusion(nn.Module):
    """In the place of a `WaveletFusion`; the synthesis ends where the mix rounds its maps."""

    def __init__(self, fusion: WaveletFusion) -> None:
        super().__init__()
        weights = [fusion.low.weight, *fusion.high.weight.chunk(fusion.high.groups)]
        padding = _same_padding(fusion.low)
        self.bands = nn.ModuleList(Int8Conv2d(weight / 4, None, padding) for weight in weights)  # `haar_cells` has 4

    def forward(self, coarse: Tensor, fine: Tensor) -> Cells:
        """See `WaveletFusion.forward`."""
        pairs = haar_pairs(coarse, fine)
        bands = (convolution(pair) for convolution, pair in zip(self.bands, pairs, strict=True))
        return Cells(haar_cells(*bands), (coarse.shape[2], coarse.shape[3]))


def quantize_convolutions(module: nn.Module) -> None:
    """Replaces the module's convolutions by `Int8Conv2d` where that pays, in place; ReLUs in sequence are merged.

    They stay as they are where they have few channels, or change the size of what they are given.
    """
    with warnings.catch_warnings():  # said once a process: it will be removed, which `int8_supported` looks at
        warnings.simplefilter("ignore", UserWarning)
        _quantized(torch.zeros(1, 1, 1, 1), 1.0, 0)
    _replace(module)


def _replace(module: nn.Module) -> None:
    for name, part in list(module.named_children()):
        if isinstance(part, WaveletFusion):
            if _pays(part.low):  # and the mix, which is as wide
                setattr(module, name, Int8WaveletFusion(part))
        elif isinstance(part, nn.Conv2d):
            if _pays(part):
                behind = take_activation(module, name, (nn.ReLU,))
                setattr(module, name, Int8Conv2d(part.weight, part.bias, _same_padding(part), relu=behind is not None))
        else:
            _replace(part)


def _pays(convolution: nn.Conv2d) -> bool:
    keeps = convolution.padding == _same_padding(convolution) and convolution.padding_mode == "zeros"
    plain = convolution.stride == convolution.dilation == (1, 1) and convolution.groups == 1
    return keeps and plain and min(convolution.in_channels, convolution.out_channels) >= _LEAST_CHANNELS


def _same_padding(convolution: nn.Conv2d) -> tuple[int, ...]:
    return tuple(side // 2 for side in convolution.kernel_size)


def _quantized(maps: Tensor, scale: float, zero: int) -> Tensor:
    """uint8 steps of float maps (B, C, h, w), in their memory format."""
    steps = torch.quantize_per_tensor(maps, scale, zero, torch.quint8)
    # The same memory without its scale: `int_repr` would copy it, which takes longer than the rounding.
    return torch.empty(0, dtype=torch.uint8).set_(steps.untyped_storage(), 0, steps.size(), steps.stride())


def _cells_of(part: Tensor | Cells) -> Cells:
    return Cells((part.float(),), (part.shape[2], part.shape[3])) if isinstance(part, Tensor) else part


def _joined(parts: Sequence[Cells], scale: float, zero: int) -> Tensor:
    """The channels of several maps as uint8 steps, channels last in memory."""
    first = parts[0].values[0]
    channels = [part.values[0].shape[1] for part in parts]
    size = (len(first), sum(channels), *parts[0].size)
    steps = torch.empty(size, dtype=torch.uint8, memory_format=torch.channels_last)
    for part, place in zip(parts, steps.split(channels, 1), strict=True):
        stride = 1 if len(part.values) == 1 else 2
        for k, value in enumerate(part.values):
            into = place[:, :, k // 2 :: stride, k % 2 :: stride]
            into.copy_(_quantized(value, scale, zero)[:, :, : into.shape[2], : into.shape[3]])
    return steps
