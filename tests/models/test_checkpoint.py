"""The published checkpoint: its names and shapes, a strict load, and the sentences for what does not fit."""

from __future__ import annotations

import pytest
import torch

from pro_engine.errors import WeightsError
from pro_engine.models.checkpoint import load_official, load_strict, official_key, part_or_all
from pro_engine.models.fusion import HAAR
from pro_engine.models.refiner_published import ProRefiner

WIDTH_64 = (64, 64, 64, 64, 64, 32)

# A sample of every kind of entry that the checkpoint of a Ψ of width 64 holds, with its shape.
PUBLISHED = {
    "freq_fusion.inc.double_conv.0.weight": (32, 6, 3, 3),
    "freq_fusion.inc.double_conv.1.running_mean": (32,),
    "freq_fusion.inc.double_conv.3.weight": (32, 32, 3, 3),
    "freq_fusion.inc.double_conv.4.bias": (32,),
    "freq_fusion.down_conv_list.0.maxpool_conv.1.double_conv.0.weight": (64, 32, 3, 3),
    "freq_fusion.down_conv_list.4.maxpool_conv.1.double_conv.3.weight": (64, 64, 3, 3),
    "freq_fusion.down_conv_list.4.maxpool_conv.1.double_conv.4.num_batches_tracked": (),
    "freq_fusion.wavelet_fusion_convs.0.low_freq_conv.weight": (64, 128, 3, 3),
    "freq_fusion.wavelet_fusion_convs.0.high_freq_conv.weight": (192, 128, 3, 3),
    "freq_fusion.wavelet_fusion_convs.5.low_freq_conv.weight": (32, 64, 3, 3),
    "freq_fusion.wavelet_fusion_convs.5.high_freq_conv.weight": (96, 64, 3, 3),
    "freq_fusion.fusion_convs.0.double_conv.0.weight": (64, 192, 3, 3),
    "freq_fusion.fusion_convs.5.double_conv.0.weight": (32, 96, 3, 3),
    "freq_fusion.fusion_convs.5.double_conv.4.running_var": (32,),
    "depth_head.scratch.refinenet1.resConfUnit1.conv1.weight": (64, 64, 3, 3),
    "depth_head.scratch.refinenet4.resConfUnit1.conv2.bias": (64,),
    "depth_head.scratch.refinenet4.resConfUnit2.conv1.weight": (64, 64, 3, 3),
    "depth_head.scratch.refinenet2.out_conv.weight": (64, 64, 1, 1),
    "depth_head.scratch.refinenet3.out_conv.bias": (64,),
    "depth_head.scratch.output_conv1.weight": (32, 128, 3, 3),
    "depth_head.scratch.output_conv1.bias": (32,),
    "depth_head.scratch.output_conv2.0.weight": (32, 64, 3, 3),
    "depth_head.scratch.output_conv2.0.bias": (32,),
    "depth_head.scratch.output_conv2.2.weight": (1, 32, 1, 1),
}


def _published_state(refiner: ProRefiner) -> dict[str, torch.Tensor]:
    """What the published code would save of this network: official names, Haar filters as buffers."""
    state = {official_key(key): value.clone() for key, value in refiner.state_dict().items()}
    for level, channels in enumerate(refiner.channels):
        for band, values in zip(("ll", "lh", "hl", "hh"), HAAR, strict=True):
            key = f"freq_fusion.wavelet_fusion_convs.{level}.wave_transofrm.haar_{band}"
            state[key] = torch.tensor(values).repeat(channels, 1, 1, 1)
    return state


@pytest.fixture
def small_refiner(randomise):
    return randomise(ProRefiner((4, 4, 4, 4, 4, 32)))


def test_names_and_shapes_are_the_published_ones():
    state = {official_key(key): tuple(value.shape) for key, value in ProRefiner(WIDTH_64).state_dict().items()}
    assert {key: state.get(key) for key in PUBLISHED} == PUBLISHED
    assert len(state) == 12 * 12 + 12 + 40 + 5  # DoubleConvs, wavelet convs, head blocks, output convs
    assert not any(key.startswith("depth_head.scratch.output_conv2.2.bias") for key in state)


def test_every_name_is_known_and_none_is_used_twice():
    keys = list(ProRefiner(WIDTH_64).state_dict())
    assert len({official_key(key) for key in keys}) == len(keys)
    with pytest.raises(KeyError):
        official_key("fusion.unheard.of")


@pytest.mark.parametrize("wrapping", ["plain", "module", "model", "state_dict", "both", "with_psi"])
def test_a_published_checkpoint_loads_to_the_last_value(small_refiner, make_patches, wrapping):
    state = _published_state(small_refiner)
    checkpoint = {
        "plain": state,
        "module": {f"module.{key}": value for key, value in state.items()},
        "model": {"model": state, "epoch": 8},
        "state_dict": {"state_dict": state},
        "both": {"model": {"state_dict": {f"module.{key}": value for key, value in state.items()}}},
        "with_psi": {**state, "coarse_branch.core.anything": torch.zeros(3)},
    }[wrapping]
    loaded = ProRefiner(small_refiner.channels).eval()
    load_official(loaded, checkpoint)
    patches = make_patches(small_refiner.channels, [(2, 3), (4, 6), (8, 12), (16, 24), (32, 48), (64, 96)])
    assert torch.equal(loaded(patches), small_refiner(patches))


