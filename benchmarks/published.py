"""PRO as published, in its real size: Depth Anything V2 and the published refiner, both with random weights.

    python benchmarks/published.py [--size small] [--device cpu] [--runs 2]

Times do not depend on what the weights are. Printed are the table of `pro-engine bench` for a 4K picture in 4x4
patches, and the share of the refiner: the time of sampling and refining over that of Ψ on the patches.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import get_args

import torch

from pro_engine.cli.output import print_table
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.jobs.bench import run_bench, sample_picture
from pro_engine.jobs.kept_memory import prepare
from pro_engine.models.depth_anything import DepthAnything, Size
from pro_engine.models.refiner_published import ProRefiner
from pro_engine.options import InferenceOptions, ModelOptions, choices_of

HEIGHT, WIDTH, GRID = 2160, 3840, (4, 4)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=get_args(Size), default="small")
    parser.add_argument("--device", default=ModelOptions.device)
    parser.add_argument("--dtype", choices=choices_of(ModelOptions, "dtype"), default=ModelOptions.dtype)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--batch", type=int, help="patches at a time instead of what fits")
    chosen = parser.parse_args(arguments)
    prepare()
    begun_s = time.perf_counter()
    torch.manual_seed(0)
    psi = DepthAnything.from_size(chosen.size)
    refiner = ProRefiner(psi.spec.feature_channels, start="coarse")
    predictor = DepthPredictor(psi, refiner, name=chosen.size, device=chosen.device, dtype=chosen.dtype)
    load_s = time.perf_counter() - begun_s
    options = InferenceOptions(tiles=GRID, batch_size=chosen.batch or InferenceOptions.batch_size)
    picture = sample_picture(HEIGHT, WIDTH)
    report = run_bench(predictor, picture, options, load_seconds=load_s, runs=chosen.runs)
    print(report.title())
    print_table(("", ""), report.rows())
    print(f"refiner and sampling / Ψ: {report.phases['refiner'].median / report.phases['patches'].median:.2f}")


if __name__ == "__main__":
    main()
