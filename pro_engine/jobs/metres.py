"""What is known of one photo: its lens, and the link between its map and metres."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pro_engine.geometry.depth import disparity_to_depth
from pro_engine.geometry.sparse import SparseFit
from pro_engine.io.lens import ColmapLens
from pro_engine.types import BoolMap, DepthResult, FloatMap, Intrinsics, LensSource, ScaleShift


@dataclass(frozen=True)
class PhotoScale:
    """Metres of one photo: the link to disparity, the distance in metres where meshes and clouds end, warnings, and the
    fit to sparse points if there was one, which may bend the link."""

    scale_shift: ScaleShift
    far_m: float
    near_m: float | None = None
    warnings: tuple[str, ...] = ()
    points: SparseFit | None = None

    @classmethod
    def from_summary(cls, values: Mapping[str, Any]) -> PhotoScale:
        """The scale that `summary` told of, without its warnings."""
        link = ScaleShift(**{name: values[name] for name in ("scale", "shift", "inlier_share", "source")})
        return cls(link, values["far_m"], values["near_m"])

    def summary(self) -> dict[str, object]:
        """Plain values for the JSON summary and for the metadata of files."""
        link = self.scale_shift
        points = {} if self.points is None else {"points": self.points.summary()}
        return {
            "source": link.source,
            "scale": link.scale,
            "shift": link.shift,
            "inlier_share": link.inlier_share,
            "near_m": self.near_m,
            "far_m": self.far_m,
            **points,
        }

    def depth(self, disparity: FloatMap, *, far_m: float | None, sky: BoolMap | None) -> FloatMap:
        """(H, W) metres of a map, +inf in the sky and beyond `far_m`."""
        if self.points is not None:
            return self.points.depth(disparity, max_depth_m=far_m, sky=sky)
        return disparity_to_depth(disparity, self.scale_shift, max_depth_m=far_m, sky=sky)


@dataclass(frozen=True)
class PhotoLens:
    """Intrinsics of one photo, their source, and the lens with its distortion where a reconstruction tells it. A
    panorama has no intrinsics: `sphere` is True, and those here are of no use."""

    intrinsics: Intrinsics
    source: LensSource
    distortion: ColmapLens | None = None
    sphere: bool = False

    @classmethod
    def of_model(cls, values: Mapping[str, Any], shape: tuple[int, ...]) -> PhotoLens | None:
        """The lens that `summary` told of, for a photo of this height and width; None if it was not the model's."""
        if values["source"] != "model":
            return None
        fx, fy, cx, cy = (values[name] for name in ("fx", "fy", "cx", "cy"))
        return cls(Intrinsics(fx, fy, cx, cy, width=shape[1], height=shape[0]), "model")

    def seen_by(self, result: DepthResult) -> PhotoLens:
        """The lens once the model has looked: its own in place of an assumed one, if it gives any."""
        if result.lens_source != "model" or result.intrinsics is None:
            return self
        return PhotoLens(result.intrinsics, result.lens_source)

    def summary(self) -> dict[str, object]:
        """Plain values for the JSON summary and for the metadata of files."""
        if self.sphere:
            return {"source": self.source, "projection": "equirectangular"}
        k = self.intrinsics
        bent = {} if self.distortion is None else {"distortion": self.distortion.summary()}
        return bent | {"source": self.source, "fov_x_deg": k.fov_x_deg, "fx": k.fx, "fy": k.fy, "cx": k.cx, "cy": k.cy}
