"""SIGINT and SIGTERM at random moments of a job that writes every format:

    python benchmarks/kills.py [--seed 0] [--count 40]

Half of the signals come at any moment from the start of the process, half from the first file on. What must hold after
each is the exit code, one sentence, valid JSON, no hidden file, and that every file that is there loads. The last job
is then finished with `--existing skip`, and must give what a job gives that nobody stopped. POSIX only.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from pro_engine.io.depth import DEPTH_SUFFIXES, load_depth
from pro_engine.jobs.options import CLOUD_FORMATS, MAP_FORMATS, MESH_FORMATS

PHOTOS = 3
SIGNALS = (signal.SIGINT, signal.SIGTERM)
POLL_S = 0.005
FLAGS = [
    *("--offline", "--tiles", "1x1", "--near", "1", "--far", "9", "--stride", "4", "--preview", "--picture", "--json"),
    *("--maps", ",".join(MAP_FORMATS), "--mesh", ",".join(MESH_FORMATS), "--cloud", ",".join(CLOUD_FORMATS)),
]


@dataclass(frozen=True)
class Ended:
    """A job that a signal met, or that was done before. begun: whether there were results before the signal."""

    code: int
    stdout: str
    stderr: str
    begun: bool


def photos(folder: Path, seed: int) -> Path:
    """A folder of small photos."""
    folder.mkdir()
    for number in range(PHOTOS):
        noise = np.random.default_rng(seed + number).integers(0, 256, (12, 16, 3), np.uint8)
        Image.fromarray(noise).resize((320, 240), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def start(source: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """The command, as people call it."""
    command = [sys.executable, "-m", "pro_engine", "infer", str(source), "-o", str(out), *FLAGS, *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def seconds_of(source: Path, out: Path, *more: str) -> tuple[float, float]:
    """How long a job takes that nobody stops: until its first file, and from there to the end."""
    begun = time.monotonic()
    job = start(source, out, *more)
    until_written(job, out)
    first = time.monotonic()
    _, said = job.communicate()
    if job.returncode:
        raise SystemExit(f"The job that nobody stops ended with {job.returncode}: {said}")
    return first - begun, time.monotonic() - first


def until_written(job: subprocess.Popen[str], out: Path) -> None:
    """Wait for the first result, or for the end."""
    while job.poll() is None and not (out.is_dir() and any(out.iterdir())):
        time.sleep(POLL_S)


def stopped(source: Path, out: Path, number: int, wait_s: float, from_first: bool) -> Ended:
    """A job that gets a signal after a time, counted from its start or from its first result."""
    job = start(source, out)
    if from_first:
        until_written(job, out)
    time.sleep(wait_s)
    begun = out.is_dir() and any(out.iterdir())
    job.send_signal(number)
    stdout, stderr = job.communicate()
    return Ended(job.returncode, stdout, stderr, begun)


def faults(ended: Ended, number: int, out: Path) -> list[str]:
    """What is wrong after a signal, a sentence each."""
    files = sorted(path for path in out.rglob("*") if path.is_file()) if out.is_dir() else []
    found = [f"{path.name} is left" for path in files if path.name.startswith(".")]
    found += [f"{path.name} does not load: {why}" for path in files if (why := why_not(path))]
    if ended.code == 0:
        return found + ([] if json.loads(ended.stdout)["stopped"] is False else ["stopped, and exit code 0"])
    if ended.code == -number and not ended.begun and not ended.stdout:
        return found  # before Python could listen
    if ended.code != 128 + number:
        found.append(f"exit code {ended.code}")
    told = re.findall(r"^Stopped(?:: (\d+) of \d+ photos are done)?\.$", ended.stderr, re.MULTILINE)
    if len(told) != 1 or "Traceback" in ended.stderr:
        found.append(f"said {ended.stderr!r}")
    elif ended.begun or ended.stdout:  # a signal before the command is understood leaves stdout empty
        try:
            document = json.loads(ended.stdout)
            if document["stopped"] is not True or str(len(document["results"])) != told[0]:
                found.append("JSON and sentence differ")
        except ValueError:
            found.append(f"no JSON but {ended.stdout[:80]!r}")
    return found


def why_not(path: Path) -> str:
    """Why a file cannot be read; "" if it can."""
    try:
        reader(path)(path)
    except Exception as error:  # readers of cut files raise anything
        return f"{type(error).__name__} {error}"
    return ""


def reader(path: Path) -> Callable[[Path], object]:
    """What reads a result."""
    kind = path.name.split(".")[1]
    if path.suffix == ".json":
        return lambda path: json.loads(path.read_text(encoding="utf-8"))
    if kind in ("disparity", "depth") and path.suffix in DEPTH_SUFFIXES:
        return load_depth
    if path.suffix in (".png", ".jpg"):
        return lambda path: Image.open(path).load()
    if path.suffix == ".pcd":
        return read_pcd
    if path.suffix == ".mtl":
        return lambda path: path.read_text(encoding="utf-8").index("map_Kd")
    return lambda path: trimesh.load(path, process=False)


def read_pcd(path: Path) -> None:
    """Raise ValueError unless there are as many points as announced."""
    head, data = path.read_bytes().split(b"DATA binary\n", 1)
    points = int(head.split(b"POINTS ")[1].split()[0])
    if len(data) != 16 * points:
        raise ValueError(f"{len(data)} bytes for {points} points")


def contents(folder: Path) -> dict[str, bytes]:
    """The results; records tell when files were written."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}


def main() -> int:
    """Stop jobs, print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=40)
    asked = parser.parse_args()
    dice, table, wrong = random.Random(asked.seed), Counter[tuple[str, str, int]](), 0
    with tempfile.TemporaryDirectory() as work:
        source = photos(Path(work, "photos"), asked.seed)
        whole = Path(work, "whole")
        first_s, rest_s = seconds_of(source, whole)
        print(
            f"{PHOTOS} photos, {len(contents(whole))} files; first one after {first_s:.1f} s, the rest {rest_s:.1f} s"
        )
        for at in range(asked.count):
            number, from_first = SIGNALS[at // 2 % 2], at % 2 == 1
            wait_s = dice.uniform(0, rest_s if from_first else first_s + rest_s)
            out = Path(work, str(at))
            ended = stopped(source, out, number, wait_s, from_first)
            table[
                signal.Signals(number).name, "from the first file" if from_first else "from the start", ended.code
            ] += 1
            for fault in faults(ended, number, out):
                wrong += 1
                print(f"{at}: {signal.Signals(number).name} after {wait_s:.2f} s: {fault}")
        seconds_of(source, out, "--existing", "skip")
        if contents(out) != contents(whole):
            wrong += 1
            print("The last job, finished with --existing skip, differs from one that nobody stopped")
    print(f"{'signal':8} {'moment':20} {'exit code':>9} {'jobs':>5}")
    for (name, moment, code), jobs in sorted(table.items()):
        print(f"{name:8} {moment:20} {code:9} {jobs:5}")
    print(f"{wrong} faults in {asked.count} jobs")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
