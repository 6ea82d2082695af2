"""Damage to files, by a seeded generator: bytes, lengths, numbers in headers, and whole parts of a container."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
from fuzz_seeds import HEIGHT, WIDTH, Seed

_ODD = (0, 1, 2, 3, 7, 60, 62, 90, 256, 1000, 4900, 9000, 16383, 32767, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_HEADER = 800
_MOST_CHANGES = 6


class Damage:
    """Changes bytes; the same generator gives the same changes."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self._ways: tuple[Callable[[bytes], bytes], ...] = (
            self._flipped, self._overwritten, self._cut, self._number, self._number, self._size, self._size,
            self._text_size, self._taken_out, self._doubled, self._filled_in, self._parts, self._parts,
        )  # fmt: skip

    def apply(self, seed: Seed, others: list[Seed]) -> tuple[bytes, dict[str, bytes], bool]:
        """The file's bytes, those of the files beside it, and whether nothing was done but to cut its end."""
        if seed.beside and self._random.random() < 0.4:
            return seed.data, {name: self._changed(data) for name, data in seed.beside.items()}, False
        if self._random.random() < 0.05:
            other = others[self._random.integers(len(others))].data
            return self._spliced(seed.data, other), seed.beside, False
        if self._random.random() < 0.08:
            return self._cut(seed.data), seed.beside, True
        data = self._changed(seed.data)
        if self._random.random() < 0.6:  # else nearly all damage ends at a checksum
            data = with_checksums(data)
        return data, seed.beside, False

    def _changed(self, data: bytes) -> bytes:
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            data = self._ways[self._random.integers(len(self._ways))](data) or data
        return data

    def _place(self, data: bytes, room: int = 1) -> int:
        """A place with `room` bytes behind it, of two the first in the header."""
        end = max(1, len(data) - room + 1)
        return int(self._random.integers(min(end, _HEADER) if self._random.random() < 0.5 else end))

    def _flipped(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._random.integers(1, _MOST_CHANGES)):
            changed[self._place(data)] ^= 1 << int(self._random.integers(8))
        return bytes(changed)

    def _overwritten(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self._random.integers(1, _MOST_CHANGES)):
            changed[self._place(data)] = self._random.integers(256)
        return bytes(changed)

    def _cut(self, data: bytes) -> bytes:
        return data[: int(self._random.integers(1, max(2, len(data))))]

    def _number(self, data: bytes) -> bytes:
        """A whole number of a header that is another."""
        changed, kind = bytearray(data), str(self._random.choice(("<H", ">H", "<I", ">I", "<Q")))
        room = struct.calcsize(kind)
        if len(data) < room:
            return data
        value = _ODD[self._random.integers(len(_ODD))] % (1 << 8 * room)
        struct.pack_into(kind, changed, self._place(data, room), value)
        return bytes(changed)

    def _size(self, data: bytes) -> bytes:
        """The width or height, where a header has it, larger or smaller; EXR has the last column and row."""
        places = [
            (place, kind)
            for kind in ("<H", ">H", "<I", ">I")
            for side in (WIDTH, HEIGHT, WIDTH - 1, HEIGHT - 1)
            for place in _places(data[:4000], struct.pack(kind, side))
        ]
        if not places:
            return data
        place, kind = places[self._random.integers(len(places))]
        changed, side = bytearray(data), _ODD[self._random.integers(len(_ODD))]
        struct.pack_into(kind, changed, place, side % (1 << 8 * struct.calcsize(kind)))
        return bytes(changed)

    def _text_size(self, data: bytes) -> bytes:
        """The same where it is written in digits."""
        side = str(self._random.choice((WIDTH, HEIGHT))).encode()
        value = _ODD[self._random.integers(len(_ODD))]
        head = data[:_HEADER].replace(side, str(value).encode()[: self._random.choice((len(side), 10))], 1)
        return head + data[_HEADER:]

    def _span(self, data: bytes) -> tuple[int, int]:
        start = self._place(data)
        return start, min(len(data), start + int(2 ** self._random.uniform(0, 9)))

    def _taken_out(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[end:]

    def _doubled(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:end] + data[start:end] + data[end:]

    def _filled_in(self, data: bytes) -> bytes:
        start, end = self._span(data)
        value = self._random.choice((0, 255, int(self._random.integers(256))))
        return data[:start] + bytes([value]) * (end - start) + data[end:]

    def _spliced(self, data: bytes, other: bytes) -> bytes:
        return data[: self._place(data)] + other[self._place(other) :]

    def _parts(self, data: bytes) -> bytes:
        """A part of the container gone, doubled, moved or damaged within."""
        parts = parts_of(data)
        if len(parts) < 2:
            return self._number(data)
        at, what = int(self._random.integers(len(parts))), self._random.integers(4)
        if what == 0:
            del parts[at]
        elif what == 1:
            parts.insert(at, parts[at])
        elif what == 2:
            parts.insert(int(self._random.integers(len(parts))), parts.pop(at))
        else:
            parts[at] = self._flipped(parts[at]) if parts[at] else b""
        return b"".join(parts)


def _places(data: bytes, wanted: bytes) -> list[int]:
    found, place = [], data.find(wanted)
    while place >= 0:
        found.append(place)
        place = data.find(wanted, place + 1)
    return found


def parts_of(data: bytes) -> list[bytes]:
    """The bytes cut where a container has parts: PNG chunks, JPEG segments, RIFF chunks, boxes, EXR attributes."""
    if data.startswith(b"\x89PNG"):
        return _cut_at(data, 8, lambda place: 12 + struct.unpack_from(">I", data, place)[0])
    if data.startswith(b"\xff\xd8"):
        return _cut_at(data, 2, lambda place: 2 + struct.unpack_from(">H", data, place + 2)[0])
    if data.startswith(b"RIFF"):
        return _cut_at(data, 12, lambda place: 8 + (struct.unpack_from("<I", data, place + 4)[0] + 1) // 2 * 2)
    if data[4:8] in (b"ftyp", b"jP  "):
        return _cut_at(data, 0, lambda place: struct.unpack_from(">I", data, place)[0])
    if data.startswith(b"\x76\x2f\x31\x01"):

        def attribute(place: int) -> int:
            value = data.index(0, data.index(0, place) + 1) + 1
            return value + 4 + int(struct.unpack_from("<i", data, value)[0]) - place

        return _cut_at(data, 8, attribute)
    return []


def _cut_at(data: bytes, place: int, length_at: Callable[[int], int]) -> list[bytes]:
    parts = [data[:place]] if place else []
    while place < len(data):
        try:
            length = length_at(place)
        except (struct.error, ValueError):
            break
        if length <= 0 or place + length > len(data):
            break
        parts.append(data[place : place + length])
        place += length
    return [*parts, data[place:]]


def with_checksums(data: bytes) -> bytes:
    """The file with right checksums: of PNG chunks and of entries that a zip archive stores."""
    if data.startswith(b"\x89PNG"):
        head, *chunks = parts_of(data)
        return head + b"".join(
            chunk[:-4] + struct.pack(">I", zlib.crc32(chunk[4:-4])) if len(chunk) >= 12 else chunk for chunk in chunks
        )
    if not data.startswith(b"PK\x03\x04"):
        return data
    changed = bytearray(data)
    for place in _places(data, b"PK\x01\x02"):
        if place + 46 > len(data) or struct.unpack_from("<H", data, place + 10)[0] != 0:
            continue
        (size,), (start,) = struct.unpack_from("<I", data, place + 20), struct.unpack_from("<I", data, place + 42)
        if start + 30 <= len(data) and size < 2**32 - 1:
            body = start + 30 + sum(struct.unpack_from("<HH", data, start + 26))
            for at in (place + 16, start + 14):
                struct.pack_into("<I", changed, at, zlib.crc32(data[body : body + size]))
    return bytes(changed)
