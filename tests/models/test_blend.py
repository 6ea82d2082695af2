"""The training-free refiner on maps whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pro_engine.models.contract import RefinerInput
from pro_engine.models.refiner_blend import DETAIL_MARGIN, BlendRefiner, fit_affine, local_range, smooth


def _patches(coarse: Tensor, fine: Tensor, center: float = 0.0, spread: float = 1.0) -> RefinerInput:
    image = torch.zeros(coarse.shape[0], 3, *coarse.shape[-2:])
    return RefinerInput(image, coarse, fine, (), (), torch.tensor(center), torch.tensor(spread))


def _step(height: int = 120, width: int = 160) -> Tensor:
    """(1, 1, h, w): a square of 2 on a ground of 0."""
    maps = torch.zeros(1, 1, height, width)
    maps[..., 30:90, 40:120] = 2
    return maps


def _bumps(height: int = 96, width: int = 128) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 7, height), torch.linspace(0, 9, width), indexing="ij")
    return (torch.sin(x) * torch.cos(y) + 0.2 * x)[None, None]


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (12.0, -3.0), (1e-3, 5.0)])
def test_a_patch_that_agrees_up_to_scale_and_shift_changes_nothing(scale, shift):
    coarse = _bumps() * 4 + 9
    refined = BlendRefiner()(_patches(coarse, coarse * scale + shift, center=8.0, spread=2.5))
    torch.testing.assert_close(refined, (coarse - 8) / 2.5, atol=2e-3, rtol=0)


def test_a_blurred_edge_becomes_sharp():
    truth = _step()
    coarse = smooth(truth, 6.0)
    refined = BlendRefiner()(_patches(coarse, 40 * truth + 7))
    assert (refined - truth).abs().mean() < 0.4 * (coarse - truth).abs().mean()
    steepest = refined.diff(dim=-1).abs().max()
    assert steepest > 5 * coarse.diff(dim=-1).abs().max()


def test_low_frequencies_come_from_the_coarse_map():
    truth = _step()
    tilted = truth + torch.linspace(-0.5, 0.5, 160)
    refined = BlendRefiner()(_patches(truth, tilted))
    assert (refined - truth).abs().mean() < 0.2 * (tilted - truth).abs().mean()


@pytest.mark.parametrize("fine", [-_bumps(), torch.full((1, 1, 96, 128), 3.0), torch.zeros(1, 1, 96, 128)])
def test_an_inverted_or_constant_patch_is_ignored(fine):
    coarse = _bumps()
    torch.testing.assert_close(BlendRefiner()(_patches(coarse, fine.to(coarse.device))), coarse, atol=1e-6, rtol=0)


def test_unrelated_noise_is_ignored():
    torch.manual_seed(0)
    coarse = _bumps()
    refined = BlendRefiner()(_patches(coarse, torch.randn(1, 1, 96, 128)))
    assert torch.equal(refined, coarse)


@pytest.mark.parametrize("spread", [1.0, 0.0])
def test_a_flat_scene_stays_finite(spread):
    coarse = torch.full((2, 1, 64, 64), 5.0)
    refined = BlendRefiner()(_patches(coarse, torch.rand(2, 1, 64, 64), center=5.0, spread=spread))
    torch.testing.assert_close(refined, torch.zeros_like(refined))


def test_detail_is_limited_where_the_coarse_map_is_flat():
    coarse = _step()
    fine = coarse.clone()
    fine[..., 5:8, 5:8] = 50  # a spike in the flat corner
    refined = BlendRefiner()(_patches(coarse, fine))
    assert (refined - coarse).abs().max() <= DETAIL_MARGIN + 2.0 + 1e-5
    assert refined[..., 5:8, 5:8].max() <= DETAIL_MARGIN + 1e-5


def test_patches_do_not_influence_each_other():
    coarse, fine = torch.cat((_bumps(), _step(96, 128))), torch.cat((_bumps() * 3, _bumps()))
    both = BlendRefiner()(_patches(coarse, fine))
    for i in range(2):
        alone = BlendRefiner()(_patches(coarse[i : i + 1], fine[i : i + 1]))
        torch.testing.assert_close(both[i : i + 1], alone, atol=5e-6, rtol=0)


def test_tiny_patches_work():
    maps = torch.rand(1, 1, 3, 4)
    assert BlendRefiner()(_patches(maps, maps)).isfinite().all()


def test_half_precision_around_it_does_not_coarsen_the_result():
    coarse, fine = smooth(_step(), 6.0), _step() * 9
    exact = BlendRefiner()(_patches(coarse, fine))
    with torch.autocast(torch.get_default_device().type, torch.bfloat16):
        mixed = BlendRefiner()(_patches(coarse, fine))
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, exact)


def test_the_fit_ignores_a_minority_of_outliers():
    torch.manual_seed(0)
    x = torch.randn(2, 400)
    y = torch.stack((3 * x[0] + 2, 0.5 * x[1] - 1))
    y[:, :80] += 30
    scale, shift, explained = fit_affine(x, y)
    torch.testing.assert_close(scale.flatten(), torch.tensor([3.0, 0.5]), atol=0.02, rtol=0)
    torch.testing.assert_close(shift.flatten(), torch.tensor([2.0, -1.0]), atol=0.05, rtol=0)
    assert ((explained > 0) & (explained < 0.5)).all()


def test_the_low_pass_keeps_constants_and_slopes_up_to_the_border():
    slope = (torch.arange(40.0)[:, None] * 0.3 - torch.arange(60.0) * 0.7 + 2)[None, None]
    torch.testing.assert_close(smooth(slope, 4.0), slope, atol=1e-4, rtol=0)


def test_local_range_of_a_step():
    maps = torch.zeros(1, 1, 40, 80)
    maps[..., 40:] = 3
    found = local_range(maps, 8)[0, 0, 20]
    assert (found[36:44] == 3).all()
    assert (found[:24] == 0).all()
    assert (found[56:] == 0).all()


@pytest.mark.parametrize(("size", "sigma"), [((40, 60), 2.5), ((9, 30), 5.0)])
def test_smooth_is_a_gaussian_over_a_map_continued_point_symmetrically(size, sigma):
    torch.manual_seed(0)
    maps = torch.rand(2, 1, *size)
    radius = min(int(3 * sigma), min(size) - 1)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma).square())
    expected = maps
    for _ in range(2):  # along the rows, then along the columns
        left = 2 * expected[..., :1] - expected[..., 1 : radius + 1].flip(-1)
        right = 2 * expected[..., -1:] - expected[..., -radius - 1 : -1].flip(-1)
        windows = torch.cat((left, expected, right), -1).unfold(-1, 2 * radius + 1, 1)  # (2, 1, h, w, 2 radius + 1)
        expected = (windows @ (kernel / kernel.sum())).transpose(2, 3)
    torch.testing.assert_close(smooth(maps, sigma), expected, atol=1e-6, rtol=0)
