"""Render a training set of synthetic scenes: pictures, exact z-depth, glass masks and intrinsics.

Every scene and every picture depends on its own number only, so a set can be rendered by any number of workers, in any
order, and continued after a break. Files appear whole or not at all.
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import math
import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from contextlib import closing
from dataclasses import replace
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import DependencyError, FileError, InputError, ProEngineError
from pro_engine.io.depth import save_depth
from pro_engine.training.options import ScenesConfig

from .parts.assets import load_assets
from .parts.scene import Scene, SceneCamera
from .render.camera_view import Rendered

if TYPE_CHECKING:
    from .render.embree import EmbreeScene

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Finished = tuple[int, int, str | None]
"""Number of a scene, how many pictures it gave, and why it failed, if it did."""

SMALLEST, LARGEST = (32, 24), (3840, 2160)
"""Limits of the size of pictures."""
USUAL = (384, 288)
"""Smaller pictures are for tests: they show too little to train on."""
PORTRAIT_SHARE = 0.2
PROPOSALS_PER_CAMERA = 8
FAILED_SHARE = 0.2
"""A run in which more than this share of the scenes fail is stopped."""
FAILED_FLOOR = 10
"""Scenes rendered before the share of failures counts."""
SCENES_PER_WORKER = 24
"""A worker is replaced after this many, which bounds what memory it can collect."""
MAX_DEPTH_M = 6e4
"""Farthest finite depth; float16 ends at 65504."""
SETTINGS = "settings.json"
"""File of a folder that says how its pictures are made."""


def render_dataset(config: ScenesConfig, progress: Callable[[int, int], None] | None = None) -> int:
    """Render the scenes `seed` ... `seed + count - 1` into the folder `out`; scenes that are there are skipped.

    Each picture is `scene_{s:06d}_{camera}.jpg` with an `.npz` of the same name: depth (H, W) float16 z in metres (inf
    is sky), transparent and backdrop (H, W) uint8, intrinsics float32 (fx, fy, cx, cy), kind; backdrop is 1 where depth
    is inf and something else than the sky may be shown. `scene_{s:06d}.done` marks a finished scene, `settings.json`
    says with what size, labels of glass and kinds the folder was begun. With `config.orbit` each scene is a folder
    `scene_{s:06d}` instead: `images/NAME.jpg`, `depth/NAME.npz` (float32 z in metres) and `sparse/0`, a COLMAP model in
    text, whose points3D.txt is empty, as COLMAP wants it where only the poses are known.

    Args:
        config: what to render. The size is 32x24 to 3840x2160 (below 384x288 for tests only); with one worker it is
            this process that renders.
        progress: called with (scenes done, scenes in all).

    Returns:
        How many pictures were rendered by this call.

    Raises:
        InputError: a size outside its limits, or a folder that was begun with another size, labels of glass or kinds.
        DependencyError: the extra `train` is not installed.
        FileError: the folder cannot be written, or the disk is full; what is finished stays.
        ProEngineError: more than 20 % of the scenes failed. Single failures are logged with their seed.
    """
    from .kinds import shares

    _check(config.size)
    shares(config.kinds)  # refuses what is wrong before anything is written
    folder = config.out
    _open(config)
    numbers = range(config.seed, config.seed + config.count)
    _sweep(folder, numbers)
    missing = [number for number in numbers if not _marker(folder, number).exists()]
    with closing(_run(config, missing)) as finished:
        pictures = _count(finished, config.count, len(missing), progress)
    _sweep(folder, numbers)
    return pictures


def _count(finished: Iterable[Finished], count: int, missing: int, progress: Callable[[int, int], None] | None) -> int:
    """Pictures of the `missing` of `count` scenes as they are finished. ProEngineError as for `render_dataset`."""
    failed, pictures = 0, 0
    for done, (number, images, error) in enumerate(finished, 1):
        pictures += images
        if error is not None:
            failed += 1
            log.error("scene %d failed: %s", number, error)
            if done >= min(FAILED_FLOOR, missing) and failed > FAILED_SHARE * done:
                raise ProEngineError(
                    f"Rendering was given up: {failed} of {done} scenes failed; the last one, scene {number}: {error}; "
                    "mend that and give the same command again."
                )
        if progress is not None:
            progress(count - missing + done, count)
    return pictures


def _check(size: tuple[int, int]) -> None:
    """Refuse what cannot be rendered; see `render_dataset`."""
    width, height = size
    if not (SMALLEST[0] <= width <= LARGEST[0] and SMALLEST[1] <= height <= LARGEST[1] and height <= width):
        raise InputError(
            f"size is {width}x{height}; give width x height from {SMALLEST[0]}x{SMALLEST[1]} to "
            f"{LARGEST[0]}x{LARGEST[1]}, not higher than wide: some pictures are turned anyway."
        )
    if width < USUAL[0] or height < USUAL[1]:
        log.warning("pictures of %dx%d are for tests; train on %dx%d or more", width, height, *USUAL)
    if importlib.util.find_spec("embreex") is None:
        raise DependencyError("Rendering needs the extra `train`; run: pip install 'pro-engine[train]'.")


def _open(config: ScenesConfig) -> None:
    """Make the folder, or make sure that it was begun with the same size, labels of glass and kinds."""
    folder, ours = config.out, _settings(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = (folder / SETTINGS).read_text(encoding="utf-8") if (folder / SETTINGS).exists() else None
    except OSError as error:
        raise FileError(f"cannot use the folder {folder}: {error.strerror}; give another one.") from error
    if text is None:
        _write(folder / SETTINGS, json.dumps(ours).encode())
        return
    try:
        found = {"glass": "surface", "kinds": [], "orbit": None, **json.loads(text)}  # earlier versions do not say it
        theirs = {name: found[name] for name in ours}
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(f"{folder / SETTINGS} is not a settings file of a rendering; give another folder.") from error
    if theirs != ours:
        raise InputError(
            f"{folder} was begun with {_words(theirs)}, not {_words(ours)}; give another folder, or the old settings."
        )


def _settings(config: ScenesConfig) -> dict[str, object]:
    """What all scenes of a folder have in common."""
    kinds = sorted(config.kinds)
    return {"size": list(config.size), "glass": config.glass, "kinds": kinds, "orbit": config.orbit}


def _words(settings: dict) -> str:
    size = "x".join(map(str, settings["size"]))
    kinds = ", ".join(settings["kinds"]) or "the usual ones"
    views = f", orbit {settings['orbit']}" if settings["orbit"] else ""
    return f"size {size}, glass {settings['glass']}{views} and kinds {kinds}"


def _sweep(folder: Path, numbers: range) -> None:
    """Remove what killed processes left half-written of these scenes."""
    for path in folder.glob("scene_*.tmp"):
        number = path.name.split(".")[0].split("_")[1]
        if number.isdigit() and int(number) in numbers:
            path.unlink(missing_ok=True)


def _run(config: ScenesConfig, numbers: list[int]) -> Generator[Finished, None, None]:
    """Yield what is said of each scene as it is finished."""
    task = partial(render_scene, config)
    if config.workers == 1:
        yield from map(task, numbers)
        return
    for number, result in work_off(task, numbers, config.workers):
        lost = (number, 0, "its process was killed, twice; is there memory for so many workers?")
        yield lost if result is None else result


def work_off(
    task: Callable[[int], Result], numbers: Iterable[int], workers: int
) -> Iterator[tuple[int, Result | None]]:
    """Yield (number, what `task` gave) as they come, in any order; None where workers were killed at a number twice.

    The task must be picklable. An exception that it raises is raised here. However this ends, no worker is left; when
    this process itself is killed, its workers end within moments.
    """
    from pebble import ProcessExpired, ProcessPool

    context = multiprocessing.get_context("spawn")
    pool = ProcessPool(workers, max_tasks=SCENES_PER_WORKER, initializer=_begin_worker, context=context)
    try:
        for _ in range(2):
            futures: dict[Future[Result], int] = {pool.schedule(task, [number]): number for number in numbers}
            numbers = []
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except ProcessExpired as error:
                    log.warning("the worker at %d was killed (exit status %s)", futures[future], error.exitcode)
                    numbers.append(futures[future])
        for number in numbers:
            yield number, None
    finally:
        pool.stop()
        pool.join()


def _begin_worker() -> None:
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def render_scene(config: ScenesConfig, number: int) -> Finished:
    """Build scene `number` and render its pictures. Returns (number, pictures, None) or (number, 0, the error).

    Raises ProEngineError for what no other scene would be spared, such as a full disk.
    """
    try:
        return number, _render_scene(config, number), None
    except ProEngineError:
        raise
    except Exception as error:  # one bad scene must not end a run of thousands; the caller reports it
        where = traceback.extract_tb(error.__traceback__)[-1]
        return number, 0, f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"


def _render_scene(config: ScenesConfig, number: int) -> int:
    from .kinds import build_scene
    from .render.camera_effects import develop
    from .render.embree import EmbreeScene

    rng, kind = drawn_kind(number, config.kinds)
    scene = build_scene(kind, rng, load_assets(config.assets))
    tracer = EmbreeScene(scene)
    folder, images = config.out, 0
    if config.orbit is not None:
        images = _render_orbit(config, tracer, number, rng)
        _write(_marker(folder, number), json.dumps({"kind": kind, "images": images}).encode())
        return images
    for _ in range(config.cameras_per_scene * PROPOSALS_PER_CAMERA):
        if images == config.cameras_per_scene:
            break
        camera, (width, height) = _framed(scene.propose(rng), config.size, rng)
        if not acceptable(tracer.probe(camera, 7, 5, height / width), camera, rng):
            continue
        own = np.random.default_rng([number, 1 + images])
        rendered = tracer.render(camera, width, height, own)
        photo = develop(rendered, scene, camera, own)
        if config.glass == "behind":  # only now: haze and blur of the picture are those of the surfaces
            rendered = replace(rendered, depth=tracer.depth_behind_glass(camera, rendered))
        _save(folder / f"scene_{number:06d}_{images}", photo, rendered, kind, _backdrop(scene, camera, rendered.depth))
        images += 1
    _write(_marker(folder, number), json.dumps({"kind": kind, "images": images}).encode())
    return images


def _render_orbit(config: ScenesConfig, tracer: EmbreeScene, number: int, rng: np.random.Generator) -> int:
    """Render a scene from several cameras. Returns how many pictures that is; 0 where they have no room."""
    from .render.camera_effects import develop
    from .render.orbit import colmap_model, orbit_cameras, pose_of

    (width, height), folder = config.size, config.out / f"scene_{number:06d}"
    found = orbit_cameras(tracer, config.orbit or 0, height / width, rng, acceptable)
    cameras = {f"view_{place:03d}.jpg": camera for place, camera in enumerate(found)}
    for place, (name, camera) in enumerate(cameras.items()):
        rendered = tracer.render(camera, width, height, np.random.default_rng([number, 1 + place]))
        photo = develop(rendered, tracer.scene, camera, np.random.default_rng([number, 1]))  # one camera, one film
        if config.glass == "behind":
            rendered = replace(rendered, depth=tracer.depth_behind_glass(camera, rendered))
        depth = folder / "depth" / Path(name).with_suffix(".npz")
        save_depth(depth, rendered.depth, metadata={"camera": pose_of(camera)})
        _write(folder / "images" / name, _jpeg(photo))
    if not cameras:
        log.warning("scene %d has no room for %d cameras, and is left out", number, config.orbit)
        return 0
    for name, content in colmap_model(cameras, width, height).items():
        _write(folder / "sparse/0" / name, content)
    return len(cameras)


def drawn_kind(number: int, kinds: Sequence[str] = ()) -> tuple[np.random.Generator, str]:
    """The generator that scene `number` is built with, and the kind that it draws first; `kinds` as for `shares`."""
    from .kinds import shares

    rng, weights = np.random.default_rng([number, 0]), shares(kinds)
    return rng, list(weights)[int(rng.choice(len(weights), p=list(weights.values())))]


def acceptable(depth: np.ndarray, camera: SceneCamera, rng: np.random.Generator) -> bool:
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


def _framed(
    camera: SceneCamera, size: tuple[int, int], rng: np.random.Generator
) -> tuple[SceneCamera, tuple[int, int]]:
    """Landscape or portrait; the field of view stays that of the longer side."""
    width, height = size
    if rng.random() >= PORTRAIT_SHARE:
        return camera, (width, height)
    narrow = 2 * math.atan(math.tan(camera.fov_x / 2) * height / width)
    return replace(camera, fov_x=narrow), (height, width)


def _backdrop(scene: Scene, camera: SceneCamera, depth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(H, W) where no surface of the scene is seen and maybe no sky either; see `shows_sky`."""
    from .render.camera_view import pixel_directions
    from .render.sky import shows_sky

    y, x = np.nonzero(np.isinf(depth))
    step = pixel_directions(camera, depth.shape[1], depth.shape[0], x.astype(np.float32), y.astype(np.float32))
    backdrop = np.zeros(depth.shape, np.bool_)
    backdrop[y, x] = ~shows_sky(scene.sky, step / np.linalg.norm(step, axis=1, keepdims=True))
    return backdrop


