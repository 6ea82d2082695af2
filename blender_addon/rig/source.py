# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine said of a photo, as a rig keeps it, and how its numbers become metres."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import bpy
import numpy as np

from ..engine.run import PhotoDepth
from ..errors import UserError
from ..maths.layers import DOME, with_dome
from ..maths.mesh import Intrinsics, ray_slopes
from ..maths.scale import SKY_CHOICES, Anchors, DepthScale, disparity_to_depth, place_sky, read_map, scale_of_distance
from ..maths.scale import scale_of_range as range_scale
from ..maths.simplify import FloatMap
from ..maths.sphere import Sphere
from ..options import Checked, option, same_as
from .build import SOURCE_KEY
from .datablocks import has, read_float_image

if TYPE_CHECKING:
    from .place import Recipe

# on the rig: what the engine knew of the photo
ANCHORS_KEY, EXIF_KEY, METRIC_KEY = "pro_anchors", "pro_exif", "pro_metric"
SOURCES_KEY = "pro_sources"  # of lens and metres, as the engine says
SPHERE_KEY = "pro_sphere"  # it is a whole panorama
ESTIMATE_KEY = "pro_estimate"  # metres of its nearest and of its farthest surface, estimated
SCALE_CHOICES = ("ESTIMATE", "NEAR_FAR", "POINT", "METRIC")
KEPT_CHOICES = ("FAR", "NEAR")
UNKNOWN, SKY = 0.0, 0.5  # in the mask of the engine's map, which is 1 elsewhere
SPHERE_REACH, NEAREST = 100.0, 0.01  # times the nearest of a panorama, a quantile; what is farther is sky


@dataclass(frozen=True)
class ScaleChoice(Checked):
    """How the engine's numbers become metres, and what becomes of the sky. UserError: distances that are none."""

    by: str = option("ESTIMATE", "Which distances are known", label="Scale from", choices=SCALE_CHOICES)
    near_m: float = same_as("GeometryOptions.near_m", help="Distance of the nearest surface in the photo", label="Near")
    far_m: float = same_as(
        "GeometryOptions.far_m",
        default=3.0,  # three times near: too little looks like a relief, too much like needles; a slider moves it
        help="Distance of the farthest surface in the photo; what lies beyond is sky",
        label="Far",
    )
    point: tuple[int, int] = option(
        (0, 0), "Pixel of the photo whose distance is known, from its top left corner", label="Point", minimum=0
    )
    distance_m: float = option(5.0, "Distance of that pixel along the camera's axis of view", label="Distance", above=0)
    kept: str = option("FAR", "Which end stays where it is", label="Keep", choices=KEPT_CHOICES)
    cuts: bool = option(False, "Take what lies beyond Far for sky, though the model has metres for it", label="Cut")
    sky: str = same_as(
        "GeometryOptions.sky",
        help="What becomes of what lies beyond Far",
        label="Sky",
        choices=SKY_CHOICES,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.far_m < math.inf and (self.by == "METRIC" or 0 < self.near_m < self.far_m)):
            raise UserError(f"Near is {self.near_m:g} m and far {self.far_m:g} m; give 0 < near < far.")
        if self.by == "POINT" and not 0 < self.distance_m < math.inf:
            raise UserError(f"The distance of the point is {self.distance_m:g} m; give a number above 0.")


