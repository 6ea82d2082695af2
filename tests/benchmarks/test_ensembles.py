"""Averaged patches: that they are the engine's own patches, and that the figures are of what they say."""

from __future__ import annotations

import numpy as np
import pytest
from ensembles import GRID, RANDOM_PATCHES, WAYS, Row, mean_of_patches, table

from pro_engine.inference.tiling import plan
from pro_engine.options import InferenceOptions

IMAGE = np.random.default_rng(0).integers(0, 256, (512, 768, 3), dtype=np.uint8)
PATCH = (64, 96)


def test_patches_side_by_side_are_what_the_engine_does(tiny):
    predictor = tiny.predictor()
    assert plan(*IMAGE.shape[:2], predictor.spec, GRID).patch == PATCH
    predictor.refiner.level_borders = False  # the engine levels the borders that averaging blurs
    wanted = predictor.infer(IMAGE, options=InferenceOptions(tiles=GRID)).disparity
    got, covered = mean_of_patches(predictor, IMAGE, WAYS[0].corners(PATCH, moved=False, seed=0))
    assert np.allclose(got, wanted, atol=1e-5) and (covered == 1).all()


PASSES = (16, 49, 16 + RANDOM_PATCHES), (9, 36, 9 + RANDOM_PATCHES)  # as they are, and moved


@pytest.mark.parametrize(("way", "passes", "moved"), [*zip(WAYS, *PASSES, strict=True)])
def test_patches_lie_on_the_canvas_and_elsewhere_when_moved(way, passes, moved):
    here, there = (way.corners(PATCH, moved=m, seed=m) for m in (False, True))
    assert (len(here), len(there)) == (passes, moved)
    for top, left in here + there:
        assert 0 <= top <= 3 * PATCH[0] and 0 <= left <= 3 * PATCH[1]
    assert not set(here[: passes - way.random]) & set(there[: moved - way.random])


def test_a_pixel_is_the_mean_of_the_patches_over_it(tiny):
    predictor = tiny.predictor(tiny.CoarseOnly())
    predictor.refiner.sharpens = False
    once, _ = mean_of_patches(predictor, IMAGE, WAYS[0].corners(PATCH, moved=False, seed=0))
    often, covered = mean_of_patches(predictor, IMAGE, WAYS[1].corners(PATCH, moved=False, seed=0))
    assert np.allclose(once, often, atol=1e-4), "without a residual it does not matter where patches lie"
    assert covered.max() == 4 and covered.min() == 1


def test_the_table_has_the_means():
    rows = [Row(way.name, "x", 3, s, 0.1 * s, 0.2, 0.3) for way in WAYS for s in (1.0, 3.0)]
    lines = table(rows).splitlines()
    assert len(lines) == 2 + len(WAYS)
    assert lines[2] == "| once | 3 | 1.0 | 0.2000 | 0.2000 | 0.3000 |"
