"""The command line: `pro-engine infer | models | info | bench | export | train | eval | serve`.

Verbs are thin, imports late.

Exit codes: 0 all done, 1 something failed (one line on stderr for each failure), 2 the command was not understood, 130
stopped by Ctrl-C. Results and `--json` go to stdout, progress and complaints to stderr.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pro_engine.cli_eval import evaluate
from pro_engine.cli_model import (
    Backend,
    BackendFlag,
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
    whole_number,
)
from pro_engine.cli_shared import (
    FAILED,
    STOPPED,
    DebugFlag,
    JsonFlag,
    complain,
    errors_in_one_line,
    help_text,
    pair,
    print_json,
    print_table,
    progress_bar,
    usage,
)
from pro_engine.cli_train import app as train_app
from pro_engine.jobs.options import JobOptions
from pro_engine.process import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pro_engine.jobs.photos import Failure, Photo
    from pro_engine.jobs.report import PhotoReport

    PhotoProgress = Callable[[Photo, int, int], None]

app = typer.Typer(
    name="pro-engine",
    help="High-resolution depth from one photo, by Patch Refine Once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(train_app, name="train")


class Existing(str, Enum):
    """The values of --existing."""

    OVERWRITE = "overwrite"
    SKIP = "skip"
    FAIL = "fail"


class ExportFormat(str, Enum):
    """The values of --format."""

    ONNX = "onnx"


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    if version:
        import pro_engine

        print(pro_engine.__version__)
        raise typer.Exit


@app.command()
def infer(
    photos: Annotated[list[str], typer.Argument(help="Photos, folders or quoted patterns", metavar="PHOTO...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results; made if missing")] = Path(),
    maps: Annotated[str, typer.Option(help=help_text(JobOptions, "maps"))] = "npz",
    mesh: Annotated[str, typer.Option(help=help_text(JobOptions, "mesh"))] = "",
    cloud: Annotated[str, typer.Option(help=help_text(JobOptions, "cloud"))] = "",
    preview: Annotated[bool, typer.Option("--preview", help=help_text(JobOptions, "preview"))] = False,
    near: Annotated[float | None, typer.Option(help=help_text(JobOptions, "near_m"))] = None,
    far: Annotated[float | None, typer.Option(help=help_text(JobOptions, "far_m"))] = None,
    keep_background: Annotated[
        bool, typer.Option("--keep-background", help=help_text(JobOptions, "keep_background"))
    ] = False,
    align: Annotated[Path | None, typer.Option(help=help_text(JobOptions, "align"))] = None,
    fov: Annotated[float | None, typer.Option(help=help_text(JobOptions, "fov_x_deg"))] = None,
    focal_35mm: Annotated[float | None, typer.Option("--focal-35mm", help=help_text(JobOptions, "focal_35mm"))] = None,
    stride: Annotated[str, typer.Option(help=help_text(JobOptions, "stride"))] = "auto",
    edge_rtol: Annotated[float, typer.Option(help=help_text(JobOptions, "edge_rtol"))] = 0.04,
    sequence: Annotated[bool, typer.Option("--sequence", help=help_text(JobOptions, "sequence"))] = False,
    existing: Annotated[Existing, typer.Option(help=help_text(JobOptions, "existing"))] = Existing.OVERWRITE,
    tiles: TilesFlag = "auto",
    refine: RefineFlag = Refine.TRAINED,
    no_refine: Annotated[bool, typer.Option("--no-refine", help="The same as --refine none")] = False,
    batch: BatchFlag = "auto",
    model: ModelFlag = "compact",
    weights: WeightsFlag = None,
    refiner: RefinerFlag = None,
    device: DeviceFlag = "auto",
    dtype: DtypeFlag = "auto",
    backend: BackendFlag = Backend.TORCH,
    offline: OfflineFlag = False,
    cluster: Annotated[
        str | None,
        typer.Option(help="Share the photos out over a Ray cluster: ray for this machine, or ray://HOST:PORT"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Models on the cluster; by default one on each GPU, else each machine", min=1)
    ] = None,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Depth of photos: NAME.disparity.* always, NAME.depth.* in metres once a scale is known, and what is asked."""
    options = inference_options(tiles, Refine.NONE if no_refine else refine, batch)
    wanted = usage(
        lambda: JobOptions(
            maps=_formats(maps),
            mesh=_formats(mesh),
            cloud=_formats(cloud),
            preview=preview,
            near_m=near,
            far_m=far,
            keep_background=keep_background,
            align=align,
            fov_x_deg=fov,
            focal_35mm=focal_35mm,
            stride="auto" if stride == "auto" else whole_number("stride", stride),
            edge_rtol=edge_rtol,
            sequence=sequence,
            existing=existing.value,
        )
    )
    with errors_in_one_line(debug):
        from pro_engine.jobs.photo_job import PhotoJob
        from pro_engine.jobs.photos import find_photos

        found, failures = find_photos(photos)
        job = PhotoJob(out, wanted, options)
        loaded = partial(load, model, device, dtype, offline, _absolute(weights), _absolute(refiner), backend)
        if cluster is not None:
            from pro_engine.jobs.cluster import address_of, infer_on_ray

            outcomes = infer_on_ray(
                found, job, loaded, address=address_of(cluster), workers=workers, gpu=device != "cpu"
            )
            _infer_found(found, failures, model, cluster, lambda progress: outcomes, as_json=as_json)
            return
        from pro_engine.jobs.infer import infer_all

        predictor = loaded() if found else None
        name, place = (None, None) if predictor is None else (predictor.name, str(predictor.device))

        def one_by_one(progress: PhotoProgress) -> Iterator[PhotoReport | Failure]:
            if predictor is not None:
                yield from infer_all(found, job, predictor, progress=progress, strict=debug)

        _infer_found(found, failures, name, place, one_by_one, as_json=as_json)


