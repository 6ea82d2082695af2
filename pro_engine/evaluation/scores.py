"""Every score of one map against one sample, and the mean of many."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pro_engine.datasets.sample import EvalSample
from pro_engine.evaluation.boundaries import boundary_f1, edge_measures, matte_boundary_recall, matte_measures
from pro_engine.evaluation.metrics import Aligned, abs_rel_inside, accuracy, align, on_grid
from pro_engine.evaluation.ordinal import d3r
from pro_engine.types import FloatMap

Scores = dict[str, float]


def fit_to_truth(disparity: FloatMap, sample: EvalSample) -> Aligned | None:
    """`align` to the sample's truth, None where it has no depth."""
    if sample.disparity is None or sample.valid is None:
        return None
    return align(disparity, sample.disparity, sample.valid)


def score_map(disparity: FloatMap, aligned: Aligned | None, sample: EvalSample) -> Scores:
    """Keys of `catalog.SCORES` that the sample has the truth for: accuracy with depth, boundaries and D3R where depth
    edges are exact, recall of outlines with a matte. A score that is nan is left out.

    Args:
        disparity: (H, W) the prediction as it is.
        aligned: from `fit_to_truth`.
        sample: what it is compared with.

    Raises:
        InputError: maps that do not fit together.
    """
    scores: Scores = {}
    if aligned is not None:
        scores |= accuracy(aligned)
        if sample.exact_edges:
            scores |= {"d3r": d3r(aligned), "boundary_f1": boundary_f1(aligned), **edge_measures(aligned)}
        if sample.transparent is not None:
            scores["transparent_absrel"] = abs_rel_inside(aligned, sample.transparent)
    if sample.matte is not None:
        values, _ = on_grid(disparity, (sample.matte.shape[0], sample.matte.shape[1]))
        scores |= {"matte_boundary_recall": matte_boundary_recall(values, sample.matte)}
        scores |= matte_measures(values, sample.matte)
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def mean_scores(rows: Iterable[Mapping[str, float]], leave_out: Sequence[str] = ()) -> Scores:
    """The mean of every score over the rows that have it, but for the names in `leave_out`."""
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in leave_out:
                values.setdefault(name, []).append(value)
    return {name: float(np.mean(found)) for name, found in values.items()}
