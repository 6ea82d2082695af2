"""Image messages to numpy and back. cv_bridge is asked only for encodings that `LAYOUTS` does not have.

Encodings are those of sensor_msgs/image_encodings. Everything that cannot be used raises `MessageError` with a cause,
whatever the message holds.
"""

from __future__ import annotations

import array
import math
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from ros2_pro.faults import MessageError

Pixels = NDArray[Any]

MAX_PIXELS = 1 << 28  # 268 megapixels; the largest sensors have 150
LOW_PERCENTILE, HIGH_PERCENTILE = 1.0, 99.0
MM_PER_M = 1000.0
MAX_MM = 65535
MAX_SAMPLES = 1 << 18  # of which percentiles are taken
_QUALITY = 90  # of JPEG, of 100
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of the segments that hold the size
_JPEG_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # markers without a segment


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A decoded image: image (H, W, 3) uint8 RGB, C-contiguous; notes are keys of `causes.NOTES`."""

    image: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _PixelLayout:
    """How an encoding lies in memory, and how it becomes RGB.

    dtype and channels of a pixel; `rows` of data for `per` rows of the image (nv12 has 3 for 2); to_rgb takes
    (rows, W, channels) or (rows, W) for one channel, in the machine's byte order.
    """

    dtype: str
    channels: int
    to_rgb: Callable[[Pixels], Pixels]
    rows: int = 1
    per: int = 1
    even: bool = False  # whether width (and height) must be even


def _high_byte(pixels: Pixels) -> Pixels:
    if pixels.dtype != np.uint16:
        return pixels
    rows = len(pixels)
    halves = pixels.reshape(rows, -1).view(np.uint8).reshape(rows, -1, 2)  # a view
    return np.asarray(cv2.extractChannel(halves, int(sys.byteorder == "little"))).reshape(pixels.shape)


def _cv(code: int) -> Callable[[Pixels], Pixels]:
    return lambda pixels: np.asarray(cv2.cvtColor(_high_byte(pixels), code))


def _stretched(pixels: Pixels) -> Pixels:
    """Values without a range of their own (16UC1, 32FC1) as grey: the 1st to the 99th percentile becomes 0 to 255."""
    every = max(1, math.isqrt(pixels.size // MAX_SAMPLES))
    sample = pixels[::every, ::every]
    sample = sample[np.isfinite(sample)].astype(np.float64)
    low, high = np.percentile(sample, (LOW_PERCENTILE, HIGH_PERCENTILE)) if sample.size else (0.0, 0.0)
    with np.errstate(invalid="ignore", over="ignore"):  # far beyond the percentiles is white, even where it overflows
        grey = pixels.astype(np.float32)
        grey -= np.float32(low)
        grey *= np.float32(255 / max(high - low, 1e-12))
    np.clip(grey, 0, 255, out=grey)
    grey[~np.isfinite(pixels)] = 0  # what is not a number is black
    return _GREY(grey.astype(np.uint8))


_GREY = _cv(cv2.COLOR_GRAY2RGB)
_BGR = _cv(cv2.COLOR_BGR2RGB)
_RGBA = _cv(cv2.COLOR_RGBA2RGB)
_BGRA = _cv(cv2.COLOR_BGRA2RGB)
# OpenCV names a Bayer pattern by its second row and column, ROS by its first.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
_UYVY = _PixelLayout("u1", 2, _cv(cv2.COLOR_YUV2RGB_UYVY), even=True)
_YUYV = _PixelLayout("u1", 2, _cv(cv2.COLOR_YUV2RGB_YUY2), even=True)

LAYOUTS: dict[str, _PixelLayout] = {
    "rgb8": _PixelLayout("u1", 3, _high_byte),
    "bgr8": _PixelLayout("u1", 3, _BGR),
    "rgba8": _PixelLayout("u1", 4, _RGBA),
    "bgra8": _PixelLayout("u1", 4, _BGRA),
    "rgb16": _PixelLayout("u2", 3, _high_byte),
    "bgr16": _PixelLayout("u2", 3, _BGR),
    "rgba16": _PixelLayout("u2", 4, _RGBA),
    "bgra16": _PixelLayout("u2", 4, _BGRA),
    "mono8": _PixelLayout("u1", 1, _GREY),
    "mono16": _PixelLayout("u2", 1, _GREY),
    "8uc1": _PixelLayout("u1", 1, _GREY),
    "8uc3": _PixelLayout("u1", 3, _BGR),
    "8uc4": _PixelLayout("u1", 4, _BGRA),
    "16uc1": _PixelLayout("u2", 1, _stretched),
    "16uc3": _PixelLayout("u2", 3, _BGR),
    "16uc4": _PixelLayout("u2", 4, _BGRA),
    "32fc1": _PixelLayout("f4", 1, _stretched),
    **{f"bayer_{name}8": _PixelLayout("u1", 1, _cv(code)) for name, code in _BAYER.items()},
    **{f"bayer_{name}16": _PixelLayout("u2", 1, _cv(code)) for name, code in _BAYER.items()},
    "uyvy": _UYVY,
    "yuv422": _UYVY,
    "yuyv": _YUYV,
    "yuv422_yuy2": _YUYV,
    "nv12": _PixelLayout("u1", 1, _cv(cv2.COLOR_YUV2RGB_NV12), rows=3, per=2, even=True),
    "nv21": _PixelLayout("u1", 1, _cv(cv2.COLOR_YUV2RGB_NV21), rows=3, per=2, even=True),
}
"""By encoding in lower case, since drivers differ in that."""

_DEPTH_LAYOUTS = {"32fc1": "f4", "64fc1": "f8", "16uc1": "u2", "mono16": "u2"}


def decode_image(message: Any) -> DecodedImage:
    """A sensor_msgs/Image as a picture.

    Of 16-bit colours and greys the high byte is kept; 16UC1 and 32FC1 have no range of their own and are stretched
    from the 1st to the 99th percentile. 8UC3 and 16UC3 are taken as BGR, as OpenCV has
    it. rgb8 without padding is a view of the message's data; other pixels are copied.

    Raises:
        MessageError: bad_encoding, empty_image, too_large, bad_step or short_data.
    """
    encoding = str(message.encoding).lower()
    layout = LAYOUTS.get(encoding)
    if layout is None:
        image = _from_cv_bridge(message)
        return DecodedImage(image, _featureless(image))
    height, width = int(message.height), int(message.width)
    if layout.even and (width % 2 or height % layout.per):
        raise MessageError("bad_step", f"The image is {width}x{height}, but {encoding} needs even sizes.")
    pixels, notes = _pixels(message, layout.dtype, layout.channels, height * layout.rows // layout.per)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        notes += ("nonfinite_input",)
    image = np.ascontiguousarray(layout.to_rgb(pixels), dtype=np.uint8)
    return DecodedImage(image, notes + _featureless(image))


def decode_compressed(message: Any) -> DecodedImage:
    """A sensor_msgs/CompressedImage (JPEG, PNG and what else OpenCV reads) as a picture.

    It is not turned by EXIF, as camera info is of the pixels as they are stored.

    Raises:
        MessageError: bad_compressed, or too_large for the size that its header claims.
    """
    data = np.frombuffer(bytes(message.data) if isinstance(message.data, list) else message.data, dtype=np.uint8)
    if data.size == 0:
        raise MessageError("bad_compressed", "The compressed image is empty.")
    for start, check in ((_PNG, check_png), (_JPEG, _check_jpeg)):
        if data[: len(start)].tobytes() == start:
            check(data.tobytes())
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise MessageError("bad_compressed", f"The compressed image cannot be decoded: {error.err}.") from error
    if image is None:
        raise MessageError(
            "bad_compressed",
            f"The compressed image of {data.size} bytes and format {message.format!r} is damaged or of a kind that "
            "OpenCV does not read; give JPEG or PNG.",
        )
    picture = _BGR(image)  # OpenCV before 4.11 cannot decode to RGB itself
    return DecodedImage(picture, _featureless(picture))


def decode_depth(message: Any) -> NDArray[np.float32]:
    """A depth image in metres: (H, W) float32, NaN where there is none (0 or less), +inf beyond range.

    32FC1 and 64FC1 are metres, 16UC1 and mono16 millimetres (REP 118).

    Raises:
        MessageError: as `decode_image`.
    """
    encoding = str(message.encoding).lower()
    dtype = _DEPTH_LAYOUTS.get(encoding)
    if dtype is None:
        raise MessageError(
            "bad_encoding", f"The depth image's encoding is {message.encoding!r}; give 32FC1 (metres) or 16UC1 (mm)."
        )
    pixels, _ = _pixels(message, dtype, 1, int(message.height))
    with np.errstate(invalid="ignore", over="ignore"):
        depth = pixels.astype(np.float32)
    if dtype == "u2":
        depth /= np.float32(MM_PER_M)
    depth[~(depth > 0)] = np.nan
    return depth


def image_message(values: Pixels, encoding: str, header: Any, *, reuse: Any = None) -> Image:
    """A sensor_msgs/Image of an array (H, W) or (H, W, channels) whose type fits the encoding.

    reuse: an earlier message of this function that nobody needs any more, to be filled anew; see `fill`.
    """
    height, width = values.shape[:2]
    message = Image() if reuse is None else reuse
    message.header, message.height, message.width, message.encoding = header, height, width, encoding
    message.is_bigendian = int(sys.byteorder == "big")
    message.step = values.nbytes // max(height, 1)
    fill(message.data, values)
    return message


def jpeg_message(picture: NDArray[np.uint8], header: Any) -> CompressedImage:
    """A sensor_msgs/CompressedImage of a picture (H, W, 3) uint8 RGB."""
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    assert encoded
    message = CompressedImage(header=header, format="rgb8; jpeg compressed bgr8")
    fill(message.data, data)
    return message


def fill(data: array.array[int], values: Pixels) -> None:
    """Put the bytes of an array into the data of a message.

    It is done in place: assigning `data` would copy it, or look at each byte. Where the size is as it was, the memory
    is used again, which saves more than the copy costs, as the system hands out fresh memory page by page.
    """
    values = np.ascontiguousarray(values)
    if len(data) != values.nbytes:
        del data[:]
        data.frombytes(values.data.cast("B") if values.size else b"")
    elif values.size:
        np.frombuffer(data, dtype=values.dtype)[:] = values.ravel()


def depth_to_millimetres(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Metres as rounded millimetres (H, W) uint16; 0 for NaN, infinity, what is not above 0, and beyond 65.535 m."""
    with np.errstate(invalid="ignore", over="ignore"):
        millimetres = depth * np.float32(MM_PER_M)
        np.rint(millimetres, out=millimetres)
        millimetres[~((millimetres > 0) & (millimetres <= MAX_MM))] = 0
    whole: NDArray[np.uint16] = millimetres.astype(np.uint16)
    return whole


