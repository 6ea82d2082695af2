"""Depth Anything V2 against the implementation it stands on, and in the file layout of the hub."""

from __future__ import annotations

import builtins
import copy
import math
from pathlib import Path

import pytest
import torch
from published_layouts import depth_anything2_layout

from pro_engine.errors import DependencyError, WeightsError
from pro_engine.io.weights import cached_weights, fetch_weights, read_weights
from pro_engine.models.depth_anything import IMAGENET_MEAN, IMAGENET_STD, DepthAnything, depth_anything_spec
from pro_engine.models.presets import PRESETS, build_psi, load_psi


def _normalised(image: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    return (image - mean) / std


@pytest.fixture(scope="module")
def published(transformers, tiny_config, vivid):
    """A tiny network of the published architecture, as transformers runs it."""
    return vivid(transformers.DepthAnythingForDepthEstimation(tiny_config))


@pytest.fixture(scope="module")
def folder(published, tmp_path_factory) -> Path:
    """The same as files: config.json and model.safetensors."""
    path = tmp_path_factory.mktemp("tiny")
    published.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def psi(tiny_config, folder) -> DepthAnything:
    psi = DepthAnything(tiny_config)
    psi.load_published(read_weights(folder / "model.safetensors"))
    return psi.eval()


@pytest.mark.parametrize("size", [(70, 70), (42, 98), (28, 14)])
def test_disparity_is_that_of_transformers(psi, published, size):
    image = torch.rand(2, 3, *size)
    with torch.inference_mode():
        disparity = psi(image).disparity
        expected = published(_normalised(image)).predicted_depth
    assert disparity.shape == (2, 1, *size)
    assert disparity.min() >= 0
    assert disparity.std() > 0
    torch.testing.assert_close(disparity[:, 0], expected, atol=1e-5, rtol=1e-5)


def test_features_are_the_tensors_inside_the_decoder(psi, published):
    image = torch.rand(1, 3, 42, 70)
    seen: dict[str, torch.Tensor] = {}

    def record(name):
        return lambda module, inputs, output: seen.__setitem__(name, output.clone())

    parts = {
        "deepest": published.neck.convs[3],
        **{f"fused{i}": layer for i, layer in enumerate(published.neck.fusion_stage.layers)},
        "full": published.head.activation1,
    }
    hooks = [part.register_forward_hook(record(name)) for name, part in parts.items()]
    with torch.inference_mode():
        published(_normalised(image))
        features = psi(image).features
    for hook in hooks:
        hook.remove()
    expected = [seen[name] for name in ("deepest", "fused0", "fused1", "fused2", "fused3", "full")]
    for found, wanted in zip(features, expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert [f.shape[1] for f in features] == list(psi.spec.feature_channels)


def test_the_real_small_size_has_the_published_shapes(transformers, vivid):
    preset = PRESETS["depth-anything-v2-small"]
    psi = build_psi(preset).eval()
    assert psi.spec == preset.spec
    assert 24e6 < sum(p.numel() for p in psi.parameters()) < 26e6
    with torch.inference_mode():
        output = vivid(psi)(torch.rand(1, 3, 518, 518))
    sides = [19, 37, 74, 148, 296, 518]
    assert [tuple(f.shape) for f in output.features] == [
        (1, c, s, s) for c, s in zip((64, 64, 64, 64, 64, 32), sides, strict=True)
    ]
    assert output.disparity.shape == (1, 1, 518, 518)


@pytest.mark.parametrize(
    ("size", "channels", "millions"), [("small", 64, 24.8), ("base", 128, 97.5), ("large", 256, 335)]
)
def test_the_sizes_have_the_published_number_of_parameters(transformers, size, channels, millions):
    preset = PRESETS[f"depth-anything-v2-{size}"]
    with torch.device("meta"):
        psi = build_psi(preset)
    assert psi.spec == preset.spec
    assert psi.spec.feature_channels == (channels,) * 5 + (32,)
    assert sum(p.numel() for p in psi.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize("spelling", ["published", "newer"])
def test_both_spellings_of_the_attention_names_load(tiny_config, published, folder, spelling):
    tensors = read_weights(folder / "model.safetensors")
    pairs = [("attention.attention.query", "attention.q_proj"), ("attention.attention.key", "attention.k_proj")]
    pairs += [("attention.attention.value", "attention.v_proj"), ("attention.output.dense", "attention.o_proj")]
    for old, new in pairs:
        source, target = (new, old) if spelling == "published" else (old, new)
        tensors = {key.replace(source, target): value for key, value in tensors.items()}
    psi = DepthAnything(tiny_config).eval()
    load_psi(psi, tensors)
    image = torch.rand(1, 3, 70, 70)
    with torch.inference_mode():
        expected = published(_normalised(image)).predicted_depth
        torch.testing.assert_close(psi(image).disparity[:, 0], expected, atol=1e-5, rtol=1e-5)


def test_weights_of_another_size_are_refused(transformers, folder):
    tensors = read_weights(folder / "model.safetensors")
    with torch.device("meta"):
        small = DepthAnything.from_size("small")
    with pytest.raises(WeightsError, match="do not fit the Depth Anything V2"):
        load_psi(small, tensors)


@pytest.fixture(scope="module")
def metric_config(tiny_config):
    config = copy.deepcopy(tiny_config)
    config.depth_estimation_type, config.max_depth = "metric", 20
    return config


@pytest.mark.parametrize("size", [(70, 70), (42, 98)])
def test_metres_are_those_of_transformers(transformers, metric_config, vivid, size):
    published = vivid(transformers.DepthAnythingForDepthEstimation(metric_config))
    psi = DepthAnything(metric_config).eval()
    psi.load_published(published.state_dict())
    assert psi.spec.metric
    image = torch.rand(2, 3, *size)
    with torch.inference_mode():
        metres = 1 / psi(image).disparity[:, 0]
        expected = published(_normalised(image)).predicted_depth
    assert expected.std() > 0.1
    torch.testing.assert_close(metres, expected, atol=1e-5, rtol=1e-5)


def test_the_networks_for_metres_differ_in_where_they_end_alone(transformers):
    with torch.device("meta"):
        indoor, outdoor = (DepthAnything.from_size("small", max_depth=metres) for metres in (20, 80))
        relative = DepthAnything.from_size("small")
    assert (indoor.max_depth, outdoor.max_depth, relative.max_depth) == (20, 80, None)
    shapes = [{key: value.shape for key, value in psi.state_dict().items()} for psi in (indoor, outdoor, relative)]
    assert shapes[0] == shapes[1] == shapes[2]
    assert indoor.spec == depth_anything_spec("small", metric=True) != relative.spec


AUTHORS_SIZES = {  # width, depth, stages, channels; tensors of the file for transformers
    "small": (384, 12, (48, 96, 192, 384), 64, 287),
    "base": (768, 12, (96, 192, 384, 768), 128, 287),
    "large": (1024, 24, (256, 512, 1024, 1024), 256, 503),
}


@pytest.mark.parametrize("size", AUTHORS_SIZES)
def test_the_authors_own_files_load_in_every_size(transformers, size):
    width, depth, stages, channels, count = AUTHORS_SIZES[size]
    layout = depth_anything2_layout(width, depth, stages, channels)
    with torch.device("meta"):
        psi = DepthAnything.from_size(size)
        psi.load_published({name: torch.empty(shape) for name, shape in layout.items()})
    assert len(psi.state_dict()) == count
    assert len(layout) == count - 4 * depth  # query, key and value are one
    assert sum(math.prod(shape) for shape in layout.values()) == sum(p.numel() for p in psi.state_dict().values())


@pytest.fixture(scope="module")
def authors_tensors():
    torch.manual_seed(0)
    layout = depth_anything2_layout(24, 4, (4, 8, 12, 24), 8, grid=5)
    return {
        name: torch.randn(shape) * (1.5 / math.prod(shape[1:]) ** 0.5 if len(shape) > 1 else 0.2)
        for name, shape in layout.items()
    }


def test_the_authors_own_file_gives_what_the_same_weights_give_in_transformers(
    transformers, tiny_config, authors_tensors, tmp_path
):
    torch.save(authors_tensors, tmp_path / "depth_anything_v2_vits.pth")
    psi = DepthAnything(tiny_config).eval()
    psi.load_published(read_weights(tmp_path / "depth_anything_v2_vits.pth"))
    published = transformers.DepthAnythingForDepthEstimation(tiny_config).eval()
    state = {}
    for name, value in authors_tensors.items():
        state |= _in_transformers(name, value)
    published.load_state_dict(state)
    image = torch.rand(2, 3, 70, 70)
    with torch.inference_mode():
        expected = published(_normalised(image)).predicted_depth
        torch.testing.assert_close(psi(image).disparity[:, 0], expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0


def test_the_authors_own_file_loads_strictly(tiny_config, authors_tensors):
    psi = DepthAnything(tiny_config)
    missing = {key: value for key, value in authors_tensors.items() if key != "pretrained.blocks.2.attn.qkv.bias"}
    with pytest.raises(WeightsError, match=r"1 keys missing \(pretrained\.blocks\.2\.attn\.qkv\.bias\)"):
        psi.load_published(missing)
    with pytest.raises(WeightsError, match=r"1 unexpected keys \(pretrained\.register_tokens\)"):
        psi.load_published(authors_tensors | {"pretrained.register_tokens": torch.zeros(1, 4, 24)})
    wrong = {"pretrained.blocks.0.attn.qkv.weight": torch.zeros(48, 24)}
    with pytest.raises(WeightsError, match=r"blocks\.0\.attn\.qkv\.weight is \(48, 24\) instead of \(72, 24\)"):
        psi.load_published(authors_tensors | wrong)


def _in_transformers(name: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    """The parameters of transformers that one tensor of the file is."""
    name = name.removeprefix("pretrained.").removeprefix("depth_head.")
    parts = name.split(".")
    kind = parts[-1]
    if parts[0] == "blocks":
        layer = f"backbone.encoder.layer.{parts[1]}."
        if parts[3] == "qkv":
            names = ("attention.q_proj", "attention.k_proj", "attention.v_proj")
            return {f"{layer}{n}.{kind}": part for n, part in zip(names, value.chunk(3), strict=True)}
        if kind == "gamma":
            return {f"{layer}layer_scale{parts[2][-1]}.lambda1": value}
        rest = {"attn.proj": "attention.o_proj"}.get(".".join(parts[2:-1]), ".".join(parts[2:-1]))
        return {f"{layer}{rest}.{kind}": value}
    if parts[0] in ("projects", "resize_layers"):
        part = "projection" if parts[0] == "projects" else "resize"
        return {f"neck.reassemble_stage.layers.{parts[1]}.{part}.{kind}": value}
    if parts[0] == "scratch" and parts[1].endswith("_rn"):
        return {f"neck.convs.{int(parts[1][5]) - 1}.{kind}": value}
    if parts[0] == "scratch" and parts[1].startswith("refinenet"):
        fusion = f"neck.fusion_stage.layers.{4 - int(parts[1][-1])}."
        if parts[2] == "out_conv":
            return {f"{fusion}projection.{kind}": value}
        return {f"{fusion}residual_layer{parts[2][-1]}.convolution{parts[3][-1]}.{kind}": value}
    return {
        {
            "cls_token": "backbone.embeddings.cls_token",
            "mask_token": "backbone.embeddings.mask_token",
            "pos_embed": "backbone.embeddings.position_embeddings",
            "patch_embed.proj.weight": "backbone.embeddings.patch_embeddings.projection.weight",
            "patch_embed.proj.bias": "backbone.embeddings.patch_embeddings.projection.bias",
            "norm.weight": "backbone.layernorm.weight",
            "norm.bias": "backbone.layernorm.bias",
            "scratch.output_conv1.weight": "head.conv1.weight",
            "scratch.output_conv1.bias": "head.conv1.bias",
            "scratch.output_conv2.0.weight": "head.conv2.weight",
            "scratch.output_conv2.0.bias": "head.conv2.bias",
            "scratch.output_conv2.2.weight": "head.conv3.weight",
            "scratch.output_conv2.2.bias": "head.conv3.bias",
        }[name]: value
    }


def _hub_cache(tmp_path: Path, folder: Path, repo: str) -> Path:
    """A cache folder as the hub client lays it out, with one snapshot."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    base = tmp_path / f"models--{repo.replace('/', '--')}"
    snapshot = base / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (base / "refs").mkdir()
    (base / "refs" / "main").write_text(commit)
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).write_bytes((folder / name).read_bytes())
    return tmp_path


def test_cached_weights_load_without_a_network(tiny_config, psi, folder, tmp_path):
    repo = "depth-anything/Depth-Anything-V2-Small-hf"
    cache = _hub_cache(tmp_path, folder, repo)
    path = fetch_weights(repo, "model.safetensors", licence="Apache-2.0", offline=True, cache_dir=cache)
    assert path == cached_weights(repo, "model.safetensors", cache_dir=cache)
    loaded = DepthAnything(tiny_config).eval()
    load_psi(loaded, read_weights(path))
    image = torch.rand(1, 3, 70, 70)
    with torch.inference_mode():
        assert torch.equal(loaded(image).disparity, psi(image).disparity)


def test_without_transformers_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "transformers":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DependencyError, match=r"pro-engine\[hub\]"):
        DepthAnything.from_size("small")
