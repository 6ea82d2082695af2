"""MoGe-2: names, shapes and numbers of the published files; the network against the same arithmetic written plainly;
its files, whole and damaged."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from published_layouts import moge_layout
from torch import Tensor

from pro_engine.errors import WeightsError
from pro_engine.io.weights import read_weights, read_weights_and_config, save_weights
from pro_engine.models.moge import (
    VITB,
    VITL,
    VITL_WITHOUT_NORMALS,
    VITS,
    Moge2,
    MogeShape,
    published_key,
    token_grid,
    view_plane,
)
from pro_engine.models.moge_config import check_config, published_config

TINY = MogeShape(width=24, depth=3, heads=2, taps=(1, 3), neck_blocks=2, widths=(8, 6, 5, 4), grid=5)


def published_tensors(network: Moge2) -> dict[str, Tensor]:
    return {published_key(key): value for key, value in network.state_dict().items()}


@pytest.fixture(scope="module")
def make(vivid) -> Callable[[MogeShape], Moge2]:
    """Networks with random weights, whose logarithms of depth are about as large as real ones."""

    def network(shape: MogeShape) -> Moge2:
        made = vivid(Moge2(shape))
        with torch.no_grad():
            for head in (made.points_head, made.mask_head):
                head.output.weight.mul_(0.01)
        return made

    return network


@pytest.fixture(scope="module")
def network(make) -> Moge2:
    return make(TINY)


# --- the published files ---


@pytest.mark.parametrize(
    ("shape", "tensors", "parameters"),
    [
        (VITS, 337, 35_103_656),
        (VITB, 337, 104_743_592),
        (VITL, 521, 330_901_544),
        (VITL_WITHOUT_NORMALS, 483, 326_209_221),
    ],
)
def test_names_shapes_and_numbers_are_those_of_the_published_files(shape, tensors, parameters):
    with torch.device("meta"):
        full = Moge2(shape)
    state = {key: tuple(value.shape) for key, value in published_tensors(full).items()}
    neck = 2 if shape is VITL or shape is VITL_WITHOUT_NORMALS else 1
    assert state == moge_layout(shape.width, shape.depth, len(shape.taps), neck, normals=shape.normals)
    assert len(state) == tensors
    assert sum(parameter.numel() for parameter in full.parameters()) == parameters


# --- the arithmetic ---


@pytest.mark.parametrize(
    ("tokens", "aspect", "grid"),
    [
        (3600, 1.0, (60, 60)),
        (3600, 4 / 3, (52, 69)),
        (1200, 16 / 9, (26, 46)),
        (1369, 1.0, (37, 37)),
        (4, 100, (1, 20)),
    ],
)
def test_tokens_make_a_grid(tokens, aspect, grid):
    assert token_grid(tokens, aspect) == grid


def test_the_view_plane_measures_from_the_centre_in_half_diagonals():
    plane = view_plane(30, 40, 4 / 3)
    assert plane.shape == (1, 2, 30, 40)
    assert plane[0, :, 0, 0].tolist() == pytest.approx([-0.8 * 39 / 40, -0.6 * 29 / 30])
    assert plane[0, :, -1, -1].tolist() == pytest.approx([0.8 * 39 / 40, 0.6 * 29 / 30])


@pytest.mark.parametrize(
    ("size", "tokens"),
    [((90, 61), 24), ((40, 160), 15), ((70, 70), 25)],  # enlarged, shrunk along a side, and the trunk's own grid
)
@torch.no_grad()
def test_the_network_computes_what_is_written_plainly_in_float64(network, size, tokens):
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    found = network(image, tokens)
    points, mask, scale, normal = _plainly(published_tensors(network), image, tokens)
    assert found.points.shape == (2, 3, *size) and found.mask.shape == (2, 1, *size)
    assert points[:, 2].log().std() > 0.01 and mask.std() > 0.01 and scale.std() > 1e-6
    torch.testing.assert_close(found.metric_scale.double(), scale, rtol=1e-6, atol=0)
    # On average, as rounding turns a normal that has nearly no length.
    for ours, plain in ((found.points, points), (found.mask, mask), (found.normal, normal)):
        assert (ours - plain).abs().mean() < 5e-6


def _plainly(w: dict[str, Tensor], image: Tensor, tokens: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points, mask, scale and normals in float64 from the tensors under their published names."""
    w = {key: value.double().cpu() for key, value in w.items()}
    height, width = image.shape[-2:]
    aspect = width / height
    rows, cols = round(math.sqrt(tokens / aspect)), round(math.sqrt(tokens * aspect))
    x = F.interpolate(image.double().cpu(), (14 * rows, 14 * cols), mode="bilinear", antialias=True)
    x = (x - w["encoder.image_mean"]) / w["encoder.image_std"]
    taps = _trunk(w, x, rows, cols)
    encoded = 0
    for tap, value in enumerate(taps):
        matrix = w[f"encoder.output_projections.{tap}.weight"][:, :, 0, 0]
        encoded = encoded + value[:, 1:] @ matrix.T + w[f"encoder.output_projections.{tap}.bias"]
    encoded = encoded.transpose(1, 2).reshape(len(image), -1, rows, cols)
    inputs = []
    for level in range(5):
        h, v = rows * 2**level, cols * 2**level
        u = torch.tensor([(2 * j + 1 - v) / v * aspect / math.sqrt(1 + aspect**2) for j in range(v)]).double()
        down = torch.tensor([(2 * i + 1 - h) / h / math.sqrt(1 + aspect**2) for i in range(h)]).double()
        inputs.append(torch.stack([u.expand(h, v), down[:, None].expand(h, v)]).expand(len(image), 2, h, v))
    levels = _stack(w, "neck.", [torch.cat([encoded, inputs[0]], 1), *inputs[1:]])
    maps = {}
    for head in ("points_head", "mask_head", "normal_head"):
        finest = _stack(w, f"{head}.", levels)[-1]
        last = F.conv2d(finest, w[f"{head}.output_blocks.4.weight"], w[f"{head}.output_blocks.4.bias"])
        maps[head] = F.interpolate(last, (height, width), mode="bilinear", align_corners=False)
    p, q, r = maps["points_head"].unbind(1)
    points = torch.stack([p * r.exp(), q * r.exp(), r.exp()], 1)
    normal = maps["normal_head"] / maps["normal_head"].norm(dim=1, keepdim=True)
    scale = taps[-1][:, 0]
    for place in (0, 2, 4):
        scale = (scale.relu() if place else scale) @ w[f"scale_head.{place}.weight"].T + w[f"scale_head.{place}.bias"]
    return points, 1 / (1 + (-maps["mask_head"]).exp()), scale[:, 0].exp(), normal


