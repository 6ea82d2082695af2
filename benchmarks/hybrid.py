"""Outlines of a Ψ whose patches a light one looks at, beside those of the same Ψ with its own patches.

    python benchmarks/hybrid.py --data FOLDER --weights FILE

The Ψ is that of a run of `pro-engine train base --architecture vit` or of the model hybrid, the light one compact. Rows
are: its own patches and those of compact, both with the refiner for any Ψ; those of compact with compact's own refiner;
`hybrid` as it ships, half of whose coarse map is compact's; and compact. All is in float32. Scored are the items with
exact outlines (docs/evaluation.md has the scores).
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from views import load

from pro_engine.datasets import open_dataset
from pro_engine.evaluation.catalog import SCORES
from pro_engine.evaluation.scores import Scores, fit_to_truth, mean_scores, score_map
from pro_engine.inference.load import load_model, preset_weights
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.models.presets import MAP_REFINER, PRESETS, load_refiner

SHOWN = ("edge_recall", "edge_precision", "soft_recall", "boundary_f1", "d3r", "absrel")


def scores(model: DepthPredictor, data: Path) -> Iterator[Scores]:
    """Of every item with exact outlines."""
    dataset = open_dataset(data)
    for sample in map(dataset.__getitem__, range(len(dataset))):
        if sample.exact_edges:
            disparity = model.infer(sample.image).disparity
            yield score_map(disparity, fit_to_truth(disparity, sample), sample)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    options = parser.parse_args(arguments)
    psi, compact = load("vit", options.weights).psi, load_model("compact", device="cpu", dtype="float32")
    refiner = load_refiner(PRESETS["compact"], preset_weights(MAP_REFINER)[0])
    plain = partial(DepthPredictor, device="cpu", dtype="float32")

    models = {
        "vit": plain(psi, copy.deepcopy(refiner)),
        "vit+compact": plain(psi, refiner, fine=copy.deepcopy(compact.psi)),
        "vit+compact, its refiner": plain(psi, copy.deepcopy(compact.refiner), fine=copy.deepcopy(compact.psi)),
        "hybrid": load_model("hybrid", device="cpu", dtype="float32"),
        "compact": compact,
    }
    titles = [SCORES[key].title for key in SHOWN]
    print(f"| model | items | {' | '.join(titles)} |\n|{'---|' * (2 + len(SHOWN))}")
    for name, model in models.items():
        rows = list(scores(model, options.data))
        mean = mean_scores(rows)
        print(f"| {name} | {len(rows)} | {' | '.join(f'{mean[key]:.4f}' for key in SHOWN)} |", flush=True)


if __name__ == "__main__":
    main()
