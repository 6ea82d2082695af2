"""A model that is told the depth of a sensor: what it is told, and what comes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pro_engine.errors import InputError
from pro_engine.inference.prompt import patch_prompts, photo_prompt
from pro_engine.options import InferenceOptions

CPU = torch.device("cpu")
SLOPE = np.tile(np.linspace(1, 5, 96, dtype=np.float32), (64, 1))  # metres, farther to the right
IMAGE = np.random.default_rng(0).integers(0, 255, (128, 192, 3), dtype=np.uint8)


def test_holes_get_the_nearest_reading():
    depth = np.full((6, 8), np.nan, np.float32)
    depth[1, 1], depth[4, 6], depth[0, 7], depth[5, 0], depth[3, 3] = 2.0, 4.0, np.inf, 0.0, -1.0
    prompt = photo_prompt(depth, (64, 96), CPU)
    filled = prompt.depth[0, 0].numpy()
    assert filled.shape == (6, 8) and set(np.unique(filled)) == {2.0, 4.0}
    assert (filled[:, :3] == 2.0).all() and (filled[:, 6:] == 4.0).all()
    assert (float(prompt.near), float(prompt.far)) == (2.0, 4.0)


def test_of_a_larger_map_each_pixel_is_the_mean_of_its_readings():
    depth = np.zeros((128, 192), np.float32)
    depth[::2, ::2] = 3.0
    depth[64:] *= 2
    depth[:, 96:] = 0
    prompt = photo_prompt(depth, (64, 96), CPU).depth[0, 0].numpy()
    assert prompt.shape == (64, 96)
    np.testing.assert_allclose(prompt[:32], 3.0, rtol=1e-6)
    np.testing.assert_allclose(prompt[32:], 6.0, rtol=1e-6)


@pytest.mark.parametrize("depth", [np.zeros((4, 4), np.float32), np.full((4, 4), np.nan, np.float32)])
def test_without_a_reading_there_is_no_prompt(depth):
    with pytest.raises(InputError, match="no pixel with a depth above 0"):
        photo_prompt(depth, (64, 96), CPU)


def test_a_patch_is_told_its_part_and_the_range_of_the_whole():
    prompt = photo_prompt(SLOPE, (64, 96), CPU)
    parts = patch_prompts(prompt, torch.tensor([[0, 0, 1 / 3, 0.5], [2 / 3, 0.5, 1, 1]]))
    assert parts.depth.shape == (2, 1, 32, 32)
    torch.testing.assert_close(parts.depth[0], prompt.depth[0, :, :32, :32])
    torch.testing.assert_close(parts.depth[1], prompt.depth[0, :, 32:, 64:])
    assert (float(parts.near), float(parts.far)) == (1.0, 5.0)


@pytest.mark.parametrize("refine", ["blend", "none"])
def test_metres_are_those_of_the_sensor(tiny, refine):
    psi = tiny.ToldPsi()
    predictor = tiny.predictor(psi=psi, trained=False)
    result = predictor.infer(IMAGE, prompt=SLOPE, options=InferenceOptions(tiles=(2, 3), refine=refine))
    np.testing.assert_allclose(result.depth, np.repeat(np.repeat(SLOPE, 2, 0), 2, 1), rtol=0.02)
    assert result.scale_shift.source == "fitted" and "prompt" in result.notes[0]
    told = [(float(one.near), float(one.far)) for one in psi.told]
    assert set(told) == {(1.0, 5.0)} and sum(len(one.depth) for one in psi.told) == (7 if refine == "blend" else 1)


def test_without_a_prompt_it_is_relative_and_others_take_none(tiny):
    result = tiny.predictor(psi=tiny.ToldPsi(), trained=False).infer(IMAGE, options=InferenceOptions(refine="blend"))
    assert (result.depth, result.scale_shift, result.notes) == (None, None, ())
    with pytest.raises(InputError, match="takes no prompt; leave it out and fit"):
        tiny.predictor().infer(IMAGE, prompt=SLOPE)
    with pytest.raises(InputError, match=r"give \(p, q\) float32 metres"):
        photo_prompt(IMAGE, (64, 96), CPU)
