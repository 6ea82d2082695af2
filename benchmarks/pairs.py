"""Number formats and commits against each other: one 4K picture, processor seconds of one thread, in pairs.

    python benchmarks/pairs.py [--model compact|small] [--rows float32,bfloat16,int8] [--tiles 4x4] [--runs 5]
    git worktree add OLD COMMIT; python benchmarks/pairs.py --before OLD --rows before:auto,auto

A row is a dtype, of this tree or with `before:` of the other one. Each row is a process of its own; all infer the same
picture in turn, `runs` times, and every time is divided by that of the first row in the same round, so that what else
the machine does concerns all alike. `small` is Depth Anything V2 small with the published refiner, both with random
weights. Printed: the medians, by phase, and the most memory that each process held.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from pro_engine.jobs.options import BenchInference
from pro_engine.options import ModelOptions

if TYPE_CHECKING:
    from pro_engine.inference.predictor import DepthPredictor

HEADER = "| row | s | of the first | preprocess | coarse | patches | refiner | canvas | peak MiB |\n|" + "---|" * 9
PHASES = ("preprocess", "coarse", "patches", "refiner", "canvas")
FEATURES = ("avx2", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


def predictor_of(model: str, device: str, dtype: str) -> DepthPredictor:
    """A model by name, or `small`, which the module docstring explains."""
    import torch

    from pro_engine.inference.load import load_model
    from pro_engine.inference.predictor import DepthPredictor
    from pro_engine.models.depth_anything import DepthAnything
    from pro_engine.models.refiner_published import ProRefiner

    if model != "small":
        return load_model(model, device=device, dtype=dtype)
    torch.manual_seed(0)
    psi = DepthAnything.from_size("small")
    return DepthPredictor(psi, ProRefiner(psi.spec.feature_channels, start="coarse"), device=device, dtype=dtype)


def serve(model: str, dtype: str, tiles: tuple[int, int], file: Path) -> None:
    """Infer a picture, a file of numpy, once for every line on stdin and answer with a line of JSON; runs in either
    tree."""
    import torch

    from pro_engine.inference import runtime
    from pro_engine.jobs.kept_memory import prepare
    from pro_engine.options import InferenceOptions

    prepare()
    torch.set_num_threads(1)
    predictor = predictor_of(model, "cpu", dtype)
    runtime.time.perf_counter = time.process_time  # type: ignore[attr-defined]  # phases in processor time, too
    picture, options = np.load(file), InferenceOptions(tiles=tiles, batch_size=1)
    predictor.infer(picture, options=options)
    print("ready", flush=True)
    for _ in sys.stdin:
        begun = time.process_time()
        result = predictor.infer(picture, options=options)
        seconds = time.process_time() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"total": seconds, "peak": peak, **{n: result.timings.get(n, 0) for n in PHASES}}), flush=True)


class Row:
    """A process that infers when it is asked to."""

    def __init__(self, name: str, before: Path | None, arguments: Sequence[str]) -> None:
        self.name, self.found = name, list[dict[str, float]]()
        other, _, dtype = name.rpartition(":")
        tree = before if other else Path(__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", dtype, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tree,
        )
        assert self._process.stdout is not None and self._process.stdin is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        if self._from.readline() != "ready\n":
            raise SystemExit(f"The process of {name} did not begin; its message is above.")

    def once(self) -> None:
        """Infer."""
        print(file=self._to, flush=True)
        self.found.append(json.loads(self._from.readline()))

    def cells(self, first: Row) -> list[str]:
        """Of the table."""
        ratio = median(one["total"] / other["total"] for one, other in zip(self.found, first.found, strict=True))
        middle = {name: median(one[name] for one in self.found) for name in ("total", *PHASES)}
        phases = [f"{middle[name]:.2f}" for name in PHASES]
        return [self.name, f"{middle['total']:.2f}", f"{ratio:.2f}", *phases, f"{self.found[-1]['peak']:.0f}"]

    def end(self) -> None:
        """End the process."""
        self._to.close()
        self._process.wait()


def processor() -> str:
    """The processor and those of its features that matter, in a line."""
    import torch

    has = torch.cpu.get_capabilities()
    named = [feature for feature in FEATURES if has.get(feature)]
    return f"{has.get('cpu_name') or platform.processor()}: {', '.join(named) or 'none of the features that matter'}"


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=ModelOptions.name)
    parser.add_argument("--rows", default="float32,bfloat16,int8")
    parser.add_argument("--before", type=Path)
    parser.add_argument("--tiles", default="x".join(map(str, BenchInference().tiles)))
    parser.add_argument("--size", default="3840x2160")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--picture", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.serve:
        rows, columns = map(int, chosen.tiles.split("x"))
        serve(chosen.model, chosen.serve, (rows, columns), chosen.picture)
        return
    from pro_engine.jobs.bench import sample_picture  # imports torch, which the rows do later

    width, height = map(int, chosen.size.split("x"))
    with TemporaryDirectory() as folder:  # made here, as what is needed to make it would count as memory of the rows
        picture = Path(folder) / "picture.npy"
        np.save(picture, sample_picture(height, width))
        given = ("--model", chosen.model, "--tiles", chosen.tiles, "--picture", str(picture))
        table = [Row(name, chosen.before, given) for name in chosen.rows.split(",")]
    for _ in range(chosen.runs):
        for row in table:
            row.once()
    print(f"{processor()}; {chosen.model}, {chosen.size} in {chosen.tiles} patches, median of {chosen.runs}\n")
    print(HEADER)
    for row in table:
        print(f"| {' | '.join(row.cells(table[0]))} |")
        row.end()


if __name__ == "__main__":
    main()
