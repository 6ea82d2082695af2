"""Outlines of a map at the picture's own size: place, halo, patch borders, and what prints on flat surfaces do to it.

    python benchmarks/outlines.py --data FOLDER [--data FOLDER ...] [--refine trained,sharp,none] [--photos 12] [--ce]

A row for each way to refine, over all folders: pictures with exact outlines, with mattes, and some photos without any
truth (for borders alone). `pro_engine/evaluation` defines recall, precision and F1; what is new is defined here.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from pro_engine.datasets import open_dataset
from pro_engine.datasets.sample import EvalSample
from pro_engine.evaluation.metrics import consistency_error, on_grid
from pro_engine.evaluation.scores import Scores, fit_to_truth, mean_scores, score_map
from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.options import InferenceOptions, ModelOptions, Refine
from pro_engine.types import BoolMap, FloatMap, ImageArray

HALO_PX = 12
"""How far from a true edge a pixel is judged."""
HALO_MARGIN = 0.05
"""Share of the step by which a pixel may leave the range of both sides."""
EDGE_RATIO = 1.05
EVEN_RANGE = 8
"""Levels of 255 within which an even area stays."""
LEAST_CONTRAST = 12.0
"""Standard deviation of the levels of 255 within 17 x 17 pixels, from which a flat surface counts as printed."""
_WINDOW_PX = 24
_LEAST_CORRELATION = 0.5
_LEAST_STEP = 0.02
_FLAT = 1e-3

Grey = NDArray[np.float32]
COLUMNS = {
    "edge_recall": "bR",
    "edge_precision": "bP",
    "boundary_f1": "F1",
    "matte_boundary_recall": "mattes BR",
    "halo": "halo",
    "absrel": "AbsRel",
    "delta1": "delta1",
    "print_through": "prints, ‰",
    "ce": "CE",
}


def spread(values: FloatMap) -> float:
    """Range between the 1st and 99th percentile."""
    low, high = np.percentile(values, (1, 99))
    return max(float(high - low), 1e-12)


def halo_share(values: FloatMap, truth: FloatMap, known: BoolMap) -> float:
    """Share of the pixels within 12 of a true edge that lie beyond both of its sides by more than 5 % of the step.

    A map knows its own layout only, so the sides are the truth with a scale and a shift fitted to the map within 49 x
    49 pixels, and their range that within 25 x 25. Not judged is where both hardly correlate (below 0.5), or the step
    is below 2 % of the map's range. nan where nothing is judged.

    Args:
        values: (h, w) the map on the grid of the truth.
        truth: (h, w) true disparity, larger is nearer.
        known: (h, w) bool; windows are fitted over it, and only pixels of it are judged.
    """
    share = cv2.blur(known.astype(np.float32), (2 * _WINDOW_PX + 1,) * 2) + 1e-6
    scale = max(float(np.abs(truth[known]).max()), 1e-12)
    true, mine = np.where(known, truth / scale, 0).astype(np.float32), np.where(known, values, 0).astype(np.float32)

    def mean(part: Grey) -> Grey:
        return np.asarray(cv2.blur(part, (2 * _WINDOW_PX + 1,) * 2) / share, np.float32)

    mean_true, mean_mine = mean(true), mean(mine)
    variance = np.maximum(mean(true * true) - mean_true**2, 1e-10)
    deviation = np.maximum(mean(mine * mine) - mean_mine**2, 1e-10)
    covariance = mean(true * mine) - mean_true * mean_mine
    factor = covariance / variance
    around = np.ones((2 * HALO_PX + 1,) * 2, np.uint8)
    high = cv2.dilate(np.where(known, true, -1e9), around)
    low = cv2.erode(np.where(known, true, 1e9), around)
    step = factor * (high - low)
    judged = _true_edges(true, known, around) & known
    judged &= covariance > _LEAST_CORRELATION * np.sqrt(variance * deviation)
    judged &= step > _LEAST_STEP * spread(values)
    if not judged.any():
        return float("nan")
    shift = mean_mine - factor * mean_true
    above = values > factor * high + shift + HALO_MARGIN * step
    below = values < factor * low + shift - HALO_MARGIN * step
    return float((above | below)[judged].mean())


def _true_edges(true: Grey, known: BoolMap, around: NDArray[np.uint8]) -> BoolMap:
    """Pixels within a square of a step of more than 5 % between known neighbours; sky (0) beside anything is one."""
    edges = np.zeros(true.shape, np.uint8)
    for first, second in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        a, b = true[first], true[second]
        edges[first] |= known[first] & known[second] & (np.maximum(a, b) > EDGE_RATIO * np.minimum(a, b))
    near: BoolMap = cv2.dilate(edges, around) > 0
    return near


def border_steps(values: FloatMap, image: ImageArray, tiles: tuple[int, int], zoom: float, shift: float = 0.0) -> Grey:
    """What a map (H, W) jumps by across the borders of its patches in even areas, as shares of its range (N,).

    The jump is taken over the two pixels around the border, times the zoom of canvas to picture, and the mean slope on
    both sides is subtracted. Even is where the picture stays within 8 levels around. shift: in patches, 0.5 for
    the same lines through the middle of patches.
    """
    reach = math.ceil(zoom) + 1
    window = np.ones((6 * reach + 1,) * 2, np.uint8)
    grey = cv2.blur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (3, 3))
    even = cv2.dilate(grey, window) - cv2.erode(grey, window) <= EVEN_RANGE
    found = []
    for axis, count in enumerate(tiles):
        lines, flat = np.moveaxis(values, axis, 0), np.moveaxis(even, axis, 0)
        for k in range(1, count):
            at = round((k - shift) * len(lines) / count)
            a, b, c, d = (lines[at + n] for n in (-3 * reach, -reach, reach - 1, 3 * reach - 1))
            jump = np.abs((c - b) - 0.5 * ((b - a) + (d - c)))
            found.append(jump[flat[at]] / spread(values))
    return np.concatenate(found) if found else np.zeros(0, np.float32)


def print_through(values: FloatMap, truth: FloatMap, known: BoolMap, image: ImageArray) -> float:
    """Mean of |map - its Gaussian mean (sigma 6)| where the true surface is flat and the picture on it is not, in
    thousandths of the map's range. nan where there is no such surface.

    Flat: within 41 x 41 pixels, the true disparity is known and within 0.1 % of its range of its own Gaussian mean,
    which is itself on every plane.
    """
    true = truth.astype(np.float32)
    bent = np.abs(true - cv2.GaussianBlur(true, (0, 0), 6)) > _FLAT * spread(true)
    flat = cv2.dilate((bent | ~known | (true <= 0)).astype(np.uint8), np.ones((41, 41), np.uint8)) == 0
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    contrast = cv2.blur(grey * grey, (17, 17)) - cv2.blur(grey, (17, 17)) ** 2
    judged = flat & (contrast > LEAST_CONTRAST**2)
    if not judged.any():
        return float("nan")
    mine = values.astype(np.float32)
    return 1e3 * float(np.abs(mine - cv2.GaussianBlur(mine, (0, 0), 6))[judged].mean()) / spread(mine)


def samples(folders: Sequence[Path], photos: int) -> Iterator[EvalSample]:
    """All pictures with exact outlines or mattes, and so many photos without a truth."""
    for folder in folders:
        dataset = open_dataset(folder)
        for index in range(len(dataset)):
            sample = dataset[index]
            plain = sample.disparity is None and sample.matte is None
            photos -= plain
            if sample.exact_edges or sample.matte is not None or (plain and photos >= 0):
                yield sample


def figures(model: DepthPredictor, sample: EvalSample, refine: Refine, *, ce: bool) -> tuple[Scores, Grey, Grey]:
    """Scores of one map, and its steps across patch borders and across the middles of patches."""
    options = InferenceOptions(refine=refine)
    result = model.infer(sample.image, options=options)
    values, steps = result.disparity, [np.zeros(0, np.float32)] * 2
    scores = score_map(values, fit_to_truth(values, sample), sample)
    if sample.disparity is not None and sample.valid is not None:
        mine = on_grid(values, sample.disparity.shape)[0].astype(np.float32)
        scores["halo"] = halo_share(mine, sample.disparity, sample.valid)
        if not sample.real and sample.image.shape[:2] == sample.disparity.shape:
            scores["print_through"] = print_through(mine, sample.disparity, sample.valid, sample.image)
    if result.tiles != (1, 1):
        height, width = sample.image.shape[:2]
        layout = model.plan(height, width, options.tiles)
        zoom = layout.image[0] / layout.canvas[0]
        steps = [border_steps(values, sample.image, result.tiles, max(zoom, 1.0), shift) for shift in (0.0, 0.5)]
        if ce:
            shifted = model.infer(sample.image, options=options, shifted=True)
            scores["ce"] = consistency_error(values, shifted.disparity, shifted.valid)
    return {name: value for name, value in scores.items() if math.isfinite(value)}, steps[0], steps[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, action="append")
    parser.add_argument("--model", default=ModelOptions.name)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--refiner-weights", type=Path)
    parser.add_argument("--fine", default=ModelOptions.fine)
    parser.add_argument("--refine", default="trained,sharp,none")
    parser.add_argument("--photos", type=int, default=0, help="photos without a truth, for their patch borders")
    parser.add_argument("--ce", action="store_true", help="infer again with patches half a patch apart")
    given = parser.parse_args(arguments)
    model = load_model(given.model, weights=given.weights, refiner_weights=given.refiner_weights, fine=given.fine)
    print(f"| {model.full_name} | {' | '.join(COLUMNS.values())} | borders, middles: 99 % below, % of the range |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for refine in choices(given.refine):
        print_row(model, refine, samples(given.data, given.photos), ce=given.ce)


def choices(text: str) -> list[Refine]:
    """The ways to refine that a text names."""
    known: dict[str, Refine] = {name: name for name in get_args(Refine)}
    return [known[name] for name in text.split(",")]


def print_row(model: DepthPredictor, refine: Refine, found: Iterator[EvalSample], *, ce: bool) -> None:
    """A row of the table: means over the pictures that have the figure."""
    rows, borders, middles = zip(*(figures(model, sample, refine, ce=ce) for sample in found), strict=True)
    means = mean_scores(rows)
    cells = [f"{means[name]:.4f}" if name in means else "–" for name in COLUMNS]
    high = [np.concatenate(steps) for steps in (borders, middles)]
    cells.append(", ".join(f"{100 * np.percentile(steps, 99):.3f}" if len(steps) else "–" for steps in high))
    print(f"| {refine} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
