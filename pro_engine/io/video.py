"""Videos: read frame after frame as upright 8-bit RGB, write as MP4. PyAV, the extra `video`, brings FFmpeg for both.

Nothing is held but the frames that a codec needs itself. FFmpeg gets no threads of its own: glibc before 2.41 loses a
wake-up now and then (its bug 25847), and FFmpeg then waits for its threads for ever. A network takes far longer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from pro_engine.errors import DependencyError, FileError, InputError
from pro_engine.geometry.checks import check_image
from pro_engine.io.atomic import atomic_path
from pro_engine.io.paths import (
    MAX_PIXELS,
    PathLike,
    as_path,
    check_max_pixels,
    check_size,
    readable_file,
    writing_failed,
)
from pro_engine.types import ImageArray

if TYPE_CHECKING:
    from collections.abc import Callable

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts"}
    | {".webm", ".wmv"}
)
"""Suffixes, in lower case, of files that are taken for videos."""

# Numbers of FFmpeg's AVColorSpace, AVColorRange and AVColorTransferCharacteristic; PyAV gives them as they are.
_BT601, _BT709 = 5, 1
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}  # to the numbers of SWS_CS, by which PyAV converts
_FULL_RANGE = 2
_HDR = {16: "PQ", 18: "HLG"}
_SLACK_FRAMES, _SLACK_S = 3, 0.25
"""How much less than the length tells is no sign of a damaged end."""
_HD_LINES = 720
"""From this height on, videos that do not name their matrix are taken to have that of BT.709; smaller ones BT.601's."""

_TIME_BASE = Fraction(1, 60_000)  # MPEG-4 has room for 65535
_THREADS = 1  # of FFmpeg, see above
_CODECS = (("libx264", {"crf": "20", "preset": "veryfast"}), ("mpeg4", {"qmin": "2", "qmax": "4"}))
"""What a video is written with: the first that PyAV's FFmpeg has."""


@dataclass(frozen=True)
class VideoFrame:
    """A frame of a video: its number, from 1, its time in seconds after the first one, and a way to its pixels.

    `image()` gives (H, W, 3) uint8 sRGB, upright, with square pixels; it may be called once or more, or not at all.
    """

    number: int
    time_s: float
    image: Callable[[], ImageArray]


