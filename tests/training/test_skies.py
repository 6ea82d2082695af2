"""Pictures for the sky that are composed of two renders."""

from __future__ import annotations

import numpy as np

from pro_engine.training import skies
from pro_engine.training.skies import composed

HEIGHT, WIDTH = 56, 84
GROUND, SKY, FRAME = 40, 200, 120


def scene(sky_rows: int) -> tuple[np.ndarray, np.ndarray]:
    depth = np.full((HEIGHT, WIDTH), 5, np.float32)
    depth[:sky_rows] = np.inf
    image = np.full((HEIGHT, WIDTH, 3), GROUND, np.uint8)
    image[:sky_rows] = SKY
    return image, depth


def test_a_frame_hides_a_part_of_the_sky_and_of_the_picture(monkeypatch):
    monkeypatch.setattr(skies, "FRAMED", 1.0)
    monkeypatch.setattr(skies, "REPAINTED", 0.0)
    image, depth = scene(28)
    shares = []
    for seed in range(20):
        picture, sky = composed(np.random.default_rng(seed), image, depth, np.full_like(image, FRAME))
        assert not (sky & ~np.isinf(depth)).any()
        assert not sky.any() or picture[sky].max() > 150, "the sky is what is seen through the hole"
        assert picture[~sky].max() <= SKY
        shares.append(sky.mean())
    assert 0.05 < np.mean(shares) < 0.4 and len(set(shares)) > 10


def test_skies_get_other_colours_and_the_ground_does_not(monkeypatch):
    monkeypatch.setattr(skies, "FRAMED", 0.0)
    monkeypatch.setattr(skies, "REPAINTED", 1.0)
    image, depth = scene(28)
    colours = []
    for seed in range(12):
        picture, sky = composed(np.random.default_rng(seed), image, depth, image)
        assert np.array_equal(sky, np.isinf(depth))
        assert np.array_equal(picture[32:], image[32:])
        colours.append(picture[:24].reshape(-1, 3).mean(0))
    assert np.std(colours, 0).min() > 20
    indoors, flat = scene(0)
    picture, sky = composed(np.random.default_rng(0), indoors, flat, image)
    assert not sky.any() and np.array_equal(picture, indoors)


def test_the_same_seed_gives_the_same_picture():
    image, depth = scene(28)
    one, other = (composed(np.random.default_rng(3), image, depth, image)[0] for _ in range(2))
    assert np.array_equal(one, other)
