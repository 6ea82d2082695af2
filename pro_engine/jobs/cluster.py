"""The same job over the workers of a Ray cluster: one model each, one photo at a time.

The machines must see photos and results under the same paths. Results appear whole or not at all, so a photo that is
done a second time, because its worker ended on the way, leaves the same files. Ray starts workers that ended anew.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from pro_engine.errors import DependencyError, ProEngineError
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.jobs.photo_job import PhotoJob
from pro_engine.jobs.photos import Failure, Photo, Video
from pro_engine.jobs.report import PhotoReport
from pro_engine.options import OptionError

_Made_co = TypeVar("_Made_co", covariant=True)

SCHEME = "ray"
DEATHS = 2
"""A photo is given up when this many workers have ended at it."""


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
    yield from spread(stills, job, load, address=address, workers=workers, gpu=gpu)


class Attempts(Protocol[_Made_co]):
    """A job that can be sent to another process: what it makes of a photo, or a failure."""

    def attempt(self, photo: Photo, predictor: DepthPredictor) -> _Made_co | Failure:
        """Raises CancelledError."""


def spread(
    photos: Sequence[Photo],
    job: Attempts[_Made_co],
    load: Callable[[], DepthPredictor],
    *,
    address: str | None = None,
    workers: int | None = None,
    gpu: bool = True,
) -> Iterator[_Made_co | Failure]:
    """`job.attempt` for each photo on a cluster; arguments and errors as for `infer_on_ray`, with absolute paths."""
    if not photos:
        return
    waiting = iter([replace(photo, path=photo.path.absolute()) for photo in photos])
    with _connected(address) as ray:
        resources, count = _crew_size(ray, workers, gpu)
        hired = ray.remote(_Worker).options(**resources, max_restarts=-1, max_task_retries=DEATHS - 1)
        busy: dict[Any, tuple[Any, Photo]] = {}

        def give(worker: Any) -> None:
            if (photo := next(waiting, None)) is not None:
                busy[worker.infer.remote(photo)] = worker, photo

        for _ in range(min(count, len(photos))):
            give(hired.remote(load, job))
        while busy:
            (done,), _ = ray.wait(list(busy), num_returns=1)
            worker, photo = busy.pop(done)
            outcome = _outcome(ray, done, photo)
            give(worker)
            yield outcome


def _outcome(ray: Any, done: Any, photo: Photo) -> Any:
    """What a worker says of a photo, or that it ended too often. Raises ProEngineError: the model was not loaded."""
    try:
        return ray.get(done)
    except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError):
        return Failure(str(photo.path), f"Its worker ended {DEATHS} times; is there memory for it? Try it alone.")
    except ray.exceptions.RayTaskError as error:  # no photo's fault: those are outcomes
        if isinstance(error.cause, ProEngineError):
            raise error.cause from None
        raise


class _Worker:
    """What runs on the cluster: a model, loaded with the first photo."""

    def __init__(self, load: Callable[[], DepthPredictor], job: Attempts[Any]) -> None:
        self._load, self._job = load, job
        self._predictor: DepthPredictor | None = None

    def infer(self, photo: Photo) -> Any:
        """The photo's outcome. Raises ProEngineError where the model cannot be loaded."""
        if self._predictor is None:
            self._predictor = self._load()
        return self._job.attempt(photo, self._predictor)


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