class VideoReader:
    """The frames of a video, in the order in which they are shown; made by `open_video`.

    Attributes:
        expected: how many frames there should be, by what the file says or its length; None where nothing tells.
        notes: what was found or assumed, a sentence each; complete once the frames are read.
        fault: why frames are missing, in a sentence, or None; known once the frames are read.
    """

    def __init__(self, path: Path, container: Any, max_pixels: int) -> None:
        self.path = path
        self.notes: tuple[str, ...] = ()
        self.fault: str | None = None
        self._container, self._max_pixels = container, max_pixels
        self._stream = _stream_of(container, path)
        self._rate = float(self._stream.average_rate or self._stream.guessed_rate or 25)
        self._length_s = self._told_length_s()
        by_length = None if self._length_s is None else max(1, round(self._length_s * self._rate))
        self.expected: int | None = self._stream.frames or by_length
        aspect = self._stream.sample_aspect_ratio
        self._aspect = float(aspect) if aspect else 1.0
        context = self._stream.codec_context
        context.thread_count = _THREADS
        check_size(path, *self._square(context.width, context.height), max_pixels)
        if self._aspect != 1:
            self.notes += (f"Its pixels are {self._aspect:.3g} times as wide as high; the frames were made square.",)

    def _square(self, width: int, height: int) -> tuple[int, int]:
        """Width and height with square pixels; 0 stays 0."""
        return max(min(width, 1), round(width * self._aspect)), height

    def _told_length_s(self) -> float | None:
        """How long the pictures last; what is told of the whole file may be the length of its sound."""
        if self._stream.duration:
            return float(self._stream.duration * self._stream.time_base)
        if self._container.duration and not self._container.streams.audio:
            return float(self._container.duration) / 1e6
        return None

    def __iter__(self) -> Iterator[VideoFrame]:
        start_s, last_s, end_s, number = None, -1 / self._rate, 0.0, 0
        for number, frame in enumerate(self._decoded(), 1):
            if number == 1 and frame.color_trc in _HDR:
                self.notes += (f"It is HDR ({_HDR[frame.color_trc]}), which was read without tone mapping.",)
            next_s = last_s + 1 / self._rate
            if frame.time is not None:
                start_s = frame.time - next_s if start_s is None else start_s
                next_s = frame.time - start_s if frame.time - start_s > last_s else next_s
            last_s, end_s = next_s, next_s + max(1 / self._rate, float((frame.duration or 0) * frame.time_base))
            yield VideoFrame(number, last_s, partial(self._image, frame))
        if number == 0:
            why = f" ({self.fault})" if self.fault else ""
            raise FileError(f"{self.path} holds no frame that can be decoded{why}; copy or export it again.")
        if self._length_s is not None and end_s < self._length_s - max(_SLACK_FRAMES / self._rate, _SLACK_S):
            self.fault = self.fault or "it is cut short"
        if self.fault is not None:
            of = f" of about {self.expected}" if self.expected else ""
            self.fault = f"The video is damaged ({self.fault}): {number}{of} frames could be read."

    def _decoded(self) -> Iterator[Any]:
        """Frames as the codec gives them, as far as they can be read."""
        import av

        lost = 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                self.fault, packet = _reason(error), None
            try:
                yield from self._stream.codec_context.decode(packet)
            except av.EOFError:  # the packets ended with an empty one, which asks for the last frames
                pass
            except av.FFmpegError:
                lost += 1
            if packet is None:
                break
        if lost:
            self.fault = self.fault or f"{lost} of its packets cannot be decoded"

    def _image(self, frame: Any) -> ImageArray:
        width, height = self._square(frame.width, frame.height)
        check_size(self.path, width, height, self._max_pixels)
        matrix = _MATRICES.get(frame.colorspace) or (_BT709 if frame.height >= _HD_LINES else _BT601)
        is_full = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
        pixels = frame.reformat(
            width=width,
            format="rgb24",
            src_colorspace=matrix,
            src_color_range="JPEG" if is_full else "MPEG",
            dst_color_range="JPEG",
            threads=_THREADS,
        )
        return _upright(pixels.to_ndarray(), frame)


