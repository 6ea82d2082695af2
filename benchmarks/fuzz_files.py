"""Damaged files through the readers: none may crash, hang, give a wrong size in silence or take more memory than said.

    python benchmarks/fuzz_files.py [--seed 1] [--photos 3000] [--depths 1600] [--workers 2] [--keep FOLDER]
    python benchmarks/fuzz_files.py --seed 1 --case photos:1234     # one of them again, here, with its traceback

Small files of every kind are made (`fuzz_seeds.py`) and damaged (`fuzz_damage.py`), and worker processes read them,
with a limit on their address space and on the processor time of a file. A file is read, or refused by a ProEngineError
in one line that names it; all else is a fault:

- another exception, a crash, a text on the standard output, or more than 20 s of processor time;
- a size that no header of the file claims (`fuzz_sizes.py`), or, where only the end was cut off, other values than the
  whole file's;
- a peak of the whole process above 0.4 GB + 16 bytes for every pixel that a header claims and `max_pixels` allows.

The table has a row for every kind. Linux only. The exit code is 1 where there is a fault.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from fuzz_damage import Damage
from fuzz_seeds import Seed, depth_seeds, photo_seeds
from fuzz_sizes import claimed_sizes
from numpy.typing import NDArray

from pro_engine.errors import FileError, ProEngineError
from pro_engine.io.depth import load_depth
from pro_engine.io.image import read_photo
from pro_engine.io.video import open_video

MAX_PIXELS = 25_000_000
FIXED_BYTES, BYTES_A_PIXEL = 4e8, 16
_ADDRESS_SPACE = 3 << 30
_CPU_S = 20
_WALL_S = 300.0
_LONGEST_SENTENCE = 600
_CASES_A_WORKER = 400
_MB = 1e6
_GROUPS = ("photos", "depths")


@dataclass(frozen=True)
class Case:
    """One damaged file: which seed of the generator and which number of its group makes it again."""

    seed: int
    group: str
    number: int

    def __str__(self) -> str:
        return f"--seed {self.seed} --case {self.group}:{self.number}"


@dataclass(frozen=True)
class Outcome:
    """What became of a file; `fault` is empty where it was read or refused as it should be."""

    kind: str
    was_read: bool = False
    fault: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0


class Seeds:
    """The good files, and what becomes of them."""

    def __init__(self) -> None:
        self._groups = {"photos": photo_seeds(), "depths": depth_seeds()}

    def of(self, case: Case) -> Seed:
        """The good file of a case; the kinds take turns."""
        seeds = self._groups[case.group]
        return seeds[case.number % len(seeds)]

    def damaged(self, case: Case) -> tuple[Seed, bool]:
        """The damaged file, and whether it only lacks its end."""
        random = np.random.default_rng([case.seed, _GROUPS.index(case.group), case.number])
        data, beside, is_cut = Damage(random).apply(self.of(case), self._groups[case.group])
        return replace(self.of(case), data=data, beside=beside), is_cut


class Reader:
    """Reads damaged files, one after the other, in a folder for each group."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._seeds = folder, Seeds()
        self._whole: dict[Path, NDArray[np.generic]] = {}
        for group in _GROUPS:
            (folder / group).mkdir(exist_ok=True)

    def make(self, case: Case) -> tuple[Path, Seed, bool]:
        """The damaged file on the disk, its bytes, and whether it only lacks its end."""
        damaged, is_cut = self._seeds.damaged(case)
        return _written(self._folder / case.group / f"a{damaged.suffix}", damaged), damaged, is_cut

    def check(self, case: Case) -> Outcome:
        """Read a damaged file and judge what came of it."""
        path, damaged, is_cut = self.make(case)
        sizes = claimed_sizes(damaged.data, damaged.suffix)
        printed, values, fault = os.fstat(1).st_size, None, ""
        _reset_peak()
        start = time.process_time()
        try:
            values = read(path)
        except ProEngineError as error:
            fault = _bad_sentence(str(error), path)
        except Exception as error:
            fault = f"{type(error).__name__}: {error}"
        seconds, peak_bytes = time.process_time() - start, _peak_bytes()
        if values is not None:
            fault = self._wrong(case, values, sizes, is_cut)
        pixels = max((width * height for width, height in sizes if 0 < width * height <= MAX_PIXELS), default=0)
        if peak_bytes > FIXED_BYTES + BYTES_A_PIXEL * pixels:
            fault = fault or f"{peak_bytes / _MB:.0f} MB for {pixels / 1e6:.1f} megapixels"
        if os.fstat(1).st_size > printed:
            fault = fault or "printed on the standard output"
        return Outcome(damaged.kind, values is not None, fault, seconds, peak_bytes)

    def _wrong(self, case: Case, values: NDArray[np.generic], sizes: set[tuple[int, int]], is_cut: bool) -> str:
        """What is wrong with what was read; empty for nothing."""
        height, width = values.shape[:2]
        if (width, height) not in sizes:
            return f"read as {width} x {height}, but its headers say {sorted(sizes)}"
        if not is_cut:
            return ""
        seed = self._seeds.of(case)
        path = self._folder / case.group / f"{seed.kind}{seed.suffix}"
        if path not in self._whole:
            self._whole[path] = read(_written(path, seed))
        same = np.array_equal(values, self._whole[path], equal_nan=values.dtype.kind == "f")
        return "" if same else "cut short, but read, with other values"


