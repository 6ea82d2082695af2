"""Presets: every one builds, and says the truth about licences."""

from __future__ import annotations

import dataclasses
import math
import re
from functools import partial

import pytest
import torch
from published_layouts import (
    depth_anything2_hub_layout,
    depth_anything2_layout,
    depth_anything3_layout,
    moge_layout,
)

from pro_engine.errors import WeightsError
from pro_engine.models.compact import CompactDepth
from pro_engine.models.presets import PRESETS, build_pro_refiner, build_psi, build_refiner, load_psi, load_refiner
from pro_engine.models.refiner_light import LightRefiner
from pro_engine.models.refiner_maps import MapRefiner
from pro_engine.models.refiner_published import ProRefiner


def test_the_names_are_the_keys():
    assert {name: preset.name for name, preset in PRESETS.items()} == {name: name for name in PRESETS}
    assert list(PRESETS)[:2] == ["hybrid", "compact"]


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


HUB = [name for name, preset in PRESETS.items() if preset.weights.repo is not None]


@pytest.mark.parametrize("name", HUB)
def test_every_preset_builds_what_it_says_in_the_size_of_its_file(transformers, name):
    preset = PRESETS[name]
    with torch.device("meta"):
        psi = build_psi(preset)
    assert psi.spec == preset.spec
    assert preset.effort.parameters_m == pytest.approx(sum(p.numel() for p in psi.parameters()) / 1e6, rel=0.005)
    bytes_each = 2 if name == "depth-pro" else 4
    stored = bytes_each * sum(p.numel() for p in psi.state_dict().values()) / 1e6
    assert preset.weights.megabytes == pytest.approx(stored, rel=0.01)
    assert len(preset.weights.sha256 or "0" * 64) == 64


SMALL = (384, 12, (48, 96, 192, 384), 64)
BASE = (768, 12, (96, 192, 384, 768), 128)
LARGE = (1024, 24, (256, 512, 1024, 1024), 256)
LAYOUTS = {
    "depth-anything-v2-small": (partial(depth_anything2_hub_layout, *SMALL), 287, 24_785_089),
    "depth-anything-v2-base": (partial(depth_anything2_hub_layout, *BASE), 287, 97_470_785),
    "depth-anything-v2-large": (partial(depth_anything2_hub_layout, *LARGE), 503, 335_315_649),
    "da2-metric-indoor-small": (partial(depth_anything2_hub_layout, *SMALL), 287, 24_785_089),
    "da2-metric-outdoor-small": (partial(depth_anything2_hub_layout, *SMALL), 287, 24_785_089),
    "da3-mono-large": (depth_anything3_layout, 406, 334_171_394),
    "da3-metric-large": (depth_anything3_layout, 406, 334_171_394),
    "promptda-small": (partial(depth_anything2_hub_layout, *SMALL, prompted=True), 311, 25_083_073),
    "promptda-large": (partial(depth_anything2_hub_layout, *LARGE, prompted=True), 527, 340_046_529),
    "moge-2-vits": (partial(moge_layout, 384, 12, 2, 1), 337, 35_103_656),
    "moge-2-vitb": (partial(moge_layout, 768, 12, 2, 1), 337, 104_743_592),
    "moge-2-vitl": (partial(moge_layout, 1024, 24, 4, 2), 521, 330_901_544),
    "moge-2-vitl-without-normals": (partial(moge_layout, 1024, 24, 4, 2, normals=False), 483, 326_209_221),
}
"""Of every preset of the hub but Depth Pro (`test_depth_pro.py`): names and shapes in its file, how many tensors there
are, and how many parameters."""
AUTHORS = {
    f"depth-anything-v2-{size}": partial(depth_anything2_layout, *shape)
    for size, shape in (("small", SMALL), ("base", BASE), ("large", LARGE))
}


def test_every_preset_of_the_hub_has_a_layout():
    assert {*LAYOUTS, "depth-pro"} == set(HUB)


