"""Small pictures, and messages of them put together byte by byte."""

from __future__ import annotations

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image

from ros2_pro.faults import MessageError

HEIGHT, WIDTH = 24, 34
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GREY = RGB[..., 0]
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH]
SMOOTH = np.stack([60 + 3 * X, 220 - 2 * Y - 2 * X, 40 + 5 * Y], axis=-1).astype(np.uint8)


def message(pixels, encoding, *, step=None, height=HEIGHT, width=WIDTH, big_endian=False, extra=b""):
    """An image message of rows of pixels, padded to `step` bytes."""
    if big_endian:
        pixels = pixels.astype(pixels.dtype.newbyteorder(">"))
    rows = [row.tobytes() for row in pixels]
    step = step or len(rows[0])
    made = Image(height=height, width=width, encoding=encoding, step=step, is_bigendian=int(big_endian))
    made.data.frombytes(b"".join(row.ljust(step, b"\xaa") for row in rows) + extra)
    return made


def with_alpha(rgb):
    return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 7, dtype=rgb.dtype)], axis=-1)


def grey_rgb(grey):
    return np.repeat(grey[..., None], 3, axis=-1)


def wide(values):
    """16-bit values whose high byte is that of `values`."""
    return values.astype(np.uint16) * 256 + 99


def compressed(suffix, pixels, kind="jpeg"):
    made = CompressedImage(format=kind)
    made.data.frombytes(cv2.imencode(suffix, pixels)[1].tobytes())
    return made


def tried(decode, made):
    """What `decode` gives and the cause of a `MessageError`; one of them is None."""
    try:
        return decode(made), None
    except MessageError as error:
        return None, error.cause
