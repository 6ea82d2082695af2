"""The size that a picture or map claims, by parsers that share nothing with the readers of the project."""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import math
import re
import struct
import zipfile
from collections.abc import Callable, Iterator

Size = tuple[int, int]
"""Width and height."""

_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xDA)}
_VALUE_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q"}
_MOST_DIRECTORIES = 64


def claimed_sizes(data: bytes, suffix: str) -> set[Size]:
    """Every size that the headers of a file give for a picture in it; empty where they give none.

    Where the file can say that it is to be turned, the turned sizes are there too.
    """
    found: set[Size] = set()
    with contextlib.suppress(Exception):  # a parser ends where the damage leaves nothing to go by
        for size in _parser(data, suffix)(data):
            found.add(size)
    can_turn = b"Exif" in data or b"EXIF" in data or data[:2] in (b"II", b"MM") or data[4:8] == b"ftyp"
    return found | {(height, width) for width, height in found if can_turn}


def _parser(data: bytes, suffix: str) -> Callable[[bytes], Iterator[Size]]:
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    return next((parser for head, parser in _BY_HEAD.items() if data.startswith(head)), _by_boxes)


def _png(data: bytes) -> Iterator[Size]:
    for found in re.finditer(rb"IHDR(.{8})", data, re.DOTALL):
        yield struct.unpack(">II", found[1])


def _jpeg(data: bytes) -> Iterator[Size]:
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF or data[place + 1] in (0x00, 0xFF):
            place += 1
            continue
        marker = data[place + 1]
        if marker in _JPEG_WITHOUT_LENGTH:
            place += 2
            continue
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            yield width, height
        place += 2 + struct.unpack_from(">H", data, place + 2)[0]


def _gif(data: bytes) -> Iterator[Size]:
    width, height = struct.unpack_from("<HH", data, 6)
    yield width, height
    flags, place = data[10], 13
    place += 3 << (flags & 7) + 1 if flags & 0x80 else 0
    while data[place] != 0x2C:  # blocks before the first picture
        place += 2 if data[place] == 0x21 else 1
        while data[place - 1] != 0 and data[place]:
            place += 1 + data[place]
        place += 1
    x, y, frame_width, frame_height = struct.unpack_from("<4H", data, place + 1)
    yield max(width, x + frame_width), max(height, y + frame_height)


def _bmp(data: bytes) -> Iterator[Size]:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        yield struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
        yield width, abs(height)


def _webp(data: bytes) -> Iterator[Size]:
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        body = data[place + 8 : place + 8 + length]
        if kind == b"VP8X":
            yield 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
        elif kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", body, 6)
            yield width & 0x3FFF, height & 0x3FFF
        elif kind == b"VP8L":
            bits = int.from_bytes(body[1:5], "little")
            yield 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        place += 8 + length + length % 2


def _tiff(data: bytes) -> Iterator[Size]:
    order = "<" if data.startswith(b"II") else ">"
    is_big = struct.unpack_from(order + "H", data, 2)[0] == 43
    word, count_format, entry = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    waiting, seen = [struct.unpack_from(order + word, data, 8 if is_big else 4)[0]], set[int]()
    while waiting and len(seen) < _MOST_DIRECTORIES:
        place = waiting.pop(0)
        if place in seen or place == 0 or place >= len(data):
            continue
        seen.add(place)
        (count,) = struct.unpack_from(order + count_format, data, place)
        place += struct.calcsize("<" + count_format)
        sides: dict[int, list[int]] = {256: [], 257: []}
        for at in range(place, min(len(data), place + entry * count), entry):
            if len(data) < at + entry:
                break
            code, kind = struct.unpack_from(order + "HH", data, at)
            (values,) = struct.unpack_from(order + word, data, at + 4)
            value_at = at + 4 + struct.calcsize("<" + word)
            if code in sides:
                sides[code].append(struct.unpack_from(order + _VALUE_TYPES.get(kind, "I"), data, value_at)[0])
            elif code == 330:
                (value,) = struct.unpack_from(order + word, data, value_at)
                places = value if values == 1 else struct.unpack_from(order + word, data, value)[0]
                waiting.append(places)
        yield from itertools.product(sides[256], sides[257])
        with contextlib.suppress(struct.error):
            waiting.append(struct.unpack_from(order + word, data, place + entry * count)[0])


