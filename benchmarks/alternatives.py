"""Other ways to fine detail beside patches that are refined once: time and outlines on the same pictures.

    OMP_NUM_THREADS=1 python benchmarks/alternatives.py --data FOLDER [--items 9] [--model compact]
    OMP_NUM_THREADS=1 python benchmarks/alternatives.py --passes             # seconds of large passes alone

The first prints a row for each way over the pictures with exact outlines. A guided filter (He et al., "Guided Image
Filtering", 2010) of the coarse map has the grey picture as its guide; a large pass has the whole picture at several
times the area that Ψ was made for; patches four times are the mean of grids half a patch apart. The second times one
pass of Depth Anything V2 small, random weights, at 518 and 1036 pixels a side.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from outlines import COLUMNS, halo_share
from pairs import processor

from pro_engine.datasets import open_dataset
from pro_engine.datasets.sample import EvalSample
from pro_engine.evaluation.metrics import on_grid
from pro_engine.evaluation.scores import Scores, fit_to_truth, mean_scores, score_map
from pro_engine.inference import tiling
from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.inference.resize import resized
from pro_engine.options import InferenceOptions
from pro_engine.types import FloatMap, ImageArray

RADIUS = 2.0
"""Of the guided filter, in pixels of the coarse map."""
EPSILON = 1e-4
"""Its regularisation, for a guide from 0 to 1."""
SHOWN = ("edge_recall", "edge_precision", "boundary_f1", "halo", "absrel")
Way = Callable[[ImageArray], FloatMap]


def patches(model: DepthPredictor, options: InferenceOptions, image: ImageArray) -> FloatMap:
    """What the engine does with these options."""
    return model.infer(image, options=options).disparity


def guided(model: DepthPredictor, image: ImageArray) -> FloatMap:
    """The coarse map, its outlines moved to those of the picture by a guided filter."""
    coarse = model.infer(image, options=InferenceOptions(refine="none")).disparity
    height, width = image.shape[:2]
    seen = tiling.input_size(height, width, model.spec)
    radius = max(1, round(RADIUS * (height * width / (seen[0] * seen[1])) ** 0.5))
    guide = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    mean = partial(cv2.blur, ksize=(2 * radius + 1,) * 2)
    of_guide, of_map = mean(guide), mean(coarse)
    slope = (mean(guide * coarse) - of_guide * of_map) / (mean(guide * guide) - of_guide**2 + EPSILON)
    return np.asarray(mean(slope) * guide + mean(of_map - slope * of_guide), np.float32)


def large(model: DepthPredictor, times: int, image: ImageArray) -> FloatMap:
    """One pass over the whole picture at `times` the area."""
    height, width = image.shape[:2]
    size = tiling.input_size(height, width, replace(model.spec, input_area=times * model.spec.input_area))
    with torch.inference_mode():
        seen = model._to_tensor([resized(image, size)])
        disparity = model.psi.whole(seen, width / height).disparity[0, 0].float().numpy()
    return resized(disparity, (height, width))


def scored(way: Way, sample: EvalSample) -> Scores:
    """Scores of a way's map, and its processor seconds as `s`."""
    assert sample.disparity is not None and sample.valid is not None
    begun = time.process_time()
    values = way(sample.image)
    scores = {"s": time.process_time() - begun, **score_map(values, fit_to_truth(values, sample), sample)}
    mine = on_grid(values, sample.disparity.shape)[0].astype(np.float32)
    scores["halo"] = halo_share(mine, sample.disparity, sample.valid)
    return {name: value for name, value in scores.items() if np.isfinite(value)}


def rows(model: DepthPredictor) -> Iterator[tuple[str, Way]]:
    """The ways by name."""
    yield "coarse map", partial(patches, model, InferenceOptions(refine="none"))
    yield "coarse map, guided filter", partial(guided, model)
    for times in (4, 16):
        yield f"one pass of {times} times the area", partial(large, model, times)
    for passes, name in ((1, "patches once"), (4, "patches four times, averaged")):
        yield name, partial(patches, model, InferenceOptions(passes=passes))


def time_passes() -> None:
    """The second use of the module docstring."""
    from pro_engine.models.depth_anything import DepthAnything

    torch.manual_seed(0)
    psi = DepthPredictor(DepthAnything.from_size("small"), device="cpu", dtype="float32").psi
    print("| one pass | processor s |\n|---|---|")
    for side in (518, 1036):
        image = torch.rand(1, 3, side, side).contiguous(memory_format=torch.channels_last)
        begun = time.process_time()
        with torch.inference_mode():
            psi(image)
        print(f"| {side}x{side} | {time.process_time() - begun:.1f} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--items", type=int, default=9)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--passes", action="store_true")
    chosen = parser.parse_args(arguments)
    print(f"{processor()}, {torch.get_num_threads()} threads\n")
    if chosen.passes or chosen.data is None:
        time_passes()
        return
    model, data = load_model(chosen.model, device="cpu", dtype="float32"), open_dataset(chosen.data)
    found = [sample for sample in (data[k] for k in range(len(data))) if sample.exact_edges][: chosen.items]
    print(f"| {chosen.model}, {len(found)} pictures | processor s | {' | '.join(COLUMNS[name] for name in SHOWN)} |")
    print("|---" * (2 + len(SHOWN)) + "|")
    for name, way in rows(model):
        means = mean_scores([scored(way, sample) for sample in found])
        print(f"| {name} | {' | '.join(f'{means[key]:.4f}' for key in ('s', *SHOWN))} |", flush=True)


if __name__ == "__main__":
    main()
