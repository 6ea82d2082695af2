"""Depth Pro against the implementation it stands on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pro_engine.errors import WeightsError
from pro_engine.inference.whole import Lens, settle
from pro_engine.io.weights import read_weights
from pro_engine.models.contract import PsiOutput
from pro_engine.models.depth_pro import DepthPro, depth_pro_spec
from pro_engine.types import Intrinsics


@pytest.fixture(scope="module")
def published(transformers, vivid):
    """The published geometry, 35 patches in three scales, in small: patches of 64 pixels, input of 256."""
    vit = {
        "model_type": "dinov2",
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
        "use_mask_token": False,
    }
    config = transformers.DepthProConfig(
        patch_size=64,
        fusion_hidden_size=16,
        intermediate_hook_ids=[3, 1],
        intermediate_feature_dims=[16, 16],
        scaled_images_feature_dims=[24, 24, 20],
        image_model_config=dict(vit),
        patch_model_config=dict(vit),
        fov_model_config=dict(vit),
        use_fov_model=True,
    )
    return vivid(transformers.DepthProForDepthEstimation(config))


def test_disparity_and_lens_are_those_of_transformers(published, tmp_path):
    published.save_pretrained(tmp_path)
    network = DepthPro(published.config).eval()
    network.load_published(read_weights(tmp_path / "model.safetensors"))
    image = torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        output = network.whole(image, 1.5)
        patch = network(image)
        expected = published((image - 0.5) / 0.5)
    assert output.disparity.shape == (1, 1, 256, 256)
    assert output.disparity.min() >= 0
    assert output.disparity.std() > 0.01
    torch.testing.assert_close(output.disparity[:, 0], expected.predicted_depth, atol=1e-5, rtol=1e-5)
    assert torch.equal(patch.disparity, output.disparity) and patch.whole.focal_px is None
    fov_x_deg = torch.rad2deg(2 * torch.atan(128 / output.whole.focal_px[:, 0]))  # half of the input's width is 128
    torch.testing.assert_close(fov_x_deg, expected.field_of_view, atol=1e-4, rtol=1e-5)


def test_metres_follow_the_angle_of_view(published):
    """Inverse metres are disparity * 2 tan(fov / 2), whatever lens gives the angle."""
    spec = depth_pro_spec()
    lens = Intrinsics.from_fov(4000, 3000, fov_x_deg=90)
    psi = DepthPro(published.config)
    assert psi.spec == depth_pro_spec(256)
    output = PsiOutput(torch.full((1, 1, 8, 8), 0.25), ())
    whole = settle(output, spec, (1536, 1536), np.zeros((3000, 4000, 3), np.uint8), Lens(lens, "given"))
    assert whole.metric_factor == pytest.approx(2, rel=1e-3)  # pixel centres are at integers


def test_the_full_size_has_the_published_tensors(transformers):
    with torch.device("meta"):
        network = DepthPro.as_published()
    assert network.spec == depth_pro_spec()
    state = network.network.state_dict()
    assert len(state) == 1407
    assert sum(value.numel() for value in state.values()) == 951_991_330
    assert sum(value.numel() for key, value in state.items() if key.startswith("fov_model.")) == 304_259_553
    for part in ("patch_encoder", "image_encoder"):
        assert state[f"depth_pro.encoder.{part}.model.embeddings.position_embeddings"].shape == (1, 577, 1024)
    assert state["fov_model.head.layers.4.weight"].shape == (1, 32, 6, 6)
    published = {
        key.replace("attention.q_proj", "attention.attention.query")
        .replace("attention.k_proj", "attention.attention.key")
        .replace("attention.v_proj", "attention.attention.value")
        .replace("attention.o_proj", "attention.output.dense"): value
        for key, value in state.items()
    }
    network.load_published(published)


def test_weights_load_strictly(published):
    network = DepthPro(published.config)
    tensors = dict(published.state_dict())
    name = "fov_model.head.layers.4.bias"
    with pytest.raises(WeightsError, match=r"1 wrong shapes \(fov_model\.head\.layers\.4\.bias is"):
        network.load_published(tensors | {name: torch.zeros(9)})
    with pytest.raises(WeightsError, match=r"1 unexpected keys \(head\.extra"):
        network.load_published(tensors | {"head.extra": torch.zeros(9)})
    del tensors[name]
    with pytest.raises(WeightsError, match=r"1 keys missing \(fov_model\.head\.layers\.4\.bias"):
        network.load_published(tensors)


def test_half_precision_of_the_file_is_read_into_float32(published):
    network = DepthPro(published.config)
    network.load_published({key: value.half() for key, value in published.state_dict().items()})
    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
