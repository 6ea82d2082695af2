"""Depth as sensor_msgs/CompressedImage, in the layout of ROS' compressed_depth_image_transport.

Data are 12 bytes, an int32 that says nothing and two float32 a and b, and a PNG of 16 bits: of 16UC1 its values, of
32FC1 a / depth + b, 0 where there is none. The reader takes a and b from the message, so here they are chosen such that
the depths of the frame fill the 16 bits.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage

from pro_engine.options import choices_of
from ros2_pro.faults import MessageError
from ros2_pro.messages.images import MM_PER_M, check_png, fill
from ros2_pro.settings import DepthSettings

SUFFIX = "/compressedDepth"
_HEADER = struct.Struct("<iff")
_STEPS = 65534  # of inverse depth, from the farthest surface at 1 to the nearest at 65535
_NEAREST = 1e-3  # of the farthest: nearer than that all is the same
_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def compressed_depth(values: NDArray[Any], encoding: str, header: Any) -> CompressedImage:
    """A depth image: (H, W) float32 in metres for 32FC1, or uint16 in millimetres for 16UC1.

    Of metres what is NaN, infinite or not above 0 becomes none. A depth z is kept within z**2 / 131068 times the
    difference of the inverse depths of the nearest and the farthest surface, in metres.
    """
    a = b = 0.0
    if encoding == "32FC1":
        values, a, b = _quantised(values)
    encoded, png = cv2.imencode(".png", values, _FAST)
    assert encoded
    message = CompressedImage(header=header, format=f"{encoding}; compressedDepth png")
    fill(message.data, np.frombuffer(_HEADER.pack(0, a, b) + png.tobytes(), np.uint8))
    return message


def decode_compressed_depth(message: Any) -> NDArray[np.float32]:
    """Depth in metres, (H, W) float32, NaN where there is none.

    Raises:
        MessageError: bad_encoding for what is no compressedDepth of 16UC1 or 32FC1 as PNG, bad_compressed, too_large.
    """
    encoding, _, kind = str(message.format).partition(";")
    encoding, kind = encoding.strip(), kind.strip()
    readable = kind.startswith("compressedDepth") and not kind.endswith("rvl")
    if encoding not in choices_of(DepthSettings, "encoding") or not readable:
        raise MessageError(
            "bad_encoding",
            f"The compressed depth image has format {message.format!r}; give '16UC1; compressedDepth png' or "
            "'32FC1; compressedDepth png'.",
        )
    data = bytes(message.data)
    if len(data) <= _HEADER.size:
        raise MessageError("bad_compressed", f"The compressed depth image has {len(data)} bytes, too few for a PNG.")
    _, a, b = _HEADER.unpack_from(data)
    png = data[_HEADER.size :]
    check_png(png)
    try:
        values = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise MessageError("bad_compressed", f"The compressed depth image cannot be decoded: {error.err}.") from error
    if values is None or values.dtype != np.uint16 or values.ndim != 2:
        raise MessageError("bad_compressed", "The compressed depth image holds no PNG of one channel of 16 bits.")
    depth: NDArray[np.float32] = values.astype(np.float32)
    with np.errstate(all="ignore"):  # a and b may be anything
        depth = depth / np.float32(MM_PER_M) if encoding == "16UC1" else np.float32(a) / (depth - np.float32(b))
    depth[(values == 0) | ~(depth > 0)] = np.nan
    return depth


def _quantised(depth: NDArray[np.float32]) -> tuple[NDArray[np.uint16], float, float]:
    with np.errstate(invalid="ignore"):
        known = (depth > 0) & (depth < np.inf)
    if not known.any():
        return np.zeros(depth.shape, np.uint16), 1.0, 0.0
    far = float(depth[known].max())
    near = max(float(depth[known].min()), _NEAREST * far)
    a = np.float32(_STEPS / max(1 / near - 1 / far, 1e-6 / far))
    b = np.float32(1 - a / far)
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.clip(np.rint(a / depth.astype(np.float64) + b), 1, _STEPS + 1)
    return np.where(known, steps, 0).astype(np.uint16), float(a), float(b)
