"""Presets: every one builds, and says the truth about licences."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pro_engine.errors import WeightsError
from pro_engine.models.compact import CompactDepth
from pro_engine.models.presets import PRESETS, build_pro_refiner, build_psi, build_refiner, load_psi
from pro_engine.models.refiner_light import LightRefiner
from pro_engine.models.refiner_maps import MapRefiner
from pro_engine.models.refiner_published import ProRefiner


def test_the_names_are_the_keys():
    assert {name: preset.name for name, preset in PRESETS.items()} == {name: name for name in PRESETS}
    assert next(iter(PRESETS)) == "compact"


def test_presets_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["compact"].name = "other"


def test_the_compact_preset_is_bundled_and_free_to_use():
    preset = PRESETS["compact"]
    psi, refiner = build_psi(preset), build_refiner(preset)
    assert isinstance(psi, CompactDepth)
    assert isinstance(refiner, LightRefiner)
    assert refiner.channels == psi.spec.feature_channels[: refiner.feature_levels]
    assert psi.spec == preset.spec
    assert preset.weights.repo is None
    assert preset.refiner_weights is not None
    assert preset.refiner_weights.filename == preset.weights.filename
    assert (preset.weights.prefix, preset.refiner_weights.prefix) == ("psi.", "refiner.")
    assert preset.weights.use == "free"


@pytest.mark.parametrize(
    ("size", "licence"), [("small", "Apache-2.0"), ("base", "CC-BY-NC-4.0"), ("large", "CC-BY-NC-4.0")]
)
def test_licences_of_depth_anything(size, licence):
    preset = PRESETS[f"depth-anything-v2-{size}"]
    assert preset.weights.licence == licence
    assert preset.weights.use == ("free" if licence == "Apache-2.0" else "research")
    assert preset.weights.repo == f"depth-anything/Depth-Anything-V2-{size.capitalize()}-hf"
    assert isinstance(build_refiner(preset), MapRefiner)
    assert isinstance(build_pro_refiner(preset), ProRefiner)


def test_compact_weights_load_strictly():
    psi = build_psi(PRESETS["compact"])
    state = {key: value + 1 if value.is_floating_point() else value for key, value in psi.state_dict().items()}
    load_psi(psi, state)
    assert all(torch.equal(value, state[key]) for key, value in psi.state_dict().items())
    state.pop("head.bias")
    with pytest.raises(WeightsError, match=r"CompactDepth: 1 keys missing \(head.bias\)"):
        load_psi(psi, state)


def test_a_frozen_front_changes_rounding_only_and_not_the_weights():
    torch.manual_seed(0)
    encoder = build_psi(PRESETS["compact"]).encoder.eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    image = torch.rand(1, 3, 64, 96)
    before, state = encoder(image), {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder.freeze_front(5)
    after = encoder(image)
    assert [tuple(m.shape) for m in after] == [tuple(m.shape) for m in before]
    for a, b in zip(after, before, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert [m.requires_grad for m in after] == [False, False, False, True, True]
    assert encoder.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in encoder.state_dict().items())
