"""The ViT Ψ: any size of whole patches, positions that move with it, outlines from the picture."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pro_engine.errors import WeightsError
from pro_engine.models.checkpoint import load_strict
from pro_engine.models.contract import PsiSpec
from pro_engine.models.vit import VIT_SPEC, DinoV2Trunk, TrunkShape, VitDepth

SHAPE = TrunkShape(width=24, depth=4, heads=2, grid=5, taps=(1, 2, 3, 4))
SPEC = PsiSpec(feature_channels=(16, 14, 12, 10, 8, 6), input_area=84 * 84, multiple=14, keep_aspect=True)


@pytest.fixture
def network() -> VitDepth:
    torch.manual_seed(0)
    return VitDepth(SPEC, SHAPE).eval()


def test_weights_keep_their_names(network: VitDepth) -> None:
    unit = [name for name in network.state_dict() if name.startswith("decoder.deepest.1.")]
    assert unit == [f"decoder.deepest.1.{conv}.{kind}" for conv in ("first", "second") for kind in ("weight", "bias")]
    assert {"decoder.fuse14.mix.first.weight", "decoder.fuse2.mix.second.bias"} <= network.state_dict().keys()


@torch.no_grad()
def test_disparity_and_six_levels_at_any_size_of_whole_patches(network: VitDepth) -> None:
    output = network(torch.rand(2, 3, 42, 70))  # odd numbers of patches
    assert output.disparity.shape == (2, 1, 42, 70)
    assert [tuple(level.shape[1:]) for level in output.features] == [
        (16, 3, 5), (14, 3, 5), (12, 6, 10), (10, 11, 18), (8, 21, 35), (6, 42, 70)
    ]  # fmt: skip
    assert output.disparity.std() > 0 and torch.isfinite(output.disparity).all()
    for height, width in ((70, 70), (28, 84)):
        assert network(torch.rand(1, 3, height, width)).disparity.shape == (1, 1, height, width)


def test_the_published_trunk_has_as_many_weights_as_dinov2() -> None:
    trunk = DinoV2Trunk(TrunkShape())
    # Without the embedding that stands in for masked patches in DINOv2's own training: 384 weights.
    assert sum(p.numel() for p in trunk.parameters()) == 22_056_576 - 384
    assert VIT_SPEC.multiple == 14 and VIT_SPEC.input_area == 588 * 196


@torch.no_grad()
def test_positions_are_as_learned_on_the_own_grid_and_stretched_on_others(network: VitDepth) -> None:
    trunk = network.trunk
    columns = torch.arange(5.0).expand(5, 5).reshape(1, 25, 1).expand(1, 25, 24)
    trunk.pos[:, 1:] = columns
    plain = torch.zeros(1, 3, 70, 70)
    nn.init.zeros_(trunk.patch.weight)
    nn.init.zeros_(trunk.patch.bias)
    torch.testing.assert_close(trunk.tokens(plain)[:, 1:], columns)
    wide = trunk.tokens(torch.zeros(1, 3, 70, 140))[:, 1:].view(5, 10, 24)
    expected = (torch.arange(10.0) + 0.5) / 2 - 0.5
    # Away from the borders, where it repeats them, torch's bicubic is off a straight line by up to 3/64.
    torch.testing.assert_close(wide[2, 3:7, 0], expected[3:7], rtol=0, atol=0.05)


@torch.no_grad()
def test_an_outline_within_a_patch_comes_from_the_picture(network: VitDepth, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(image: Tensor) -> list[Tensor]:
        return [torch.zeros(1, 10, 24) for _ in range(4)]

    monkeypatch.setattr(network.trunk, "tapped", blind)
    edges = []
    for column in (17, 20, 24):  # all in the second patch
        picture = torch.zeros(1, 3, 42, 42)
        picture[..., column:] = 1
        row = network(picture).disparity[0, 0, 20]
        steps = (row[1:] - row[:-1]).abs()
        edges.append(int(steps[8:34].argmax()) + 8)
    assert edges == sorted(edges) and edges[-1] - edges[0] >= 5


def test_weights_load_strictly(network: VitDepth) -> None:
    state = network.state_dict()
    assert {key.partition(".")[0] for key in state} == {"trunk", "decoder", "head"}
    load_strict(VitDepth(SPEC, SHAPE), state)
    del state["trunk.blocks.2.ls1"]
    with pytest.raises(WeightsError, match=r"trunk\.blocks\.2\.ls1"):
        load_strict(VitDepth(SPEC, SHAPE), state)
