"""Presets: every one builds, and says the truth about licences."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pro_engine.errors import WeightsError
from pro_engine.models.blend import BlendRefiner
from pro_engine.models.compact import CompactDepth
from pro_engine.models.presets import PRESETS, build_psi, build_refiner, load_psi
from pro_engine.models.pro import ProRefiner


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
    assert isinstance(refiner, ProRefiner)
    assert refiner.channels == psi.spec.feature_channels == preset.spec.feature_channels
    assert preset.weights.repo is None
    assert preset.refiner_weights is not None
    assert preset.refiner_weights.filename == preset.weights.filename
    assert (preset.weights.prefix, preset.refiner_weights.prefix) == ("psi.", "refiner.")
    assert preset.weights.commercial


@pytest.mark.parametrize(
    ("size", "licence"), [("small", "Apache-2.0"), ("base", "CC-BY-NC-4.0"), ("large", "CC-BY-NC-4.0")]
)
def test_licences_of_depth_anything(size, licence):
    preset = PRESETS[f"depth-anything-v2-{size}"]
    assert preset.weights.licence == licence
    assert preset.weights.commercial == (licence == "Apache-2.0")
    assert preset.weights.repo == f"depth-anything/Depth-Anything-V2-{size.capitalize()}-hf"
    assert isinstance(build_refiner(preset), BlendRefiner)


def test_compact_weights_load_strictly():
    psi = build_psi(PRESETS["compact"])
    state = {key: value + 1 if value.is_floating_point() else value for key, value in psi.state_dict().items()}
    load_psi(psi, state)
    assert all(torch.equal(value, state[key]) for key, value in psi.state_dict().items())
    state.pop("head.bias")
    with pytest.raises(WeightsError, match=r"CompactDepth: 1 keys missing \(head.bias\)"):
        load_psi(psi, state)
