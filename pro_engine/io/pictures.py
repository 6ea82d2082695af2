"""Pictures that Pillow decodes: opened without surprises, and brought to upright 8-bit RGB strip by strip."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from pro_engine.errors import FileError
from pro_engine.io import exif
from pro_engine.io.linear import to_srgb
from pro_engine.io.paths import check_size, decoding
from pro_engine.types import ImageArray, Intrinsics

_log = logging.getLogger(__name__)

# Formats that are photos. Pillow knows many more, some of which start other programs or hold no pixels.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")

_WAYS_OUT = "copy or export it again as JPEG, PNG or TIFF"
_STRIP_PIXELS = 1 << 22
_PROFILE_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}


@contextmanager
def opened(
    path: Path, max_pixels: int, formats: tuple[str, ...] = FORMATS, advice: str = _WAYS_OUT
) -> Iterator[Image.Image]:
    """Open a picture, check its size before a pixel is decoded, and close it after the block.

    Whatever the decoder raises in the block, over a damaged file for instance, leaves it as a FileError.

    Args:
        path: a readable file.
        max_pixels: the largest width x height that is accepted.
        formats: names of the Pillow formats that are tried.
        advice: the next step for a user whose file is damaged.

    Raises:
        FileError: not a picture of these formats, too large, truncated or damaged.
    """
    with _pillow_limit.lifted(), decoding(path, "picture", advice):
        try:
            picture = Image.open(path, formats=formats)
        except UnidentifiedImageError as error:
            raise FileError(f"{path} is not an image that can be read, or it is cut short; {advice}.") from error
        with picture:
            width, height = picture.size
            check_size(path, width, height, max_pixels)
            yield picture


class _PillowLimit:
    """Lifts Pillow's own limit, a module-wide number below 100 megapixels, while any thread decodes under ours."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limit = Image.MAX_IMAGE_PIXELS

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """Lift the limit during the block; the last thread to leave puts it back."""
        with self._lock:
            if self._users == 0:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    Image.MAX_IMAGE_PIXELS = self._limit


_pillow_limit = _PillowLimit()


def strips(picture: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """The rows of a loaded picture in strips of a few megapixels, each with its slice of rows.

    A whole picture as an array would pass through two more copies of it.
    """
    width, height = picture.size
    step = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, step):
        bottom = min(height, top + step)
        yield slice(top, bottom), picture.crop((0, top, width, bottom))


def read_picture(
    path: Path, max_pixels: int, formats: tuple[str, ...] = FORMATS
) -> tuple[ImageArray, Intrinsics | None]:
    """Read the first frame of a picture: upright RGB (H, W, 3) uint8 and the camera that EXIF names, or None.

    Needs little more memory than Pillow's own copy (4 bytes a pixel) and the result (3 bytes a pixel).

    Raises:
        FileError: as `opened`.
    """
    with opened(path, max_pixels, formats) as picture:
        # Pillow turns a TIFF while it loads and takes the tag away. Elsewhere the EXIF data may lie behind the pixels:
        # asking for it would load them, with their errors.
        early = exif.read_exif(picture) if picture.format == "TIFF" else None
        picture.load()
        tags = exif.read_exif(picture)
        turn = exif.orientation(tags)
        of_camera = tags if early is None else early
        width, height = exif.upright_size(*picture.size, turn)
        image = np.empty((height, width, 3), dtype=np.uint8)
        stored = exif.stored_view(image, turn)
        if picture.mode == "F":
            stored[...] = to_srgb(np.asarray(picture))
        else:
            transform = _transform_to_srgb(picture)
            for rows, strip in strips(picture):
                stored[rows] = _to_rgb(strip, transform)
        return image, exif.camera(of_camera, width, height, exif.orientation(of_camera))


def _to_rgb(strip: Image.Image, transform: ImageCms.ImageCmsTransform | None) -> NDArray[np.uint8]:
    """A strip of any mode as RGB (h, w, 3) uint8, or (h, w, 1) where it is grey."""
    if strip.mode.startswith("I"):
        # 16 bits, in a word of 16 or 32: the high byte, so that 8-bit values widened by 257 come back exact
        high_byte: NDArray[np.uint8] = np.clip(np.asarray(strip) >> 8, 0, 255).astype(np.uint8)
        return high_byte[..., np.newaxis]
    if strip.has_transparency_data:
        white = Image.new("RGBA", strip.size, (255, 255, 255, 255))
        strip = Image.alpha_composite(white, strip.convert("RGBA")).convert("RGB")
    elif strip.mode not in _PROFILE_SPACES:
        strip = strip.convert("RGB")
    if transform is not None:
        converted = ImageCms.applyTransform(strip, transform)
        strip = strip if converted is None else converted
    return np.asarray(strip.convert("RGB"))


def _transform_to_srgb(picture: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """The transform from the picture's ICC profile to sRGB; None where it has none, or sRGB, or a bad one."""
    data = picture.info.get("icc_profile")
    mode = "RGB" if picture.has_transparency_data or picture.mode not in _PROFILE_SPACES else picture.mode
    if not data or picture.mode.startswith("I"):
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        is_srgb = "srgb" in (profile.profile.profile_description or "").lower()
        if is_srgb or profile.profile.xcolor_space.strip() != _PROFILE_SPACES[mode]:
            return None
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        _log.warning("The colour profile of %s is damaged and left out: %s", getattr(picture, "filename", ""), error)
        return None
