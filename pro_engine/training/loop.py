"""The training loop that base and refiner share: schedule, averaging of weights, checkpoints, and a log one can plot.

A run folder holds config.json, log.jsonl (one line per `log_every` steps), last.pt (everything needed to resume to the
step) and, when done, model.safetensors with the averaged weights.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from pro_engine.errors import ProEngineError
from pro_engine.io.atomic import atomic_path
from pro_engine.io.weights import save_weights


class TrainingError(ProEngineError):
    """Training cannot go on: the loss is not finite, or a checkpoint is of another run."""


@dataclass(frozen=True)
class LoopConfig:
    """How to run, for any task."""

    steps: int
    batch: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warm_up: int = 100
    clip_norm: float = 2.0
    average: float = 0.999
    """Decay of the exponential moving average of the weights."""
    seed: int = 0
    workers: int = 0
    log_every: int = 50
    save_every: int = 200


class Task(Protocol):
    """What is trained. `model` holds the trainable module, `samples` the data, `loss` one step's scalar."""

    model: nn.Module

    @property
    def samples(self) -> Dataset[Any]:
        """What the batches are drawn from."""

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Optimizer parameter groups."""

    def train_mode(self) -> None:
        """Put the model into training mode, frozen parts left as they are."""

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """The loss of one batch and its parts for the log."""


def cosine(step: int, steps: int, warm_up: int) -> float:
    """Learning-rate factor: a linear start over `warm_up` steps, then half a cosine down to 2 %."""
    rise = min(1.0, (step + 1) / max(warm_up, 1))
    return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / max(steps, 1))))


def _average_into(average: nn.Module, model: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def _batches(task: Task, config: LoopConfig, first_step: int) -> Iterator[Any]:
    start, end = first_step * config.batch, config.steps * config.batch
    rest = Subset(task.samples, range(start, end))
    return iter(DataLoader(rest, config.batch, num_workers=config.workers, persistent_workers=config.workers > 0))


def train(
    task: Task, config: LoopConfig, out: Path, *, on_checkpoint: Callable[[nn.Module, int], None] | None = None
) -> nn.Module:
    """Train until `config.steps`, resuming from `out`/last.pt when it is there, and return the averaged model.

    Raises:
        TrainingError: the loss became NaN or infinite (the batch is saved as bad_batch.pt, the weights are not), or the
            checkpoint does not belong to this configuration.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps({"loop": asdict(config)}, indent=2))
    model = task.model
    average = copy.deepcopy(model).eval()
    optimizer = torch.optim.AdamW(
        task.groups(config.learning_rate), betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    step = _resume(out / "last.pt", model, average, optimizer)
    task.train_mode()
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    sums: dict[str, float] = {}
    started, counted = time.monotonic(), 0
    for batch in _batches(task, config, step):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * cosine(step, config.steps, config.warm_up)
        loss, parts = task.loss(batch)
        if not torch.isfinite(loss):
            torch.save({"batch": batch, "step": step}, out / "bad_batch.pt")
            raise TrainingError(f"The loss is {loss.item()} at step {step}; the batch is in {out / 'bad_batch.pt'}.")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, config.clip_norm)
        optimizer.step()
        step, counted = step + 1, counted + 1
        _average_into(average, model, min(config.average, (1 + step) / (10 + step)))
        for name, value in {"loss": loss.item(), **parts}.items():
            sums[name] = sums.get(name, 0.0) + value
        if step % config.log_every == 0 or step == config.steps:
            line = {"step": step, **{k: round(v / counted, 5) for k, v in sums.items()}}
            line["seconds_per_step"] = round((time.monotonic() - started) / counted, 4)
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            sums, started, counted = {}, time.monotonic(), 0
        if step % config.save_every == 0 or step == config.steps:
            _save(out / "last.pt", model, average, optimizer, step)
            if on_checkpoint is not None:
                on_checkpoint(average, step)
    save_weights(out / "model.safetensors", average.state_dict(), {"steps": str(step)})
    return average


def _save(path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    state = {
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
    }
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def _resume(path: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    try:
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise TrainingError(f"{path} is of another model; choose a new run folder or delete it ({error}).") from error
    return int(state["step"])
