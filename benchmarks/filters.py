"""What the gradient of the encoder's depthwise filters costs a training step of the base, on one thread.

    python benchmarks/filters.py [--steps 4]

Each figure is the least processor time of a step's two passes over several steps.
"""

from __future__ import annotations

import argparse

import torch
from torch import nn
from vit_cost import cpu_seconds

from pro_engine.models.compact import CompactDepth
from pro_engine.models.presets import PRESETS
from pro_engine.training.base import FROZEN_BLOCKS
from pro_engine.training.losses import base_loss

BATCH, SIZE = 16, (224, 320)


def seconds(steps: int, *, trained: bool, bfloat16: bool) -> float:
    """Least processor time of a step's two passes over several."""
    torch.manual_seed(0)
    network = CompactDepth(PRESETS["compact"].spec).train()
    network.encoder.freeze_front(FROZEN_BLOCKS)
    if not trained:
        network.encoder.freeze_filters()
    for module in network.encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.rand(BATCH, 3, *SIZE).contiguous(memory_format=torch.channels_last)
    target = torch.rand(BATCH, *SIZE)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            prediction = network(image).disparity
        base_loss(prediction[:, 0].float(), target)[0].backward()

    return cpu_seconds(step, steps)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=4)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    print("| arithmetic | filters trained s | filters left s |\n|---|---|---|")
    for name, bfloat16 in (("float32", False), ("bfloat16", True)):
        cells = [f"{seconds(steps, trained=trained, bfloat16=bfloat16):.2f}" for trained in (True, False)]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
