"""`pro-engine eval`: a few lines over `pro_engine.evaluation`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pro_engine.cli import stop
from pro_engine.cli.flags import JsonFlag
from pro_engine.cli.models import note_cost
from pro_engine.cli.output import FAILED, complain, print_json, print_table, progress_bar, say
from pro_engine.evaluation.options import EvalOptions
from pro_engine.options import InferenceOptions, ModelOptions

if TYPE_CHECKING:
    from pro_engine.datasets import EvalDataset
    from pro_engine.evaluation.summary import EvalReport
    from pro_engine.inference.predictor import DepthPredictor

_SHOWN = ("absrel", "delta1", "r2", "d3r", "boundary_f1", "edge_recall", "edge_precision", "matte_boundary_recall")


def evaluate(
    data: Annotated[
        list[Path],
        typer.Option("--data", "-d", metavar="PATH", help="Folder of a dataset; repeat it for several"),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PATH", help="Folder for report.json and index.html; made if missing")
    ],
    options: EvalOptions,
    inference: InferenceOptions,
    model: ModelOptions,
    as_json: JsonFlag = False,
    debug: bool = False,
) -> None:
    """Score a model, or maps, on a dataset. OUT/index.html shows the result, OUT/report.json has it for programs."""
    from pro_engine.datasets import open_dataset
    from pro_engine.evaluation.report import report_as_dict, save_report
    from pro_engine.inference.load import load

    datasets = [open_dataset(path, options.kind) for path in data]
    if options.predictions is None:
        note_cost(model, inference)
    predictor = load(model) if options.predictions is None else None
    report = _run(datasets, predictor, options, inference, out, _about(data, datasets, predictor, options), debug)
    _, page = save_report(out, report)
    if as_json:
        print_json(report_as_dict(report))
    else:
        _tell(report, page)
    if report.stopped or report.skipped:
        raise typer.Exit(stop.exit_code() if report.stopped else FAILED)


def _about(
    data: Sequence[Path], datasets: Sequence[EvalDataset], predictor: DepthPredictor | None, options: EvalOptions
) -> dict[str, Any]:
    about: dict[str, Any] = {
        "data": "; ".join(f"{path} ({dataset.name})" for path, dataset in zip(data, datasets, strict=True))
    }
    if predictor is None:
        return {**about, "predictions": str(options.predictions)}
    return {**about, "model": predictor.name, "device": str(predictor.device), "dtype": predictor.dtype_name}


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
    from pro_engine.evaluation.run import ItemReport, SkippedItem
    from pro_engine.evaluation.run import evaluate as run
    from pro_engine.evaluation.summary import EvalReport

    if predictor is not None:
        about |= {"tiles": inference.tiles, "refine": inference.refine}
    done: list[ItemReport] = []
    skipped: list[SkippedItem] = []
    stopped, count = False, 0
    try:
        with progress_bar() as show:

            def progress(name: str, at: int, total: int) -> None:
                nonlocal count
                stop.check()
                count = total
                show(name, at, total)

            outcomes = run(
                datasets, predictor, options, inference=inference, folder=out, progress=progress, strict=debug
            )
            for outcome in outcomes:
                stop.check()
                if isinstance(outcome, SkippedItem):
                    skipped.append(outcome)
                    complain(outcome.name, outcome.error)
                else:
                    done.append(outcome)
    except KeyboardInterrupt:
        stop.finish()
        stopped = True
        print(f"Stopped: {len(done)} of {count} items are done and will be reported.", file=sys.stderr)
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
        say(f"Seams: {seams['ratio_total']:.3f} over {seams['pictures']:.0f} pictures; 1 is none.")
    scored = len(report.items)
    say(f"{scored} item{'s' * (scored != 1)} scored, {len(report.skipped)} not; see {page}")
