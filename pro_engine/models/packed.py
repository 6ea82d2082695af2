"""Convolutions as an x86 processor runs them fastest: oneDNN's, with the activation behind them included.

PyTorch sends a 1x1 convolution of one picture past oneDNN where it has one thread, and a ReLU behind a convolution
reads and writes the whole map once more. Here the weights are put into the order in which oneDNN wants them once, and
the activation is applied as the result is written (`mkldnn::_convolution_pointwise`, which PyTorch's compiler uses).

Under autocast to bfloat16 the weights are rounded once rather than in every call, and the last layers, those that give
a few channels, compute in float32: what they give is a map, where the steps of bfloat16 would show.

Batch norms have to be folded before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pro_engine.models.fusion import BandConv2d

_LAST_CHANNELS = 4  # a layer with no more gives what is looked at: disparity, points, normals, masks
_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}


def packing_supported() -> bool:
    """Whether this processor and this PyTorch have what `pack_convolutions` needs."""
    has: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    has_operator = hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    return bool(has.get("avx2")) and torch.backends.mkldnn.is_available() and has_operator


class PackedConv2d(nn.Module):
    """In the place of a convolution, with the activation behind it if there is one. Cannot be trained."""

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.convolution, self.activation = convolution, activation
        self._after, self._bounds = ("none", []) if activation is None else _ACTIVATIONS[type(activation)]
        self._packed: dict[torch.dtype, tuple[Any, ...]] = {}

    @property
    def weight(self) -> Tensor:
        """Of the convolution; networks look at its type."""
        return self.convolution.weight

    @property
    def bias(self) -> Tensor | None:
        """Of the convolution."""
        return self.convolution.bias

    def forward(self, maps: Tensor | Sequence[Tensor]) -> Tensor:
        """maps (B, C, h, w), or several whose channels are joined -> (B, outputs, h', w'), channels last in memory."""
        dtype = self._dtype()
        if dtype is None:
            given = self.convolution(maps)
            return given if self.activation is None else self.activation(given)
        x = maps.to(dtype) if isinstance(maps, Tensor) else torch.cat([one.to(dtype) for one in maps], 1)
        x = x.contiguous(memory_format=torch.channels_last)
        if dtype not in self._packed:  # in the order that suits the size of the first map; every order works
            self._packed[dtype] = self._pack(dtype, x.shape)
        return torch.ops.mkldnn._convolution_pointwise(x, *self._packed[dtype], self._after, self._bounds, "")

    def _pack(self, dtype: torch.dtype, size: Sequence[int]) -> tuple[Any, ...]:
        """Weight, bias, padding, stride, dilation and groups."""
        convolution = self.convolution
        if hasattr(convolution, "symmetric"):
            convolution = convolution.symmetric()  # type: ignore[operator]  # a layer of `compact`
        how = (convolution.padding, convolution.stride, convolution.dilation, convolution.groups)
        weight = torch.ops.mkldnn._reorder_convolution_weight(convolution.weight.to(dtype), *how, size)
        return weight, None if convolution.bias is None else convolution.bias.to(dtype), *how

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": {}}  # what oneDNN ordered cannot be copied

    def _dtype(self) -> torch.dtype | None:
        """In which to compute; None where the convolution as it is has to do it."""
        if torch.compiler.is_exporting():
            return None
        if self.convolution.out_channels <= _LAST_CHANNELS or not torch.is_autocast_enabled("cpu"):
            return torch.float32
        return torch.bfloat16 if torch.get_autocast_dtype("cpu") == torch.bfloat16 else None


class PackedBands(nn.Module):
    """In the place of a `BandConv2d`."""

    def __init__(self, convolution: BandConv2d) -> None:
        super().__init__()
        self.bands = nn.ModuleList(PackedConv2d(band) for band in convolution.separate())

    def forward(self, bands: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """See `BandConv2d.forward`."""
        return [convolution(band) for convolution, band in zip(self.bands, bands, strict=True)]


def pack_convolutions(module: nn.Module) -> None:
    """Replaces the module's convolutions by `PackedConv2d`, in place; activations behind them merge."""
    for name, part in list(module.named_children()):
        if isinstance(part, PackedConv2d):
            continue
        if isinstance(part, BandConv2d):
            setattr(module, name, PackedBands(part))
        elif not isinstance(part, nn.Conv2d):
            pack_convolutions(part)
        elif part.padding_mode == "zeros" and not isinstance(part.padding, str):
            behind = take_activation(module, name, tuple(_ACTIVATIONS))
            setattr(module, name, PackedConv2d(part, behind))


def take_activation(module: nn.Module, name: str, kinds: tuple[type[nn.Module], ...]) -> nn.Module | None:
    """Takes the activation of these kinds behind the part of this name away if the module is a sequence; None: there is
    none. What folded batch norms leave may stand between."""
    if not isinstance(module, nn.Sequential):
        return None
    for i in range(int(name) + 1, len(module)):
        part = module[i]
        if isinstance(part, kinds):
            module[i] = nn.Identity()
            return part
        if not isinstance(part, nn.Identity):
            break
    return None
