"""Metres of a photo from the ground that it shows."""

from __future__ import annotations

import numpy as np

from pro_engine.errors import InputError
from pro_engine.geometry.depth import disparity_to_depth, span_scale_shift
from pro_engine.geometry.ground import GroundPlane, down_vector, ground_plane, ground_scale_shift
from pro_engine.jobs.metres import PhotoLens, PhotoScale
from pro_engine.jobs.options import JobOptions
from pro_engine.types import BoolMap, DepthResult

_REACH = 3.0  # a mesh ends at this many times the farthest ground


def ground_scale(result: DepthResult, job: JobOptions, lens: PhotoLens, height_m: float) -> PhotoScale:
    """Metres from the ground. The lens and the attitude decide how good they are, so guesses are told."""
    surfaces = result.valid if result.sky is None else result.valid & ~result.sky
    given = not (job.pitch_deg is None and job.roll_deg is None)
    seen = None if given else _estimated_ground(result, lens, surfaces)
    level = down_vector(job.pitch_deg or 0.0, job.roll_deg or 0.0)
    found = ground_scale_shift(
        result.disparity, lens.intrinsics, height_m, level if seen is None else seen.normal, valid=surfaces
    )
    warnings: tuple[str, ...] = ()
    if lens.source == "assumed":
        warnings += ("Metres from the ground depend on the lens, which is assumed; give --fov or --focal-35mm.",)
    if seen is not None:
        warnings += (
            f"The camera is estimated to look down by {found.pitch_deg:.0f} degrees and to be turned by "
            f"{found.roll_deg:.0f}; a degree changes the metres by 5 to 15 %, see --pitch and --roll.",
        )
    elif not given:
        warnings += ("The camera is taken to look level; a degree changes the metres by 5 to 15 %, see --pitch.",)
    depth = disparity_to_depth(result.disparity[found.mask][None], found.scale_shift)
    far_m = job.far_m or _REACH * float(np.percentile(depth, 99))
    return PhotoScale(found.scale_shift, far_m, warnings=warnings)


def _estimated_ground(result: DepthResult, lens: PhotoLens, surfaces: BoolMap) -> GroundPlane | None:
    """The ground in the depth that the model estimates, whose unit does not matter; None where it estimates none. The
    disparity alone tells no pitch: a plane that is tilted more is one with another shift."""
    link = result.scale_shift
    if link is None and result.span_m is None:
        return None
    try:
        if link is None and result.span_m is not None:
            link = span_scale_shift(result.disparity, *result.span_m, surfaces)
        assert link is not None
        return ground_plane(disparity_to_depth(result.disparity, link), lens.intrinsics, valid=surfaces)
    except InputError as error:
        raise InputError(f"Where the camera looks cannot be estimated; give --pitch and --roll. {error}") from error
