"""A rig that sends one fault at a time and says which counters it moved."""

from __future__ import annotations

import re
import time
from array import array
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rig import PATIENCE_S, NodeProcess, Rig, camera_image, camera_info, stub_command, wait_for
from sensor_msgs.msg import CompressedImage

from ros2_pro.faults import DROPS, MISLEADING
from ros2_pro.frames.diagnostics import LOG_PERIOD_S

REPORT_S = 0.1
WIDTH, HEIGHT = 64, 48
AT_LEAST_S = LOG_PERIOD_S / 2  # between two lines: throttling counts from before a line is written, which may be late
# Metres, so that all of a frame is worked on; quiet pauses between two tests are no fault.
PARAMETERS = {"scale__mode": "fixed", "input__stale_after_s": 3600.0}
_LINE = re.compile(r"^\[(\w+)\] \[(\d+\.\d+)\] \[[^\]]*\]: (\w+): (.+)$", re.MULTILINE)
# Warnings, too: what withholds depth or its camera info, to which the rig listens, and what may make it wrong.
_WITHHOLD = ("no_camera_info", "bad_camera_info", "input_stalled", "publish_failed")
_LEVELS = dict.fromkeys((*DROPS, *MISLEADING, *_WITHHOLD), "WARN") | dict.fromkeys(
    ("load_failed", "engine_error", "engine_memory", "engine_output", "internal_error"), "ERROR"
)


@dataclass(frozen=True)
class Line:
    """A line of the log that tells of a cause; time in seconds of the system's clock."""

    level: str
    time_s: float
    cause: str
    text: str


def start_stub(
    start: Callable[..., NodeProcess], namespace: str, *, acks: Path | None = None, **parameters: Any
) -> NodeProcess:
    """The node with the stub's model, which gives metres and reports often; `acks` is a pipe as the stub describes."""
    env = {"STUB_REPORT_S": str(REPORT_S)} | ({"STUB_ACK": str(acks)} if acks else {})
    return start(stub_command(namespace, **{**PARAMETERS, **parameters}), env)


