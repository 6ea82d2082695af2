"""All settings of the node, once: fields of frozen dataclasses with their help and limits.

A field `max_depth_m` of group `points` is the ROS parameter `points.max_depth_m`; `ros2_pro.graph.parameters` makes the
descriptors from the fields, `ros2_pro.arguments` the launch arguments and `ros2_pro.sample` the file of parameters.

What the engine knows is taken over from its options. A ROS parameter keeps one type, so there 0 stands for a number
that is found automatically, and an empty text for no file. A robot has no points rather than those of a guessed lens,
so no field of view is assumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

from pro_engine.options import (
    Checked,
    GeometryOptions,
    InferenceOptions,
    ModelOptions,
    OptionError,
    option,
    options_of,
    same_as,
)


@dataclass(frozen=True)
class InputSettings(Checked):
    """Where pictures come from."""

    transport: str = option(
        "raw", "Listen to image (raw) or to image/compressed", choices=("raw", "compressed"), read_only=True
    )
    reliability: str = option(
        "auto",
        "Reliability asked of the camera; auto matches what it offers, in any start order",
        choices=("auto", "best_effort", "reliable"),
        read_only=True,
    )
    rectified: str = option(
        "auto", "Whether the image is rectified; auto: if its topic's name says rect", choices=("auto", "yes", "no")
    )
    rectify: bool = option(
        True,
        "Rectify images of a distorted lens before the model sees them; false: they stay bent, as depth/image_raw is",
    )
    rotation: int = option(
        0, "By how much the image is to be turned clockwise to be upright, in degrees: 0, 90, 180 or 270; only the "
        "model sees it turned", minimum=0, maximum=270, step=90,
    )  # fmt: skip
    camera_info_timeout_s: float = option(
        0.5, "How long the first image waits for a camera info, in seconds", minimum=0.0, maximum=10.0
    )
    fallback_fov_x_deg: float = same_as(
        GeometryOptions, "fov_x_deg", default=0.0, above=None, minimum=0,
        help="Horizontal field of view to assume without camera info, in degrees; 0: no points then",
    )  # fmt: skip
    max_rate_hz: float = option(
        0.0, "Most images a second to work on; 0: as many as the machine can", minimum=0.0, maximum=1000.0
    )
    stale_after_s: float = option(
        3.0, "Seconds without an image after which diagnostics say so", minimum=0.1, maximum=3600.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rotation % 90:
            raise OptionError(f"{{0}} is {self.rotation}; give 0, 90, 180 or 270.", "rotation")


@dataclass(frozen=True)
class EngineSettings(Checked):
    """The model and how to run it."""

    model: str = same_as(ModelOptions, "name", default="compact")  # a camera needs its rate
    device: str = same_as(ModelOptions, "device")
    dtype: str = same_as(ModelOptions, "dtype")
    backend: str = same_as(ModelOptions, "backend")
    weights: str = same_as(ModelOptions, "weights", default="")
    refiner_weights: str = same_as(ModelOptions, "refiner_weights", default="")
    fine: str = same_as(ModelOptions, "fine")
    any_revision: bool = same_as(ModelOptions, "any_revision")
    refine: str = same_as(InferenceOptions, "refine")
    tiles: tuple[int, int] = same_as(
        InferenceOptions, "tiles", default=(0, 0), minimum=0, choices=None,
        help="Patch grid as rows and columns; 0 and 0: from the image's size",
    )  # fmt: skip
    batch_size: int = same_as(
        InferenceOptions, "batch_size", default=0, minimum=0, choices=None,
        help="Patches per forward pass; 0: from the free memory",
    )  # fmt: skip
    hold_scale: bool = option(
        False, "Keep the scale of the disparity from jumping between frames; begins anew where the view changes at once"
    )
    always_run: bool = option(False, "Run the model even where nobody listens")

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 in self.tiles and any(self.tiles):
            raise OptionError(f"{{0}} is {list(self.tiles)}; give rows and columns, or 0 and 0.", "tiles")

    def of_model(self) -> ModelOptions:
        """What the model is loaded with."""
        weights, refiner_weights = (
            Path(text).expanduser() if text else None for text in (self.weights, self.refiner_weights)
        )
        return ModelOptions(
            name=self.model,
            device=self.device,
            dtype=self.dtype,  # type: ignore[arg-type]  # a text within its choices
            backend=self.backend,  # type: ignore[arg-type]
            weights=weights,
            refiner_weights=refiner_weights,
            fine=self.fine,
            any_revision=self.any_revision,
        )

    def of_inference(self) -> InferenceOptions:
        """What the model runs with."""
        return InferenceOptions(
            tiles=self.tiles if any(self.tiles) else "auto",
            refine=self.refine,  # type: ignore[arg-type]  # a text within its choices
            batch_size=self.batch_size or "auto",
        )


WAYS_TO_METRES = (
    "align (fitted to a sensor), ground (fitted to the floor, by the camera's height), fixed (factor and shift) or "
    "metric (the model's own)"
)  # of scale.mode
OWN_METRES = ("metric", "estimated")
"""Values of scale.mode by which the model's own metres are taken."""


