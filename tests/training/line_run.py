"""A run small enough to be killed often: it fits four numbers. As a script it is what a test starts and stops:
`line_run.py OUT '{"steps": 60, ...}' SECONDS_PER_STEP [CALL]`, where the loss of that call is NaN in the last process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pro_engine.errors import ProEngineError
from pro_engine.training.loop import train
from pro_engine.training.options import LoopConfig

GOAL = (1.0, -2.0, 0.5, 3.0)
DEFAULTS = {"steps": 40, "batch": 4, "learning_rate": 0.1, "warm_up": 4, "log_every": 10, "save_every": 10}


def line_config(**changes: Any) -> LoopConfig:
    return LoopConfig(**{**DEFAULTS, "accelerator": "cpu", "picture_every": 15, **changes})


class Line(nn.Module):
    """Four weights; `drop` of them are left out at random while training. `idle` has no use, as in a real refiner."""

    def __init__(self, drop: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))
        self.idle = nn.Parameter(torch.ones(2))
        self.drop = nn.Dropout(drop)

    def forward(self, points: Tensor) -> Tensor:
        return points @ self.drop(self.weight)


class Points(Dataset[Tensor]):
    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.random.default_rng(index).normal(size=4)).float()


class LineTask:
    """Fits a weight vector; at step `broken` (counted in calls) the loss is NaN, or infinite in its gradient."""

    kind = "line"

    def __init__(self, *, broken: int | None = None, steep: int | None = None, drop: float = 0.0, seconds: float = 0.0):
        self.model: nn.Module = Line(drop)
        self.samples: Dataset[Tensor] = Points()
        self.identity = {"data": "points"}
        self.about = {"drawn": "from a line"}
        self.calls, self.broken, self.steep, self.seconds = 0, broken, steep, seconds

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        return [{"params": list(self.model.parameters()), "lr": learning_rate}]

    def prepare(self, fabric: object, progress: object) -> None:
        pass

    def train_mode(self) -> None:
        self.model.train()

    def loss(self, batch: Tensor) -> tuple[Tensor, dict[str, float]]:
        time.sleep(self.seconds)
        self.calls += 1
        error = self.model(batch) - batch @ torch.tensor(GOAL)
        loss = error.square().mean()
        if self.calls == self.broken:
            loss = loss * float("nan")
        if self.calls == self.steep:
            loss = (loss - loss.detach()).abs().sqrt()  # 0, with a gradient of infinity times zero
        return loss, {"worst": error.detach().abs().max().item()}

    def pictures(self, model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        return {"points": torch.zeros((3, 4, 8), dtype=torch.uint8)}


if __name__ == "__main__":
    config = line_config(**json.loads(sys.argv[2]))
    is_last = int(os.environ.get("LOCAL_RANK", "0")) == config.devices - 1
    broken = int(sys.argv[4]) if is_last and len(sys.argv) > 4 else None
    try:
        train(LineTask(seconds=float(sys.argv[3]), broken=broken), config, Path(sys.argv[1]))
    except ProEngineError as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(9)
