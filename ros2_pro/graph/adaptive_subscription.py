"""A subscription that fits what the publishers offer, whichever side starts first.

Best effort loses large images under the default transport, so reliable is asked for where every publisher offers it;
a reliable subscription gets nothing from a best-effort publisher, so one of those turns it to best effort. The graph is
looked at from time to time, because a publisher may come later or start again with other settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from ros2_pro.settings import InputSettings

RELIABILITY = {
    "reliable": ReliabilityPolicy.RELIABLE,
    "best_effort": ReliabilityPolicy.BEST_EFFORT,
}


class AdaptiveSubscription:
    """A subscription of history depth `depth` whose reliability follows the publishers.

    reliability: "auto", or "reliable" or "best_effort" to hold on to. `resubscribed(text)` is called after a change.
    Call `adapt` from time to time, from the executor's thread.
    """

    def __init__(
        self,
        node: Node,
        kind: type[Any],
        topic: str,
        callback: Callable[[Any], None],
        *,
        reliability: str = InputSettings.reliability,
        depth: int = 1,
        resubscribed: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._node, self._kind, self._topic, self._callback = node, kind, topic, callback
        self._fixed = reliability != "auto"
        self._depth = depth
        self._resubscribed = resubscribed
        self._subscription: Subscription[Any] | None = None
        self._reliability = RELIABILITY.get(reliability, ReliabilityPolicy.RELIABLE)
        self._subscribe()

    @property
    def topic(self) -> str:
        """The topic's name after remapping."""
        return self._subscription.topic_name if self._subscription is not None else ""

    @property
    def reliability(self) -> str:
        """What is asked of publishers now."""
        return self._reliability.name.lower()

    def publishers(self) -> list[str]:
        """The nodes that publish on the topic now, once for each publisher."""
        found = self._node.get_publishers_info_by_topic(self.topic) if self._subscription is not None else []
        return sorted(f"{one.node_namespace.rstrip('/')}/{one.node_name}" for one in found)

    def silence(self) -> str:
        """Why nothing may have come, in words."""
        topic, wanted = self.topic, f"{self._kind.__module__.partition('.')[0]}/msg/{self._kind.__name__}"
        kinds = sorted({one.topic_type for one in self._node.get_publishers_info_by_topic(topic)}) if topic else []
        if not kinds:
            return f"nothing is published on {topic} ({wanted})"
        if wanted not in kinds:
            return f"{topic} is published as {' and '.join(kinds)}, and {wanted} is listened to"
        return f"nothing came on {topic}, though it is published"

    def adapt(self) -> None:
        """Look at the publishers and subscribe again if they offer something else."""
        if self._fixed or self._subscription is None:
            return
        offered = {info.qos_profile.reliability for info in self._node.get_publishers_info_by_topic(self.topic)}
        if not offered:
            return
        reliable = offered == {ReliabilityPolicy.RELIABLE}
        wanted = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        if wanted == self._reliability:
            return
        self._reliability = wanted
        self._node.destroy_subscription(self._subscription)
        self._subscribe()
        self._resubscribed(f"{self.topic} is received {self.reliability.replace('_', ' ')} now, as it is published.")

    def destroy(self) -> None:
        """Stop listening."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None

    def _subscribe(self) -> None:
        qos = QoSProfile(depth=self._depth, history=HistoryPolicy.KEEP_LAST, reliability=self._reliability)
        overriding = QoSOverridingOptions.with_default_policies() if self._fixed else None
        self._subscription = self._node.create_subscription(
            self._kind, self._topic, self._callback, qos, qos_overriding_options=overriding
        )
