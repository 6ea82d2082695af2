"""Convolutions in 8 bits: against their definition in whole numbers, and whole refiners against float32."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pro_engine.inference.work import flop_formulas
from pro_engine.models.fusion import BandConv2d, DoubleConv, WaveletFusion
from pro_engine.models.int8 import Int8Conv2d, Int8WaveletFusion, int8_supported, quantize_convolutions
from pro_engine.models.refiner_light import LightRefiner
from pro_engine.models.refiner_published import ProRefiner, fold_batch_norm

pytestmark = [
    pytest.mark.cpu,
    pytest.mark.skipif(not int8_supported(), reason="this processor has no VNNI instructions"),
    pytest.mark.usefixtures("no_gradients"),
]

CHANNELS = (32, 32, 16, 16, 16, 16)
SIZES = [(2, 3), (4, 6), (8, 12), (16, 24), (32, 48), (64, 96)]


@pytest.fixture
def no_gradients():
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("zero", [0, 100, 255])
@pytest.mark.parametrize("kernel", [1, 3])
def test_it_is_the_sum_of_the_rounded_products(zero, kernel):
    torch.manual_seed(0)
    scale, padding = 1 / 64, (kernel // 2, kernel // 2)
    steps = torch.randint(0, 256, (2, 16, 7, 9))
    steps[0, 0, 0, :2] = torch.tensor([0, 255])
    steps = (steps - zero).contiguous(memory_format=torch.channels_last)
    maps = scale * steps.float()  # exactly what 8 bits can say
    weight, bias = torch.randn(24, 16, kernel, kernel), torch.randn(24)
    scales = weight.abs().amax((1, 2, 3)).view(-1, 1, 1, 1) / 127
    sums = F.conv2d(steps.double(), (weight / scales).round().double(), padding=padding)
    expected = (sums * scale * scales.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)).float()
    found, positive = (Int8Conv2d(weight, bias, padding, relu=relu)(maps) for relu in (False, True))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(positive, expected.relu(), rtol=1e-4, atol=1e-4)
    exact = F.conv2d(maps, weight, bias, padding=padding)
    torch.testing.assert_close(found, exact, rtol=0, atol=0.04 * exact.std().item())


def test_what_lies_between_the_steps_is_rounded():
    maps = torch.linspace(-0.7, 1.3, 16 * 64).view(1, 16, 8, 8)
    identity = Int8Conv2d(torch.eye(16)[:, :, None, None], None, (0, 0))
    error = (identity(maps) - maps).abs().max().item()
    assert 0.3 * 2 / 255 < error < 0.51 * 2 / 255


@pytest.mark.parametrize("last", [False, True])
def test_maps_are_joined_whatever_their_memory_format(last):
    torch.manual_seed(0)
    layout = torch.channels_last if last else torch.contiguous_format
    parts = [(torch.randn(1, c, 6, 5) * c).contiguous(memory_format=layout) for c in (16, 8, 24)]
    convolution = Int8Conv2d(torch.randn(16, 48, 3, 3), torch.randn(16), (1, 1))
    torch.testing.assert_close(convolution(parts), convolution(torch.cat(parts, 1)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1e-30, -5.0, 3e30])
def test_flat_maps(value):
    weight, bias = torch.ones(16, 16, 1, 1), torch.arange(16.0)
    weight[3] = 0
    found = Int8Conv2d(weight, bias, (0, 0))(torch.full((1, 16, 4, 4), value))
    expected = (16 * value * (weight[:, 0, 0, 0] != 0) + bias).view(1, 16, 1, 1).expand(1, 16, 4, 4)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_stays_so(wrong):
    maps = torch.randn(1, 16, 4, 4)
    maps[0, 3, 2, 1] = wrong
    assert Int8Conv2d(torch.randn(16, 16, 3, 3), None, (1, 1))(maps).isnan().any()


def test_convolutions_with_few_channels_or_another_size_stay():
    network = nn.Sequential(
        nn.Conv2d(6, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1), nn.Conv2d(32, 32, 3), nn.Conv2d(32, 32, 2),
        nn.Conv2d(32, 32, 3, padding=1, groups=2), nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.Conv2d(32, 32, 3, padding=1, padding_mode="replicate"), BandConv2d(12, 6, 3, padding=1, groups=3),
    )  # fmt: skip
    kinds = [type(part) for part in network]
    quantize_convolutions(network)
    assert [type(part) for part in network] == kinds


def test_a_relu_that_follows_is_merged_and_no_other():
    torch.manual_seed(0)
    network = fold_batch_norm(nn.Sequential(DoubleConv(16, 16), nn.Conv2d(16, 16, 1), nn.Sigmoid(), nn.ReLU()))
    maps = torch.randn(1, 16, 8, 8)
    expected = network(maps)
    quantize_convolutions(network)
    assert [type(part).__name__ for part in network[0]] == ["Int8Conv2d", "Identity", "Identity"] * 2
    assert [type(part).__name__ for part in network[1:]] == ["Int8Conv2d", "Sigmoid", "ReLU"]
    torch.testing.assert_close(network(maps), expected, rtol=0, atol=0.05)


@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
def test_the_wavelets_synthesis_ends_in_the_mix(size):
    torch.manual_seed(0)
    fusion, mix = WaveletFusion(16), DoubleConv(48, 16, joins=True)
    network = fold_batch_norm(nn.ModuleList([fusion, mix]))
    own, coarse, fine = (torch.randn(2, 16, *size) for _ in range(3))
    expected = mix((coarse, own, fusion(coarse, fine)))
    quantize_convolutions(network)
    found = network[1]((coarse, own, network[0](coarse, fine)))
    assert isinstance(network[0], Int8WaveletFusion) and isinstance(mix[0], Int8Conv2d)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02 * (expected.max() - expected.min()).item())


def test_its_work_is_counted_as_that_of_the_convolution():
    convolution, maps = nn.Conv2d(16, 24, 3, padding=1), torch.randn(2, 16, 6, 5)
    quantized = Int8Conv2d(convolution.weight, convolution.bias, (1, 1))
    counted = []
    for module in (convolution, quantized):
        with FlopCounterMode(display=False, custom_mapping=flop_formulas()) as work:
            module(maps)
        counted.append(work.get_total_flops())
    assert counted == [2 * 24 * 16 * 9 * 2 * 6 * 5] * 2


@pytest.mark.parametrize("kind", [ProRefiner, LightRefiner])
def test_a_whole_refiner_is_close(make_patches, randomise, kind):
    patches = make_patches(CHANNELS, SIZES)
    refiner = fold_batch_norm(randomise(kind(CHANNELS)))
    exact = refiner(patches)
    quantized = copy.deepcopy(refiner)
    quantize_convolutions(quantized)
    found = quantized(patches)
    error = ((found - exact).abs().max() / (exact.max() - exact.min())).item()
    count = sum(isinstance(part, Int8Conv2d) for part in quantized.modules())
    print(f"{kind.__name__}: {count} convolutions, largest error {error:.1e} of the range")
    assert count > 10 and 0 < error < 0.05
