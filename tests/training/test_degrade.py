"""Imagined networks: what they lose, and that each can be drawn again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pro_engine.training.degrade import Style, degrade, draw_style, slow_noise

EXACT = Style(blur=0.05, warp=0, thin=0, stride=1, contrast=0, level=0, bend=1, leak=0, holes=0)


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A box of 2 and a wire of 4, two pixels wide, before a ground of 1; half of the picture is bright."""
    disparity = np.ones((96, 128), np.float32)
    disparity[30:70, 20:60] = 2
    disparity[:, 90:92] = 4
    brightness = np.zeros_like(disparity)
    brightness[48:] = 1
    return disparity, brightness


def spoilt(seed: int = 0, **changes: float) -> np.ndarray:
    return degrade(*scene(), replace(EXACT, **changes), np.random.default_rng(seed))


def test_a_perfect_network_gives_the_truth():
    np.testing.assert_allclose(spoilt(), scene()[0], atol=1e-5)


def test_the_same_seed_gives_the_same_network_and_map():
    first, again = (draw_style(np.random.default_rng(5)) for _ in range(2))
    assert first == again
    maps = [degrade(*scene(), first, np.random.default_rng(6)) for _ in range(2)]
    np.testing.assert_array_equal(*maps)
    assert first != draw_style(np.random.default_rng(7))


def test_blur_and_stride_soften_outlines():
    sharp = np.abs(np.diff(scene()[0][50])).max()
    assert np.abs(np.diff(spoilt(blur=3)[50])).max() < 0.3 * sharp
    assert np.abs(np.diff(spoilt(stride=4)[50])).max() < 0.6 * sharp


def test_thin_things_are_lost_wide_ones_are_not():
    values = min((spoilt(seed, thin=5) for seed in range(8)), key=lambda v: float(v[10, 90]))
    assert values[10, 90] == pytest.approx(1, abs=1e-3)
    assert values[50, 40] == pytest.approx(2, abs=1e-3)


def test_level_contrast_and_bend_change_values_and_not_outlines():
    truth = scene()[0]
    for changes in ({"level": 0.1}, {"contrast": 0.2}, {"bend": 1.5}):
        values = spoilt(**changes)
        assert np.abs(values - truth).max() > 0.05, changes
        assert np.abs(np.diff(values[50])).argmax() in (89, 91), changes


def test_brightness_shines_through():
    difference = spoilt(leak=0.1) - spoilt()
    np.testing.assert_allclose(difference[48:], 0.4, atol=1e-5)
    np.testing.assert_allclose(difference[:48], 0, atol=1e-5)


def test_warp_moves_outlines_by_a_few_pixels():
    moved = spoilt(warp=2.0) != scene()[0]
    assert moved.any()
    far = np.ones(scene()[0].shape, bool)
    far[18:82, 8:72] = far[:, 78:104] = False
    assert not moved[far].any()


def test_holes_forget_places():
    assert any(np.abs(spoilt(seed, holes=3) - scene()[0]).max() > 0.2 for seed in range(4))


def test_noise_is_slow():
    noise = slow_noise(np.random.default_rng(0), (96, 128), 4)
    assert noise.shape == (96, 128) and noise.dtype == np.float32
    assert np.abs(np.diff(noise, axis=1)).max() < 0.3 < noise.std()
