"""Attention in bfloat16 as two products of matrices."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pro_engine.inference.work import flop_formulas
from pro_engine.models import attention
from pro_engine.models.attention import PlainAttention, plain_attention

SHAPE = (2, 3, 40, 16)


def heads(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), device="cpu")


def given() -> tuple[Tensor, Tensor, Tensor]:
    return heads(*SHAPE), heads(2, 3, 50, 16, seed=1), heads(2, 3, 50, 16, seed=2)


@pytest.mark.parametrize("scores", [2**24, 4000, 1])
def test_it_is_attention_however_many_heads_fit(monkeypatch, scores):
    monkeypatch.setattr(attention, "_SCORES", scores)
    for scale in (None, 0.5):
        wanted = F.scaled_dot_product_attention(*given(), scale=scale)
        torch.testing.assert_close(plain_attention(*given(), scale), wanted)


def test_under_autocast_it_takes_the_place_of_torchs_own():
    wanted = F.scaled_dot_product_attention(*given())
    with PlainAttention():
        torch.testing.assert_close(F.scaled_dot_product_attention(*given()), wanted)
        with torch.autocast("cpu", torch.bfloat16):
            got = F.scaled_dot_product_attention(*given())
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), wanted, rtol=0.03, atol=0.03)
    assert F.scaled_dot_product_attention(*given()).dtype == torch.float32


def test_what_is_more_than_plain_is_left_alone():
    mask = torch.zeros(SHAPE[2], 50, dtype=torch.bool, device="cpu")
    mask[:, :7] = True
    wanted = F.scaled_dot_product_attention(*given(), attn_mask=mask)
    with PlainAttention(), torch.autocast("cpu", torch.bfloat16):
        got = F.scaled_dot_product_attention(*given(), attn_mask=mask)
    torch.testing.assert_close(got.float(), wanted, rtol=0.03, atol=0.03)


def test_attention_is_counted():
    with FlopCounterMode(display=False, custom_mapping=flop_formulas()) as work:
        F.scaled_dot_product_attention(*given())
    with FlopCounterMode(display=False, custom_mapping=flop_formulas()) as plain:
        plain_attention(*given())
    assert work.get_total_flops() == plain.get_total_flops() == 2 * 2 * 3 * 40 * 50 * (16 + 16)
