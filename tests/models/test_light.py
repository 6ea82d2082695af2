"""The light refiner: what it is added to, what it looks at, its shapes, and what folding leaves the same."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from pro_engine.models.outlines import snap_to_outlines
from pro_engine.models.refiner_blend import BlendRefiner
from pro_engine.models.refiner_light import LightRefiner
from pro_engine.models.refiner_published import fold_batch_norm

CHANNELS = (12, 10, 8, 6, 4, 2)
SIZES = [(2, 3), (4, 6), (8, 12), (16, 24), (32, 48), (64, 96)]


def test_without_a_residual_the_snapped_blend_remains(make_patches):
    patches = make_patches(CHANNELS, SIZES)
    refiner = LightRefiner(CHANNELS).eval()
    nn.init.zeros_(refiner.last[-1].weight)
    torch.testing.assert_close(refiner(patches), snap_to_outlines(BlendRefiner()(patches), patches.image))


def test_four_levels_of_both_passes_count_and_no_more(make_patches, randomise):
    patches = make_patches(CHANNELS, SIZES)
    refiner = randomise(LightRefiner(CHANNELS)).eval()
    refined = refiner(patches)
    assert refined.shape == (2, 1, 64, 96)
    deepest = {name: getattr(patches, name)[:4] for name in ("coarse_features", "fine_features")}
    torch.testing.assert_close(refiner(patches._replace(**deepest)), refined, rtol=0, atol=0)
    for name, maps in deepest.items():
        for level in range(4):
            changed = [m + (i == level) for i, m in enumerate(maps)]
            other = refiner(patches._replace(**{**deepest, name: tuple(changed)}))
            assert (other - refined).abs().max() > 1e-6, f"{name}, level {level}"


def test_levels_may_have_any_size(make_patches, randomise):
    sizes = [(3, 5), (6, 9), (11, 18), (21, 36), (42, 71), (84, 140)]
    refiner = randomise(LightRefiner(CHANNELS)).eval()
    refined = refiner(make_patches(CHANNELS, sizes))
    assert refined.shape == (2, 1, 84, 140)
    assert refined.isfinite().all()


def test_every_parameter_is_learnt_from(make_patches, randomise):
    refiner = randomise(LightRefiner(CHANNELS)).train()
    refiner(make_patches(CHANNELS, SIZES)).square().mean().backward()
    assert [name for name, p in refiner.named_parameters() if p.grad is None or not p.grad.abs().max()] == []


def test_folding_batch_norm_changes_nothing(make_patches, randomise):
    patches = make_patches(CHANNELS, SIZES)
    refiner = randomise(LightRefiner(CHANNELS)).eval()
    folded = fold_batch_norm(copy.deepcopy(refiner))
    assert not any("running_mean" in key for key in folded.state_dict())
    torch.testing.assert_close(folded(patches), refiner(patches), rtol=1e-4, atol=1e-4)


def test_too_few_channels_are_refused():
    with pytest.raises(ValueError, match="give at least 4 counts"):
        LightRefiner((8, 8, 8))
