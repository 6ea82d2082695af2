"""From a photo to the file of its mesh: the surface without holes beside the torn one, in turn.

    python benchmarks/surface_time.py [--photo PHOTO] [--width 3840] [--runs 2] [--model NAME]

Every run is `pro-engine infer PHOTO --near 1 --far 20 --mesh glb --surface KIND` from a cold start. The photo is
enlarged or reduced to the width. "s" is the clock, "processor s" of all processors; "write" is the part of the clock
in which metres, mesh and files are made. The last column is processor seconds beside the torn surface's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from PIL import Image

from pro_engine.jobs.options import JobOptions
from pro_engine.options import choices_of

PHOTO = Path(__file__).parents[1] / "docs/photos/dandelion.jpg"
KINDS = tuple(reversed(choices_of(JobOptions, "surface")))  # the torn one first


class Run(NamedTuple):
    """Seconds, seconds of all processors, seconds of writing; vertices in thousands, MB of the file."""

    seconds: float
    processor: float
    write: float
    vertices: float
    size: float


def infer(photo: Path, kind: str, model: str | None) -> Run:
    """Of one run."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "pro_engine", "infer", str(photo), "-o", out, "--json"]
        command += ["--near", "1", "--far", "20", "--mesh", "glb", "--surface", kind]
        command += [] if model is None else ["--model", model]
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        told = json.loads(process.stdout.read())["results"][0]
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        if status:
            raise SystemExit("The run failed; its message is above.")
        mesh = next(Path(output["path"]) for output in told["outputs"] if output["kind"] == "mesh")
        vertices, size = vertices_of(mesh), mesh.stat().st_size
    return Run(seconds, used.ru_utime + used.ru_stime, told["timings"]["write"], vertices / 1e3, size / 1e6)


def vertices_of(mesh: Path) -> int:
    """Of all meshes of a .glb, from the JSON that it begins with."""
    with mesh.open("rb") as file:
        length = int.from_bytes(file.read(20)[12:16], "little")
        tree = json.loads(file.read(length))
    primitives = [primitive for mesh in tree["meshes"] for primitive in mesh["primitives"]]
    return sum(tree["accessors"][primitive["attributes"]["POSITION"]]["count"] for primitive in primitives)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photo", type=Path, default=PHOTO)
    parser.add_argument("--width", type=int, default=3840)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--model")
    given = parser.parse_args(arguments)
    found: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as work:
        photo = Path(work) / f"{given.photo.stem}.png"
        with Image.open(given.photo) as picture:
            height = round(picture.height * given.width / picture.width)
            picture.convert("RGB").resize((given.width, height), Image.Resampling.LANCZOS).save(photo)
        for _ in range(given.runs):
            for kind, runs in found.items():
                runs.append(infer(photo, kind, given.model))
    print("| surface | s | processor s | write s | 1000 vertices | MB | beside torn |\n|---|---|---|---|---|---|---|")
    torn = median(run.processor for run in found["torn"])
    for kind, runs in found.items():
        cells = [f"{median(column):.1f}" for column in zip(*runs, strict=True)]
        print(f"| {kind} | {' | '.join(cells)} | {median(run.processor for run in runs) / torn:.2f} |")


if __name__ == "__main__":
    main()
