"""The parameters of the demo camera, all given at start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pro_engine.options import Checked, GeometryOptions, option, same_as


@dataclass(frozen=True)
class DemoSettings(Checked):
    """What the camera shows, and how it publishes that.

    Raises:
        OptionError: a value of another type or outside its limits.
    """

    source: str = option("synthetic", "synthetic, a photo, a folder of photos, or a video")
    width: int = option(0, "Width in pixels; 0: the source's own, or 3840", minimum=0, maximum=16384)
    height: int = option(0, "Height in pixels; 0: the source's own, or 2160", minimum=0, maximum=16384)
    rate_hz: float = option(1.0, "Images a second", minimum=0.01, maximum=1000.0)
    loop: bool = option(True, "Begin again after the last picture; false: end there")
    fov_x_deg: float = same_as(
        GeometryOptions, "fov_x_deg", default=0.0, above=None, minimum=0,
        help="Horizontal field of view in degrees; 0: from EXIF, or 60",
    )  # fmt: skip
    camera_height_m: float = option(
        1.5, "Height over the floor of the synthetic scene, in metres", minimum=0.05, maximum=100.0
    )
    pitch_deg: float = option(12.0, "How far it looks down there, in degrees", minimum=-45.0, maximum=90.0)
    frame_id: str = option("camera_optical_frame", "Frame of the images: z forward, x right, y down")
    encoding: Literal["bgr8", "rgb8", "bgra8", "rgba8", "mono8"] = option("bgr8", "Encoding of image")
    compressed: bool = option(False, "Publish image/compressed, too")
    reliability: Literal["reliable", "best_effort"] = option("reliable", "Reliability of all topics")
    history_depth: int = option(1, "History depth of all topics", minimum=1, maximum=100)
    faults: str = option("none", "none, cycle, or names of faults with commas between them")
    fault_every: int = option(5, "Every how many images there is a fault", minimum=1, maximum=1_000_000)
