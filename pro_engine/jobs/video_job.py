"""One video: its frames are photos of one shot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from pro_engine.errors import CancelledError, FileError, ProEngineError
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.io.video import VideoFrame, VideoWriter, open_video
from pro_engine.jobs.outputs import Output
from pro_engine.jobs.photo_job import PhotoJob
from pro_engine.jobs.photos import Failure, FramePhoto, Photo, Video
from pro_engine.jobs.pipeline import attempt_all
from pro_engine.jobs.preview import color_range, make_preview
from pro_engine.jobs.report import PhotoReport, VideoReport
from pro_engine.jobs.scale import ShotScale
from pro_engine.types import DepthResult, ImageArray

VideoProgress = Callable[[Video, int, int | None], object]
"""progress(video, frames done, frames expected or None): while a frame is inferred, in another thread."""

_MAX_PANEL_PX = 640
_NEW_COLORS = 0.1
"""How far the colours of a preview follow the range of the map with each frame: they must not flicker either."""


def infer_video(
    video: Video,
    job: PhotoJob,
    predictor: DepthPredictor,
    *,
    progress: VideoProgress | None = None,
    strict: bool = False,
) -> Iterator[PhotoReport | Failure | VideoReport]:
    """A report or a failure for every frame, as `PhotoJob.attempt` gives it, then a report for the video.

    All frames are one shot. A video of which frames are missing has a failure besides, and one that cannot be read or
    that does not fit the options has a failure alone. Progress that returns False stops.

    Raises:
        CancelledError: progress asked to stop.
    """
    job = replace(job, options=replace(job.options, sequence=True))
    try:
        yield from _infer(video, job, predictor, progress, strict)
    except CancelledError:
        raise
    except ProEngineError as error:
        yield Failure(str(video.path), str(error))


def _infer(
    video: Video, job: PhotoJob, predictor: DepthPredictor, progress: VideoProgress | None, strict: bool
) -> Iterator[PhotoReport | Failure | VideoReport]:
    start, number = time.perf_counter(), 0
    outputs = _outputs(video, job)
    shot = job.shot()
    with open_video(video.path) as reader, _writer(outputs, video, job) as writer:
        preview = None if writer is None or shot is None else _Preview(writer, shot)
        frames = (_photo(frame, video, reader.expected, preview) for frame in reader)

        def step(photo: Photo, *_: int) -> object:
            done, expected = (photo.number or 1) - 1, reader.expected
            return None if progress is None else progress(video, done, expected and max(expected, done + 1))

        for photo, outcome in attempt_all(frames, job, predictor, shot=shot, progress=step, strict=strict):
            number += 1
            if preview is not None and isinstance(outcome, PhotoReport) and outcome.skipped:
                written = job.written(photo)
                photo.show(written.image, DepthResult(written.disparity, np.ones(written.disparity.shape, bool)))
            yield outcome
        if preview is not None and preview.error is not None:
            raise preview.error
    warnings = reader.notes
    if job.options.layer is not None:
        warnings += (f"It has no layers; {job.options.layer!r} was not looked for.",)
    files = tuple(out.summary() for out in outputs)
    yield VideoReport(str(video.path), number, files, time.perf_counter() - start, warnings)
    if reader.fault is not None:
        yield Failure(str(video.path), reader.fault)


def _photo(frame: VideoFrame, video: Video, expected: int | None, preview: _Preview | None) -> FramePhoto:
    """A frame of a video as a photo of the job."""
    return FramePhoto(
        video.path,
        video.frame_name(frame.number, expected),
        frame.number,
        frame.time_s,
        picture=frame.image,
        preview=None if preview is None else partial(preview.add, frame.time_s),
    )


def _outputs(video: Video, job: PhotoJob) -> list[Output]:
    """The files of the video as a whole. Raises FileError where the options do not fit a video."""
    align = job.options.align
    if align is not None and not align.is_dir():
        example = f"{Path(video.frame_name(1, None)).name}.png"
        raise FileError(f"{align} is no folder; the frames of a video need one with a depth file each, as {example}.")
    path = job.folder / f"{video.name}.preview.mp4"
    return [Output("preview", "mp4", path)] if job.options.preview else []


def _writer(outputs: list[Output], video: Video, job: PhotoJob) -> VideoWriter | nullcontext[None]:
    """What writes the preview; nothing where none is asked for, or where it is there already and may stay."""
    job.check_places(outputs, video.path)
    if not outputs or (job.options.existing == "skip" and outputs[0].path.exists()):
        return nullcontext()
    return VideoWriter(outputs[0].path)


class _Preview:
    """Photo and map side by side, as a video.

    Attributes:
        error: why it ended early, or None.
    """

    def __init__(self, writer: VideoWriter, shot: ShotScale) -> None:
        self.error: ProEngineError | None = None
        self._writer, self._shot = writer, shot
        self._colors: tuple[float, float] | None = None
        self._cuts = 0

    def add(self, time_s: float, image: ImageArray, result: DepthResult) -> None:
        """Add a frame. An error is kept for the end, so that the maps are still written."""
        if self.error is not None:
            return
        colors = color_range(result.disparity[::4, ::4])
        if self._colors is not None and self._cuts == self._shot.cuts:
            low, high = (old + _NEW_COLORS * (new - old) for old, new in zip(self._colors, colors, strict=True))
            colors = low, high
        self._colors, self._cuts = colors, self._shot.cuts
        try:
            self._writer.write(make_preview(image, result, colors=colors, max_panel_px=_MAX_PANEL_PX), time_s)
        except ProEngineError as error:
            self.error = error