def _trunk(w: dict[str, Tensor], x: Tensor, rows: int, cols: int) -> list[Tensor]:
    b = "encoder.backbone."
    x = F.conv2d(x, w[f"{b}patch_embed.proj.weight"], w[f"{b}patch_embed.proj.bias"], stride=14)
    x = torch.cat([w[f"{b}cls_token"].expand(len(x), 1, -1), x.flatten(2).transpose(1, 2)], 1)
    known, side = w[f"{b}pos_embed"], TINY.grid
    grid = known[:, 1:].reshape(side, side, -1)
    if (rows, cols) != (side, side):
        grid = _cubic(_cubic(grid, rows, side).transpose(0, 1), cols, side).transpose(0, 1)
    x = x + torch.cat([known[:, :1], grid.reshape(1, rows * cols, -1)], 1)

    def norm(value: Tensor, name: str) -> Tensor:
        off = value - value.mean(-1, keepdim=True)
        return off / (off.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(value: Tensor, name: str) -> Tensor:
        return value @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    taps = []
    for i in range(TINY.depth):
        p = f"{b}blocks.{i}."
        heads = linear(norm(x, f"{p}norm1"), f"{p}attn.qkv").chunk(3, -1)
        q, k, v = (part.unflatten(-1, (TINY.heads, -1)).transpose(1, 2) for part in heads)
        mixed = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1) @ v
        x = x + w[f"{p}ls1.gamma"] * linear(mixed.transpose(1, 2).flatten(2), f"{p}attn.proj")
        hidden = linear(norm(x, f"{p}norm2"), f"{p}mlp.fc1")
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        x = x + w[f"{p}ls2.gamma"] * linear(hidden, f"{p}mlp.fc2")
        if i + 1 in TINY.taps:
            taps.append(norm(x, f"{b}norm"))
    return taps


def _cubic(values: Tensor, count: int, side: int) -> Tensor:
    """Row i of `count` sampled at (i + 0.5) side / (count + 0.1) - 0.5 by Keys' kernel of a = -0.75, ends repeated."""
    out = []
    for i in range(count):
        at = (i + 0.5) * side / (count + 0.1) - 0.5
        total = 0
        for k in range(math.floor(at) - 1, math.floor(at) + 3):
            d, a = abs(at - k), -0.75
            inner = (a + 2) * d**3 - (a + 3) * d**2 + 1
            weight = inner if d <= 1 else a * (d**3 - 5 * d**2 + 8 * d - 4)
            total = total + weight * values[min(max(k, 0), side - 1)]
        out.append(total)
    return torch.stack(out)


def _stack(w: dict[str, Tensor], name: str, inputs: list[Tensor]) -> list[Tensor]:
    def conv3(value: Tensor, key: str) -> Tensor:
        value = F.pad(value, (1, 1, 1, 1), mode="replicate")
        return F.conv2d(value, w[f"{name}{key}.weight"], w[f"{name}{key}.bias"])

    x, maps = torch.zeros(()), []
    for level in range(5):
        x = x + F.conv2d(inputs[level], w[f"{name}input_blocks.{level}.weight"], w[f"{name}input_blocks.{level}.bias"])
        k = 0
        while f"{name}res_blocks.{level}.{k}.layers.2.weight" in w:
            inner = conv3(x.relu(), f"res_blocks.{level}.{k}.layers.2")
            x = x + conv3(inner.relu(), f"res_blocks.{level}.{k}.layers.5")
            k += 1
        maps.append(x)
        if level < 3:
            key = f"{name}resamplers.{level}.0"
            x = conv3(F.conv_transpose2d(x, w[f"{key}.weight"], w[f"{key}.bias"], stride=2), f"resamplers.{level}.1")
        elif level == 3:
            x = conv3(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), "resamplers.3.1")
    return maps