def _save(stem: Path, photo: NDArray[np.uint8], rendered: Rendered, kind: str, backdrop: NDArray[np.bool_]) -> None:
    """Write `stem`.npz and then `stem`.jpg, so that a picture is never without its depth."""
    depth = np.where(np.isinf(rendered.depth), np.inf, np.minimum(rendered.depth, MAX_DEPTH_M)).astype(np.float16)
    packed = io.BytesIO()
    np.savez(
        packed,
        depth=depth,
        kind=np.asarray(kind),
        transparent=rendered.transparent.astype(np.uint8),
        backdrop=backdrop.astype(np.uint8),
        intrinsics=np.asarray(rendered.intrinsics, np.float32),
    )
    _write(Path(f"{stem}.npz"), packed.getvalue())
    _write(Path(f"{stem}.jpg"), _jpeg(photo))


def _jpeg(photo: NDArray[np.uint8]) -> bytes:
    good, coded = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not good:
        raise ValueError(f"a picture of shape {photo.shape} cannot be encoded")
    return coded.tobytes()


def _write(path: Path, content: bytes) -> None:
    """Write a file in one step: it is there whole or not at all. Raises FileError."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FileError(
            f"cannot write {path}: {error.strerror}; make room there or take another folder, and run the "
            "same again: finished scenes are kept."
        ) from error


def _marker(folder: Path, number: int) -> Path:
    return folder / f"scene_{number:06d}.done"
