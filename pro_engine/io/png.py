"""What PNG says of its values beyond Pillow: their gamma and primaries, and 16 bits of colour; writing grey of 16 bits.

The layout is that of PNG (Third Edition), sections 5 and 9, and of zlib (RFC 1950).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pro_engine.io import linear
from pro_engine.io.bits import used_bits
from pro_engine.types import ImageArray

_SRGB_GAMMA = 1 / 2.2
_SAME_GAMMA = 0.01
_HIGH_BYTE_OF_14_BITS = 1 << 6
_PLAIN, _UP = 0, 2  # filters of a row: none, and the difference from the row above
_STRIP_BYTES = 1 << 21

Codes = Callable[[slice], NDArray[np.uint16]]
"""Some rows of a picture (H, W), for any slice of them."""


def decoded(path: Path, picture: Image.Image) -> tuple[Image.Image | ImageArray, tuple[str, ...]]:
    """A loaded PNG picture itself; where its values have to be worked over, as finished sRGB with notes.

    The chunks gAMA and cHRM count where neither an ICC profile nor the chunk sRGB is there (PNG 3, 4.3). Colours of 16
    bits, of which Pillow keeps 8, are read again where the low ones matter.
    """
    values, bits = None, 8
    notes: tuple[str, ...] = ()
    if picture.mode in ("RGB", "RGBA", "LA") and _bit_depth(path) == 16:
        greatest = int(np.max(picture.getextrema()[: 1 if picture.mode == "LA" else 3]))
        if _gamma(picture) is not None or 0 < greatest < _HIGH_BYTE_OF_14_BITS:
            values = _wide(path)
    elif _gamma(picture) is not None:
        values = np.atleast_3d(
            np.asarray(picture if picture.mode.startswith("I") else picture.convert(_plain(picture)))
        )
    if values is None:
        return picture, ()
    colours = values[..., : 3 if values.shape[2] > 2 else 1]
    if values.dtype == np.uint8:
        alpha = values[..., colours.shape[2] :] / np.float32(255)
    else:
        alpha = values[..., colours.shape[2] :] / np.float32(65535)
        bits, notes = used_bits(int(colours.max()), 16)
    return _finished(picture, colours, alpha, bits), notes


def _plain(picture: Image.Image) -> str:
    """The mode without a palette or key colour in which a picture holds the same."""
    if picture.has_transparency_data:
        return "RGBA"
    return "L" if picture.mode in ("1", "L") else "RGB"


def _gamma(picture: Image.Image) -> float | None:
    """The exponent from light to values; None where it is that of sRGB, or where a profile goes first."""
    gamma = picture.info.get("gamma")
    if not gamma or "srgb" in picture.info or picture.info.get("icc_profile"):
        return None
    return None if abs(gamma - _SRGB_GAMMA) < _SAME_GAMMA else float(gamma)


def _bit_depth(path: Path) -> int:
    with open(path, "rb") as file:
        head = file.read(25)
    return head[24] if len(head) == 25 and head.startswith(b"\x89PNG") else 8


def _wide(path: Path) -> NDArray[Any]:
    """The values (H, W, 1, 3 or 4) uint16 in the order RGBA; the file has been decoded once, so that it is sound."""
    import cv2

    values = np.asarray(cv2.imdecode(np.fromfile(path, dtype=np.uint8), cv2.IMREAD_UNCHANGED))
    if values.ndim == 2:
        return values[..., np.newaxis]
    return np.asarray(cv2.cvtColor(values, cv2.COLOR_BGR2RGB if values.shape[2] == 3 else cv2.COLOR_BGRA2RGBA))


def _finished(picture: Image.Image, colours: NDArray[Any], alpha: NDArray[np.float32], bits: int) -> ImageArray:
    """Colours as sRGB, over white where they are transparent."""
    gamma = _gamma(picture)
    levels = np.arange(1 << bits) / ((1 << bits) - 1)
    table = (levels * 255 if gamma is None else levels ** (1 / gamma)).astype(np.float32)
    matrix = None
    if gamma is not None and len(at := picture.info.get("chromaticity", ())) == 8 and colours.shape[2] == 3:
        matrix = linear.rgb_to_rgb((*at[2:], *at[:2]))
    height, width = colours.shape[:2]
    image = np.empty((height, width, 3), np.uint8)
    has_matte = alpha.size > 0 and bool(alpha.any())
    for rows in linear.row_strips(height, width):
        strip = table[np.minimum(colours[rows], len(table) - 1)]
        if gamma is not None:
            strip = linear.encoded(strip if matrix is None else strip @ matrix.T).astype(np.float32)
        if has_matte:
            strip = strip * alpha[rows] + 255 * (1 - alpha[rows])
        image[rows] = strip + 0.5
    return image


def write_grey16(path: Path, size: tuple[int, int], codes: Codes, texts: Mapping[str, str]) -> None:
    """Write a PNG (H, W) of 16-bit grey with ASCII texts, not atomically; `codes` gives some of its rows.

    Strips of rows are packed at the same time, no more of them than there are processors: each ends at a whole byte (a
    sync flush), so that one behind the other they are one stream. Every row is the difference from the one above, which
    for smooth maps packs as well as Pillow's choice among five filters, in a third of the time.
    """
    height, width = size
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">2I5B", width, height, 16, 0, 0, 0, 0)))
        for key, text in texts.items():
            file.write(_chunk(b"tEXt", key.encode("ascii") + b"\0" + text.encode("ascii")))
        file.writelines(_chunk(b"IDAT", part) for part in _zlib_stream(size, codes))
        file.write(_chunk(b"IEND", b""))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _zlib_stream(size: tuple[int, int], codes: Codes) -> Iterator[bytes]:
    """The rows of a picture as they are packed, strip by strip."""
    height, width = size
    step, at_once = max(1, _STRIP_BYTES // (2 * width + 1)), os.cpu_count() or 1
    tops = range(0, height, step)
    yield b"\x78\x01"  # deflate with a window of 32 KB, packed fast
    checksum = 1

    def pack(top: int) -> tuple[bytes, NDArray[np.uint8]]:
        return _packed(codes, top, min(top + step, height), height)

    with ThreadPoolExecutor(at_once) as threads:
        for first in range(0, len(tops), at_once):
            for packed, rows in threads.map(pack, tops[first : first + at_once]):
                checksum = zlib.adler32(rows.data, checksum)
                yield packed
    yield struct.pack(">I", checksum)


def _packed(codes: Codes, top: int, stop: int, height: int) -> tuple[bytes, NDArray[np.uint8]]:
    """Some rows as deflate's blocks, without the head and the checksum of a stream; and their bytes before that."""
    lines = codes(slice(max(top - 1, 0), stop)).astype(">u2").view(np.uint8)
    rows = np.empty((stop - top, lines.shape[1] + 1), np.uint8)
    rows[:, 0] = _UP
    np.subtract(lines[1:], lines[:-1], out=rows[top == 0 :, 1:])
    if top == 0:
        rows[0, 0], rows[0, 1:] = _PLAIN, lines[0]
    packer = zlib.compressobj(1, zlib.DEFLATED, -15, 9)
    end = zlib.Z_FINISH if stop == height else zlib.Z_SYNC_FLUSH
    return packer.compress(rows.data) + packer.flush(end), rows
