"""How much work a network is: the multiply-adds of what PyTorch's own counter does not know."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from pro_engine.models.int8 import int8_supported
from pro_engine.models.packed import packing_supported


def flop_formulas() -> dict[Any, Callable[..., int]]:
    """How torch's `FlopCounterMode` is to count attention on a CPU, `PackedConv2d` and `Int8Conv2d`."""
    formulas: dict[Any, Callable[..., int]] = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
    if packing_supported():
        formulas[torch.ops.mkldnn._convolution_pointwise] = _packed
    if int8_supported():
        formulas[torch.ops.onednn.qconv2d_pointwise] = _quantized
    return formulas


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _packed(maps: torch.Size, weight: torch.Size, *_: object, **given: Any) -> int:
    return _convolution(given["out_shape"], weight)


def _quantized(maps: torch.Size, scale: float, zero: int, weight: torch.Size, *_: object, **given: Any) -> int:
    return _convolution(given["out_shape"], weight)


def _convolution(given: torch.Size, weight: torch.Size) -> int:
    """given (B, outputs, h, w), weight (outputs, inputs of a group, rows, columns)."""
    batch, _, height, width = given
    return 2 * batch * height * width * math.prod(weight)
