"""Would patches without detail do with the coarse map? How many there are, and what it does to their borders.

    OMP_NUM_THREADS=1 python benchmarks/skipping.py --data FOLDER [--model compact] [--levels 2] [--bent 0.1]

A patch counts as plain where no two neighbours of the blurred grey picture differ by `levels` of 255, and the coarse
map lies within `bent` of its mean deviations of a plane. Printed: the share of such patches in all pictures of the
folder that have several; then, over the pictures that have some, maps in which these patches are refined, and are not.
Columns are those of benchmarks/outlines.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from outlines import COLUMNS, figures
from pairs import processor
from torch import Tensor

from pro_engine.datasets import open_dataset
from pro_engine.datasets.sample import EvalSample
from pro_engine.evaluation.scores import mean_scores
from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.inference.resize import resized
from pro_engine.models.contract import Refiner, RefinerInput
from pro_engine.options import InferenceOptions
from pro_engine.types import FloatMap, ImageArray


class Rule:
    """Which patches are plain."""

    def __init__(self, levels: float, bent: float) -> None:
        self.levels, self.bent = levels, bent

    def is_plain(self, image: ImageArray, coarse: FloatMap) -> bool:
        """image (h, w, 3) uint8; coarse (h, w) in mean deviations from the median."""
        grey = cv2.blur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (3, 3)).astype(np.float32)
        if any(np.abs(np.diff(grey, axis=axis)).max() >= self.levels for axis in (0, 1)):
            return False
        y, x = (one.ravel() for one in np.indices(coarse.shape))
        plane = np.stack((np.ones_like(x), x, y), 1).astype(np.float64)
        fit, *_ = np.linalg.lstsq(plane, coarse.ravel(), rcond=None)
        return bool(np.abs(coarse.ravel() - plane @ fit).max() < self.bent)


class Skipping(Refiner):
    """A refiner that leaves plain patches coarse."""

    def __init__(self, refiner: Refiner, rule: Rule) -> None:
        super().__init__()
        self.refiner, self.rule = refiner, rule
        self.level_borders, self.sharpens = refiner.level_borders, refiner.sharpens
        self.feature_levels = refiner.feature_levels

    def forward(self, patches: RefinerInput) -> Tensor:
        """See `Refiner.forward`."""
        coarse = (patches.coarse - patches.center) / patches.spread  # (P, 1, h, w)
        images = (patches.image * 255).round().byte().permute(0, 2, 3, 1).numpy()
        plain = [self.rule.is_plain(*both) for both in zip(images, coarse[:, 0].numpy(), strict=True)]
        return torch.where(torch.tensor(plain).view(-1, 1, 1, 1), coarse, self.refiner(patches))


def plain_patches(model: DepthPredictor, image: ImageArray, rule: Rule) -> tuple[int, int]:
    """How many patches of a picture are plain, and how many it has."""
    height, width = image.shape[:2]
    layout = model.plan(height, width, "auto")
    coarse = model.infer(image, options=InferenceOptions(refine="none")).disparity
    picture, guide = resized(image, layout.canvas), resized(coarse, layout.canvas)
    cells = [layout.cell(index) for index in range(layout.patches)]
    return sum(rule.is_plain(picture[cell], guide[cell]) for cell in cells), len(cells)


def print_row(name: str, model: DepthPredictor, found: Sequence[EvalSample]) -> None:
    """A row of the table."""
    rows, borders, middles = zip(*(figures(model, sample, "trained", ce=True) for sample in found), strict=True)
    means = mean_scores(rows)
    cells = [f"{means[key]:.4f}" if key in means else "–" for key in COLUMNS]
    high = [f"{100 * np.percentile(np.concatenate(steps), 99):.3f}" for steps in (borders, middles)]
    print(f"| {name} | {' | '.join([*cells, ', '.join(high)])} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--levels", type=float, default=2.0)
    parser.add_argument("--bent", type=float, default=0.1)
    chosen = parser.parse_args(arguments)
    model, data = load_model(chosen.model, device="cpu", dtype="float32"), open_dataset(chosen.data)
    rule, found, counts = Rule(chosen.levels, chosen.bent), list[EvalSample](), list[tuple[int, int]]()
    for index in range(len(data)):
        sample = data[index]
        plain, patches = plain_patches(model, sample.image, rule)
        if patches > 1:
            counts.append((plain, patches))
            found += [sample] * (plain > 0)
    plain, patches = np.sum(counts, 0).tolist()
    print(f"{processor()}, {torch.get_num_threads()} threads\n")
    print(
        f"{plain} of {patches} patches are plain, {plain / patches:.1%}, in {len(found)} of {len(counts)} pictures.\n"
    )
    if not found:
        return
    print(f"| {model.full_name} | {' | '.join(COLUMNS.values())} | borders, middles: 99 % below, % of the range |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    print_row("refined", model, found)
    assert model.refiner is not None
    model.refiner = Skipping(model.refiner, rule)
    print_row("plain ones left coarse", model, found)


if __name__ == "__main__":
    main()
