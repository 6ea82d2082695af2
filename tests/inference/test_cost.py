"""What a run is expected to take: passes, sizes and models go in, and the limits are those that are told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pro_engine.errors import InputError
from pro_engine.inference import runtime
from pro_engine.inference.cost import Cost, expected_cost
from pro_engine.models.presets import PRESETS
from pro_engine.options import InferenceOptions, ModelOptions

SMALL, WHOLE = ModelOptions("depth-anything-v2-small", device="cpu"), InferenceOptions(refine="none")
SIZE = (1500, 2000)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """One thread, on which passes have one patch, whatever the machine."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


def seconds(model=SMALL, size=SIZE, **given):
    return expected_cost(model, InferenceOptions(**given), size).seconds


def test_every_preset_is_in_the_table():
    assert all(min(vars(preset.effort).values()) > 0 for preset in PRESETS.values())


def test_time_grows_with_the_passes_that_there_are():
    one = seconds(refine="none")
    assert one == pytest.approx(115 / 60, rel=0.5)
    assert seconds(tiles=(1, 1)) < 1.3 * one  # the whole picture is its one patch
    assert 3.5 * one < seconds(tiles=(2, 2)) < 6 * one
    assert 12 * one < seconds(tiles=(4, 4)) < 20 * one
    assert seconds(size=(300, 400)) < seconds(size=(3000, 4000))  # the grid follows the size


def test_four_grids_take_about_three_times_as_long():
    once, four = (
        expected_cost(ModelOptions("moge-2-vits", device="cpu"), InferenceOptions(tiles=(4, 4), passes=passes)).seconds
        for passes in (1, 4)
    )
    assert 2 < four / once < 49 / 16


def test_threads_share_the_work(monkeypatch):
    before = seconds(size=(300, 400), refine="none")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert seconds(size=(300, 400), refine="none") == pytest.approx(before / 4, rel=0.05)


def test_a_light_model_for_the_patches_takes_what_it_takes():
    large = ModelOptions("moge-2-vitl", device="cpu")
    assert seconds(large, tiles=(4, 4)) < 1.25 * seconds(large, refine="none")
    alone = ModelOptions("moge-2-vitl", device="cpu", fine="same")
    assert seconds(alone, tiles=(4, 4)) > 15 * seconds(alone, refine="none")
    refined = ModelOptions("moge-2-vitl", device="cpu", refiner_weights=Path("refiner.safetensors"))
    assert seconds(refined, tiles=(4, 4)) == seconds(alone, tiles=(4, 4))


def test_memory_is_weights_and_what_a_pass_needs(monkeypatch):
    monkeypatch.setattr(runtime, "free_memory", lambda device: 64 * 2**30)
    memory = {name: expected_cost(ModelOptions(name, device="cpu"), WHOLE, SIZE).memory_bytes for name in PRESETS}
    for name, preset in PRESETS.items():
        assert memory[name] > 4e6 * preset.effort.parameters_m + 1e6 * preset.effort.work_mb
    assert memory["compact"] < 1e9 and memory["depth-pro"] > 8e9
    together = InferenceOptions(tiles=(4, 4), batch_size=4)
    assert expected_cost(SMALL, together, SIZE).memory_bytes > memory["depth-anything-v2-small"] + 600e6


def test_more_than_four_gigabytes_or_two_minutes_is_much():
    assert [Cost(*given).is_large for given in ((4e9, 120), (4.1e9, 1), (1e8, 121))] == [False, True, True]
    assert str(Cost(9.46e9, 164)) == "about 9.5 GB of memory and 3 min"
    assert str(Cost(5e8, 89)) == "about 0.5 GB of memory and 89 s"
    assert str(Cost(5e8, 0.2)) == "about 0.5 GB of memory and less than 1 s"
    assert expected_cost(ModelOptions("depth-pro", device="cpu")).is_large
    assert not expected_cost(ModelOptions(device="cpu")).is_large


def test_a_model_that_there_is_not_is_named():
    with pytest.raises(InputError, match="There is no model 'moge'"):
        expected_cost(ModelOptions("moge"))
    with pytest.raises(InputError, match="There is no model 'moge'"):
        expected_cost(ModelOptions(fine="moge"))
