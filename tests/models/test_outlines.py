"""Soft steps find the picture's outlines; where there are none, nothing happens."""

from __future__ import annotations

import torch
from torch import Tensor

from pro_engine.models.outlines import snap_to_outlines
from pro_engine.models.refiner_blend import smooth


def square(low: float, high: float) -> Tensor:
    """(1, 1, 96, 128): a square of `high` on a ground of `low`."""
    maps = torch.full((1, 1, 96, 128), low)
    maps[..., 24:72, 40:88] = high
    return maps


def test_a_soft_step_snaps_to_the_outline_of_the_picture():
    truth, picture = square(0.0, 2.0), square(0.3, 0.7).expand(1, 3, -1, -1)
    soft = smooth(truth, 5.0)
    snapped = snap_to_outlines(soft, picture)
    assert (snapped - truth).abs().mean() < 0.65 * (soft - truth).abs().mean()
    steps = snapped.diff(dim=-1)[0, 0, 48]
    assert int(steps.argmax()) in (38, 39, 40) and int(steps.argmin()) in (86, 87, 88)
    assert steps.max() > 3 * soft.diff(dim=-1).max()


def test_an_even_picture_changes_nothing():
    soft = smooth(square(0.0, 2.0), 5.0)
    torch.testing.assert_close(snap_to_outlines(soft, torch.full((1, 3, 96, 128), 0.4)), soft)


def test_noise_is_no_outline():
    torch.manual_seed(0)
    soft = smooth(square(0.0, 2.0), 5.0)
    noisy = torch.full((1, 3, 96, 128), 0.4) + 0.01 * torch.randn(1, 3, 96, 128)
    snapped = snap_to_outlines(soft, noisy)
    torch.testing.assert_close(snapped, soft, atol=0.1, rtol=0)  # of a step of 2
    assert (snapped - soft).abs().mean() < 0.01


def test_texture_on_a_plane_leaves_the_plane():
    checks = (torch.arange(96)[:, None] // 6 + torch.arange(128) // 6) % 2
    picture = (0.3 + 0.4 * checks.float()).expand(1, 3, -1, -1)
    plane = torch.linspace(0, 2, 128).expand(1, 1, 96, 128)
    inside = (..., slice(40, 56), slice(40, 88))
    torch.testing.assert_close(snap_to_outlines(plane, picture)[inside], plane[inside], atol=0.1, rtol=0)


def test_values_stay_within_what_was_there():
    torch.manual_seed(1)
    maps, picture = torch.rand(2, 1, 40, 50), torch.rand(2, 3, 40, 50)
    snapped = snap_to_outlines(maps, picture)
    assert snapped.min() >= maps.min() and snapped.max() <= maps.max()
