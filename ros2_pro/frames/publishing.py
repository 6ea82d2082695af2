"""What is published of a frame: a message for each output that somebody listens to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import pro_engine as pro
from ros2_pro.faults import MessageError
from ros2_pro.frames.diagnostics import Health
from ros2_pro.graph.publishers import Outputs
from ros2_pro.messages import camera_info, clouds, images
from ros2_pro.messages.compressed_depth import compressed_depth
from ros2_pro.messages.disparity import baseline_of, disparity_message
from ros2_pro.messages.rectification import Rectification
from ros2_pro.scale.sensor_samples import Vector
from ros2_pro.settings import Settings

STRAIGHT = frozenset({"depth", "depth_compressed"})  # depth images of a rectified image
BENT = frozenset({"depth_raw", "depth_raw_compressed"})  # and of one that stays distorted
DEPTHS = STRAIGHT | BENT


@dataclass(eq=False)
class FrameMaps:
    """What is known of a frame while it is worked on. Maps are (H, W) float32 at the image's size."""

    header: Any
    image: NDArray[np.uint8]
    lens: camera_info.CameraModel | None
    info: Any
    disparity: NDArray[np.float32]
    depth: NDArray[np.float32] | None = None
    rectification: Rectification | None = None
    over_ground: tuple[float, Vector] | None = None  # as of `camera_over_ground`, where it is looked for


class FramePublisher:
    """Makes the messages of frames and publishes them; used from one thread."""

    def __init__(self, health: Health, outputs: Outputs) -> None:
        self._health, self._outputs = health, outputs
        self._messages: dict[str, Any] = {}

    def publish(self, view: FrameMaps, wanted: frozenset[str], settings: Settings) -> None:
        """Publish the outputs `wanted`, as far as the frame has what they are made of."""
        publish = self._outputs.publish
        if wanted & DEPTHS and view.depth is not None:
            self._publish_depth(view, view.depth, wanted, settings)
        if "points" in wanted and view.depth is not None and view.lens is not None:
            built = clouds.build_cloud(view.depth, view.image, view.lens, settings.points)
            reuse = self._messages.get("points")
            self._messages["points"] = clouds.cloud_message(built, view.header, reuse=reuse)
            publish("points", self._messages["points"])
        if "disparity" in wanted and view.depth is not None:
            self._publish_disparity(view, view.depth, settings.depth.baseline_m)
        if "relative" in wanted:
            publish("relative", self._image("relative", view.disparity, "32FC1", view.header))
        if wanted & {"preview", "preview_compressed"}:
            picture = _preview(view.disparity, settings.preview.colormap, settings.preview.max_width)
            if "preview" in wanted:
                publish("preview", self._image("preview", picture, "rgb8", view.header))
            if "preview_compressed" in wanted:
                publish("preview_compressed", images.jpeg_message(picture, view.header))

    def _publish_depth(
        self, view: FrameMaps, depth: NDArray[np.float32], wanted: frozenset[str], settings: Settings
    ) -> None:
        """Depth on the topic that says whether it is rectified, with its camera info."""
        millimetres = settings.depth.encoding == "16UC1"
        values = images.depth_to_millimetres(depth) if millimetres else depth
        encoding = settings.depth.encoding
        for name in wanted & {"depth", "depth_raw"}:
            self._outputs.publish(name, self._image("depth", values, encoding, view.header))
        for name in wanted & {"depth_compressed", "depth_raw_compressed"}:
            self._outputs.publish(name, compressed_depth(values, encoding, view.header))
        if view.lens is not None:
            self._outputs.publish("camera_info", camera_info.info_message(view.info, view.lens, view.header))

    def _publish_disparity(self, view: FrameMaps, depth: NDArray[np.float32], baseline_m: float) -> None:
        """What a stereo camera of the baseline would have measured."""
        try:
            baseline_m = baseline_m or baseline_of(view.info)
            message = disparity_message(depth, view.lens, baseline_m, view.header, self._messages.get("disparity"))
        except MessageError as error:
            self._health.count(error.cause, str(error), withheld=True)
            return
        self._messages["disparity"] = message
        self._outputs.publish("disparity", message)

    def _image(self, name: str, values: NDArray[Any], encoding: str, header: Any) -> Any:
        """A message in the memory of the one before: publishing has ended when it returns."""
        message = images.image_message(values, encoding, header, reuse=self._messages.get(name))
        self._messages[name] = message
        return message


def _preview(disparity: NDArray[np.float32], colormap: str, max_width: int) -> NDArray[np.uint8]:
    height, width = disparity.shape
    if max_width and width > max_width:
        small = max_width, max(1, round(height * max_width / width))
        disparity = np.asarray(cv2.resize(disparity, small, interpolation=cv2.INTER_AREA), dtype=np.float32)
    if np.isnan(disparity).all():
        return np.zeros((*disparity.shape, 3), np.uint8)
    return pro.colorize(disparity, cmap=colormap)
