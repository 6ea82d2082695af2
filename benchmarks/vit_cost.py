"""What the ViT Ψ costs on one thread of this processor: its trunk alone, all of it, and a training sample.

    OMP_NUM_THREADS=1 python benchmarks/vit_cost.py

CPU-seconds per picture, the least of three: 392x294 pixels (588 tokens) alone, 280x210 (300 tokens) in a step of 12.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from pro_engine.models.vit import VitDepth
from pro_engine.training.losses import base_loss


def cpu_seconds(call: Callable[[], object], calls: int = 3) -> float:
    """The least of several calls after one to warm up."""
    call()
    taken = []
    for _ in range(calls):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    network = VitDepth().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = torch.rand(1, 3, 294, 392).contiguous(memory_format=torch.channels_last)
    batch, label = torch.rand(12, 3, 210, 280), torch.rand(12, 210, 280)

    def step() -> None:
        loss, _ = base_loss(network(batch).disparity[:, 0].float(), label)
        loss.backward()

    print("| arithmetic | trunk, 588 tokens | all, 588 tokens | training sample, 300 tokens |\n|---|---|---|---|")
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            with torch.inference_mode():
                trunk, whole = cpu_seconds(lambda: network.trunk(image)), cpu_seconds(lambda: network(image))
            sample = cpu_seconds(step) / len(batch)
        print(f"| {'bfloat16' if half else 'float32'} | {trunk:.3f} | {whole:.3f} | {sample:.3f} |", flush=True)


if __name__ == "__main__":
    main()
