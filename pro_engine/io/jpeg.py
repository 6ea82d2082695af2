"""JPEG files that lack nothing but the mark at their end."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from pro_engine.errors import FileError

_START, _END, _SCAN = b"\xff\xd8", b"\xff\xd9", 0xDA
_PROGRESSIVE = (0xC2, 0xCA)
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD8))


def with_its_end(path: Path, error: FileError) -> bytes | None:
    """The bytes of a JPEG file with the mark that its end lacks; None where pixels are missing too, or all else failed.

    Whether pixels are missing is told by decoding again: what follows the last pixel changes nothing, what stands in
    for a missing one does.

    Args:
        path: the file.
        error: why it was refused.
    """
    if "truncated" not in str(error.__cause__):
        return None
    data = path.read_bytes()
    if not data.startswith(_START) or _END in data[-2:]:
        return None
    data = data.rstrip(b"\xff")
    if not _scans_are_complete(data):
        return None
    noise = (b"\x55" * 64, b"\xaa" * 64)
    mark = _next_restart(data)  # without it a decoder skips what follows the last whole interval
    pictures = [_pixels(data + padding + _END) for padding in (b"", *noise, *(mark + padding for padding in noise))]
    return data + _END if pictures[0] is not None and pictures.count(pictures[0]) == len(pictures) else None


def _next_restart(data: bytes) -> bytes:
    """The mark that stands before the next restart interval; they are numbered from 0 to 7 (ITU-T T.81, B.1.1.3)."""
    number = max((data.rfind(bytes([0xFF, 0xD0 + each])), each) for each in range(8))
    return bytes([0xFF, 0xD0 + (number[1] + 1) % 8 if number[0] >= 0 else 0xD0])


def _pixels(data: bytes) -> bytes | None:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            return bytes(picture.tobytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _scans_are_complete(data: bytes) -> bool:
    """Whether the scans bring every coefficient to its last bit. A file of one scan has them all (ITU-T T.81, G.1)."""
    place, progressive, components = 2, False, 0
    bits_to_come: dict[tuple[int, int], int] = {}
    while (place := data.find(b"\xff", place)) >= 0 and place + 4 <= len(data):
        marker = data[place + 1]
        if marker in (0x00, 0xFF, *_WITHOUT_LENGTH):
            place += 1
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        body = data[place + 4 : place + 2 + length]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(body) > 5:
            progressive, components = marker in _PROGRESSIVE, body[5]
        elif marker == _SCAN and progressive and len(body) >= 4:
            first, last, low = body[-3], body[-2], body[-1] & 0x0F
            for component in body[1 : 1 + 2 * body[0] : 2]:
                bits_to_come |= {(component, at): low for at in range(first, last + 1)}
        place += 2 + length
    return not progressive or (len(bits_to_come) == 64 * components and not any(bits_to_come.values()))
