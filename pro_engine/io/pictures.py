"""Pictures that Pillow decodes: opened without surprises, and brought to upright 8-bit RGB strip by strip."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from pro_engine.errors import FileError
from pro_engine.geometry.large import large_empty
from pro_engine.io import exif, jpeg, png
from pro_engine.io.bits import used_bits
from pro_engine.io.linear import expose
from pro_engine.io.panorama import find_panorama
from pro_engine.io.paths import MAX_PIXELS, check_size, decoding
from pro_engine.types import ImageArray, LoadedPhoto, Panorama

_log = logging.getLogger(__name__)

# Formats that are photos. Pillow knows many more, some of which start other programs or hold no pixels.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")

_WAYS_OUT = "copy or export it again as JPEG, PNG or TIFF"
_STRIP_PIXELS = 1 << 19
_WITH_ALPHA = ("RGBA", "RGBa", "LA", "PA")
_PROFILE_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}


@contextmanager
def opened(
    path: Path,
    max_pixels: int,
    formats: tuple[str, ...] = FORMATS,
    advice: str = _WAYS_OUT,
    *,
    source: io.BytesIO | None = None,
) -> Iterator[Image.Image]:
    """Open a picture, check its size before a pixel is decoded, and close it after the block.

    Whatever the decoder raises in the block, over a damaged file for instance, leaves it as a FileError.

    Args:
        path: a readable file.
        max_pixels: the largest width x height that is accepted.
        formats: names of the Pillow formats that are tried.
        advice: the next step for a user whose file is damaged.
        source: the bytes to decode, where they are not those of the file.

    Raises:
        FileError: not a picture of these formats, too large, truncated or damaged.
    """
    with _pillow_limit.lifted(), decoding(path, "picture", advice):
        try:
            picture = Image.open(path if source is None else source, formats=formats)
        except UnidentifiedImageError as error:
            raise FileError(f"{path} is not an image that can be read, or it is cut short; {advice}.") from error
        with picture:
            width, height = picture.size
            check_size(path, width, height, max_pixels)
            yield picture


def size_told(path: Path) -> tuple[int, int] | None:
    """Height and width that the header of a common picture tells, before it is turned upright; None of other files."""
    try:
        with opened(path, MAX_PIXELS) as picture:
            return picture.height, picture.width
    except (FileError, OSError):
        return None


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
    """The rows of a loaded picture in strips of half a megapixel, each with its slice of rows.

    A whole picture as an array would pass through two more copies of it.
    """
    width, height = picture.size
    step = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, step):
        bottom = min(height, top + step)
        yield slice(top, bottom), picture.crop((0, top, width, bottom))


def read_picture(
    path: Path,
    max_pixels: int,
    formats: tuple[str, ...] = FORMATS,
    *,
    source: io.BytesIO | None = None,
    of_file: Image.Exif | None = None,
) -> LoadedPhoto:
    """Read the first frame of a picture: upright RGB, the camera that EXIF names, and what was chosen or left out.

    Needs little more memory than Pillow's own copy (4 bytes a pixel) and the result (3 bytes a pixel).

    Args:
        path: the file.
        max_pixels: the largest width x height that is accepted.
        formats: names of the Pillow formats that are tried.
        source: the bytes to decode, where they are not those of the file.
        of_file: the EXIF data, where it is not that of `source`.

    Raises:
        FileError: as `opened`.
    """
    try:
        with opened(path, max_pixels, formats, source=source) as picture:
            # Pillow turns a TIFF while it loads and takes the tag away. Elsewhere the EXIF data may lie behind the
            # pixels: asking for it would load them, with their errors.
            early = exif.read_exif(picture) if picture.format == "TIFF" else None
            picture.load()
            tags = exif.read_exif(picture)
            turn = exif.orientation(tags)
            of_camera = of_file or early or tags
            pixels, notes = png.decoded(path, picture) if picture.format == "PNG" else (picture, ())
            found = finished(pixels, of_camera, turn, notes=notes, panorama=find_panorama(picture))
    except FileError as error:
        whole = None if source is not None else jpeg.with_its_end(path, error)
        if whole is None:
            raise
        found = read_picture(path, max_pixels, ("JPEG",), source=io.BytesIO(whole))
        return replace(found, notes=("The mark at its end is missing; its pixels are all there.", *found.notes))
    return found


def finished(
    picture: Image.Image | NDArray[np.uint8],
    tags: Image.Exif,
    turn: int,
    *,
    notes: tuple[str, ...] = (),
    panorama: Panorama | None = None,
) -> LoadedPhoto:
    """A decoded picture as upright sRGB, with its camera.

    Args:
        picture: a loaded picture of any mode, or (H, W, 3) uint8 sRGB.
        tags: EXIF data of the file.
        turn: EXIF orientation by which the picture is still to be turned.
        notes: what was found on the way. panorama: that it is one, or None.
    """
    stored_width, stored_height = picture.size if isinstance(picture, Image.Image) else picture.shape[1::-1]
    width, height = exif.upright_size(stored_width, stored_height, turn)
    image: ImageArray = large_empty((height, width, 3), np.uint8)
    stored = exif.stored_view(image, turn)
    more: tuple[str, ...] = ()
    if not isinstance(picture, Image.Image):
        stored[...] = picture
    elif picture.mode == "F":
        stored[...], more = expose(np.asarray(picture))
    else:
        more = _fill(stored, picture)
    camera = exif.camera(tags, width, height, exif.orientation(tags))
    notes += more + camera.notes
    return LoadedPhoto(image, camera.intrinsics, camera.is_sure, notes=notes, panorama=panorama)


def _fill(stored: NDArray[np.uint8], picture: Image.Image) -> tuple[str, ...]:
    """Fill the pixels as they are stored; returns what was left out."""
    shift = 0
    notes: tuple[str, ...] = ()
    if picture.mode.startswith("I"):
        used, notes = used_bits(int(np.max(picture.getextrema())), 16)
        shift = used - 8
    has_matte = picture.has_transparency_data
    if picture.mode in _WITH_ALPHA and picture.getchannel(len(picture.getbands()) - 1).getextrema()[1] == 0:
        has_matte, notes = False, ("Its alpha is 0 everywhere and was left out.",)
        if picture.mode == "RGBa":
            picture = Image.merge("RGB", picture.split()[:3])
    transform = _transform_to_srgb(picture)
    for rows, strip in strips(picture):
        stored[rows] = _to_rgb(strip, transform, shift, has_matte=has_matte)
    return notes


def _to_rgb(
    strip: Image.Image, transform: ImageCms.ImageCmsTransform | None, shift: int, *, has_matte: bool
) -> NDArray[np.uint8]:
    """A strip of any mode as RGB (h, w, 3) uint8, or (h, w, 1) where it is grey."""
    if strip.mode.startswith("I"):
        # 16 bits, in a word of 16 or 32: the high byte, so that 8-bit values widened by 257 come back exact
        high_byte: NDArray[np.uint8] = np.clip(np.asarray(strip) >> shift, 0, 255).astype(np.uint8)
        return high_byte[..., np.newaxis]
    if has_matte:
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
