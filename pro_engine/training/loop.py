"""The training loop that base and refiner share, on one process or several: schedule, averaging of weights, resuming.

A step takes the samples step * batch up to (step + 1) * batch, however many processes share them and in however many
parts each of them works, and sample i depends on the seed and i alone. So a run that was killed goes on to the same
numbers, and the same run on two processes is the same run, up to rounding and to statistics of batch norms, which every
process takes over the samples it has at once. What a run folder holds is said in `run_folder`.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from pro_engine.errors import CancelledError, ProEngineError
from pro_engine.io.weights import save_weights
from pro_engine.training.options import LoopConfig
from pro_engine.training.processes import gather_rows, ignore_interrupt, launch, stop_requests
from pro_engine.training.provenance import file_hash
from pro_engine.training.run_folder import (
    BAD_BATCH,
    LAST,
    MODEL,
    RunFolder,
    TrainingError,
    load_checkpoint,
    save_checkpoint,
)

Progress = Callable[[int, int, str], None]
"""progress(done, total, text)."""


class Task(Protocol):
    """What is trained. `model` holds the trainable module, `samples` the data, `loss` one step's scalar.

    kind: its name in config.json. identity: hashes of the data and weights it begins from, by name; a run goes on only
    with the same. about: texts that the header of the weights shall hold.
    """

    kind: str
    model: nn.Module

    @property
    def samples(self) -> Dataset[Any]:
        """What the batches are drawn from."""

    @property
    def identity(self) -> Mapping[str, str]:
        """See the class."""

    @property
    def about(self) -> Mapping[str, str]:
        """See the class."""

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Optimizer parameter groups."""

    def prepare(self, fabric: Fabric, progress: Progress) -> None:
        """Move what is not trained to the device and make what the samples need; called once before training."""

    def train_mode(self) -> None:
        """Put the model into training mode, frozen parts left as they are."""

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """The loss of one batch and its parts for the log, the same names every time. It calls `model` once."""

    def pictures(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """Pictures (3, H, W) uint8 RGB by name, of the batch's first sample as `model` sees it."""


def cosine(step: int, steps: int, warm_up: int, fall: float = 1.0) -> float:
    """Learning-rate factor: a linear start over `warm_up` steps; half a cosine down to 2 % over the last share `fall`
    of all steps."""
    rise = min(1.0, (step + 1) / max(warm_up, 1))
    length = fall * steps
    done = max(0.0, step - (steps - length)) / length if length else 0.0
    return rise * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def train(
    task: Task,
    config: LoopConfig,
    out: Path,
    *,
    fabric: Fabric | None = None,
    progress: Progress = lambda *_: None,
    on_checkpoint: Callable[[nn.Module, int], None] | None = None,
) -> nn.Module:
    """Train until `config.steps`, resuming from `out`/last.pt when it is there, and return the averaged model.

    A first Ctrl-C (or SIGTERM) ends the run after the step under way, with a checkpoint; a second ends it at once.

    Args:
        fabric: of `processes.launch`; None makes it from the configuration.
        on_checkpoint: called with the averaged model and the step after every checkpoint.

    Raises:
        TrainingError: loss or gradient became NaN or infinite (the batch is saved as bad_batch.pt, the weights are
            not), or the checkpoint does not belong to this configuration.
        FileError: a file cannot be written; earlier checkpoints are whole.
        CancelledError: stopped by Ctrl-C; the message says how to go on.
    """
    run = _TrainingRun(task, config, out, fabric or launch(config), progress)
    try:
        run.go(on_checkpoint)
    finally:
        if run.files is not None:
            run.files.close()
    return run.average


class _TrainingRun:
    """One process's part of a run."""

    def __init__(self, task: Task, config: LoopConfig, out: Path, fabric: Fabric, progress: Progress) -> None:
        self.task, self.config, self.out, self.fabric, self.progress = task, config, out, fabric, progress
        self.files = RunFolder(out, config, task.kind, self._identity()) if fabric.is_global_zero else None
        self._together(RunFolder.check)
        self.network = task.model
        self.average = copy.deepcopy(self.network).eval().to(fabric.device)
        self.optimizer = torch.optim.AdamW(
            task.groups(config.learning_rate), betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.wrapped, self.stepper = fabric.setup(self.network, self.optimizer)
        task.model = self.wrapped
        self.sums: dict[str, float] = {}
        self.counted = 0
        self.step = self._resume()

    def _together(self, action: Callable[[RunFolder], None]) -> None:
        """Let the first process do something with the files; where that fails, it raises and the others end quietly."""
        failure = None
        if self.files is not None:
            try:
                action(self.files)
            except ProEngineError as error:
                failure = error
        self._fail_together(failure)

    def _fail_together(self, failure: ProEngineError | None) -> None:
        if self.fabric.broadcast(failure is not None):
            raise failure or SystemExit(0)

    def _identity(self) -> dict[str, str]:
        """The task's, and the hash of the checkpoint that another run left for this one."""
        previous = self.config.previous
        if previous is None:
            return dict(self.task.identity)
        if not (previous / LAST).exists():
            raise TrainingError(f"{previous} has no {LAST}; give the folder of a run as --previous.")
        return {**self.task.identity, "previous": file_hash(previous / LAST)}

    def _resume(self) -> int:
        path, previous = self.out / LAST, self.config.previous
        begun = path.exists()
        if not begun:
            if previous is None:
                return 0
            path = previous / LAST
        state = load_checkpoint(path)
        if not begun:  # of the optimiser its memory goes on; rates and decay are this run's
            ours = self.optimizer.state_dict()["param_groups"]
            state["optimizer"]["param_groups"] = ours
        try:
            self.network.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.fabric.strategy.precision.load_state_dict(state["precision"])
            if not begun:
                return 0
            self.sums, self.counted = dict(state["sums"]), int(state["counted"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(
                f"{path} is of another model; choose a new run folder or delete it ({error})."
            ) from error
        return int(state["step"])

    def go(self, on_checkpoint: Callable[[nn.Module, int], None] | None) -> None:
        """Prepare, train from where the run is to its end, and write the averaged weights."""
        config = self.config
        self.task.prepare(self.fabric, self.progress)
        self._together(lambda files: files.begin(self.step))
        self.task.train_mode()
        batches = self._batches()
        started, timed = time.monotonic(), 0
        with stop_requests() as stop_asked:
            while self.step < config.steps:
                parts = [next(batches) for _ in range(config.accumulate)]
                stopping = self._advance(parts, stop_asked())
                timed += 1
                if self._is_due(config.log_every):
                    self._log((time.monotonic() - started) / timed)
                    started, timed = time.monotonic(), 0
                if config.picture_every and self._is_due(config.picture_every):
                    self._together(lambda files: files.pictures(self.step, self._pictures(parts[0])))  # noqa: B023
                if stopping or self._is_due(config.save_every):
                    self._together(lambda _: self._save())
                    if on_checkpoint is not None:
                        on_checkpoint(self.average, self.step)
                if stopping and self.step < config.steps:
                    self._stop()
        about = {"steps": str(self.step), **self.task.about}
        self._together(lambda _: save_weights(self.out / MODEL, self.average.state_dict(), about))

    def _is_due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _batches(self) -> Iterator[Any]:
        order = _Order(self.config, self.step, self.fabric.global_rank)
        return iter(
            DataLoader(
                self.task.samples,
                batch_sampler=order,
                num_workers=self.config.workers,
                worker_init_fn=ignore_interrupt,
                pin_memory=self.fabric.device.type == "cuda",
            )
        )

    def _advance(self, parts: list[Any], stop: bool) -> bool:
        """One optimiser step over this process's parts of the batch. Returns whether any process was asked to stop."""
        config, fabric = self.config, self.fabric
        # Whatever is drawn inside a network depends on the step and not on how often the run was resumed.
        torch.manual_seed((config.seed << 32) + self.step * fabric.world_size + fabric.global_rank)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * cosine(self.step, config.steps, config.warm_up, config.fall)
        self.stepper.zero_grad(set_to_none=True)
        stopping = False
        for i, part in enumerate(parts):
            batch = fabric.to_device(part)
            with fabric.no_backward_sync(self.wrapped, enabled=i + 1 < len(parts)):
                loss, named = self.task.loss(batch)
                stopping = self._exchange(part, {"loss": loss.item(), **named}, stop) or stopping
                fabric.backward(loss / len(parts))
        norm = fabric.clip_gradients(self.wrapped, self.stepper, max_norm=config.clip_norm, error_if_nonfinite=False)
        assert norm is not None
        if not torch.isfinite(norm) and config.precision != "16-mixed":  # there the scaler skips the step and adapts
            self._broken("gradient", norm.item(), parts, saves=fabric.is_global_zero)
        self._count("grad_norm", norm.item())
        self.stepper.step()
        self.step, self.counted = self.step + 1, self.counted + 1
        young = (1 + self.step) / (10 + self.step) if config.previous is None else 1.0
        _average_into(self.average, self.network, min(config.average, young))
        return stopping

    def _exchange(self, part: Any, values: dict[str, float], stop: bool) -> bool:
        """Add the means over all processes to the log's sums, stop all where a loss is not finite, and pass on a wish
        to stop."""
        row = torch.tensor([float(stop), *values.values()], dtype=torch.float64)
        if self.fabric.device.type == "mps":
            row = row.float()
        rows = gather_rows(row.to(self.fabric.device), self.fabric.world_size).cpu()  # (processes, 1 + values)
        bad = [rank for rank, loss in enumerate(rows[:, 1].tolist()) if not math.isfinite(loss)]
        if bad:
            self._broken("loss", float(rows[bad[0], 1]), [part], saves=self.fabric.global_rank == bad[0])
        for name, value in zip(values, rows[:, 1:].mean(0).tolist(), strict=True):
            self._count(name, value / self.config.accumulate)
        return bool(rows[:, 0].any())

    def _count(self, name: str, value: float) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + (value if math.isfinite(value) else 0.0)

    def _broken(self, what: str, value: float, parts: list[Any], *, saves: bool) -> None:
        path = self.out / BAD_BATCH
        if saves:
            save_checkpoint(path, {"batch": [_plain(part) for part in parts], "step": self.step})
        self._fail_together(
            TrainingError(
                f"The {what} is {value} at step {self.step}; the batch is in {path}, the last checkpoint is as it was. "
                "Look at that batch, or lower the learning rate in a new run folder."
            )
            if self.files is not None
            else None
        )

    def _log(self, seconds: float) -> None:
        rate = self.optimizer.param_groups[0]["lr"]
        line = {"step": self.step, **{name: round(v / self.counted, 5) for name, v in self.sums.items()}}
        line |= {"learning_rate": float(f"{rate:.4g}"), "seconds_per_step": round(seconds, 4)}
        self._together(lambda files: files.log(line))
        self.progress(self.step, self.config.steps, f"loss {line['loss']:.4f}")
        self.sums, self.counted = {}, 0

    def _pictures(self, batch: Any) -> dict[str, Tensor]:
        with torch.no_grad():
            return self.task.pictures(self.average, self.fabric.to_device(batch))

    def _save(self) -> None:
        state = {
            "model": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "step": self.step,
            "sums": self.sums,
            "counted": self.counted,
        }
        save_checkpoint(self.out / LAST, state)

    def _stop(self) -> None:
        stopped = CancelledError(
            f"Stopped at step {self.step} of {self.config.steps}; give the same command again to go on from there."
        )
        self._fail_together(stopped if self.files is not None else None)


class _Order(Sampler[list[int]]):
    """The indices of every part of every step that one process works on, from `first_step` to the end."""

    def __init__(self, config: LoopConfig, first_step: int, rank: int) -> None:
        self.config, self.first_step, self.rank = config, first_step, rank

    def __iter__(self) -> Iterator[list[int]]:
        config = self.config
        size = config.batch // (config.devices * config.accumulate)
        for step in range(self.first_step, config.steps):
            for part in range(config.accumulate):
                start = step * config.batch + (part * config.devices + self.rank) * size
                yield list(range(start, start + size))


def _average_into(average: nn.Module, model: nn.Module, decay: float) -> None:
    with torch.no_grad():
        for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)


def _plain(batch: Any) -> Any:
    """Named tuples as dictionaries, which load without running code."""
    return batch._asdict() if hasattr(batch, "_asdict") else batch