def _written(path: Path, seed: Seed) -> Path:
    path.write_bytes(seed.data)
    for more, data in seed.beside.items():
        path.with_name(path.name + more).write_bytes(data)
    return path


def read(path: Path) -> NDArray[np.generic]:
    """A photo (H, W, 3), the first frame of a video whose frames are all read, or a depth map (H, W)."""
    if path.parent.name == "depths":
        return load_depth(path, max_pixels=MAX_PIXELS)[0]
    if path.suffix != ".mp4":
        return read_photo(path, max_pixels=MAX_PIXELS).image
    with open_video(path, max_pixels=MAX_PIXELS) as video:
        first = None
        for frame in video:
            image = frame.image()
            first = image if first is None else first
            if image.shape != first.shape:
                raise ValueError(f"a frame of {image.shape} after one of {first.shape}")
        if video.fault is not None:
            raise FileError(f"{path}: {video.fault}")
    assert first is not None
    return first


def _bad_sentence(message: str, path: Path) -> str:
    """What is wrong with a refusal; empty for nothing."""
    is_one = "\n" not in message and message.endswith(".") and len(message) <= _LONGEST_SENTENCE
    return "" if is_one and str(path) in message else f"refused with {message!r}"


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    return _status_bytes("VmHWM")


def _status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def work(pipe: Connection, folder: Path) -> None:
    """A worker: takes cases from the pipe and answers with outcomes, until the other end is closed."""
    for number in (1, 2):  # decoders write to both
        with open(folder / f"output{number}", "ab") as output:
            os.dup2(output.fileno(), number)
    logging.disable()
    warnings.simplefilter("ignore")
    reader = Reader(folder)
    limit = _status_bytes("VmSize") + _ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        used = int(time.process_time())
        resource.setrlimit(resource.RLIMIT_CPU, (used + _CPU_S, resource.RLIM_INFINITY))
        pipe.send(reader.check(case))


