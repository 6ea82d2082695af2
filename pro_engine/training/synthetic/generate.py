"""Render a training set of synthetic scenes: pictures, exact z-depth, glass masks and intrinsics.

Every scene and every picture depends on its own number only, so a set can be rendered by any number of workers, in any
order, and continued after a break.
"""

from __future__ import annotations

import json
import logging
import math
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from .assets import load_assets
from .scene import Camera, Scene
from .view import Rendered

log = logging.getLogger(__name__)

PORTRAIT_SHARE = 0.2
PROPOSALS_PER_CAMERA = 8
FAILED_SHARE = 0.2
"""A run in which more than this share of the scenes fail is stopped."""
FAILED_FLOOR = 10
"""Scenes rendered before the share of failures counts."""
SCENES_PER_WORKER = 24
"""A worker process is replaced after this many scenes, which bounds what memory it can collect."""
SCENE_TIMEOUT_S = 1800.0
MAX_DEPTH_M = 6e4
"""Farthest finite depth; float16 ends at 65504."""


@dataclass(frozen=True)
class Job:
    """What a worker needs to know besides the number of the scene."""

    out: str
    size: tuple[int, int]
    cameras_per_scene: int
    renderer: str
    assets: str | None


def render_dataset(
    out: str | Path,
    count: int,
    size: tuple[int, int] = (416, 312),
    seed: int = 0,
    workers: int = 1,
    cameras_per_scene: int = 5,
    renderer: str = "embree",
    assets: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Render the scenes `seed` ... `seed + count - 1` into the folder `out`; scenes that are there are skipped.

    Each picture is `scene_{s:06d}_{camera}.jpg` with an `.npz` of the same name: depth (H, W) float16 z in metres (inf
    is sky), transparent (H, W) uint8, intrinsics float32 (fx, fy, cx, cy), kind. `scene_{s:06d}.done` marks a finished
    scene.

    Args:
        size: width and height of landscape pictures; one in five is turned to portrait.
        workers: processes; 1 renders in this process.
        cameras_per_scene: pictures per scene at most; a scene with few good views gives fewer.
        renderer: a name in `RENDERERS`.
        assets: folder as for `load_assets`; None takes the environment's, if any.
        progress: called with (scenes done, scenes in all).

    Returns:
        How many pictures were rendered by this call.

    Raises:
        RuntimeError: more than 20 % of the scenes failed. Single failures are logged with their seed.
    """
    if renderer not in RENDERERS:
        raise ValueError(f"unknown renderer {renderer!r}, expected one of {sorted(RENDERERS)}")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    width, height = size
    asset_folder = None if assets is None else str(assets)
    job = Job(str(folder), (int(width), int(height)), cameras_per_scene, renderer, asset_folder)
    todo = [number for number in range(seed, seed + count) if not _marker(folder, number).exists()]
    done, failed, pictures = count - len(todo), 0, 0
    for number, images, error in _run(job, todo, workers):
        done += 1
        pictures += images
        if error is not None:
            failed += 1
            log.error("scene %d failed: %s", number, error)
            attempts = done - (count - len(todo))
            if attempts >= min(FAILED_FLOOR, len(todo)) and failed > FAILED_SHARE * attempts:
                raise RuntimeError(f"{failed} of {attempts} scenes failed; the last one, scene {number}: {error}")
        if progress is not None:
            progress(done, count)
    return pictures


def _run(job: Job, todo: list[int], workers: int) -> Iterator[tuple[int, int, str | None]]:
    """Yield (scene, pictures, error) for each scene as it is finished."""
    if workers <= 1:
        yield from (render_scene(job, number) for number in todo)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, cv2.setNumThreads, (1,), maxtasksperchild=SCENES_PER_WORKER) as pool:
        results = pool.imap_unordered(_Task(job), todo)
        for _ in todo:
            yield results.next(timeout=SCENE_TIMEOUT_S)  # a killed worker would otherwise be waited for without end


@dataclass(frozen=True)
class _Task:
    job: Job

    def __call__(self, number: int) -> tuple[int, int, str | None]:
        return render_scene(self.job, number)


def render_scene(job: Job, number: int) -> tuple[int, int, str | None]:
    """Build scene `number` and render its pictures. Returns (number, pictures, None) or (number, 0, the error)."""
    try:
        return number, _render_scene(job, number), None
    except Exception as error:  # one bad scene must not end a run of thousands; the caller reports it
        where = traceback.extract_tb(error.__traceback__)[-1]
        return number, 0, f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"


def _render_scene(job: Job, number: int) -> int:
    from .kinds import KINDS, build_scene
    from .photo import develop

    rng = np.random.default_rng([number, 0])
    names = list(KINDS)
    shares = np.array([KINDS[name] for name in names], float)
    kind = names[int(rng.choice(len(names), p=shares / shares.sum()))]
    scene = build_scene(kind, rng, load_assets(job.assets))
    tracer = RENDERERS[job.renderer](scene)
    folder, images = Path(job.out), 0
    for _ in range(job.cameras_per_scene * PROPOSALS_PER_CAMERA):
        if images == job.cameras_per_scene:
            break
        camera, (width, height) = _framed(scene.propose(rng), job.size, rng)
        if not acceptable(tracer.probe(camera, 7, 5, height / width), camera, rng):
            continue
        own = np.random.default_rng([number, 1 + images])
        rendered = tracer.render(camera, width, height, own)
        photo = develop(rendered, scene, camera, own)
        _save(folder / f"scene_{number:06d}_{images}", photo, rendered, kind)
        images += 1
    _write(_marker(folder, number), json.dumps({"kind": kind, "images": images}).encode())
    return images


def acceptable(depth: np.ndarray, camera: Camera, rng: np.random.Generator) -> bool:
    """Whether a view is worth rendering, from a coarse grid of z-depth: not too near, not mostly sky, not one plane."""
    sky = np.isinf(depth)
    nearest = float(depth.min())
    if nearest < camera.min_distance or np.median(depth) < 1.6 * camera.min_distance or sky.mean() > 0.75:
        return False
    inverse = 1 / depth
    if inverse.std() < 0.12 * inverse.mean():
        return False
    y, x = np.mgrid[-1 : 1 : depth.shape[0] * 1j, -1 : 1 : depth.shape[1] * 1j]
    plane = np.stack([np.ones(depth.size), x.ravel(), y.ravel()], axis=1)
    rest = inverse.ravel() - plane @ np.linalg.lstsq(plane, inverse.ravel(), rcond=None)[0]
    if rest.std() < 0.12 * inverse.std() and rng.random() < 0.85:
        return False
    crowded = np.sort(depth.ravel())[depth.size // 4] < 1.5 * camera.min_distance
    return not (crowded and rng.random() < 0.7)


def _framed(camera: Camera, size: tuple[int, int], rng: np.random.Generator) -> tuple[Camera, tuple[int, int]]:
    """Landscape or portrait; the field of view stays that of the longer side."""
    width, height = size
    if rng.random() >= PORTRAIT_SHARE:
        return camera, (width, height)
    narrow = 2 * math.atan(math.tan(camera.fov_x / 2) * height / width)
    return replace(camera, fov_x=narrow), (height, width)


def _save(stem: Path, photo: NDArray[np.uint8], rendered: Rendered, kind: str) -> None:
    """Write `stem`.npz and then `stem`.jpg, each in one step, so that a picture is never without its depth."""
    depth = np.where(np.isinf(rendered.depth), np.inf, np.minimum(rendered.depth, MAX_DEPTH_M)).astype(np.float16)
    temporary = stem.with_name(f"{stem.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        np.savez(
            file,
            depth=depth,
            kind=np.asarray(kind),
            transparent=rendered.transparent.astype(np.uint8),
            intrinsics=np.asarray(rendered.intrinsics, np.float32),
        )
    os.replace(temporary, f"{stem}.npz")
    good, coded = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not good:
        raise OSError(f"cannot encode {stem}.jpg")
    _write(Path(f"{stem}.jpg"), coded.tobytes())


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _marker(folder: Path, number: int) -> Path:
    return folder / f"scene_{number:06d}.done"


class Renderer(Protocol):
    """A scene made ready for rays."""

    def probe(self, camera: Camera, nx: int, ny: int, aspect: float) -> NDArray[np.float32]:
        """z-depth (ny, nx) on a grid of rays from corner to corner of a picture with `aspect` = height / width."""

    def render(self, camera: Camera, width: int, height: int, rng: np.random.Generator) -> Rendered:
        """One picture with its depth."""


def _embree(scene: Scene) -> Renderer:
    from .embree import EmbreeScene

    return EmbreeScene(scene)


RENDERERS: dict[str, Callable[[Scene], Renderer]] = {"embree": _embree}
"""Renderers by name."""