class Source(NamedTuple):
    """What the engine said of a photo.

    `disparity` is (H, W), `metres` too, or None if the model knows none; `anchors` None for a photo without contrast;
    `exif` (fx, fy, cx, cy) in pixels, or None if neither the photo nor the model tells; `lens_source` and
    `scale_source` (of `metres`) in the engine's words, "" where it says none; `estimate` as of `PhotoDepth`.
    """

    disparity: FloatMap
    metres: FloatMap | None
    anchors: dict[str, float] | None
    exif: tuple[float, float, float, float] | None
    lens_source: str = ""
    scale_source: str = ""
    own: DepthScale | None = None  # of `metres`, where they follow from the disparity but for the sky
    sphere: bool = False  # it is a whole panorama, whose maps tell of distances along the rays
    estimate: tuple[float, float] | None = None

    @classmethod
    def of_result(cls, result: PhotoDepth) -> Source:
        """From the engine's files. UserError: they are gone, or not of the size that was told."""
        maps = [None if path is None else read_map(path) for path in (result.disparity, result.depth)]
        for values in maps:
            if values is not None and values.shape != (result.height, result.width):
                raise UserError(
                    f"The depth map of {result.photo.name} has the shape {values.shape} instead of "
                    f"{(result.height, result.width)}; press Estimate again."
                )
        anchors = dict(result.anchors) if result.anchors else None
        disparity, metres = maps
        own = None if metres is None or result.scale is None else DepthScale(*result.scale)
        if own is not None and not _follows(metres, disparity, own):
            own = None
        sources = result.lens_source, result.scale_source
        return cls(disparity, metres, anchors, result.intrinsics, *sources, own, result.sphere, result.estimate)

    @classmethod
    def of_rig(cls, rig: bpy.types.Object) -> Source:
        """From the images that a rig keeps. UserError: they are gone."""
        image = rig.get(SOURCE_KEY)
        if image is None:
            raise UserError(f"{rig.name} does not keep the engine's map; press Estimate again.")
        pixels = read_float_image(image)
        disparity, metres, mask = (np.ascontiguousarray(pixels[..., k]) for k in (0, 1, 3))
        disparity[mask == UNKNOWN] = np.nan
        anchors, exif, metric, ends = (rig.get(key) for key in (ANCHORS_KEY, EXIF_KEY, METRIC_KEY, ESTIMATE_KEY))
        lens_source, _, scale_source = str(rig.get(SOURCES_KEY, "|")).partition("|")
        own = DepthScale(*metric) if hasattr(metric, "__len__") else None
        if own is not None:
            metres = np.where(mask == SKY, np.float32(np.inf), own.depth(disparity))
        metres[metres == 0] = np.nan
        return cls(
            disparity,
            None if metric is None else metres,
            None if anchors is None else dict(zip(Anchors._fields, anchors, strict=True)),
            None if exif is None else tuple(exif),
            lens_source,
            scale_source,
            own,
            has(rig, SPHERE_KEY),
            None if ends is None else tuple(ends),
        )

    def kept(self) -> FloatMap:
        """What a rig keeps, without any NaN: (H, W) disparity; (H, W, 2) with a mask, if anything is unknown or is the
        model's sky; (H, W, 4) with metres between them that do not follow from the disparity.
        """
        mask = np.where(np.isnan(self.disparity), np.float32(UNKNOWN), np.float32(1))
        disparity = np.where(mask == UNKNOWN, np.float32(0), self.disparity)
        if self.metres is not None and self.own is None:
            metres = np.where(np.isnan(self.metres), np.float32(0), self.metres)
            return np.dstack([disparity, metres, metres, mask])
        if self.metres is not None and self.own is not None:
            mask[np.isposinf(self.metres) & np.isfinite(self.own.depth(self.disparity))] = SKY
        return disparity if (mask == 1).all() else np.dstack([disparity, mask])

    def rows(self, part: slice) -> Source:
        """Some rows of the maps; anchors and lens are those of the photo."""
        return self._replace(disparity=self.disparity[part], metres=None if self.metres is None else self.metres[part])

    def settled(self, choice: ScaleChoice) -> ScaleChoice:
        """The choice with the distances that hold here: the model's estimate if that is chosen and there is one, and
        Far at the end of the model's metres unless they are to be cut.
        """
        if choice.by == "ESTIMATE":
            near_m, far_m = self.estimate or (choice.near_m, choice.far_m)
            return replace(choice, by="NEAR_FAR", near_m=near_m, far_m=far_m)
        if choice.by == "METRIC" and not choice.cuts and self.metres is not None:
            return replace(choice, far_m=farthest(self.metres, choice.far_m))
        return choice

    def scale(self, choice: ScaleChoice) -> DepthScale | None:
        """From the whole map; None for metres of the model. UserError: the distances fit no scale."""
        if choice.by == "METRIC":
            if self.metres is None:
                raise UserError("This model gives no metres; choose Near/Far or a point under Scale.")
            return None
        anchors, has_sky = Anchors.of(self.anchors), choice.sky != "keep"
        if choice.by == "NEAR_FAR" and self.sphere:
            return DepthScale(1 / (choice.near_m * anchors.near), 0.0)
        if choice.by == "NEAR_FAR":
            return range_scale(anchors, choice.near_m, choice.far_m, has_sky=has_sky)
        (column, row), (height, width) = choice.point, self.disparity.shape
        if not (0 <= column < width and 0 <= row < height):
            raise UserError(f"The point {column}, {row} is outside the photo of {width}x{height}; pick another.")
        ends = {"far_m": choice.far_m} if choice.kept == "FAR" else {"near_m": choice.near_m}
        at_point = float(self.disparity[row, column])
        if self.sphere:
            if not at_point > 0:
                raise UserError("The point is in the sky; pick another.")
            return DepthScale(1 / (choice.distance_m * at_point), 0.0)
        return scale_of_distance(anchors, at_point, choice.distance_m, has_sky=has_sky, **ends)

    def ends(self, choice: ScaleChoice, scale: DepthScale) -> tuple[float, float]:
        """Metres of the nearest and of the farthest surface."""
        anchors = Anchors.of(self.anchors)
        return scale.distance(anchors.near), scale.distance(anchors.farthest(choice.sky != "keep"))

    def told(self, recipe: Recipe) -> str:
        """Where metres and lens come from, in the words of the engine."""
        scale = self.scale_source if recipe.scale.by == "METRIC" else "given"
        if recipe.scale.by == "ESTIMATE":
            scale = "assumed" if self.estimate is None else "estimated"
        lens = (self.lens_source or "assumed") if recipe.lens.source == "EXIF" else "given"
        if self.sphere:
            lens = "a whole panorama"
        return f"Metres: {scale}, lens: {lens}"

    def doubts(self, recipe: Recipe, lens: Intrinsics | Sphere) -> str:
        """What the user has to know of a lens or of metres that are guesses of the engine; "" if nothing."""
        found = []
        if self.sphere:
            found.append("It is a whole panorama, with the camera inside; its size follows from Near alone.")
        elif recipe.lens.source == "EXIF" and self.lens_source == "model" and self.exif is not None:
            fov_deg = math.degrees(2 * math.atan(lens.width / 2 / self.exif[0]))
            found.append(f"The photo does not tell its lens, the model estimates {fov_deg:.0f}°.")
        if recipe.scale.by == "ESTIMATE" and self.estimate is not None:
            near, far = (f"{float(f'{end:.2g}'):g}" for end in self.estimate)
            found.append(f"Sizes are the model's estimate: near {near} m, far {far} m.")
        if recipe.scale.by == "METRIC" and self.metres is not None and not self.sphere:
            found.append(_reach_told(self.metres, recipe.scale))
        if recipe.scale.by == "METRIC" and self.scale_source == "assumed":
            found.append("The model's metres follow from an assumed lens: sizes may be off by a factor.")
        return " ".join(found)

    def depth(self, choice: ScaleChoice, scale: DepthScale | None, lens: Intrinsics | Sphere | None = None) -> FloatMap:
        """(H, W) metres, by a scale of `scale`; a dome needs the lens and is a card without."""
        if self.sphere:
            return self._distance(choice, scale)
        assert not isinstance(lens, Sphere)
        far_m = choice.far_m
        if scale is not None and choice.by == "POINT" and choice.kept == "NEAR":
            far_m = scale.distance(Anchors.of(self.anchors).farthest(choice.sky != "keep"))
        sky = "card" if choice.sky == "dome" and lens is None else choice.sky
        if scale is None:
            assert self.metres is not None
            depth = place_sky(self.metres, far_m, sky=sky)
        else:
            depth = disparity_to_depth(self.disparity, scale, far_m, sky=sky)
        if sky != "dome" or lens is None:
            return depth
        x, y = ray_slopes(lens, *(np.arange(n) for n in depth.shape))
        return with_dome(depth, np.isposinf(depth), far_m, x, y)

    def _distance(self, choice: ScaleChoice, scale: DepthScale | None) -> FloatMap:
        """(H, W) metres along the rays of a panorama; far follows from what is nearest."""
        metres = self.metres if scale is None else scale.depth(self.disparity)
        assert metres is not None
        there = metres[np.isfinite(metres) & (metres > 0)]
        far_m = SPHERE_REACH * float(np.quantile(there, NEAREST)) if len(there) else choice.far_m
        placed = place_sky(metres, far_m, sky=choice.sky)
        return np.where(np.isposinf(placed), np.float32(DOME * far_m), placed) if choice.sky == "dome" else placed


def farthest(metres: FloatMap, else_m: float) -> float:
    """The largest finite distance of a map."""
    there = metres[np.isfinite(metres) & (metres > 0)]
    return float(there.max()) if len(there) else else_m


def _reach_told(metres: FloatMap, choice: ScaleChoice) -> str:
    """How far metres of the model go, or what Far cuts off them."""
    far_m = farthest(metres, choice.far_m)
    if not choice.cuts or far_m <= choice.far_m:
        return f"The model's metres reach to {far_m:.3g} m."
    share = float((np.isfinite(metres) & (metres > choice.far_m)).mean())
    return f"Beyond Far, {choice.far_m:g} m, all is taken for sky: {share:.0%} of the photo; turn off Cut to keep it."


def _follows(metres: FloatMap, disparity: FloatMap, own: DepthScale) -> bool:
    """Whether metres are those of a scale, bit for bit, but for a sky that is infinitely far."""
    there = own.depth(disparity)
    return bool(np.all((metres == there) | np.isposinf(metres) | (np.isnan(metres) & np.isnan(there))))
