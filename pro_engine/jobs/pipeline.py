"""Photos of a job: while one is written, the next is inferred and the one after it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial

from pro_engine.errors import CancelledError
from pro_engine.inference.ahead import ahead
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.jobs.kept_memory import give_memory_back
from pro_engine.jobs.photo_job import InferredPhoto, Phase, PhotoJob, ReadPhoto
from pro_engine.jobs.photos import Failure, Photo
from pro_engine.jobs.report import PhotoReport
from pro_engine.jobs.scale import ShotScale

Outcome = PhotoReport | Failure
_LARGE_VALUES = 1 << 24


def attempt_all(
    photos: Iterable[Photo],
    job: PhotoJob,
    predictor: DepthPredictor,
    *,
    shot: ShotScale | None = None,
    progress: Callable[[Photo, int, int], object] | None = None,
    strict: bool = False,
) -> Iterator[tuple[Photo, Outcome]]:
    """`PhotoJob.attempt` for each photo, in order, with the photo.

    Photos are taken and read in one thread and inferred in another, each one ahead of the next step; they are written
    in this one, which signals reach. `progress` is called where they are inferred. What ends the job early ends the
    inference under way, too.

    Raises:
        CancelledError: progress asked to stop; the outcomes of photos before it come first.
    """

    def read() -> Iterator[tuple[Photo, ReadPhoto | Outcome]]:
        for photo in photos:
            ready = job.caught(photo, partial(job.read, photo, predictor), strict=strict)
            if _is_large(ready):
                give_memory_back()  # the decoder's, which lies in the way of the network's
            yield photo, ready
            del ready  # its picture may go while the next one is waited for

    def infer() -> Iterator[tuple[Photo, InferredPhoto | Outcome]]:
        with closing(ahead(read(), 1, breaks_off=True)) as pictures:
            for photo, ready in pictures:
                if isinstance(ready, Failure):
                    yield photo, ready
                    continue

                def step(_: Phase, done: int, total: int, photo: Photo = photo, large: bool = _is_large(ready)) -> None:
                    if progress is not None and progress(photo, done, total) is False:
                        raise CancelledError(f"Stopped on request at {photo.path}.")
                    if done == total and large:
                        give_memory_back()  # the networks', which the maps do not use

                part = partial(job.infer, photo, ready, predictor, shot=shot, step=step)
                yield photo, job.caught(photo, part, strict=strict)

    with closing(ahead(infer(), 1, breaks_off=True)) as results:
        for photo, made in results:
            if isinstance(made, Failure):
                outcome: Outcome = made
            else:
                outcome = job.caught(photo, partial(job.write, made, predictor), strict=strict)
            del made  # its maps may go while those of the next photo are waited for
            yield photo, outcome


def _is_large(ready: ReadPhoto | Outcome) -> bool:
    """Whether it is a picture whose maps are worth the time that it takes to ask the system for memory anew."""
    return isinstance(ready, ReadPhoto) and ready.loaded.image.size > _LARGE_VALUES
