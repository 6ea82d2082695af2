"""How long threads should spin while they wait for each other, on a quiet machine and on a busy one:

    python benchmarks/spinning.py [--size 3840x2160] [--runs 5] [--busy 0,1,2] [--counts 0,3000,300000]

Each cell is the median time of one picture in a process of its own with GOMP_SPINCOUNT at a value, while as many other
processes as the row says keep a core busy each. Linux only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence

BUSY = "while True: pass"


def measure(size: str, runs: int) -> float:
    """Median seconds of one made picture, after one that does not count."""
    from pro_engine.inference.load import load_model
    from pro_engine.jobs.bench import sample_picture
    from pro_engine.options import InferenceOptions

    width, height = map(int, size.split("x"))
    picture, predictor = sample_picture(height, width), load_model("compact", device="cpu")
    options = InferenceOptions(tiles=(4, 4))
    return statistics.median([predictor.infer(picture, options=options).seconds for _ in range(runs + 1)][1:])


def timed(command: Sequence[str], count: str) -> float:
    """What `measure` prints in a process of its own."""
    env = {**os.environ, "GOMP_SPINCOUNT": count}
    return float(subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE).stdout)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="3840x2160")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--busy", default="0,1,2")
    parser.add_argument("--counts", default="0,3000,300000")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.measure:
        print(measure(chosen.size, chosen.runs))
        return
    counts = chosen.counts.split(",")
    print(f"| busy processes | {' | '.join(counts)} |\n|{'---|' * (len(counts) + 1)}", flush=True)
    command = [sys.executable, __file__, "--measure", "--size", chosen.size, "--runs", str(chosen.runs)]
    for busy in map(int, chosen.busy.split(",")):
        others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(busy)]
        try:
            seconds = [timed(command, n) for n in counts]
        finally:
            for other in others:
                other.kill()
                other.wait()
        print(f"| {busy} | {' | '.join(f'{s:.1f} s' for s in seconds)} |", flush=True)


if __name__ == "__main__":
    main()
