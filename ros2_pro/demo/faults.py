"""Faults of cameras, each under the name of the cause that the node counts for it."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any

NONE, CYCLE = "none", "cycle"
HUGE = 2**31  # rows and columns


@dataclass
class Capture:
    """The messages of one picture; None is not sent. `compressed` is None where none is wanted."""

    image: Any
    info: Any
    compressed: Any = None


def faults_from(text: str) -> Iterator[str] | None:
    """Names of faults without end, from `none` (gives None), `cycle`, or names with commas between them.

    Raises:
        ValueError: an unknown name.
    """
    if text == NONE:
        return None
    names = list(FAULTS) if text == CYCLE else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in FAULTS:
            raise ValueError(f"faults names {name!r}; give {NONE}, {CYCLE}, or some of {', '.join(FAULTS)}.")
    return cycle(names)


def _bad_encoding(shot: Capture) -> None:
    shot.image.encoding = "rgb🙂"


def _short_data(shot: Capture) -> None:
    shot.image.data = shot.image.data[:-1]


def _extra_data(shot: Capture) -> None:
    shot.image.data = shot.image.data + array.array("B", bytes(64))


def _bad_step(shot: Capture) -> None:
    shot.image.step = shot.image.width - 1


def _padded_rows(shot: Capture) -> None:
    image, padding = shot.image, bytes(32)
    rows = memoryview(image.data)
    padded = (bytes(rows[row * image.step : (row + 1) * image.step]) + padding for row in range(image.height))
    _fill(image, b"".join(padded), step=image.step + len(padding))


def _empty_image(shot: Capture) -> None:
    shot.image.height = 0
    _fill(shot.image, b"", step=0)


def _too_large(shot: Capture) -> None:
    shot.image.width = shot.image.height = HUGE
    _fill(shot.image, b"", step=shot.image.step)


def _too_small(shot: Capture) -> None:
    _reshape(shot.image, "mono8", 1, 1, b"\x7f")


def _big_endian(shot: Capture) -> None:
    image = shot.image
    _reshape(image, "mono16", image.width, image.height, bytes(range(0, 256, 2)) * 2, is_bigendian=1)


def _nonfinite_input(shot: Capture) -> None:
    image = shot.image
    values = array.array("f", [0.5, float("nan"), 0.25, float("inf")])
    _reshape(image, "32FC1", image.width, image.height, values.tobytes())


def _featureless(shot: Capture) -> None:
    _reshape(shot.image, "mono8", shot.image.width, shot.image.height, b"\x80")


def _size_changed(shot: Capture) -> None:
    _reshape(shot.image, "mono8", shot.image.width // 2 + 1, shot.image.height // 2 + 1, bytes(range(256)))


def _encoding_changed(shot: Capture) -> None:
    _reshape(shot.image, "mono8", shot.image.width, shot.image.height, bytes(range(256)))


def _bad_compressed(shot: Capture) -> None:
    if shot.compressed is not None:
        shot.compressed.data = shot.compressed.data[:200]


def _no_camera_info(shot: Capture) -> None:
    shot.info = None


def _camera_info_late(shot: Capture) -> None:
    shot.info.header.stamp.sec -= 10


def _bad_camera_info(shot: Capture) -> None:
    shot.info.k, shot.info.p = [0.0] * 9, [0.0] * 12


def _camera_info_scaled(shot: Capture) -> None:
    shot.info.width, shot.info.height = shot.info.width // 2, shot.info.height // 2
    shot.info.k = [*(value / 2 for value in shot.info.k[:8]), 1.0]
    shot.info.p = [*(value / 2 for value in shot.info.p[:10]), 1.0, 0.0]


def _unequal_focal(shot: Capture) -> None:
    shot.info.k[4] *= 1.2
    shot.info.p[5] *= 1.2


def _distorted(shot: Capture) -> None:
    shot.info.d = [-0.2, 0.05, 0.0, 0.0, 0.0]


def _unknown_distortion(shot: Capture) -> None:
    shot.info.distortion_model, shot.info.d = "kaleidoscope", [0.1]


def _empty_frame_id(shot: Capture) -> None:
    shot.image.header.frame_id = ""


def _time_jump(shot: Capture) -> None:
    shot.image.header.stamp.sec = shot.image.header.stamp.nanosec = 0


def _fill(image: Any, data: bytes, *, step: int) -> None:
    image.data = array.array("B", data)
    image.step = step


def _reshape(image: Any, encoding: str, width: int, height: int, pattern: bytes, *, is_bigendian: int = 0) -> None:
    """Another picture instead: `pattern` repeated over all its rows."""
    pixel = {"mono8": 1, "mono16": 2, "32FC1": 4}[encoding]
    size = width * height * pixel
    image.encoding, image.width, image.height, image.is_bigendian = encoding, width, height, is_bigendian
    _fill(image, (pattern * (size // len(pattern) + 1))[:size], step=width * pixel)


FAULTS: dict[str, Callable[[Capture], None]] = {
    "bad_encoding": _bad_encoding,
    "short_data": _short_data,
    "extra_data": _extra_data,
    "bad_step": _bad_step,
    "padded_rows": _padded_rows,
    "empty_image": _empty_image,
    "too_large": _too_large,
    "too_small": _too_small,
    "big_endian": _big_endian,
    "nonfinite_input": _nonfinite_input,
    "featureless": _featureless,
    "size_changed": _size_changed,
    "encoding_changed": _encoding_changed,
    "bad_compressed": _bad_compressed,
    "no_camera_info": _no_camera_info,
    "camera_info_late": _camera_info_late,
    "bad_camera_info": _bad_camera_info,
    "camera_info_scaled": _camera_info_scaled,
    "unequal_focal": _unequal_focal,
    "distorted": _distorted,
    "unknown_distortion": _unknown_distortion,
    "empty_frame_id": _empty_frame_id,
    "time_jump": _time_jump,
}
