"""Convolutions in oneDNN's order against those of PyTorch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from pro_engine.models.compact import EfficientNetLite0
from pro_engine.models.fusion import BandConv2d, JoinedConv2d
from pro_engine.models.packed import PackedConv2d, pack_convolutions, packing_supported
from pro_engine.models.presets import PRESETS, build_psi
from pro_engine.models.refiner_published import fold_batch_norm

pytestmark = [
    pytest.mark.skipif(not packing_supported(), reason="no oneDNN, or a processor without AVX2"),
    pytest.mark.cpu,
]


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_a_sequence_keeps_its_values_and_merges_activations():
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(6, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU6(), nn.Conv2d(16, 8, 1), nn.ReLU()
    )
    plain = fold_batch_norm(plain)
    packed = copy.deepcopy(plain)
    pack_convolutions(packed)
    assert [type(part) for part in packed] == [PackedConv2d, nn.Identity, nn.Identity, PackedConv2d, nn.Identity]
    for size in ((17, 23), (40, 8)):  # the weights are ordered for the first size only
        torch.testing.assert_close(packed(4 * noise(2, 6, *size)), plain(4 * noise(2, 6, *size)))


@torch.no_grad()
def test_the_trunk_with_its_one_sided_padding_keeps_its_values():
    torch.manual_seed(0)
    plain = fold_batch_norm(EfficientNetLite0().eval())
    packed = copy.deepcopy(plain)
    pack_convolutions(packed)
    for size in ((64, 96), (70, 58)):  # odd on the way down, too
        for got, wanted in zip(packed(noise(1, 3, *size).abs()), plain(noise(1, 3, *size).abs()), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_joined_maps_and_bands():
    torch.manual_seed(0)
    plain = nn.ModuleList([JoinedConv2d(8, 5, 3, padding=1, bias=False), BandConv2d(24, 12, 3, padding=1, groups=3)])
    packed = copy.deepcopy(plain)
    pack_convolutions(packed)
    pair = [noise(1, 4, 9, 9), noise(1, 4, 9, 9)]
    torch.testing.assert_close(packed[0](pair), plain[0](pair))
    for got, wanted in zip(packed[1]([pair] * 3), plain[1]([pair] * 3), strict=True):
        torch.testing.assert_close(got, wanted)


@torch.no_grad()
def test_under_autocast_all_but_the_last_layers_compute_in_bfloat16():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 1, 1))
    pack_convolutions(network)
    exact = network(noise(1, 3, 16, 16))
    with torch.autocast("cpu", torch.bfloat16):
        inner, half = network[0](noise(1, 3, 16, 16)), network(noise(1, 3, 16, 16))
    assert inner.dtype == torch.bfloat16 and half.dtype == torch.float32
    assert 0 < float((half - exact).abs().max()) < 0.05
    assert len(half.unique()) > len(half.bfloat16().unique())  # finer than bfloat16 has it
    torch.testing.assert_close(network(noise(1, 3, 16, 16)), exact)  # float32 again without autocast


def test_convolutions_with_other_borders_stay_as_they_are():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, padding_mode="replicate"), nn.ReLU())
    pack_convolutions(network)
    assert isinstance(network[0], nn.Conv2d) and isinstance(network[1], nn.ReLU)


@torch.no_grad()
def test_packed_ones_are_copied_and_not_packed_again():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    pack_convolutions(network)
    wanted = network(noise(1, 3, 9, 9))
    other = copy.deepcopy(network)
    pack_convolutions(other)
    assert isinstance(other[0], PackedConv2d) and isinstance(other[0].convolution, nn.Conv2d)
    torch.testing.assert_close(other(noise(1, 3, 9, 9)), wanted)


def test_compact_keeps_in_float32_where_its_layout_and_its_outlines_come_from():
    torch.manual_seed(0)
    psi, image = build_psi(PRESETS["compact"]).eval(), torch.rand(1, 3, 64, 64)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        half, quarter, *_ = psi.encoder(image)
        of_patches, of_all = psi(image), psi.whole(image, 1.0)
        in_training = psi.train().encoder(image)[0]
    assert half.dtype == torch.float32 and quarter.dtype == torch.bfloat16
    assert of_patches.features[2].dtype == torch.bfloat16 and of_all.features[2].dtype == torch.float32
    assert in_training.dtype == torch.bfloat16
