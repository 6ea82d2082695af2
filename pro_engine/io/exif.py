"""What EXIF says about the camera: which way up it was held, and the focal length in pixels.

Tags as in the EXIF 2.32 standard (CIPA DC-008), sections 4.6.4 and 4.6.5.
"""

from __future__ import annotations

import logging
import math
import struct
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


def camera(exif: Image.Exif, width: int, height: int, turn: int) -> Intrinsics | None:
    """The camera of the upright image, as a centred lens; None where EXIF does not tell.

    FocalLengthIn35mmFilm is preferred; otherwise FocalLength with the sensor's FocalPlaneXResolution (and Y). A focal
    length that gives an implausible field of view is left out: editors often leave such tags wrong.

    Args:
        exif: the data of `read_exif`.
        width, height: pixels of the upright image.
        turn: EXIF orientation by which the stored image was turned.
    """
    tags = exif.get_ifd(ExifTags.IFD.Exif)
    focal_35mm = _number(tags, ExifTags.Base.FocalLengthIn35mmFilm)
    if focal_35mm is not None:
        found = Intrinsics.from_focal_35mm(width, height, focal_35mm=focal_35mm)
    else:
        focal_px = _focal_from_sensor(tags, *upright_size(width, height, turn))
        if focal_px is None:
            return None
        fx, fy = focal_px[::-1] if turn in _TURNED_BY_A_QUARTER else focal_px
        found = Intrinsics(fx, fy, (width - 1) / 2, (height - 1) / 2, width, height)
    low, high = _PLAUSIBLE_FOV_DEG
    return found if low <= found.fov_x_deg <= high else None


def _focal_from_sensor(tags: dict[int, Any], stored_width: int, stored_height: int) -> tuple[float, float] | None:
    """Focal lengths (fx, fy) in stored pixels from millimetres and pixels per sensor length, or None."""
    focal_mm = _number(tags, ExifTags.Base.FocalLength)
    per_unit_x = _number(tags, ExifTags.Base.FocalPlaneXResolution)
    per_unit_y = _number(tags, ExifTags.Base.FocalPlaneYResolution) or per_unit_x
    unit_mm = _MM_PER_FOCAL_PLANE_UNIT.get(
        int(_number(tags, ExifTags.Base.FocalPlaneResolutionUnit) or _DEFAULT_FOCAL_PLANE_UNIT)
    )
    if focal_mm is None or per_unit_x is None or per_unit_y is None or unit_mm is None:
        return None
    # The resolution counts the pixels of the shot as taken; the file may have been made smaller since.
    shot_width = _number(tags, ExifTags.Base.ExifImageWidth) or stored_width
    shot_height = _number(tags, ExifTags.Base.ExifImageHeight) or stored_height
    fx = focal_mm / unit_mm * per_unit_x * stored_width / shot_width
    fy = focal_mm / unit_mm * per_unit_y * stored_height / shot_height
    return fx, fy


def _number(tags: dict[int, Any], tag: int) -> float | None:
    """A tag as a finite number above 0; None where it is missing, zero (EXIF: unknown) or not a number."""
    try:
        value = float(tags.get(tag, math.nan))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return value if math.isfinite(value) and value > 0 else None
