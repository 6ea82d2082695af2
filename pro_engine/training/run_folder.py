"""The files of a run.

| file              | holds                                                                                            |
|-------------------|--------------------------------------------------------------------------------------------------|
| config.json       | kind, every option, hashes of what it began from (identity), versions, git; when it was resumed  |
| log.jsonl         | one line per `log_every` steps: means since the last line                                        |
| events.out.*      | the same numbers and pictures, for TensorBoard                                                   |
| last.pt           | everything needed to go on to the step                                                           |
| bad_batch.pt      | the batch whose loss was not finite, if one was met                                              |
| model.safetensors | the averaged weights, once the run is done                                                       |

Files are replaced in one step or, like the log, only grow, so whatever is interrupted leaves the earlier state whole.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pro_engine.errors import DependencyError, FileError, ProEngineError
from pro_engine.io.atomic import atomic_path
from pro_engine.io.paths import writing_failed
from pro_engine.training.options import LoopConfig
from pro_engine.training.provenance import provenance, text_of

LAST, BAD_BATCH, MODEL = "last.pt", "bad_batch.pt", "model.safetensors"


class TrainingError(ProEngineError):
    """Training cannot go on: the loss is not finite, or a checkpoint is of another run."""


class RunFolder:
    """Reads and writes one run's files; in a run of several processes only the first has one.

    Raises (all methods that write):
        FileError: the disk is full or refuses; the message says which file.
    """

    def __init__(self, folder: Path, config: LoopConfig, kind: str, identity: Mapping[str, str]) -> None:
        self.folder, self._config = folder, config
        self._mine: dict[str, Any] = {
            "kind": kind,
            "config": {f.name: text_of(getattr(config, f.name)) for f in dataclasses.fields(config)},
            "identity": dict(identity),
        }
        self._writer: Any = None

    def check(self) -> None:
        """Refuse to go on with a run that was configured otherwise.

        Raises:
            TrainingError: there is a checkpoint whose configuration has another loss curve; the fields are named.
            DependencyError: TensorBoard is not installed.
        """
        _summary_writer()  # before hours are spent
        if not (self.folder / LAST).exists():
            return
        earlier = _read_json(self.folder / "config.json")
        if "kind" not in earlier:
            raise TrainingError(
                f"{self.folder} holds a run of an earlier version; choose a new run folder, and give that run's "
                "model.safetensors as --initial to start from its weights."
            )
        differences = self._differences(earlier)
        if differences:
            raise TrainingError(
                f"{self.folder} holds a run with another configuration: {'; '.join(differences)}; give the earlier "
                "values to go on with it, or choose a new run folder."
            )

    def _differences(self, earlier: Mapping[str, Any]) -> list[str]:
        """`name was A and is now B` for everything that shapes the curve."""
        curve = {f.name for f in dataclasses.fields(self._config) if f.metadata.get("curve", True)}
        pairs = [("kind", earlier.get("kind"), self._mine["kind"])]
        for part, names in (("config", curve), ("identity", None)):
            then, now = earlier.get(part) or {}, self._mine[part]
            keys = [key for key in {**now, **then} if names is None or key in names or key not in now]
            pairs += [(key, then.get(key, "not there"), now.get(key, "not there")) for key in keys]
        return [f"{name} was {then} and is now {now}" for name, then, now in pairs if then != now]

    def begin(self, step: int) -> None:
        """Write config.json, or note in it that the run went on at `step`, and drop what was logged after `step`."""
        path = self.folder / "config.json"
        if step:
            content = _read_json(path)
            content["resumed"] = [*content.get("resumed", []), {"step": step, **provenance()}]
        else:
            content = {**self._mine, **provenance()}
        _write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        self._trim_log(step)
        self._writer = _summary_writer()(str(self.folder), purge_step=step + 1)

    def _trim_log(self, step: int) -> None:
        path = self.folder / "log.jsonl"
        if not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        if kept != lines:
            _write_text(path, "".join(line + "\n" for line in kept))

    def log(self, line: Mapping[str, float]) -> None:
        """Append a line with its `step` to log.jsonl, and its numbers to TensorBoard."""
        path = self.folder / "log.jsonl"
        step = int(line["step"])
        try:
            with path.open("a", encoding="utf-8") as log:
                log.write(json.dumps(dict(line)) + "\n")
            for name, value in line.items():
                if name != "step":
                    self._writer.add_scalar(name, value, step)
            self._writer.flush()
        except OSError as error:
            raise writing_failed(path, error) from error

    def pictures(self, step: int, pictures: Mapping[str, Tensor]) -> None:
        """Pictures (3, H, W) uint8 RGB for TensorBoard."""
        try:
            for name, picture in pictures.items():
                self._writer.add_image(name, picture, step)
            self._writer.flush()
        except OSError as error:
            raise writing_failed(self.folder, error) from error

    def close(self) -> None:
        """Finish the event file."""
        if self._writer is not None:
            with suppress(OSError):  # a full disk was reported by the write that met it
                self._writer.close()


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write tensors, numbers and containers of them; an earlier file stays whole until the new one is complete.

    Raises:
        FileError: the disk is full or refuses.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        torch.save(dict(state), file)  # into an open file: given a path, torch hides the system's reason


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote, on the CPU.

    Raises:
        TrainingError: it is damaged.
    """
    try:
        with open(path, "rb") as file:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch raise nearly anything
        raise TrainingError(f"{path} is damaged ({error}); delete it to begin the run again.") from error
    return state


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise DependencyError("Training needs the extra `train`; run: pip install 'pro-engine[train]'.") from error
    return SummaryWriter


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path} cannot be read ({error}); choose a new run folder.") from error
    if not isinstance(content, dict):
        raise FileError(f"{path} is no run's configuration; choose a new run folder.")
    return content


def _step_of(line: str) -> float:
    """The step of a log line; infinite for one that was cut short."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
