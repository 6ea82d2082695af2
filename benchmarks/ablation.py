"""What consistency training (GPCT) and Bias Free Masking (BFM) are good for, measured with one command on a CPU:

    python benchmarks/ablation.py --work FOLDER

It renders a training set whose labels of glass are wrong and a test set whose labels are right, trains one small
refiner per row on the same samples from the same weights, and prints the tables of docs/training.md. What is in the
folder already is not made again. docs/training.md says what the columns are.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import typer
from glass_scenes import render
from torch import nn

import pro_engine
from pro_engine.cli.flags import verb
from pro_engine.cli.output import say as say_result
from pro_engine.datasets import open_dataset
from pro_engine.datasets.sample import EvalSample
from pro_engine.evaluation.boundaries import boundary_f1
from pro_engine.evaluation.metrics import abs_rel, abs_rel_inside, consistency_error
from pro_engine.evaluation.scores import Scores, fit_to_truth, mean_scores
from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.inference.seams import SeamJumps, seam_jumps
from pro_engine.io.atomic import atomic_path
from pro_engine.io.weights import bundled_weights, save_weights
from pro_engine.models.presets import PRESETS, build_refiner
from pro_engine.models.refiner_light import LightRefiner
from pro_engine.options import Checked, InferenceOptions, option, same_as
from pro_engine.training.gpct import plan_group
from pro_engine.training.options import PUBLISHED_OVERLAP, Glass, RefinerConfig
from pro_engine.training.provenance import file_hash
from pro_engine.training.refiner import run_refiner
from pro_engine.types import FloatMap

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PSI = "compact"
"""The model whose Ψ it is."""
TRAINING_SCENES, TEST_SCENES = 700_000, 800_000
"""First numbers of the scenes of either set, away from those that the bundled Ψ was trained on."""
GRID = (4, 4)
"""Patches of a test picture, as published; with the default sizes a patch then has about as many pixels as Ψ sees."""
LEARNING_RATE, WARM_UP = 1e-3, 30

RESULTS = "results.json"
COLUMNS = {"ce": ("CE", 4), "absrel": ("AbsRel", 4), "transparent_absrel": ("AbsRel on glass", 4),
           "boundary_f1": ("F1", 4), "seam_ratio": ("seams", 2)}  # fmt: skip
"""Scores of a row, with title and digits."""


@dataclass(frozen=True)
class Variant:
    """One refiner: how it is trained."""

    name: str
    gpct: bool
    bfm: bool
    overlap: float = PUBLISHED_OVERLAP


PARTS = (
    Variant("neither", gpct=False, bfm=False),
    Variant("BFM", gpct=False, bfm=True),
    Variant("GPCT", gpct=True, bfm=False),
    Variant("both", gpct=True, bfm=True),
)
"""The rows of the first table."""
SWEEP = tuple(
    Variant(f"overlap-{name}", gpct=True, bfm=False, overlap=share)
    for name, share in (("0", 0.0), ("1-8", 1 / 8), ("1-4", 1 / 4), ("5-8", 5 / 8), ("7-8", 7 / 8))
)
"""The rows of the second table, but for the published overlap, which is the row GPCT of the first."""
START = "start"
"""The row of the untrained refiner, whose map is what training starts from."""
PAIRS = (
    ("ce", "neither", "GPCT"),
    ("ce", "BFM", "both"),
    ("transparent_absrel", "neither", "BFM"),
    ("transparent_absrel", "GPCT", "both"),
)
"""What is compared: a score, the row without the part that is to lower it, and the row with it."""
VARIANTS = {variant.name: variant for variant in PARTS + SWEEP}
USUAL = tuple(name for name in VARIANTS if name not in ("overlap-0", "overlap-7-8"))


@dataclass(frozen=True, kw_only=True)
class Options(Checked):
    """What the command can be told. The flags are made from these fields."""

    work: Path = option(help="Folder for pictures, runs and results; what is there is not made again")
    steps: int = option(700, "Steps of each refiner, one picture each", minimum=1)
    patch: tuple[int, int] = option((128, 96), "Size of a patch as Ψ sees it", minimum=1, items="width, height")
    size: tuple[int, int] = option((512, 384), "Size of the pictures", minimum=1, items="width, height")
    pictures: int = option(60, "Training pictures, all with some glass", minimum=2)
    test_pictures: int = option(24, "Test pictures, likewise", minimum=2)
    target: Literal["local", "label"] = same_as(
        RefinerConfig, "target", default="label", help="What refiners aim at: the label, as published, or what ships"
    )
    seed: int = option(0, "Of the refiners' first weights and of their samples", minimum=0)
    rows: tuple[str, ...] = option(USUAL, "Refiners to train", choices=tuple(VARIANTS))


def fill(folder: Path, first: int, pictures: int, size: tuple[int, int], glass: Glass) -> None:
    """Have `folder` hold that many pictures; see `glass_scenes.render`."""
    for done in render(folder, first, pictures, size, glass):
        say(f"{folder.name}: {done} of {pictures} pictures", again=True)
    say(f"{folder.name}: {pictures} pictures")


def first_weights(work: Path, seed: int) -> Path:
    """A file in `work` with random weights of a refiner for the bundled Ψ, drawn from the seed, whose residual is 0.

    A residual of chance would first have to be unlearnt, which in so short a training kills the head's last neurons.
    """
    path = work / f"initial-{seed}.safetensors"
    if path.exists():
        return path
    torch.manual_seed(seed)
    refiner = build_refiner(PRESETS[PSI])
    assert isinstance(refiner, LightRefiner)
    last = refiner.last[-1]
    assert isinstance(last, nn.Conv2d)
    nn.init.zeros_(last.weight)
    save_weights(path, refiner.state_dict())
    return path


def train(variant: Variant, options: Options, data: Path, initial: Path) -> Path:
    """The weights of a variant's refiner; a run that was begun goes on."""
    out = options.work / "runs" / variant.name
    config = RefinerConfig(
        data=(data,),
        out=out,
        psi=PSI,
        initial=initial,
        steps=options.steps,
        batch=1,
        patch=options.patch,
        overlap=variant.overlap,
        gpct=variant.gpct,
        bfm=variant.bfm,
        target=options.target,
        seed=options.seed,
        learning_rate=LEARNING_RATE,
        warm_up=min(WARM_UP, options.steps),
        log_every=25,
        save_every=50,
        picture_every=0,
        mask_cache=options.work / "masks",
    )
    run_refiner(config, lambda done, total, text: say(f"{variant.name}: {done} of {total}, {text}", again=True))
    return out / "model.safetensors"


