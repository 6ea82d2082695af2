"""Scene-linear pictures (OpenEXR, Radiance HDR, float TIFF) brought to 8-bit sRGB.

A picture that already looks like a finished render, its bright parts near 1, only gets the sRGB curve. Any other is
exposed so that its logarithmic mean becomes middle grey, and its highlights are rolled off as in Reinhard et al.,
"Photographic Tone Reproduction for Digital Images" (SIGGRAPH 2002), equations 1 and 4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import FileError
from pro_engine.io import exr
from pro_engine.io.paths import check_size, decoding
from pro_engine.types import ImageArray

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # Rec. 709 primaries
_MIDDLE_GREY = 0.18
_FINISHED_RENDER = (0.25, 1.5)  # 99th percentile of luminance of a picture that needs no exposure
_SAMPLES = 1 << 20
_STRIP_PIXELS = 1 << 21
_HDR_HEADER_BYTES = 16384


def to_srgb(linear: NDArray[np.floating[Any]]) -> ImageArray:
    """Expose a scene-linear picture for the eye.

    Args:
        linear: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGB multiplied by its alpha, linear with Rec. 709 primaries. NaN
            and negative values count as black, +inf as the brightest. Transparent parts turn white.

    Returns:
        (H, W, 3) uint8 sRGB.
    """
    height, width = linear.shape[:2]
    exposure, white = _exposure(linear)
    curve = _srgb_curve()
    image = np.empty((height, width, 3), dtype=np.uint8)
    step = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, step):
        strip = linear[top : top + step]
        rgb = _clean(strip[..., :3] if strip.ndim == 3 else strip[..., np.newaxis]) * exposure
        if white is not None:
            luminance = (rgb @ _LUMINANCE if rgb.shape[2] == 3 else rgb[..., 0])[..., np.newaxis]
            rgb *= (1 + luminance / white**2) / (1 + luminance)
        if strip.ndim == 3 and strip.shape[2] == 4:
            rgb += 1 - np.clip(_clean(strip[..., 3:]), 0, 1)
        image[top : top + step] = curve[(np.clip(rgb, 0, 1) * (len(curve) - 1) + 0.5).astype(np.uint16)]
    return image


def _clean(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Float32 without NaN, negatives and numbers too large to square."""
    return np.clip(np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=1e9), 0, 1e9)


def _exposure(linear: NDArray[np.floating[Any]]) -> tuple[np.float32, np.float32 | None]:
    """The factor on all values, and the luminance after it that becomes white (None: the plain curve, no roll-off)."""
    step = max(1, round((linear.shape[0] * linear.shape[1] / _SAMPLES) ** 0.5))
    sample = linear[::step, ::step]
    rgb = _clean(sample[..., :3] if sample.ndim == 3 else sample[..., np.newaxis])
    luminance = rgb @ _LUMINANCE if rgb.shape[2] == 3 else rgb[..., 0]
    lit = luminance[luminance > 0].astype(np.float64)
    if lit.size == 0:
        return np.float32(1), None
    low, high = _FINISHED_RENDER
    if low <= np.percentile(lit, 99) <= high:
        return np.float32(1), None
    exposure = _MIDDLE_GREY / np.exp(np.log(lit).mean())
    return np.float32(exposure), np.float32(max(1.0, np.percentile(lit, 99.5) * exposure))


def _srgb_curve() -> NDArray[np.uint8]:
    """sRGB bytes for 65536 linear values from 0 to 1 (IEC 61966-2-1)."""
    x = np.linspace(0, 1, 1 << 16)
    encoded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-9) ** (1 / 2.4) - 0.055)
    return np.round(encoded * 255).astype(np.uint8)


def read_exr(path: Path, max_pixels: int) -> ImageArray:
    """Read the colours of an OpenEXR file: its first RGB(A) layer, else its luminance Y; the whole data window.

    Raises:
        DependencyError: the package OpenEXR is missing.
        FileError: too large, damaged, or without colours.
    """
    channels = exr.read_channels(path, max_pixels)[0]
    colour = [name for name in channels if name.rpartition(".")[2] in ("RGB", "RGBA") or channels[name].ndim == 3]
    name = colour[0] if colour else "Y"
    if name not in channels:
        raise FileError(f"{path} holds no colours, only {', '.join(sorted(channels))}; export it with RGB channels.")
    return to_srgb(channels[name])


def read_hdr(path: Path, max_pixels: int) -> ImageArray:
    """Read a Radiance HDR picture (.hdr).

    Raises:
        FileError: too large, truncated or damaged.
    """
    with open(path, "rb") as file:
        header = file.read(_HDR_HEADER_BYTES)
    size = re.search(rb"\n\n[-+]Y (\d{1,9}) [-+]X (\d{1,9})\n", header)
    if size is None:
        raise FileError(f"{path} has no valid Radiance HDR header; export it again as EXR, JPEG or PNG.")
    height, width = int(size[1]), int(size[2])
    check_size(path, width, height, max_pixels)
    return to_srgb(_decode_with_opencv(path))


def read_unusual_tiff(path: Path, max_pixels: int) -> ImageArray:
    """Read a TIFF that Pillow does not take: float colours, 16 bits in planes, and the like.

    Float values count as scene-linear, whole numbers as finished sRGB.

    Raises:
        FileError: not a TIFF, too large, truncated or damaged.
    """
    import tifffile

    with decoding(path, "TIFF file", "export it again as PNG or JPEG"), tifffile.TiffFile(path) as file:
        page = file.pages.first
        check_size(path, page.imagewidth, page.imagelength, max_pixels)
    pixels = _decode_with_opencv(path)
    if np.issubdtype(pixels.dtype, np.floating):
        return to_srgb(pixels)
    grey_or_rgb = np.atleast_3d(pixels)[..., :3]
    bits = 8 * (pixels.dtype.itemsize - 1)
    return np.ascontiguousarray(np.broadcast_to(grey_or_rgb >> bits, (*pixels.shape[:2], 3)).astype(np.uint8))


def _decode_with_opencv(path: Path) -> NDArray[Any]:
    """The pixels of a picture as stored, its colours in the order RGB or RGBA; FileError where OpenCV cannot."""
    import cv2

    swap: Mapping[int, int] = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    with decoding(path, "picture", "export it again as PNG, JPEG or EXR"):
        pixels = cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise FileError(f"{path} is truncated or of an unsupported kind; export it again as PNG, JPEG or EXR.")
        return pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, swap[pixels.shape[2]], dst=pixels))
