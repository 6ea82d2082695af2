"""The level of an estimated sky in a map."""

from __future__ import annotations

import numpy as np
import torch

from pro_engine.inference.coarse import NEAR_SKY, Coarse
from pro_engine.inference.whole import Whole
from pro_engine.models.contract import PsiOutput

HEIGHT, WIDTH = 60, 80


def coarse(*, surface: bool = False) -> Coarse:
    disparity = torch.linspace(1, 2, HEIGHT)[None, None, :, None].repeat(1, 1, 1, WIDTH)
    whole = Whole(disparity, None, surface=torch.ones_like(disparity) if surface else None)
    return Coarse.of(PsiOutput(disparity, ()), whole, None)


def test_a_sky_that_is_near_becomes_as_far_as_the_farthest_surface():
    values = np.linspace(-2, 3, HEIGHT, dtype=np.float32)[:, None].repeat(WIDTH, 1)
    sky = np.zeros(values.shape, bool)
    sky[30:40, 20:50] = True
    found = values.copy()
    assert coarse().set_sky(found, sky) == NEAR_SKY
    assert np.array_equal(found[~sky], values[~sky])
    assert np.ptp(found[sky]) == 0 and -2 <= found[sky][0] < -1.9


def test_a_sky_that_is_far_keeps_its_step_to_the_farthest_surface():
    values = np.linspace(-2, 3, HEIGHT, dtype=np.float32)[:, None].repeat(WIDTH, 1)
    sky = np.zeros(values.shape, bool)
    sky[:10] = True
    values[sky] = -3 + np.random.default_rng(0).normal(0, 0.02, 10 * WIDTH)
    found = values.copy()
    assert not coarse().set_sky(found, sky)
    assert np.ptp(found[sky]) == 0 and abs(found[0, 0] + 3) < 0.02


def test_a_lamp_before_the_sky_stays_and_is_none_of_it():
    values = np.linspace(-2, 3, HEIGHT, dtype=np.float32)[:, None].repeat(WIDTH, 1)
    values[:30] = -3
    values[5:30, 40:42], values[5:30, 39], values[5:30, 42] = 2, -2.95, -2.95
    sky = np.zeros(values.shape, bool)
    sky[:30] = True
    found = values.copy()
    coarse().set_sky(found, sky)
    assert (found[5:30, 40:42] == 2).all() and not sky[5:30, 40:42].any()
    assert (found[:30, :40] == -3).all() and (found[:30, 42:] == -3).all() and sky[:30, :40].all()


def test_nothing_but_sky_and_none_at_all():
    values = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH)).astype(np.float32)
    found = values.copy()
    coarse().set_sky(found, None)
    assert np.array_equal(found, values)
    coarse().set_sky(found, np.ones(values.shape, bool))
    assert (found == found[0, 0]).all() and abs(found[0, 0] - np.median(values)) < 0.01


def test_an_estimate_is_left_on_request_and_infinity_is_not():
    values = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None].repeat(WIDTH, 1)
    sky = np.zeros(values.shape, bool)
    sky[30:40, 20:50] = True
    found = values.copy()
    coarse().set_sky(found, sky, keep=True)
    assert np.array_equal(found, values)
    coarse(surface=True).set_sky(found, sky, keep=True)
    assert not np.array_equal(found, values)


def test_a_sky_of_known_disparity_becomes_that_of_infinity():
    values = np.ones((HEIGHT, WIDTH), np.float32)
    sky = np.zeros(values.shape, bool)
    sky[:10] = True
    at_infinity = coarse(surface=True)
    at_infinity.set_sky(values, sky)
    assert (values[sky] == np.float32(at_infinity.zero)).all() and (values[~sky] == 1).all()
