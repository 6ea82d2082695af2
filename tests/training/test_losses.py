"""Losses and the grouped patches against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from pro_engine.training.gpct import consistency_loss, cut, merge, plan_group
from pro_engine.training.losses import base_loss, data_loss, gradient_matching, normalise, outline_loss, relative_error


def test_normalise_removes_scale_and_shift() -> None:
    maps = torch.rand(2, 6, 8)
    torch.testing.assert_close(normalise(maps), normalise(40 * maps + 3), atol=1e-2, rtol=1e-2)
    flat = normalise(maps).flatten(1)
    torch.testing.assert_close(flat.median(1).values, torch.zeros(2))
    torch.testing.assert_close(flat.abs().mean(1), torch.ones(2), atol=2e-3, rtol=0)


def test_gradient_matching_of_a_ramp() -> None:
    ramp = torch.arange(8.0).repeat(8, 1)[None]  # grows by one per column
    assert gradient_matching(ramp, scales=1).item() == pytest.approx(1.0)
    assert gradient_matching(ramp, scales=3).item() == pytest.approx(1 + 2 + 4)


def test_gradient_matching_leaves_out_pairs_that_touch_masked_pixels() -> None:
    error = torch.zeros(1, 8, 8)
    error[0, :, 4:] = 100.0
    mask = torch.ones(1, 8, 8, dtype=torch.bool)
    mask[0, :, 4:] = False
    assert gradient_matching(error, mask).item() == 0.0
    assert gradient_matching(error).item() > 0


def test_relative_error_is_zero_for_an_affine_map_and_blind_to_its_numbers() -> None:
    target = torch.rand(3, 10, 12)
    assert relative_error(5 * target - 2, target).item() == pytest.approx(0, abs=1e-4)
    assert relative_error(-target, target).item() > 0.05  # a flipped map is no better than a constant


def test_sky_has_no_relative_error() -> None:
    target = torch.rand(2, 10, 12) + 0.1
    target[:, :4] = 0
    prediction = 3 * target + 1
    prediction[:, :4] = 100 * torch.rand(2, 4, 12)
    assert relative_error(prediction, target).item() == pytest.approx(0, abs=1e-4)


def test_outline_loss_by_hand() -> None:
    target = torch.zeros(1, 20, 40)
    target[:, :, 20:] = 2.0
    loss, parts = outline_loss(target, target, torch.ones_like(target, dtype=torch.bool))
    assert loss.item() == 0
    soft = target.clone()
    soft[:, :, 16:24] = torch.linspace(0, 2, 8)  # steps of 2 / 7; the range over five pixels is 8 / 7
    mask = torch.ones_like(target, dtype=torch.bool)
    loss, parts = outline_loss(soft, target, mask)
    outlines = 4 * 20  # two pixels on either side
    short = [2 - 8 / 7, 2 - 8 / 7, 2 - 8 / 7, 2 - 8 / 7]
    assert parts["softness"] == pytest.approx(20 * sum(short) / (outlines + 300), rel=1e-4)
    assert parts["l1"] == pytest.approx(2 * (0 + 2 + 4 + 6) / 7 / 40, rel=1e-4)
    assert loss.item() == pytest.approx(parts["l1"] + 0.5 * parts["gradient"] + 2 * parts["softness"], rel=1e-5)
    mask[:, :, 10:30] = False
    hidden, parts = outline_loss(soft, target, mask)
    assert hidden.item() == 0 and parts["softness"] == 0


def test_a_sharper_outline_than_wanted_costs_no_softness() -> None:
    target = torch.zeros(1, 20, 40)
    target[:, :, 20:] = 1.0
    _, parts = outline_loss(2 * target, target, torch.ones_like(target, dtype=torch.bool))
    assert parts["softness"] == 0 and parts["l1"] == pytest.approx(0.5)


def test_base_loss_prefers_the_right_map() -> None:
    target = torch.rand(2, 32, 32)
    good, _ = base_loss(3 * target + 1, target)
    bad, _ = base_loss(torch.rand(2, 32, 32), target)
    assert good.item() < 0.1 * bad.item()


def test_data_loss_by_hand() -> None:
    target = torch.zeros(1, 16, 16)
    prediction = torch.full((1, 16, 16), 0.5)
    mask = torch.ones(1, 16, 16, dtype=torch.bool)
    mask[0, 0] = False
    prediction[0, 0] = 99.0  # masked out
    loss, parts = data_loss(prediction, target, mask)
    assert parts == {"l1": pytest.approx(0.5), "l2": pytest.approx(0.25), "gradient": pytest.approx(0.0)}
    assert loss.item() == pytest.approx(0.75)


def test_group_geometry_is_the_published_one() -> None:
    group = plan_group((518, 518))
    assert group.region == (812, 812)
    assert group.corners == ((0, 0), (0, 294), (294, 0), (294, 294))


@pytest.mark.parametrize("overlap", [0.0, 0.25, 224 / 518, 0.8])
def test_cut_then_merge_is_the_identity(overlap: float) -> None:
    group = plan_group((20, 30), overlap)
    region = torch.rand(*group.region)
    torch.testing.assert_close(merge(group, cut(group, region)), region)


def test_consistency_is_zero_for_agreeing_patches_and_counts_each_pair_twice() -> None:
    group = plan_group((8, 8), 0.5)
    patches = cut(group, torch.rand(*group.region))
    assert consistency_loss(group, patches).item() == pytest.approx(0, abs=1e-10)
    patches = torch.zeros(4, 8, 8)
    patches[0] = 1.0  # differs by one from each of its three neighbours
    assert consistency_loss(group, patches).item() == pytest.approx(6.0)


def test_without_overlap_there_is_nothing_to_agree_on() -> None:
    group = plan_group((8, 8), 0.0)
    assert consistency_loss(group, torch.rand(4, 8, 8)).item() == 0.0


def test_consistency_gradient_reaches_both_patches() -> None:
    group = plan_group((8, 8), 0.5)
    patches = torch.tensor(np.random.default_rng(0).random((4, 8, 8)), requires_grad=True)
    consistency_loss(group, patches).backward()
    assert patches.grad is not None
    assert all(patches.grad[i].abs().sum() > 0 for i in range(4))


def test_the_base_loss_leaves_out_what_is_not_known() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.rand(2, 3, 16, 16, generator=generator)
    mask = torch.ones(3, 16, 16, dtype=torch.bool)
    whole, _ = base_loss(prediction, target)
    assert base_loss(prediction, target, mask)[0].item() == pytest.approx(whole.item(), rel=1e-5)
    mask[:, 5:9, 3:] = False
    mask[2] = False  # a map of which nothing is known
    masked, _ = base_loss(prediction, target, mask)
    for maps in (prediction, target):
        maps[~mask] = 40.0
    assert base_loss(prediction, target, mask)[0].item() == pytest.approx(masked.item(), rel=1e-4)
    assert base_loss(prediction, target)[0].item() != pytest.approx(masked.item(), rel=0.1)


def test_a_masked_base_loss_has_a_finite_gradient() -> None:
    prediction = torch.rand(2, 8, 8, requires_grad=True)
    mask = torch.rand(2, 8, 8) > 0.5
    mask[1] = False
    base_loss(prediction, torch.rand(2, 8, 8), mask)[0].backward()
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()
    assert prediction.grad[0].abs().sum() > 0