@app.command()
def models(as_json: JsonFlag = False) -> None:
    """The models by name, their licences, and whether their weights are here."""
    with errors_in_one_line():
        from pro_engine.jobs.system import list_models

        rows = list_models()
        if as_json:
            print_json(rows)
            return
        print_table(("name", "summary", "licence", "commercial use", "weights"), [tuple(row.values()) for row in rows])


@app.command()
def info(as_json: JsonFlag = False) -> None:
    """Versions, devices, memory, bundled weights and extras of this installation."""
    with errors_in_one_line():
        from pro_engine.jobs.system import system_info

        facts = system_info()
        if as_json:
            print_json(facts)
            return
        print_table(("", ""), [(name.replace("_", " "), _text(value)) for name, value in facts.items()])


@app.command()
def bench(
    photo: Annotated[Path | None, typer.Argument(help="A photo to time on; by default one is generated")] = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT in pixels of the generated picture")] = "3840x2160",
    runs: Annotated[int, typer.Option(min=1, help="Timed runs")] = 5,
    warm_up: Annotated[int, typer.Option(min=1, help="Runs before them that do not count")] = 1,
    tiles: TilesFlag = "4x4",
    refine: RefineFlag = Refine.TRAINED,
    batch: BatchFlag = "auto",
    model: ModelFlag = "compact",
    weights: WeightsFlag = None,
    refiner: RefinerFlag = None,
    device: DeviceFlag = "auto",
    dtype: DtypeFlag = "auto",
    backend: BackendFlag = Backend.TORCH,
    offline: OfflineFlag = False,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Time every phase on one picture, and the floor: its Ψ passes alone, in the same run."""
    options = inference_options(tiles, refine, batch)
    width, height = pair("size", size)
    with errors_in_one_line(debug):
        from pro_engine.io.image import load_image
        from pro_engine.jobs.bench import run_bench, sample_picture

        start = time.perf_counter()
        predictor = load(model, device, dtype, offline, weights, refiner, backend)
        load_seconds = time.perf_counter() - start
        image = sample_picture(height, width) if photo is None else load_image(photo)[0]
        with progress_bar() as show:
            report = run_bench(
                predictor,
                image,
                options,
                load_seconds=load_seconds,
                runs=runs,
                warm_up=warm_up,
                on_step=lambda done, total: show("timing", done, total),
            )
        if as_json:
            print_json(dataclasses.asdict(report))
        else:
            print(report.title())
            print_table(("", ""), report.rows())


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for psi.onnx and refiner.onnx; made if missing")],
    format: Annotated[ExportFormat, typer.Option(help="Of the files")] = ExportFormat.ONNX,
    model: ModelFlag = "compact",
    weights: WeightsFlag = None,
    refiner: RefinerFlag = None,
    offline: OfflineFlag = False,
    debug: DebugFlag = False,
) -> None:
    """A model as ONNX files, for ONNX Runtime, TensorRT and others; `--backend onnxruntime --weights OUT` runs them."""
    with errors_in_one_line(debug):
        from pro_engine.jobs.export import export_onnx

        for one in export_onnx(load(model, "cpu", "float32", offline, weights, refiner), out):
            print(f"{one.path}: {one.size / 1e6:.1f} MB, within {one.difference:.0e} of PyTorch's range")


@app.command()
def serve() -> None:
    """Serve another program, such as the Blender add-on, over this process's stdin and stdout: JSON, a line each."""
    from pro_engine.worker import serve as serve_here

    serve_here()


app.command("eval")(evaluate)


def main() -> None:
    """The console script."""
    prepare()
    app()


def _infer_found(
    photos: list[Photo],
    failures: list[Failure],
    model: str | None,
    place: str | None,
    outcomes: Callable[[PhotoProgress], Iterator[PhotoReport | Failure]],
    *,
    as_json: bool,
) -> None:
    """Run the job and report; ends the program with exit code 1 when something failed, 130 when it was stopped."""
    from pro_engine.jobs.report import PhotoReport

    for failure in failures:
        complain(failure.input, failure.error)
    reports: list[PhotoReport] = []
    before, stopped = len(failures), False
    try:
        with progress_bar() as show:

            def progress(photo: Photo, done: int, total: int) -> None:
                show(f"{len(reports) + len(failures) - before + 1}/{len(photos)} {photo.path.name}", done, total)

            for outcome in outcomes(progress):
                if isinstance(outcome, PhotoReport):
                    reports.append(outcome)
                    _tell(outcome, as_json=as_json)
                else:
                    failures.append(outcome)
                    complain(outcome.input, outcome.error)
    except KeyboardInterrupt:
        stopped = True
        print(f"Stopped: {len(reports)} of {len(photos)} photos are done.", file=sys.stderr)
    if as_json:
        print_json(
            {
                "model": model,
                "device": place,
                "results": [report.to_json() for report in reports],
                "failures": [dataclasses.asdict(failure) for failure in failures],
                "stopped": stopped,
            }
        )
    if stopped or failures:
        raise typer.Exit(STOPPED if stopped else FAILED)


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()


def _formats(text: str) -> tuple[str, ...]:
    """`npz,exr` as a tuple without repeats."""
    return tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))


def _tell(report: PhotoReport, *, as_json: bool) -> None:
    """One line on stdout for a photo that is done, its warnings on stderr."""
    for warning in report.warnings:
        print(f"note: {report.input}: {warning}", file=sys.stderr)
    if as_json:
        return
    if report.skipped:
        print(f"{report.input}: skipped, its results are there already")
        return
    rows, cols = report.tiles
    names = ", ".join(Path(out["path"]).name for out in report.outputs)
    print(f"{report.input}: {report.width}x{report.height}, {rows}x{cols} patches, {report.seconds:.1f} s -> {names}")


def _text(value: object) -> str:
    """A fact of `info` on one line."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_text(item)}" for key, item in value.items()) or "none"
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)
