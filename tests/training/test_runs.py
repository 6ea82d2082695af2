"""Short real runs on a few rendered-like files: they learn, resume to the same numbers, and stop on a broken loss."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pro_engine.errors import FileError
from pro_engine.io.weights import read_weights
from pro_engine.models.presets import PRESETS, build_psi, build_refiner
from pro_engine.training.data import BaseSamples, crop_matrix, list_rendered, read_rendered
from pro_engine.training.gpct import plan_group
from pro_engine.training.loop import LoopConfig, TrainingError, train
from pro_engine.training.refiner import RefinerTask, RegionSample, RegionSamples


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    """Two views of 192x144: a ramp of depth with a near box in it."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    for i in range(2):
        depth = np.repeat(np.linspace(9, 2, 144, dtype=np.float32)[:, None], 192, axis=1)
        depth[50:100, 60 + 20 * i : 110] = 1.5
        depth[:10] = np.inf
        picture = np.random.default_rng(i).integers(0, 40, (144, 192, 3), dtype=np.uint8)
        picture[50:100, 60 + 20 * i : 110] += 150
        cv2.imwrite(str(folder / f"v{i}.jpg"), picture)
        np.savez(folder / f"v{i}.npz", depth=depth.astype(np.float16), transparent=np.zeros((144, 192), np.uint8))
    return folder


def test_labels_are_inverse_metres_and_zero_for_sky(rendered: Path) -> None:
    _, disparity, transparent = read_rendered(list_rendered([rendered])[0])
    assert disparity[0, 0] == 0
    assert disparity[75, 80] == pytest.approx(1 / 1.5)
    assert not transparent.any()


def test_a_folder_without_views_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no rendered views"):
        list_rendered([tmp_path])


def test_a_crop_matrix_keeps_the_crop_inside_without_roll() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        matrix = crop_matrix(rng, (144, 192), (64, 96))
        if abs(matrix[0, 1]) > 1e-9:  # rolled: corners may leave the picture, they are mirrored
            continue
        corners = np.array([[-0.5, -0.5, 1], [95.5, 63.5, 1]]).T
        x, y = matrix @ corners
        assert x.min() >= -0.5 - 1e-6 and x.max() <= 191.5 + 1e-6
        assert y.min() >= -0.5 - 1e-6 and y.max() <= 143.5 + 1e-6


def test_samples_depend_on_seed_and_index_alone(rendered: Path) -> None:
    views = list_rendered([rendered])
    first = BaseSamples(views, 3, 2, [(64, 96), (96, 64)], 10)
    again = BaseSamples(views, 3, 2, [(64, 96), (96, 64)], 10)
    for i in (0, 7, 19):
        for a, b in zip(first[i], again[i], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not torch.equal(first[0][1], first[1][1])


class _Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))


class _Points(Dataset[Tensor]):
    def __len__(self) -> int:
        return 4000

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng(index).normal(size=4)).float()


class _LineTask:
    """Fits a weight vector; at `broken` the loss is NaN."""

    def __init__(self, broken: int | None = None) -> None:
        self.model: nn.Module = _Line()
        self.samples: Dataset[Tensor] = _Points()
        self.calls, self.broken = 0, broken

    def groups(self, learning_rate: float) -> list[dict[str, object]]:
        return [{"params": list(self.model.parameters()), "lr": learning_rate}]

    def train_mode(self) -> None:
        self.model.train()

    def loss(self, batch: Tensor) -> tuple[Tensor, dict[str, float]]:
        self.calls += 1
        goal = torch.tensor([1.0, -2.0, 0.5, 3.0])
        error = batch @ (next(self.model.parameters()) - goal)
        loss = error.square().mean()
        if self.broken is not None and self.calls == self.broken:
            loss = loss * float("nan")
        return loss, {}


CONFIG = LoopConfig(steps=40, batch=4, learning_rate=0.1, warm_up=4, log_every=10, save_every=10)


def _losses(run: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines}


def test_an_interrupted_run_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    whole = train(_LineTask(), CONFIG, tmp_path / "whole")

    class KilledError(Exception):
        pass

    def kill(_: nn.Module, step: int) -> None:
        if step == 20:
            raise KilledError

    with pytest.raises(KilledError):
        train(_LineTask(), CONFIG, tmp_path / "cut", on_checkpoint=kill)
    resumed = train(_LineTask(), CONFIG, tmp_path / "cut")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert _losses(tmp_path / "cut") == _losses(tmp_path / "whole")
    assert _losses(tmp_path / "whole")[40] < 0.5 * _losses(tmp_path / "whole")[10]


def test_a_broken_loss_stops_the_run_and_keeps_the_batch_and_the_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="step 24"):
        train(_LineTask(broken=25), CONFIG, tmp_path)
    assert torch.load(tmp_path / "bad_batch.pt", weights_only=True)["step"] == 24
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert kept["step"] == 20
    assert all(torch.isfinite(v).all() for v in kept["model"].values())


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    train(_LineTask(), replace(CONFIG, steps=10), tmp_path)
    task = _LineTask()
    task.model = nn.Linear(3, 2)
    with pytest.raises(TrainingError, match="another model"):
        train(task, CONFIG, tmp_path)


def _refiner_task(rendered: Path) -> RefinerTask:
    torch.manual_seed(0)
    preset = PRESETS["compact"]
    samples = RegionSamples(list_rendered([rendered]), 0, 24, plan_group((64, 96)))
    return RefinerTask(build_psi(preset), build_refiner(preset), samples)


def test_the_refiner_fits_two_regions_and_leaves_psi_alone(rendered: Path) -> None:
    task = _refiner_task(rendered)
    before = {k: v.clone() for k, v in task.psi.state_dict().items()}
    batches = [RegionSample(*(t[None] for t in task.samples[i])) for i in range(2)]
    optimizer = torch.optim.AdamW(task.groups(2e-3))
    task.train_mode()
    losses = []
    for step in range(24):
        loss, _ = task.loss(batches[step % 2])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-2:]) < 0.6 * sum(losses[:2])
    for key, value in task.psi.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_a_refiner_run_leaves_loadable_weights(rendered: Path, tmp_path: Path) -> None:
    config = LoopConfig(steps=3, batch=2, learning_rate=1e-3, warm_up=1, log_every=1, save_every=3)
    train(_refiner_task(rendered), config, tmp_path)
    fresh = build_refiner(PRESETS["compact"])
    fresh.load_state_dict(read_weights(tmp_path / "model.safetensors"))
    assert all(torch.isfinite(p).all() for p in fresh.parameters())