def _pixels(message: Any, dtype: str, channels: int, rows: int) -> tuple[Pixels, tuple[str, ...]]:
    """The pixels (rows, W, channels), or (rows, W) for one channel, in the machine's byte order, and notes.

    It is a view of the message's data wherever that is possible.
    """
    height, width, step = int(message.height), int(message.width), int(message.step)
    if height < 1 or width < 1:
        raise MessageError("empty_image", f"The image is {width}x{height}.")
    size = np.dtype(dtype).itemsize * channels
    available = len(message.data)
    _check_claim(width, height)
    if step < width * size:
        raise MessageError("bad_step", f"The image's step is {step} bytes; {width} pixels of {size} need more.")
    # The last row need not be padded.
    if available < step * (rows - 1) + width * size:
        raise MessageError("short_data", f"The image has {available} bytes; {rows} rows of {step} need more.")
    notes: tuple[str, ...] = ()
    if available > step * rows:
        notes += ("extra_data",)
    if step > width * size:
        notes += ("padded_rows",)
    order = ">" if message.is_bigendian and np.dtype(dtype).itemsize > 1 else "<"
    if order == ">":
        notes += ("big_endian",)
    shape, strides = (rows, width, channels), (step, size, np.dtype(dtype).itemsize)
    data = message.data if not isinstance(message.data, list) else bytes(message.data)
    pixels: Pixels = np.ndarray(shape, np.dtype(order + dtype), buffer=data, strides=strides)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return (pixels[..., 0] if channels == 1 else pixels), notes


