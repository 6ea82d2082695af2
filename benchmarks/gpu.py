"""The page of a GPU: seconds for a photo and the GPU's memory, by model and number format.

    python benchmarks/gpu.py [--cpu] [--models compact,hybrid,small] [--dtypes float32,bfloat16,float16]

`small` is Depth Anything V2 small with the published refiner, both with random weights. A model infers the made 4K
picture twice, and then `runs` times; the median is printed, with its phases. Memory is the most that PyTorch held on
the GPU, weights included. `far` is the mean distance of a map from that of the first format, as a share of its range.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch
from pairs import PHASES, predictor_of, processor

from pro_engine.errors import ProEngineError
from pro_engine.jobs.bench import sample_picture
from pro_engine.options import InferenceOptions
from pro_engine.types import FloatMap

HEADER = f"| model | dtype | s | {' | '.join(PHASES)} | MB | far, % |\n|" + "---|" * (5 + len(PHASES))


def device_name(device: torch.device) -> str:
    """What the table is of."""
    if device.type != "cuda":
        return processor()
    return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, PyTorch {torch.__version__}"


def row(
    model: str, dtype: str, device: torch.device, picture: tuple[int, int], runs: int
) -> tuple[list[str], FloatMap]:
    """The cells of a model in a number format, and its map (H, W)."""
    predictor, photo = predictor_of(model, str(device), dtype), sample_picture(*picture)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    found = []
    for _ in range(2 + runs):
        begun = time.perf_counter()
        result = predictor.infer(photo, options=InferenceOptions())  # the map lies on the processor when it is done
        found.append({"all": time.perf_counter() - begun, **result.timings})
    seconds = [f"{median(one.get(name, 0) for one in found[2:]):.3f}" for name in ("all", *PHASES)]
    held = f"{torch.cuda.max_memory_allocated(device) / 1e6:.0f}" if device.type == "cuda" else "–"
    return [model, dtype, *seconds, held], result.disparity


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table; a model that the device does not hold is named, and the others are done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="the same on the processor")
    parser.add_argument("--models", default="compact,hybrid,small")
    parser.add_argument("--dtypes", default="float32,bfloat16,float16")
    parser.add_argument("--size", default="3840x2160")
    parser.add_argument("--runs", type=int, default=10)
    chosen = parser.parse_args(arguments)
    device = torch.device("cpu" if chosen.cpu else "cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch sees no CUDA GPU here; run this where there is one, or give --cpu.")
    width, height = map(int, chosen.size.split("x"))
    print(f"{device_name(device)}; {chosen.size}, median of {chosen.runs}\n\n{HEADER}")
    for model in chosen.models.split(","):
        first: FloatMap | None = None
        for dtype in chosen.dtypes.split(","):
            try:
                cells, disparity = row(model, dtype, device, (height, width), chosen.runs)
            except ProEngineError as error:
                print(f"| {model} | {dtype} | {error} |" + " |" * (2 + len(PHASES)), flush=True)
                continue
            first = disparity if first is None else first
            far = float(np.abs(disparity - first).mean() / max(float(np.ptp(first)), 1e-12))
            print(f"| {' | '.join(cells)} | {100 * far:.2f} |", flush=True)


if __name__ == "__main__":
    main()
