"""The messages that are kept: images with their time of arrival, the newest camera info and sensor messages."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

SENSOR_MESSAGES_KEPT = 16


def seconds(stamp: Any) -> float:
    """A builtin_interfaces/Time as seconds."""
    return float(stamp.sec) + 1e-9 * float(stamp.nanosec)


@dataclass(frozen=True, eq=False)
class Frame:
    """An image or compressed image, and when it came, in seconds of `time.monotonic`."""

    message: Any
    received_s: float


class CameraInfoCache:
    """The newest camera info. An image waits for the first one only, and only once."""

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._newest: Any = None
        self._gave_up = False

    def put(self, info: Any) -> None:
        """Keep the newest."""
        self._newest = info
        self._arrived.set()

    def get(self, timeout_s: float) -> Any:
        """The newest camera info, or None where none ever came within `timeout_s` of the first question."""
        if not self._gave_up and not self._arrived.wait(timeout_s):
            self._gave_up = True
        return self._newest

    def forget(self) -> None:
        """As at the start."""
        self._arrived.clear()
        self._newest, self._gave_up = None, False

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return self._newest is not None


class SensorCache:
    """The last messages of the scale's source, found again by their stamps."""

    def __init__(self) -> None:
        self._messages: deque[Any] = deque(maxlen=SENSOR_MESSAGES_KEPT)
        self.info: Any = None  # the newest camera info of a depth camera

    def put(self, message: Any) -> None:
        """Keep a message with a header."""
        self._messages.append(message)

    def put_info(self, info: Any) -> None:
        """Keep the newest camera info."""
        self.info = info

    def nearest(self, stamp_s: float, max_offset_s: float) -> Any:
        """The message whose stamp is nearest, or None where the nearest is farther than `max_offset_s`."""
        best, offset = None, max_offset_s
        for message in tuple(self._messages):
            distance = abs(seconds(message.header.stamp) - stamp_s)
            if distance <= offset:
                best, offset = message, distance
        return best

    def offset_s(self, stamp_s: float) -> float | None:
        """How much later than `stamp_s` the nearest stamp is, in seconds; None where nothing came."""
        return min((seconds(one.header.stamp) - stamp_s for one in tuple(self._messages)), key=abs, default=None)

    def forget(self) -> None:
        """As at the start."""
        self._messages.clear()
        self.info = None
