"""A bond to nav2's lifecycle manager, which takes its nodes down when the heartbeat of one stops."""

from __future__ import annotations

from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node

TOPIC = "bond"
# What nodes of nav2 ask for (nav2_util, lifecycle_node.cpp).
HEARTBEAT_PERIOD_S, HEARTBEAT_TIMEOUT_S = 0.1, 4.0
FAREWELL_S = 1.0  # how long the other side may take to receive the end of the bond


class Bond:
    """A bond of `bondpy`, under the node's name. `form` gives None where the distribution at hand has no bondpy."""

    def __init__(self, node: Node, bond: Any) -> None:
        self._node, self._bond = node, bond

    @classmethod
    def form(cls, node: Node) -> Bond | None:
        """Begin to send heartbeats; they go on without the executor."""
        try:
            from bondpy import bondpy
        except ImportError:
            return None
        bond = bondpy.Bond(topic=TOPIC, id=node.get_name(), node=node)
        bond.heartbeat_period, bond.heartbeat_timeout = HEARTBEAT_PERIOD_S, HEARTBEAT_TIMEOUT_S
        bond.start()
        return cls(node, bond)

    def break_off(self) -> None:
        """Tell the other side, wait until it has been told, and stop. bondpy leaves its topics in the node's lists.

        `shutdown` alone ends the publisher right behind the message, which may then be lost.
        """
        self._bond.break_bond()
        self._bond.pub.wait_for_all_acked(Duration(seconds=FAREWELL_S))
        self._bond.shutdown()
        self._node.destroy_subscription(self._bond.sub)
        self._node.destroy_publisher(self._bond.pub)
