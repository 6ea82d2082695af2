"""A running node with a rig around it, whose outputs are waited for frame by frame."""

from __future__ import annotations

import contextlib

from rig import camera_image, camera_info, wait_for

SEND_AGAIN_S = 1.0  # what is sent before all have found each other gets lost


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
                self.rig.drop(listener)
                del self.rig.received[topic]

    def send(self, image=None):
        """Publish a frame and its camera info; their stamp."""
        image, stamp = image or camera_image(), self.rig.stamp()
        image.header.stamp = stamp
        self.rig.info.publish(camera_info(image.width, image.height, stamp=stamp))
        self.rig.image.publish(image)
        return stamp

    def look(self, *topics, image=None):
        """The outputs of one and the same frame, by topic; frames are sent until they are there."""
        stamps = []

        def sent():
            stamps.append(self.send(image))
            return wait_for(found, SEND_AGAIN_S)

        def found():
            for stamp in stamps:
                of_frame = {t: [m for m in self.rig.received[t] if m.header.stamp == stamp] for t in topics}
                if all(of_frame.values()):
                    return {topic: messages[0] for topic, messages in of_frame.items()}
            return None

        outputs = wait_for(sent)
        assert outputs, f"no outputs; {self.rig.diagnostics[-1:]}\n{self.node.text()}"
        return outputs
