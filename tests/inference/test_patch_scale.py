"""Patches whose depth is right but for a scale and a shift, on the scale of the coarse map; and the sky's border."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pro_engine.inference.patch_scale import on_coarse_scale
from pro_engine.inference.resize import filled
from pro_engine.options import InferenceOptions

HEIGHT, WIDTH = 64, 96


def rolling() -> torch.Tensor:
    """Depth (1, 1, h, w) of a floor with a box on it, 2 to 10 m away."""
    down = torch.linspace(0, 1, HEIGHT)[:, None]
    depth = (1 / (0.1 + 0.4 * down)).repeat(1, WIDTH)
    depth[20:50, 30:60] = 2.5
    return depth[None, None]


@pytest.mark.parametrize(("scale", "shift"), [(0.3, 0.0), (2.0, -1.5), (0.5, 4.0)])
def test_depth_with_another_scale_and_shift_comes_to_the_coarse_scale(scale, shift):
    depth = rolling()
    fine = 1 / (scale * depth + shift)
    found = on_coarse_scale(fine, 1 / depth, torch.ones_like(depth))
    torch.testing.assert_close(1 / found, depth, rtol=0.025, atol=0)


def test_the_sky_and_a_tenth_of_wrong_values_have_no_say():
    depth = rolling()
    coarse, fine = 1 / depth, 1 / (2 * depth - 1.5)
    surface = torch.ones_like(depth)
    surface[..., :20, :] = 0
    coarse = coarse * surface
    fine[..., :20, :] = 1e4 * torch.rand(20, WIDTH, generator=torch.Generator().manual_seed(0))
    coarse[..., :, :9] = 0.15
    found = on_coarse_scale(fine, coarse, surface)
    torch.testing.assert_close(1 / found[..., 24:, 20:], depth[..., 24:, 20:], rtol=0.03, atol=0)


def test_what_the_fit_does_not_explain_stays_as_it_is():
    depth = rolling()
    upside_down = depth.flip(-2)
    upside_down[..., 20:50, 30:60] = 9.0
    fine = 1 / upside_down
    assert torch.equal(on_coarse_scale(fine, 1 / depth, torch.ones_like(depth)), fine)
    assert torch.equal(on_coarse_scale(fine, 1 / depth, torch.zeros_like(depth)), fine)


def test_nothing_is_much_nearer_than_the_coarse_map_knows():
    depth = rolling()
    fine = 1 / (2 * depth - 1.5)
    fine[..., 60, 5] = 50.0  # would be behind the camera
    found = on_coarse_scale(fine, 1 / depth, torch.ones_like(depth))
    assert (found > 0).all() and found.max() <= 2 / depth.min() + 1e-6


def test_the_nearest_known_value_is_filled_in():
    values, known = np.array([[1, 0, 0, 4]], np.float32), np.array([[True, False, False, True]])
    np.testing.assert_array_equal(filled(values, known), [[1, 1, 4, 4]])
    assert filled(values, np.ones_like(known)) is values and filled(values, np.zeros_like(known)) is values


@pytest.mark.parametrize("refine", ["blend", "none"])
@pytest.mark.parametrize("size", [(128, 192), (310, 470)])
def test_the_sky_does_not_bleed_into_the_ground(tiny, refine, size):
    """Not even in the row that borders on it, however much the maps are enlarged."""
    image = np.full((*size, 3), 90, dtype=np.uint8)
    image[: size[0] // 2] = (120, 170, 250)
    predictor = tiny.predictor(psi=tiny.WallPsi(sky_share=0.5), trained=False)
    result = predictor.infer(image, options=InferenceOptions(tiles=(2, 2), refine=refine))
    assert 0.45 < result.sky.mean() < 0.55
    np.testing.assert_allclose(result.depth[~result.sky], 3.0, rtol=0.02)
