"""Two models on the same pictures, item by item: the mean difference and its 95 % interval.

    python benchmarks/compare.py RESULTS_A/report.json RESULTS_B/report.json

The reports are those of `pro-engine eval`. Scores are of the refined maps of real items; the interval is that of the
means of 10,000 draws of as many items, with repetition.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SHOWN = ("absrel", "delta1", "r2")
DRAWS = 10_000


def read(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """The scores of every real item with depth, by data set and name."""
    items = json.loads(path.read_text(encoding="utf-8"))["items"]
    return {
        (one["dataset"], one["name"]): one["refined"] for one in items if one["real"] and "absrel" in one["refined"]
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs=2)
    options = parser.parse_args(arguments)
    first, second = (read(path) for path in options.reports)
    shared = sorted(first.keys() & second.keys())
    random = np.random.default_rng(0)
    print("| score | items | B - A | 95 % interval |\n|---|---|---|---|")
    for name in SHOWN:
        change = np.array([second[key][name] - first[key][name] for key in shared])
        means = random.choice(change, (DRAWS, len(change))).mean(axis=1)
        low, high = np.percentile(means, (2.5, 97.5))
        print(f"| {name} | {len(change)} | {change.mean():+.4f} | {low:+.4f} to {high:+.4f} |")


if __name__ == "__main__":
    main()
