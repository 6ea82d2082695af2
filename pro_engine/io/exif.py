"""What EXIF says about the camera: which way up it was held, and the focal length in pixels.

Tags as in the EXIF 2.32 standard (CIPA DC-008), sections 4.6.4 and 4.6.5.
"""

from __future__ import annotations

import logging
import math
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from pro_engine.types import Intrinsics

_log = logging.getLogger(__name__)

_DAMAGE = (OSError, SyntaxError, ValueError, KeyError, IndexError, TypeError, EOFError, struct.error)
_BIG_TIFF = (b"+\0", b"\0+")
_MM_PER_FOCAL_PLANE_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_DEFAULT_FOCAL_PLANE_UNIT = 2
_PLAUSIBLE_FOV_DEG = (0.5, 170.0)
_SENSOR_MM = (2.0, 60.0)  # the width of sensors, from those of phones to medium format
_DIAGONAL_35MM = math.hypot(36.0, 24.0)
_SAME_SHAPE = 0.02
_SAME_FOCAL = 0.15
_CUT_AT_FULL_SIZE = 0.5  # the share of a side of the shot from which on a crop was hardly made smaller
_TURNED_BY_A_QUARTER = (5, 6, 7, 8)


def read_exif(picture: Image.Image) -> Image.Exif:
    """The EXIF data of a picture; empty where there is none or it is damaged, since the pixels may still be sound."""
    try:
        exif = picture.getexif()
        exif.get_ifd(ExifTags.IFD.Exif)
    except _DAMAGE as error:
        _log.warning("The EXIF data of %s is damaged and left out: %s", getattr(picture, "filename", ""), error)
        return Image.Exif()
    return exif


def of_tiff(path: Path) -> Image.Exif:
    """The EXIF data of a file built like a TIFF, which belongs to its first picture; empty as of `read_exif`."""
    tags = Image.Exif()
    try:
        with open(path, "rb") as file:
            if file.read(4)[2:] in _BIG_TIFF:  # which only the reader of pictures knows
                with Image.open(path, formats=("TIFF",)) as picture:
                    return read_exif(picture)
            file.seek(0)
            tags.load_from_fp(file)
            tags.get_ifd(ExifTags.IFD.Exif)
    except _DAMAGE as error:
        _log.warning("The EXIF data of %s is damaged and left out: %s", path, error)
        return Image.Exif()
    return tags


def orientation(exif: Image.Exif) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where the tag is missing or out of range."""
    value = exif.get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def stored_view(upright: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """A view of the upright image (H, W, 3) in which rows and columns lie as the file stores them.

    Writing stored rows into this view turns the image without a second copy of it.

    Args:
        upright: the image to fill, in its final shape.
        turn: EXIF orientation, 1 to 8.
    """
    view = upright.swapaxes(0, 1) if turn in _TURNED_BY_A_QUARTER else upright
    rows = slice(None, None, -1) if turn in (3, 4, 6, 7) else slice(None)
    columns = slice(None, None, -1) if turn in (2, 3, 7, 8) else slice(None)
    return view[rows, columns]


def upright_size(width: int, height: int, turn: int) -> tuple[int, int]:
    """(width, height) of a stored image once it is turned by EXIF orientation `turn`."""
    return (height, width) if turn in _TURNED_BY_A_QUARTER else (width, height)


@dataclass(frozen=True)
class ExifCamera:
    """What EXIF tells of the lens: intrinsics of the upright image or None, whether to rely on them, and notes."""

    intrinsics: Intrinsics | None = None
    is_sure: bool = True
    notes: tuple[str, ...] = ()


def camera(exif: Image.Exif, width: int, height: int, turn: int) -> ExifCamera:
    """The camera of the upright image, as a centred lens.

    FocalLengthIn35mmFilm is preferred; otherwise FocalLength with the sensor's FocalPlaneXResolution (and Y). Both are
    those of the shot as taken, whose size is ExifImageWidth x ExifImageHeight. A file of the same shape is a smaller or
    larger copy; one of another shape was cropped. Editors often leave such tags wrong: a lens or a sensor that cannot
    be is left out.

    Args:
        exif: the data of `read_exif`.
        width, height: pixels of the upright image.
        turn: EXIF orientation by which the stored image was turned.
    """
    tags = exif.get_ifd(ExifTags.IFD.Exif)
    stored = upright_size(width, height, turn)
    shot = _number(tags, ExifTags.Base.ExifImageWidth), _number(tags, ExifTags.Base.ExifImageHeight)
    frame = stored if shot[0] is None or shot[1] is None else (shot[0], shot[1])
    focal_px, notes = _focal(exif, tags, *frame)
    if focal_px is None:
        return ExifCamera(notes=notes)
    if _difference(frame[::-1], stored) < _difference(frame, stored):  # the pixels were turned, the tags were not
        frame, focal_px = frame[::-1], focal_px[::-1]
    if _difference(frame, stored) > _SAME_SHAPE + 1 / min(stored):
        factor, is_sure, note = _crop(frame, stored)
        notes = (*notes, note)
    else:
        factor, is_sure = math.hypot(*stored) / math.hypot(*frame), True
    fx, fy = focal_px[::-1] if turn in _TURNED_BY_A_QUARTER else focal_px
    fx, fy = fx * factor, fy * factor
    found = Intrinsics(fx, fy, (width - 1) / 2, (height - 1) / 2, width, height)
    low, high = _PLAUSIBLE_FOV_DEG
    if not low <= found.fov_x_deg <= high:
        return ExifCamera(notes=(f"Its EXIF data gives a field of view of {found.fov_x_deg:.2g} degrees: left out.",))
    return ExifCamera(found, is_sure, notes)


def _difference(one: tuple[float, float], other: tuple[float, float]) -> float:
    """How much the shapes of two sizes differ, as a share; 1 / min(size) of it may be rounding to whole pixels."""
    return abs(math.log(one[0] / one[1] * other[1] / other[0]))


def _focal(
    exif: Image.Exif, tags: dict[int, Any], width: float, height: float
) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Focal lengths (fx, fy) in pixels of a shot of this size, or None; what contradicts itself or was looked up."""
    focal_35mm = _number(tags, ExifTags.Base.FocalLengthIn35mmFilm)
    from_sensor, notes = _focal_from_sensor(tags, width, height)
    if focal_35mm is None:
        if from_sensor is not None:
            return from_sensor, notes
        focal_35mm, more = _focal_from_table(exif, tags)
        if focal_35mm is None:
            return None, notes + more
        focal_px = focal_35mm * math.hypot(width, height) / _DIAGONAL_35MM
        return (focal_px, focal_px), notes + more
    focal_px = focal_35mm * math.hypot(width, height) / _DIAGONAL_35MM
    if from_sensor is not None and abs(math.log(from_sensor[0] / focal_px)) > _SAME_FOCAL:
        notes = (
            f"Its EXIF data contradicts itself: the sensor gives a lens of {from_sensor[0]:.0f} pixels, the 35 mm "
            f"equivalent one of {focal_px:.0f}; the latter was taken.",
        )
    return (focal_px, focal_px), () if from_sensor is None else notes


