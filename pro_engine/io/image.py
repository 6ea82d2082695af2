"""Photos: read any common format as upright 8-bit RGB, write PNG, JPEG and WebP."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

from pro_engine.errors import DependencyError, FileError
from pro_engine.geometry.checks import check_image
from pro_engine.io import exr, exr_picture, linear, pictures, raw, tiff
from pro_engine.io.atomic import atomic_path
from pro_engine.io.heif import register_heif
from pro_engine.io.paths import (
    MAX_PIXELS,
    PathLike,
    as_path,
    check_max_pixels,
    readable_file,
    reading_failed,
    writer_for,
)
from pro_engine.types import ImageArray, Intrinsics, LoadedPhoto

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "RAW_SUFFIXES", "load_image", "read_photo", "reduced_image", "save_image"]

RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".fff", ".gpr", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef"}
    | {".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
"""Suffixes, in lower case, of camera raw files."""

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".exr", ".gif", ".hdr", ".heic", ".heif", ".hif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".jxl", ".mpo", ".pgm", ".png", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
"""Suffixes, in lower case, of other files that `read_photo` reads; a folder is searched for these."""

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_JXL_HEADS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_VIDEO_HEADS = (b"\x1a\x45\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"OggS", b"FLV\x01", b"\x30\x26\xb2\x75\x8e\x66")
_VIDEO = "a video, not a photo; `pro-engine infer` takes it, here give a frame of it (ffmpeg -i VIDEO frames/%05d.png)"

# First bytes of files that are taken for photos, and what they are.
_NO_PHOTOS: tuple[tuple[bytes, str], ...] = (
    (b"DDS ", "a DDS texture; save it as PNG"),
    (b"8BPS", "a Photoshop document; export it as PNG or TIFF"),
    (b"SDPX", "a DPX picture; convert it to EXR"),
    (b"XPDS", "a DPX picture; convert it to EXR"),
    (b"\x80\x2a\x5f\xd7", "a Cineon picture; convert it to EXR"),
    (b"%PDF", "not an image but a PDF document; export the picture as PNG"),
    (b"<svg", "not an image of pixels but a drawing; export it as PNG"),
)


def load_image(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> tuple[ImageArray, Intrinsics | None]:
    """Read a photo and, where EXIF tells, its camera: image and intrinsics of `read_photo`.

    Raises:
        FileError, DependencyError, InputError: as `read_photo`.
    """
    photo = read_photo(path, max_pixels=max_pixels)
    return photo.image, photo.intrinsics


def read_photo(path: PathLike, *, layer: str | None = None, max_pixels: int = MAX_PIXELS) -> LoadedPhoto:
    """Read a photo and what its file says of it. The content decides the format, not the suffix.

    Reads JPEG, PNG, TIFF, WebP, GIF, BMP, PPM, TGA, JPEG 2000, AVIF, OpenEXR and Radiance HDR; HEIC with the extra
    `heif`, camera raw files with the extra `raw`, JPEG XL with a plug-in of Pillow.
    - The image is turned upright by EXIF; the camera is that of the upright image.
    - An embedded colour profile (ICC), gamma or primaries other than those of sRGB are converted; CMYK without a
      profile is converted plainly.
    - 16-bit values keep their high byte; where only the low 8 to 14 bits are in use, those are stretched. Transparent
      parts turn white. Grey becomes three equal channels.
    - Of an animation or a file of several pages the first is read, of a TIFF never a thumbnail, of an EXR the beauty.
    - Scene-linear pictures (EXR, HDR, float TIFF) are exposed for the eye, see `pro_engine.io.linear`.

    Args:
        path: the file.
        layer: of an EXR file: name of the layer, part or channel to read, in letters of any case; None: the beauty.
        max_pixels: the largest width x height that is decoded; the size is checked before a pixel is.

    Raises:
        FileError: missing, a folder, empty, not an image, truncated, damaged, larger than `max_pixels`, or without that
            layer.
        DependencyError: the format needs a package that is not installed.
        InputError: `path` is not a path, or `max_pixels` is not a whole number above 0.
    """
    check_max_pixels(max_pixels)
    source = readable_file(path)
    try:
        with open(source, "rb") as file:
            head = file.read(32)
    except OSError as error:
        raise reading_failed(source, error) from error
    if head.startswith(exr.MAGIC):
        return exr_picture.read_exr(source, max_pixels, layer)
    photo = _reader_for(source, head)(source, max_pixels)
    if layer is None:
        return photo
    return replace(photo, notes=(*photo.notes, f"It has no layers; {layer!r} was not looked for."))


def _reader_for(path: Path, head: bytes) -> Callable[[Path, int], LoadedPhoto]:
    """The reader for a file, told by its first bytes; those of camera raw files are like a TIFF's."""
    if path.suffix.lower() in RAW_SUFFIXES:
        return raw.read_raw
    if head.startswith((b"#?RADIANCE", b"#?RGBE")):
        return _read_hdr
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return lambda source, limit: tiff.read_tiff(source, limit) or raw.read_raw(source, limit)
    if head.startswith(_JXL_HEADS):
        return _read_jxl
    if head[4:8] == b"ftyp" and head[8:12] in _AVIF_BRANDS + _HEIF_BRANDS:
        return _read_avif if any(brand in head[8:] for brand in _AVIF_BRANDS) else _read_heif
    if head[4:8] == b"ftyp" and head[8:12] == b"crx ":
        return raw.read_raw
    if path.suffix.lower() == ".tga":
        return lambda source, limit: pictures.read_picture(source, limit, (*pictures.FORMATS, "TGA"))
    what = next((what for start, what in _NO_PHOTOS if head.startswith(start)), None)
    if _is_head_of_video(head):
        what = _VIDEO
    if what is not None:
        raise FileError(f"{path} is {what}.")
    return pictures.read_picture


