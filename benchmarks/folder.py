"""A folder of photos by this tree and by another one, in turn: seconds a photo, processor seconds, memory.

    git worktree add OLD COMMIT; python benchmarks/folder.py --before OLD [--photos 6] [--size 4000x3000] [--runs 2]
    python benchmarks/folder.py --photos 1000 --size 320x240 --watch 1,100,500,990     # does memory grow?

Every run is `pro-engine infer FOLDER --model MODEL --maps png16,exr --dtype float32` from a cold start, with one photo
and with as many as each number says: the difference is what the others take once the program has started. Memory is the
most that the process held; with --watch what it holds when so many photos are done.
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


def begin(tree: Path, photos: Path, model: str, out: str) -> subprocess.Popen[bytes]:
    """A run that has begun."""
    command = [sys.executable, "-m", "pro_engine", "infer", str(photos), "-o", out]
    command += ["--model", model, "--maps", "png16,exr", "--dtype", "float32"]
    return subprocess.Popen(command, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}, stdout=subprocess.DEVNULL)


def watch(tree: Path, photos: Path, model: str, counts: Sequence[int]) -> None:
    """Print what a run holds, and its processor seconds, when so many photos are done (Linux)."""
    print("| photos done | MB held | processor s |\n|---|---|---|")
    waiting = list(counts)
    with tempfile.TemporaryDirectory() as out:
        process = begin(tree, photos, model, out)
        while process.poll() is None:
            done = sum(1 for _ in Path(out).glob("*.exr"))
            if waiting and done >= waiting[0]:
                waiting.pop(0)
                pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
                ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
                seconds = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
                print(f"| {done} | {pages * os.sysconf('SC_PAGE_SIZE') / 2**20:.0f} | {seconds:.1f} |", flush=True)
            time.sleep(0.1)


def infer(tree: Path, photos: Path, model: str) -> Run:
    """Of one run."""
    with tempfile.TemporaryDirectory() as out:
        begun = time.perf_counter()
        process = begin(tree, photos, model, out)
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
    parser.add_argument("--watch", default="")
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
        if chosen.watch:
            watch(trees["now"], folder, chosen.model, [int(count) for count in chosen.watch.split(",")])
            return
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
