"""Four grids that are averaged, as the research code of PRO does it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from pro_engine.inference import tiling
from pro_engine.inference.average import MOVES, divide, patch_weights
from pro_engine.inference.seams import seam_jumps
from pro_engine.models.contract import Refiner, RefinerInput
from pro_engine.options import InferenceOptions, OptionError

PHOTO = np.random.default_rng(0).integers(0, 255, (24, 36, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
FOUR = InferenceOptions(tiles=(2, 3), passes=4, refine="blend")


def test_weights_are_those_of_the_research_code():
    mask = np.zeros((518, 518))
    mask[51:-51, 51:-51] = 1
    blurred = cv2.GaussianBlur(mask, (129, 129), 32)
    expected = (blurred - blurred.min()) / (blurred.max() - blurred.min()) + 1e-3
    np.testing.assert_allclose(patch_weights((518, 518)), expected, atol=1e-6)


@pytest.mark.parametrize("spec", ["ours", "published"])
@pytest.mark.parametrize("tiles", [(2, 3), (1, 3), (3, 1)])
def test_the_mean_of_patches_of_one_map_is_that_map(tiny, spec, tiles):
    layouts = list(dict.fromkeys(tiling.plan(240, 360, tiny.SPECS[spec], tiles, shifted=move) for move in MOVES))
    assert len(layouts) == (4 if min(tiles) > 1 else 2)
    whole = np.random.default_rng(0).random(layouts[0].canvas, dtype=np.float32)
    canvas, weights = np.zeros_like(whole), patch_weights(layouts[0].patch)
    for layout in layouts:
        for index in range(layout.patches):
            canvas[layout.cell(index)] += weights * whole[layout.cell(index)]
    divide(canvas, layouts, weights)
    np.testing.assert_allclose(canvas, whole, rtol=1e-5)


def test_four_passes_take_as_many_patches_and_tell_of_each(tiny):
    seen = []
    predictor = tiny.predictor(trained=False)
    result = predictor.infer(PHOTO, options=FOUR, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (1, 16) and seen[-1] == (16, 16)  # the whole, 2x3, 2x2, 1x3 and 1x2 patches
    assert result.valid.all() and result.tiles == (2, 3)


class Disagreeing(Refiner):
    """Each patch is as near at its lower and right ends as any other."""

    level_borders = False

    def forward(self, patches: RefinerInput) -> Tensor:
        height, width = patches.image.shape[-2:]
        ramp = torch.linspace(0, 1, height)[:, None] + torch.linspace(0, 1, width)
        return ramp.expand(len(patches.image), 1, -1, -1)


def test_borders_of_patches_show_less(tiny):
    predictor = tiny.predictor(Disagreeing())
    once, four = (
        predictor.infer(PHOTO, options=InferenceOptions(tiles=(2, 3), passes=passes)).disparity for passes in (1, 4)
    )
    assert seam_jumps(once, (2, 3)).ratio > 5
    assert seam_jumps(four, (2, 3)).ratio < 2


@pytest.mark.parametrize("passes", [0, 2, 3, 5])
def test_one_pass_or_four(passes):
    with pytest.raises(OptionError, match=r"from 1 to 4|give 1 or 4"):
        InferenceOptions(passes=passes)
