"""Messages as no camera would send them: mostly right, with a few fields that are anything. Seeded."""

from __future__ import annotations

import math
from array import array
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ros2_pro.messages.images import LAYOUTS

UINT32 = 2**32 - 1
SIDES = (32, 33, 40, 48, 64)
ODD_SIDES = (0, 1, 2, 3, 31, 65, 640, 2**14, 2**31, UINT32)
NUMBERS = (0.0, -0.0, 1.0, -1.0, 0.5, 50.0, 1e-300, 1e300, -1e300, 5e-324, math.nan, math.inf, -math.inf)
TEXTS = ("", "rgb7", "RGB8", "64FC1", "32FC3", "8UC2", "16SC1", "jpeg", "\x00", "😀", "a" * 5000, "bayer_rggb12")
MODELS = ("plumb_bob", "rational_polynomial", "equidistant", "fisheye", "", "bananas", "thin_prism_fisheye")
LENGTHS = (0, 1, 3, 4, 5, 8, 12, 14, 30)


class Fuzz:
    """Makes messages from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def image(self) -> Image:
        """An image; of every second one everything is right but its header."""
        odd = 0.0 if self._often(0.5) else 0.3
        encoding = self._one(TEXTS) if self._often(odd) else self._one(tuple(LAYOUTS))
        width, height = (self._one(ODD_SIDES if self._often(odd) else SIDES) for _ in range(2))
        layout = LAYOUTS.get(encoding)
        size = np.dtype(layout.dtype).itemsize * layout.channels if layout is not None else 1
        rows = height * layout.rows // layout.per if layout is not None else height
        step = min(width * size, UINT32)
        if self._often(odd):
            step = self._one((0, 1, step // 2, step + 1, step + 64, UINT32))
        length = min(step * rows, 40_000)
        if self._often(odd):
            length = self._one((0, 1, max(0, length - 1), length // 2, length + 1, length + 1000))
        data = array("B", self._random.bytes(length))
        if self._often(0.1):
            data = array("B", bytes([self._one((0, 255))]) * length)
        message = Image(encoding=encoding, width=width, height=height, step=min(step, UINT32), data=data)
        message.is_bigendian = self._one((0, 0, 1, 255))
        self._head(message.header)
        return message

    def compressed(self) -> CompressedImage:
        """A compressed image with a few bytes that are anything, or cut."""
        pixels = self._random.integers(0, 256, (self._one(SIDES), self._one(SIDES), 3), dtype=np.uint8)
        data = bytearray(cv2.imencode(self._one((".jpg", ".png", ".bmp", ".webp", ".tiff")), pixels)[1].tobytes())
        for _ in range(self._one((0, 0, 1, 3, 30))):
            data[self._random.integers(min(len(data), self._one((64, len(data)))))] = self._random.integers(256)
        if self._often(0.2):
            data = data[: self._random.integers(len(data))]
        message = CompressedImage(format=self._one(("jpeg", "png", *TEXTS)), data=array("B", bytes(data)))
        self._head(message.header)
        return message

    def camera_info(self, width: int, height: int) -> CameraInfo:
        """A camera info for an image of a size; of every third one everything is right but its header."""
        odd = 0.0 if self._often(0.3) else 0.3
        width, height = (self._one(ODD_SIDES) if self._often(odd / 2) else side for side in (width, height))
        message = CameraInfo(width=width, height=height, distortion_model=self._one(MODELS))
        right = (50.0, 0.0, width / 2, 0.0, 50.0, height / 2, 0.0, 0.0, 1.0)
        message.k = self._numbers(right, odd)
        message.r = self._numbers((1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0), odd)
        message.p = self._numbers((*right[:3], 0.0, *right[3:6], 0.0, *right[6:], 0.0), odd)
        message.d = self._numbers((0.01,) * self._one(LENGTHS), odd) if self._often(0.5) else []
        if self._often(odd / 2):
            message.binning_x, message.binning_y = self._one((0, 1, 2, UINT32)), self._one((0, 1, 2, UINT32))
        if self._often(odd / 2):
            roi = message.roi
            roi.x_offset, roi.y_offset, roi.width, roi.height = (
                self._one((0, 1, 16, *SIDES, UINT32)) for _ in range(4)
            )
        self._head(message.header)
        return message

    def _head(self, header: Any) -> None:
        header.frame_id = self._one(("camera_optical", "camera_optical", *TEXTS))
        if self._often(0.3):
            header.stamp.sec = self._one((0, 1, -1, 2**31 - 1, -(2**31)))
            header.stamp.nanosec = self._one((0, 999_999_999, 10**9, UINT32))
        else:
            header.stamp.sec = int(self._random.integers(10**9, 2 * 10**9))
            header.stamp.nanosec = int(self._random.integers(10**9))

    def _numbers(self, right: tuple[float, ...], odd: float) -> list[float]:
        return [float(self._one(NUMBERS)) if self._often(odd / 3) else value for value in right]

    def _often(self, share: float) -> bool:
        return bool(self._random.random() < share)

    def _one(self, choices: tuple[Any, ...]) -> Any:
        return choices[self._random.integers(len(choices))]
