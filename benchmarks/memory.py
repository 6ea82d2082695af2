"""Peak memory against the size of the picture:

    python benchmarks/memory.py [--megapixels 1,8.3,25,50,100]

Each picture is inferred in a process of its own. The table says how far the peak lies above the memory of the loaded
model, beside the size of the output: one float32 map as large as the picture. Linux only.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pro_engine.inference.load import load_model
from pro_engine.jobs.bench import sample_picture
from pro_engine.jobs.kept_memory import prepare

MB = 1e6


def peak_since_reset_bytes() -> int:
    """The most that this process has held since `reset_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def reset_peak() -> None:
    """Count from what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def measure(path: Path) -> str:
    """A row of the table. The picture and the result are held by whoever asks for depth; both count."""
    prepare()  # as the command line does
    picture = np.load(path)
    predictor = load_model("compact", device="cpu")
    predictor.infer(picture[:64, :64])  # what is needed once, whatever the size
    reset_peak()
    loaded = peak_since_reset_bytes()
    result = predictor.infer(picture)
    above = (peak_since_reset_bytes() - loaded) / MB
    output, (height, width), (rows, cols) = result.disparity.nbytes / MB, picture.shape[:2], result.tiles
    cells = (f"{width}x{height}", f"{rows}x{cols}", f"{output:.0f}", f"{above:.0f}", f"{above / output:.1f}")
    return f"| {' | '.join(cells)} | {result.seconds:.0f} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megapixels", default="1,8.3,25,50,100")
    parser.add_argument("--picture", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.picture is not None:
        print(measure(chosen.picture))
        return
    print("| picture | patches | output MB | peak above the loaded model MB | peak / output | seconds |")
    print("|---|---|---|---|---|---|", flush=True)
    for megapixels in map(float, chosen.megapixels.split(",")):
        height = round(math.sqrt(megapixels * 1e6 * 9 / 16))
        with TemporaryDirectory() as folder:
            path = Path(folder) / "picture.npy"
            np.save(path, sample_picture(height, round(height * 16 / 9)))
            subprocess.run([sys.executable, __file__, "--picture", str(path)], check=True)


if __name__ == "__main__":
    main()