class FaultRig(Rig):
    """A camera that sends good and faulty frames to a node of `start_stub`."""

    def __init__(
        self,
        process: NodeProcess,
        namespace: str,
        outputs: tuple[str, ...] = ("depth/image_rect", "depth/image_raw", "depth/camera_info"),
    ) -> None:
        super().__init__(namespace, outputs)
        self.process = process

    def ready(self, timeout_s: float = PATIENCE_S, *, patience_s: float = 1.0) -> None:
        """Wait until a good frame came through; one is sent every `patience_s`."""
        self.get("autostart")
        frames: list[Any] = []

        def came() -> Any:
            frames.append(self.good_frame())
            self.send(frames[-1])
            return wait_for(lambda: any(self.result(frame, 0) for frame in frames), patience_s)

        assert wait_for(came, timeout_s), f"no frame comes through: {self.process.text()}"

    def good_frame(self, width: int = WIDTH, height: int = HEIGHT) -> Any:
        """An image with nothing wrong, stamped now."""
        return camera_image(width, height, stamp=self.stamp())

    def good_info(self, image: Any) -> Any:
        """A camera info that fits an image of `good_frame`."""
        return camera_info(image.width, image.height, stamp=copy(image.header.stamp))

    def send(self, image: Any, info: Any = "good") -> None:
        """Publish an image, and before it a camera info: a good one, another one, or none."""
        info = self.good_info(image) if info == "good" else info
        if info is not None:
            self.info.publish(info)
            self.pass_by()
        self.image.publish(image)

    def pass_by(self) -> None:
        """Wait until the node has taken in what was published so far: it answers a question that was put later."""
        self.get("autostart")

    def result(self, image: Any, timeout_s: float = PATIENCE_S) -> Any:
        """The depth image with the very header of an image."""
        stamp = image.header.stamp

        def found() -> Any:
            topics = [topic for topic in self.received if topic.startswith("depth/image")]
            depths = (message for topic in topics for message in self.received[topic])
            fits = [message for message in depths if message.header.stamp == stamp]
            return next(iter(fits), None)

        return wait_for(found, timeout_s)

    def info_of(self, depth: Any, timeout_s: float = PATIENCE_S) -> Any:
        """The camera info that came with a depth image, or None."""

        def found() -> Any:
            fits = [info for info in self.received["depth/camera_info"] if info.header == depth.header]
            return next(iter(fits), None)

        return wait_for(found, timeout_s)

    def tally(self) -> dict[str, int]:
        """The counters that are not 0, now."""
        prefix = "count "
        report = self.report()
        return {key[len(prefix) :]: int(n) for key, n in report.items() if key.startswith(prefix) and n != "0"}

    def moved(self, before: dict[str, int]) -> dict[str, int]:
        """By how much each counter was moved since a `tally`, those that were not moved left out."""
        return {cause: n - before.get(cause, 0) for cause, n in self.tally().items() if n != before.get(cause, 0)}

    def goes_on(self, *, width: int = WIDTH, height: int = HEIGHT) -> None:
        """A good frame comes through, in the same process, with its header and size."""
        frame = self.good_frame(width, height)
        self.send(frame)
        depth = self.result(frame)
        assert depth, f"no depth; {self.process.text()[-2000:]}"
        assert (depth.header, depth.width, depth.height) == (frame.header, width, height)
        assert self.process.process.poll() is None

    def drops(self, cause: str, image: Any, info: Any = "good") -> None:
        """Send an image that must be dropped for one cause, alone; the next one comes through."""
        before, begun_s = self.tally(), time.time()
        self.send(image, info)
        assert wait_for(lambda: self.moved(before)), f"nothing was counted, {cause} was to be"
        self.goes_on()
        moved = self.moved(before)
        assert moved == {cause: 1}, f"moved: {moved}, {cause} was to be"
        self.told(cause, begun_s)
        assert not self.result(image, 0), "an image that was dropped came out"

    def takes(self, causes: tuple[str, ...], image: Any, info: Any = "good", *, like: Any = None) -> Any:
        """Send an image that must be worked on, with these causes noted and no other; the next one comes through.

        like: where the next good frame has to look like this one. Returns the depth image.
        """
        before, begun_s = self.tally(), time.time()
        self.send(image, info)
        depth = self.result(image)
        assert depth, f"no depth; moved: {self.moved(before)}"
        assert depth.header == image.header
        moved = self.moved(before)
        assert moved == dict.fromkeys(causes, 1), f"moved: {moved}, {causes} were to be"
        for cause in causes:
            self.told(cause, begun_s)
        if like is None:
            self.goes_on()
        else:
            like.header.stamp = self.stamp()
            self.send(like)
            assert self.result(like)
            moved = self.moved(before)
            assert moved == dict.fromkeys(causes, 1), f"another frame like it moved {moved}"
        return depth

    def lines(self, cause: str) -> list[Line]:
        """What the log tells of a cause."""
        found = [Line(level, float(time_s), *rest) for level, time_s, *rest in _LINE.findall(self.process.text())]
        return [line for line in found if line.cause == cause]

    def told(self, cause: str, begun_s: float) -> None:
        """The log has a line of what was counted since `begun_s`, or told it so shortly before that it is throttled."""
        lines = self.lines(cause)
        assert lines, f"the log says nothing of {cause}"
        assert lines[-1].time_s >= begun_s - LOG_PERIOD_S, f"the log does not tell {cause} again"
        gaps_s = [later.time_s - earlier.time_s for earlier, later in pairwise(lines)]
        assert all(gap_s >= AT_LEAST_S for gap_s in gaps_s), f"{cause} is told after {gaps_s} s"
        assert {line.level for line in lines} == {_LEVELS.get(cause, "INFO")}

    def restart(self) -> None:
        """Deactivate and activate the node: then it is as at the start but for its counters."""
        for transition, listeners in ((Transition.TRANSITION_DEACTIVATE, 0), (Transition.TRANSITION_ACTIVATE, 1)):
            request = ChangeState.Request(transition=Transition(id=transition))
            assert self.call(ChangeState, "change_state", request).success
            for publisher in (self.image, self.info):
                assert wait_for(lambda p=publisher, n=listeners: p.get_subscription_count() == n)
        time.sleep(0.3)  # the node has to find our publishers, too

    def healthy(self) -> None:
        """The node lives, and never said that it met something that nobody had thought of.

        That a client did not get an answer is rclpy's own warning, where the client had not been found yet.
        """
        assert self.process.process.poll() is None, self.process.text()
        unforeseen = "Traceback|RuntimeWarning(?!: failed to send response)"
        assert not re.search(unforeseen, self.process.text()), self.process.text()
        assert "internal_error" not in self.tally()


class CompressedRig(FaultRig):
    """A camera that sends JPEG."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.drop(self.image)
        self.image = self.node.create_publisher(CompressedImage, "image/compressed", 1)

    def good_frame(self, width: int = WIDTH, height: int = HEIGHT) -> Any:
        """A JPEG with nothing wrong, stamped now."""
        return self.compressed(encoded(".jpg", width, height))

    def compressed(self, data: bytes) -> Any:
        """A message of these bytes, stamped now."""
        message = CompressedImage(format="rgb8; jpeg compressed bgr8", data=array("B", data))
        message.header.stamp, message.header.frame_id = self.stamp(), "camera_optical"
        return message

    def good_info(self, image: Any) -> Any:
        """A camera info of the size of all its good frames."""
        return super().good_info(camera_image(WIDTH, HEIGHT, stamp=copy(image.header.stamp)))


def encoded(suffix: str, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A picture of noise as a file."""
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()