@dataclass(frozen=True)
class ScaleSettings(Checked):
    """Where metres come from."""

    mode: str = option(
        "none",
        f"Where metres come from: none, {WAYS_TO_METRES}; estimated takes the model's even where they are a guess",
        choices=("none", "fixed", "align", "ground", *OWN_METRES),
    )
    factor: float = option(0.1, "fixed: inverse metres a unit of disparity", minimum=1e-9, maximum=1e9)
    shift: float = option(0.1, "fixed: inverse metres at disparity 0", minimum=-1e6, maximum=1e6)
    source: str = option(
        "depth_image", "align: kind of the sensor, and so the topic: scale/depth, scale/points or scale/scan",
        choices=("depth_image", "points", "scan"), read_only=True,
    )  # fmt: skip
    transport: str = option(
        "raw", "align: listen to scale/depth (raw) or to scale/depth/compressedDepth",
        choices=("raw", "compressedDepth"), read_only=True,
    )  # fmt: skip
    sensor_pose: tuple[float, float, float, float, float, float] = option(
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        "align: where points and scan are seen from in the camera's optical frame, if tf does not say: x, y, z in "
        "metres, then roll, pitch, yaw in radians",
        minimum=-1e4, maximum=1e4, items="x, y, z, roll, pitch, yaw",
    )  # fmt: skip
    ground_frame: str = option(
        "base_footprint", "ground: frame of tf whose plane z = 0 is the ground, for the camera's height and attitude"
    )
    camera_height_m: float = option(
        0.0, "ground: height of the camera over the ground, in metres; 0: by tf", minimum=0.0, maximum=1000.0
    )
    pitch_deg: float = option(
        0.0, "ground: how far the camera looks down, in degrees, with camera_height_m", minimum=-90.0, maximum=90.0
    )
    roll_deg: float = option(
        0.0, "ground: how far the camera is turned clockwise about its axis, in degrees, with camera_height_m",
        minimum=-180.0, maximum=180.0,
    )  # fmt: skip
    min_samples: int = option(50, "align, ground: fewest samples of a fit", minimum=10, maximum=1_000_000)
    min_inlier_share: float = option(
        0.5, "align, ground: smallest share of samples that must agree with a fit", minimum=0.0, maximum=1.0
    )
    smoothing_s: float = option(
        0.5, "align, ground: time constant of smoothing over time, in seconds; 0: none", minimum=0.0, maximum=60.0
    )
    max_offset_s: float = option(
        0.1, "align: largest difference of stamps between image and sensor, in seconds", minimum=0.0, maximum=60.0
    )
    stale_after_s: float = option(
        0.8, "align, ground: seconds without a usable fit after which diagnostics say so", minimum=0.1, maximum=60.0
    )
    hold_s: float = option(
        5.0, "align, ground: seconds for which the last good fit is used on; then depth is not published", minimum=0.0,
        maximum=3600.0,
    )  # fmt: skip


