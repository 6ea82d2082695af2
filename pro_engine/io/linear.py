"""Scene-linear pictures (OpenEXR, Radiance HDR, float TIFF) brought to 8-bit sRGB.

A picture that already looks like a finished render, its bright parts near 1, only gets the sRGB curve. Any other is
exposed so that its logarithmic mean becomes middle grey, and its highlights are rolled off as in Reinhard et al.,
"Photographic Tone Reproduction for Digital Images" (SIGGRAPH 2002), equations 1 and 4.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import FileError
from pro_engine.io.paths import check_size, decoding
from pro_engine.types import ImageArray

REC_709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
"""x and y of red, green, blue and white of Rec. 709 and sRGB."""

_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)  # Rec. 709 primaries
_MIDDLE_GREY = 0.18
_FINISHED_RENDER = (0.25, 1.5)  # 99th percentile of luminance of a picture that needs no exposure
_SAMPLES = 1 << 20
_STRIP_PIXELS = 1 << 21
_HDR_HEADER_BYTES = 16384


def expose(
    linear: NDArray[np.floating[Any]], *, matrix: NDArray[np.float32] | None = None
) -> tuple[ImageArray, tuple[str, ...]]:
    """Expose a scene-linear picture for the eye.

    Alpha is taken as multiplied into the colours, so that light may lie where it is 0. Where such light fills most of
    what is transparent, or alpha is the same everywhere, it is no matte and left out; else transparent parts turn
    white.

    Args:
        linear: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGB multiplied by its alpha, linear. NaN and negative values
            count as black, +inf as the brightest.
        matrix: (3, 3) that takes the colours to Rec. 709 primaries; None: they have them.

    Returns:
        (H, W, 3) uint8 sRGB, and sentences on what was left out.
    """
    height, width = linear.shape[:2]
    exposure, white = _exposure(linear, matrix)
    has_matte, notes = _matte(linear)
    image = np.empty((height, width, 3), dtype=np.uint8)
    for rows in row_strips(height, width):
        strip = linear[rows]
        rgb = _colours(strip, matrix) * exposure
        if white is not None:
            luminance = (rgb @ _LUMINANCE if rgb.shape[2] == 3 else rgb[..., 0])[..., np.newaxis]
            rgb *= (1 + luminance / white**2) / (1 + luminance)
        if has_matte:
            alpha = np.clip(_clean(strip[..., 3:]), 0, 1)
            rgb += np.where((alpha == 0) & rgb.any(axis=2, keepdims=True), 0, 1 - alpha)
        image[rows] = encoded(rgb)
    return image, notes


def row_strips(height: int, width: int) -> list[slice]:
    """Rows in strips of a few megapixels."""
    step = max(1, _STRIP_PIXELS // width)
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


def _matte(linear: NDArray[np.floating[Any]]) -> tuple[bool, tuple[str, ...]]:
    """Whether alpha says what is transparent, and a note where it does not."""
    if linear.ndim != 3 or linear.shape[2] != 4:
        return False, ()
    empty, lit, least, greatest = 0, 0, np.inf, 0.0
    for rows in row_strips(*linear.shape[:2]):
        alpha = _clean(linear[rows][..., 3])
        least, greatest = min(least, float(alpha.min())), max(greatest, float(alpha.max()))
        clear = alpha == 0
        empty += int(clear.sum())
        lit += int((_clean(linear[rows][..., :3]).any(axis=2) & clear).sum())
    if least == greatest:
        return False, (f"Its alpha is {least:g} everywhere and was left out.",) if least < 1 else ()
    if lit > empty / 2:
        return False, ("Its alpha is 0 where it has colours, so that it was left out.",)
    return True, ()


def _colours(strip: NDArray[np.floating[Any]], matrix: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Clean colours (h, w, 3) with Rec. 709 primaries, or grey (h, w, 1)."""
    rgb = _clean(strip[..., :3] if strip.ndim == 3 else strip[..., np.newaxis])
    return rgb if matrix is None or rgb.shape[2] == 1 else np.maximum(rgb @ matrix.T, 0)


