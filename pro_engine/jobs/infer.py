"""Photos in, files out: what `pro-engine infer` does for each photo."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pro_engine.errors import CancelledError, FileError, ProEngineError
from pro_engine.geometry.cloud import depth_to_cloud
from pro_engine.geometry.depth import DEPTH_SLACK, disparity_to_depth
from pro_engine.geometry.mesh import depth_to_mesh
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.inference.resize import resized
from pro_engine.inference.runtime import Progress
from pro_engine.io.cloud import save_cloud
from pro_engine.io.depth import save_depth
from pro_engine.io.image import load_image, save_image
from pro_engine.io.mesh import save_mesh
from pro_engine.jobs.options import CLOUD_FORMATS, MAP_FORMATS, MESH_FORMATS, JobOptions
from pro_engine.jobs.photos import Failure, Photo
from pro_engine.jobs.preview import make_preview
from pro_engine.jobs.scale import Lens, Scale, Shot, find_lens, find_scale
from pro_engine.options import GeometryOptions, InferenceOptions
from pro_engine.types import DepthResult, FloatMap, ImageArray

_AUTO_POINTS = 1_000_000
_MAX_TEXTURE_PX = 8192  # the largest side that every graphics card takes


@dataclass(frozen=True)
class Output:
    """A file to write: what it holds ("disparity", "depth", "preview", "mesh", "cloud"), its format and its place."""

    kind: str
    format: str
    path: Path


@dataclass(frozen=True)
class PhotoReport:
    """What was done with one photo, in plain values ready for JSON. Seconds are wall time; sizes are in pixels."""

    input: str
    outputs: tuple[dict[str, str], ...] = ()
    skipped: bool = False
    width: int = 0
    height: int = 0
    tiles: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
    scale: dict[str, Any] | None = None
    lens: dict[str, Any] | None = None
    stride: int | None = None
    warnings: tuple[str, ...] = ()


def planned_outputs(photo: Photo, folder: Path, job: JobOptions, *, metric: bool = False) -> list[Output]:
    """Every file that the job will write for this photo; depth maps only where the scale will be known."""
    kinds = ["disparity"]
    if metric or job.align is not None or job.near_m is not None:
        kinds.append("depth")
    wanted = [(kind, name, MAP_FORMATS[name]) for kind in kinds for name in job.maps]
    wanted += [("preview", "png", ".png")] if job.preview else []
    wanted += [("mesh", name, MESH_FORMATS[name]) for name in job.mesh]
    wanted += [("cloud", name, CLOUD_FORMATS[name]) for name in job.cloud]
    return [Output(kind, name, folder / f"{photo.name}.{kind}{suffix}") for kind, name, suffix in wanted]


def infer_photo(
    photo: Photo,
    folder: Path,
    predictor: DepthPredictor,
    job: JobOptions,
    options: InferenceOptions,
    *,
    progress: Progress | None = None,
    inputs: Set[Path] = frozenset(),
    shot: Shot | None = None,
) -> PhotoReport:
    """Read one photo, infer it and write what `job` asks for into `folder`, one map at a time.

    `inputs` are resolved paths that no result may replace: the photo itself and the others of the job. `shot` is given
    where the photo is the next frame of one.

    Raises:
        ProEngineError: the photo cannot be read or inferred, a file cannot be written, the scale cannot be found, or
            results are there already and `job.existing` is "fail". The disparity is written before a scale is sought.
    """
    start = time.perf_counter()
    outputs = planned_outputs(photo, folder, job, metric=predictor.spec.metric)
    if _is_done(outputs, job, inputs | {photo.path.resolve()}):
        return PhotoReport(str(photo.path), skipped=True)
    image, from_file = load_image(photo.path)
    height, width = image.shape[:2]
    work = _Work(photo, job, outputs, image, find_lens(width, height, from_file, job), shot)
    read_seconds = time.perf_counter() - start
    options = replace(options, keep_coarse=job.preview and options.refine != "none")
    # The result gets no name here, so that each of its maps is freed as soon as it is written.
    maps = _write_maps(
        predictor.infer(image, intrinsics=work.lens.intrinsics, options=options, progress=progress), work
    )
    stride = None
    if work.has_geometry and maps.scale is not None and maps.depth is not None:
        stride = _stride(maps.depth, job)
        _write_geometry(maps.depth, maps.scale, stride, maps.about, work)
    seconds = time.perf_counter() - start
    return PhotoReport(
        input=str(photo.path),
        outputs=tuple({"kind": out.kind, "format": out.format, "path": str(out.path)} for out in outputs),
        width=width,
        height=height,
        tiles=maps.tiles,
        seconds=seconds,
        timings={
            "read": read_seconds,
            **maps.timings,
            "write": seconds - read_seconds - maps.timings["total"],
            "total": seconds,
        },
        scale=None if maps.scale is None else maps.scale.summary(),
        lens=work.lens.summary(),
        stride=stride,
        warnings=_warnings(maps.scale, work),
    )


@dataclass(frozen=True)
class _Work:
    """What every writer of one photo needs to know."""

    photo: Photo
    job: JobOptions
    outputs: list[Output]
    image: ImageArray
    lens: Lens
    shot: Shot | None = None

    @property
    def has_geometry(self) -> bool:
        """Whether a mesh or a cloud is to be written."""
        return bool(self.of("mesh") or self.of("cloud"))

    def of(self, kind: str) -> list[Output]:
        """The outputs of one kind."""
        return [out for out in self.outputs if out.kind == kind]


@dataclass(frozen=True)
class _Maps:
    """What is left of a result when its maps are written: depth in metres if it has a scale, and what to tell of it."""

    depth: FloatMap | None
    scale: Scale | None
    tiles: tuple[int, int]
    timings: dict[str, float]
    about: dict[str, Any]


def _is_done(outputs: list[Output], job: JobOptions, inputs: Set[Path]) -> bool:
    """Whether to skip the photo. Raises FileError where something is that must not be replaced."""
    for out in outputs:
        if out.path.resolve() in inputs:
            raise FileError(f"A result would replace the photo {out.path}; choose another output folder.")
    present = [out.path for out in outputs if out.path.exists()]
    if present and job.existing == "fail":
        raise FileError(f"{present[0]} is there already; choose another output folder, or --existing overwrite.")
    return job.existing == "skip" and len(present) == len(outputs)


def _write_maps(result: DepthResult, work: _Work) -> _Maps:
    """Write the preview, the disparity, then the depth if there is a scale."""
    job, shot = work.job, work.shot
    result = result if shot is None else shot.held(work.image, result)
    for out in work.of("preview"):
        save_image(out.path, make_preview(work.image, result))
    result = replace(result, coarse=None)  # as large as the disparity: free it before the next map is made
    about: dict[str, Any] = {"photo": work.photo.path.name, "model": result.model, "tiles": list(result.tiles)}
    for out in work.of("disparity"):
        save_depth(out.path, result.disparity, quantity="disparity", metadata=about)
    find = find_scale if shot is None else shot.find_scale
    scale = find(result, work.photo.name, job, assume=work.has_geometry)
    if scale is None:
        return _Maps(None, None, result.tiles, result.timings, about)
    about |= {"scale": scale.summary(), "lens": work.lens.summary()}
    depth = result.depth
    if depth is None or scale.scale_shift is not result.scale_shift:
        depth = disparity_to_depth(result.disparity, scale.scale_shift, max_depth_m=job.far_m)
    for out in work.of("depth"):
        save_depth(out.path, depth, quantity="depth", metadata=about)
    return _Maps(depth, scale, result.tiles, result.timings, about)


def _stride(depth: FloatMap, job: JobOptions) -> int:
    return max(1, math.ceil(math.sqrt(depth.size / _AUTO_POINTS))) if job.stride == "auto" else job.stride


def _write_geometry(depth: FloatMap, scale: Scale, stride: int, about: Mapping[str, Any], work: _Work) -> None:
    """Write clouds and meshes; `depth` is cut at the scale's far end in place."""
    about = {**about, "notes": list(_warnings(scale, work))}
    depth[depth > scale.far_m * (1 + DEPTH_SLACK)] = np.inf
    intrinsics = work.lens.intrinsics
    if work.of("cloud"):
        cloud = depth_to_cloud(depth, intrinsics, image=work.image, stride=stride)
        for out in work.of("cloud"):
            save_cloud(out.path, cloud, metadata=about)
        del cloud
    if work.of("mesh"):
        mesh = depth_to_mesh(depth, intrinsics, image=work.image, edge_rtol=work.job.edge_rtol, stride=stride)
        mesh = replace(mesh, texture=_texture(work.image))
        for out in work.of("mesh"):
            save_mesh(out.path, mesh, metadata=about)


