"""`pro-engine scene`: depth and one surface of a whole reconstruction."""

from __future__ import annotations

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pro_engine.cli import stop
from pro_engine.cli.flags import JsonFlag
from pro_engine.cli.output import FAILED, complain, print_json, progress_bar, say
from pro_engine.jobs.options import ClusterOptions, SceneOptions
from pro_engine.options import InferenceOptions, ModelOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pro_engine.jobs.photos import Failure, Photo
    from pro_engine.jobs.scene import SceneJob, ViewReport

INFER, OTHER = 8, 1
"""Parts of the whole job that a view counts for while it is inferred, and in each of the two steps that follow."""


def scene(
    reconstruction: Annotated[Path, typer.Argument(metavar="RECONSTRUCTION", hidden=True)],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="PATH", help="Folder for the results; made if missing")],
    *,
    wanted: SceneOptions,
    inference: InferenceOptions,
    model: ModelOptions,
    cluster: ClusterOptions,
    as_json: JsonFlag = False,
) -> None:
    """Aligned depth maps of a reconstruction, and one surface.

    RECONSTRUCTION is COLMAP's folder with cameras, images and points3D (sparse/0), or nerfstudio's transforms.json. A
    job that was stopped goes on.
    """
    from pro_engine.jobs.photos import Failure
    from pro_engine.jobs.scene import SceneJob, ViewReport
    from pro_engine.jobs.scene_results import finish

    job = SceneJob(reconstruction, out, wanted, inference)
    photos, failures = job.photos()
    for failure in failures:
        complain(failure.input, failure.error)
    whole, reports = (INFER + 2 * OTHER) * len(photos), list[ViewReport]()
    with progress_bar() as show:
        for outcome in _outcomes(job, photos, model, cluster):
            stop.check()
            if isinstance(outcome, Failure):
                failures.append(outcome)
                complain(outcome.input, outcome.error)
            else:
                reports.append(outcome)
                if not as_json:
                    say(_line(outcome))
            show("infer", INFER * (len(reports) + len(failures)), whole)
        steps = 0

        def step(text: str) -> None:
            nonlocal steps
            stop.check()
            show(text, INFER * len(photos) + steps, whole)
            steps += OTHER

        report = finish(job, sorted(reports, key=lambda one: one.name), step)
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    if as_json:
        print_json({**dataclasses.asdict(report), "failures": [dataclasses.asdict(one) for one in failures]})
    else:
        alone = "" if report.map_error is None else f", {report.map_error:.2%} without that of the points themselves"
        say(f"{out}: {report.error:.2%} error at points that were held out{alone}")
        say(f"{out}: {len(reports)} views, {report.faces} faces, {report.points} points -> {', '.join(report.outputs)}")
    if failures:
        raise typer.Exit(FAILED)


def _outcomes(
    job: SceneJob, photos: list[Photo], model: ModelOptions, cluster: ClusterOptions
) -> Iterator[ViewReport | Failure]:
    from pro_engine.inference.load import load
    from pro_engine.jobs.scene import infer_views

    if cluster.cluster is None:
        if photos:
            predictor = load(model)
            yield from (outcome for _, outcome in infer_views(photos, job, predictor))
        return
    from pro_engine.jobs.cluster import address_of, spread

    loading, attempts = partial(load, model.absolute()), partial(infer_views, job=job.absolute())
    address, gpu = address_of(cluster.cluster), model.device != "cpu"
    yield from spread(photos, attempts, loading, address=address, workers=cluster.workers, gpu=gpu)


def _line(report: ViewReport) -> str:
    if report.skipped:
        return f"{report.name}: is there already"
    how = "corrected" if report.corrected else "scale and shift"
    more = f", {report.matched} more matched" if report.matched else ""
    return (
        f"{report.name}: {report.inliers} of {report.points} points agree{more}, {report.error:.2%} error where held "
        f"out, {how}, {report.seconds:.1f} s"
    )