def rgb_to_xyz(primaries: tuple[float, ...]) -> NDArray[np.float64]:
    """The (3, 3) matrix from linear RGB to CIE XYZ, its white of luminance 1 (SMPTE RP 177).

    Args:
        primaries: x and y of red, green, blue and white.
    """
    x, y = np.array(primaries[0::2]), np.array(primaries[1::2])
    xyz = np.stack([x / y, np.ones(4), (1 - x - y) / y])
    return np.asarray(xyz[:, :3] * np.linalg.solve(xyz[:, :3], xyz[:, 3]))


def rgb_to_rgb(primaries: tuple[float, ...]) -> NDArray[np.float32] | None:
    """The (3, 3) matrix from linear RGB of these primaries to Rec. 709, white on white (Bradford); None where equal."""
    if np.allclose(primaries, REC_709, atol=2e-3):
        return None
    ours, theirs = rgb_to_xyz(REC_709), rgb_to_xyz(primaries)
    gain = (_BRADFORD @ ours.sum(axis=1)) / (_BRADFORD @ theirs.sum(axis=1))
    adapt = np.linalg.inv(_BRADFORD) @ np.diag(gain) @ _BRADFORD
    return np.asarray(np.linalg.inv(ours) @ adapt @ theirs, dtype=np.float32)


def _clean(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Float32 without NaN, negatives and numbers too large to square."""
    return np.clip(np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=1e9), 0, 1e9)


def _exposure(
    linear: NDArray[np.floating[Any]], matrix: NDArray[np.float32] | None
) -> tuple[np.float32, np.float32 | None]:
    """The factor on all values, and the luminance after it that becomes white (None: the plain curve, no roll-off)."""
    step = max(1, round((linear.shape[0] * linear.shape[1] / _SAMPLES) ** 0.5))
    rgb = _colours(linear[::step, ::step], matrix)
    luminance = rgb @ _LUMINANCE if rgb.shape[2] == 3 else rgb[..., 0]
    lit = luminance[luminance > 0].astype(np.float64)
    if lit.size == 0:
        return np.float32(1), None
    low, high = _FINISHED_RENDER
    if low <= np.percentile(lit, 99) <= high:
        return np.float32(1), None
    exposure = _MIDDLE_GREY / np.exp(np.log(lit).mean())
    return np.float32(exposure), np.float32(max(1.0, np.percentile(lit, 99.5) * exposure))


def encoded(linear: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """sRGB bytes of linear values; what lies outside 0 to 1 is cut."""
    curve = _srgb_curve()
    return np.asarray(curve[(np.clip(linear, 0, 1) * (len(curve) - 1) + 0.5).astype(np.uint16)])


@cache
def _srgb_curve() -> NDArray[np.uint8]:
    """sRGB bytes for 65536 linear values from 0 to 1 (IEC 61966-2-1)."""
    x = np.linspace(0, 1, 1 << 16)
    encoded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-9) ** (1 / 2.4) - 0.055)
    return np.round(encoded * 255).astype(np.uint8)


def read_hdr(path: Path, max_pixels: int) -> tuple[ImageArray, tuple[str, ...]]:
    """Read a Radiance HDR picture (.hdr): the picture and notes, as `expose` returns them.

    Raises:
        FileError: too large, truncated or damaged.
    """
    with open(path, "rb") as file:
        header = file.read(_HDR_HEADER_BYTES)
    size = re.search(rb"\n\n([-+])Y (\d{1,9}) ([-+])X (\d{1,9})\n", header)
    if size is None:
        raise FileError(f"{path} has no valid Radiance HDR header; export it again as EXR, JPEG or PNG.")
    height, width = int(size[2]), int(size[4])
    check_size(path, width, height, max_pixels)
    data = np.fromfile(path, dtype=np.uint8)
    data[[size.start(1), size.start(3)]] = np.frombuffer(b"-+", dtype=np.uint8)  # the only order OpenCV reads
    pixels = _decode_with_opencv(path, data)
    return expose(pixels[:: 1 if size[1] == b"-" else -1, :: 1 if size[3] == b"+" else -1])


def _decode_with_opencv(path: Path, data: NDArray[np.uint8]) -> NDArray[Any]:
    """The pixels of a picture as stored, its colours in the order RGB; FileError where OpenCV cannot."""
    import cv2

    with decoding(path, "picture", "export it again as PNG, JPEG or EXR"):
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise FileError(f"{path} is truncated or of an unsupported kind; export it again as PNG, JPEG or EXR.")
        return pixels if pixels.ndim == 2 else np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels))
