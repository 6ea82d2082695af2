"""Patches once against patches again and again, with one model on the same pictures:

    python benchmarks/ensembles.py --data FOLDER [--items N] [--out FILE.json]

Earlier patch methods average overlapping patches, 49 or more for a 4x4 grid; PRO trains so that 16 suffice. Each row of
the table is a way to lay the patches over a 4x4 grid: seconds, the consistency error CE between two runs whose patches
lie elsewhere, and boundary F1 and AbsRel against the truth.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from pro_engine.datasets import open_dataset
from pro_engine.datasets.sample import EvalSample
from pro_engine.evaluation.boundaries import boundary_f1
from pro_engine.evaluation.metrics import abs_rel, consistency_error
from pro_engine.evaluation.scores import fit_to_truth
from pro_engine.inference import tiling
from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.inference.resize import resized
from pro_engine.inference.runtime import Stopwatch
from pro_engine.inference.sharpen import sharpen
from pro_engine.io.atomic import atomic_path
from pro_engine.options import InferenceOptions
from pro_engine.types import FloatMap, ImageArray

GRID = (4, 4)
RANDOM_PATCHES = 128
Corner = tuple[int, int]


class Way(NamedTuple):
    """How patches are laid: `step` of the regular ones in parts of a patch, and how many more lie anywhere."""

    name: str
    step: int
    random: int = 0

    def corners(self, patch: tuple[int, int], moved: bool, seed: int) -> list[Corner]:
        """Upper left corners on the canvas; `moved` displaces the regular ones by a quarter of a patch."""
        (height, width), (rows, cols) = patch, GRID
        y, x = (side // 4 if moved else 0 for side in patch)
        last = (rows - 1) * height, (cols - 1) * width
        regular = [
            (top, left)
            for top in range(y, last[0] + 1, height // self.step)
            for left in range(x, last[1] + 1, width // self.step)
        ]
        rng = np.random.default_rng(seed)
        anywhere = zip(
            rng.integers(0, last[0] + 1, self.random), rng.integers(0, last[1] + 1, self.random), strict=True
        )
        return regular + [(int(top), int(left)) for top, left in anywhere]


WAYS = (Way("once", 1), Way("half overlapping", 2), Way("once and at random", 1, RANDOM_PATCHES))


class Row(NamedTuple):
    """One way on one picture; `passes` of patches through Ψ."""

    way: str
    picture: str
    passes: int
    seconds: float
    ce: float
    f1: float
    absrel: float


def mean_of_patches(
    predictor: DepthPredictor, image: ImageArray, corners: Sequence[Corner]
) -> tuple[FloatMap, FloatMap]:
    """Patches at any place of the canvas, refined one by one and averaged where they overlap. It is the predictor's own
    loop but for the places, so it uses the predictor's own parts.

    Returns:
        Disparity (H, W) on the picture, and how many patches cover each of its pixels (H, W).
    """
    refiner = predictor.refiner
    assert refiner is not None
    layout = tiling.plan(image.shape[0], image.shape[1], predictor.spec, GRID)
    (height, width), (tall, wide) = layout.patch, layout.canvas
    total, count = np.zeros(layout.canvas, np.float32), np.zeros(layout.canvas, np.float32)
    with torch.inference_mode():
        coarse = predictor._coarse_pass(image, layout, None, None, Stopwatch(predictor.device))
        source = tiling.patch_source(image, layout)
        for top, left in corners:
            place = slice(top, top + height), slice(left, left + width)
            box = torch.tensor([[left / wide, top / tall, (left + width) / wide, (top + height) / tall]])
            rgb = predictor._to_tensor([source[place]])
            patch = coarse.refiner_input(rgb, predictor.psi(rgb), predictor.psi.spec, box, refiner.feature_levels)
            total[place] += refiner(patch)[0, 0].numpy()
            count[place] += 1
    rest = resized(coarse.normalised, layout.canvas)
    values = np.where(count > 0, total / np.maximum(count, 1), rest).astype(np.float32)
    disparity = tiling.to_image(values, layout)
    if refiner.sharpens:
        sharpen(disparity, image, layout.canvas)
    return disparity, tiling.to_image(count, layout)


def measure(predictor: DepthPredictor, sample: EvalSample, way: Way) -> Row:
    """Both runs of a way on one picture. The first is what the engine itself does where that is the same."""
    image = sample.image
    layout = tiling.plan(image.shape[0], image.shape[1], predictor.spec, GRID)
    corners = way.corners(layout.patch, moved=False, seed=0)
    begun_s = time.perf_counter()
    if way == WAYS[0]:
        first = predictor.infer(image, options=InferenceOptions(tiles=GRID)).disparity
    else:
        first, _ = mean_of_patches(predictor, image, corners)
    seconds = time.perf_counter() - begun_s
    second, covered = mean_of_patches(predictor, image, way.corners(layout.patch, moved=True, seed=1))
    aligned = fit_to_truth(first, sample)
    assert aligned is not None
    return Row(
        way.name,
        sample.name,
        len(corners),
        seconds,
        consistency_error(first, second, covered >= 1),
        boundary_f1(aligned),
        abs_rel(aligned.depth, aligned.true_depth),
    )


def table(rows: Sequence[Row]) -> str:
    """The means over the pictures, a line each way."""
    lines = ["| patches | passes | seconds, times the first | CE | boundary F1 | AbsRel |", "|---|---|---|---|---|---|"]
    means = {way.name: [row for row in rows if row.way == way.name] for way in WAYS}
    once_s = np.mean([row.seconds for row in means[WAYS[0].name]])
    for name, own in means.items():
        passes, ratio = own[0].passes, np.mean([row.seconds for row in own]) / once_s
        ce, f1, absrel = (np.mean([getattr(row, field) for row in own]) for field in ("ce", "f1", "absrel"))
        lines.append(f"| {name} | {passes} | {ratio:.1f} | {ce:.4f} | {f1:.4f} | {absrel:.4f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder that `pro-engine eval` knows")
    parser.add_argument("--items", type=int, default=10, help="at most so many pictures")
    parser.add_argument("--out", type=Path, help="JSON file of every figure")
    parser.add_argument("--weights", type=Path, help="instead of the bundled ones")
    chosen = parser.parse_args(arguments)
    predictor, data = load_model(weights=chosen.weights, device="cpu"), open_dataset(chosen.data)
    rows: list[Row] = []
    for index in range(min(chosen.items, len(data))):
        for way in WAYS:
            rows.append(measure(predictor, data[index], way))
            print(rows[-1], file=sys.stderr, flush=True)
        if chosen.out is not None:
            with atomic_path(chosen.out) as temporary:
                temporary.write_text(json.dumps([row._asdict() for row in rows], indent=1))
    print(table(rows))


if __name__ == "__main__":
    main()
