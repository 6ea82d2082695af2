"""`pro-engine eval`: a few lines over `pro_engine.evaluation`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pro_engine.cli_model import (
    BatchFlag,
    DeviceFlag,
    DtypeFlag,
    ModelFlag,
    OfflineFlag,
    Refine,
    RefineFlag,
    RefinerFlag,
    TilesFlag,
    WeightsFlag,
    inference_options,
    load,
)
from pro_engine.cli_shared import (
    FAILED,
    STOPPED,
    DebugFlag,
    JsonFlag,
    complain,
    errors_in_one_line,
    help_text,
    print_json,
    print_table,
    progress_bar,
    usage,
)
from pro_engine.evaluation.options import EvalOptions
from pro_engine.options import InferenceOptions

if TYPE_CHECKING:
    from pro_engine.evaluation.datasets import EvalDataset
    from pro_engine.evaluation.summary import EvalReport
    from pro_engine.inference.predictor import DepthPredictor

DataFlag = Annotated[list[Path], typer.Option("--data", "-d", help="Folder of a dataset; may be given several times")]
_SHOWN = ("absrel", "delta1", "r2", "d3r", "boundary_f1", "edge_recall", "edge_precision", "matte_boundary_recall")


def evaluate(
    data: DataFlag,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for report.json and index.html; made if missing")],
    kind: Annotated[str, typer.Option(help="Kind of the datasets, or auto: told by their files")] = "auto",
    predictions: Annotated[Path | None, typer.Option(help=help_text(EvalOptions, "predictions"))] = None,
    items: Annotated[int | None, typer.Option(help=help_text(EvalOptions, "items"))] = None,
    ce: Annotated[bool, typer.Option("--ce", help=help_text(EvalOptions, "ce"))] = False,
    save_maps: Annotated[bool, typer.Option("--save-maps", help=help_text(EvalOptions, "save_maps"))] = False,
    pictures: Annotated[int, typer.Option(help=help_text(EvalOptions, "pictures"))] = EvalOptions.pictures,
    tiles: TilesFlag = "auto",
    refine: RefineFlag = Refine.TRAINED,
    batch: BatchFlag = "auto",
    model: ModelFlag = "compact",
    weights: WeightsFlag = None,
    refiner: RefinerFlag = None,
    device: DeviceFlag = "auto",
    dtype: DtypeFlag = "auto",
    offline: OfflineFlag = False,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Score a model, or maps that are there already, on a dataset; OUT/index.html shows the result."""
    inference = inference_options(tiles, refine, batch)
    options = usage(
        lambda: EvalOptions(items=items, ce=ce, predictions=predictions, save_maps=save_maps, pictures=pictures)
    )
    with errors_in_one_line(debug):
        from pro_engine.evaluation.datasets import open_dataset
        from pro_engine.evaluation.report import report_as_dict, save_report

        datasets = [open_dataset(path, kind) for path in data]
        predictor = load(model, device, dtype, offline, weights, refiner) if predictions is None else None
        report = _run(datasets, predictor, options, inference, out, _about(data, datasets, predictor, options), debug)
        _, page = save_report(out, report)
        if as_json:
            print_json(report_as_dict(report))
        else:
            _tell(report, page)
    if report.stopped or report.skipped:
        raise typer.Exit(STOPPED if report.stopped else FAILED)


def _about(
    data: Sequence[Path], datasets: Sequence[EvalDataset], predictor: DepthPredictor | None, options: EvalOptions
) -> dict[str, Any]:
    about: dict[str, Any] = {
        "data": "; ".join(f"{path} ({dataset.name})" for path, dataset in zip(data, datasets, strict=True))
    }
    if predictor is None:
        return {**about, "predictions": str(options.predictions)}
    dtype = str(predictor.dtype).removeprefix("torch.")
    return {**about, "model": predictor.name, "device": str(predictor.device), "dtype": dtype}


def _run(
    datasets: Sequence[EvalDataset],
    predictor: DepthPredictor | None,
    options: EvalOptions,
    inference: InferenceOptions,
    out: Path,
    about: dict[str, Any],
    debug: bool,
) -> EvalReport:
    """The report of all that was done until the end or Ctrl-C; complains of every item without scores."""
    from pro_engine.evaluation.run import ItemReport, Skipped
    from pro_engine.evaluation.run import evaluate as run
    from pro_engine.evaluation.summary import EvalReport

    if predictor is not None:
        about |= {"tiles": inference.tiles, "refine": inference.refine}
    done: list[ItemReport] = []
    skipped: list[Skipped] = []
    stopped = False
    try:
        with progress_bar() as show:
            outcomes = run(datasets, predictor, options, inference=inference, folder=out, progress=show, strict=debug)
            for outcome in outcomes:
                if isinstance(outcome, Skipped):
                    skipped.append(outcome)
                    complain(outcome.name, outcome.error)
                else:
                    done.append(outcome)
    except KeyboardInterrupt:
        stopped = True
        print(f"Stopped: {len(done)} items are done and will be reported.", file=sys.stderr)
    return EvalReport(about, tuple(done), tuple(skipped), stopped)


def _tell(report: EvalReport, page: Path) -> None:
    """The means on stdout, the coarse map's below those of the refined one, and where the page is."""
    from pro_engine.evaluation.catalog import SCORES

    rows = report.rows()
    names = [name for name in _SHOWN if any(name in row.refined for row in rows)]
    lines = []
    for row in rows:
        for label, count, scores in ((row.label, str(row.count), row.refined), ("  coarse", "", row.coarse)):
            texts = (f"{scores[name]:.{SCORES[name].digits}f}" if name in scores else "" for name in names)
            lines += [(label, count, *texts)] if scores else []
    if lines:
        print_table(("", "n", *(SCORES[name].title for name in names)), lines)
    seams = report.seams()
    if seams:
        print(f"Seams: {seams['ratio_total']:.3f} over {seams['pictures']:.0f} pictures; 1 is none.")
    scored = len(report.items)
    print(f"{scored} item{'s' * (scored != 1)} scored, {len(report.skipped)} not; see {page}")