def predictor_of(weights: Path, patch: tuple[int, int]) -> DepthPredictor:
    """The bundled Ψ with these refiner weights, at the patch size of the training; its maps are left as they are."""
    predictor = load_model(PSI, refiner_weights=weights)
    predictor.spec = dataclasses.replace(predictor.spec, input_area=patch[0] * patch[1])
    assert predictor.refiner is not None
    predictor.refiner.level_borders = predictor.refiner.sharpens = False
    return predictor


class Measured(NamedTuple):
    """One test picture: the scores of its refined and of its coarse map, and the jumps at the borders of patches."""

    name: str
    refined: Scores
    coarse: Scores
    seams: SeamJumps


def measure(predictor: DepthPredictor, data: Path) -> Iterator[Measured]:
    """Every test picture in name order."""
    dataset = open_dataset(data, "scenes")
    options = InferenceOptions(tiles=GRID, keep_coarse=True)
    for sample in (dataset[index] for index in range(len(dataset))):
        result = predictor.infer(sample.image, options=options)
        shifted = predictor.infer(sample.image, options=options, shifted=True)
        assert result.coarse is not None
        refined = scores_of(result.disparity, sample)
        refined["ce"] = consistency_error(result.disparity, shifted.disparity, shifted.valid)
        yield Measured(
            sample.name, refined, scores_of(result.coarse, sample), seam_jumps(result.disparity, result.tiles)
        )


def scores_of(disparity: FloatMap, sample: EvalSample) -> Scores:
    """The scores of a map that need the truth; scale and shift are fitted to all known pixels, glass included."""
    aligned = fit_to_truth(disparity, sample)
    assert aligned is not None and sample.transparent is not None
    scores = {
        "absrel": abs_rel(aligned.depth, aligned.true_depth),
        "transparent_absrel": abs_rel_inside(aligned, sample.transparent),
        "boundary_f1": boundary_f1(aligned),
    }
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def rows_of(pictures: Sequence[Measured], name: str) -> dict[str, dict[str, Any]]:
    """The row `coarse` and the row `name`: means over the pictures that have the score, and each picture's own scores.

    `seam_ratio` is over the sums of the pictures' jumps.
    """
    rows: dict[str, dict[str, Any]] = {}
    for key, scores in (("coarse", [p.coarse for p in pictures]), (name, [p.refined for p in pictures])):
        own = {picture.name: own for picture, own in zip(pictures, scores, strict=True)}
        rows[key] = {"mean": mean_scores(scores), "pictures": own}
    border, middle = (sum(jumps) for jumps in zip(*(picture.seams for picture in pictures), strict=True))
    rows[name]["mean"]["seam_ratio"] = border / middle
    return rows


