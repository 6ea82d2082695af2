"""Camera info to the lens of an image, and back to the camera info of its depth image.

sensor_msgs/CameraInfo: K, D, R and P are of the full, unbinned sensor; the image is its region of interest, binned.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo

import pro_engine as pro
from ros2_pro.faults import MessageError
from ros2_pro.messages.distortion import Distortion, Numbers, Slopes, bent_slopes

SHAPE_TOLERANCE = 0.01  # relative difference of aspect ratios up to which another image size is a scaled one
MIN_FOCAL, MAX_FOCAL = 1e-3, 1e6  # widths of the image; beyond, the rays are not those of a camera
UNEQUAL_FOCAL = 0.1  # relative difference of fx and fy that is told
STRAIGHT = 1e-12  # distortion coefficients below this bend nothing
_RECTIFIED = {"rect", "rectified"}
_FISHEYE = ("equidistant", "fisheye")
_RADIAL, _ANGULAR = (4, 5, 8, 12, 14), (4,)
_COEFFICIENTS = {
    "plumb_bob": _RADIAL, "rational_polynomial": _RADIAL, **dict.fromkeys(_FISHEYE, _ANGULAR),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class CameraModel:
    """How an image was seen.

    intrinsics: of the image as it arrives, its distortion left out.
    slopes: x / z and y / z of the ray through every pixel; (W,) and (H,) float32 for a straight lens, both (H, W) where
        the image is distorted, NaN where no ray leads.
    rectified: whether the image is.
    notes: keys of `causes.NOTES`.
    distortion: that the slopes follow; None for a straight lens.
    """

    intrinsics: pro.Intrinsics
    slopes: tuple[Slopes, Slopes]
    rectified: bool = True
    notes: tuple[str, ...] = ()
    distortion: Distortion | None = None

    @property
    def is_straight(self) -> bool:
        """Whether consumers that know K or P alone find the right rays."""
        return self.distortion is None and "unknown_distortion" not in self.notes

    def pixels(self, x_slope: Numbers, y_slope: Numbers) -> tuple[Numbers, Numbers]:
        """Columns and rows in which rays are seen, by their x / z and y / z; inside the image or not, NaN for rays
        that a bent lens does not see."""
        k = self.intrinsics
        if self.distortion is not None:
            x_slope, y_slope = self.distortion.bend(x_slope, y_slope)
        return x_slope * k.fx + k.cx, y_slope * k.fy + k.cy


def is_rectified(topic: str, setting: str) -> bool:
    """Whether images of a topic are rectified: by the setting input.rectified, or for `auto` if the topic's name has
    the word rect or rectified, as `left/image_rect_color/compressed` and `rgb/rect/image` do."""
    words = re.split(r"[/_]", topic.lower())
    return setting == "yes" or (setting == "auto" and not _RECTIFIED.isdisjoint(words))


def guessed_lens(width: int, height: int, fov_x_deg: float) -> CameraModel:
    """A centred lens of this horizontal field of view."""
    return _straight(pro.Intrinsics.from_fov(width, height, fov_x_deg=fov_x_deg))


def lens_from_info(info: Any, width: int, height: int, *, rectified: bool) -> CameraModel:
    """The lens of an image of `width` x `height` pixels.

    For a rectified image it is that of P (K where P is zero), otherwise that of K with the distortion D (P, and no
    distortion, where K is zero, as of cameras that only tell how their rectified image is seen). Region of
    interest and binning are applied (`do_rectify` changes nothing: rectified images keep the offset and size of the raw
    part); camera info of another image size but the same shape is scaled.

    Raises:
        MessageError: "bad_camera_info" for focal lengths that are not above 0 or numbers that are not finite or absurd,
            for a distortion that no ray passes, and for another shape than the image's.
    """
    p, k = [float(value) for value in info.p], [float(value) for value in info.k]
    rectified = rectified or (not k[0] and p[0] > 0)
    fx, fy, cx, cy = (p[0], p[5], p[2], p[6]) if rectified and p[0] else (k[0], k[4], k[2], k[5])
    if not all(map(math.isfinite, (fx, fy, cx, cy))) or fx <= 0 or fy <= 0:
        raise MessageError(
            "bad_camera_info", f"The camera info has focal lengths {fx:g} and {fy:g}; calibrate the camera."
        )
    x0, y0, seen_width, seen_height, binning_x, binning_y = _window(info, width, height)
    notes: tuple[str, ...] = ()
    if (seen_width, seen_height) != (width, height):
        notes += ("camera_info_scaled",)
    if _is_odd(info, cx, cy):
        notes += ("camera_info_odd",)
    # Edges map to edges: pixel centres are integers, so half a pixel goes off and on again.
    sx, sy = width / seen_width / binning_x, height / seen_height / binning_y
    fx, fy, cx, cy = fx * sx, fy * sy, (cx - x0 + 0.5) * sx - 0.5, (cy - y0 + 0.5) * sy - 0.5
    if min(fx, fy) < MIN_FOCAL * width or max(fx, fy, abs(cx), abs(cy)) > MAX_FOCAL * width:
        raise MessageError(
            "bad_camera_info",
            f"The camera info gives focal lengths {fx:g} and {fy:g} and centre {cx:g}, {cy:g} for an image of "
            f"{width}x{height} pixels; calibrate the camera.",
        )
    intrinsics = pro.Intrinsics(fx, fy, cx, cy, width, height)
    if abs(intrinsics.fx - intrinsics.fy) > UNEQUAL_FOCAL * max(intrinsics.fx, intrinsics.fy):
        notes += ("unequal_focal",)
    d = tuple(float(value) for value in info.d)
    if rectified or all(abs(value) <= STRAIGHT for value in d):
        return _straight(intrinsics, rectified=rectified, notes=notes)
    model = str(info.distortion_model).lower()
    coefficients = _coefficients(model, d)
    if coefficients is None:
        return _straight(intrinsics, rectified=False, notes=(*notes, "unknown_distortion"))
    distortion = Distortion(coefficients, model in _FISHEYE)
    matrix = (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy)
    slopes = _bent_slopes(matrix, width, height, distortion)
    if np.isnan(slopes[0][:: max(1, height // 64), :: max(1, width // 64)]).all():
        raise MessageError("bad_camera_info", f"No ray leads through a lens of distortion {d}; calibrate the camera.")
    return CameraModel(intrinsics, slopes, False, (*notes, "distorted"), distortion)


def unknown_distortion(info: Any) -> str:
    """A sentence on a distortion model that is not known here, or has another number of coefficients."""
    return (
        f"The distortion model {info.distortion_model!r} with {len(info.d)} coefficients is unknown and was ignored: "
        "points are off away from the middle. Give a rectified image, or one of "
        f"{', '.join(_COEFFICIENTS)} with {' or '.join(map(str, _RADIAL))} (fisheye: {_ANGULAR[0]}) coefficients."
    )


def info_message(source: Any, lens: CameraModel, header: Any) -> CameraInfo:
    """The camera info of the depth image: its header and size, and a K and P that fit them.

    source: the camera's own info, or None; it is not changed. Distortion is kept where the depth image stays bent;
    region of interest and binning are folded into K.
    """
    k = lens.intrinsics
    bent = source is not None and not lens.rectified
    message = CameraInfo(
        header=header,
        height=k.height,
        width=k.width,
        distortion_model=source.distortion_model if bent else "plumb_bob",
        d=list(source.d) if bent else [0.0] * 5,
        k=[k.fx, 0.0, k.cx, 0.0, k.fy, k.cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[k.fx, 0.0, k.cx, 0.0, 0.0, k.fy, k.cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )
    return message


def _window(info: Any, width: int, height: int) -> tuple[int, int, float, float, int, int]:
    """The part of the sensor that the image shows.

    Returns:
        x and y offset in pixels of the full sensor, width and height of the part in binned pixels, binning in x and y.

    Raises:
        MessageError: the part's shape is not that of the image.
    """
    binning_x, binning_y = max(1, int(info.binning_x)), max(1, int(info.binning_y))
    roi = info.roi
    seen_width, seen_height = int(roi.width) or int(info.width), int(roi.height) or int(info.height)
    if not seen_width or not seen_height:  # the camera does not say: its image is meant
        return int(roi.x_offset), int(roi.y_offset), width, height, binning_x, binning_y
    part_width, part_height = seen_width / binning_x, seen_height / binning_y
    if abs(part_width - width) < 1 and abs(part_height - height) < 1:  # what is left of a last block is cut or kept
        part_width, part_height = width, height
    if abs(math.log(part_width / part_height * height / width)) > SHAPE_TOLERANCE:
        raise MessageError(
            "bad_camera_info",
            f"The camera info is of a {seen_width}x{seen_height} image, this one is {width}x{height}, another shape.",
        )
    return int(roi.x_offset), int(roi.y_offset), part_width, part_height, binning_x, binning_y


def _straight(intrinsics: pro.Intrinsics, *, rectified: bool = True, notes: tuple[str, ...] = ()) -> CameraModel:
    columns = (np.arange(intrinsics.width) - intrinsics.cx) / intrinsics.fx
    rows = (np.arange(intrinsics.height) - intrinsics.cy) / intrinsics.fy
    return CameraModel(intrinsics, (columns.astype(np.float32), rows.astype(np.float32)), rectified, notes)


def _is_odd(info: Any, cx: float, cy: float) -> bool:
    """Whether the centre, or the region of interest, is outside the sensor, as with numbers of another image size."""
    roi = info.roi
    sides = ((cx, roi.x_offset + roi.width, info.width), (cy, roi.y_offset + roi.height, info.height))
    return any(side and not (0 <= center < side and end <= side) for center, end, side in sides)


def _coefficients(model: str, d: tuple[float, ...]) -> tuple[float, ...] | None:
    """The coefficients of a model that is known, without zeros at the end that are none of its; else None."""
    lengths = _COEFFICIENTS.get(model, ())
    while len(d) > max(lengths, default=len(d)) and d[-1] == 0:
        d = d[:-1]
    return d if len(d) in lengths and all(map(math.isfinite, d)) else None


@lru_cache(maxsize=2)
def _bent_slopes(
    matrix: tuple[float, float, float, float], width: int, height: int, distortion: Distortion
) -> tuple[Slopes, Slopes]:
    """Slopes of all pixels of a distorted image; a second of work at 4K, hence kept, and not to be written to."""
    slopes = bent_slopes(matrix, width, height, distortion)
    for slope in slopes:
        slope.setflags(write=False)
    return slopes
