"""What a number format costs in accuracy: the bundled model over datasets in float32 and in others, side by side.

    python benchmarks/dtypes.py --data FOLDER [--model compact] [--dtypes float32,bfloat16] [--items N] [--maps OUT]
    python benchmarks/dtypes.py --data FOLDER --model vit --weights FILE

Printed are the means of accuracy and of outlines per format, and how far its maps are from those of the first one, over
the range of the latter: the lowest correlation, the mean and the largest difference. --maps keeps every map as
OUT/DTYPE/NAME.npy. `vit` is the Ψ of a run of `pro-engine train base --architecture vit`, with the refiner for any Ψ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pro_engine.datasets import open_dataset
from pro_engine.evaluation.scores import Scores, fit_to_truth, mean_scores, score_map
from pro_engine.inference.load import load_model, preset_weights
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.io.weights import read_weights
from pro_engine.jobs.kept_memory import prepare
from pro_engine.models.checkpoint import load_strict, part_or_all
from pro_engine.models.presets import MAP_REFINER, PRESETS, load_refiner
from pro_engine.models.vit import VitDepth
from pro_engine.options import ModelOptions

SHOWN = (
    "absrel",
    "delta1",
    "boundary_f1",
    "edge_recall",
    "edge_precision",
    "soft_recall",
    "matte_recall",
    "matte_precision",
)


def distance(values: np.ndarray, wanted: np.ndarray) -> tuple[float, float, float]:
    """Correlation, mean and largest difference of two maps, the differences over the second one's range."""
    difference = np.abs(values - wanted) / max(float(np.ptp(wanted)), 1e-12)
    return float(np.corrcoef(values.ravel(), wanted.ravel())[0, 1]), float(difference.mean()), float(difference.max())


def load(name: str, dtype: str, weights: Path | None) -> DepthPredictor:
    """The model in a number format."""
    if name != "vit":
        return load_model(name, device="cpu", dtype=dtype, weights=weights)
    if weights is None:
        raise SystemExit("No weights come with vit; name a file of a run with --weights.")
    network = VitDepth()
    load_strict(network, part_or_all(read_weights(weights), "psi."), what="base model")
    refiner = load_refiner(PRESETS[ModelOptions.name], preset_weights(MAP_REFINER)[0])
    return DepthPredictor(network, refiner, name=name, device="cpu", dtype=dtype)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default=ModelOptions.name)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--items", type=int)
    parser.add_argument("--maps", type=Path)
    chosen = parser.parse_args(arguments)
    prepare()
    names = chosen.dtypes.split(",")
    models = {name: load(chosen.model, name, chosen.weights) for name in names}
    scores: dict[str, list[Scores]] = {name: [] for name in names}
    apart: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    dataset = open_dataset(chosen.data)
    for index in range(len(dataset))[: chosen.items]:
        sample, first = dataset[index], None
        for name, model in models.items():
            values = model.infer(sample.image).disparity
            first = values if first is None else first
            scores[name].append(score_map(values, fit_to_truth(values, sample), sample))
            apart[name].append(distance(values, first))
            if chosen.maps is not None:
                (chosen.maps / name).mkdir(parents=True, exist_ok=True)
                np.save(chosen.maps / name / f"{sample.name}.npy", values)
        print(f"{index + 1} of {len(dataset)}", file=sys.stderr, flush=True)
    print(f"| dtype | {' | '.join(SHOWN)} | r, lowest | mean difference | largest |")
    print(f"|---|{'---|' * (len(SHOWN) + 3)}")
    for name in names:
        means, (lowest, _, _) = mean_scores(scores[name]), np.min(apart[name], 0)
        _, mean, _ = np.mean(apart[name], 0)
        cells = [f"{means.get(key, float('nan')):.4f}" for key in SHOWN]
        print(f"| {' | '.join([name, *cells, f'{lowest:.5f}', f'{mean:.1e}', f'{np.max(apart[name], 0)[2]:.1e}'])} |")


if __name__ == "__main__":
    main()
