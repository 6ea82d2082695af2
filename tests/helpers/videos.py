"""Small videos of known frames, written by PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

EXACT = {"qp": "0", "preset": "ultrafast"}


def frame(number: int, width: int = 160, height: int = 120) -> np.ndarray:
    """Smooth colours, a red corner at the top left, and a white square that moves with the number, from 1."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([60 + 0 * x, 60 + x * 120 // width, 60 + y * 120 // height], axis=2).astype(np.uint8)
    image[: height // 4, : width // 4] = (200, 40, 40)
    image[height // 2 : height // 2 + 16, 8 * number : 8 * number + 16] = 255
    return image


def number_of(image: np.ndarray) -> int:
    """Which frame it is, by its square."""
    row = image[image.shape[0] // 2 + 8].astype(int).sum(1)
    return round(float(np.flatnonzero(row > 720).mean() - 7.5) / 8)


def write_video(
    path: Path,
    count: int = 6,
    *,
    size: tuple[int, int] = (160, 120),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    full: bool = False,
    matrix: int = 1,
    named: bool = True,
    rotate: float = 0,
    mirror: bool = False,
    aspect: Fraction | None = None,
    times_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    transfer: int = 1,
) -> Path:
    """A video of `frame(1)`, `frame(2)`, ... at 25 frames a second or at `times_ms`.

    full, matrix: colours as they are stored, the matrix by its number: 1 BT.709, 5 BT.601, 9 BT.2020; `named`: whether
    the file says so. rotate: degrees counterclockwise by which a player turns the frames, before it mirrors them.
    container, options: FFmpeg's, of the file and of the codec.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path.absolute()), "w", options=container or {"movflags": "faststart"}) as file:
        stream: Any = file.add_stream(codec, rate=25, options=EXACT if options is None else options)
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], pixels
        context = stream.codec_context
        context.thread_count = 1  # threads of FFmpeg may stand still for ever, see pro_engine/io/video.py
        context.time_base = tick = Fraction(1, 1000) if times_ms else Fraction(1, 25)
        if named:
            context.color_range, context.colorspace, context.color_primaries = 2 if full else 1, matrix, 1
            context.color_trc = transfer
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if rotate or mirror:
            stream.set_display_rotation(rotate, hflip=mirror)
        for number in range(1, count + 1):
            picture = av.VideoFrame.from_ndarray(frame(number, *size), format="rgb24")
            stored = picture.reformat(
                format=pixels,
                dst_colorspace=matrix,
                src_color_range="JPEG",
                dst_color_range="JPEG" if full else "MPEG",
                threads=1,
            )
            stored.pts, stored.time_base = (times_ms or range(count))[number - 1], tick
            file.mux(stream.encode(stored))
        file.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    """A file with sound alone."""
    import av

    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.rate, sound.pts = 8000, 0
        file.mux(stream.encode(sound))
        file.mux(stream.encode(None))
    return path
