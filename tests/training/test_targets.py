"""The label with the layout of the coarse map, on cases whose answer is known."""

from __future__ import annotations

import torch
from torch import Tensor

from pro_engine.training.targets import box_mean, local_target


def square(height: int = 96, width: int = 128) -> Tensor:
    """(1, h, w): a square of 2 on a ground of 0."""
    maps = torch.zeros(1, height, width)
    maps[:, 24:72, 40:88] = 2
    return maps


def blurred(maps: Tensor, radius: int = 6) -> Tensor:
    return box_mean(maps[:, None], radius)[:, 0]


def test_a_coarse_map_that_is_the_label_up_to_scale_and_shift_gives_itself():
    label = square()
    torch.testing.assert_close(local_target(label, 3 * label - 1, 16), 3 * label - 1, atol=0.7, rtol=0)


def test_outlines_come_from_the_label():
    label = square()
    coarse = blurred(label)
    target = local_target(label, coarse, 20)
    assert coarse.diff(dim=-1).abs().max() < 0.2
    steps = target.diff(dim=-1)[0, 48]
    assert steps[39] > 1.3 and steps[87] < -1.3
    assert steps.abs().sort().values[:-2].max() < 0.1  # nothing else moves along that row


def test_a_layout_that_only_the_coarse_map_has_is_kept():
    label = square()
    slope = torch.linspace(0, 6, 96)[None, :, None].expand_as(label)
    target = local_target(label, blurred(label) + slope, 12)
    rows = target[0, :, 8]  # off the square, where the label is flat
    torch.testing.assert_close(rows[16:80], slope[0, 16:80, 8], atol=0.2, rtol=0)


def test_an_inverted_label_is_flattened_not_turned_over():
    label = square()
    target = local_target(label, -blurred(label), 20)
    assert target.diff(dim=-1).abs().max() < 0.35


def test_unknown_pixels_do_not_count():
    label = square()
    mask = torch.ones_like(label, dtype=torch.bool)
    mask[:, 60:] = False
    wild = torch.where(mask, label, torch.full_like(label, 1e6))
    with_hole = local_target(wild, blurred(label), 20, mask)
    plain = local_target(torch.where(mask, label, torch.zeros_like(label)), blurred(label), 20, mask)
    torch.testing.assert_close(with_hole, plain)
    assert with_hole.isfinite().all()


def test_box_mean_repeats_borders():
    maps = torch.tensor([[0.0, 3.0, 6.0]])[None, None]
    torch.testing.assert_close(box_mean(maps, 1), torch.tensor([[1.0, 3.0, 5.0]])[None, None])
