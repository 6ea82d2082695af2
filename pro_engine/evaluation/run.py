"""A model, or maps that are there already, over datasets: every item scored, refined and coarse side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pro_engine.datasets.sample import EvalDataset, EvalSample
from pro_engine.errors import CancelledError, InputError, ProEngineError
from pro_engine.evaluation.metrics import consistency_error
from pro_engine.evaluation.options import EvalOptions
from pro_engine.evaluation.pictures import PagePicture, make_panels
from pro_engine.evaluation.predictions import check_folder, load_prediction
from pro_engine.evaluation.scores import Scores, fit_to_truth, score_map
from pro_engine.inference import runtime
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.inference.seams import SeamJumps, seam_jumps
from pro_engine.io.depth import save_depth
from pro_engine.options import InferenceOptions
from pro_engine.types import FloatMap

Progress = Callable[[str, int, int], object]
"""progress(name, done, total): called before every item, and once at the end."""

_DEFAULTS = EvalOptions()
_INFERENCE = InferenceOptions()
_MIB = 2**20


@dataclass(frozen=True)
class ItemReport:
    """One item: what it is, its scores (keys of `catalog.SCORES`), and how its map was made (`catalog.RUN_FIGURES`).

    coarse is empty where there is no second map to compare with; tiles is None where the patch grid is not known.
    seams are the jumps that `seam_ratio` divides; notes are sentences about what is odd; panels are pictures for the
    page, empty where it shows none.
    """

    dataset: str
    name: str
    group: str
    real: bool
    width: int
    height: int
    tiles: tuple[int, int] | None
    refined: Scores
    coarse: Scores
    run: Scores
    seams: SeamJumps | None = None
    notes: tuple[str, ...] = ()
    panels: tuple[PagePicture, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class SkippedItem:
    """An item without scores, and the sentence that says why."""

    dataset: str
    name: str
    error: str


@dataclass(frozen=True, eq=False)
class _ItemMaps:
    """The maps of one item and how they were made."""

    disparity: FloatMap
    coarse: FloatMap | None = None
    tiles: tuple[int, int] | None = None
    run: Scores = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _SameForAll:
    """What is the same for every item; `maps` is where maps are written."""

    predictor: DepthPredictor | None
    options: EvalOptions
    inference: InferenceOptions
    maps: Path | None
    shared_names: bool


def evaluate(
    datasets: Sequence[EvalDataset],
    predictor: DepthPredictor | None = None,
    options: EvalOptions = _DEFAULTS,
    *,
    inference: InferenceOptions = _INFERENCE,
    folder: Path | None = None,
    progress: Progress | None = None,
    strict: bool = False,
) -> Iterator[ItemReport | SkippedItem]:
    """Score the items of datasets one after the other; one that fails gives a `SkippedItem`, and the rest are done.

    Collect what is yielded in a `summary.EvalReport`. Items are read, inferred and freed one at a time.

    Args:
        datasets: from `open_dataset`.
        predictor: the model to run; None with `options.predictions`.
        options: what to measure.
        inference: how the model infers. Unless that is without refinement, its coarse map is scored too.
        folder: where `options.save_maps` writes maps/NAME.npy (maps/DATASET/NAME.npy with several datasets; predictions
            are looked for under the same names).
        progress: progress(name, done, total), called before every item and at the end.
        strict: raise an error that is a bug of ours, with its traceback, instead of reporting it.

    Raises:
        InputError: neither or both of predictor and predictions, no folder for maps, or a model without a refiner.
        FileError: the predictions are no folder of maps.
        CancelledError: progress raised it.
    """
    job = _checked_job(datasets, predictor, options, inference, folder)
    places = [(dataset, index) for dataset in datasets for index in _spread(len(dataset), options.items)]
    shown = set(_spread(len(places), options.pictures))
    return _items(places, shown, job, progress, strict)


def _checked_job(
    datasets: Sequence[EvalDataset],
    predictor: DepthPredictor | None,
    options: EvalOptions,
    inference: InferenceOptions,
    folder: Path | None,
) -> _SameForAll:
    if (predictor is None) == (options.predictions is None):
        raise InputError("Neither or both of a model and a folder of predictions are given; give one of them.")
    if options.predictions is not None:
        check_folder(options.predictions)
    if options.save_maps and folder is None:
        raise InputError("save_maps is set but there is no folder; give the folder to write to.")
    if predictor is not None:
        predictor.refiner_for(inference)  # an error before the first item
    maps = folder / "maps" if options.save_maps and folder is not None else None
    return _SameForAll(predictor, options, inference, maps, shared_names=len(datasets) > 1)


def _spread(count: int, wanted: int | None) -> list[int]:
    """At most `wanted` of the numbers below `count`, evenly spread; all of them for None."""
    if wanted is None or wanted >= count:
        return list(range(count))
    return [round(i) for i in np.linspace(0, count - 1, wanted)] if wanted > 1 else [0][:wanted]


def _items(
    places: Sequence[tuple[EvalDataset, int]],
    shown: set[int],
    job: _SameForAll,
    progress: Progress | None,
    strict: bool,
) -> Iterator[ItemReport | SkippedItem]:
    total = len(places)
    for place, (dataset, index) in enumerate(places):
        name = f"{dataset.name} {index}"  # until the item has been read
        try:
            if progress is not None:
                progress(name, place, total)
            sample = dataset[index]
            name = sample.name
            yield _item(dataset.name, sample, job, with_panels=place in shown)
        except CancelledError:
            raise
        except ProEngineError as error:
            yield SkippedItem(dataset.name, name, str(error))
        except MemoryError:
            yield SkippedItem(dataset.name, name, "Memory ran out; close other programs, or ask for a coarser grid.")
        except Exception as error:
            if strict:
                raise
            text = f"Unexpected {type(error).__name__}: {error}; run again with --debug and report it."
            yield SkippedItem(dataset.name, name, text)
    if progress is not None:
        progress("", total, total)


def _item(dataset: str, sample: EvalSample, job: _SameForAll, *, with_panels: bool) -> ItemReport:
    file_name = f"{dataset}/{sample.name}" if job.shared_names else sample.name
    if job.options.predictions is not None:
        prediction = load_prediction(job.options.predictions, file_name)
        made = _ItemMaps(prediction.disparity, tiles=prediction.tiles)
    else:
        made = _infer(sample, job)
    if job.maps is not None:
        save_depth(job.maps / f"{file_name}.npy", made.disparity, quantity="disparity")
    refined = fit_to_truth(made.disparity, sample)
    coarse = None if made.coarse is None else fit_to_truth(made.coarse, sample)
    seams = None if made.tiles is None else seam_jumps(made.disparity, made.tiles)
    if seams is None or not np.isfinite(seams.ratio):
        seams = None
    notes = []
    if refined is not None and refined.flipped:
        notes.append("The map is farther where the truth is nearer; it was scored as a constant.")
    if refined is not None and refined.unknown_share > 0:
        notes.append(f"{refined.unknown_share:.2%} of the map is not finite and got its median.")
    panels = make_panels(sample, made.disparity, made.coarse, refined, coarse) if with_panels else ()
    return ItemReport(
        dataset=dataset,
        name=sample.name,
        group=sample.group,
        real=sample.real,
        width=sample.image.shape[1],
        height=sample.image.shape[0],
        tiles=made.tiles,
        refined=score_map(made.disparity, refined, sample),
        coarse={} if made.coarse is None else score_map(made.coarse, coarse, sample),
        run={**made.run, **({} if seams is None else {"seam_ratio": seams.ratio})},
        seams=seams,
        notes=tuple(notes),
        panels=panels,
    )


def _infer(sample: EvalSample, job: _SameForAll) -> _ItemMaps:
    """The maps of a sample by the model, with what they cost."""
    predictor = job.predictor
    assert predictor is not None
    refines = job.inference.refine != "none"
    runtime.reset_peak_device_bytes(predictor.device)
    result = predictor.infer(sample.image, options=replace(job.inference, keep_coarse=refines))
    run = {"seconds": result.seconds}
    peaks = {
        "peak_memory_mib": runtime.peak_memory_bytes(),
        "peak_device_mib": runtime.peak_device_bytes(predictor.device),
    }
    run |= {name: peak / _MIB for name, peak in peaks.items() if peak is not None}
    if job.options.ce and refines and result.tiles != (1, 1):
        shifted = predictor.infer(sample.image, options=job.inference, shifted=True)
        error = consistency_error(result.disparity, shifted.disparity, shifted.valid)
        run |= {"ce": error} if np.isfinite(error) else {}
    return _ItemMaps(result.disparity, result.coarse, result.tiles, run)
