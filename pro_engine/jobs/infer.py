"""Photos in, files out: what `pro-engine infer` does on one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pro_engine.inference.predictor import DepthPredictor
from pro_engine.jobs.photo_job import Phase, PhotoJob
from pro_engine.jobs.photos import Failure, Photo
from pro_engine.jobs.report import PhotoReport


def infer_all(
    photos: Sequence[Photo],
    job: PhotoJob,
    predictor: DepthPredictor,
    *,
    progress: Callable[[Photo, int, int], object] | None = None,
    strict: bool = False,
) -> Iterator[PhotoReport | Failure]:
    """`PhotoJob.attempt` for one photo after the other; one that fails gives a `Failure` and the rest are still done.

    progress(photo, done, total) is as in `DepthPredictor.infer`. With `strict` an error that is a bug of ours is raised
    with its traceback instead of being reported.

    Raises:
        CancelledError: progress asked to stop.
    """
    job, shot = job.over(photos), job.shot()
    for photo in photos:

        def step(phase: Phase, done: int, total: int, photo: Photo = photo) -> object:
            return progress(photo, done, total) if progress is not None and phase == "infer" else None

        yield job.attempt(photo, predictor, shot=shot, progress=step, strict=strict)
