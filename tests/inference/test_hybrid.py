"""One Ψ for the whole picture and another one for its patches."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from pro_engine.errors import InputError
from pro_engine.inference import load
from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.models.presets import PRESETS
from pro_engine.models.refiner_light import LightRefiner
from pro_engine.models.refiner_maps import MapRefiner
from pro_engine.models.refiner_published import ProRefiner
from pro_engine.options import InferenceOptions

PHOTO = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8).repeat(12, 0).repeat(12, 1)
GRID = InferenceOptions(tiles=(2, 3))


def test_a_model_with_itself_gives_what_it_gives_alone():
    alone = load_model("compact", device="cpu", dtype="float32")
    networks = copy.deepcopy((alone.psi, alone.refiner, alone.psi))
    twice = DepthPredictor(*networks[:2], fine=copy.deepcopy(networks[2]), device="cpu", dtype="float32")
    for options in (GRID, InferenceOptions(tiles=(1, 1)), InferenceOptions(tiles=(2, 2), refine="blend")):
        one, other = (predictor.infer(PHOTO, options=options) for predictor in (alone, twice))
        assert (
            np.abs(one.disparity - other.disparity).max() <= 1e-5 * np.ptp(one.disparity) and one.tiles == other.tiles
        )


def test_each_sees_its_own_part_at_its_own_size(tiny):
    sizes: dict[str, list[tuple[int, ...]]] = {"whole": [], "patches": []}

    def watched(name, spec):
        psi = tiny.Psi(spec)
        psi.register_forward_pre_hook(lambda _, given: sizes[name].append(tuple(given[0].shape)))
        return psi

    torch.manual_seed(0)
    psi, fine = watched("whole", tiny.SPECS["published"]), watched("patches", tiny.SPECS["ours"])
    predictor = DepthPredictor(psi, MapRefiner((8, 8, 8, 8, 8, 4)), fine=fine, name="a", fine_name="b", device="cpu")
    result = predictor.infer(PHOTO, options=GRID)
    assert result.model == "a+b" and result.tiles == (2, 3) and np.isfinite(result.disparity).all()
    assert sizes["whole"] == [(1, 3, 70, 70)]
    assert sum(size[0] for size in sizes["patches"]) == 6 and {size[2:] for size in sizes["patches"]} == {(64, 64)}
    predictor.infer(PHOTO, options=InferenceOptions(tiles=(1, 1)))
    assert len(sizes["whole"]) == 2 and sizes["patches"][-1][0] == 1  # seen by the one is not seen by the other


def test_a_refiner_of_features_has_those_of_the_model_for_the_patches(tiny, vivid):
    """It sees the whole picture, too, and what the other one's features are makes no difference."""
    sizes = []
    fine = tiny.Psi(tiny.SPECS["ours"])
    fine.register_forward_pre_hook(lambda _, given: sizes.append(tuple(given[0].shape)))
    other = tiny.Psi()
    other.spec = replace(other.spec, feature_channels=(4, 4, 4, 4, 4, 4))
    refiner = vivid(ProRefiner((8, 8, 8, 8, 8, 4)))
    result = DepthPredictor(other, refiner, fine=fine, device="cpu").infer(PHOTO, options=GRID)
    assert np.isfinite(result.disparity).all() and result.tiles == (2, 3)
    assert sizes[0][0] == 1 and sum(size[0] for size in sizes) == 1 + 6
    without = tiny.Psi(replace(tiny.SPECS["ours"], feature_channels=()))
    with pytest.raises(InputError, match="the Ψ of the patches has none"):
        DepthPredictor(tiny.Psi(), ProRefiner((8, 8, 8, 8, 8, 4)), fine=without, device="cpu")


def test_a_share_of_the_coarse_map_is_the_other_models(tiny, vivid):
    """In units of the map's own spread: nothing, half and all of it."""
    torch.manual_seed(0)
    whole, fine = vivid(tiny.Psi(tiny.SPECS["ours"])), vivid(tiny.Psi(tiny.SPECS["ours"]))
    with torch.no_grad():
        for one in fine.parameters():
            one.mul_(-0.7)
    coarse = InferenceOptions(refine="none")

    def of(share: float) -> np.ndarray:
        kinds = copy.deepcopy((whole, fine))
        return DepthPredictor(kinds[0], None, fine=kinds[1], share=share, device="cpu").infer(PHOTO, options=coarse)

    plain = [
        DepthPredictor(copy.deepcopy(one), device="cpu").infer(PHOTO, options=coarse).disparity for one in (whole, fine)
    ]
    ends, middle = [of(share).disparity for share in (0.0, 1.0)], of(0.5).disparity
    assert np.allclose(ends[0], plain[0], atol=1e-4) and np.allclose(ends[1], plain[1], atol=1e-3)
    assert not np.allclose(ends[0], ends[1], atol=0.1)
    mixed = (plain[0] + plain[1]) / 2
    assert np.corrcoef(middle.ravel(), mixed.ravel())[0, 1] > 0.9999


@pytest.mark.parametrize(
    ("fine", "device", "parameters", "found"),
    [
        ("auto", "cpu", 200_000_000, "compact"),
        ("auto", "cuda", 200_000_000, None),
        ("auto", "cpu", 90_000_000, None),
        ("same", "cpu", 200_000_000, None),
        ("compact", "cuda", 90_000_000, "compact"),
        ("depth-anything-v2-small", "cpu", 90_000_000, None),
    ],
)
def test_which_model_looks_at_the_patches(fine, device, parameters, found):
    chosen = load.fine_preset(PRESETS["depth-anything-v2-small"], fine, parameters, torch.device(device))
    assert (chosen and chosen.name) == found


def test_a_large_model_brings_compact_and_its_refiner(tiny, monkeypatch):
    build, fill, fetch = load.build_psi, load.load_psi, load.preset_weights
    monkeypatch.setattr(load, "_LARGE_PARAMETERS", 10)
    monkeypatch.setattr(
        load, "build_psi", lambda preset, **how: build(preset, **how) if preset.name == "compact" else tiny.Psi()
    )
    monkeypatch.setattr(load, "load_psi", lambda psi, *found: isinstance(psi, tiny.Psi) or fill(psi, *found))
    monkeypatch.setattr(load, "preset_weights", lambda file, **more: ({}, None) if file.repo else fetch(file, **more))
    predictor = load_model("depth-anything-v2-large", device="cpu")
    assert predictor.full_name == "depth-anything-v2-large+compact" and isinstance(predictor.refiner, LightRefiner)
    result = predictor.infer(PHOTO, options=GRID)
    assert result.model == predictor.full_name and np.isfinite(result.disparity).all()


def test_the_bundled_hybrid():
    """Our ViT for the whole picture, half of whose map is compact's; compact and its refiner for the patches."""
    predictor = load_model("hybrid", device="cpu")
    assert predictor.full_name == "hybrid+compact" and predictor.share == 0.5
    assert isinstance(predictor.refiner, LightRefiner) and predictor.fine is not None
    alone = load_model("hybrid", device="cpu", fine="same")
    assert alone.full_name == "hybrid" and alone.share == 0 and isinstance(alone.refiner, MapRefiner)
    maps = [one.infer(PHOTO, options=GRID).disparity for one in (predictor, alone)]
    assert all(np.isfinite(one).all() for one in maps)
