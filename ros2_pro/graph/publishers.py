"""The topics that the node publishes, and who listens to them."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecyclePublisher as Publisher
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

try:
    from stereo_msgs.msg import DisparityImage
except ImportError:  # a robot without stereo cameras may not have it
    DisparityImage = None

TOPICS: dict[str, tuple[type[Any], str, str]] = {
    "depth": (Image, "depth/image_rect", "depth in metres at the image's size: 32FC1, or 16UC1 in millimetres"),
    "depth_raw": (Image, "depth/image_raw", "the same of an image that stays distorted, instead of depth/image_rect"),
    "depth_compressed": (CompressedImage, "depth/image_rect/compressedDepth", "depth/image_rect as a PNG of 16 bits"),
    "depth_raw_compressed": (CompressedImage, "depth/image_raw/compressedDepth", "depth/image_raw as a PNG of 16 bits"),
    "camera_info": (CameraInfo, "depth/camera_info", "the camera of the depth image, stamped exactly like it"),
    "relative": (Image, "relative_disparity", "inverse depth at the image's size, 32FC1, no unit; larger is nearer"),
    "points": (PointCloud2, "points", "coloured points x, y, z, rgb; 16 bytes each"),
    "preview": (Image, "preview", "the disparity in colours, rgb8"),
    "preview_compressed": (CompressedImage, "preview/compressed", "the same as JPEG"),
}
if DisparityImage is not None:
    TOPICS["disparity"] = DisparityImage, "disparity", "depth as a stereo camera tells it, where its baseline is known"
QOS = QoSProfile(depth=1, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE)


class Outputs:
    """Publishers of all topics of `TOPICS`. `failed(text)` is called where a message could not be published."""

    def __init__(self, node: LifecycleNode, failed: Callable[[str], None]) -> None:
        self._node = node
        self._failed = failed
        self._sizes: dict[str, int] = {}  # of the last message, in bytes
        # Copies, because rclpy writes the parameters that override a profile into it.
        self._publishers: dict[str, Publisher[Any]] = {
            name: node.create_lifecycle_publisher(
                kind,
                self._resolved(topic),
                copy(QOS),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
            for name, (kind, topic, _) in TOPICS.items()
        }

    def _resolved(self, topic: str) -> str:
        """The topic; a compressed one goes where the one that it is of goes, as with every image transport."""
        of, slash, transport = topic.rpartition("/")
        if transport not in ("compressed", "compressedDepth"):
            return topic
        return self._node.resolve_topic_name(of) + slash + transport

    def wanted(self) -> frozenset[str]:
        """Names of the outputs that somebody listens to."""
        return frozenset(name for name, publisher in self._publishers.items() if publisher.get_subscription_count())

    def publish(self, name: str, message: Any) -> None:
        """Publish on an output; trouble of the transport is reported, not raised."""
        self._sizes[name] = len(getattr(getattr(message, "image", message), "data", ()))
        try:
            self._publishers[name].publish(message)
        except Exception as error:  # rclpy raises errors of its own and of its C++ half; the next message may pass
            self._failed(f"{TOPICS[name][1]} could not be published: {error}")

    def lost_above(self, limit_bytes: int) -> dict[str, str]:
        """Topics whose messages are larger than the transport carries to a best-effort subscriber that is there: a
        sentence by topic."""
        found = {}
        for name, size in tuple(self._sizes.items()):
            topic = self._publishers[name].topic_name if size > limit_bytes else ""
            listeners = self._node.get_subscriptions_info_by_topic(topic) if topic else []
            lost = [one for one in listeners if one.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT]
            if lost:
                found[topic] = (
                    f"Messages on {topic} have {size / 1e6:.1f} MB, and its best-effort subscriber {lost[0].node_name} "
                    f"gets none above {limit_bytes / 1e6:.1f} MB by this transport; start the node with the profile "
                    "fastdds_64mb.xml (transport_profile:=64mb), subscribe as reliable, or publish less "
                    "(points.max_points)."
                )
        return found

    def destroy(self) -> None:
        """Withdraw all topics."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()
