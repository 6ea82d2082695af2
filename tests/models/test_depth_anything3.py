"""Depth Anything 3 against Depth Anything V2 in transformers, of which it is a variant, and the layout of its files."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from published_layouts import depth_anything2_layout, depth_anything3_layout
from torch import Tensor

from pro_engine.errors import WeightsError
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.io.weights import read_weights_and_config, save_weights
from pro_engine.models.depth_anything import DepthAnything
from pro_engine.models.depth_anything3 import DepthAnything3, DepthAnything3Shape, depth_anything3_spec
from pro_engine.models.presets import load_psi
from pro_engine.models.refiner_blend import BlendRefiner
from pro_engine.models.vit import DinoV2Trunk, TrunkShape
from pro_engine.options import InferenceOptions
from pro_engine.types import Intrinsics

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
        output = network.whole(image, size[1] / size[0])
        patch = network(image)
    rows, columns = size[0] // 14, size[1] // 14
    deepest = (-(-rows // 2), -(-columns // 2))
    sides = [deepest] + [(k * rows, k * columns) for k in (1, 2, 4, 8, 14)]
    channels = (8, 8, 8, 8, 8, 32)
    assert [tuple(f.shape) for f in output.features] == [(2, c, *side) for c, side in zip(channels, sides, strict=True)]
    assert output.disparity.shape == output.whole.sky.shape == (2, 1, *size)
    assert output.disparity.min() > 0
    assert torch.equal(patch.disparity, output.disparity) and patch.whole.sky is None
    assert 0 <= output.whole.sky.min() < output.whole.sky.max() <= 1
    assert output.disparity.log().std() > 0.02


def test_depth_and_sky_are_those_of_depth_anything2_but_for_the_last_step(tiny_config, network, tensors):
    image = torch.rand(2, 3, 70, 70)  # the table's own grid: transformers stretches positions in another way
    with torch.inference_mode():
        output = network.whole(image, 1.0)
        depth, features = _in_depth_anything2(tiny_config, tensors, image, "output_conv2")
        sky, _ = _in_depth_anything2(tiny_config, tensors, image, "sky_output_conv2")
    torch.testing.assert_close(1 / output.disparity, depth.exp(), atol=1e-5, rtol=1e-5)
    # The authors call sky what is above 0.3, which is 0.5 here.
    torch.testing.assert_close(output.whole.sky, (sky.relu() / 0.6).clamp(max=1), atol=1e-5, rtol=1e-5)
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


@pytest.mark.parametrize("metric", [False, True])
def test_the_authors_own_file_loads_as_it_is(tensors, network, tmp_path, metric):
    save_weights(tmp_path / "model.safetensors", tensors)
    loaded = DepthAnything3(SHAPE, metric=metric).eval()
    load_psi(loaded, *read_weights_and_config(tmp_path / "model.safetensors"))
    image = torch.rand(1, 3, 42, 56)
    with torch.inference_mode():
        assert torch.equal(loaded(image).disparity, network(image).disparity)


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


@pytest.fixture
def predictor(tensors) -> DepthPredictor:
    network = DepthAnything3(SHAPE, metric=True)
    network.load_published(tensors)
    network.spec = replace(network.spec, input_area=56 * 84)
    torch.nn.init.constant_(network.sky[2].bias, -9)
    return DepthPredictor(network, BlendRefiner(), name="tiny")


@pytest.mark.cpu
@pytest.mark.parametrize("tiles", [(1, 1), (2, 2)])
def test_metres_do_not_change_when_the_photo_is_resized(predictor, tiles):
    photo = np.random.default_rng(0).integers(0, 256, (112, 168, 3), dtype=np.uint8)
    lens, metres = Intrinsics.from_fov(168, 112, fov_x_deg=60), []
    for factor in (1, 2, 3):
        larger = photo.repeat(factor, 0).repeat(factor, 1)
        given = lens.resized(larger.shape[1], larger.shape[0])
        options = InferenceOptions(tiles=tiles, refine="none" if tiles == (1, 1) else "blend")
        result = predictor.infer(larger, intrinsics=given, options=options)
        assert result.scale_shift.source == "metric"
        metres.append(np.median(result.depth))
    np.testing.assert_allclose(metres[1:], metres[0], rtol=2e-3)


@pytest.mark.cpu
def test_metres_are_depth_times_the_focal_length_in_the_networks_pixels_over_300(predictor):
    photo = np.full((112, 168, 3), 90, np.uint8)
    lens = Intrinsics(200.0, 220.0, 83.5, 55.5, 168, 112)
    result = predictor.infer(photo, intrinsics=lens, options=InferenceOptions(tiles=(1, 1), refine="none"))
    seen = torch.full((1, 3, 56, 84), 90 / 255)
    with torch.inference_mode():
        depth = 1 / predictor.psi(seen).disparity  # half as wide as the photo: f is 105 pixels there
    assert np.median(result.depth) == pytest.approx(float(depth.median()) * 105 / 300, rel=1e-3)
    assert predictor.infer(photo).depth is None  # no lens, no metres


def test_the_network_for_metres_is_another_in_what_its_number_means_alone():
    mono, metric = depth_anything3_spec(metric=False), depth_anything3_spec(metric=True)
    assert (mono.unit, metric.unit, metric.canonical_focal_px) == ("relative", "inverse metres by focal", 300)
    assert replace(metric, unit="relative", canonical_focal_px=0.0) == mono
    with torch.device("meta"):
        assert [DepthAnything3(metric=is_metric).spec for is_metric in (False, True)] == [mono, metric]


@pytest.mark.cpu
def test_the_sky_is_infinitely_far(predictor):
    torch.nn.init.constant_(predictor.psi.sky[2].bias, 9)
    photo = np.random.default_rng(0).integers(0, 256, (112, 168, 3), dtype=np.uint8)
    result = predictor.infer(photo, intrinsics=Intrinsics.from_fov(168, 112, fov_x_deg=60))
    assert result.sky.all() and np.isinf(result.depth).all()
