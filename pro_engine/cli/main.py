"""The command line: `pro-engine infer | scene | models | info | bench | export | train | eval | serve`.

Verbs are thin, imports late.

Exit codes: 0 all done, 1 something failed (one line on stderr for each failure), 2 the command was not understood, 130
stopped by Ctrl-C, 143 by SIGTERM. Results and `--json` go to stdout, and nothing else does; progress and complaints to
stderr.
"""

from __future__ import annotations

import dataclasses
import io
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pro_engine.cli import stop
from pro_engine.cli.evaluate import evaluate
from pro_engine.cli.flags import JsonFlag, errors_in_one_line, verb
from pro_engine.cli.models import info, models, note_cost
from pro_engine.cli.output import FAILED, print_json, print_table, progress_bar, say
from pro_engine.cli.scene import scene
from pro_engine.cli.train import app as train_app
from pro_engine.errors import ProEngineError
from pro_engine.jobs.kept_memory import prepare
from pro_engine.jobs.options import BenchInference, BenchOptions, ClusterOptions, ExportOptions, JobOptions
from pro_engine.options import InferenceOptions, ModelOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pro_engine.cli.outcomes import Outcome, Told
    from pro_engine.inference.predictor import DepthPredictor
    from pro_engine.jobs.photos import Failure, Photo, Video

    PhotoProgress = Callable[[Photo | Video, int, int | None], None]

app = typer.Typer(
    name="pro-engine",
    help="High-resolution depth from one photo, by Patch Refine Once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables leave 20 columns to the help of a flag, and cut long flags
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(train_app, name="train")
_NO_MODEL: dict[str, str | None] = {"model": None, "device": None, "dtype": None}


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version")] = False) -> None:
    if version:
        import pro_engine

        print(pro_engine.__version__)
        raise typer.Exit


@verb(app, "infer")
def infer(
    photos: Annotated[list[str], typer.Argument(metavar="PHOTO", hidden=True)],  # the text says more than a type
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="PATH", help="Folder for the results; made if missing")
    ] = Path(),
    *,
    wanted: JobOptions,
    inference: InferenceOptions,
    no_refine: Annotated[bool, typer.Option("--no-refine", help="The same as --refine none")] = False,
    model: ModelOptions,
    cluster: ClusterOptions,
    as_json: JsonFlag = False,
    debug: bool = False,
) -> None:
    """Depth maps, meshes and point clouds of photos and videos.

    PHOTO is a photo, a video, a folder of them, or a pattern in quotes such as "in/*.jpg". NAME.disparity.* is always
    written, NAME.depth.* in metres once a scale is known, and then what is asked for. Frames of a video are named
    NAME.0001 and so on, and have one scale.
    """
    if no_refine:
        inference = dataclasses.replace(inference, refine="none")

    def begin() -> _Begun:
        from pro_engine.inference.load import load
        from pro_engine.io.pictures import size_told
        from pro_engine.jobs.made import with_kept_names
        from pro_engine.jobs.photo_job import PhotoJob
        from pro_engine.jobs.photos import find_photos

        job = PhotoJob(out, wanted, inference)
        found, failures = find_photos(photos)
        if wanted.existing == "skip":
            found = with_kept_names(found, out)
        if found:
            note_cost(model, inference, size_told(found[0].path))
        if cluster.cluster is None:
            from pro_engine.jobs.infer import infer_all

            if not found:
                return _Begun(found, failures, dict(_NO_MODEL), lambda progress: iter(()))
            predictor = load(model)
            about = _about(predictor)
            _note_choices(predictor, model)
            infer_here = partial(infer_all, found, job, predictor, strict=debug)
            return _Begun(found, failures, about, lambda progress: infer_here(progress=progress))
        from pro_engine.jobs.cluster import address_of, infer_on_ray

        outcomes = infer_on_ray(
            found,
            job,
            partial(load, model.absolute()),
            address=address_of(cluster.cluster),
            workers=cluster.workers,
            gpu=model.device != "cpu",
        )
        about = _NO_MODEL | {"model": model.name, "device": cluster.cluster}
        return _Begun(found, failures, about, lambda progress: outcomes)

    _infer(begin, out, as_json=as_json)


@verb(app, "bench")
def bench(
    photo: Annotated[Path | None, typer.Argument(metavar="PHOTO", hidden=True)] = None,
    *,
    options: BenchOptions,
    inference: BenchInference,
    model: ModelOptions,
    as_json: JsonFlag = False,
) -> None:
    """Time every phase on one picture, and the floor of it.

    The floor is the passes through Ψ alone, timed in the same run. The picture is PHOTO, or one that is generated.
    """
    from pro_engine.inference.load import load
    from pro_engine.io.image import load_image
    from pro_engine.jobs.bench import run_bench, sample_picture

    width, height = options.size
    image = sample_picture(height, width) if photo is None else load_image(photo)[0]
    note_cost(model, inference, image.shape[:2])
    start = time.perf_counter()
    predictor = load(model)
    load_seconds = time.perf_counter() - start
    with progress_bar() as show:

        def on_step(done: int, total: int) -> None:
            stop.check()
            show("timing", done, total)

        report = run_bench(
            predictor,
            image,
            inference,
            load_seconds=load_seconds,
            runs=options.runs,
            warm_up=options.warm_up,
            on_step=on_step,
        )
    if as_json:
        print_json(dataclasses.asdict(report))
    else:
        say(report.title())
        print_table(("", ""), report.rows())


