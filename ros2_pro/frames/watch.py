"""Looks at the graph for what is missing or wrong there: no image, another camera, a listener that gets nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from rclpy.node import Node
from rclpy.utilities import get_rmw_implementation_identifier

from ros2_pro.frames.diagnostics import Health
from ros2_pro.graph.adaptive_subscription import AdaptiveSubscription
from ros2_pro.graph.publishers import Outputs
from ros2_pro.graph.transport import carried_bytes
from ros2_pro.settings import InputSettings

NO_IMAGE_S = 4.0  # without a first one, until it is told what is there instead

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
SUFFIX = "/compressed"
SHOWN = 5  # topics


class Watch:
    """Follows the publishers of all `subscriptions`, of which the first is that of images, from when it is made.

    Call `look` from time to time, from the executor's thread, and `image_came` for every image.
    """

    def __init__(
        self,
        node: Node,
        health: Health,
        settings: Callable[[], InputSettings],
        outputs: Outputs,
        subscriptions: Sequence[AdaptiveSubscription],
    ) -> None:
        self._node, self._health, self._settings = node, health, settings
        self._outputs, self._subscriptions, self._images = outputs, subscriptions, subscriptions[0]
        self._carried_bytes = carried_bytes(get_rmw_implementation_identifier(), os.environ)
        self._since_s = time.monotonic()
        self._image_came = self._absence_told = self._stalled = self._several = False
        self._lost: frozenset[str] = frozenset()

    def image_came(self) -> None:
        """There is an image."""
        self._image_came, self._stalled = True, False

    def look(self) -> None:
        """Adapt the subscriptions, and count what is new."""
        for subscription in self._subscriptions:
            subscription.adapt()
        if self._image_came:
            self._look_for_silence()
        elif not self._absence_told:
            self._look_for_absence()
        cameras = self._images.publishers()
        if len(cameras) > 1 and not self._several:
            text = f"{' and '.join(cameras)} publish on the image topic {self._images.topic}; remap one."
            self._health.count("several_publishers", text)
        self._several = len(cameras) > 1
        if self._carried_bytes is not None:
            lost = self._outputs.lost_above(self._carried_bytes)
            for topic in lost.keys() - self._lost:
                self._health.count("lost_best_effort", lost[topic], withheld=True)
            self._lost = frozenset(lost)

    def _look_for_silence(self) -> None:
        quiet_s = self._health.seconds_without_input() or 0.0
        if quiet_s > self._settings().stale_after_s and not self._stalled:
            self._stalled = True
            self._health.count("input_stalled", f"No image came for {quiet_s:.1f} s.", withheld=True)

    def _look_for_absence(self) -> None:
        waited_s = time.monotonic() - self._since_s
        if waited_s < NO_IMAGE_S:
            return
        self._absence_told = True
        wanted, topic = RAW if self._settings().transport == "raw" else COMPRESSED, self._images.topic
        why = why_no_image(self._node, topic, wanted)
        self._health.count(
            "no_image", f"No image came on {topic} ({_short(wanted)}) for {waited_s:.0f} s. {why}", withheld=True
        )


def why_no_image(node: Node, topic: str, wanted: str) -> str:
    """A sentence or more on who publishes on a topic that is to have messages of the type `wanted`, and what to do.

    Args:
        node: that listens.
        topic: its resolved name.
        wanted: `RAW` or `COMPRESSED`.
    """
    published = _published(node)
    here = published.get(topic, {})
    if wanted in here:
        who = ", ".join(here[wanted])
        return (
            f"{who} publishes there, but sends nothing, or with a quality of service that does not fit "
            "(input.reliability auto fits all)."
        )
    for near in (topic, topic + SUFFIX, topic.removesuffix(SUFFIX)):
        for kind in (RAW, COMPRESSED):
            if kind in published.get(near, {}):
                return f"{near} is {_short(kind)}: {_arguments(near, kind)}."
    names = sorted(name for name, kinds in published.items() if RAW in kinds or COMPRESSED in kinds)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    others = f"topics with images: {', '.join(names[:SHOWN])}{more}" if names else "no topic has images"
    return f"{'Another type is' if here else 'Nothing is'} published there; {others}."


def _published(node: Node) -> dict[str, dict[str, list[str]]]:
    """What other nodes publish: topic, type, names of the nodes. Asked for by node, as rclpy would remap a topic; nodes
    of the same name are those of other cameras, and publish no camera's images."""
    found: dict[str, dict[str, list[str]]] = {}
    for name, namespace in sorted(set(node.get_node_names_and_namespaces())):
        if name == node.get_name():
            continue
        try:
            topics = node.get_publisher_names_and_types_by_node(name, namespace)
        except RuntimeError:  # of rcl: it has left meanwhile
            continue
        for topic, kinds in topics:
            for kind in kinds:
                found.setdefault(topic, {}).setdefault(kind, []).append(f"{namespace.rstrip('/')}/{name}")
    return found


def _short(kind: str) -> str:
    return kind.replace("/msg/", "/")


def _arguments(topic: str, kind: str) -> str:
    """How to listen to a topic, in words of the launch file."""
    if kind == RAW:
        return f"image:={topic} image_transport:=raw"
    if topic.endswith(SUFFIX):
        return f"image:={topic.removesuffix(SUFFIX)} image_transport:=compressed"
    return f"image_transport:=compressed, and remap image/compressed to {topic}"
