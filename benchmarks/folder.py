"""A folder of photos by this tree and by another one, in turn: seconds a photo, processor seconds, memory.

    git worktree add OLD COMMIT; python benchmarks/folder.py --before OLD [--photos 6] [--size 4000x3000] [--runs 2]
    python benchmarks/folder.py --photos 10,40 --size 1000x1000 --runs 1     # does memory grow?

Every run is `pro-engine infer FOLDER --model MODEL --maps png16,exr --dtype float32` from a cold start, with one photo
and with as many as each number says: the difference is what the others take once the program has started. Memory is the
most that the process held.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from PIL import Image

PHOTO = Path(__file__).parents[1] / "docs/photos/dandelion.jpg"


class Run(NamedTuple):
    """Seconds, seconds of all processors, and MB at the peak."""

    seconds: float
    processor: float
    peak: float


def infer(tree: Path, photos: Path, model: str) -> Run:
    """Of one run."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "pro_engine", "infer", str(photos), "-o", out]
        command += ["--model", model, "--maps", "png16,exr", "--dtype", "float32"]
        begun = time.perf_counter()
        process = subprocess.Popen(command, cwd=tree, env=environment, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
    if status:
        raise SystemExit("The run failed; its message is above.")
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", type=Path)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--photos", default="6")
    parser.add_argument("--size", default="4000x3000")
    parser.add_argument("--runs", type=int, default=2)
    chosen = parser.parse_args(arguments)
    trees = {"before": chosen.before} if chosen.before else {}
    trees["now"] = Path(__file__).parents[1]
    found: dict[tuple[str, int], list[Run]] = {}
    with tempfile.TemporaryDirectory() as work:
        folders = {count: Path(work) / str(count) for count in (1, *map(int, chosen.photos.split(",")))}
        for count, folder in folders.items():
            folder.mkdir()
            with Image.open(PHOTO) as picture:
                photo = np.asarray(picture.resize(tuple(map(int, chosen.size.split("x")))))
            for n in range(count):
                Image.fromarray(np.roll(photo, 40 * n, 1)).save(folder / f"{n:04d}.jpg", quality=92)
        for _ in range(chosen.runs):
            for name, tree in trees.items():
                for count, folder in folders.items():
                    found.setdefault((name, count), []).append(infer(tree, folder, chosen.model))
    print("| tree | photos | s | processor s | s a further photo | peak MB |\n|---|---|---|---|---|---|")
    for (name, count), runs in found.items():
        first = found[name, 1]
        further = median((a.seconds - b.seconds) / max(1, count - 1) for a, b in zip(runs, first, strict=True))
        cells = [f"{median(column):.2f}" for column in zip(*(run[:2] for run in runs), strict=True)]
        print(f"| {name} | {count} | {' | '.join(cells)} | {further:.2f} | {max(run.peak for run in runs):.0f} |")


if __name__ == "__main__":
    main()
