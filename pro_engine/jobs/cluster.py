"""The same job over the workers of a Ray cluster: one model each, which reads, infers and writes at the same time.

The machines must see photos and results under the same paths. Results appear whole or not at all, so a photo that is
done a second time, because its worker ended on the way, leaves the same files. Another takes the place of such a one.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

from pro_engine.errors import DependencyError, ProEngineError
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.jobs.photo_job import PhotoJob
from pro_engine.jobs.photos import Failure, Photo, Video
from pro_engine.jobs.pipeline import attempt_all
from pro_engine.jobs.report import PhotoReport
from pro_engine.options import OptionError

_Made_co = TypeVar("_Made_co", covariant=True)

SCHEME = "ray"
DEATHS = 2
"""A photo is given up when this many workers have ended at it."""
AT_ONCE = 3
"""Photos that a worker has: one that it reads, one that it infers and one that it writes."""


def address_of(cluster: str) -> str | None:
    """Where the cluster is: None for `ray`, one of this machine's own; else what `ray://ADDRESS` says.

    Raises:
        OptionError: neither of these.
    """
    if cluster == SCHEME:
        return None
    if cluster.startswith(f"{SCHEME}://") and len(cluster) > len(f"{SCHEME}://"):
        return cluster
    raise OptionError(f"{{0}} is {cluster!r}; give ray, for this machine alone, or ray://HOST:PORT.", "cluster")


def infer_on_ray(
    photos: Sequence[Photo | Video],
    job: PhotoJob,
    load: Callable[[], DepthPredictor],
    *,
    address: str | None = None,
    workers: int | None = None,
    gpu: bool = True,
) -> Iterator[PhotoReport | Failure]:
    """`infer_all` on a cluster: an outcome for every photo, once each, in the order in which they are done.

    A video fails: the frames of one shot depend on one another.

    Args:
        photos, job: as for `infer_all`; absolute paths are sent.
        load: gives the model; called once by each worker, must be picklable.
        address: of the cluster, or None for a cluster of this machine's processors that ends with the job.
        workers: how many; None for one on each GPU, or where there is none on each machine.
        gpu: whether the workers may use GPUs.

    Raises:
        DependencyError: Ray is not installed. OptionError: a sequence, whose frames depend on one another.
        ProEngineError: no connection to the cluster; or the model could not be loaded, as `load` says it.
    """
    if job.options.sequence:
        raise OptionError("Frames of a sequence depend on one another; leave out {0} or {1}.", "cluster", "sequence")
    job = job.over(photos).absolute()
    stills = [photo for photo in photos if isinstance(photo, Photo)]
    for video in photos:
        if isinstance(video, Video):
            yield Failure(str(video.path), "The frames of a video depend on one another; leave out --cluster for it.")
    attempts = partial(attempt_all, job=job)
    yield from spread(stills, attempts, load, address=address, workers=workers, gpu=gpu)


class Attempts(Protocol[_Made_co]):
    """A job that can be sent to another process: what it makes of photos, or failures, each with its photo."""

    def __call__(
        self, photos: Iterable[Photo], *, predictor: DepthPredictor
    ) -> Iterator[tuple[Photo, _Made_co | Failure]]:
        """In their order; may take a few ahead. Raises CancelledError."""


def spread(
    photos: Sequence[Photo],
    job: Attempts[_Made_co],
    load: Callable[[], DepthPredictor],
    *,
    address: str | None = None,
    workers: int | None = None,
    gpu: bool = True,
) -> Iterator[_Made_co | Failure]:
    """What `job` makes of each photo on a cluster; arguments and errors as for `infer_on_ray`, with absolute paths."""
    if not photos:
        return
    with _connected(address) as ray:
        resources, count = _crew_size(ray, workers, gpu)
        hired = ray.remote(_Worker).options(**resources, max_concurrency=AT_ONCE)
        waiting = [replace(photo, path=photo.path.absolute()) for photo in reversed(photos)]
        yield from _Crew(ray, partial(hired.remote, load, job), min(count, len(photos)), waiting).outcomes()


@dataclass(eq=False)
class _Hired:
    """A worker, its calls under way, and the photos that it has not answered for."""

    worker: Any
    calls: list[Any] = field(default_factory=list)
    photos: set[Photo] = field(default_factory=set)


class _Crew:
    """`count` workers, each given so many photos that it can read, infer and write at the same time.

    Photos at which a worker ended are given to one that has no other, so that the next end tells whose fault it is.
    """

    def __init__(self, ray: Any, hire: Callable[[], Any], count: int, waiting: list[Photo]) -> None:
        self._ray, self._hire, self._waiting = ray, hire, waiting  # the last of the waiting is the next
        self._ended: Counter[Photo] = Counter()
        self._crew = [_Hired(hire()) for _ in range(count)]

    def outcomes(self) -> Iterator[Any]:
        """Of all photos. Raises ProEngineError: the model was not loaded."""
        while True:
            while self._waiting and (free := [one for one in self._crew if self._has_room(one)]):
                one = min(free, key=lambda one: len(one.photos))
                photo = self._waiting.pop()
                one.photos.add(photo)
                one.calls.append(one.worker.infer.remote(photo))
            calls = {call: one for one in self._crew for call in one.calls}
            if not calls:
                return
            (done,), _ = self._ray.wait(list(calls), num_returns=1)
            one = calls[done]
            one.calls.remove(done)
            answer = self._answer(done)
            if answer is None:
                yield from self._replaced(one)
                continue
            photo, outcome = answer
            one.photos.remove(photo)
            yield outcome

    def _has_room(self, one: _Hired) -> bool:
        """For the next photo."""
        alone = any(photo in self._ended for photo in (self._waiting[-1], *one.photos))
        return len(one.photos) < (1 if alone else AT_ONCE)

    def _answer(self, call: Any) -> tuple[Photo, Any] | None:
        """A photo and its outcome; None where the worker ended."""
        errors = self._ray.exceptions
        try:
            answer: tuple[Photo, Any] = self._ray.get(call)
        except (errors.RayActorError, errors.OutOfMemoryError):
            return None
        except errors.RayTaskError as error:  # no photo's fault: those are outcomes
            if isinstance(error.cause, ProEngineError):
                raise error.cause from None
            raise
        return answer

    def _replaced(self, one: _Hired) -> Iterator[Any]:
        """The outcomes that a worker left as it ended, with those of photos that are given up; another takes over."""
        for photo, outcome in filter(None, map(self._answer, one.calls)):
            one.photos.remove(photo)
            yield outcome
        self._crew[self._crew.index(one)] = _Hired(self._hire())
        self._ended.update(one.photos)
        for photo in one.photos:
            if self._ended[photo] < DEATHS:
                self._waiting.append(photo)
            else:
                why = f"Its worker ended {DEATHS} times; is there memory for it? Try it alone."
                yield Failure(str(photo.path), why)


class _Worker:
    """What runs on the cluster: a model, loaded with the first photo. Its calls come in several threads."""

    def __init__(self, load: Callable[[], DepthPredictor], job: Attempts[Any]) -> None:
        self._load, self._job = load, job
        self._photos: SimpleQueue[Photo | None] = SimpleQueue()
        self._outcomes: Iterator[tuple[Photo, Any]] | None = None
        self._lock = threading.Lock()
        # Else the thread that waits for the next photo would wait on, and the end of the job for it.
        weakref.finalize(self, self._photos.put, None)

    def infer(self, photo: Photo) -> tuple[Photo, Any]:
        """The next photo that is done, and its outcome. Raises ProEngineError where the model cannot be loaded."""
        self._photos.put(photo)
        with self._lock:
            if self._outcomes is None:
                self._outcomes = self._job(iter(self._photos.get, None), predictor=self._load())
            return next(self._outcomes)


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, connected until the end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise DependencyError("--cluster needs the extra `cluster`; run: pip install 'pro-engine[cluster]'.") from error
    attempts = 1 if address else 2  # Ray's own processes on this machine do not always come up at once
    for attempt in range(1, attempts + 1):
        try:
            ray.init(
                address or "local",  # without one Ray would join whichever cluster runs on this machine
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            break
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            ray.shutdown()
            if attempt == attempts:
                said, place = str(error).strip().splitlines()[0], address or "of this machine"
                raise ProEngineError(f"There is no connection to the cluster {place}: {said}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _crew_size(ray: Any, workers: int | None, gpu: bool) -> tuple[dict[str, float], int]:
    """What each worker takes of the cluster, and how many there are."""
    resources = ray.cluster_resources()
    gpus, cpus = int(resources.get("GPU", 0)) if gpu else 0, int(resources.get("CPU", 1))
    count = workers or gpus or sum(1 for node in ray.nodes() if node["Alive"])
    share = cpus // count if count <= cpus else cpus / count
    return {"num_cpus": share, "num_gpus": gpus / count if gpus else 0}, count
