"""The node of the demo camera; `ros2_pro.demo.camera` runs it."""

from __future__ import annotations

import copy
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

import pro_engine as pro
from pro_engine.options import options_of
from ros2_pro.demo.faults import FAULTS, Capture, faults_from
from ros2_pro.demo.settings import DemoSettings
from ros2_pro.demo.sources import SYNTHETIC, DemoPicture, open_source
from ros2_pro.graph import parameters
from ros2_pro.graph.adaptive_subscription import RELIABILITY
from ros2_pro.messages import images

SENSOR_WIDTH = 160  # pixels
SENSOR_RANGE_M = 9.0
SENSOR_NOISE = 0.01  # standard deviation, a share of the depth
JPEG_QUALITY = 90
FAREWELL_S = 1.0  # how long listeners may take to receive the last picture

ENCODINGS: dict[str, int | None] = {
    "bgr8": cv2.COLOR_RGB2BGR,
    "rgb8": None,
    "bgra8": cv2.COLOR_RGB2BGRA,
    "rgba8": cv2.COLOR_RGB2RGBA,
    "mono8": cv2.COLOR_RGB2GRAY,
}


class DemoCamera(Node):
    """Publishes pictures at a rate; `finished` once there are no more.

    Raises:
        OptionError, ValueError: parameters or a source that cannot be; in the timer's callback, a file that cannot be
            read.
    """

    def __init__(self) -> None:
        super().__init__("demo_camera")
        self._settings = settings = DemoSettings(
            **{
                option.name: parameters.declared(self, option.name, DemoSettings, option.name, read_only=True)
                for option in options_of(DemoSettings)
            }
        )
        self._faults = faults_from(settings.faults)
        self._pictures = open_source(settings)
        self._noise = np.random.default_rng(0)
        self._count = 0
        self.finished = False
        qos = QoSProfile(
            depth=settings.history_depth, history=HistoryPolicy.KEEP_LAST, reliability=RELIABILITY[settings.reliability]
        )
        self._image = self.create_publisher(Image, "image", qos)
        self._info = self.create_publisher(CameraInfo, "camera_info", qos)
        self._compressed = (
            self.create_publisher(CompressedImage, "image/compressed", qos) if settings.compressed else None
        )
        synthetic = settings.source == SYNTHETIC
        self._truth = self.create_publisher(Image, "depth_truth", qos) if synthetic else None
        self._sensor = self.create_publisher(Image, "sensor/depth", qos) if synthetic else None
        self.create_timer(1 / settings.rate_hz, self._shoot)

    def _shoot(self) -> None:
        picture = next(self._pictures, None)
        if picture is None:
            self._wait_until_received()
            self.finished = True
            return
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._settings.frame_id)
        self._publish(self._shot(picture, header))
        if picture.depth is not None:
            self._publish_depth(picture.depth, header)

    def _wait_until_received(self) -> None:
        """What is still under way ends with its publisher."""
        for publisher in (self._image, self._info, self._compressed, self._truth, self._sensor):
            if publisher is not None:
                publisher.wait_for_all_acked(Duration(seconds=FAREWELL_S))

    def _shot(self, picture: DemoPicture, header: Any) -> Capture:
        encoding = self._settings.encoding
        conversion = ENCODINGS[encoding]
        pixels = picture.image if conversion is None else cv2.cvtColor(picture.image, conversion)
        shot = Capture(images.image_message(pixels, encoding, header), camera_info(picture.camera, header))
        if self._compressed is not None:
            shot.compressed = _jpeg(picture.image, header)
        self._count += 1
        if self._faults is not None and self._count % self._settings.fault_every == 0:
            fault = next(self._faults)
            self.get_logger().info(f"Image {self._count} has the fault {fault}.")
            for message in (shot.image, shot.info, shot.compressed):
                if message is not None:
                    message.header = copy.deepcopy(header)  # a fault of one message's header is not one of all
            FAULTS[fault](shot)
        return shot

    def _publish(self, shot: Capture) -> None:
        for publisher, message in (
            (self._info, shot.info),
            (self._image, shot.image),
            (self._compressed, shot.compressed),
        ):
            if publisher is not None and message is not None:
                self._send(publisher, message)

    def _publish_depth(self, depth: NDArray[np.float32], header: Any) -> None:
        if self._truth is not None and self._truth.get_subscription_count():
            self._send(self._truth, images.image_message(depth, "32FC1", header))
        if self._sensor is not None and self._sensor.get_subscription_count():
            self._send(self._sensor, images.image_message(seen_by_sensor(depth, self._noise), "32FC1", header))

    def _send(self, publisher: Any, message: Any) -> None:
        try:
            publisher.publish(message)
        except Exception as error:  # rclpy raises errors of its own and of its C++ half; the next message may pass
            self.get_logger().warning(
                f"{publisher.topic_name} could not be published: {error}", throttle_duration_sec=5.0
            )


def camera_info(camera: pro.Intrinsics, header: Any) -> Any:
    """The camera info of a camera without distortion."""
    matrix = camera.matrix()
    return CameraInfo(
        header=header,
        width=camera.width,
        height=camera.height,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=matrix.ravel().tolist(),
        r=np.eye(3).ravel().tolist(),
        p=np.c_[matrix, np.zeros(3)].ravel().tolist(),
    )


def seen_by_sensor(depth: NDArray[np.float32], noise: np.random.Generator) -> NDArray[np.float32]:
    """Depth (H, W) in metres as a sensor of `SENSOR_WIDTH` columns and the same view sees it; NaN out of its range."""
    height, width = depth.shape
    columns = min(SENSOR_WIDTH, width)
    rows = max(1, round(height * columns / width))
    # The pixel at the middle of each cell.
    row, column = (((np.arange(n) + 0.5) * size / n).astype(int) for n, size in ((rows, height), (columns, width)))
    seen = depth[row[:, None], column] * noise.normal(1, SENSOR_NOISE, (rows, columns))
    return np.where(seen < SENSOR_RANGE_M, seen, np.nan).astype(np.float32)


def _jpeg(image: NDArray[np.uint8], header: Any) -> Any:
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    assert done
    message = CompressedImage(header=header, format="bgr8; jpeg compressed bgr8")
    message.data.frombytes(data.tobytes())
    return message
