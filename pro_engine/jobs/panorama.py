"""Whole panoramas in a job: which photos are some, what does not go with them, their scale, their meshes and clouds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pro_engine.errors import FileError, InputError
from pro_engine.geometry.depth import DEPTH_SLACK
from pro_engine.geometry.sphere import height_above_ground, is_sphere, sphere_to_cloud, sphere_to_mesh
from pro_engine.io.cloud import save_cloud
from pro_engine.io.mesh import save_mesh
from pro_engine.jobs.metres import PhotoScale
from pro_engine.jobs.options import JobOptions
from pro_engine.jobs.outputs import Output
from pro_engine.jobs.points import has_points
from pro_engine.options import OptionError
from pro_engine.types import BoolMap, DepthResult, FloatMap, ImageArray, LoadedPhoto, ScaleShift

ONE_UNIT = ScaleShift(1.0, 0.0)
"""The link of a panorama's map before its unit is known: it has no shift."""

_USUAL_HEIGHT_M = 1.6
_FAR_HEIGHTS = 100.0  # how many times its height a panorama's shapes reach
_DOME = 4.0  # times the farthest surface, as `place_sky`


def is_whole_panorama(photo: LoadedPhoto, job: JobOptions, path: Path) -> bool:
    """Whether a photo is taken for a whole equirectangular panorama.

    Raises:
        FileError: it is one by the options, and not twice as wide as high; or a part of one of which shapes are wanted.
        OptionError: what is wanted of it does not exist for panoramas.
    """
    height, width = photo.image.shape[:2]
    fits, said = is_sphere(height, width), photo.panorama
    whole = job.projection == "equirectangular"
    if whole and not fits:
        raise FileError(f"{path} is {width}x{height} pixels; a whole panorama is twice as wide as high.")
    if job.projection == "auto" and said is not None:
        whole = said.equirectangular and fits
        if not whole and (job.mesh or job.cloud or job.html or job.normal_maps):
            raise FileError(
                f"{path} is a panorama ({said.reason}) but no whole equirectangular one, and no lens sees it; cut a "
                "view of up to 120 degrees out of it, or ask for maps alone."
            )
    if whole:
        _check(job, path)
    return whole


def _check(job: JobOptions, path: Path) -> None:
    """Raises OptionError where the options ask for what only a pinhole camera has."""
    sentence = f"{path.name} is a panorama, for which {{0}} does not work; leave it out, or give {{1}} pinhole."
    unused = [name for name in ("normal_maps", "html", "alpha", "length", "extend") if getattr(job, name)]
    unused += ["cloud"] * ("splat" in job.cloud)
    unused += ["align"] * (job.align is not None and has_points(job.align, path.stem))
    unused += [name for name in ("pitch_deg", "roll_deg") if getattr(job, name) is not None]
    if unused:
        raise OptionError(sentence, unused[0], "projection")


def panorama_scale(result: DepthResult, height_m: float | None, job: JobOptions) -> PhotoScale:
    """Metres of a panorama from the height at which it was taken over flat ground; None for an assumed one.

    Raises:
        InputError: it shows no ground.
    """
    surfaces: BoolMap = result.valid if result.sky is None else result.valid & ~result.sky
    try:
        unit_m = (height_m or _USUAL_HEIGHT_M) / height_above_ground(result.disparity, surfaces)
    except InputError:
        if height_m is not None:
            raise
        unit_m = 1.0
    notes: tuple[str, ...] = ()
    if height_m is None:
        notes = (
            f"The scale is unknown: assumed that the panorama was taken {_USUAL_HEIGHT_M:g} m above the ground; give "
            "--camera-height or --distance.",
        )
    far_m = job.far_m or _FAR_HEIGHTS * (height_m or _USUAL_HEIGHT_M)
    link = ScaleShift(1 / unit_m, 0.0, source="assumed" if height_m is None else "fitted")
    return PhotoScale(link, far_m, warnings=notes)


def write_panorama(
    distance: FloatMap,
    image: ImageArray,
    far_m: float,
    *,
    stride: int,
    job: JobOptions,
    dropped: BoolMap | None,
    outputs: Sequence[Output],
    about: Mapping[str, Any],
) -> None:
    """Write the clouds and meshes among `outputs`.

    Args:
        distance: (H, W) metres along the rays, changed in place. image: of the same size.
        far_m: where the scale ends. stride: pixels between neighbouring points. job: what is wanted.
        dropped: (H, W) bool, what is no part of the shapes.
        outputs: of the photo, others are left out. about: facts for the files.

    Raises:
        ProEngineError: nothing is left, or a file cannot be written.
    """
    if dropped is not None:
        distance[dropped] = np.nan
    with np.errstate(invalid="ignore"):
        beyond = distance > far_m * (1 + DEPTH_SLACK)
    distance[beyond] = np.inf
    for out in (one for one in outputs if one.kind == "cloud"):
        save_cloud(out.path, sphere_to_cloud(distance, image=image, stride=stride), metadata=about)
    meshes = [out for out in outputs if out.kind == "mesh"]
    if not meshes:
        return
    if job.sky != "drop":
        distance[beyond] = far_m * (_DOME if job.sky == "dome" else 1.0)
    mesh = sphere_to_mesh(distance, image=image, edge_rtol=job.edge_rtol, stride=stride)
    for out in meshes:
        save_mesh(out.path, mesh, metadata=about)
