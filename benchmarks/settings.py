"""One 4K picture under different settings, each beside the floor of its own, the same Ψ passes alone:

    python benchmarks/settings.py [--size 3840x2160] [--runs 3] [--only threads,dtype,grid,onnx,compile]

Every row is of one run of this program; where a row does not say otherwise, on one processor core, in float32 and with
a grid of 4x4. `compile` compiles the two networks with torch.compile, which takes minutes and a C++ compiler; `onnx`
needs the extra `onnx`. Linux only.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.jobs.bench import run_bench, sample_picture
from pro_engine.jobs.kept_memory import prepare
from pro_engine.models.int8 import int8_supported
from pro_engine.models.refiner_light import LightRefiner
from pro_engine.options import InferenceOptions
from pro_engine.types import ImageArray

PARTS = ("threads", "dtype", "grid", "onnx", "compile")
GRIDS = ((2, 2), (3, 3), (6, 6), (8, 8))
HEADER = (
    "| setting | Ψ passes | floor s | total s | total / floor | refiner's share | patches / s | first row / total |\n"
    "|---|---|---|---|---|---|---|---|"
)


def use_threads(count: int) -> None:
    """Leave this process so many processor cores, for PyTorch and for everything else."""
    os.sched_setaffinity(0, list(range(os.cpu_count() or 1))[:count])
    torch.set_num_threads(count)


def compiled() -> DepthPredictor:
    """The bundled model with both networks compiled; what has no weights stays as it is."""
    predictor = load_model("compact", device="cpu")
    assert isinstance(predictor.refiner, LightRefiner)
    predictor.psi.compile()
    predictor.refiner.residual = torch.compile(predictor.refiner.residual)  # type: ignore[method-assign]
    return predictor


def settings(parts: Sequence[str], folder: Path) -> Iterator[tuple[str, DepthPredictor, InferenceOptions]]:
    """Name, model and options of each row; the number of threads is set when a row is asked for."""
    grid = InferenceOptions(tiles=(4, 4))
    use_threads(1)
    plain = load_model("compact", device="cpu")
    yield "1 core", plain, grid
    if "threads" in parts and (os.cpu_count() or 1) > 1:
        use_threads(2)
        yield "2 cores", plain, grid
        use_threads(1)
    if "dtype" in parts:
        yield "bfloat16", load_model("compact", device="cpu", dtype="bfloat16"), grid
        if int8_supported():
            yield "int8", load_model("compact", device="cpu", dtype="int8"), grid
    if "grid" in parts:
        for tiles in GRIDS:
            yield f"{tiles[0]}x{tiles[1]} patches", plain, InferenceOptions(tiles=tiles)
    if "onnx" in parts:
        from pro_engine.jobs.export import export_onnx

        export_onnx(plain, folder)
        yield "ONNX Runtime", load_model("compact", device="cpu", backend="onnxruntime", weights=folder), grid
    if "compile" in parts:
        yield "torch.compile", compiled(), grid


def row(
    name: str, predictor: DepthPredictor, options: InferenceOptions, picture: ImageArray, runs: int
) -> tuple[list[str], float]:
    """The cells of a row but for the last one, and its total in seconds."""
    begun = time.monotonic()
    predictor.infer(picture, options=options)  # what is made once, like compiled code
    print(f"{name}: first picture after {time.monotonic() - begun:.1f} s", file=sys.stderr)
    report = run_bench(predictor, picture, options, load_seconds=0.0, runs=runs, warm_up=0)
    patches, total = report.tiles[0] * report.tiles[1], report.total.median
    share = report.phases["refiner"].median / total
    figures = (f"{report.floor.median:.2f}", f"{total:.2f}", f"{report.ratio:.2f}", f"{share:.0%}")
    return [name, str(patches + 1), *figures, f"{patches / total:.1f}"], total


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="3840x2160")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default=",".join(PARTS[:-1]))
    chosen = parser.parse_args(arguments)
    prepare()
    width, height = map(int, chosen.size.split("x"))
    picture, first = sample_picture(height, width), 0.0
    print(HEADER, flush=True)
    with TemporaryDirectory() as folder:
        for name, predictor, options in settings(chosen.only.split(","), Path(folder)):
            cells, total = row(name, predictor, options, picture, chosen.runs)
            first = first or total
            print(f"| {' | '.join(cells)} | {first / total:.2f} |", flush=True)


if __name__ == "__main__":
    main()