@pytest.mark.parametrize(("name", "layout"), [*((name, found[0]) for name, found in LAYOUTS.items()), *AUTHORS.items()])
def test_the_full_size_takes_what_its_file_holds_and_nothing_else(transformers, name, layout):
    """One missing, one extra, one of a wrong shape: each is refused by the name that the file gives it."""
    with torch.device("meta"):
        psi = build_psi(PRESETS[name])
    tensors = {key: torch.empty(shape, device="meta") for key, shape in layout().items()}
    load_psi(psi, tensors)
    parameters = sum(parameter.numel() for parameter in psi.parameters())
    buffers = 6 if name.startswith("moge") else 0  # its colours' mean and spread are in the file
    assert (parameters, sum(math.prod(shape) for shape in layout().values())) == (
        LAYOUTS[name][2],
        LAYOUTS[name][2] + buffers,
    )
    assert len(psi.state_dict()) == LAYOUTS[name][1]
    first, *_, last = (key for key in tensors if key.endswith(".weight"))
    for key in (first, last):
        with pytest.raises(WeightsError, match=rf"1 keys missing \({re.escape(key)}\);"):
            load_psi(psi, {other: value for other, value in tensors.items() if other != key})
        wrong = torch.empty((7, *tensors[key].shape), device="meta")
        with pytest.raises(WeightsError, match=rf"1 wrong shapes \({re.escape(key)} is \(7, "):
            load_psi(psi, tensors | {key: wrong})
    with pytest.raises(WeightsError, match=r"1 unexpected keys \(something\.else\);"):
        load_psi(psi, tensors | {"something.else": torch.empty(1, device="meta")})


@pytest.mark.parametrize("name", HUB)
def test_what_is_not_free_says_why_in_a_sentence(name):
    weights = PRESETS[name].weights
    uses = {
        "depth-anything-v2-base": "research",
        "depth-anything-v2-large": "research",
        "da2-metric-indoor-small": "unclear",
        "da2-metric-outdoor-small": "unclear",
        "promptda-large": "unclear",
        "depth-pro": "research",
    }
    assert weights.use == uses.get(name, "free")
    assert (weights.why == "") == (weights.use == "free")
    assert weights.why == "" or (weights.why[0].isupper() and weights.why.endswith("."))


@pytest.mark.parametrize("name", ["da3-metric-large", "da2-metric-indoor-small", "promptda-large", "depth-pro"])
def test_a_published_pro_checkpoint_is_refused_by_a_psi_that_it_was_not_trained_on(name):
    with pytest.raises(WeightsError, match=f"mean nothing to {name}; leave the refiner out"):
        load_refiner(PRESETS[name], {"freq_fusion.inc.double_conv.0.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("trained_on", "name"),
    [
        ("depth-anything-v2-large", "da3-mono-large"),
        ("depth-anything-v2-small", "da2-metric-indoor-small"),
        ("da3-metric-large", "da3-mono-large"),
    ],
)
def test_a_refiner_of_another_psi_s_features_is_refused_although_it_fits(trained_on, name):
    with torch.device("meta"):
        refiner = build_pro_refiner(PRESETS[trained_on])
    assert refiner.channels == PRESETS[name].spec.feature_channels
    tensors = {key: torch.full(value.shape, 0.5, dtype=value.dtype) for key, value in refiner.state_dict().items()}
    with pytest.raises(WeightsError, match=f"trained on the features of {trained_on} and means nothing to {name}; "):
        load_refiner(PRESETS[name], tensors, trained_on=trained_on)
    assert isinstance(load_refiner(PRESETS[trained_on], tensors, trained_on=trained_on), ProRefiner)


def test_a_psi_without_features_takes_the_refiner_for_any_psi_alone():
    own = {f"refiner.{key}": value for key, value in MapRefiner().state_dict().items()}
    assert isinstance(load_refiner(PRESETS["depth-pro"], own), MapRefiner)
    with pytest.raises(WeightsError, match="depth-pro has no features to refine; leave the refiner out"):
        load_refiner(PRESETS["depth-pro"], {"fusion.encoder.first.0.weight": torch.zeros(1)})


def test_compact_weights_load_strictly():
    psi = build_psi(PRESETS["compact"])
    state = {key: value + 1 if value.is_floating_point() else value for key, value in psi.state_dict().items()}
    load_psi(psi, state)
    assert all(torch.equal(value, state[key]) for key, value in psi.state_dict().items())
    with pytest.raises(WeightsError, match=r"CompactDepth: 1 unexpected keys \(head\.more\)"):
        load_psi(psi, state | {"head.more": torch.ones(1)})
    with pytest.raises(WeightsError, match=r"CompactDepth: 1 wrong shapes \(head\.bias is \(2,\) instead of \(1,\)"):
        load_psi(psi, state | {"head.bias": torch.ones(2)})
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
