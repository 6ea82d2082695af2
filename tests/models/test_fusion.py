"""Haar analysis and synthesis against values worked out by hand, and the fusion of one level against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pro_engine.models.fusion import (
    HAAR,
    DoubleConv,
    FrequencyFusion,
    InputEncoder,
    WaveletFusion,
    haar_sums,
    haar_synthesis,
)


def haar_analysis(maps):
    """The orthonormal bands, by the definition."""
    filters = torch.tensor(HAAR).unsqueeze(1).repeat(maps.shape[1], 1, 1, 1)  # (4 C, 1, 2, 2)
    bands = F.conv2d(maps, filters, stride=2, groups=maps.shape[1])
    return tuple(bands.unflatten(1, (-1, 4)).unbind(2))


def haar_inverse(*bands):
    return haar_synthesis(*(2 * band for band in bands))


def test_the_sums_are_twice_the_bands():
    maps = torch.randn(2, 3, 6, 8)
    for found, band in zip(haar_sums(maps), haar_analysis(maps), strict=True):
        torch.testing.assert_close(found, 2 * band)


def test_haar_bands_of_a_known_cell():
    cell = torch.tensor([[[[1.0, 2.0], [4.0, 8.0]]]])
    assert [band.item() for band in haar_sums(cell)] == [1 + 2 + 4 + 8, 1 + 2 - 4 - 8, 1 - 2 + 4 - 8, 1 - 2 - 4 + 8]


@pytest.mark.parametrize(
    ("pattern", "band"),
    [([[1, 1], [1, 1]], 0), ([[1, 1], [-1, -1]], 1), ([[1, -1], [1, -1]], 2), ([[1, -1], [-1, 1]], 3)],
)
def test_each_pattern_lands_in_its_band_alone(pattern, band):
    maps = torch.tensor(pattern, dtype=torch.float32).repeat(1, 3, 4, 5)
    found = [value.abs().max().item() for value in haar_sums(maps)]
    assert found[band] == 4.0
    assert sum(found) == 4.0


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_haar_synthesis_undoes_the_sums_and_keeps_the_energy(memory_format):
    maps = torch.randn(2, 5, 12, 18).contiguous(memory_format=memory_format)
    bands = haar_sums(maps)
    assert [band.shape for band in bands] == [(2, 5, 6, 9)] * 4
    torch.testing.assert_close(haar_synthesis(*bands), maps, atol=1e-6, rtol=0)
    energy = sum(band.square().sum() for band in bands)
    torch.testing.assert_close(energy, 4 * maps.square().sum(), rtol=1e-5, atol=0)


def test_wavelet_fusion_follows_the_published_order_of_bands():
    torch.manual_seed(0)
    channels, fusion = 3, WaveletFusion(3)
    coarse, fine = torch.randn(1, 3, 8, 6), torch.randn(1, 3, 8, 6)
    a, b = haar_analysis(coarse), haar_analysis(fine)
    low = F.conv2d(torch.cat((a[0], b[0]), 1), fusion.low.weight, padding=1)
    stacked = torch.cat((a[1], b[1], a[2], b[2], a[3], b[3]), 1)
    high = F.conv2d(stacked, fusion.high.weight, padding=1, groups=3).split(channels, 1)
    torch.testing.assert_close(fusion(coarse, fine), haar_inverse(low, *high), atol=1e-6, rtol=1e-5)


def test_odd_sides_are_padded_with_zeros_at_the_right_and_bottom():
    torch.manual_seed(0)
    fusion = WaveletFusion(2)
    coarse, fine = torch.randn(1, 2, 7, 9), torch.randn(1, 2, 7, 9)
    padded = fusion(F.pad(coarse, (0, 1, 0, 1)), F.pad(fine, (0, 1, 0, 1)))
    torch.testing.assert_close(fusion(coarse, fine), padded[:, :, :7, :9])


def test_identity_weights_give_the_coarse_map_back():
    fusion = WaveletFusion(2)
    with torch.no_grad():
        fusion.low.weight.zero_()
        fusion.high.weight.zero_()
        for c in range(2):
            fusion.low.weight[c, c, 1, 1] = 1
        for c in range(6):
            fusion.high.weight[c, c % 2, 1, 1] = 1
    coarse, fine = torch.randn(1, 2, 5, 7), torch.randn(1, 2, 5, 7)
    torch.testing.assert_close(fusion(coarse, fine), coarse, atol=1e-6, rtol=0)


def test_the_encoder_halves_from_level_to_level():
    encoder = InputEncoder((12, 10, 8, 6, 4, 2))
    maps = encoder(torch.randn(2, 6, 126, 98))
    assert [tuple(m.shape) for m in maps] == [
        (2, 12, 3, 3),
        (2, 10, 7, 6),
        (2, 8, 15, 12),
        (2, 6, 31, 24),
        (2, 4, 63, 49),
        (2, 2, 126, 98),
    ]


def test_double_conv_against_numpy():
    torch.manual_seed(0)
    block = DoubleConv(2, 3).eval()
    x = torch.randn(1, 2, 4, 5)
    y = x.cpu().numpy()[0]
    for conv, norm in ((block[0], block[1]), (block[3], block[4])):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        weight = conv.weight.detach().cpu().numpy()
        padded = np.pad(y, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        y = np.einsum("chwij,ocij->ohw", windows, weight)
        mean, var = (one.cpu().numpy()[:, None, None] for one in (norm.running_mean, norm.running_var))
        y = np.maximum((y - mean) / np.sqrt(var + 1e-5), 0)
    np.testing.assert_allclose(block(x).detach().cpu().numpy()[0], y, atol=1e-5)


def test_fusion_joins_coarse_encoder_and_wavelet_in_this_order():
    torch.manual_seed(0)
    channels = (2, 2, 2, 2, 2, 2)
    sizes = [(3, 3), (5, 5), (9, 9), (18, 18), (36, 36), (64, 64)]
    fusion = FrequencyFusion(channels).eval()
    coarse = [torch.randn(1, 2, *size) for size in sizes]
    fine = [torch.randn(1, 2, *size) for size in sizes]
    x = torch.randn(1, 6, 64, 64)
    fused = fusion(x, coarse, fine)
    own = F.interpolate(fusion.encoder(x)[1], (5, 5), mode="bilinear", align_corners=True)
    joined = torch.cat((coarse[1], own, fusion.wavelets[1](coarse[1], fine[1])), 1)
    torch.testing.assert_close(fused[1], fusion.mixes[1](joined.split((1, 2, 3), 1)))  # it does not mind whose they are
    assert [tuple(m.shape[-2:]) for m in fused] == sizes
