"""A bond that says who it is for as long as it is held: `id`, or `id broken`, as std_msgs/String on its topic."""

from __future__ import annotations

import threading

from std_msgs.msg import String


class Bond:
    def __init__(self, topic, id, node, on_broken=None, on_formed=None):
        self.topic, self.id, self.node = topic, id, node
        self.heartbeat_period, self.heartbeat_timeout = 1.0, 4.0
        self.pub = node.create_publisher(String, topic, 10)
        self._broken = threading.Event()

    def start(self):
        self.sub = self.node.create_subscription(String, self.topic, lambda message: None, 1)
        self._beats = threading.Thread(target=self._beat, daemon=True)
        self._beats.start()

    def break_bond(self):
        if not self._broken.is_set():
            self._broken.set()
            self._beats.join()
            self.pub.publish(String(data=f"{self.id} broken"))

    def shutdown(self):
        self.break_bond()
        self.sub.destroy()
        self.pub.destroy()

    def _beat(self):
        while not self._broken.wait(self.heartbeat_period):
            self.pub.publish(String(data=self.id))
