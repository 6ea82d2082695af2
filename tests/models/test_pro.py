"""The refiner's parts against plain numpy, its shapes for several widths, and what folding leaves the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pro_engine.models.outlines import snap_to_outlines
from pro_engine.models.refiner_blend import BlendRefiner
from pro_engine.models.refiner_published import (
    HeadBlock,
    MapStart,
    ProRefiner,
    center_and_spread,
    fold_batch_norm,
    min_max,
    sample_roi,
)

# Level sizes that Depth Anything V2 has at 126 x 126 and 518 x 518, and the compact network at 64 x 96.
PSI_126 = [(5, 5), (9, 9), (18, 18), (36, 36), (72, 72), (126, 126)]
PSI_518 = [(19, 19), (37, 37), (74, 74), (148, 148), (296, 296), (518, 518)]
COMPACT = [(2, 3), (4, 6), (8, 12), (16, 24), (32, 48), (64, 96)]


def test_center_is_the_lower_median_and_spread_the_mean_deviation_from_it():
    disparity = torch.tensor([[1.0, 9.0, 2.0, 4.0], [5.0, 5.0, 5.0, 5.0]]).view(2, 1, 2, 2)
    center, spread = center_and_spread(disparity)
    assert center.shape == spread.shape == (2, 1, 1, 1)
    assert center.flatten().tolist() == [2.0, 5.0]
    assert spread.flatten().tolist() == [2.5, 0.0]  # (1 + 7 + 0 + 2) / 4


def test_min_max_is_per_patch_and_leaves_a_constant_patch_alone():
    maps = torch.tensor([[2.0, 4.0, 6.0, 10.0], [7.0, 7.0, 7.0, 7.0]]).view(2, 1, 2, 2)
    expected = torch.tensor([[0.0, 0.25, 0.5, 1.0], [7.0, 7.0, 7.0, 7.0]]).view(2, 1, 2, 2)
    torch.testing.assert_close(min_max(maps), expected)


def _roi_by_hand(maps: np.ndarray, box: tuple[float, ...], size: tuple[int, int]) -> np.ndarray:
    """One bilinear sample per output pixel, written pixel by pixel."""
    channels, height, width = maps.shape
    x0, y0, x1, y1 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    result = np.zeros((channels, *size))
    for i in range(size[0]):
        for j in range(size[1]):
            y = min(max(y0 + (i + 0.5) * (y1 - y0) / size[0] - 0.5, 0), height - 1)
            x = min(max(x0 + (j + 0.5) * (x1 - x0) / size[1] - 0.5, 0), width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = maps[:, top, left] * (1 - (x - left)) + maps[:, top, right] * (x - left)
            lower = maps[:, bottom, left] * (1 - (x - left)) + maps[:, bottom, right] * (x - left)
            result[:, i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return result


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("size", [(37, 37), (12, 20)])
def test_sample_roi_against_a_loop_over_pixels(size, last):
    torch.manual_seed(0)
    maps = torch.randn(1, 3, 37, 29)
    if last:
        maps = maps.contiguous(memory_format=torch.channels_last)
    boxes = [(0.0, 0.0, 0.25, 0.25), (0.25, 0.75, 0.5, 1.0), (0.7, 0.1, 1.0, 0.4), (0.0, 0.0, 1.0, 1.0)]
    sampled = sample_roi(maps, torch.tensor(boxes), size)
    assert sampled.shape == (4, 3, *size)
    assert sampled.is_contiguous(memory_format=torch.channels_last) == last
    for found, box in zip(sampled, boxes, strict=True):
        np.testing.assert_allclose(found.cpu().numpy(), _roi_by_hand(maps[0].cpu().numpy(), box, size), atol=2e-5)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("count", "move"), [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (2, 0.25), (3, 1 / 6)])
def test_sample_roi_of_patches_as_large_as_the_picture(count, move, last):
    torch.manual_seed(0)
    maps = torch.randn(1, 2, 12, 37)
    if last:
        maps = maps.contiguous(memory_format=torch.channels_last)
    starts = [k / count + move for k in range(count - (move > 0))]
    boxes = [(x, y, x + 1 / count, y + 1 / count) for x in starts for y in starts]
    sampled = sample_roi(maps, torch.tensor(boxes), (12, 37))
    for found, box in zip(sampled, boxes, strict=True):
        np.testing.assert_allclose(found.cpu().numpy(), _roi_by_hand(maps[0].cpu().numpy(), box, (12, 37)), atol=2e-5)


def test_the_whole_box_at_the_same_size_is_the_map_itself():
    maps = torch.randn(1, 4, 19, 31)
    torch.testing.assert_close(sample_roi(maps, torch.tensor([[0.0, 0, 1, 1]]), (19, 31)), maps, atol=1e-5, rtol=0)


def test_sample_roi_keeps_positions_exact_in_half_precision():
    ramp = torch.linspace(0, 1, 518).expand(1, 1, 518, 518)
    box = torch.tensor([[0.25, 0.25, 0.5, 0.5]])
    exact, half = sample_roi(ramp, box, (518, 518)), sample_roi(ramp.bfloat16(), box, (518, 518))
    assert half.dtype == torch.bfloat16
    assert (exact - half.float()).abs().max() < 2**-8


@pytest.mark.parametrize(
    ("channels", "sizes"),
    [
        ((64, 64, 64, 64, 64, 32), PSI_126),
        ((128, 128, 128, 128, 128, 32), PSI_126),
        ((256, 256, 256, 256, 256, 32), PSI_126),
        ((64, 48, 32, 24, 16, 8), COMPACT),
        ((4, 4, 4, 4, 4, 32), PSI_518),
        ((7, 6, 5, 4, 3, 2), [(3, 5), (6, 9), (11, 18), (21, 36), (42, 71), (83, 141)]),
    ],
)
def test_the_output_has_the_size_of_the_patch(channels, sizes, make_patches):
    patches = make_patches(channels, sizes, count=1)
    with torch.inference_mode():
        refined = ProRefiner(channels).eval()(patches)
    assert refined.shape == (1, 1, *sizes[-1])
    assert refined.isfinite().all()


def test_without_a_residual_the_start_remains(make_patches):
    """The published network's is the normalised coarse map, ours the frequency blend snapped to outlines."""
    patches = make_patches((8, 8, 8, 8, 8, 4), COMPACT)
    snapped = snap_to_outlines(BlendRefiner()(patches), patches.image)
    starts = {"coarse": (patches.coarse - 14) / 6, "snapped": snapped}
    for kind, start in starts.items():
        refiner = ProRefiner((8, 8, 8, 8, 8, 4), start=kind).eval()
        nn.init.zeros_(refiner.head.last[2].weight)
        torch.testing.assert_close(refiner(patches), start)
        assert refiner.level_borders is refiner.sharpens is (kind != "coarse")


