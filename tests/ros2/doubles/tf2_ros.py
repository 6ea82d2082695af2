"""A small double of ROS 2's `tf2_ros`, which is not on the package index: what our node uses of it.

Transforms come one by one as geometry_msgs/TransformStamped, as tf2_msgs is not there either, and are not chained.
"""

from __future__ import annotations

from geometry_msgs.msg import TransformStamped


class TransformException(Exception):  # noqa: N818  # its real name
    pass


class Buffer:
    def __init__(self):
        self._known = {}

    def set_transform(self, stamped, authority):
        self._known[stamped.header.frame_id, stamped.child_frame_id] = stamped

    def lookup_transform(self, target_frame, source_frame, time):
        try:
            return self._known[target_frame, source_frame]
        except KeyError:
            raise TransformException(f"{target_frame} and {source_frame} are not linked") from None


class TransformListener:
    def __init__(self, buffer, node):
        self._node = node
        self._subscriptions = [
            node.create_subscription(TransformStamped, topic, lambda stamped: buffer.set_transform(stamped, ""), 100)
            for topic in ("/tf", "/tf_static")
        ]

    def unregister(self):
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
