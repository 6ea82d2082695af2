"""The depth map in a portrait photo, in a HEIC file that is put together here: no package writes one."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pro_engine.errors import FileError
from pro_engine.io.depth import DepthInfo, load_depth
from pro_engine.io.image import load_image

pillow_heif = pytest.importorskip("pillow_heif")

DEPTH_TYPE = b"urn:mpeg:hevc:2015:auxid:2\0"


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def boxes(data: bytes) -> dict[bytes, bytes]:
    """The boxes of a box, each with its head, by kind; those of one kind behind each other."""
    found: dict[bytes, bytes] = {}
    place = 0
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        found[kind] = found.get(kind, b"") + data[place : place + size]
        place += size
    return found


def sei(kind: int, ends: dict[str, float]) -> bytes:
    """The SEI message "depth representation information" (ITU-T H.265, G.14.2.3) as libheif looks for it."""
    order = ("z_near", "z_far", "d_min", "d_max")
    bits = "".join("1" if name in ends else "0" for name in order)
    bits += f"{kind + 1:b}".rjust(2 * (kind + 1).bit_length() - 1, "0")  # ue(v)
    bits += "1" if {"d_min", "d_max"} & ends.keys() else ""  # view 0, ue(v)
    for name in order:
        if name in ends:
            exponent = math.floor(math.log2(ends[name]))
            mantissa = round((ends[name] / 2**exponent - 1) * 2**20)
            bits += f"0{exponent + 31:07b}{19:05b}{mantissa:020b}"
    bits += "1"
    payload = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    message = bytes([39 << 1, 1, 177, len(payload)]) + payload + b"\x80"
    nal = struct.pack(">I", len(message)) + message
    return struct.pack(">I", len(nal)) + nal


def portrait(path: Path, values: np.ndarray, kind: int, ends: dict[str, float]) -> Path:
    """A HEIC photo of 128 x 96 pixels whose second picture is its depth map."""
    photo = pillow_heif.from_pillow(Image.new("RGB", (128, 96), (90, 60, 30)))
    photo.add_from_pillow(Image.fromarray(values))
    photo.save(path, quality=-1, chroma=444)
    parts = boxes(path.read_bytes())
    meta = boxes(parts[b"meta"][12:])
    properties = boxes(meta[b"iprp"][8:])
    told = box(b"auxC", bytes(4), DEPTH_TYPE, sei(kind, ends) if ends else b"")
    held = len(list(iterate(properties[b"ipco"][8:])))
    shared = properties[b"ipma"]
    count_at = 16 + 3 + shared[18] + 2  # behind the head and the first item: the count of the second
    shared = shared[:count_at] + bytes([shared[count_at] + 1]) + shared[count_at + 1 :] + bytes([held + 1])
    shared = struct.pack(">I", len(shared)) + shared[4:]
    meta[b"iprp"] = box(b"iprp", box(b"ipco", properties[b"ipco"][8:], told), shared)
    meta[b"iref"] = box(b"iref", bytes(4), box(b"auxl", struct.pack(">3H", 2, 1, 1)))
    grown = sum(map(len, meta.values())) - len(parts[b"meta"][12:])
    meta[b"iloc"] = with_offsets_moved(meta[b"iloc"], grown)
    path.write_bytes(parts[b"ftyp"] + box(b"meta", bytes(4), *meta.values()) + parts[b"mdat"])
    return path


def iterate(data: bytes) -> list[bytes]:
    found, place = [], 0
    while place < len(data):
        (size,) = struct.unpack_from(">I", data, place)
        found.append(data[place : place + size])
        place += size
    return found


def with_offsets_moved(iloc: bytes, by: int) -> bytes:
    """Version 0; bases, offsets and lengths of four bytes, one extent for each of two items."""
    moved = bytearray(iloc)
    for item in range(2):
        place = 16 + item * 18 + 10
        struct.pack_into(">I", moved, place, struct.unpack_from(">I", moved, place)[0] + by)
    return bytes(moved)


VALUES = np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)
SHARE = VALUES / 255


@pytest.mark.parametrize(
    ("kind", "ends", "wanted"),
    [
        (0, {"z_near": 0.5, "z_far": 4.0}, 1 / (0.25 + SHARE * 1.75)),
        (1, {"d_min": 0.25, "d_max": 2.0}, 1 / (0.25 + SHARE * 1.75)),
        (2, {"z_near": 0.5, "z_far": 4.0}, 0.5 + SHARE * 3.5),
    ],
)
def test_depth_of_a_portrait_photo(tmp_path: Path, kind: int, ends: dict[str, float], wanted: np.ndarray) -> None:
    path = portrait(tmp_path / "a.heic", VALUES, kind, ends)
    depth, info = load_depth(path)
    assert info == DepthInfo("unknown", "unknown", {})
    assert np.abs(depth / wanted - 1).max() < 0.02  # a code of 8 bits more or less
    assert load_image(path)[0].shape == (96, 128, 3)


def test_depth_without_a_range_and_photos_without_depth(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"says no range.*give another depth file"):
        load_depth(portrait(tmp_path / "a.heic", VALUES, 1, {}))
    pillow_heif.from_pillow(Image.new("RGB", (64, 48))).save(tmp_path / "b.heic")
    with pytest.raises(FileError, match=r"b\.heic holds no depth map"):
        load_depth(tmp_path / "b.heic")
