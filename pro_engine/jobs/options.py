"""What a job over photos shall write. Flags and panels are built from these fields; their help lives here alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pro_engine.errors import InputError

# The name by which people ask for a format, and the suffix of the file.
MAP_FORMATS = {"npz": ".npz", "npy": ".npy", "png16": ".png", "exr": ".exr", "tiff": ".tiff", "pfm": ".pfm"}
MESH_FORMATS = {"glb": ".glb", "obj": ".obj", "ply": ".ply", "stl": ".stl"}
CLOUD_FORMATS = {"ply": ".ply", "pcd": ".pcd"}

ASSUMED_NEAR_M, ASSUMED_FAR_M = 1.0, 20.0
ASSUMED_FOV_DEG = 55.0

Existing = Literal["overwrite", "skip", "fail"]


def _option(default: Any, text: str, **limits: Any) -> Any:
    """A field that carries its own help text and limits."""
    return field(default=default, metadata={"help": text, **limits})


@dataclass(frozen=True)
class JobOptions:
    """Files to write for every photo, and where metres and the lens come from.

    Raises:
        InputError: a value outside its limits, an unknown format, or options that contradict each other.
    """

    maps: tuple[str, ...] = _option(("npz",), "Formats of the disparity and depth maps", choices=tuple(MAP_FORMATS))
    mesh: tuple[str, ...] = _option((), "Formats of the textured mesh", choices=tuple(MESH_FORMATS))
    cloud: tuple[str, ...] = _option((), "Formats of the coloured point cloud", choices=tuple(CLOUD_FORMATS))
    preview: bool = _option(False, "Also write NAME.preview.png: photo, coarse and refined map side by side")
    near_m: float | None = _option(None, "Distance of the nearest surface in metres; with --far it sets the scale")
    far_m: float | None = _option(
        None, "Distance of the farthest surface in metres; meshes and clouds end there, so the sky is cut"
    )
    keep_background: bool = _option(False, "An even background is a wall at --far, not sky to be cut")
    align: Path | None = field(
        default=None,
        metadata={"help": "Sensor depth to take the scale from: a file, or a folder with one named like each photo"},
    )
    fov_x_deg: float | None = _option(None, "Horizontal field of view in degrees, instead of the photo's EXIF")
    focal_35mm: float | None = _option(None, "35 mm equivalent focal length in mm, instead of the photo's EXIF")
    stride: Literal["auto"] | int = _option(
        "auto", "Every how many pixels a mesh or cloud has a point, or auto: at most a million points", minimum=1
    )
    edge_rtol: float = _option(0.04, "Relative depth step at which the mesh is cut open", minimum=0)
    sequence: bool = _option(False, "The photos are frames of one shot, in this order: keep one scale, but for cuts")
    existing: Existing = field(
        default="overwrite",
        metadata={"help": "Where results are there already: overwrite them, skip the photo, or fail"},
    )

    def __post_init__(self) -> None:
        for name, known in (("maps", MAP_FORMATS), ("mesh", MESH_FORMATS), ("cloud", CLOUD_FORMATS)):
            _check_formats(name, getattr(self, name), known)
        if not self.maps:
            raise InputError(f"maps is empty; give at least one of {', '.join(MAP_FORMATS)}.")
        for name in ("near_m", "far_m", "fov_x_deg", "focal_35mm", "edge_rtol"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value > 0):
                raise InputError(f"{name} is {value!r}; give a finite number above 0.")
        if self.fov_x_deg is not None and self.fov_x_deg >= 180:
            raise InputError(f"fov_x_deg is {self.fov_x_deg:g}; give less than 180 degrees.")
        if self.fov_x_deg is not None and self.focal_35mm is not None:
            raise InputError("Both fov_x_deg and focal_35mm are given; give one of them.")
        if self.near_m is not None and self.align is not None:
            raise InputError("Both near_m and align are given; the scale comes from one of them.")
        if self.align is None and (self.near_m is None) != (self.far_m is None):
            raise InputError("Only one of near_m and far_m is given; give both, they set the scale together.")
        if self.near_m is not None and self.far_m is not None and self.near_m >= self.far_m:
            raise InputError(f"near_m is {self.near_m:g} and far_m {self.far_m:g}; near must be below far.")
        if self.stride != "auto" and (not isinstance(self.stride, int) or self.stride is True or self.stride < 1):
            raise InputError(f"stride is {self.stride!r}; give auto or a whole number from 1.")
        if self.existing not in ("overwrite", "skip", "fail"):
            raise InputError(f"existing is {self.existing!r}; give overwrite, skip or fail.")


def _check_formats(name: str, formats: tuple[str, ...], known: Mapping[str, str]) -> None:
    for item in formats:
        if item not in known:
            raise InputError(f"{name} names the format {item!r}; give one or more of {', '.join(known)}.")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
