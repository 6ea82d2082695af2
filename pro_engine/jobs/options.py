"""Options of the jobs: what each shall do and write. Flags, requests and panels are made from these fields."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pro_engine.geometry.known import Measured
from pro_engine.options import (
    Checked,
    GeometryOptions,
    InferenceOptions,
    ModelOptions,
    NormalY,
    OptionError,
    Sky,
    option,
    same_as,
)

# The name by which people ask for a format, and the suffix of the file.
MAP_FORMATS = {"npz": ".npz", "npy": ".npy", "png16": ".png", "exr": ".exr", "tiff": ".tiff", "pfm": ".pfm"}
MESH_FORMATS = {"glb": ".glb", "obj": ".obj", "ply": ".ply", "stl": ".stl", "usdc": ".usdc", "usdz": ".usdz"}
CLOUD_FORMATS = {"ply": ".ply", "pcd": ".pcd", "splat": ".splat.ply"}
NORMAL_FORMATS = {"exr": ".exr", "png": ".png"}

Existing = Literal["overwrite", "skip", "fail"]
Surface = Literal["layers", "torn"]
Projection = Literal["auto", "pinhole", "equirectangular"]


@dataclass(frozen=True)
class JobOptions(Checked):
    """Files to write for every photo, and where metres and the lens come from.

    Raises:
        OptionError: a value outside its limits, an unknown format, or options that contradict each other.
    """

    maps: tuple[str, ...] = option(("npz",), "Formats of the disparity and depth maps", choices=tuple(MAP_FORMATS))
    mesh: tuple[str, ...] = option((), "Formats of the textured mesh", choices=tuple(MESH_FORMATS))
    cloud: tuple[str, ...] = option((), "Formats of the coloured point cloud", choices=tuple(CLOUD_FORMATS))
    html: bool = option(
        False, "Also write NAME.view.html: a page that shows the photo in depth, in any browser and without a network"
    )
    normal_maps: tuple[str, ...] = option(
        (), "Formats of the map of surface normals, made from the refined depth", choices=tuple(NORMAL_FORMATS)
    )
    normal_y: NormalY = option("opengl", "Way that y of the normals points: opengl up, directx down")
    alpha: bool = option(
        False,
        "Also write NAME.alpha.png: which share of a pixel the near side of an outline fills, 16-bit grey; white "
        "elsewhere",
    )
    mask: bool = option(
        False, "Also write NAME.mask.png: white where the model sees a surface, black for sky and unknown"
    )
    channel: str = option("Z", "Channel of the depth in EXR maps")
    exr_half: bool = option(False, "EXR maps have 16-bit floats")
    exr_far_m: float | None = option(
        None,
        "Depth in EXR maps where there is none, instead of inf and NaN; the channel `valid` marks those pixels",
        above=0,
        unit="m",
    )
    preview: bool = option(
        False, "Also write NAME.preview.png: photo, coarse and refined map side by side; of a video NAME.preview.mp4"
    )
    picture: bool = option(False, "Also write NAME.picture.png: the upright picture that the model saw")
    max_pixels: int | None = option(
        None, "Photos of more pixels are made smaller before the model sees them", minimum=1, unit="pixels"
    )
    anchors: bool = option(
        False, "Also report in JSON the disparity of the nearest and of the farthest surface, with and without sky"
    )
    layer: str | None = option(None, "Layer, part or channel of an EXR file to read, instead of the beauty")
    scale_from: Literal["auto", "metric"] = option(
        "auto",
        "Where metres come from: metric, the model's own or an error; auto, sensor depth or the distances given, else "
        "the model's own, else for meshes and clouds an assumed range",
    )
    near_m: float | None = same_as(
        GeometryOptions,
        "near_m",
        default=None,
        help="Distance of the nearest surface; with the farthest it sets the scale",
    )
    far_m: float | None = same_as(
        GeometryOptions,
        "far_m",
        default=None,
        help="Distance of the farthest surface; meshes and clouds end there, so the sky is cut",
    )
    keep_background: bool = option(False, "An even background is a wall at the farthest distance, not sky to be cut")
    align: Path | None = option(
        None,
        "What to take the scale from: sensor depth (a promptda model is told it, others are fitted to it) or x y z "
        "points, as a file or a folder with one named like each photo; or a reconstruction: COLMAP's sparse/0, or "
        "nerfstudio's transforms.json",
    )
    distance: tuple[str, ...] = option(
        (),
        "Distance from the camera to a point of the picture that the model sees, as X,Y=METRES in pixels; repeat it: "
        "two at different distances give scale and shift",
    )
    length: tuple[str, ...] = option(
        (), "Length between two points of that picture, as X1,Y1,X2,Y2=METRES in pixels; repeat it for several"
    )
    camera_height_m: float | None = option(
        None, "Height of the camera over flat ground, from which the scale is taken", above=0, unit="m"
    )
    pitch_deg: float | None = option(
        None,
        "How far the camera looks down; goes with the camera's height; without it and the roll both are estimated",
        minimum=-90,
        maximum=90,
        unit="degrees",
    )
    roll_deg: float | None = option(
        None,
        "How far the camera is turned clockwise, seen from behind; goes with the camera's height",
        minimum=-180,
        maximum=180,
        unit="degrees",
    )
    fov_x_deg: float | None = same_as(
        GeometryOptions, "fov_x_deg", default=None, help="Horizontal field of view, instead of the photo's EXIF"
    )
    focal_35mm: float | None = option(
        None, "Focal length as on 35 mm film, instead of the photo's EXIF", above=0, unit="mm"
    )
    projection: Projection = option(
        "auto",
        "How the photo sees: pinhole, or equirectangular, a whole 360-degree panorama; auto, as its file says",
    )
    stride: Literal["auto"] | int = option(
        "auto", "Every how many pixels a mesh or cloud has a point, or auto: at most a million points", minimum=1
    )
    edge_rtol: float = same_as(
        GeometryOptions, "edge_rtol", help="Relative step in depth at which the mesh is cut open"
    )
    surface: Surface = option(
        "layers",
        "How a mesh ends at outlines: layers, the photo in front and what it hides behind it; torn, with gaps",
    )
    reveal: float = same_as(GeometryOptions, "reveal")
    extend: bool = same_as(GeometryOptions, "extend")
    sky: Sky = same_as(GeometryOptions, "sky")
    keep_mask: Path | None = option(
        None,
        "Picture that is white where the mesh and cloud are kept: a file, or a folder with one named like each photo",
    )
    drop_mask: Path | None = option(
        None, "Picture that is white where the mesh and cloud are taken away, and what is behind goes on: as the above"
    )
    sequence: bool = option(False, "The photos are frames of one shot, in this order: keep one scale, except at cuts")
    existing: Existing = option("overwrite", "Where results are there already: overwrite them, skip the photo, or fail")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fov_x_deg is not None and self.focal_35mm is not None:
            raise OptionError("Both {0} and {1} are given; give one of them.", "fov_x_deg", "focal_35mm")
        self.measured()
        ways = [name for name in ("near_m", "align", "camera_height_m") if getattr(self, name) is not None]
        ways += [name for name in ("distance", "length") if getattr(self, name)][:1]
        if len(ways) > 1:
            raise OptionError("Both {0} and {1} are given; the scale comes from one of them.", *ways[:2])
        if self.scale_from == "metric" and ways:
            raise OptionError("{0} is metric and {1} is given; the scale comes from one of them.", "scale_from", *ways)
        if self.camera_height_m is None and not (self.pitch_deg is None and self.roll_deg is None):
            turned = "pitch_deg" if self.pitch_deg is not None else "roll_deg"
            raise OptionError("{0} is given without {1}; they go together.", turned, "camera_height_m")
        if ways in ([], ["near_m"]) and self.scale_from == "auto" and (self.near_m is None) != (self.far_m is None):
            raise OptionError(
                "Only one of {0} and {1} is given; give both, they set the scale together.", "near_m", "far_m"
            )
        if self.near_m is not None and self.far_m is not None and self.near_m >= self.far_m:
            raise OptionError(
                f"{{0}} is {self.near_m:g} and {{1}} {self.far_m:g}; near must be below far.", "near_m", "far_m"
            )

    def measured(self) -> list[Measured]:
        """The distances and lengths that are given. Raises OptionError: a text that is none."""
        return [
            _measured(name, text, count)
            for name, count in (("distance", 2), ("length", 4))
            for text in getattr(self, name)
        ]


def _measured(name: str, text: str, count: int) -> Measured:
    places, _, metres = text.partition("=")
    try:
        pixels, size = [float(part) for part in places.split(",")], float(metres)
    except ValueError:
        pixels, size = [], 0.0
    if len(pixels) != count or not (0 < size < math.inf and all(map(math.isfinite, pixels))):
        form = "X,Y=METRES" if count == 2 else "X1,Y1,X2,Y2=METRES"
        raise OptionError(
            f"{{0}} is {text!r}; give {form}, such as {'400,300' if count == 2 else '10,20,300,20'}=1.5.", name
        )
    return Measured((pixels[0], pixels[1]), size, None if count == 2 else (pixels[2], pixels[3]))


@dataclass(frozen=True)
class ClusterOptions(Checked):
    """Where a job over photos is shared out, if anywhere.

    Raises:
        OptionError: a value outside its limits.
    """

    cluster: str | None = option(
        None, "Spread the photos over a Ray cluster: ray for this machine alone, or ray://HOST:PORT"
    )
    workers: int | None = option(
        None, "Models on the cluster; by default one on each GPU, or where there is none on each machine", minimum=1
    )


@dataclass(frozen=True)
class BenchOptions(Checked):
    """What is timed, and how often.

    Raises:
        OptionError: a value outside its limits.
    """

    size: tuple[int, int] = option((3840, 2160), "Size of the generated picture", minimum=1, items="width, height")
    runs: int = option(5, "Timed runs", minimum=1)
    warm_up: int = option(1, "Runs before them that do not count", minimum=1)


@dataclass(frozen=True)
class BenchInference(InferenceOptions):
    """How to infer what is timed: always the same work."""

    tiles: Literal["auto"] | tuple[int, int] = same_as(InferenceOptions, "tiles", default=(4, 4))


@dataclass(frozen=True)
class ExportOptions(Checked):
    """Which model is exported, and to what.

    Raises:
        OptionError: a value outside its limits.
    """

    format: Literal["onnx"] = option("onnx", "Format of the files")
    name: str = same_as(ModelOptions, "name")
    weights: Path | None = same_as(ModelOptions, "weights", help="File of weights instead of the model's own")
    refiner_weights: Path | None = same_as(ModelOptions, "refiner_weights")
    fine: str = same_as(ModelOptions, "fine")
    offline: bool = same_as(ModelOptions, "offline")
    cache_dir: Path | None = same_as(ModelOptions, "cache_dir")
    any_revision: bool = same_as(ModelOptions, "any_revision")

    def model(self) -> ModelOptions:
        """The model in the form that can be exported."""
        return ModelOptions(
            name=self.name,
            device="cpu",
            dtype="float32",
            weights=self.weights,
            refiner_weights=self.refiner_weights,
            fine=self.fine,
            offline=self.offline,
            cache_dir=self.cache_dir,
            any_revision=self.any_revision,
        )


@dataclass(frozen=True)
class SceneOptions(Checked):
    """What is made of a reconstruction.

    Raises:
        OptionError: a value outside its limits.
    """

    images: Path = option(help="Folder of the pictures, by the names that the reconstruction has for them")
    layouts: tuple[str, ...] = option(
        ("colmap",),
        "Programs to write the maps for",
        choices=("colmap", "graphdeco", "nerfstudio", "exr"),
    )
    match: bool = option(True, "Measure more points by matching each picture with its neighbours")
    surface: tuple[str, ...] = option(("ply", "glb"), "Formats of the fused surface", choices=("ply", "glb"))
    points: tuple[str, ...] = option(("ply",), "Formats of the fused points", choices=("ply", "las", "laz"))
    voxel: float | None = option(
        None,
        "Side of the cells of the fused surface, in the reconstruction's unit; by default three pixels at its points",
        above=0,
    )
