# SPDX-License-Identifier: GPL-3.0-or-later
"""From the files of the engine to a depth map in metres. Needs numpy only.

The engine tells disparity, which is larger when nearer and has no unit: `1 / depth = scale * disparity + shift`. Scale
and shift come from two known distances: of the nearest and the farthest surface, or of one of them and of a pixel. The
disparities of those surfaces are the engine's `anchors`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..options import ENGINE

FloatMap = NDArray[np.float32]

DAMAGED = (ValueError, MemoryError, OverflowError, SyntaxError, TokenError)  # what numpy says of a file that is
SKY_CHOICES = (*ENGINE["GeometryOptions"]["sky"]["choices"], "keep")
FAR_SLACK = 1e-6  # relative; keeps a surface at exactly the far distance in spite of rounding
KEPT_AT_MOST = 10.0  # times the far distance, for a sky that is kept, as a vertex must be finite


def read_map(path: str | Path) -> FloatMap:
    """Read a map of the engine, a .npy file: (H, W) float32.

    Raises:
        UserError: the file is missing, is something else, or is not whole.
    """
    try:
        with open(path, "rb") as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); run the engine again.") from error
    except DAMAGED as error:
        raise UserError(f"{path} is not a whole map of the engine; run the engine again.") from error
    if values.dtype != np.float32 or values.ndim != 2:
        raise UserError(f"{path} is not a map of the engine; run the engine again.")
    return values


class Anchors(NamedTuple):
    """Disparity of the nearest surface, of the farthest, and of the farthest in front of the sky (`far` if none)."""

    near: float
    far: float
    far_before_sky: float

    @classmethod
    def of(cls, answer: Mapping[str, float] | None) -> Anchors:
        """The anchors as the engine tells them. UserError: it found no contrast to measure."""
        if answer is None:
            raise UserError("The picture shows nothing near and nothing far; use another photo or a metric model.")
        return cls(*(float(answer[name]) for name in cls._fields))

    def farthest(self, has_sky: bool) -> float:
        """The disparity that is to lie at the far distance."""
        return self.far_before_sky if has_sky else self.far


class DepthScale(NamedTuple):
    """1 / depth in 1 / metres = `scale` * disparity + `shift`."""

    scale: float
    shift: float

    @classmethod
    def through(cls, near: tuple[float, float], far: tuple[float, float]) -> DepthScale:
        """The one that puts two disparities at two distances, each given as (disparity, metres)."""
        scale = (1 / near[1] - 1 / far[1]) / (near[0] - far[0])
        return cls(scale, 1 / far[1] - scale * far[0])

    def depth(self, disparity: FloatMap) -> FloatMap:
        """Metres of a map; inf where the inverse is 0 or below, NaN where it is NaN."""
        inverse = self.scale * disparity.astype(np.float64) + self.shift
        with np.errstate(divide="ignore", over="ignore"):
            return np.where(inverse <= 0, np.inf, 1 / inverse).astype(np.float32)

    def distance(self, disparity: float) -> float:
        """Metres; inf where the inverse is 0 or below."""
        inverse = self.scale * disparity + self.shift
        return 1 / inverse if inverse > 0 else math.inf


def scale_of_range(anchors: Anchors, near_m: float, far_m: float, *, has_sky: bool = True) -> DepthScale:
    """The scale that puts the nearest surface at `near_m` and the farthest at `far_m`.

    Args:
        anchors: of the engine.
        near_m: metres, above 0.
        far_m: metres, above `near_m`.
        has_sky: whether an even far end is sky and lies beyond `far_m`; False for a wall, which lies at `far_m`.

    Raises:
        UserError: a bad range.
    """
    if not 0 < near_m < far_m < math.inf:
        raise UserError(f"Near is {near_m:g} m and far {far_m:g} m; give 0 < near < far.")
    return DepthScale.through((anchors.near, near_m), (anchors.farthest(has_sky), far_m))


def scale_of_distance(
    anchors: Anchors,
    disparity: float,
    distance_m: float,
    *,
    near_m: float | None = None,
    far_m: float | None = None,
    has_sky: bool = True,
) -> DepthScale:
    """The scale that puts a pixel at a known distance and keeps the nearest or the farthest surface where it is.

    Args:
        anchors: of the engine.
        disparity: of the pixel.
        distance_m: of the pixel, metres along the axis of view.
        near_m: metres of the nearest surface, to keep that one; or
        far_m: metres of the farthest surface, to keep that one.
        has_sky: as of `scale_of_range`.

    Raises:
        UserError: the distance contradicts the one that is kept.
    """
    if near_m is not None and far_m is None:
        kept, kept_m, which, side = anchors.near, near_m, "near", "above"
        ordered = disparity < kept and distance_m > kept_m
    elif far_m is not None and near_m is None:
        kept, kept_m, which, side = anchors.farthest(has_sky), far_m, "far", "below"
        ordered = disparity > kept and distance_m < kept_m
    else:
        raise TypeError("give near_m or far_m")
    if not (math.isfinite(disparity) and 0 < distance_m < math.inf and 0 < kept_m < math.inf and ordered):
        raise UserError(
            f"The point cannot be at {distance_m:g} m while {which} is {kept_m:g} m; "
            f"pick a point clearly away from the {which} end and give a distance {side} {kept_m:g} m."
        )
    scale = DepthScale.through((disparity, distance_m), (kept, kept_m))
    if math.isinf(scale.distance(anchors.farthest(has_sky))):
        raise UserError(
            f"With the point at {distance_m:g} m and near at {kept_m:g} m the background would lie beyond infinity; "
            "give a smaller distance or keep far instead."
        )
    return scale


def disparity_to_depth(disparity: FloatMap, scale: DepthScale, far_m: float, *, sky: str = "drop") -> FloatMap:
    """Depth in metres (H, W) from disparity (H, W); NaN stays NaN. `far_m` and `sky` as of `place_sky`."""
    return place_sky(scale.depth(disparity), far_m, sky=sky)


def place_sky(depth: FloatMap, far_m: float, *, sky: str = "drop") -> FloatMap:
    """What becomes of all that is beyond far: of metric depth, or of depth from a range.

    Args:
        depth: (H, W) metres; inf is infinitely far, NaN unknown.
        far_m: metres.
        sky: "drop" for NaN, "card" for all of it at `far_m`, "dome" for inf, which `with_dome` replaces, "keep" for
            where it is, at most 10 times `far_m`.

    Returns:
        (H, W) metres, a new array.

    Raises:
        UserError: another word for the sky, or a far distance that is not a finite number above 0.
    """
    if sky not in SKY_CHOICES:
        raise UserError(f"The sky is {sky!r}; give {', '.join(SKY_CHOICES)}.")
    if not 0 < far_m < math.inf:
        raise UserError(f"Far is {far_m:g} m; give a distance above 0.")
    if sky == "keep":
        nearer: FloatMap = np.minimum(depth, np.float32(KEPT_AT_MOST * far_m))
        return nearer
    with np.errstate(invalid="ignore"):
        beyond = depth > far_m * (1 + FAR_SLACK)
    placed = {"drop": np.nan, "card": far_m, "dome": np.inf}
    return np.where(beyond, np.float32(placed[sky]), depth)