@verb(app, "export")
def export(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="PATH", help="Folder for psi.onnx and refiner.onnx; made if missing"),
    ],
    options: ExportOptions,
) -> None:
    """A model as ONNX files, for ONNX Runtime and other programs.

    `pro-engine infer --backend onnxruntime --weights OUT` runs them, and so do TensorRT and others.
    """
    from pro_engine.inference.load import load
    from pro_engine.jobs.export import export_onnx, write_runner

    predictor = load(options.model())
    for one in export_onnx(predictor, out):
        say(f"{one.path}: {one.size / 1e6:.1f} MB, within {one.difference:.0e} of PyTorch's range")
    if runner := write_runner(predictor, out):
        say(f"{runner}: takes a photo to its map by these files, without PyTorch")


@app.command()
def serve() -> None:
    """Serve another program over stdin and stdout: JSON, a line each.

    The Blender add-on is such a program.
    """
    from pro_engine.jobs.serve import serve as serve_here

    with errors_in_one_line():
        serve_here()


verb(app, "eval")(evaluate)
verb(app, "models")(models)
verb(app, "info")(info)
verb(app, "scene")(scene)


def main() -> None:
    """Run the command, and end the process."""
    prepare()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that is not UTF-8 ends no job
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    finally:
        stop.ignore()


def _about(predictor: DepthPredictor) -> dict[str, str | None]:
    return {"model": predictor.full_name, "device": str(predictor.device), "dtype": predictor.dtype_name}


class _Begun(NamedTuple):
    """A job under way: its photos, what is none, the name and place of its model, and what comes of the photos."""

    photos: list[Photo | Video]
    failures: list[Failure]
    about: dict[str, str | None]
    outcomes: Callable[[PhotoProgress], Iterator[Outcome]]


def _infer(begin: Callable[[], _Begun], folder: Path, *, as_json: bool) -> None:
    """Run the job and report; ends the program with exit code 1 when something failed, another when it was stopped."""
    told: Told | None = None
    photos: list[Photo | Video] = []
    about: dict[str, str | None] = dict(_NO_MODEL)
    stopped = False
    try:
        job = begin()
        about, photos, told = job.about, job.photos, _begin_to_tell(job, as_json=as_json)
        _collect(job, told)
    except (Exception, KeyboardInterrupt) as error:
        if not stop.is_stop(error):
            raise
        stopped = True
        stop.finish()
        print(f"Stopped: {told.how_far() if told else '0 of 0 photos are done.'}", file=sys.stderr)
    if told is not None and told.reports:
        _write_cameras(told, folder, photos)
    if as_json:
        nothing: dict[str, Any] = {"results": [], "videos": [], "failures": []}
        print_json({**about, **(told.to_json() if told else nothing), "stopped": stopped})
    if stopped or (told is not None and told.failures):
        raise typer.Exit(stop.exit_code() if stopped else FAILED)


def _begin_to_tell(job: _Begun, *, as_json: bool) -> Told:
    from pro_engine.cli.outcomes import Told

    return Told(job.photos, job.failures, as_json=as_json)


def _collect(job: _Begun, told: Told) -> None:
    """Tell what comes of each photo. Raises KeyboardInterrupt."""
    with progress_bar() as show:

        def progress(photo: Photo | Video, done: int, total: int | None) -> None:
            stop.check()
            told.progress(show, photo, done, total)

        for outcome in job.outcomes(progress):
            stop.check()
            told.add(outcome)
    stop.finish()


def _write_cameras(told: Told, folder: Path, photos: list[Photo | Video]) -> None:
    """Write intrinsics.json, also for photos that an unfinished job did; what goes wrong is a failure of the job."""
    from pro_engine.jobs.intrinsics import write_intrinsics
    from pro_engine.jobs.made import cameras
    from pro_engine.jobs.photos import Failure

    try:
        write_intrinsics(folder, cameras(folder, photos))
    except ProEngineError as error:
        told.add(Failure(str(folder), str(error)))


def _note_choices(predictor: DepthPredictor, model: ModelOptions) -> None:
    """Tell that another model looks at the patches, or that networks compute in bfloat16, where nobody asked for it and
    the model is not made so."""
    from pro_engine.models.presets import PRESETS

    if model.dtype == ModelOptions.dtype and predictor.device.type == "cpu" and predictor.dtype_name != "float32":
        print(
            f"note: {predictor.full_name} computes in {predictor.dtype_name}, which this processor does faster; "
            "--dtype float32 has it in float32.",
            file=sys.stderr,
        )
    if predictor.fine_name not in ("", PRESETS[model.name].fine) and model.fine == ModelOptions.fine:
        print(
            f"note: {predictor.fine_name} looks at the patches, as {predictor.name} takes long for each on a CPU; "
            "--fine same has it look at all.",
            file=sys.stderr,
        )
