"""Depth Anything 3 against Depth Anything V2 in transformers, of which it is a variant, and the layout of its files."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from published import depth_anything2_layout, depth_anything3_layout
from torch import Tensor

from pro_engine.errors import WeightsError
from pro_engine.models.depth_anything import DepthAnything
from pro_engine.models.depth_anything3 import DepthAnything3, DepthAnything3Shape, metric_scale
from pro_engine.models.vit import DinoV2Trunk, TrunkShape

TRUNK = TrunkShape(24, 4, 2, grid=5, taps=(1, 2, 3, 4), norm_eps=1e-5, grid_margin=0.1)
SHAPE = DepthAnything3Shape(TRUNK, stages=(4, 8, 12, 24), channels=8)
LAYOUT = depth_anything3_layout(width=24, depth=4, stages=(4, 8, 12, 24), channels=8, grid=5)


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """A tiny file of random weights, large enough that depth varies."""
    torch.manual_seed(0)
    found = {}
    for name, shape in LAYOUT.items():
        spread = 1.0 / math.prod(shape[1:]) ** 0.5 if len(shape) > 1 else 0.2
        found[name] = torch.randn(shape) * spread
    return found


@pytest.fixture
def network(tensors) -> DepthAnything3:
    network = DepthAnything3(SHAPE).eval()
    network.load_published(tensors)
    return network


def test_the_full_size_has_the_tensors_of_the_published_file():
    with torch.device("meta"):
        network = DepthAnything3()
    layout = depth_anything3_layout()
    assert len(layout) == 406
    assert sum(math.prod(shape) for shape in layout.values()) == 334_171_394
    assert sum(p.numel() for p in network.parameters()) == 334_171_394
    network.load_published({name: torch.empty(shape, device="meta") for name, shape in layout.items()})
    header, start = {}, 0
    for name in sorted(layout):
        end = start + 4 * math.prod(layout[name])
        header[name] = {"dtype": "F32", "shape": layout[name], "data_offsets": [start, end]}
        start = end
    length = len(json.dumps(header, separators=(",", ":")))
    assert 8 + length + -length % 8 + start == 1_336_734_448  # bytes of the published safetensors file


@pytest.mark.parametrize("size", [(70, 70), (42, 98), (28, 56)])
def test_a_picture_of_any_size_of_whole_patches(network, size):
    image = torch.rand(2, 3, *size)
    with torch.inference_mode():
        output = network(image)
    rows, columns = size[0] // 14, size[1] // 14
    deepest = (-(-rows // 2), -(-columns // 2))
    sides = [deepest] + [(k * rows, k * columns) for k in (1, 2, 4, 8, 14)]
    channels = (8, 8, 8, 8, 8, 32)
    assert [tuple(f.shape) for f in output.features] == [(2, c, *side) for c, side in zip(channels, sides, strict=True)]
    assert output.disparity.shape == output.sky.shape == (2, 1, *size)
    assert output.disparity.min() > 0
    assert output.sky.min() >= 0
    assert output.sky.std() > 0
    assert output.disparity.log().std() > 0.02


def test_depth_and_sky_are_those_of_depth_anything2_but_for_the_last_step(tiny_config, network, tensors):
    image = torch.rand(2, 3, 70, 70)  # the table's own grid: transformers stretches positions in another way
    with torch.inference_mode():
        output = network(image)
        depth, features = _in_depth_anything2(tiny_config, tensors, image, "output_conv2")
        sky, _ = _in_depth_anything2(tiny_config, tensors, image, "sky_output_conv2")
    torch.testing.assert_close(1 / output.disparity, depth.exp(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.sky, sky.relu(), atol=1e-5, rtol=1e-5)
    for found, expected in zip(output.features, features, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def _in_depth_anything2(config, tensors, image, end) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What Depth Anything V2 with our weights has before its last activation, and its features."""
    layout = depth_anything2_layout(width=24, depth=4, stages=(4, 8, 12, 24), channels=8, grid=5)
    given = {name: torch.zeros(shape) for name, shape in layout.items()}  # what has no use stays 0
    for name, value in tensors.items():
        theirs = name.replace("model.backbone.", "").replace("model.head.", "depth_head.")
        if f".{end}." in theirs:
            given[theirs.replace(f".{end}.", ".output_conv2.")] = value
        elif "output_conv2" not in theirs:
            given[theirs] = value
    psi = DepthAnything(config).eval()
    psi.load_published(given)
    psi.backbone.layernorm.eps = 1e-5
    return psi.decode(image)


