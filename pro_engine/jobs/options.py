"""What a job over photos shall write. Flags and panels are built from these fields; their help lives here alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pro_engine.options import Checked, GeometryOptions, OptionError, option, same_as

# The name by which people ask for a format, and the suffix of the file.
MAP_FORMATS = {"npz": ".npz", "npy": ".npy", "png16": ".png", "exr": ".exr", "tiff": ".tiff", "pfm": ".pfm"}
MESH_FORMATS = {"glb": ".glb", "obj": ".obj", "ply": ".ply", "stl": ".stl"}
CLOUD_FORMATS = {"ply": ".ply", "pcd": ".pcd"}

Existing = Literal["overwrite", "skip", "fail"]


@dataclass(frozen=True)
class JobOptions(Checked):
    """Files to write for every photo, and where metres and the lens come from.

    Raises:
        OptionError: a value outside its limits, an unknown format, or options that contradict each other.
    """

    maps: tuple[str, ...] = option(("npz",), "Formats of the disparity and depth maps", choices=tuple(MAP_FORMATS))
    mesh: tuple[str, ...] = option((), "Formats of the textured mesh", choices=tuple(MESH_FORMATS))
    cloud: tuple[str, ...] = option((), "Formats of the coloured point cloud", choices=tuple(CLOUD_FORMATS))
    preview: bool = option(False, "Also write NAME.preview.png: photo, coarse and refined map side by side")
    picture: bool = option(False, "Also write NAME.picture.png: the upright picture that the model saw")
    max_pixels: int | None = option(
        None, "Photos of more pixels are made smaller before the model sees them", minimum=1, unit="pixels"
    )
    anchors: bool = option(
        False, "Also report the disparity of the nearest and of the farthest surface, with and without sky"
    )
    near_m: float | None = option(
        None, "Distance of the nearest surface in metres; with the farthest it sets the scale", above=0
    )
    far_m: float | None = option(
        None, "Distance of the farthest surface in metres; meshes and clouds end there, so the sky is cut", above=0
    )
    keep_background: bool = option(False, "An even background is a wall at the farthest distance, not sky to be cut")
    align: Path | None = option(
        None, "Sensor depth to take the scale from: a file, or a folder with one named like each photo"
    )
    fov_x_deg: float | None = option(
        None, "Horizontal field of view in degrees, instead of the photo's EXIF", above=0, below=180
    )
    focal_35mm: float | None = option(None, "35 mm equivalent focal length in mm, instead of the photo's EXIF", above=0)
    stride: Literal["auto"] | int = option(
        "auto", "Every how many pixels a mesh or cloud has a point, or auto: at most a million points", minimum=1
    )
    edge_rtol: float = same_as(
        GeometryOptions, "edge_rtol", help="Relative step in depth at which the mesh is cut open"
    )
    sequence: bool = option(False, "The photos are frames of one shot, in this order: keep one scale, but for cuts")
    existing: Existing = option("overwrite", "Where results are there already: overwrite them, skip the photo, or fail")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fov_x_deg is not None and self.focal_35mm is not None:
            raise OptionError("Both {0} and {1} are given; give one of them.", "fov_x_deg", "focal_35mm")
        if self.near_m is not None and self.align is not None:
            raise OptionError("Both {0} and {1} are given; the scale comes from one of them.", "near_m", "align")
        if self.align is None and (self.near_m is None) != (self.far_m is None):
            raise OptionError(
                "Only one of {0} and {1} is given; give both, they set the scale together.", "near_m", "far_m"
            )
        if self.near_m is not None and self.far_m is not None and self.near_m >= self.far_m:
            raise OptionError(
                f"{{0}} is {self.near_m:g} and {{1}} {self.far_m:g}; near must be below far.", "near_m", "far_m"
            )
