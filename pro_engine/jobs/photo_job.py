"""One photo, from its file to every file that is asked for: the one path that all hosts take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from pro_engine.errors import CancelledError, FileError, InputError, ProEngineError, ScaleUnknownError
from pro_engine.inference.panorama import infer_panorama
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.inference.runtime import report
from pro_engine.io.depth import load_depth
from pro_engine.io.image import reduced_image
from pro_engine.io.paths import writing_failed
from pro_engine.jobs.intrinsics import camera_of
from pro_engine.jobs.made import FileMark, Provenance
from pro_engine.jobs.metres import PhotoLens, PhotoScale
from pro_engine.jobs.options import CLOUD_FORMATS, MAP_FORMATS, MESH_FORMATS, NORMAL_FORMATS, JobOptions
from pro_engine.jobs.outputs import Output
from pro_engine.jobs.photos import Failure, FramePhoto, Photo, Video
from pro_engine.jobs.report import PhotoReport
from pro_engine.jobs.scale import ShotScale, ShotTurn, Written, find_lens, no_metres
from pro_engine.jobs.sensor import sensor_prompt
from pro_engine.jobs.writing import PhotoWork, notes_of, write_geometry, write_maps
from pro_engine.options import InferenceOptions, OptionError
from pro_engine.types import DepthResult, LoadedPhoto

Phase = Literal["read", "infer", "write"]
_PICTURES = ("preview", "picture", "mask", "alpha")

PhaseProgress = Callable[[Phase, int, int], object]
"""progress(phase, done, total): as each phase begins, and after every batch of "infer"; returning False stops."""


Step = Callable[[Phase, int, int], object]
"""As `PhaseProgress`, but it raises CancelledError to stop."""
Made = TypeVar("Made")


@dataclass(frozen=True)
class ReadPhoto:
    """A photo that was read, in `seconds`; objection: as of `PhotoJob.objection`."""

    photo: Photo
    outputs: list[Output]
    loaded: LoadedPhoto
    lens: PhotoLens
    reduced: bool
    mark: FileMark
    objection: str
    seconds: float


class InferredPhoto:
    """A photo with its result, until that is taken."""

    def __init__(self, ready: ReadPhoto, work: PhotoWork, result: DepthResult, turn: ShotTurn | None) -> None:
        self.ready, self.work, self.turn = ready, work, turn
        self.size = result.disparity.shape
        self._results = [result]

    def take(self) -> DepthResult:
        """The result, once: nothing else holds its maps then, so that each is freed when it is written."""
        return self._results.pop()


@dataclass(frozen=True)
class PhotoJob:
    """What is to be done with each photo of a job. Plain values, which can be sent to another process.

    Attributes:
        folder: where the results go; made if missing.
        options: which files to write, and where metres and the lens come from.
        inference: how to infer. `keep_coarse` is set by what `options` need.
        inputs: resolved paths of photos and videos that no result may replace, besides that of the photo itself.
    """

    folder: Path
    options: JobOptions = field(default_factory=JobOptions)
    inference: InferenceOptions = field(default_factory=InferenceOptions)
    inputs: frozenset[Path] = frozenset()

    def over(self, photos: Sequence[Photo | Video]) -> PhotoJob:
        """The same job, of which no result may replace one of these photos and videos."""
        return replace(self, inputs=frozenset(photo.path.resolve() for photo in photos))

    def absolute(self) -> PhotoJob:
        """The same job for a process with another working folder."""
        paths = {name: getattr(self.options, name) for name in ("align", "keep_mask", "drop_mask")}
        options = replace(self.options, **{name: path and path.absolute() for name, path in paths.items()})
        return replace(self, folder=self.folder.absolute(), options=options)

    def shot(self, before: ShotScale | None = None) -> ShotScale | None:
        """What the next photo shares with those before it: None if the photos are no frames of one shot."""
        return (before or ShotScale()) if self.options.sequence else None

    def outputs(self, photo: Photo, *, metric: bool = False) -> list[Output]:
        """Every file that will be written for a photo; depth maps only where the scale will be known."""
        job = self.options
        kinds = ["disparity"]
        if metric or job.measured() or any(way is not None for way in (job.align, job.near_m, job.camera_height_m)):
            kinds.append("depth")
        wanted = [(kind, name, MAP_FORMATS[name]) for kind in kinds for name in job.maps]
        wanted += [("normals", name, NORMAL_FORMATS[name]) for name in job.normal_maps]
        pictures = _PICTURES[isinstance(photo, FramePhoto) :]  # frames have no preview
        wanted += [(kind, "png", ".png") for kind in pictures if getattr(job, kind)]
        has_mask = (job.mesh or job.cloud or job.html) and (job.keep_mask or job.drop_mask)
        wanted += [("view", "html", ".html")] * job.html + [("kept", "png", ".png")] * bool(has_mask)
        wanted += [("mesh", name, MESH_FORMATS[name]) for name in job.mesh]
        wanted += [("cloud", name, CLOUD_FORMATS[name]) for name in job.cloud]
        layered = job.surface == "layers"
        return [
            Output(kind, name, self.folder / f"{photo.name}.{kind}{suffix}", layered) for kind, name, suffix in wanted
        ]

    def run(
        self,
        photo: Photo,
        predictor: DepthPredictor,
        *,
        shot: ShotScale | None = None,
        progress: PhaseProgress | None = None,
    ) -> PhotoReport:
        """Read one photo, infer it and write what is asked for, one map at a time. `shot` is as `self.shot` gives it.

        Raises:
            CancelledError: progress asked to stop.
            ProEngineError: the photo cannot be read or inferred, a file cannot be written, the scale cannot be found,
                or results are there already and `options.existing` is "fail". The disparity is written before a scale
                is sought.
        """
        step = partial(_report, progress)
        made = self.infer(photo, self.read(photo, predictor, step=step), predictor, shot=shot, step=step)
        return self.write(made, predictor, step=step)

    def read(self, photo: Photo, predictor: DepthPredictor, *, step: Step | None = None) -> ReadPhoto | PhotoReport:
        """The first part of `run`: the photo, or the report of one that is skipped."""
        start = time.perf_counter()
        self._check_model(predictor)
        outputs = self.outputs(photo, metric=predictor.spec.metric)
        self.check_places(outputs, photo.path)
        objection = self.objection(photo, predictor)
        if objection is None:
            return PhotoReport(str(photo.path), skipped=True, frame=photo.number, time_s=photo.time_s)
        if step is not None:
            step("read", 0, 1)
        mark = FileMark.of_source(photo.path)
        loaded, lens, reduced = _picture(photo, self.options)
        return ReadPhoto(photo, outputs, loaded, lens, reduced, mark, objection, time.perf_counter() - start)

    def infer(
        self,
        photo: Photo,
        ready: ReadPhoto | PhotoReport,
        predictor: DepthPredictor,
        *,
        shot: ShotScale | None = None,
        step: Step | None = None,
    ) -> InferredPhoto | PhotoReport:
        """The second part of `run`, in order for the frames of a shot, also for those that are skipped."""
        if not isinstance(ready, ReadPhoto):
            if shot is not None:
                shot.skip(partial(self.written, photo))
            return ready
        lens = ready.lens if shot is None else shot.lens(ready.lens)
        work = PhotoWork(self, photo, ready.outputs, ready.loaded, lens, shot or ShotScale())
        coarse = bool(work.of("preview")) and self.inference.refine != "none"
        keep_sky = self.inference.keep_sky or self.options.keep_background
        inference = replace(self.inference, keep_coarse=coarse, keep_alpha=self.options.alpha, keep_sky=keep_sky)
        prompt = sensor_prompt(photo.name, self.options, work.image.shape) if predictor.spec.takes_prompt else None
        pinhole = partial(predictor.infer, intrinsics=lens.intrinsics, lens_source=lens.source, prompt=prompt)
        infer = partial(infer_panorama, predictor) if lens.sphere else pinhole
        result = infer(work.image, options=inference, progress=None if step is None else partial(step, "infer"))
        result, turn = (result, None) if shot is None else shot.held(work.image, result)
        work = work.without_picture()
        return InferredPhoto(replace(ready, loaded=work.loaded), work, result, turn)

    def write(
        self, made: InferredPhoto | PhotoReport, predictor: DepthPredictor, *, step: Step | None = None
    ) -> PhotoReport:
        """The last part of `run`, in order for the frames of a shot."""
        if not isinstance(made, InferredPhoto):
            return made
        start, ready, work = time.perf_counter(), made.ready, made.work
        if step is not None:
            step("write", 0, 1)
        if made.turn is not None:
            work.shot.begin(made.turn)
        maps = write_maps(made.take(), work)
        stride = write_geometry(maps, work)
        height, width = made.size
        camera = camera_of(maps.lens.summary(), (height, width), work.outputs, self.options)
        self._provenance(work.photo, predictor).write(work.outputs, ready.mark, camera)
        write_seconds = time.perf_counter() - start
        seconds = ready.seconds + maps.timings["total"] + write_seconds
        return PhotoReport(
            input=str(work.photo.path),
            frame=work.photo.number,
            time_s=work.photo.time_s,
            outputs=tuple(out.summary() for out in work.outputs),
            width=width,
            height=height,
            reduced=ready.reduced,
            model=maps.about["model"],
            tiles=maps.tiles,
            seconds=seconds,
            timings={"read": ready.seconds, **maps.timings, "write": write_seconds, "total": seconds},
            scale=None if maps.scale is None else maps.scale.summary(),
            lens=maps.lens.summary(),
            anchors=maps.anchors,
            estimate=maps.estimate,
            stride=stride,
            warnings=((f"Redone: {ready.objection}.",) if ready.objection else ()) + notes_of(maps, work),
            of_model=frozenset(predictor.notes),
        )

    def objection(self, photo: Photo, predictor: DepthPredictor) -> str | None:
        """Why a photo has to be done, as a sentence about its results; "" where that goes without saying, None if not.
        Raises FileError where its sensor depth cannot be found or read."""
        if self.options.existing != "skip":
            return ""
        return self._provenance(photo, predictor).objection(self.outputs(photo, metric=predictor.spec.metric))

    def _provenance(self, photo: Photo, predictor: DepthPredictor) -> Provenance:
        return Provenance.of(self.folder, photo, predictor, self.options, self.inference)

    def _check_model(self, predictor: DepthPredictor) -> None:
        """Raises InputError before a minute is spent on what the model does not give."""
        spec = predictor.spec
        if self.options.scale_from == "metric" and not spec.metric:
            raise ScaleUnknownError(no_metres(predictor.name))
        if self.options.mask and not (spec.gives_sky or spec.gives_valid):
            raise InputError(f"Model {predictor.name} has no mask of sky; choose one that has, or leave the mask out.")
        if self.options.alpha and self.inference.refine != "sharp":
            raise OptionError("{0} comes with sharp steps; give {1} sharp.", "alpha", "refine")

    def attempt(
        self,
        photo: Photo,
        predictor: DepthPredictor,
        *,
        shot: ShotScale | None = None,
        progress: PhaseProgress | None = None,
        strict: bool = False,
    ) -> PhotoReport | Failure:
        """`run`, but what goes wrong is a `Failure`; with `strict` an error that is a bug of ours is raised.

        Raises:
            CancelledError: progress asked to stop.
        """
        part = partial(self.run, photo, predictor, shot=shot, progress=progress)
        return self.caught(photo, part, strict=strict)

    def caught(self, photo: Photo, part: Callable[[], Made], *, strict: bool) -> Made | Failure:
        """What a part of `run` gives, or as in `attempt` what went wrong."""
        try:
            return part()
        except CancelledError:
            raise
        except ProEngineError as error:
            reason = str(error)
        except MemoryError:
            reason = "Memory ran out; close other programs, or ask for fewer files at once."
        except Exception as error:
            if strict:
                raise
            reason = f"Unexpected {type(error).__name__}: {error}; run again with --debug and report it."
        return Failure(str(photo.path), reason if photo.number is None else f"Frame {photo.number}: {reason}")

    def written(self, photo: Photo) -> Written:
        """What an earlier job left of a photo that is skipped.

        Raises:
            FileError: its maps cannot be read.
        """
        paths = {out.kind: out.path for out in reversed(self.outputs(photo, metric=True)) if out.path.exists()}
        disparity, _ = load_depth(paths["disparity"])
        about = load_depth(paths["depth"])[1].metadata if "depth" in paths else {}
        scale = PhotoScale.from_summary(about["scale"]) if "scale" in about else None
        lens = PhotoLens.of_model(about["lens"], disparity.shape) if "lens" in about else None
        return Written(_picture(photo, self.options)[0].image, disparity, scale, lens)

    def check_places(self, outputs: Sequence[Output], source: Path) -> None:
        """Raise FileError where something is that must not be replaced, or nothing can be."""
        inputs, there = self.inputs | {source.resolve()}, None
        for out, path in ((one, path) for one in outputs for path in one.files):
            try:
                if path.resolve() in inputs:
                    what = "video" if out.format == "mp4" else "photo"
                    raise FileError(f"A result would replace the {what} {path}; choose another output folder.")
                there = there or (path if path.exists() else None)
            except OSError as error:  # a name that is too long
                raise writing_failed(path, error) from error
        if there is not None and self.options.existing == "fail":
            raise FileError(f"{there} is there already; choose another output folder, or --existing overwrite.")


def _report(progress: PhaseProgress | None, phase: Phase, done: int, total: int) -> None:
    """Tell `progress`, and raise CancelledError if it answers False."""
    report(None if progress is None else partial(progress, phase), done, total)


def _picture(source: Photo, job: JobOptions) -> tuple[LoadedPhoto, PhotoLens, bool]:
    """The photo, its lens, and whether it was made smaller.

    Raises:
        FileError: it cannot be read, or is a part of a panorama of which geometry is asked for.
        OptionError: it is a panorama, and something is asked for that panoramas do not have.
    """
    photo = source.load(job.layer)
    lens, height, width = find_lens(photo, job, source.path), *photo.image.shape[:2]
    if job.max_pixels is None or height * width <= job.max_pixels:
        return photo, lens, False
    image, intrinsics = reduced_image(photo.image, lens.intrinsics, job.max_pixels)
    return replace(photo, image=image, plate=None), replace(lens, intrinsics=intrinsics or lens.intrinsics), True