def _focal_from_table(exif: Image.Exif, tags: dict[int, Any]) -> tuple[float | None, tuple[str, ...]]:
    """The 35 mm equivalent in mm by the size of the sensor in Lensfun's table of cameras, where that is installed."""
    focal_mm = _number(tags, ExifTags.Base.FocalLength)
    make, model = (str(exif.get(tag, "")).strip("\0 ") for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    if focal_mm is None or not model:
        return None, ()
    try:
        import lensfunpy
    except ImportError:
        return None, (f"Its EXIF data lacks the sensor of the {model}; the extra lens adds a table of sensors.",)
    found = _lensfun(lensfunpy).find_cameras(make, model)
    if not found:
        return None, ()
    return focal_mm * found[0].crop_factor, (f"The sensor of the {model} is that of Lensfun's table of cameras.",)


@cache
def _lensfun(package: Any) -> Any:
    return package.Database()


def _crop(frame: tuple[float, float], stored: tuple[int, int]) -> tuple[float, bool, str]:
    """What the focal length of the whole shot is multiplied with, whether that is sure, and a note.

    A large part of the shot was most likely cut out as it was; a small file was made smaller as well, by what nobody
    knows, and counts as the largest part of its shape.
    """
    largest = max(stored[0] / frame[0], stored[1] / frame[1])
    sizes = f"{stored[0]} x {stored[1]} of {frame[0]:.0f} x {frame[1]:.0f} pixels"
    if _CUT_AT_FULL_SIZE <= largest <= 1:
        return 1.0, True, f"The photo was cropped ({sizes}); its lens is that of the whole shot, cut at full size."
    text = f"The photo was cropped and resized ({sizes}); its lens is a guess: that of the largest part of that shape."
    return largest, False, text


def _focal_from_sensor(
    tags: dict[int, Any], width: float, height: float
) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    """Focal lengths (fx, fy) in pixels of the shot from millimetres and pixels per sensor length, or None; notes."""
    focal_mm = _number(tags, ExifTags.Base.FocalLength)
    per_unit_x = _number(tags, ExifTags.Base.FocalPlaneXResolution)
    per_unit_y = _number(tags, ExifTags.Base.FocalPlaneYResolution) or per_unit_x
    unit_mm = _MM_PER_FOCAL_PLANE_UNIT.get(
        int(_number(tags, ExifTags.Base.FocalPlaneResolutionUnit) or _DEFAULT_FOCAL_PLANE_UNIT)
    )
    if focal_mm is None or per_unit_x is None or per_unit_y is None or unit_mm is None:
        return None, ()
    sensor_mm = width / per_unit_x * unit_mm
    low, high = _SENSOR_MM
    if not low <= sensor_mm <= high:
        return None, (f"Its EXIF data gives a sensor {sensor_mm:.2g} mm wide, which cannot be.",)
    return (focal_mm / unit_mm * per_unit_x, focal_mm / unit_mm * per_unit_y), ()


def _number(tags: dict[int, Any], tag: int) -> float | None:
    """A tag as a finite number above 0; None where it is missing, zero (EXIF: unknown) or not a number."""
    try:
        value = float(tags.get(tag, math.nan))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return value if math.isfinite(value) and value > 0 else None