class _Worker:
    """A process that reads, and the case that it has."""

    def __init__(self, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        folder.mkdir(parents=True, exist_ok=True)
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=work, args=(other, folder), daemon=True)
        self._process.start()
        other.close()
        self.case: Case | None = None
        self.since, self.done = time.monotonic(), 0

    def give(self, case: Case) -> None:
        """Let it read a file."""
        self.pipe.send(case)
        self.case, self.since, self.done = case, time.monotonic(), self.done + 1

    def end(self) -> str:
        """Stop it; returns how it ended."""
        self.pipe.close()
        self._process.join(_CPU_S)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
            return "hung"
        code = self._process.exitcode
        if code == -signal.SIGXCPU:
            return f"took more than {_CPU_S} s of processor time"
        return f"crashed with {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def run(cases: Sequence[Case], folder: Path, workers: int) -> dict[Case, Outcome]:
    """What became of each case, read by worker processes; one that breaks is replaced."""
    seeds = Seeds()
    waiting, outcomes = list(reversed(cases)), dict[Case, Outcome]()
    crew = [_Worker(folder / str(number)) for number in range(workers)]
    while len(outcomes) < len(cases):
        for at, worker in enumerate(crew):
            if worker.case is None and waiting:
                if worker.done >= _CASES_A_WORKER:
                    worker.end()
                    worker = crew[at] = _Worker(folder / str(at))
                worker.give(waiting.pop())
        busy = [worker for worker in crew if worker.case is not None]
        ready = wait([worker.pipe for worker in busy], timeout=5)
        for worker in busy:
            case = worker.case
            assert case is not None
            if worker.pipe in ready:
                try:
                    outcomes[case] = worker.pipe.recv()
                    worker.case = None
                    continue
                except EOFError:
                    pass
            elif time.monotonic() - worker.since < _WALL_S:
                continue
            outcomes[case] = Outcome(seeds.of(case).kind, fault=worker.end())
            at = crew.index(worker)
            crew[at] = _Worker(folder / str(at))
    for worker in crew:
        worker.end()
    return outcomes


def report(outcomes: dict[Case, Outcome]) -> str:
    """A table with a row for each kind, and a line for each fault."""
    lines = ["| kind | files | read | refused | faults | slowest, s | largest, MB |", "|---|---|---|---|---|---|---|"]
    rows: dict[str, list[Outcome]] = {}
    for case, outcome in outcomes.items():
        rows.setdefault(f"{case.group[:-1]}: {outcome.kind}", []).append(outcome)
    for name, found in [*rows.items(), ("all", list(outcomes.values()))]:
        good = [outcome for outcome in found if not outcome.fault]
        were_read = sum(outcome.was_read for outcome in good)
        slowest, largest = max(one.seconds for one in found), max(one.peak_bytes for one in found) / _MB
        counts = len(found), were_read, len(good) - were_read, len(found) - len(good)
        lines.append(f"| {name} | {' | '.join(map(str, counts))} | {slowest:.2f} | {largest:.0f} |")
    faults = [f"{case}, {outcome.kind}: {outcome.fault}" for case, outcome in outcomes.items() if outcome.fault]
    return "\n".join([*lines, "", *faults])


def cases_of(seed: int, photos: int, depths: int, kind: str = "") -> list[Case]:
    """The first cases of each group, of all kinds or of those whose name has `kind` in it."""
    counts, seeds = {"photos": photos, "depths": depths}, Seeds()
    cases = [Case(seed, group, number) for group in _GROUPS for number in range(counts[group])]
    return [case for case in cases if kind in seeds.of(case).kind]


def _again(case: Case, folder: Path) -> None:
    """Read one case here; prints what came of it."""
    folder.mkdir(parents=True, exist_ok=True)
    path, damaged, is_cut = Reader(folder).make(case)
    sizes = sorted(claimed_sizes(damaged.data, damaged.suffix))
    print(f"{path}: {damaged.kind}{', cut' * is_cut}, {sizes}", flush=True)
    try:
        print(read(path).shape)
    except Exception:
        traceback.print_exc()


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--photos", type=int, default=3000)
    parser.add_argument("--depths", type=int, default=1600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kind", default="", help="only kinds with this in their name")
    parser.add_argument("--case", metavar="GROUP:NUMBER", help="read this one alone, in this process")
    parser.add_argument("--keep", type=Path, help="folder in which the last files stay")
    chosen = parser.parse_args(arguments)
    with TemporaryDirectory() as temporary:
        folder = chosen.keep or Path(temporary)
        if chosen.case is not None:
            group, _, number = chosen.case.partition(":")
            _again(Case(chosen.seed, group, int(number)), folder)
            return 0
        outcomes = run(cases_of(chosen.seed, chosen.photos, chosen.depths, chosen.kind), folder, chosen.workers)
    print(report(outcomes))
    return int(any(outcome.fault for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