def tables(rows: Mapping[str, Mapping[str, Any]], patch: tuple[int, int]) -> str:
    """The results in Markdown: the parts, then the overlaps."""
    means = {name: row["mean"] for name, row in rows.items()}
    parts = [(name, means[name]) for name in ("coarse", START, *(v.name for v in PARTS)) if name in means]
    blocks = [_table("refiner", parts)]
    sweep = sorted((VARIANTS["GPCT"], *SWEEP), key=lambda variant: variant.overlap)
    found = [(_overlap_text(v, patch), means[v.name]) for v in sweep if v.name in means]
    if len(found) > 1:
        blocks.append(_table("overlap", found))
    return "\n\n".join(blocks)


def _table(title: str, rows: Sequence[tuple[str, Mapping[str, float]]]) -> str:
    lines = [[title, *(name for name, _ in COLUMNS.values())], ["---"] + ["---:"] * len(COLUMNS)]
    for label, scores in rows:
        cells = (f"{scores[key]:.{digits}f}" if key in scores else "–" for key, (_, digits) in COLUMNS.items())
        lines.append([label, *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _overlap_text(variant: Variant, patch: tuple[int, int]) -> str:
    group = plan_group((patch[1], patch[0]), variant.overlap)
    shared = 2 * patch[0] - group.region[1]
    return f"{variant.overlap:.3g} ({shared} of {patch[0]} px)"


def comparisons(rows: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What GPCT does to CE and BFM to the error on glass: the means with over without, and in how many pictures it is
    lower. Of pairs of rows that are both there."""
    found = []
    for score, without, with_ in PAIRS:
        if without not in rows or with_ not in rows:
            continue
        before, after = (rows[name]["pictures"] for name in (without, with_))
        both = [(before[name][score], after[name][score]) for name in before if score in before[name]]
        if both:
            ratio = sum(value for _, value in both) / sum(value for value, _ in both)
            lower = sum(new < old for old, new in both)
            found.append({"score": score, "without": without, "with": with_, "ratio": ratio, "lower": lower,
                          "pictures": len(both)})  # fmt: skip
    return found


def run(options: Options) -> dict[str, Any]:
    """Everything; what is known after each row is in the folder's `RESULTS`, and returned at the end.

    Raises:
        InputError, FileError, DependencyError, TrainingError: as `render_dataset` and `run_refiner` do.
        CancelledError: stopped by Ctrl-C; the same command goes on.
    """
    (width, height), work = options.size, options.work
    training = work / f"train-{options.pictures}-{width}x{height}"
    test = work / f"test-{options.test_pictures}-{width}x{height}"
    fill(training, TRAINING_SCENES, options.pictures, options.size, "behind")
    fill(test, TEST_SCENES, options.test_pictures, options.size, "surface")
    initial = first_weights(work, options.seed)
    results = begun(options)
    for name in (START, *options.rows):
        if name in results["rows"]:
            continue
        weights = initial if name == START else train(VARIANTS[name], options, training, initial)
        pictures = list(measure(predictor_of(weights, options.patch), test))
        results = begun(options)  # another process may have added rows meanwhile
        results["rows"] |= rows_of(pictures, name)
        results["comparisons"] = comparisons(results["rows"])
        with atomic_path(work / RESULTS) as path:
            path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        say(f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in results["rows"][name]["mean"].items()))
    return results


def begun(options: Options) -> dict[str, Any]:
    """The results in the folder, or empty ones where they are of other options or of another Ψ."""
    about = {key: value for key, value in dataclasses.asdict(options).items() if key not in ("work", "rows")}
    about["weights"] = file_hash(bundled_weights(PRESETS[PSI].weights.filename))
    empty: dict[str, Any] = {"version": pro_engine.__version__, "options": about, "rows": {}, "comparisons": []}
    path = options.work / RESULTS
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    same = all(found.get(key) == json.loads(json.dumps(empty[key])) for key in ("version", "options"))
    return found if same else empty


def say(text: str, *, again: bool = False) -> None:
    """A line on stderr; with `again` only where that is a terminal, to be written over by the next."""
    if not again or sys.stderr.isatty():
        print(f"\r{text}\033[K" if again else text, end="" if again else "\n", file=sys.stderr, flush=True)


@verb(app, "ablation")
def main(options: Options) -> None:
    """What GPCT and BFM are good for: trains a small refiner for each row and prints the tables."""
    logger = logging.getLogger("pro_engine")
    level = logger.level
    logger.setLevel(logging.ERROR)  # that previews are small is meant
    try:
        results = run(options)
    finally:
        logger.setLevel(level)
    say_result(tables(results["rows"], options.patch))
    say_result("")
    for pair in results["comparisons"]:
        title, _ = COLUMNS[pair["score"]]
        pictures = f"lower in {pair['lower']} of {pair['pictures']} pictures"
        say_result(f"- {title}, {pair['with']} over {pair['without']}: {pair['ratio']:.2f} ({pictures})")


if __name__ == "__main__":
    app()
