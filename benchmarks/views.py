"""How much of a score is luck: the same pictures at other input sizes and mirrored.

    python benchmarks/views.py --data FOLDER [--weights FILE] [--sides 256,288,304,320,352]
    python benchmarks/views.py --data FOLDER --architecture hybrid --sides 252,294,340
    python benchmarks/views.py --data FOLDER --architecture vit --weights FILE --sides 252,294,340

Only the coarse map of the model `compact` or `hybrid`, or of a run of `pro-engine train base --architecture vit`, is
made and scored, on the real items with depth. A model that knows what it sees hardly minds; the spread between the rows
says how much two models may differ by chance.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pro_engine.datasets import open_dataset
from pro_engine.errors import InputError
from pro_engine.evaluation.metrics import accuracy, align
from pro_engine.evaluation.scores import Scores, mean_scores
from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.io.weights import read_weights
from pro_engine.models.checkpoint import load_strict, part_or_all
from pro_engine.models.presets import PRESETS
from pro_engine.models.vit import VitDepth
from pro_engine.options import InferenceOptions

SHOWN = ("absrel", "delta1", "r2")


def scores(model: DepthPredictor, data: Path, *, mirrored: bool) -> Iterator[Scores]:
    """The scores of every real item with depth."""
    dataset = open_dataset(data)
    for index in range(len(dataset)):
        sample = dataset[index]
        if sample.disparity is None or sample.valid is None or not sample.real:
            continue
        image = np.ascontiguousarray(sample.image[:, ::-1]) if mirrored else sample.image
        disparity = model.infer(image, options=InferenceOptions(refine="none")).disparity
        disparity = np.ascontiguousarray(disparity[:, ::-1]) if mirrored else disparity
        every = accuracy(align(disparity, sample.disparity, sample.valid))
        yield {name: every[name] for name in SHOWN}


def load(architecture: str, weights: Path | None) -> DepthPredictor:
    """The model whose coarse maps are scored."""
    if architecture in PRESETS:
        return load_model(architecture, weights=weights)
    if weights is None:
        raise InputError("No weights come with the architecture vit; name a file of a run with --weights.")
    network = VitDepth()
    load_strict(network, part_or_all(read_weights(weights), "psi."), what="base model")
    return DepthPredictor(network, None, name="vit", device="cpu")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--architecture", choices=("compact", "hybrid", "vit"), default="compact")
    parser.add_argument("--sides", default="256,288,304,320,352", help="roots of the input's area, in pixels")
    options = parser.parse_args(arguments)
    model = load(options.architecture, options.weights)
    rows: list[Scores] = []
    print("| input | AbsRel | delta1 | R2 |\n|---|---|---|---|")
    for side in (int(text) for text in options.sides.split(",")):
        model.spec = replace(model.spec, input_area=side * side)
        for mirrored in (False, True):
            rows.append(mean_scores(scores(model, options.data, mirrored=mirrored)))
            print_row(f"{side}x{side}{', mirrored' if mirrored else ''}", rows[-1])
    print_row("mean", mean_scores(rows))
    print_row("spread (standard deviation)", {name: float(np.std([row[name] for row in rows])) for name in SHOWN})


def print_row(title: str, row: Scores) -> None:
    """A row of the table."""
    print(f"| {title} | " + " | ".join(f"{row[name]:.4f}" for name in SHOWN) + " |", flush=True)


if __name__ == "__main__":
    main()