def _without(state, key):
    return {name: value for name, value in state.items() if name != key}


LAST = "depth_head.scratch.output_conv2.2.weight"
HAAR_LH = "freq_fusion.wavelet_fusion_convs.2.wave_transofrm.haar_lh"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: _without(s, LAST), rf"1 keys missing \({LAST}\)"),
        (lambda s: {**s, "depth_head.extra": torch.zeros(1)}, r"1 unexpected keys \(depth_head.extra\)"),
        (lambda s: {**s, LAST: torch.zeros(1, 8, 1, 1)}, r"is \(1, 8, 1, 1\) instead of \(1, 32, 1, 1\)"),
        (lambda s: {**s, HAAR_LH: -s[HAAR_LH]}, "haar_lh is not the Haar filter"),
        (lambda s: {**s, HAAR_LH: torch.zeros(3)}, "haar_lh is not the Haar filter"),
        (lambda s: {}, "not a mapping from names to tensors"),
        (lambda s: {"epoch": 3}, "not a mapping from names to tensors"),
        (lambda s: {"unrelated.weight": torch.zeros(1)}, "keys missing .*unexpected keys"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(small_refiner, change, sentence):
    checkpoint = change(_published_state(small_refiner))
    target = ProRefiner(small_refiner.channels)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(WeightsError, match=sentence):
        load_official(target, checkpoint)
    assert all(torch.equal(before[key], value) for key, value in target.state_dict().items())


def test_a_checkpoint_of_another_width_is_refused_by_name(small_refiner):
    with pytest.raises(WeightsError, match=r"PRO refiner of width 8.*wrong shapes"):
        load_official(ProRefiner((8, 8, 8, 8, 8, 32)), _published_state(small_refiner))


def test_loading_converts_to_the_type_of_the_module(small_refiner):
    half = {
        key: value.half() if value.is_floating_point() else value for key, value in small_refiner.state_dict().items()
    }
    target = ProRefiner(small_refiner.channels)
    load_strict(target, half)
    assert all(p.dtype == torch.float32 for p in target.parameters())


@pytest.mark.parametrize("kind", [torch.int32, torch.bool, torch.complex64, torch.uint8, "sparse", "meta"])
def test_what_holds_no_floats_is_refused(small_refiner, kind):
    """One tensor of it is enough; the network stays as it was."""
    state = small_refiner.state_dict()
    before = {key: value.clone() for key, value in state.items()}
    name = next(iter(state))
    odd = state[name].to_sparse() if kind == "sparse" else state[name].to(kind)
    for load, tensors in (
        (load_strict, {**state, name: odd}),
        (load_official, {**_published_state(small_refiner), official_key(name): odd}),
    ):
        with pytest.raises(WeightsError, match=r"1 wrong types \(\S+ is \w+\); use the weights"):
            load(small_refiner, tensors)
    assert all(torch.equal(value, before[key]) for key, value in small_refiner.state_dict().items())


def test_a_haar_filter_without_floats_is_refused(small_refiner):
    state = _published_state(small_refiner)
    name = next(key for key in state if key.endswith("haar_ll"))
    with pytest.raises(WeightsError, match="not the Haar filter"):
        load_official(small_refiner, {**state, name: state[name].to(torch.complex64)})


def test_weights_that_are_all_0_are_refused(small_refiner):
    with pytest.raises(WeightsError, match=r"All weights of the model are 0; .*get it again"):
        load_strict(small_refiner, {key: torch.zeros_like(value) for key, value in small_refiner.state_dict().items()})


def test_counters_of_batches_may_be_absent(small_refiner):
    state = {k: v for k, v in small_refiner.state_dict().items() if not k.endswith("num_batches_tracked")}
    target = ProRefiner(small_refiner.channels)
    load_strict(target, state)
    loaded = target.state_dict()
    assert all(torch.equal(loaded[name], values) for name, values in state.items())


def test_a_long_list_of_keys_is_cut(small_refiner):
    with pytest.raises(WeightsError) as caught:
        load_strict(small_refiner, {})
    assert len(str(caught.value)) < 400
    assert "..." in str(caught.value)


def test_prefixes_pick_one_network_of_a_file():
    tensors = {"psi.a": torch.zeros(1), "refiner.b": torch.ones(1)}
    assert list(part_or_all(tensors, "refiner.")) == ["b"]
    assert list(part_or_all(tensors, "")) == ["psi.a", "refiner.b"]


def test_a_file_without_the_prefix_is_of_one_network():
    assert list(part_or_all({"a": torch.zeros(1)}, "refiner.")) == ["a"]
