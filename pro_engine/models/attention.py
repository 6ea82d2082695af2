"""Attention as two products of matrices, which is what a processor with bfloat16 products does fastest.

PyTorch's fused attention takes as long in bfloat16 as in float32 on such a processor; it exists to save memory. Here a
few heads are done at a time, so that their scores take little, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_SCORES = 2**24  # at a time: 32 MB, which the next step finds in the cache


class PlainAttention(TorchFunctionMode):
    """While entered, and autocast on, `plain_attention` computes attention in bfloat16, in any network.

    What is more than plain attention, with masks or dropout, is left to PyTorch.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        is_attention = func is F.scaled_dot_product_attention and torch.is_autocast_enabled("cpu")
        if is_attention and _is_plain(args, given):
            query, key, value = (one.bfloat16() for one in args[:3])
            return plain_attention(query, key, value, given.get("scale"))
        return func(*args, **given)


def plain_attention(query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Tensor:
    """softmax(query key^T scale) value; query (B, H, N, D), key and value (B, H, M, D) -> (B, H, N, D).

    scale: D^-1/2 if None. The sums of products and of the softmax are float32, what they give is of the inputs' type.
    """
    batch, heads, count, width = query.shape
    seen = key.shape[2]
    query = (query * (width**-0.5 if scale is None else scale)).reshape(-1, count, width)  # (B H, N, D)
    key, value = key.reshape(-1, seen, width).transpose(1, 2), value.reshape(-1, seen, width)
    step = max(1, _SCORES // (count * seen))
    parts = [
        (query[i : i + step] @ key[i : i + step]).softmax(-1) @ value[i : i + step]
        for i in range(0, batch * heads, step)
    ]
    return torch.cat(parts).view(batch, heads, count, width)


def _is_plain(args: Sequence[Any], given: Mapping[str, Any]) -> bool:
    if len(args) != 3 or any(given.get(name) for name in ("dropout_p", "is_causal", "enable_gqa")):
        return False
    same_heads = args[0].shape[:2] == args[1].shape[:2] and args[1].shape == args[2].shape
    return given.get("attn_mask") is None and args[0].dim() == 4 and same_heads