def _featureless(image: NDArray[np.uint8]) -> tuple[str, ...]:
    """The note for a picture of one even colour; most are seen not to be within a few rows."""
    for part in (image[:: max(1, len(image) // 8)], image):
        values = part.ravel()
        if (values[3:] != values[:-3]).any():
            return ()
    return ("featureless",)


def check_png(data: bytes) -> None:
    """Refuse a PNG that claims more pixels than any camera has, or parts longer than itself, before OpenCV takes memory
    for them. Bytes behind the end do not matter."""
    position = len(_PNG)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IHDR" and position + 16 <= len(data):
            _check_claim(*struct.unpack_from(">II", data, position + 8))
        if kind == b"IEND":
            return
        position += 12 + length
    raise _cut(data)


def _check_jpeg(data: bytes) -> None:
    """Refuse a JPEG that claims more pixels than any camera has, or has no end: OpenCV before 5 fills with grey.

    The end of a thumbnail comes before the last scan, and within a scan its bytes cannot occur. Bytes behind the end do
    not matter: some drivers hand over their whole buffer.
    """
    position = data.find(b"\xff", len(_JPEG))
    while position >= 0 and position + 9 <= len(data):
        marker = data[position + 1]
        if marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            _check_claim(width, height)
            break
        if marker in _JPEG_BARE:
            position += 2
        elif marker == 0xFF:  # fills up to the next marker
            position += 1
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        position = data.find(b"\xff", position)
    if data.rfind(_JPEG_END) <= data.rfind(_JPEG_SCAN):
        raise _cut(data)


def _check_claim(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise MessageError("too_large", f"The image claims {width}x{height} pixels; the most is {MAX_PIXELS}.")


def _cut(data: bytes) -> MessageError:
    return MessageError("bad_compressed", f"The compressed image of {len(data)} bytes is cut or damaged.")


def _from_cv_bridge(message: Any) -> NDArray[np.uint8]:
    """An encoding that is not ours, by the cv_bridge of a ROS distribution; the package of that name on the package
    index is another one, without the compiled half, and silently wrong."""
    encoding = message.encoding
    try:
        from cv_bridge import CvBridge
        from cv_bridge.boost import cv_bridge_boost  # noqa: F401
    except Exception:  # one that was built for another numpy raises many kinds
        known = ", ".join(LAYOUTS)
        raise MessageError("bad_encoding", f"The encoding {encoding!r} is unknown; give {known}.") from None
    try:
        image = np.ascontiguousarray(CvBridge().imgmsg_to_cv2(message, "rgb8"))
    except Exception as error:  # it raises many kinds
        reason = str(error).partition("\n")[0]
        raise MessageError("bad_encoding", f"The encoding {encoding!r} failed in cv_bridge: {reason}.") from error
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        found = f"{image.shape} {image.dtype}"
        raise MessageError("bad_encoding", f"The encoding {encoding!r} became {found} in cv_bridge, not rgb8.")
    return image
