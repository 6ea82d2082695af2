"""Photos and videos in, files out: what `pro-engine infer` does on one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from pro_engine.inference.predictor import DepthPredictor
from pro_engine.jobs.photo_job import PhotoJob
from pro_engine.jobs.photos import Failure, Photo, Video
from pro_engine.jobs.pipeline import attempt_all
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
    """`attempt_all` for photos, `infer_video` for videos, in their order; a failure does not stop the rest.

    progress(photo, done, total) is as in `DepthPredictor.infer` for a photo and counts frames of a video, whose total
    may be None; it is called in another thread. With `strict` an error that is a bug of ours is raised with its
    traceback instead of being reported.

    Raises:
        CancelledError: progress asked to stop.
    """
    job, shot = job.over(photos), job.shot()
    for _, group in groupby(photos, type):
        same = list(group)
        for video in (one for one in same if isinstance(one, Video)):
            yield from infer_video(video, job, predictor, progress=progress, strict=strict)
        stills = [one for one in same if isinstance(one, Photo)]
        for _, outcome in attempt_all(stills, job, predictor, shot=shot, progress=progress, strict=strict):
            yield outcome
