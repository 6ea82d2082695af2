"""A camera in a process of its own that publishes images of 4K as fast as they are taken, until it is ended."""

from __future__ import annotations

import contextlib
import sys
import time

import rclpy
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

WIDTH, HEIGHT = 3840, 2160
NEWEST = QoSProfile(depth=1, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)


def main() -> None:
    """Wait for a listener, then publish."""
    rclpy.init(args=sys.argv)
    node = rclpy.create_node("camera")
    publisher = node.create_publisher(Image, "image", NEWEST)
    message = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
    message.header.frame_id = "camera_optical"
    message.data.frombytes(bytes(range(256)) * (3 * WIDTH * HEIGHT // 256))
    while rclpy.ok() and not publisher.get_subscription_count():
        time.sleep(0.05)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        while rclpy.ok():
            message.header.stamp = node.get_clock().now().to_msg()
            publisher.publish(message)
            publisher.wait_for_all_acked(Duration(seconds=5))


if __name__ == "__main__":
    main()
