"""An estimated sky: averaged over even areas, and believed where it lies like one."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from pro_engine.inference.sky import averaged, believed, by_colours
from pro_engine.inference.whole import Whole

HEIGHT, WIDTH = 60, 80


def framed() -> tuple[np.ndarray, np.ndarray]:
    """A dark wall with a bright opening, and where that is."""
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[10:40, 20:60] = True
    image = np.full((HEIGHT, WIDTH, 3), 20, np.uint8)
    image[inside] = 230
    return image, inside


def wavering(inside: np.ndarray, mean: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.25, inside.shape)
    return np.clip(np.where(inside, mean, 0.1) + noise, 0.01, 0.99).astype(np.float32)


def test_an_even_area_is_of_one_mind_and_its_outline_stays():
    image, inside = framed()
    share = wavering(inside, 0.65)
    assert np.mean((share > 0.5) == inside) < 0.9
    found = averaged(share, image) > 0.5
    assert np.array_equal(found, inside)
    assert not (averaged(wavering(inside, 0.35), image) > 0.5).any()


def test_colours_tell_what_is_finer_than_the_estimate():
    true = np.arange(240)[:, None] < 100 + np.arange(320) // 3 % 2 * 8  # teeth
    image = np.where(true, 230, 60).astype(np.uint8)[..., None].repeat(3, 2)
    share = cv2.resize(cv2.blur(true.astype(np.float32), (9, 9)), (160, 120), interpolation=cv2.INTER_AREA)
    assert np.mean((cv2.resize(share, (320, 240)) > 0.5) == true) < 0.99
    assert np.mean((by_colours(share, image) > 0.5) == true) > 0.999
    assert np.allclose(by_colours(np.full((120, 160), 0.3, np.float32), image), 0.3, atol=1e-3)


def test_a_few_places_do_not_outvote_an_area():
    image, inside = framed()
    share = np.where(inside, 0.3, 0.05).astype(np.float32)
    share[20:24, 30:36] = 1
    assert not (averaged(share, image) > 0.5)[:, 40:].any()


FAR = np.linspace(0, 1, HEIGHT, dtype=np.float32)[:, None].repeat(WIDTH, 1)  # nearer from top to bottom


def test_what_lies_low_or_is_tiny_is_no_sky():
    sky = np.zeros((HEIGHT, WIDTH), np.float32)
    sky[:20] = 1
    high = sky > 0
    sky[50:, 5:70] = 1
    sky[30, 30] = 1
    assert np.array_equal(believed(sky, FAR), high)
    assert believed(np.ones((HEIGHT, WIDTH), np.float32), FAR).all(), "a photo of nothing but sky"
    assert not believed(np.zeros((HEIGHT, WIDTH), np.float32), FAR).any()


def test_a_sky_that_is_near_in_the_map_must_be_sure():
    _, inside = framed()
    near = np.where(inside, 0.8, FAR).astype(np.float32)
    for disparity, mean, told in ((FAR / 9, 0.6, True), (near, 0.6, False), (near, 0.8, True)):
        share = np.where(inside, mean, 0.1).astype(np.float32)
        disparity = np.where(inside, disparity, FAR).astype(np.float32)
        assert np.array_equal(believed(share, disparity), inside & told)


def test_an_estimate_that_finds_no_sky_tells_nothing():
    image, inside = framed()
    disparity = torch.from_numpy(np.where(inside, 0, FAR + 1))[None, None]
    plain = {"disparity": disparity, "lens": None, "metres": None, "scale_source": None}
    for share, told in ((wavering(inside, 0.7), True), (wavering(inside, 0.2), False)):
        sky = Whole(*plain.values(), sky=share, sky_estimated=True).sky_of(image)
        assert (sky is not None) == told
        assert sky is None or np.mean(sky == inside) > 0.97
    certain = Whole(*plain.values(), sky=np.zeros((HEIGHT, WIDTH), np.float32)).sky_of(image)
    assert certain is not None and not certain.any()
