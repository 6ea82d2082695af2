"""What the presets take on this machine beside what `expected_cost` tells before a run.

    OMP_NUM_THREADS=1 python benchmarks/cost.py [NAME ...] [--size 2000x1500] [--grid 2x2]

Every preset has random weights and a process of its own. Seconds are processor time of one photo on one thread, which
other programs disturb less than wall time; memory is the most that the process held. Operations are of the pass over
the whole photo, which has to be 4:3 as in the table.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from pro_engine.inference.cost import expected_cost
from pro_engine.inference.load import fine_preset
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.jobs.bench import sample_picture
from pro_engine.models.contract import PsiOutput
from pro_engine.models.presets import PRESETS, build_psi
from pro_engine.models.refiner_maps import MapRefiner
from pro_engine.options import InferenceOptions, ModelOptions


class CountedPass(FlopCounterMode):
    """Counts the operations of the pass over the whole picture, those of attention included."""

    def __init__(self, predictor: DepthPredictor) -> None:
        own = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
        super().__init__(display=False, custom_mapping=own)
        self._whole = predictor.psi.whole
        predictor.psi.whole = self.whole  # type: ignore[method-assign]

    def whole(self, image: Tensor, aspect: float) -> PsiOutput:
        """In place of the Ψ's own."""
        with self:
            return self._whole(image, aspect)


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    count: int = sdpa_flop_count(query, key, value)  # type: ignore[no-untyped-call]
    return count


def measure(name: str, size: tuple[int, int], tiles: tuple[int, int]) -> dict[str, float]:
    """Operations of a pass, processor seconds and gigabytes of one photo in this process, and what is told before."""
    torch.manual_seed(0)
    psi = build_psi(PRESETS[name])
    other = fine_preset(PRESETS[name], ModelOptions.fine, sum(p.numel() for p in psi.parameters()), torch.device("cpu"))
    fine = None if other is None else build_psi(other)
    predictor = DepthPredictor(psi, MapRefiner(), fine=fine, name=name, device="cpu")
    counted = CountedPass(predictor)
    options, image = InferenceOptions(tiles=tiles), sample_picture(*size)
    begun = time.process_time()
    predictor.infer(image, options=options)
    told = expected_cost(ModelOptions(name, device="cpu"), options, size)
    return {
        "gflop": counted.get_total_flops() / 1e9,
        "seconds": time.process_time() - begun,
        "told_seconds": told.seconds,
        "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "told_gb": told.memory_bytes / 1e9,
    }


def main() -> None:
    """Print a row for every preset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="presets; all but depth-pro, which takes 9 GB")
    parser.add_argument("--size", default="2000x1500", help="width and height of the photo")
    parser.add_argument("--grid", default="2x2", help="rows and columns of patches")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    rows, columns = map(int, given.grid.split("x"))
    if given.one:
        print(json.dumps(measure(given.names[0], (height, width), (rows, columns))))
        return
    print("| model | GFLOP a pass, told | counted | seconds, told | measured | GB, told | measured |")
    print("|---|---|---|---|---|---|---|")
    for name in given.names or [name for name in PRESETS if name != "depth-pro"]:
        again = [sys.executable, __file__, name, "--size", given.size, "--grid", given.grid, "--one"]
        done = subprocess.run(again, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| `{name}` | {PRESETS[name].effort.gflop:g} | {found['gflop']:.1f} | {found['told_seconds']:.1f} "
            f"| {found['seconds']:.1f} | {found['told_gb']:.2f} | {found['gb']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
