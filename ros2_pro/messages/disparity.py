"""Depth as stereo_msgs/DisparityImage: what a stereo camera of a known baseline would have measured."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ros2_pro.faults import MessageError
from ros2_pro.messages.camera_info import CameraModel
from ros2_pro.messages.images import image_message

UNKNOWN = -1.0  # a pixel without disparity: below min_disparity


def baseline_of(info: Any) -> float:
    """Metres from the left camera of a pair to the right one, which the P of the right one tells as -fx * baseline.

    Raises:
        MessageError: "no_baseline": the camera info is not that of a right camera, or there is none.
    """
    if info is None or not info.p[0] > 0 or not info.p[3] < 0:
        raise MessageError(
            "no_baseline", "P of the camera info tells no baseline (P[3] is not below 0); set depth.baseline_m."
        )
    return -float(info.p[3]) / float(info.p[0])


def disparity_message(
    depth: NDArray[np.float32], lens: CameraModel | None, baseline_m: float, header: Any, reuse: Any = None
) -> Any:
    """A DisparityImage of a depth image (H, W) in metres: focal length * baseline / depth in pixels; 0 where the depth
    is infinite, `UNKNOWN` where it is. `reuse` is a message whose memory may be taken. Needs stereo_msgs.

    Raises:
        MessageError: "no_baseline": there is no lens, or a distorted one, whose disparity would mean nothing.
    """
    if lens is None or not lens.is_straight:
        why = "there is no camera info" if lens is None else "the image is distorted; rectify it (input.rectify)"
        raise MessageError("no_baseline", f"There is no disparity, as {why}.")
    from stereo_msgs.msg import DisparityImage  # not every robot has it

    focal_px, (height, width) = lens.intrinsics.fx, depth.shape
    with np.errstate(divide="ignore"):
        disparity = np.float32(focal_px * baseline_m) / depth
    disparity[~(depth > 0)] = UNKNOWN
    message = DisparityImage() if reuse is None else reuse
    message.header = header
    message.image = image_message(disparity, "32FC1", header, reuse=None if reuse is None else reuse.image)
    message.f, message.t = focal_px, baseline_m
    message.valid_window.width, message.valid_window.height = width, height
    message.min_disparity, message.max_disparity = 0.0, max(0.0, float(disparity.max()))
    message.delta_d = 0.0  # it has no steps
    return message