def test_the_six_input_channels(make_patches):
    patches = make_patches((8, 8, 8, 8, 8, 4), COMPACT)
    initial, snapped = (patches.coarse - 14) / 6, snap_to_outlines(BlendRefiner()(patches), patches.image)
    _, x = MapStart("coarse")(patches)
    expected = (initial, min_max(patches.coarse), min_max(patches.fine), patches.image)
    torch.testing.assert_close(x, torch.cat(expected, 1))
    _, x = MapStart("snapped")(patches)
    torch.testing.assert_close(x, torch.cat((initial, snapped, min_max(patches.fine), patches.image), 1))


def test_every_patch_may_have_its_own_statistics(make_patches, randomise):
    channels = (8, 8, 8, 8, 8, 4)
    patches = make_patches(channels, COMPACT)
    refiner = randomise(ProRefiner(channels))
    spreads = torch.tensor([6.0, 3.0]).view(2, 1, 1, 1)
    joint = refiner(patches._replace(spread=spreads))
    torch.testing.assert_close(joint[:1], refiner(patches)[:1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(joint[1:], refiner(patches._replace(spread=spreads[1]))[1:], atol=1e-5, rtol=1e-5)


def test_projecting_before_enlarging_is_the_published_result():
    torch.manual_seed(0)
    block = HeadBlock(6, 4)
    x, skip = torch.randn(2, 6, 7, 9), torch.randn(2, 6, 7, 9)
    published = block.unit(x + block.skip_unit(skip))
    published = nn.functional.interpolate(published, (15, 19), mode="bilinear", align_corners=True)
    torch.testing.assert_close(block(x, skip, (15, 19)), block.project(published), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_folding_changes_rounding_only(make_patches, randomise, memory_format):
    channels = (16, 12, 8, 8, 6, 4)
    patches = make_patches(channels, COMPACT)
    refiner = randomise(ProRefiner(channels))
    with torch.inference_mode():
        before = refiner(patches)
        folded = fold_batch_norm(refiner).to(memory_format=memory_format)
        assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
        torch.testing.assert_close(folded(patches), before, atol=1e-4, rtol=1e-5)


def test_gradients_reach_every_parameter_but_the_unused_ones(make_patches):
    channels = (8, 8, 8, 8, 8, 4)
    refiner = ProRefiner(channels).train()
    refiner(make_patches(channels, COMPACT)).square().mean().backward()
    idle = [name for name, parameter in refiner.named_parameters() if parameter.grad is None]
    assert idle == [f"head.block4.skip_unit.conv{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")]


def test_six_channel_counts_are_wanted():
    with pytest.raises(ValueError, match="6 counts"):
        ProRefiner((8, 8, 8))


def test_autocast_stays_close_to_single_precision(make_patches, randomise):
    channels = (16, 12, 8, 8, 6, 4)
    patches = make_patches(channels, COMPACT)
    refiner = fold_batch_norm(randomise(ProRefiner(channels)))
    with torch.inference_mode():
        exact = refiner(patches)
        with torch.autocast(torch.get_default_device().type, torch.bfloat16):
            mixed = refiner(patches)
    assert mixed.dtype == torch.float32
    assert (mixed - exact).abs().mean() < 0.02 * exact.std()