@dataclass(frozen=True)
class DepthSettings(Checked):
    """The depth image."""

    encoding: str = option("32FC1", "32FC1: metres; 16UC1: millimetres, 0 where unknown", choices=("32FC1", "16UC1"))
    min_depth_m: float = option(0.0, "Nearer is unknown (NaN), in metres", minimum=0.0, maximum=1e6)
    max_depth_m: float = option(0.0, "Farther is sky (infinite), in metres; 0: no limit", minimum=0.0, maximum=1e6)
    baseline_m: float = option(
        0.0, "Baseline of the topic disparity, in metres; 0: as P of the camera info says", minimum=0.0, maximum=1e3
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_order(self.min_depth_m, self.max_depth_m)


@dataclass(frozen=True)
class PointsSettings(Checked):
    """The point cloud."""

    organized: bool = option(True, "Keep rows and columns, NaN where there is no point; false: only points, dense")
    stride: int = option(1, "Every how many rows and columns there is a point", minimum=1, maximum=64)
    max_points: int = option(
        60_000, "Most points; the stride grows until it is held", minimum=1000, maximum=100_000_000
    )
    min_depth_m: float = option(0.0, "No points nearer, in metres", minimum=0.0, maximum=1e6)
    max_depth_m: float = option(0.0, "No points farther, in metres; 0: no limit", minimum=0.0, maximum=1e6)
    roi: tuple[int, int, int, int] = option(
        (0, 0, 0, 0), "Part of the image to take: x, y, width, height in pixels; all 0: everything",
        minimum=0, maximum=1_000_000, items="x, y, width, height",
    )  # fmt: skip
    edge_filter: bool = option(True, "Drop points that hang between two surfaces at outlines")
    edge_rtol: float = same_as(GeometryOptions, "edge_rtol")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_order(self.min_depth_m, self.max_depth_m)


@dataclass(frozen=True)
class PreviewSettings(Checked):
    """The coloured picture."""

    colormap: str = option(
        "turbo",
        "Colours, from far to near",
        choices=("turbo", "viridis", "magma", "inferno", "plasma", "cividis", "gray"),
    )
    max_width: int = option(1280, "Wider previews are shrunk to this; 0: never", minimum=0, maximum=100_000)


@dataclass(frozen=True)
class Settings(Checked):
    """Everything, by group; `autostart`, `snapshot_folder` and `cameras` stand alone."""

    input: InputSettings = field(default_factory=InputSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    scale: ScaleSettings = field(default_factory=ScaleSettings)
    depth: DepthSettings = field(default_factory=DepthSettings)
    points: PointsSettings = field(default_factory=PointsSettings)
    preview: PreviewSettings = field(default_factory=PreviewSettings)
    autostart: bool = option(
        True, "Configure and activate at start; false: wait for a lifecycle manager", read_only=True
    )
    snapshot_folder: str = option("snapshots", "Folder in which ~/snapshot makes a folder for every snapshot")
    cameras: tuple[str, ...] = option(
        ("",), "Names of cameras: each has a node in the namespace of its name, in one process, with one model in "
        "memory; one empty name: one camera, without a namespace of its own", read_only=True, items="name, ...",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        check_cameras(self.cameras)


GROUPS: dict[str, type[Any]] = {
    outer.name: outer.default_factory  # type: ignore[misc]  # of a group it is its class
    for outer in fields(Settings)
    if "help" not in outer.metadata
}


def check_cameras(names: tuple[str, ...]) -> None:
    """Raises OptionError where these are no names of cameras."""
    if names == ("",):
        return
    wrong = [name for name in names if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)]
    if wrong or len(set(names)) < len(names):
        raise OptionError(
            f"{{0}} is {list(names)}; give each camera another name, of letters, digits and _.", "cameras"
        )


def _check_order(low: float, high: float) -> None:
    if high and low >= high:
        raise OptionError(
            f"{{0}} is {low:g} and {{1}} {high:g}; the first must be smaller.", "min_depth_m", "max_depth_m"
        )


def options() -> Iterator[tuple[str, Field[Any]]]:
    """Every setting with the name of its ROS parameter, in order."""
    for outer in fields(Settings):
        if outer.name in GROUPS:
            for inner in options_of(GROUPS[outer.name]):
                yield f"{outer.name}.{inner.name}", inner
        else:
            yield outer.name, outer


def home_of(name: str) -> tuple[type, str]:
    """The class and the field that declare the parameter `name`."""
    group, _, rest = name.rpartition(".")
    return (GROUPS[group], rest) if group else (Settings, rest)


def value_of(settings: Settings, name: str) -> Any:
    """The value of the parameter `name`."""
    return attrgetter(name)(settings)


def from_values(values: dict[str, Any]) -> Settings:
    """Settings from values by parameter name; what is missing takes its default.

    Raises:
        OptionError: a value of another type or outside its limits; it names the parameter.
    """
    groups: dict[str, dict[str, Any]] = {"": {}}
    for name, value in values.items():
        group, _, rest = name.rpartition(".")
        groups.setdefault(group, {})[rest] = value
    alone = groups.pop("")
    made = {}
    for group, given in groups.items():
        try:
            made[group] = GROUPS[group](**given)
        except OptionError as error:
            raise OptionError(error.sentence, *(f"{group}.{name}" for name in error.names)) from None
    return Settings(**made, **alone)
