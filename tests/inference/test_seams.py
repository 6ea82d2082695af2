"""The measure of seams, and the seams of the bundled model on the photos that come with the repository."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pro_engine.inference.load import load_model
from pro_engine.inference.seams import level_seams, seam_jumps, smooth_even
from pro_engine.io.image import load_image

PHOTOS = sorted((Path(__file__).parents[2] / "docs" / "photos").glob("*.jpg"))


def test_a_ramp_has_no_seams():
    ramp = np.linspace(0, 1, 120, dtype=np.float32)[:, None] + np.linspace(0, 3, 160, dtype=np.float32)
    assert seam_jumps(ramp, (3, 4)).ratio == pytest.approx(1, rel=1e-3)


def test_steps_at_borders_are_seams():
    noise = np.random.default_rng(0).normal(0, 1, (120, 160)).astype(np.float32)
    steps = np.repeat(np.repeat(np.arange(12, dtype=np.float32).reshape(3, 4), 40, axis=0), 40, axis=1)
    jumps = seam_jumps(10 * steps + noise, (3, 4))
    assert jumps.border == pytest.approx(24.1, rel=0.02)  # 3 x 120 steps of 10 and 2 x 160 of 40
    assert jumps.ratio > 15
    assert seam_jumps(noise, (3, 4)).ratio == pytest.approx(1, abs=0.1)


def test_one_patch_has_no_borders():
    assert math.isnan(seam_jumps(np.zeros((40, 40), dtype=np.float32), (1, 1)).ratio)


def test_the_bundled_model_leaves_no_seams(device):
    predictor = load_model("compact", device=str(device))
    jumps = []
    for path in PHOTOS:
        image, _ = load_image(path)
        result = predictor.infer(image)
        assert result.tiles == (4, 4)
        jumps.append(seam_jumps(result.disparity, result.tiles))
    assert sum(j.border for j in jumps) <= 1.15 * sum(j.middle for j in jumps)


def test_levelling_takes_out_steps_and_keeps_what_is_inside_patches():
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 3, 96, dtype=np.float32)[None].repeat(72, 0)
    truth = ramp + rng.normal(0, 0.01, ramp.shape).astype(np.float32)
    truth[30:34, 40:44] += 2  # an outline inside a patch
    offsets = rng.normal(0, 1, (3, 4)).astype(np.float32)
    stepped = truth + np.kron(offsets, np.ones((24, 24), dtype=np.float32))
    levelled = stepped.copy()
    level_seams(levelled, ramp, (3, 4))
    assert seam_jumps(stepped, (3, 4)).ratio > 5
    assert seam_jumps(levelled, (3, 4)).ratio < 1.2
    assert levelled[32, 42] - levelled[32, 46] > 1.5


def test_what_is_added_where_the_picture_is_even_is_even_and_else_as_it_was():
    rng = np.random.default_rng(1)
    picture = np.full((600, 90, 3), 120, np.uint8)
    picture[:, 60:] = rng.integers(0, 256, (600, 30, 1), dtype=np.uint8)
    ramp = np.linspace(0, 3, 600, dtype=np.float32)[:, None].repeat(90, 1)
    added = rng.normal(0, 0.1, ramp.shape).astype(np.float32)
    added[250:] += 1  # a border of patches, near one of the bands that are worked on
    smooth = ramp + added
    smooth_even(smooth, ramp, picture)
    left = smooth - ramp
    assert np.allclose(left[:, 75:], added[:, 75:], atol=1e-5)
    assert np.abs(np.diff(left[:, 8:40], axis=0)).max() < 0.15 < np.abs(np.diff(added[:, 8:40], axis=0)).max()
    assert abs(left[:240, :40].mean()) < 0.01 and abs(left[260:, :40].mean() - 1) < 0.01
