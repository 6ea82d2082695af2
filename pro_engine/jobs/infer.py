"""Photos and videos in, files out: what `pro-engine infer` does on one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pro_engine.inference.predictor import DepthPredictor
from pro_engine.jobs.photo_job import Phase, PhotoJob
from pro_engine.jobs.photos import Failure, Photo, Video
from pro_engine.jobs.report import PhotoReport, VideoReport
from pro_engine.jobs.video_job import infer_video


def infer_all(
    photos: Sequence[Photo | Video],
    job: PhotoJob,
    predictor: DepthPredictor,
    *,
    progress: Callable[[Photo | Video, int, int | None], object] | None = None,
    strict: bool = False,
) -> Iterator[PhotoReport | Failure | VideoReport]:
    """`PhotoJob.attempt` for one photo after the other, `infer_video` for videos; a failure does not stop the rest.

    progress(photo, done, total) is as in `DepthPredictor.infer` for a photo and counts frames of a video, whose total
    may be None. With `strict` an error that is a bug of ours is raised with its traceback instead of being reported.

    Raises:
        CancelledError: progress asked to stop.
    """
    job, shot = job.over(photos), job.shot()
    for photo in photos:
        if isinstance(photo, Video):
            yield from infer_video(photo, job, predictor, progress=progress, strict=strict)
            continue

        def step(phase: Phase, done: int, total: int, photo: Photo = photo) -> object:
            return progress(photo, done, total) if progress is not None and phase == "infer" else None

        yield job.attempt(photo, predictor, shot=shot, progress=step, strict=strict)
