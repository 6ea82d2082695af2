"""Which of two points is nearer? A model's answers on photos of which no depth is known.

    python benchmarks/ordinal.py --data FOLDER [--architecture vit --weights FILE] [--refine none] [--side 336]

`ordinal_pairs.json` holds ten pairs of points for each photo, chosen by eye before any map of the model under training
was looked at: thin things, far things against the sky, things that cover one another. A pair is right if the map is
larger at the first point. Printed are the share that is right, per photo, over all pairs, and the pairs that are wrong.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from views import load

from pro_engine.datasets import open_dataset
from pro_engine.options import InferenceOptions, choices_of
from pro_engine.types import FloatMap

PAIRS = Path(__file__).with_name("ordinal_pairs.json")

Pair = tuple[float, float, float, float]
"""x and y of the nearer point, x and y of the farther one, as shares of the picture's width and height."""


def read_pairs(path: Path = PAIRS) -> dict[str, list[Pair]]:
    """The pairs by the photo's name."""
    found: dict[str, list[Pair]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def wrong_pairs(disparity: FloatMap, pairs: Sequence[Pair]) -> list[int]:
    """The numbers, from 0, of the pairs that a map (H, W) has in the wrong order, or no order at all."""

    def at(x: float, y: float) -> float:
        height, width = disparity.shape
        return float(disparity[min(int(y * height), height - 1), min(int(x * width), width - 1)])

    return [i for i, (x, y, far_x, far_y) in enumerate(pairs) if not at(x, y) > at(far_x, far_y)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--architecture", choices=("compact", "hybrid", "vit"), default="compact")
    parser.add_argument("--refine", choices=choices_of(InferenceOptions, "refine"), default="none")
    parser.add_argument("--side", type=int, help="root of the input's area, in pixels, instead of the model's own")
    options = parser.parse_args(arguments)
    model = load(options.architecture, options.weights)
    if options.side:
        model.spec = replace(model.spec, input_area=options.side**2)
    pairs = read_pairs()
    wrong = {}
    dataset = open_dataset(options.data)
    for sample in map(dataset.__getitem__, range(len(dataset))):
        if sample.name in pairs:
            disparity = model.infer(sample.image, options=InferenceOptions(refine=options.refine)).disparity
            wrong[sample.name] = wrong_pairs(disparity, pairs[sample.name])
    print(table(wrong, pairs))


def table(wrong: Mapping[str, list[int]], pairs: Mapping[str, list[Pair]]) -> str:
    """The rows of all photos and their sum."""
    lines = ["| photo | right | wrong pairs |", "|---|---|---|"]
    for name, missed in wrong.items():
        lines.append(f"| {name} | {len(pairs[name]) - len(missed)} of {len(pairs[name])} | {missed or ''} |")
    asked = sum(len(pairs[name]) for name in wrong)
    right = asked - sum(map(len, wrong.values()))
    lines.append(f"| all | {right} of {asked} ({right / max(asked, 1):.3f}) | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