@torch.no_grad()
def test_last_layers_and_exponentials_stay_in_float32_under_autocast(network):
    image = torch.rand(1, 3, 70, 70)
    with torch.autocast(image.device.type, dtype=torch.bfloat16):
        maps = network.maps(image, 1.0)
        output = network(image, 25)
    for value in (maps.points, maps.mask, maps.normal, maps.log_scale, output.points, output.mask):
        assert value.dtype == torch.float32
    steps = maps.points[0, 2].flatten().sort().values.diff()
    assert steps[steps > 0].min() < 2**-12  # finer than bfloat16 has them


@torch.no_grad()
def test_a_network_without_normals_gives_none(make):
    output = make(replace(TINY, normals=False))(torch.rand(1, 3, 60, 80), 12)
    assert output.normal is None and torch.isfinite(output.points).all()


# --- files ---


@pytest.fixture(scope="module")
def model_pt(network, tmp_path_factory) -> Path:
    """What the authors' code saves of a network."""
    path = tmp_path_factory.mktemp("moge") / "model.pt"
    torch.save({"model_config": published_config(TINY), "model": published_tensors(network)}, path)
    return path


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@torch.no_grad()
def test_published_files_load_to_the_last_value(network, model_pt, tmp_path, suffix):
    path = model_pt
    if suffix == "safetensors":
        path = tmp_path / "model.safetensors"
        save_weights(path, published_tensors(network))
    tensors, config = read_weights_and_config(path)
    assert (config is None) == (suffix == "safetensors")
    if config:
        check_config(TINY, config)
    loaded = Moge2(TINY).eval()
    loaded.load_published(tensors)
    image = torch.rand(1, 3, 50, 70)
    for ours, theirs in zip(loaded(image, 20), network(image, 20), strict=True):
        assert torch.equal(ours, theirs)


LAST = "points_head.output_blocks.4.weight"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("encoder.backbone.blocks.2.ls1.gamma"), r"1 keys missing \(encoder\.\S+\.2\.ls1\.gamma\)"),
        (lambda t: t.pop("encoder.image_mean"), r"1 keys missing \(encoder\.image_mean\)"),
        (lambda t: t.update({"refiner.extra": torch.zeros(1)}), r"1 unexpected keys \(refiner\.extra\)"),
        (lambda t: t.update({LAST: torch.zeros(3, 32, 1, 1)}), rf"{LAST} is \(3, 32, 1, 1\) instead of \(3, 4, 1, 1\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(model_pt, change, sentence):
    tensors = read_weights(model_pt)
    change(tensors)
    target = Moge2(TINY)
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(WeightsError, match=sentence):
        target.load_published(tensors)
    assert all(torch.equal(before[key], value) for key, value in target.state_dict().items())


def _config(**changed: Any) -> dict[str, Any]:
    config = published_config(TINY)
    for name, value in changed.items():
        part, _, entry = name.partition("__")
        if entry:
            config[part][entry] = value
        else:
            config[part] = value
    return config


def test_a_config_of_another_network_is_refused_by_name():
    check_config(TINY, _config(neck__dim_out=None))  # one for all levels
    with pytest.raises(WeightsError, match=r"encoder\.intermediate_layers is \[1, 2\], not \[0, 2\]"):
        check_config(TINY, _config(encoder__intermediate_layers=[1, 2]))
    with pytest.raises(WeightsError, match=r"remap_output is linear, not exp"):
        check_config(TINY, _config(remap_output="linear"))
    with pytest.raises(WeightsError, match=r"neck\.num_res_blocks"):
        check_config(TINY, _config(neck__num_res_blocks=2))


def test_an_unknown_entry_of_a_config_is_named_and_left_aside(caplog):
    with caplog.at_level(logging.WARNING):
        check_config(TINY, _config(refiner_depth_resolution=256))
    assert "refiner_depth_resolution" in caplog.text


def test_the_config_of_the_small_network_is_the_published_one():
    config = published_config(VITS)
    assert config["encoder"] == {"backbone": "dinov2_vits14", "intermediate_layers": [5, 11], "dim_out": 384}
    assert config["neck"]["num_res_blocks"] == [0, 1, 1, 1, 0] and config["neck"]["dim_in"] == [386, 2, 2, 2, 2]
    assert published_config(VITL)["neck"]["num_res_blocks"] == [0, 2, 2, 2, 0]
    assert published_config(VITL)["normal_head"]["num_res_blocks"] == [0, 1, 1, 1, 0]
    assert "normal_head" not in published_config(VITL_WITHOUT_NORMALS)