@contextmanager
def open_video(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> Iterator[VideoReader]:
    """A video, open for reading while the block runs. The content decides the format, not the suffix.

    Pixels are converted by the matrix and range that the file names (BT.601 below 720 lines and BT.709 from there on,
    and limited range, where it names none), turned upright, and made square. Frames of more than 8 bits are rounded.

    Args:
        path: the file.
        max_pixels: the largest width x height of a frame that is decoded.

    Raises:
        FileError: missing, a folder, empty, no video, without pictures, too large, or without a frame that can be read.
            Of a video that is damaged further on the frames are read that can be; it has a `fault` then.
        DependencyError: PyAV is not installed.
        InputError: `path` is not a path, or `max_pixels` is not a whole number above 0.
    """
    check_max_pixels(max_pixels)
    source = readable_file(path)
    av = _pyav(f"{source} is a video, which")
    with contextlib.ExitStack() as stack:
        try:  # a list of files that poses as a video must not reach into the network
            whole = str(source.absolute())  # FFmpeg would take what is before a colon for a protocol
            container = stack.enter_context(
                av.open(whole, options={"protocol_whitelist": "file"}, metadata_errors="replace")
            )
        except (av.FFmpegError, OSError) as error:
            raise FileError(
                f"{source} is truncated, damaged or no video ({_reason(error)}); copy or export it again."
            ) from error
        yield VideoReader(source, container, max_pixels)


class VideoWriter:
    """Writes an MP4 video, atomically: `path` is there once the block that this opens has ended well.

    The first frame decides the size, later ones are resized to it. A block that writes no frame leaves no file. Odd
    sizes lose a row or a column.

    Args:
        path: a file with the suffix .mp4.

    Raises:
        DependencyError: PyAV is not installed. FileError: another suffix, or the system refuses.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = as_path(path)
        if self.path.suffix.lower() != ".mp4":
            raise FileError(f"{self.path} has the suffix {self.path.suffix!r}; give a video .mp4.")
        self._av = _pyav(f"Writing {self.path}")
        self._open = contextlib.ExitStack()
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, image: ImageArray, time_s: float) -> None:
        """Add a frame, (H, W, 3) uint8 sRGB, that is shown `time_s` after the first; times must rise.

        Raises:
            InputError: not such an array, or of less than 2 pixels a side. FileError: the system refuses.
        """
        check_image(image)
        with self._told():
            if self._stream is None:
                self._begin(image)
            width, height = self._stream.width, self._stream.height
            if image.shape[0] not in (height, height + 1) or image.shape[1] not in (width, width + 1):
                image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
            frame = frame.reformat(
                format="yuv420p",
                dst_colorspace="ITU709",
                src_color_range="JPEG",
                dst_color_range="MPEG",
                threads=_THREADS,
            )
            frame.pts, frame.time_base = round(time_s / _TIME_BASE), _TIME_BASE
            self._container.mux(self._stream.encode(frame))

    def _begin(self, image: ImageArray) -> None:
        height, width = (side // 2 * 2 for side in image.shape[:2])
        if min(height, width) == 0:
            raise InputError(f"A frame is {image.shape[1]}x{image.shape[0]}; a video needs 2 pixels a side.")
        temporary = self._open.enter_context(atomic_path(self.path))
        self._container = self._av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"})
        self._open.callback(self._container.close)
        name, options = next((n, o) for n, o in _CODECS if n in self._av.codecs_available)
        self._stream = self._container.add_stream(name, rate=25, options=options)
        context = self._stream.codec_context
        context.width, context.height, context.pix_fmt, context.time_base = width, height, "yuv420p", _TIME_BASE
        context.thread_count = _THREADS
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = 1  # BT.709, limited

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None and self._stream is not None:
                with self._told():
                    self._container.mux(self._stream.encode(None))
        except BaseException as failed:
            self._open.__exit__(type(failed), failed, failed.__traceback__)
            raise
        self._open.__exit__(kind, error, trace)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._av.FFmpegError as error:
            raise writing_failed(self.path, OSError(error.errno, error.strerror)) from error


def _pyav(what: str) -> Any:
    """The package, imported late."""
    try:
        import av
    except ImportError as error:
        raise DependencyError(f"{what} needs the extra video; run: pip install 'pro-engine[video]'.") from error
    return av


def _stream_of(container: Any, path: Path) -> Any:
    """The stream of moving pictures that counts; neither sound nor the picture of a cover."""
    import av

    cover = av.stream.Disposition.attached_pic
    pictures = [one for one in container.streams.video if not one.disposition & cover]
    streams = [one for one in pictures if one.codec_context is not None]
    if pictures and not streams:
        raise FileError(f"{path} is coded in a way that this FFmpeg does not know; convert it to H.264 in MP4.")
    if not streams:
        held = "only sound" if container.streams.audio else "no pictures"
        raise FileError(f"{path} holds {held}; give a video with moving pictures.")
    best = container.streams.best("video")
    return best if best in streams else streams[0]


def _upright(image: ImageArray, frame: Any) -> ImageArray:
    """The picture turned and mirrored as the frame's display matrix says, to the nearest right angle.

    The matrix takes a pixel (x, y) to (a x + c y, b x + d y); its numbers are stored as a, b, u, c, d, v, x, y, w.
    """
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return image
    a, b, _, c, d = np.frombuffer(side_data, np.int32)[:5]
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _reason(error: Exception) -> str:
    """What FFmpeg says, without its number and the path."""
    return str(getattr(error, "strerror", None) or error)
