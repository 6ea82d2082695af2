"""All settings of the node, once: fields of frozen dataclasses with their help and limits.

A field `max_depth_m` of group `points` is the ROS parameter `points.max_depth_m`; `ros2_pro.parameters` makes the
descriptors from the fields. A value outside its limits raises `ValueError` with one sentence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from typing import Any


def _setting(default: Any, text: str, **limits: Any) -> Any:
    """A field with its help; limits: `minimum`, `maximum`, `choices`, `length` (of several numbers), `read_only`."""
    return field(default=default, metadata={"help": text, **limits})


@dataclass(frozen=True)
class InputSettings:
    """Where pictures come from."""

    transport: str = _setting(
        "raw", "Listen to image (raw) or to image/compressed", choices=("raw", "compressed"), read_only=True
    )
    reliability: str = _setting(
        "auto",
        "Reliability asked of the camera; auto fits what it offers, whoever starts first",
        choices=("auto", "best_effort", "reliable"),
        read_only=True,
    )
    rectified: str = _setting(
        "auto", "Whether the image is rectified; auto: if its topic's name says rect", choices=("auto", "yes", "no")
    )
    camera_info_timeout_s: float = _setting(
        0.5, "How long the first image waits for a camera info, in seconds", minimum=0.0, maximum=10.0
    )
    fallback_fov_x_deg: float = _setting(
        0.0, "Horizontal field of view to assume without camera info, in degrees; 0: no points then",
        minimum=0.0, maximum=170.0,
    )  # fmt: skip
    max_rate_hz: float = _setting(
        0.0, "Most images a second to work on; 0: as many as the machine can", minimum=0.0, maximum=1000.0
    )
    stale_after_s: float = _setting(
        3.0, "Seconds without an image after which diagnostics say so", minimum=0.1, maximum=3600.0
    )


@dataclass(frozen=True)
class EngineSettings:
    """The model and how to run it."""

    model: str = _setting("compact", "Name of the model; `pro-engine models` lists them")
    device: str = _setting("auto", "auto, cpu, cuda, cuda:N or mps")
    dtype: str = _setting(
        "auto", "Number format of the model", choices=("auto", "float32", "bfloat16", "float16", "int8")
    )
    backend: str = _setting(
        "torch", "What runs the networks; onnxruntime takes an export's folder as weights",
        choices=("torch", "onnxruntime"),
    )  # fmt: skip
    weights: str = _setting("", "File of weights instead of the model's own")
    refiner_weights: str = _setting("", "File of weights for the refiner instead of the model's own")
    refine: str = _setting(
        "trained", "How to refine: by the trained refiner, the training-free blend, or not at all",
        choices=("trained", "blend", "none"),
    )  # fmt: skip
    tiles: tuple[int, ...] = _setting(
        (0, 0), "Patch grid as rows and columns; 0 and 0: from the image's size", length=2, minimum=0, maximum=32
    )
    batch_size: int = _setting(0, "Patches a pass; 0: from the free memory", minimum=0, maximum=4096)
    hold_scale: bool = _setting(
        False, "Keep the scale of the disparity from jumping between frames; begins anew where the view changes at once"
    )
    always_run: bool = _setting(False, "Run the model even where nobody listens")


@dataclass(frozen=True)
class ScaleSettings:
    """Where metres come from."""

    mode: str = _setting(
        "none",
        "Where metres come from: none, fixed (factor and shift), align (fitted to a sensor), metric (the model's own)",
        choices=("none", "fixed", "align", "metric"),
    )
    factor: float = _setting(0.1, "fixed: inverse metres a unit of disparity", minimum=1e-9, maximum=1e9)
    shift: float = _setting(0.1, "fixed: inverse metres at disparity 0", minimum=-1e6, maximum=1e6)
    source: str = _setting(
        "depth_image", "align: kind of the sensor, and so the topic: scale/depth, scale/points or scale/scan",
        choices=("depth_image", "points", "scan"), read_only=True,
    )  # fmt: skip
    sensor_pose: tuple[float, ...] = _setting(
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        "align: where points and scan are seen from in the camera's optical frame, if tf does not say: x, y, z in "
        "metres, then roll, pitch, yaw in radians",
        length=6, minimum=-1e4, maximum=1e4,
    )  # fmt: skip
    min_samples: int = _setting(50, "align: fewest samples of a fit", minimum=10, maximum=1_000_000)
    min_inlier_share: float = _setting(
        0.5, "align: smallest share of samples that must agree with a fit", minimum=0.0, maximum=1.0
    )
    smoothing_s: float = _setting(
        0.5, "align: time constant of smoothing over time, in seconds; 0: none", minimum=0.0, maximum=60.0
    )
    max_offset_s: float = _setting(
        0.1, "align: largest difference of stamps between image and sensor, in seconds", minimum=0.0, maximum=60.0
    )
    stale_after_s: float = _setting(
        0.8, "align: seconds without a usable fit after which diagnostics say so", minimum=0.1, maximum=60.0
    )
    hold_s: float = _setting(
        5.0, "align: seconds for which the last good fit is used on; then depth is not published", minimum=0.0,
        maximum=3600.0,
    )  # fmt: skip


@dataclass(frozen=True)
class DepthSettings:
    """The depth image."""

    encoding: str = _setting("32FC1", "32FC1: metres; 16UC1: millimetres, 0 where unknown", choices=("32FC1", "16UC1"))
    min_depth_m: float = _setting(0.0, "Nearer is unknown (NaN), in metres", minimum=0.0, maximum=1e6)
    max_depth_m: float = _setting(0.0, "Farther is sky (infinite), in metres; 0: no limit", minimum=0.0, maximum=1e6)


@dataclass(frozen=True)
class PointsSettings:
    """The point cloud."""

    organized: bool = _setting(True, "Keep rows and columns, NaN where there is no point; false: only points, dense")
    stride: int = _setting(1, "Every how many rows and columns there is a point", minimum=1, maximum=64)
    max_points: int = _setting(
        1 << 21, "Most points; the stride grows until it is held", minimum=1000, maximum=100_000_000
    )
    min_depth_m: float = _setting(0.0, "No points nearer, in metres", minimum=0.0, maximum=1e6)
    max_depth_m: float = _setting(0.0, "No points farther, in metres; 0: no limit", minimum=0.0, maximum=1e6)
    roi: tuple[int, ...] = _setting(
        (0, 0, 0, 0), "Part of the image to take: x, y, width, height in pixels; all 0: everything",
        length=4, minimum=0, maximum=1_000_000,
    )  # fmt: skip
    edge_filter: bool = _setting(True, "Drop points that hang between two surfaces at outlines")
    edge_rtol: float = _setting(0.04, "Relative step in depth that makes an outline", minimum=1e-4, maximum=1.0)


@dataclass(frozen=True)
class PreviewSettings:
    """The coloured picture."""

    colormap: str = _setting(
        "turbo",
        "Colours, from far to near",
        choices=("turbo", "viridis", "magma", "inferno", "plasma", "cividis", "gray"),
    )
    max_width: int = _setting(1280, "Wider previews are shrunk to this; 0: never", minimum=0, maximum=100_000)


@dataclass(frozen=True)
class Settings:
    """Everything, by group; `autostart` and `snapshot_folder` stand alone."""

    input: InputSettings = field(default_factory=InputSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    scale: ScaleSettings = field(default_factory=ScaleSettings)
    depth: DepthSettings = field(default_factory=DepthSettings)
    points: PointsSettings = field(default_factory=PointsSettings)
    preview: PreviewSettings = field(default_factory=PreviewSettings)
    autostart: bool = _setting(
        True, "Configure and activate at start; false: wait for a lifecycle manager", read_only=True
    )
    snapshot_folder: str = _setting("snapshots", "Folder in which ~/snapshot makes a folder for every snapshot")

    def __post_init__(self) -> None:
        for name, option in options():
            _check(name, value_of(self, name), option)
        for low, high, where in (
            (self.depth.min_depth_m, self.depth.max_depth_m, "depth"),
            (self.points.min_depth_m, self.points.max_depth_m, "points"),
        ):
            if high and low >= high:
                raise ValueError(f"{where}.min_depth_m is {low:g} and max_depth_m {high:g}; the first must be smaller.")
        if (0 in self.engine.tiles) != (self.engine.tiles == (0, 0)):
            raise ValueError(f"engine.tiles is {list(self.engine.tiles)}; give rows and columns, or 0 and 0.")


def options() -> Iterator[tuple[str, Field[Any]]]:
    """Every setting with the name of its ROS parameter, in order."""
    for outer in fields(Settings):
        if "help" in outer.metadata:
            yield outer.name, outer
            continue
        for inner in fields(_group(outer)):
            yield f"{outer.name}.{inner.name}", inner


def _group(outer: Field[Any]) -> type[Any]:
    made: type[Any] = outer.default_factory  # type: ignore[assignment]
    return made


def value_of(settings: Settings, name: str) -> Any:
    """The value of the parameter `name`."""
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def from_values(values: dict[str, Any]) -> Settings:
    """Settings from values by parameter name; what is missing takes its default.

    Raises:
        ValueError: a value outside its limits.
    """
    groups: dict[str, dict[str, Any]] = {}
    alone: dict[str, Any] = {}
    for name, value in values.items():
        group, _, rest = name.partition(".")
        if rest:
            groups.setdefault(group, {})[rest] = value
        else:
            alone[name] = value
    kinds = {outer.name: _group(outer) for outer in fields(Settings) if "help" not in outer.metadata}
    return Settings(**{name: kinds[name](**given) for name, given in groups.items()}, **alone)


def _check(name: str, value: Any, option: Field[Any]) -> None:
    limits = option.metadata
    choices = limits.get("choices")
    if choices is not None and value not in choices:
        raise ValueError(f"{name} is {value!r}; give one of {', '.join(choices)}.")
    items = value if isinstance(value, tuple) else (value,)
    if isinstance(value, tuple) and len(value) != limits["length"]:
        raise ValueError(f"{name} has {len(value)} numbers; give {limits['length']}.")
    if "minimum" in limits:
        low, high = limits["minimum"], limits["maximum"]
        for item in items:
            if not (math.isfinite(item) and low <= item <= high):
                raise ValueError(f"{name} is {item!r}; give a number from {low:g} to {high:g}.")
