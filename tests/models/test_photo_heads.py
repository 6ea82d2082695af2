"""Lens, range and sky from the tokens of a vision transformer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pro_engine.errors import WeightsError
from pro_engine.models.contract import PsiSpec
from pro_engine.models.photo_heads import READ_SHARE, USUAL_FOCAL, lens_and_range, summed_up, without_heads
from pro_engine.models.vit import TrunkShape, VitDepth

SHAPE = TrunkShape(width=24, depth=4, heads=2, grid=5, taps=(1, 2, 3, 4))
PLAIN = PsiSpec(feature_channels=(16, 14, 12, 10, 8, 6), input_area=84 * 84, multiple=14, keep_aspect=True)
SPEC = replace(PLAIN, gives_lens=True, gives_sky=True, gives_span=True)


@pytest.fixture
def network() -> VitDepth:
    torch.manual_seed(0)
    return VitDepth(SPEC, SHAPE).eval()


@torch.no_grad()
def test_the_whole_picture_is_told_of_and_patches_are_not(network: VitDepth) -> None:
    image = torch.rand(2, 3, 42, 70)
    output = network.whole(image, 70 / 42)
    assert network(image).whole.sky is None
    told = output.whole
    assert told.sky is not None and told.focal_px is not None and told.span is not None
    assert told.sky.shape == (2, 1, 21, 35) and told.sky.min() >= 0 and told.sky.max() <= 1
    assert told.focal_px.shape == (2, 1) and (told.focal_px > 0).all()
    assert told.span.shape == (2, 2) and (told.span[:, 0] > 0).all() and (told.span[:, 0] < told.span[:, 1]).all()
    torch.testing.assert_close(output.disparity, network(image).disparity)


@torch.no_grad()
def test_the_lens_is_near_a_usual_one(network: VitDepth) -> None:
    network.heads.photo[-1].weight.zero_()
    network.heads.photo[-1].bias[0] = torch.tensor(4.0).log()
    told = network.whole(torch.rand(1, 3, 42, 42), 1.0).whole
    assert told.focal_px.item() == pytest.approx(42 * USUAL_FOCAL * (4 / USUAL_FOCAL) ** READ_SHARE, rel=1e-4)


@torch.no_grad()
def test_the_focal_length_is_in_pixels_of_the_input(network: VitDepth) -> None:
    network.heads.photo[-1].weight.zero_()  # whatever is seen
    focals = [network.whole(torch.rand(1, 3, h, w), w / h).whole.focal_px.item() for h, w in ((42, 42), (84, 84))]
    assert focals[1] == pytest.approx(2 * focals[0])


def test_sums_do_not_count_tokens_nor_tell_left_from_right() -> None:
    tokens = torch.rand(1, 1 + 12, 24)
    grid = tokens[:, 1:].view(1, 3, 4, 24)
    larger = grid.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1, 2)
    mirrored = torch.cat([tokens[:, :1], grid.flip(2).flatten(1, 2)], 1)
    sums = summed_up([tokens, tokens], 3, 4)
    torch.testing.assert_close(summed_up([mirrored, mirrored], 3, 4), sums)
    enlarged = summed_up([torch.cat([tokens[:, :1], larger], 1)] * 2, 6, 8)
    torch.testing.assert_close(enlarged[:, :72], sums[:, :72])  # class token, mean, mean by height


def test_any_numbers_are_a_lens_and_a_range() -> None:
    focal, span = lens_and_range(torch.tensor([[-9.0, 9.0, -9.0], [9.0, -9.0, 9.0]]))
    assert (focal > 0).all() and (span[:, 0] < span[:, 1]).all()


def test_weights_without_heads_make_a_network_without_them(network: VitDepth) -> None:
    state = network.state_dict()
    bare = VitDepth(SPEC, SHAPE)
    bare.load_published(without_heads(state))
    assert bare.heads is None and bare.spec == PLAIN
    network.load_published(state)
    assert network.spec == SPEC
    state.pop("heads.sky.out.weight")
    with pytest.raises(WeightsError, match=r"heads\.sky\.out\.weight"):
        VitDepth(SPEC, SHAPE).load_published(state)
