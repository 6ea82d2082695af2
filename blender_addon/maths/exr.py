# SPDX-License-Identifier: GPL-3.0-or-later
"""Float maps as the bytes of an OpenEXR file: only the channels that there are, zipped without loss. Blender itself
packs a float image as four channels that are not compressed. Needs numpy only.

The layout is that of "OpenEXR File Layout", https://openexr.com/en/latest/OpenEXRFileLayout.html.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .simplify import FloatMap

MAGIC = b"\x76\x2f\x31\x01"
FLOAT, ZIP = 2, b"\x03"  # codes of the pixel type and of the compression
ROWS = 16  # of a block of that compression
LEVEL = 1  # of 9; higher ones make maps of depth 2 % smaller and take three times as long


def zipped_exr(channels: Mapping[str, FloatMap]) -> bytes:
    """The file of (H, W) float32 maps of one size, by the names of their channels; row 0 at the top."""
    names = sorted(channels)  # as the format demands
    height, width = channels[names[0]].shape
    planes = [np.ascontiguousarray(channels[name], dtype="<f4") for name in names]
    blocks = []
    for row in range(0, height, ROWS):
        rows = np.stack([plane[row : row + ROWS] for plane in planes], axis=1)  # (rows, channels, W)
        data = rows.tobytes()
        zipped = zlib.compress(_predicted(np.frombuffer(data, np.uint8)), LEVEL)
        data = min(zipped, data, key=len)
        blocks.append(struct.pack("<2i", row, len(data)) + data)
    head = _head(names, width, height)
    sizes = [len(head) + 8 * len(blocks), *map(len, blocks[:-1])]
    return b"".join([head, np.cumsum(sizes).astype("<u8").tobytes(), *blocks])


def _predicted(data: NDArray[np.uint8]) -> bytes:
    """The bytes at even places, then those at odd ones, each as its step from the one before plus 128."""
    apart = np.concatenate([data[0::2], data[1::2]])
    steps = apart.copy()
    steps[1:] -= apart[:-1]
    steps[1:] += 128
    return steps.tobytes()


def _head(names: list[str], width: int, height: int) -> bytes:
    listed = b"".join(name.encode() + b"\0" + struct.pack("<iB3x2i", FLOAT, 0, 1, 1) for name in names)
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    attributes = {
        "channels": ("chlist", listed + b"\0"),
        "compression": ("compression", ZIP),
        "dataWindow": ("box2i", window),
        "displayWindow": ("box2i", window),
        "lineOrder": ("lineOrder", b"\0"),
        "pixelAspectRatio": ("float", struct.pack("<f", 1)),
        "screenWindowCenter": ("v2f", struct.pack("<2f", 0, 0)),
        "screenWindowWidth": ("float", struct.pack("<f", 1)),
    }
    written = [
        b"\0".join([name.encode(), kind.encode(), struct.pack("<i", len(value)) + value])
        for name, (kind, value) in attributes.items()
    ]
    return MAGIC + struct.pack("<i", 2) + b"".join(written) + b"\0"
