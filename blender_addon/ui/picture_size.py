# SPDX-License-Identifier: GPL-3.0-or-later
"""How many pixels a picture has, from the first bytes of its file. Needs the standard library only."""

from __future__ import annotations

import struct
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

HEAD = 64  # bytes that tell the format
MAX_STEPS = 4096  # segments or tags looked at


def picture_size(path: str | Path) -> tuple[int, int] | None:
    """Width and height as stored, before any turning; None if the file is missing or of a format not known here.

    PNG, JPEG, TIFF, OpenEXR, WebP, GIF and BMP are known. No pixel is read.
    """
    try:
        changed = Path(path).stat().st_mtime_ns
    except (OSError, ValueError):
        return None
    return _remembered(str(path), changed)


@lru_cache(maxsize=64)
def _remembered(path: str, _changed: int) -> tuple[int, int] | None:
    try:
        with open(path, "rb") as file:
            size = _size(file)
    except (OSError, struct.error, ValueError, IndexError):
        return None
    return size if size and min(size) > 0 else None


def _size(file: BinaryIO) -> tuple[int, int] | None:
    head = file.read(HEAD)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return struct.unpack_from(">II", head, 16)
    if head.startswith(b"\xff\xd8"):
        return _jpeg(file)
    if head[:4] in (b"II*\0", b"MM\0*"):
        return _tiff(file, "<" if head[:1] == b"I" else ">")
    if head.startswith(b"\x76\x2f\x31\x01"):
        return _exr(file)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp(head)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return struct.unpack_from("<HH", head, 6)
    if head.startswith(b"BM"):
        width, height = struct.unpack_from("<ii", head, 18)
        return width, abs(height)
    return None


def _jpeg(file: BinaryIO) -> tuple[int, int] | None:
    """From the frame header, behind segments of any length."""
    file.seek(2)
    for _ in range(MAX_STEPS):
        mark, kind = struct.unpack(">BB", file.read(2))
        while kind == 0xFF:  # fill bytes
            kind = file.read(1)[0]
        if mark != 0xFF:
            return None
        (length,) = struct.unpack(">H", file.read(2))
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">xHH", file.read(5))
            return width, height
        file.seek(length - 2, 1)
    return None


def _tiff(file: BinaryIO, order: str) -> tuple[int, int] | None:
    """Tags 256 and 257 of the first directory."""
    file.seek(4)
    (place,) = struct.unpack(order + "I", file.read(4))
    file.seek(place)
    (count,) = struct.unpack(order + "H", file.read(2))
    found: dict[int, int] = {}
    for _ in range(min(count, MAX_STEPS)):
        tag, kind, _, value = struct.unpack(order + "HHI4s", file.read(12))
        if tag in (256, 257):
            found[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), value)[0]
    return (found[256], found[257]) if len(found) == 2 else None


def _exr(file: BinaryIO) -> tuple[int, int] | None:
    """From the attribute `dataWindow`."""
    file.seek(8)
    for _ in range(MAX_STEPS):
        name = _text(file)
        if not name:
            return None
        _text(file)
        (length,) = struct.unpack("<I", file.read(4))
        if name == b"dataWindow":
            left, top, right, bottom = struct.unpack("<4i", file.read(16))
            return right - left + 1, bottom - top + 1
        file.seek(length, 1)
    return None


def _text(file: BinaryIO) -> bytes:
    """Up to the next zero byte."""
    text = bytearray()
    while (byte := file.read(1)) not in (b"", b"\0") and len(text) < 256:
        text += byte
    return bytes(text)


def _webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        width, height = (int.from_bytes(head[start : start + 3], "little") + 1 for start in (24, 27))
        return width, height
    return None
