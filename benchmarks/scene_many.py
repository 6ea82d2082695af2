"""`pro-engine scene` over many large pictures: what it holds as it goes, a kill in the middle, a broken picture.

    pro-engine train scenes --out FOLDER --count 2 --seed 0 --orbit 12 --size 960x720
    python benchmarks/scene_many.py FOLDER/scene_000001 --work WORK [--count 200] [--size 4000x3000] [--flags ...]

The reconstruction has the true poses of the orbit, and points on the true surface with their tracks. Its views are
those of the orbit over and over, enlarged: memory and time are measured, not geometry. (Scene 0 is glossy: its maps
are the wrong way round, and most of them refused.) One picture is cut in half. The process gets SIGKILL when a third of
the maps are there, and the same command is given again. Printed are what the process holds at some counts of maps and
at most in each of the two steps that follow, and the peak; then what must hold: no map was made twice, all but the
broken picture have one, and the messages name that picture alone. POSIX only.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pro_engine.io.depth import load_depth
from pro_engine.io.reconstruction import Reconstruction, View, load_reconstruction
from pro_engine.io.scene_files import write_colmap_model

PER_VIEW = 150  # points that are placed on the surface that a view sees
SEEN = 0.01  # relative difference from the true depth up to which a view sees a point
POLL_S = 0.2

Array = np.ndarray[Any, np.dtype[Any]]


def true_points(orbit: Reconstruction, depths: Sequence[Array]) -> Array:
    """(M, 3) on the surface that the views see, in the world."""
    rng, found = np.random.default_rng(0), []
    for view, depth in zip(orbit.views, depths, strict=True):
        k = view.lens.pinhole
        rows, columns = np.nonzero(np.isfinite(depth))
        chosen = rng.permutation(len(rows))[:PER_VIEW]
        z = depth[rows[chosen], columns[chosen]].astype(np.float64)
        x, y = (columns[chosen] - k.cx) / k.fx * z, (rows[chosen] - k.cy) / k.fy * z
        found.append((np.stack([x, y, z], axis=1) - view.pose[:, 3]) @ view.pose[:, :3])
    return np.concatenate(found)


def seen_by(view: View, depth: Array, xyz: Array) -> View:
    """The view with those of the points that it sees."""
    k = view.lens.pinhole
    there = xyz @ view.pose[:, :3].T + view.pose[:, 3]
    z = np.maximum(there[:, 2], 1e-9)
    pixels = there[:, :2] / z[:, None] * (k.fx, k.fy) + (k.cx, k.cy)
    column, row = np.rint(pixels).astype(int).T
    inside = (there[:, 2] > 0) & (column >= 0) & (column < k.width) & (row >= 0) & (row < k.height)
    points = np.flatnonzero(inside)
    points = points[np.abs(depth[row[points], column[points]] / z[points] - 1) < SEEN]
    return replace(view, pixels=pixels[points], depth=z[points], points=points)


def prepare(scene: Path, work: Path, count: int, size: tuple[int, int]) -> Path:
    """Write the reconstruction and its pictures; gives the broken one."""
    orbit = load_reconstruction(scene / "sparse/0")
    depths = [load_depth(scene / "depth" / Path(view.name).with_suffix(".npz"))[0] for view in orbit.views]
    xyz = true_points(orbit, depths)
    seen = [seen_by(view, depth, xyz).resized(*size) for view, depth in zip(orbit.views, depths, strict=True)]
    views = [replace(seen[number % len(seen)], name=f"{number:04d}.jpg") for number in range(count)]
    source = Reconstruction(work, "colmap", tuple(views), xyz, np.full(xyz.shape, 128, dtype=np.uint8))
    write_colmap_model(work / "sparse/0", source, views, [view.lens.pinhole for view in views])
    (work / "images").mkdir()
    for number, view in enumerate(orbit.views):
        with Image.open(scene / "images" / view.name) as picture:
            picture.resize(size, Image.Resampling.BICUBIC).save(work / "images" / f"{number:04d}.jpg", quality=92)
        for copy in range(number + len(seen), count, len(seen)):
            shutil.copy(work / "images" / f"{number:04d}.jpg", work / "images" / f"{copy:04d}.jpg")
    broken = work / "images" / f"{count // 2:04d}.jpg"
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    return broken


@dataclass
class Watched:
    """A run of the command: what it printed, the MB that it held at counts of maps, and at most by step."""

    code: int = 0
    output: str = ""
    held: dict[int, float] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)


def maps_of(work: Path) -> list[Path]:
    """The maps that are there; a file that a killed process had begun has a hidden name."""
    return [path for path in (work / "out/maps").glob("*.npz") if not path.name.startswith(".")]


def megabytes(process: subprocess.Popen[bytes]) -> float:
    """What a process holds; 0 once it has ended (Linux)."""
    try:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(work: Path, count: int, flags: Sequence[str], kill_at: int | None) -> Watched:
    """The command, until its end or until so many maps are there."""
    command = [sys.executable, "-m", "pro_engine", "scene", str(work / "sparse/0"), "--images", str(work / "images")]
    log, watched = work / "log.txt", Watched()
    marks = [count * part // 10 for part in range(1, 11)]
    with open(log, "wb") as stream:
        process = subprocess.Popen([*command, "-o", str(work / "out"), *flags], stdout=stream, stderr=stream)
        while process.poll() is None:
            done, now = len(maps_of(work)), megabytes(process)
            checked = len(list((work / "out/confidence").glob("*.png")))
            step = "infer" if not checked else "compare" if checked < count - 1 else "fuse"
            watched.steps[step] = max(watched.steps.get(step, 0.0), now)
            if done in marks and done not in watched.held:
                watched.held[done] = now
            if kill_at is not None and done >= kill_at:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(POLL_S)
        watched.code = process.wait()
    watched.output = log.read_text(encoding="utf-8", errors="replace")
    return watched


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="a folder that is not there yet")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--size", default="4000x3000")
    parser.add_argument("--flags", default="--refine none --surface ply")
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    given.work.mkdir(parents=True)
    broken = prepare(given.scene, given.work, given.count, (width, height))
    flags = shlex.split(given.flags)
    first = run(given.work, given.count, flags, given.count // 3)
    before = {path.name: path.stat().st_mtime_ns for path in maps_of(given.work)}
    begun = time.perf_counter()
    second = run(given.work, given.count, flags, None)
    seconds = time.perf_counter() - begun
    made = {path.name: path.stat().st_mtime_ns for path in maps_of(given.work)}
    twice = [name for name, when in before.items() if made.get(name) != when]
    kept = len(re.findall("is there already", second.output))
    named = [line for line in second.output.splitlines() if line.startswith("pro-engine:") or "error:" in line.lower()]
    print("| maps there | MB held |\n|---|---|")
    for done, held in (first.held | second.held).items():
        print(f"| {done} | {held:.0f} |")
    most = ", ".join(f"{step} {held:.0f}" for step, held in second.steps.items())
    print(f"most MB by step after the kill: {most}; {seconds:.0f} s; exit {first.code}, then {second.code}")
    print(f"maps before the kill {len(before)}, kept {kept}, made twice {len(twice)}; in the end {len(made)}")
    print(f"broken: {broken.name}; lines that complain: {named}")
    if twice or kept != len(before) or len(made) != given.count - 1 or second.code != 1:
        raise SystemExit("Work was done again, or not done.")


if __name__ == "__main__":
    main()