@pytest.mark.parametrize(("rows", "columns"), [(3, 7), (9, 5), (5, 6)])
def test_positions_are_sampled_where_the_authors_sample_them(rows, columns):
    torch.manual_seed(0)
    trunk = DinoV2Trunk(TRUNK)
    table = torch.randn(5, 5, 24)
    trunk.pos.data[0, 1:] = table.flatten(0, 1)
    torch.nn.init.zeros_(trunk.patch.weight)
    torch.nn.init.zeros_(trunk.patch.bias)
    with torch.no_grad():
        found = trunk.tokens(torch.zeros(1, 3, 14 * rows, 14 * columns))[0, 1:].view(rows, columns, 24)
    along = np.einsum("ry,yxc->rxc", _bicubic(rows), table.double().numpy())
    expected = np.einsum("qx,rxc->rqc", _bicubic(columns), along)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


def _bicubic(count: int) -> np.ndarray:
    """(count, 5): weights of the table's rows in output row y, which is at (y + 0.5) * 5 / (count + 0.1) - 0.5."""
    weights = np.zeros((count, 5))
    for y in range(count):
        at = (y + 0.5) * 5 / (count + 0.1) - 0.5
        for source in range(math.floor(at) - 1, math.floor(at) + 3):
            x = abs(at - source)
            near = 1.25 * x**3 - 2.25 * x**2 + 1
            weight = near if x <= 1 else -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)
            weights[y, min(max(source, 0), 4)] += weight
    return weights


def test_weights_load_strictly(tensors):
    network = DepthAnything3(SHAPE)
    missing = {key: value for key, value in tensors.items() if key != "model.backbone.pretrained.blocks.2.ls1.gamma"}
    with pytest.raises(WeightsError, match=r"1 keys missing \(model\.backbone\.pretrained\.blocks\.2\.ls1\.gamma\)"):
        network.load_published(missing)
    with pytest.raises(WeightsError, match=r"1 unexpected keys \(model\.camera\.fov\)"):
        network.load_published(tensors | {"model.camera.fov": torch.zeros(2)})
    wrong = "model.head.scratch.output_conv2.2.bias"
    with pytest.raises(WeightsError, match=r"1 wrong shapes \(model\.head\.scratch\.output_conv2\.2\.bias is \(2,\) "):
        network.load_published(tensors | {wrong: torch.zeros(2)})


def test_metres_do_not_change_when_the_photo_is_resized(network):
    photo = torch.rand(1, 3, 56, 84)
    focal_px, metres = 70.0, []
    for factor in (1, 2, 3):
        larger = photo.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
        image = torch.nn.functional.adaptive_avg_pool2d(larger, (56, 84))  # the network's input
        with torch.inference_mode():
            inverse = network(image).disparity * metric_scale(factor * focal_px, larger.shape[-1], image.shape[-1])
        metres.append(1 / inverse)
    torch.testing.assert_close(metres[1], metres[0], rtol=1e-4, atol=0)
    torch.testing.assert_close(metres[2], metres[0], rtol=1e-4, atol=0)


def test_metres_are_depth_times_the_focal_length_in_the_networks_pixels_over_300():
    assert 1 / metric_scale(focal_px=3000, width=4032, input_width=504) == pytest.approx(3000 * 504 / 4032 / 300)
    assert metric_scale(300, 504, 504) == 1
