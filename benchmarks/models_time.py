"""What models take for the same photo, in turn, so that what else the machine does concerns all alike.

    python benchmarks/models_time.py PHOTO [--models compact,hybrid] [--runs 15]

Printed: the median of the seconds by the clock, with all cores, without reading and writing; and the median of the
ratios to the first model in the same round. The first two rounds are not counted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pro_engine.inference.load import load_model
from pro_engine.io.image import load_image

WARM_UP = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--models", default="compact,hybrid")
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args(arguments)
    image = load_image(options.photo)[0]
    models = {name: load_model(name) for name in options.models.split(",")}
    taken = np.zeros((options.runs + WARM_UP, len(models)))
    for round_of_all in taken:
        for place, model in enumerate(models.values()):
            start = time.perf_counter()
            model.infer(image)
            round_of_all[place] = time.perf_counter() - start
    taken = taken[WARM_UP:]
    print(f"| {image.shape[1]}x{image.shape[0]} | s | of the first |\n|---|---|---|")
    for name, seconds, ratio in zip(models, np.median(taken, 0), np.median(taken / taken[:, :1], 0), strict=True):
        print(f"| {name} | {seconds:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
