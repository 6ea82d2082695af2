"""What `--refine sharp` would give if one of its parts were right: which is worth learning, and what no part can give.

    OMP_NUM_THREADS=1 python benchmarks/outline_ceilings.py --data FOLDER [--data FOLDER ...] [--model hybrid]

On the pictures with exact outlines, three parts come from the truth, alone and together. Gate: an outline is near by
within 6 pixels of two neighbours whose depths differ by more than a ratio of 1.05. Sides: a pixel is near above the
middle of the range within 10 pixels. Steps: both surfaces keep the map's mean, and differ as they do for the truth on
the map's scale, which the evaluation's fit tells. All of it is done on the canvas. Last, truths: as it is, and smoothed
at its own size. Columns are those of benchmarks/outlines.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import cv2
import numpy as np
from numpy.typing import NDArray
from outlines import COLUMNS, halo_share, samples

from pro_engine.datasets.sample import EvalSample
from pro_engine.evaluation.boundaries import boundary_f1, edge_measures
from pro_engine.evaluation.metrics import accuracy, on_grid
from pro_engine.evaluation.scores import Scores, fit_to_truth, mean_scores
from pro_engine.inference import surfaces
from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.inference.surfaces import Sides, Surfaces
from pro_engine.options import InferenceOptions, ModelOptions
from pro_engine.training.outlines import SIDE_PX, labels
from pro_engine.types import BoolMap, FloatMap, ImageArray

SHOWN = ("edge_recall", "edge_precision", "boundary_f1", "halo", "absrel")
BLURS_PX = (2.0, 5.0)
_SURE = 10.0


class Seen(NamedTuple):
    """What `surfaces.find` was given, and the map that came of it."""

    canvas: FloatMap
    image: ImageArray
    sides: Sides
    shown: FloatMap


def see(model: DepthPredictor, sample: EvalSample) -> Seen:
    """Infers once and listens."""
    with mock.patch.object(surfaces, "find", wraps=surfaces.find) as find:
        shown = model.infer(sample.image, options=InferenceOptions(refine="sharp")).disparity
    canvas, image, sides = find.call_args.args
    return Seen(canvas, image, sides, shown)


def whole(truth: FloatMap, known: BoolMap) -> FloatMap:
    """The truth (h, w) with that of the nearest known pixel where it is not known."""
    missing = (~known).astype(np.uint8)
    _, labelled = cv2.distanceTransformWithLabels(missing, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    nearest = np.asarray(labelled, np.intp)
    values = np.zeros(int(nearest.max()) + 1, np.float32)
    values[nearest[known]] = truth[known]
    return _float(values[nearest])


def on_scale(truth: FloatMap, shown: FloatMap, sample: EvalSample) -> FloatMap:
    """The truth with the scale and shift that the evaluation's fit of a map (H, W) to it has, the other way round."""
    fit = fit_to_truth(shown, sample)
    assert fit is not None
    mine, true = on_grid(shown, truth.shape)[0][fit.known], fit.truth[fit.known]
    factor = float(np.mean((mine - mine.mean()) ** 2) / np.mean((mine - mine.mean()) * (true - true.mean())))
    return np.asarray(mine.mean() + factor * (truth - true.mean()), np.float32)


def made(seen: Seen, truth: FloatMap, scaled: FloatMap, parts: tuple[bool, ...]) -> Surfaces:
    """Surfaces with the parts (gate, sides, steps) of the truth that are True; truth, scaled (h, w) on the canvas."""
    gate, sides, steps = parts
    near_by, near_side = seen.sides
    everywhere = np.ones(truth.shape, np.bool_)
    if gate:
        near_by = np.asarray(labels(truth, everywhere, truth)[0], np.float32)
    if sides:
        window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * SIDE_PX + 1,) * 2)
        middle = (cv2.erode(truth, window) + cv2.dilate(truth, window)) / 2
        near_side = np.where(truth > middle, _SURE, -_SURE).astype(np.float32)
    said = Sides(near_by, near_side)
    both = surfaces.find(seen.canvas, seen.image, said)
    if steps:
        true = surfaces.find(scaled, seen.image, said)
        mean, half = (both[0] + both[1]) / 2, np.maximum(true[0] - true[1], 0) / 2
        both[:2] = mean + half, mean - half
    return both


def scores_of(values: FloatMap, sample: EvalSample) -> Scores:
    """Of a map (H, W)."""
    assert sample.disparity is not None and sample.valid is not None
    fit = fit_to_truth(values, sample)
    assert fit is not None
    scores = accuracy(fit) | edge_measures(fit) | {"boundary_f1": boundary_f1(fit)}
    mine = on_grid(values, sample.disparity.shape)[0].astype(np.float32)
    scores["halo"] = halo_share(mine, sample.disparity, sample.valid)
    return {name: scores[name] for name in SHOWN}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, action="append")
    parser.add_argument("--model", default=ModelOptions.name)
    given = parser.parse_args(arguments)
    model = load_model(given.model)
    rows: dict[str, list[Scores]] = {}
    for sample in samples(given.data, 0):
        if not sample.exact_edges:
            continue
        assert sample.disparity is not None and sample.valid is not None
        (height, width), seen = sample.image.shape[:2], see(model, sample)
        layout = model.plan(height, width, "auto")
        full = whole(sample.disparity, sample.valid & (sample.disparity > 0))
        each = (full, on_scale(full, seen.shown, sample))
        size = (seen.canvas.shape[1], seen.canvas.shape[0])
        truth, scaled = (_float(cv2.resize(one, size, interpolation=cv2.INTER_NEAREST)) for one in each)
        for parts in product((False, True), repeat=3):
            both = made(seen, truth, scaled, parts)
            values = surfaces.on_picture(both, layout.image, aligned=layout.published)
            rows.setdefault(_title(parts), []).append(scores_of(values, sample))
        rows.setdefault("the truth", []).append(scores_of(full, sample))
        for sigma in BLURS_PX:
            soft = _float(cv2.GaussianBlur(full, (0, 0), sigma))
            rows.setdefault(f"the truth, smoothed by {sigma:g} px", []).append(scores_of(soft, sample))
    print(f"| {model.full_name} | {' | '.join(COLUMNS[name] for name in SHOWN)} |")
    print("|---" * (len(SHOWN) + 1) + "|")
    for title, found in rows.items():
        means = mean_scores(found)
        print(f"| {title} | " + " | ".join(f"{means[name]:.4f}" for name in SHOWN) + " |")


def _float(values: NDArray[Any]) -> FloatMap:
    return np.asarray(values, np.float32)


def _title(parts: tuple[bool, ...]) -> str:
    names = [name for name, right in zip(("gate", "sides", "steps"), parts, strict=True) if right]
    return f"true {' and '.join(names)}" if names else "as it is"


if __name__ == "__main__":
    main()