def is_video(path: Path) -> bool:
    """Whether the first bytes of a file are those of a video; False where it cannot be read."""
    if not path.is_file():  # a pipe would have us wait
        return False
    try:
        with open(path, "rb") as file:
            return _is_head_of_video(file.read(32))
    except OSError:
        return False


def _is_head_of_video(head: bytes) -> bool:
    if head[4:8] == b"ftyp":
        return head[8:12] not in (*_AVIF_BRANDS, *_HEIF_BRANDS, b"crx ")
    riff = head.startswith(b"RIFF") and head[8:12] == b"AVI "
    return riff or head[4:8] in (b"moov", b"mdat", b"wide") or head.startswith(_VIDEO_HEADS)


def _read_hdr(path: Path, max_pixels: int) -> LoadedPhoto:
    image, notes = linear.read_hdr(path, max_pixels)
    return LoadedPhoto(image, notes=notes)


def _read_jxl(path: Path, max_pixels: int) -> LoadedPhoto:
    try:
        import pillow_jxl  # noqa: F401  # registers itself
    except ImportError as error:
        raise DependencyError(
            f"{path} is a JPEG XL picture; convert it to PNG or TIFF, or install pillow-jxl-plugin (its licence is the "
            "GPL-3.0)."
        ) from error
    return pictures.read_picture(path, max_pixels, ("JXL",))


def _read_heif(path: Path, max_pixels: int) -> LoadedPhoto:
    register_heif(path)
    return pictures.read_picture(path, max_pixels, ("HEIF",))


def _read_avif(path: Path, max_pixels: int) -> LoadedPhoto:
    if not features.check("avif"):
        raise DependencyError(f"{path} is an AVIF picture, which this Pillow lacks; run: pip install -U pillow")
    return pictures.read_picture(path, max_pixels, ("AVIF",))


_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG", "compress_level": 4},
    ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".jpeg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    ".webp": {"format": "WEBP", "quality": 95},
}
_LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}


def reduced_image(
    image: ImageArray, intrinsics: Intrinsics | None, max_pixels: int
) -> tuple[ImageArray, Intrinsics | None]:
    """The picture in its shape with at most `max_pixels` pixels, area-averaged, and its camera.

    Args:
        image: (H, W, 3) uint8 of more pixels.
        intrinsics: of it, if known.
        max_pixels: at least 1.
    """
    height, width = image.shape[:2]
    share = math.sqrt(max_pixels / (height * width))
    width, height = max(1, int(width * share)), max(1, int(height * share))
    smaller = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
    return smaller, intrinsics and intrinsics.resized(width, height)


def save_image(path: PathLike, image: ImageArray) -> None:
    """Write an image as PNG, JPEG (quality 95) or WebP, by suffix and atomically.

    Args:
        path: .png, .jpg, .jpeg or .webp.
        image: (H, W, 3) uint8 sRGB.

    Raises:
        FileError: an unknown suffix, an image too large for the format, or the system refuses.
        InputError: not such an array.
    """
    target = as_path(path)
    options = _SAVE_OPTIONS[writer_for(target, _SAVE_OPTIONS, "an image")]
    check_image(image)
    longest = _LONGEST_SIDE.get(options["format"])
    if longest is not None and max(image.shape) > longest:
        height, width = image.shape[:2]
        raise FileError(f"{target} cannot hold {width} x {height} pixels, at most {longest} a side; use .png.")
    with atomic_path(target) as temporary:
        Image.fromarray(image).save(temporary, **options)
