"""What a refiner may aim at and look at: Ψ's layout or the label, Ψ's features or maps alone, imagined networks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pro_engine.errors import InputError, WeightsError
from pro_engine.inference.load import load_model
from pro_engine.io.weights import read_weights, save_weights
from pro_engine.models.presets import PRESETS, build_psi, build_refiner
from pro_engine.models.refiner_maps import MapRefiner
from pro_engine.options import OptionError
from pro_engine.training.bundle import bundle
from pro_engine.training.data import list_views
from pro_engine.training.gpct import merge, plan_group
from pro_engine.training.losses import gradient_matching
from pro_engine.training.options import BundleConfig, RefinerConfig
from pro_engine.training.refiner import RefinerTask, RegionSample, RegionSamples

WIDTHS = (8, 8, 6, 6, 4, 4)


def as_batch(*samples: RegionSample) -> RegionSample:
    return RegionSample(*(torch.stack(parts) for parts in zip(*samples, strict=True)))


def map_task(tiny: SimpleNamespace, rendered: Path, *, local: bool = True, imagined: float = 0.0) -> RefinerTask:
    """A refiner of maps without a residual: its output is the start, the blend."""
    torch.manual_seed(0)
    samples = RegionSamples(list_views([rendered]), 0, 24, plan_group((64, 96)), regions=2, imagined=imagined)
    refiner = MapRefiner(WIDTHS)
    nn.init.zeros_(refiner.head.last[2].weight)
    return RefinerTask(tiny.Psi(), refiner, samples, local=local)


def test_the_local_goal_has_the_labels_outlines_on_the_blends_layout(tiny: SimpleNamespace, rendered: Path) -> None:
    task = map_task(tiny, rendered)
    sample = task.samples[0]
    inputs = task.patches(sample)
    goals = task._goals(sample.label, sample.mask, inputs)
    layout = torch.stack([merge(task.samples.group, p) for p in task.model(inputs)[:, 0].split(4)])
    assert goals.shape == sample.label.shape
    assert (goals - layout).abs().mean() < 0.5 * (sample.label - layout).abs().mean()
    label_edges = sample.label.diff(dim=-1).abs() > 0.2
    assert label_edges.any()
    flat = goals.diff(dim=-1).abs()[~label_edges].mean()
    assert goals.diff(dim=-1).abs()[label_edges].mean() > 3 * flat


def test_the_loss_is_against_the_goal(tiny: SimpleNamespace, rendered: Path) -> None:
    """Without a residual the merged output is the layout, so the loss can be said beforehand."""
    task = map_task(tiny, rendered)
    sample = task.samples[1]
    inputs = task.patches(sample)
    layout = torch.stack([merge(task.samples.group, p) for p in task.model(inputs)[:, 0].split(4)])
    errors = layout - task._goals(sample.label, sample.mask, inputs)
    _, parts = task.loss(as_batch(sample))
    assert parts["l1"] == pytest.approx(errors.abs().mean().item(), rel=1e-4)
    assert 0 < parts["gradient"] < gradient_matching(errors).item()  # outlines are left out
    other, plain = map_task(tiny, rendered, local=False).loss(as_batch(sample))
    assert plain["l1"] > parts["l1"]
    assert "l2" in plain and "l2" not in parts and torch.isfinite(other)


def test_imagined_maps_stand_in_for_psi(tiny: SimpleNamespace, rendered: Path) -> None:
    task = map_task(tiny, rendered, imagined=0.5)
    samples = [task.samples[i] for i in range(12)]
    kinds = [bool(sample.imagined) for sample in samples]
    assert 2 < sum(kinds) < 10
    calls: list[int] = []
    task.psi.register_forward_hook(lambda *_: calls.append(1))
    sample = samples[kinds.index(True)]
    inputs = task.patches(sample)
    assert not calls
    torch.testing.assert_close(inputs.fine[:4, 0], sample.fine[0])
    assert sample.fine.std() > 0 and inputs.coarse_features == ()
    task.patches(samples[kinds.index(False)])
    assert len(calls) == 2
    again = map_task(tiny, rendered, imagined=0.5).samples[kinds.index(True)]
    torch.testing.assert_close(again.coarse, sample.coarse, rtol=0, atol=0)


def test_it_learns_from_maps_alone(tiny: SimpleNamespace, rendered: Path) -> None:
    task = map_task(tiny, rendered, imagined=0.5)
    batch = as_batch(task.samples[0], task.samples[1])
    optimizer = torch.optim.AdamW(task.groups(3e-3))
    task.train_mode()
    losses = []
    for _ in range(25):
        loss, _ = task.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.93 * losses[0]


def test_imagined_networks_have_no_features(rendered: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="add --no-features"):
        RefinerConfig(steps=1, data=(rendered,), out=tmp_path, imagined=0.5)


def test_what_is_bundled_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    preset = PRESETS["compact"]
    psi, refiner, maps = build_psi(preset), build_refiner(preset), MapRefiner()
    for name, network in (("psi", psi), ("refiner", refiner), ("maps", maps)):
        save_weights(tmp_path / f"{name}.safetensors", network.state_dict())
    both, alone, vit = (tmp_path / f"{name}.safetensors" for name in ("both", "alone", "vit"))
    bundle(BundleConfig(base=tmp_path / "psi.safetensors", refiner=tmp_path / "refiner.safetensors", out=both))
    bundle(BundleConfig(refiner=tmp_path / "maps.safetensors", out=alone))
    save_weights(tmp_path / "base.safetensors", build_psi(PRESETS["hybrid"]).state_dict())
    bundle(BundleConfig(base=tmp_path / "base.safetensors", out=vit))
    assert load_model("hybrid", weights=vit, device="cpu").full_name == "hybrid+compact"
    with pytest.raises(WeightsError, match="weights of compact, not of hybrid; name that model"):
        load_model("hybrid", weights=both, device="cpu")
    with pytest.raises(OptionError, match="or both"):
        bundle(BundleConfig(out=tmp_path / "none.safetensors"))
    assert {key.partition(".")[0] for key in read_weights(alone)} == {"refiner"}
    assert type(load_model("compact", weights=both, device="cpu").refiner) is type(refiner)
    loaded = load_model("compact", weights=both, refiner_weights=alone, device="cpu").refiner
    assert isinstance(loaded, MapRefiner)
    torch.testing.assert_close(loaded.head.join.weight, maps.head.join.weight, atol=1e-3, rtol=1e-3)