def _exr(data: bytes) -> Iterator[Size]:
    for found in re.finditer(rb"dataWindow\0[^\0]*\0.{4}(.{16})", data, re.DOTALL):
        x, y, last_x, last_y = struct.unpack("<4i", found[1])
        yield last_x - x + 1, last_y - y + 1


def _hdr(data: bytes) -> Iterator[Size]:
    if found := re.search(rb"\n\n[-+]Y (\d+) [-+]X (\d+)\n", data):
        yield int(found[2]), int(found[1])


def _pnm(data: bytes) -> Iterator[Size]:
    if found := re.match(rb"P.\s*(?:#[^\n]*\n\s*)*(\d+)\s+(?:#[^\n]*\n\s*)*(\d+)", data):
        yield int(found[1]), int(found[2])


def _tga(data: bytes) -> Iterator[Size]:
    yield struct.unpack_from("<HH", data, 12)


def _by_boxes(data: bytes) -> Iterator[Size]:
    """HEIF and JPEG 2000: the extents of pictures, what is cut out of them (ISO 14496-12, 12.1.4), a code stream."""
    extents = [struct.unpack(">II", found[1]) for found in re.finditer(rb"ispe.{4}(.{8})", data, re.DOTALL)]
    yield from extents
    for found in re.finditer(rb"clap(.{32})", data, re.DOTALL):
        width, width_by, height, height_by = struct.unpack_from(">4I", found[1])
        x, x_by, y, y_by = struct.unpack_from(">iIiI", found[1], 16)
        for whole_width, whole_height in extents:
            yield (
                _kept(whole_width, width / width_by, x / x_by),
                _kept(whole_height, height / height_by, y / y_by),
            )
    for found in re.finditer(rb"\xff\x4f\xff\x51.{4}(.{16})", data, re.DOTALL):
        width, height, x, y = struct.unpack(">4I", found[1])
        yield width - x, height - y


def _kept(whole: int, kept: float, offset: float) -> int:
    """Columns or rows of a picture that lie in a clean aperture."""
    middle = (whole - 1) / 2 + offset
    first, last = (math.floor(middle + half + 0.5) for half in (-(kept - 1) / 2, (kept - 1) / 2))
    return min(whole - 1, last) - max(0, first) + 1


def _video(data: bytes) -> Iterator[Size]:
    """As FFmpeg tells it before a frame is decoded, with square pixels."""
    import av

    with av.open(io.BytesIO(data), metadata_errors="replace") as file:
        for stream in file.streams.video:
            width, height = stream.codec_context.width, stream.codec_context.height
            yield max(1, round(width * float(stream.sample_aspect_ratio or 1))), height


def _npy(data: bytes) -> Iterator[Size]:
    length_format = "<H" if data[6] == 1 else "<I"
    start = 8 + struct.calcsize(length_format)
    (length,) = struct.unpack_from(length_format, data, 8)
    shape = ast.literal_eval(data[start : start + length].decode("latin-1"))["shape"]
    if len(shape) == 2:
        yield shape[1], shape[0]


def _npz(data: bytes) -> Iterator[Size]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            with contextlib.suppress(Exception), archive.open(name) as entry:
                yield from _npy(entry.read(1024))


_BY_SUFFIX = {".npy": _npy, ".npz": _npz, ".pfm": _pnm, ".mp4": _video}
_BY_HEAD: dict[bytes, Callable[[bytes], Iterator[Size]]] = {
    b"\x89PNG": _png, b"\xff\xd8": _jpeg, b"GIF8": _gif, b"BM": _bmp, b"RIFF": _webp, b"II": _tiff, b"MM": _tiff,
    b"\x76\x2f\x31\x01": _exr, b"#?": _hdr, b"P": _pnm, b"\0\0\x02": _tga, b"\0\0\x0a": _tga,
}  # fmt: skip
