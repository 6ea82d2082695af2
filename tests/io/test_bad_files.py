"""Bad input of every kind gives one clear sentence: which file or value, what is wrong, and what to do next."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
import tifffile
from PIL import Image

from pro_engine.errors import FileError, InputError, ProEngineError
from pro_engine.io.depth import load_depth, save_depth
from pro_engine.io.image import load_image

PHOTO = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
DEPTH = np.random.default_rng(1).random((48, 64), dtype=np.float32) + 1

Bad = Callable[[Path], object]
Refused = Callable[[Bad, Path, str, type[ProEngineError]], None]


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has one chunk of compressed zeros."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def image_file(name: str, data: bytes, **options: Any) -> Bad:
    def action(folder: Path) -> object:
        (folder / name).write_bytes(data)
        return load_image(folder / name, **options)

    return action


def cut(name: str, size: float) -> Bad:
    """A good photo of the suffix of `name`, of which only a part is left."""

    def action(folder: Path) -> object:
        Image.fromarray(PHOTO).save(folder / name)
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * size)])
        return load_image(folder / name)

    return action


def cut_exr(folder: Path) -> object:
    save_depth(folder / "a.exr", DEPTH, quantity="disparity")
    (folder / "a.exr").write_bytes((folder / "a.exr").read_bytes()[:-500])
    return load_image(folder / "a.exr")


def exr_without_colours(folder: Path) -> object:
    OpenEXR.File({"type": OpenEXR.scanlineimage}, {"Z": DEPTH}).write(str(folder / "a.exr"))
    return load_image(folder / "a.exr")


def large_exr(folder: Path) -> object:
    save_depth(folder / "a.exr", DEPTH, quantity="disparity")
    return load_image(folder / "a.exr", max_pixels=3071)


def flipped_bits(folder: Path) -> object:
    Image.fromarray(PHOTO).save(folder / "a.png")
    data = bytearray((folder / "a.png").read_bytes())
    data[200:400] = bytes(byte ^ 0xFF for byte in data[200:400])
    (folder / "a.png").write_bytes(data)
    return load_image(folder / "a.png")


def pipe(folder: Path) -> object:
    os.mkfifo(folder / "pipe.jpg")
    return load_image(folder / "pipe.jpg")


def loop(folder: Path) -> object:
    (folder / "loop.png").symlink_to(folder / "loop.png")
    return load_image(folder / "loop.png")


GOOD_TIFF_HEAD = b"II*\0\x08\0\0\0"

BAD_IMAGES: dict[str, tuple[Bad, str, type[ProEngineError]]] = {
    "missing": (lambda f: load_image(f / "gone.jpg"), r"gone\.jpg does not exist", FileError),
    "missing folder": (lambda f: load_image(f / "no" / "a.jpg"), r"a\.jpg does not exist", FileError),
    "file as folder": (lambda f: ((f / "a").write_text("x"), load_image(f / "a" / "b.jpg")), r"b\.jpg", FileError),
    "folder": (lambda f: load_image(f), "is a folder", FileError),
    "empty name": (lambda _: load_image(""), "path is empty", FileError),
    "null in name": (lambda _: load_image("a\0b.jpg"), "null character", FileError),
    "name too long": (lambda f: load_image(f / ("x" * 300 + ".jpg")), "xxx.*cannot be read", FileError),
    "not a path": (lambda _: load_image(None), "path is None", InputError),  # type: ignore[arg-type]
    "loop of links": (loop, r"loop\.png cannot be read", FileError),
    "pipe": (pipe, r"pipe\.jpg is not a regular file", FileError),
    "empty": (image_file("a.jpg", b""), r"a\.jpg is empty", FileError),
    "text": (image_file("a.jpg", b"hello, I am a text\n" * 50), r"a\.jpg is not an image", FileError),
    "web page": (image_file("a.png", b"<!doctype html><html>404</html>" * 9), r"a\.png is not an image", FileError),
    "svg": (image_file("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>'), r"a\.svg is not an image", FileError),
    "pdf": (image_file("a.pdf", b"%PDF-1.7\n%abc" * 20), r"a\.pdf is not an image", FileError),
    "postscript": (
        image_file("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        "not an image",
        FileError,
    ),
    "zeros": (image_file("a.bmp", bytes(5000)), r"a\.bmp is not an image", FileError),
    "noise": (image_file("a.webp", PHOTO.tobytes()), r"a\.webp is not an image", FileError),
    "camera raw": (image_file("a.NEF", GOOD_TIFF_HEAD + bytes(99)), "camera raw file.*develop it", ProEngineError),
    "first bytes only": (cut("a.png", 0.001), r"a\.png is not an image .*cut short", FileError),
    "cut jpeg": (cut("a.jpg", 0.6), r"a\.jpg is truncated", FileError),
    "cut png": (cut("a.png", 0.9), r"a\.png is truncated", FileError),
    "cut webp": (cut("a.webp", 0.5), r"a\.webp", FileError),
    "cut tiff": (cut("a.tif", 0.5), r"a\.tif", FileError),
    "cut gif": (cut("a.gif", 0.5), r"a\.gif is truncated", FileError),
    "cut bmp": (cut("a.bmp", 0.5), r"a\.bmp is truncated", FileError),
    "cut jpeg 2000": (cut("a.jp2", 0.05), r"a\.jp2", FileError),
    "cut avif": (cut("a.avif", 0.5), r"a\.avif", FileError),
    "cut exr": (cut_exr, r"a\.exr is (a damaged|truncated)", FileError),
    "flipped bits": (flipped_bits, r"a\.png is truncated, damaged or no picture", FileError),
    "bomb": (image_file("a.png", png_header(50000, 40000)), "50000 x 40000 pixels, more than .* 400 mega", FileError),
    "bomb beyond 2^31": (image_file("a.png", png_header(2**31 - 1, 2**31 - 1)), "2147483647 x 2147483647", FileError),
    "over the given limit": (image_file("a.png", png_header(9, 9), max_pixels=80), "9 x 9 pixels, more", FileError),
    "large exr": (large_exr, "64 x 48 pixels, more than", FileError),
    "large hdr": (
        image_file("a.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 90000 +X 90000\n" + bytes(99)),
        "90000 x 90000",
        FileError,
    ),
    "no pixels": (image_file("a.png", png_header(0, 5)), r"a\.png", FileError),
    "hdr header only": (image_file("a.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n"), "no valid Radiance", FileError),
    "cut hdr": (image_file("a.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 90 +X 90\nabc"), r"a\.hdr", FileError),
    "hollow tiff": (image_file("a.tif", GOOD_TIFF_HEAD + bytes(99)), r"a\.tif", FileError),
    "hollow exr": (image_file("a.exr", b"\x76\x2f\x31\x01\x02\0\0\0" + bytes(50)), r"a\.exr is truncated", FileError),
    "exr without colours": (exr_without_colours, "no colours, only Z", FileError),
    "hollow heic": (image_file("a.heic", b"\0\0\0\x18ftypheic" + bytes(99)), r"heic", ProEngineError),
    "hollow avif": (image_file("a.avif", b"\0\0\0\x18ftypavif" + bytes(99)), r"a\.avif", FileError),
    "limit of 0": (lambda f: load_image(f / "a.png", max_pixels=0), "max_pixels is 0", InputError),
    "limit of half a pixel": (
        lambda f: load_image(f / "a.png", max_pixels=0.5),  # type: ignore[arg-type]
        r"max_pixels is 0\.5",
        InputError,
    ),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
@pytest.mark.filterwarnings("ignore")
def test_bad_image_files(tmp_path: Path, refused: Refused, case: str) -> None:
    action, expected, kind = BAD_IMAGES[case]
    refused(action, tmp_path, expected, kind)


def saved_then(name: str, change: Callable[[bytes], bytes]) -> Bad:
    """A good depth map whose bytes are changed."""

    def action(folder: Path) -> object:
        save_depth(folder / name, DEPTH)
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        return load_depth(folder / name)

    return action


def depth_file(name: str, data: bytes, **options: Any) -> Bad:
    def action(folder: Path) -> object:
        (folder / name).write_bytes(data)
        return load_depth(folder / name, **options)

    return action


def array_file(name: str, values: np.ndarray[Any, Any], **options: Any) -> Bad:
    def action(folder: Path) -> object:
        if name.endswith(".npy"):
            np.save(folder / name, values, allow_pickle=True)
        elif name.endswith(".npz"):
            np.savez(folder / name, values)
        elif name.endswith(".png"):
            Image.fromarray(values).save(folder / name)
        else:
            tifffile.imwrite(folder / name, values)
        return load_depth(folder / name, **options)

    return action


def two_maps(folder: Path) -> object:
    np.savez(folder / "a.npz", a=DEPTH, b=DEPTH)
    return load_depth(folder / "a.npz")


def lying_npz(folder: Path) -> object:
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (90000, 90000), }\n"
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
    return load_depth(folder / "a.npz")


def without_unit(folder: Path) -> object:
    header = {"pro_engine_depth": 1, "quantity": "depth", "unit": "mm", "metadata": {}}
    tifffile.imwrite(folder / "a.tif", DEPTH, description=json.dumps(header), metadata=None)
    return load_depth(folder / "a.tif")


def exr_of_many_maps(folder: Path) -> object:
    OpenEXR.File({"type": OpenEXR.scanlineimage}, {"u": DEPTH, "w": DEPTH}).write(str(folder / "a.exr"))
    return load_depth(folder / "a.exr")


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


BAD_DEPTHS: dict[str, tuple[Bad, str, type[ProEngineError]]] = {
    "missing": (lambda f: load_depth(f / "gone.npy"), r"gone\.npy does not exist", FileError),
    "folder": (lambda f: ((f / "a.npy").mkdir(), load_depth(f / "a.npy")), "is a folder", FileError),
    "empty": (depth_file("a.npz", b""), r"a\.npz is empty", FileError),
    "unknown suffix": (depth_file("a.jpg", b"abc"), r"a\.jpg has the suffix '\.jpg'.*\.npz", FileError),
    "no suffix": (depth_file("depth", b"abc"), "depth has the suffix ''", FileError),
    **{f"text as {s}": (depth_file(f"a{s}", b"hello " * 99), rf"a\{s}", FileError) for s in (".npy", ".npz", ".png")},
    **{
        f"text as a {s}": (depth_file(f"a{s}", b"hello " * 99), rf"a\{s}", FileError) for s in (".exr", ".tiff", ".pfm")
    },
    **{f"cut {s}": (saved_then(f"a{s}", half), rf"a\{s}", FileError) for s in (".npy", ".npz", ".png")},
    **{f"a cut {s}": (saved_then(f"a{s}", half), rf"a\{s}", FileError) for s in (".exr", ".tiff", ".pfm")},
    "flipped bits in npz": (
        saved_then("a.npz", lambda data: data[:5000] + bytes(50) + data[5050:]),
        r"a\.npz .*damaged",
        FileError,
    ),
    "8-bit picture": (array_file("a.png", PHOTO[..., 0]), "mode L, not a 16-bit depth map", FileError),
    "colour picture": (array_file("a.png", PHOTO), "mode RGB, not a 16-bit", FileError),
    "colour tiff": (array_file("a.tif", PHOTO.astype(np.float32)), r"shape \(48, 64, 3\), not one", FileError),
    "8-bit tiff": (array_file("a.tif", PHOTO[..., 0]), "uint8 values", FileError),
    "stack": (array_file("a.npy", np.zeros((2, 3, 4), np.float32)), r"shape \(2, 3, 4\), not one", FileError),
    "list": (array_file("a.npy", np.zeros(4, np.float32)), r"shape \(4,\), not one", FileError),
    "no pixels": (array_file("a.npy", np.zeros((0, 4), np.float32)), r"a\.npy", FileError),
    "whole numbers": (array_file("a.npy", np.zeros((3, 4), np.int64)), "int64 values", FileError),
    "truth values": (array_file("a.npz", np.zeros((3, 4), bool)), "bool values", FileError),
    "pickle": (array_file("a.npy", np.array([{"a": 1}, None], dtype=object)), r"a\.npy", FileError),
    "two maps": (two_maps, r"entries \['a', 'b'\], not one map", FileError),
    "npz without maps": (depth_file("a.npz", b"PK\x05\x06" + bytes(18)), "not one map", FileError),
    "lying npz": (lying_npz, "90000 x 90000 pixels", FileError),
    "colour pfm": (depth_file("a.pfm", b"PF\n1 1\n-1.0\n" + bytes(12)), "colour PFM", FileError),
    "pfm bomb": (depth_file("a.pfm", b"Pf\n99999 99999\n-1.0\n"), "99999 x 99999", FileError),
    "png bomb": (depth_file("a.png", png_header(50000, 40000)), "50000 x 40000", FileError),
    "over the given limit": (array_file("a.npy", DEPTH, max_pixels=3071), "64 x 48 pixels, more", FileError),
    "maps in an exr": (exr_of_many_maps, "channels u, w, not one map", FileError),
    "damaged header": (without_unit, "damaged header", FileError),
}


@pytest.mark.parametrize("case", BAD_DEPTHS)
@pytest.mark.filterwarnings("ignore")
def test_bad_depth_files(tmp_path: Path, refused: Refused, case: str) -> None:
    action, expected, kind = BAD_DEPTHS[case]
    refused(action, tmp_path, expected, kind)


def test_what_a_decoder_quotes_is_kept_short(tmp_path: Path) -> None:
    """An archive whose two names of an entry differ, one of them as long as the file."""
    save_depth(tmp_path / "a.npz", DEPTH)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    struct.pack_into("<H", data, 26, 60_000)  # the length of the first entry's name
    (tmp_path / "a.npz").write_bytes(bytes(data))
    with pytest.raises(FileError, match=r"a\.npz is truncated, damaged or no .*copy or save it again") as caught:
        load_depth(tmp_path / "a.npz")
    assert len(str(caught.value)) < len(str(tmp_path)) + 400


@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_is_either_read_or_refused(tmp_path: Path) -> None:
    """Bytes changed at random: the file is read, or a ProEngineError says why not; nothing else escapes."""
    random = np.random.default_rng(5)
    for name in ("a.png", "a.jpg", "a.webp", "a.tif", "a.bmp", "a.gif", "a.ppm"):
        Image.fromarray(PHOTO[:16, :16]).save(tmp_path / name)
        try_damaged(tmp_path / name, load_image, random)
    for suffix in (".npy", ".npz", ".png", ".tiff", ".pfm"):
        save_depth(tmp_path / f"d{suffix}", DEPTH[:8, :8], metadata={"text": "x"})
        try_damaged(tmp_path / f"d{suffix}", load_depth, random)


def try_damaged(path: Path, load: Callable[..., object], random: np.random.Generator) -> None:
    good = path.read_bytes()
    for _ in range(25):
        data = bytearray(good)
        for place in random.integers(0, min(len(data), 600), 3):
            data[place] = random.integers(256)
        path.write_bytes(data)
        with contextlib.suppress(ProEngineError):
            load(path, max_pixels=1_000_000)


def header_of(shape: str, dtype: str) -> bytes:
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ("(40, 40)", "|V5242880", "void.* values, not depth"),
        ("(20000, 20000)", "<c16", "complex128 values, not depth"),
        ("(40, 40)", "<U5000000", "str.* values, not depth"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_the_type_of_values_is_looked_at_before_they_are_read(
    tmp_path: Path, suffix: str, shape: str, dtype: str, expected: str
) -> None:
    """The values are not even there: a reader that did not look first would say that they are missing."""
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        path.write_bytes(header_of(shape, dtype))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", header_of(shape, dtype))
    with pytest.raises(FileError, match=expected):
        load_depth(path)


def test_an_endless_text_is_no_header(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("info.npy", header_of("()", "<U50000000"))
        archive.writestr("depth.npy", header_of("(1, 1)", "<f4") + bytes(4))
    with pytest.raises(FileError, match=r"entries .*info.*depth.*, not one map"):
        load_depth(tmp_path / "a.npz")
