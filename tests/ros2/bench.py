"""A running node with a rig around it, whose outputs are waited for frame by frame."""

from __future__ import annotations

import contextlib

from rig import camera_image, camera_info, wait_for


class Bench:
    """A node, a rig around it, and frames that are waited for."""

    def __init__(self, node, rig):
        self.node, self.rig = node, rig

    @contextlib.contextmanager
    def listening(self, *topics):
        """Listen to these outputs, and to no other."""
        listeners = [self.rig.listen(topic) for topic in topics]
        try:
            yield
        finally:
            for listener, topic in zip(listeners, topics, strict=True):
                self.rig.node.destroy_subscription(listener)
                del self.rig.received[topic]

    def look(self, *topics, image=None, timeout_s=10.0):
        """The outputs of one and the same frame, by topic; frames are sent until they are there."""

        def sent():
            stamp = self.rig.stamp()
            frame = image or camera_image()
            frame.header.stamp = stamp
            self.rig.info.publish(camera_info(frame.width, frame.height, stamp=stamp))
            self.rig.image.publish(frame)
            return wait_for(lambda: found(stamp), 0.5)

        def found(stamp):
            of_frame = {t: [m for m in self.rig.received[t] if m.header.stamp == stamp] for t in topics}
            return {topic: messages[0] for topic, messages in of_frame.items()} if all(of_frame.values()) else None

        outputs = wait_for(sent, timeout_s)
        assert outputs, f"no outputs; {self.rig.diagnostics[-1:]}\n{self.node.text()}"
        return outputs
