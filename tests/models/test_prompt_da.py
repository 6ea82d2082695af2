"""Prompt Depth Anything against the implementation it stands on."""

from __future__ import annotations

import pytest
import torch

from pro_engine.errors import WeightsError
from pro_engine.io.weights import read_weights
from pro_engine.models.contract import Prompt
from pro_engine.models.depth_anything import IMAGENET_MEAN, IMAGENET_STD
from pro_engine.models.prompt_da import PromptDepthAnything, prompt_depth_anything_spec


@pytest.fixture(scope="module")
def published(transformers, tiny_config, vivid):
    config = transformers.PromptDepthAnythingConfig(
        backbone_config=tiny_config.backbone_config,
        reassemble_hidden_size=24,
        neck_hidden_sizes=[4, 8, 12, 24],
        fusion_hidden_size=8,
        depth_estimation_type="metric",
    )
    return vivid(transformers.PromptDepthAnythingForDepthEstimation(config))


@pytest.fixture(scope="module")
def psi(published, tmp_path_factory) -> PromptDepthAnything:
    folder = tmp_path_factory.mktemp("tiny")
    published.save_pretrained(folder)
    psi = PromptDepthAnything(published.config).eval()
    psi.load_published(read_weights(folder / "model.safetensors"))
    return psi


@pytest.mark.parametrize("size", [(70, 70), (42, 98)])
def test_metres_are_those_of_transformers(psi, published, size):
    image, depth = torch.rand(2, 3, *size), 1 + 4 * torch.rand(2, 1, 12, 16)
    normalised = (image - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    with torch.inference_mode():
        output = psi.prompted(image, Prompt.whole(depth))
        expected = published(normalised, prompt_depth=depth).predicted_depth
    assert expected.std() > 0.1
    torch.testing.assert_close(1 / output.disparity[:, 0], expected, atol=1e-5, rtol=1e-5)
    assert [f.shape[1] for f in output.features] == list(psi.spec.feature_channels)


@torch.inference_mode()
def test_without_a_prompt_depth_is_the_relative_one_of_transformers(psi, published):
    image = torch.rand(1, 3, 42, 70)
    normalised = (image - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)
    expected = published(normalised).predicted_depth
    torch.testing.assert_close(1 / psi(image).disparity[:, 0], expected, atol=1e-5, rtol=1e-5)
    assert (psi.spec.unit, psi.spec.takes_prompt) == ("relative", True)


@torch.inference_mode()
def test_a_patch_has_the_scale_of_the_whole_prompt(psi):
    image, depth = torch.rand(1, 3, 70, 70), 1 + 4 * torch.rand(1, 1, 10, 10)
    depth[..., 9, :2] = torch.tensor([0.5, 6.0])
    whole = Prompt.whole(depth)
    part = depth[..., :5, :5]  # without the nearest and the farthest
    metres = 1 / psi.prompted(image, Prompt(part, whole.near, whole.far)).disparity
    alone = 1 / psi.prompted(image, Prompt.whole(part)).disparity
    assert not torch.allclose(metres, alone, atol=1e-3)
    # Twice as far, told so, is the same picture twice as far.
    twice = 1 / psi.prompted(image, Prompt(2 * part, 2 * whole.near, 2 * whole.far)).disparity
    torch.testing.assert_close(twice, 2 * metres, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_prompt_of_one_depth_gives_that_depth(psi):
    disparity = psi.prompted(torch.rand(1, 3, 42, 42), Prompt.whole(torch.full((1, 1, 4, 4), 2.5))).disparity
    torch.testing.assert_close(disparity, torch.full_like(disparity, 0.4))


@pytest.mark.parametrize(("size", "tensors", "parameters"), [("small", 311, 25_083_073), ("large", 527, 340_046_529)])
def test_the_sizes_have_the_published_tensors(transformers, size, tensors, parameters):
    with torch.device("meta"):
        psi = PromptDepthAnything.from_size(size, max_depth=1)
    assert psi.spec == prompt_depth_anything_spec(size)
    state = psi.state_dict()
    assert (len(state), sum(value.numel() for value in state.values())) == (tensors, parameters)
    channels = psi.spec.feature_channels[0]
    for block in range(4):
        for conv, inputs in ((1, 1), (2, channels), (3, channels)):
            name = f"neck.fusion_stage.layers.{block}.prompt_depth_layer.convolution{conv}"
            assert state[f"{name}.weight"].shape == (channels, inputs, 3, 3)


def test_weights_load_strictly(psi, published):
    tensors = dict(published.state_dict())
    name = "neck.fusion_stage.layers.2.prompt_depth_layer.convolution2.bias"
    with pytest.raises(WeightsError, match=r"1 wrong shapes .*layers\.2\.prompt_depth_layer\.convolution2\.bias is"):
        psi.load_published(tensors | {name: torch.zeros(9)})
    with pytest.raises(WeightsError, match=r"1 unexpected keys \(head\.extra"):
        psi.load_published(tensors | {"head.extra": torch.zeros(9)})
    del tensors[name]
    with pytest.raises(WeightsError, match=r"1 keys missing \(neck\.fusion_stage\.layers\.2\.prompt_depth_layer"):
        psi.load_published(tensors)
