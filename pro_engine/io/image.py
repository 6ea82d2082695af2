"""Photos: read any common format as upright 8-bit RGB, write PNG, JPEG and WebP."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from pro_engine.errors import DependencyError, FileError, InputError
from pro_engine.io import linear, pictures
from pro_engine.io.atomic import atomic_path
from pro_engine.io.paths import (
    MAX_PIXELS,
    PathLike,
    as_path,
    check_max_pixels,
    readable_file,
    reading_failed,
    writer_for,
)
from pro_engine.types import ImageArray, Intrinsics

__all__ = ["IMAGE_SUFFIXES", "MAX_PIXELS", "load_image", "reduced_image", "save_image"]

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".exr", ".gif", ".hdr", ".heic", ".heif", ".hif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".mpo", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
"""Suffixes, in lower case, of files that `load_image` reads; a folder is searched for these."""

_CAMERA_RAW_SUFFIXES = frozenset(
    {".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw", ".x3f"}
)

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")


def load_image(path: PathLike, *, max_pixels: int = MAX_PIXELS) -> tuple[ImageArray, Intrinsics | None]:
    """Read a photo and, where EXIF tells, its camera. The content decides the format, not the suffix.

    Reads JPEG, PNG, TIFF, WebP, GIF, BMP, PPM, JPEG 2000, AVIF, OpenEXR and Radiance HDR; HEIC with the extra `heif`.
    - The image is turned upright by EXIF; the camera is that of the upright image.
    - An embedded colour profile (ICC) other than sRGB is converted to sRGB; CMYK without one is converted plainly.
    - 16-bit values keep their high byte. Transparent parts turn white. Grey becomes three equal channels.
    - Of an animation or a file of several pages, the first is read.
    - Scene-linear pictures (EXR, HDR, float TIFF) are exposed for the eye, see `pro_engine.io.linear`.

    Args:
        path: the file.
        max_pixels: the largest width x height that is decoded; the size is checked before a pixel is.

    Returns:
        The image, (H, W, 3) uint8 RGB, upright, C-contiguous; and its intrinsics in pixels, or None.

    Raises:
        FileError: missing, a folder, empty, not an image, truncated, damaged, or larger than `max_pixels`.
        DependencyError: the format needs a package that is not installed.
        InputError: `path` is not a path, or `max_pixels` is not a whole number above 0.
    """
    check_max_pixels(max_pixels)
    source = readable_file(path)
    if source.suffix.lower() in _CAMERA_RAW_SUFFIXES:
        raise FileError(f"{source} is a camera raw file; develop it to TIFF, PNG or JPEG first.")
    return _reader_for(source)(source, max_pixels)


def _reader_for(path: Path) -> Callable[[Path, int], tuple[ImageArray, Intrinsics | None]]:
    """The reader for a file, told by its first bytes."""
    try:
        with open(path, "rb") as file:
            head = file.read(32)
    except OSError as error:
        raise reading_failed(path, error) from error
    if head.startswith(b"\x76\x2f\x31\x01"):
        return lambda source, limit: (linear.read_exr(source, limit), None)
    if head.startswith((b"#?RADIANCE", b"#?RGBE")):
        return lambda source, limit: (linear.read_hdr(source, limit), None)
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return _read_tiff
    if head[4:8] == b"ftyp" and head[8:12] in _AVIF_BRANDS + _HEIF_BRANDS:
        return _read_avif if any(brand in head[8:] for brand in _AVIF_BRANDS) else _read_heif
    return pictures.read_picture


def _read_tiff(path: Path, max_pixels: int) -> tuple[ImageArray, Intrinsics | None]:
    """Through Pillow, which knows the camera, or through OpenCV for the kinds that Pillow does not take."""
    try:
        return pictures.read_picture(path, max_pixels, ("TIFF",))
    except FileError as error:
        if not isinstance(error.__cause__, UnidentifiedImageError):
            raise
    return linear.read_unusual_tiff(path, max_pixels), None


def _read_heif(path: Path, max_pixels: int) -> tuple[ImageArray, Intrinsics | None]:
    try:
        import pillow_heif
    except ImportError as error:
        raise DependencyError(
            f"{path} is a HEIC picture, which needs the extra heif; run: pip install 'pro-engine[heif]'"
        ) from error
    pillow_heif.register_heif_opener()
    return pictures.read_picture(path, max_pixels, ("HEIF",))


def _read_avif(path: Path, max_pixels: int) -> tuple[ImageArray, Intrinsics | None]:
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


def check_image(image: ImageArray, name: str = "image") -> None:
    """Raise InputError unless `image` is an (H, W, 3) uint8 array that is not empty."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"{name} is {found}; give a uint8 RGB array of shape (H, W, 3).")
    if image.size == 0:
        raise InputError(f"{name} has the shape {image.shape}, no pixels; give at least 1 x 1.")


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