def _texture(image: ImageArray) -> ImageArray:
    """The photo, shrunk where graphics cards would refuse it."""
    height, width = image.shape[:2]
    factor = _MAX_TEXTURE_PX / max(height, width)
    if factor >= 1:
        return image
    return resized(image, (max(1, round(height * factor)), max(1, round(width * factor))))


def _warnings(scale: Scale | None, work: _Work) -> tuple[str, ...]:
    warnings = () if scale is None else scale.warnings
    if work.has_geometry and work.lens.source == "assumed":
        warnings += (
            f"The lens is unknown: assumed {GeometryOptions.fov_x_deg:g} degrees across the longer side; give --fov or "
            "--focal-35mm.",
        )
    return warnings


def infer_all(
    photos: Sequence[Photo],
    folder: Path,
    predictor: DepthPredictor,
    job: JobOptions,
    options: InferenceOptions,
    *,
    progress: Callable[[Photo, int, int], object] | None = None,
    strict: bool = False,
) -> Iterator[PhotoReport | Failure]:
    """`infer_photo` for one photo after the other; one that fails gives a `Failure` and the rest are still done.

    progress(photo, done, total) is as in `DepthPredictor.infer`. With `strict` an error that is a bug of ours is raised
    with its traceback instead of being reported.

    Raises:
        CancelledError: progress asked to stop.
    """
    inputs = frozenset(photo.path.resolve() for photo in photos)
    shot = Shot() if job.sequence else None
    for photo in photos:
        step = None if progress is None else partial(progress, photo)
        yield try_photo(photo, folder, predictor, job, options, progress=step, inputs=inputs, shot=shot, strict=strict)


def try_photo(
    photo: Photo,
    folder: Path,
    predictor: DepthPredictor,
    job: JobOptions,
    options: InferenceOptions,
    *,
    progress: Progress | None = None,
    inputs: Set[Path] = frozenset(),
    shot: Shot | None = None,
    strict: bool = False,
) -> PhotoReport | Failure:
    """`infer_photo`, but what goes wrong is a `Failure`; `strict` as for `infer_all`.

    Raises:
        CancelledError: progress asked to stop.
    """
    try:
        return infer_photo(photo, folder, predictor, job, options, progress=progress, inputs=inputs, shot=shot)
    except CancelledError:
        raise
    except ProEngineError as error:
        return Failure(str(photo.path), str(error))
    except MemoryError:
        return Failure(str(photo.path), "Memory ran out; close other programs, or ask for fewer files at once.")
    except Exception as error:
        if strict:
            raise
        return Failure(
            str(photo.path), f"Unexpected {type(error).__name__}: {error}; run again with --debug and report it."
        )
