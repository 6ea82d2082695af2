# SPDX-License-Identifier: GPL-3.0-or-later
"""Float maps as the bytes of an OpenEXR file: only the channels that there are, zipped without loss. Blender itself
packs a float image as four channels that are not compressed. Needs numpy only.

The layout is that of "OpenEXR File Layout", https://openexr.com/en/latest/OpenEXRFileLayout.html.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .simplify import FloatMap

MAGIC = b"\x76\x2f\x31\x01"
FLOAT, ZIP = 2, b"\x03"  # codes of the pixel type and of the compression
ROWS = 16  # of a block of that compression
LEVEL = 1  # of 9; higher ones make maps of depth 2 % smaller and take three times as long


class ExrWindows(NamedTuple):
    """Where the pixels of a file lie: corners (left, top, right, bottom), included; a pixel's width over its height."""

    data: tuple[int, int, int, int]
    display: tuple[int, int, int, int]
    pixel_aspect: float = 1.0

    @classmethod
    def of_size(cls, width: int, height: int) -> ExrWindows:
        """Of a picture that is all there is."""
        window = (0, 0, width - 1, height - 1)
        return cls(window, window)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pixels that there are."""
        left, top, right, bottom = self.data
        return right - left + 1, bottom - top + 1


def frame_of_exr(data: bytes) -> ExrWindows | None:
    """The frame that the start of a file tells; None if it is no OpenEXR file or does not tell all of it."""
    found: dict[bytes, bytes] = {}
    place = len(MAGIC) + 4
    try:
        while data[: len(MAGIC)] == MAGIC and data[place] != 0:
            name_ends = data.index(b"\0", place)
            start = data.index(b"\0", name_ends + 1) + 5  # after the name of the type and the length of the value
            (length,) = struct.unpack_from("<i", data, start - 4)
            found[data[place:name_ends]] = data[start : start + length]
            place = start + length
        data_window, display_window = (struct.unpack("<4i", found[key]) for key in (b"dataWindow", b"displayWindow"))
        return ExrWindows(data_window, display_window, *struct.unpack("<f", found[b"pixelAspectRatio"]))
    except (IndexError, KeyError, ValueError, struct.error):
        return None


def zipped_exr(channels: Mapping[str, FloatMap], frame: ExrWindows | None = None) -> bytes:
    """The file of (H, W) float32 maps of one size, by the names of their channels; row 0 at the top."""
    names = sorted(channels)  # as the format demands
    height, width = channels[names[0]].shape
    frame = frame or ExrWindows.of_size(width, height)
    planes = [np.ascontiguousarray(channels[name], dtype="<f4") for name in names]
    blocks = []
    for row in range(0, height, ROWS):
        rows = np.stack([plane[row : row + ROWS] for plane in planes], axis=1)  # (rows, channels, W)
        data = rows.tobytes()
        zipped = zlib.compress(_predicted(np.frombuffer(data, np.uint8)), LEVEL)
        data = min(zipped, data, key=len)
        blocks.append(struct.pack("<2i", frame.data[1] + row, len(data)) + data)
    head = _head(names, frame)
    sizes = [len(head) + 8 * len(blocks), *map(len, blocks[:-1])]
    return b"".join([head, np.cumsum(sizes).astype("<u8").tobytes(), *blocks])


def _predicted(data: NDArray[np.uint8]) -> bytes:
    """The bytes at even places, then those at odd ones, each as its step from the one before plus 128."""
    apart = np.concatenate([data[0::2], data[1::2]])
    steps = apart.copy()
    steps[1:] -= apart[:-1]
    steps[1:] += 128
    found: bytes = steps.tobytes()
    return found


def _head(names: list[str], frame: ExrWindows) -> bytes:
    listed = b"".join(name.encode() + b"\0" + struct.pack("<iB3x2i", FLOAT, 0, 1, 1) for name in names)
    attributes = {
        "channels": ("chlist", listed + b"\0"),
        "compression": ("compression", ZIP),
        "dataWindow": ("box2i", struct.pack("<4i", *frame.data)),
        "displayWindow": ("box2i", struct.pack("<4i", *frame.display)),
        "lineOrder": ("lineOrder", b"\0"),
        "pixelAspectRatio": ("float", struct.pack("<f", frame.pixel_aspect)),
        "screenWindowCenter": ("v2f", struct.pack("<2f", 0, 0)),
        "screenWindowWidth": ("float", struct.pack("<f", 1)),
    }
    written = [
        b"\0".join([name.encode(), kind.encode(), struct.pack("<i", len(value)) + value])
        for name, (kind, value) in attributes.items()
    ]
    return MAGIC + struct.pack("<i", 2) + b"".join(written) + b"\0"
