"""Photos with something about them: gamma, missing ends, panoramas, raw files, formats that need more, no photos."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile

from pro_engine.errors import DependencyError, FileError
from pro_engine.io.image import IMAGE_SUFFIXES, load_image, read_photo
from pro_engine.types import ImageArray


def picture() -> ImageArray:
    y, x = np.mgrid[:40, :56]
    return np.stack([x * 4, y * 6, 255 - x * 4], -1).astype(np.uint8)


def light() -> np.ndarray[Any, np.dtype[np.float64]]:
    x = picture() / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def difference(path: Path, wanted: ImageArray | None = None) -> int:
    return int(np.abs(read_photo(path).image.astype(int) - (picture() if wanted is None else wanted)).max())


def with_chunk(path: Path, kind: bytes, data: bytes) -> Path:
    """The PNG with one more chunk behind its header."""
    png = path.read_bytes()
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(png[:33] + chunk + png[33:])
    return path


def gamma_chunk(gamma: float) -> bytes:
    return struct.pack(">I", round(gamma * 100_000))


@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8])
def test_png_gamma(tmp_path: Path, gamma: float) -> None:
    values = light() ** gamma
    for bits, within in ((8, 12 if gamma == 1 else 2), (16, 1)):  # 8 bits of light are few in the dark
        path = tmp_path / f"{bits}.png"
        cv2.imwrite(str(path), np.round(values * (2**bits - 1)).astype(f"u{bits // 8}")[..., ::-1])
        with_chunk(path, b"gAMA", gamma_chunk(gamma))
        assert difference(path) <= within
    grey = np.round(values[..., 0] * 65535).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    with_chunk(tmp_path / "grey.png", b"gAMA", gamma_chunk(gamma))
    assert difference(tmp_path / "grey.png", picture()[..., :1]) <= 1


def test_png_primaries(tmp_path: Path) -> None:
    """White of another kind stays white; the red of wide primaries is more than our red."""
    Image.new("RGB", (2, 1), (255, 255, 255)).save(tmp_path / "a.png")
    with_chunk(tmp_path / "a.png", b"gAMA", gamma_chunk(0.6))
    wide = (0.31270, 0.32900, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)
    with_chunk(tmp_path / "a.png", b"cHRM", b"".join(gamma_chunk(value) for value in wide))
    assert difference(tmp_path / "a.png", np.full((1, 2, 3), 255, np.uint8)) == 0


def test_png_gamma_of_srgb_or_beside_srgb_changes_nothing(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    assert difference(with_chunk(tmp_path / "a.png", b"gAMA", gamma_chunk(0.45455))) == 0
    Image.fromarray(picture()).save(tmp_path / "b.png")
    with_chunk(tmp_path / "b.png", b"gAMA", gamma_chunk(1.0))
    assert difference(with_chunk(tmp_path / "b.png", b"sRGB", b"\0")) == 0


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("colours", [1, 3])
def test_png_with_camera_values(tmp_path: Path, bits: int, colours: int) -> None:
    values = (picture().astype(np.uint16) * 257 >> (16 - bits))[..., :colours]
    cv2.imwrite(str(tmp_path / "a.png"), values[..., ::-1])
    assert difference(tmp_path / "a.png", picture() if colours == 3 else picture()[..., :1]) == 0
    assert f"taken as values of {bits} bits" in read_photo(tmp_path / "a.png").notes[0]


def test_alpha_of_nothing_is_no_matte(tmp_path: Path) -> None:
    clear = Image.fromarray(np.dstack([picture(), np.zeros((40, 56), np.uint8)]))
    for suffix in (".png", ".tga", ".tif"):
        clear.save(tmp_path / f"a{suffix}")
        assert difference(tmp_path / f"a{suffix}") == 0
        assert "alpha is 0 everywhere" in read_photo(tmp_path / f"a{suffix}").notes[0]


@pytest.mark.parametrize("options", [{}, {"compression": "tga_rle"}, {"orientation": 1}], ids=str)
def test_tga(tmp_path: Path, options: dict[str, Any]) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.tga", **options)
    assert difference(tmp_path / "a.tga") == 0
    assert ".tga" in IMAGE_SUFFIXES


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_without_its_end_mark(tmp_path: Path, progressive: bool) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.jpg", quality=95, progressive=progressive)
    wanted, data = load_image(tmp_path / "a.jpg")[0], (tmp_path / "a.jpg").read_bytes()
    for kept in (data[:-2], data[:-1]):
        (tmp_path / "a.jpg").write_bytes(kept)
        assert difference(tmp_path / "a.jpg", wanted) == 0
        assert "mark at its end is missing" in read_photo(tmp_path / "a.jpg").notes[0]
    last_scan = data.rindex(b"\xff\xda")
    for end in (-3, -10, -len(data) // 3, *((last_scan, last_scan - 2) if progressive else ())):
        (tmp_path / "a.jpg").write_bytes(data[:end])
        with pytest.raises(FileError, match=r"a\.jpg is truncated"):
            load_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("blocks", [1, 4, 9])
def test_jpeg_that_lacks_whole_restart_intervals(tmp_path: Path, blocks: int) -> None:
    """A decoder leaves them out without looking at what stands in for them."""
    Image.fromarray(picture()).convert("L").save(tmp_path / "a.jpg", restart_marker_blocks=blocks)
    wanted, data = load_image(tmp_path / "a.jpg")[0], (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[:-2])
    assert difference(tmp_path / "a.jpg", wanted) == 0
    marks = [place for place in range(len(data) - 400, len(data) - 1) if data[place] == 255 and data[place + 1] >= 0xD0]
    assert len(marks) > 2
    for end in (marks[-2], marks[-2] + 1, marks[-2] + 2, marks[-3] + 1):
        (tmp_path / "a.jpg").write_bytes(data[:end])
        with pytest.raises(FileError, match=r"a\.jpg is truncated"):
            load_image(tmp_path / "a.jpg")


def test_radiance_from_the_bottom_up(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.hdr"), light().astype(np.float32)[..., ::-1])
    wanted = load_image(tmp_path / "a.hdr")[0]
    data = (tmp_path / "a.hdr").read_bytes()
    (tmp_path / "a.hdr").write_bytes(data.replace(b"\n-Y ", b"\n+Y "))
    assert difference(tmp_path / "a.hdr", wanted[::-1]) == 0


GPANO = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description %s/></x:xmpmeta>"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize(
    ("text", "whole"),  # None where it is none
    [
        (b'GPano:ProjectionType="equirectangular"', True),
        (b"><GPano:ProjectionType>cylindrical</GPano:ProjectionType><x", False),
        (b"><GSpherical:Spherical>true</GSpherical:Spherical><x", True),
        (b'GPano:FullPanoWidthPixels="8000"', True),
        (b'GPano:FullPanoWidthPixels="8000" GPano:CroppedAreaImageWidthPixels="8000"', True),
        (b'GPano:FullPanoWidthPixels="8000" GPano:CroppedAreaImageWidthPixels="3000"', False),
        (b'GPano:ProjectionType="rectilinear"', None),
        (b'dc:title="a panorama"', None),
    ],
)
def test_panorama(tmp_path: Path, suffix: str, text: bytes, whole: bool | None) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".png":
        Image.fromarray(picture()).save(path)
        with_chunk(path, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + GPANO % text)
    elif suffix == ".tif":
        tifffile.imwrite(path, picture(), photometric="rgb", extratags=[(700, "B", len(GPANO % text), GPANO % text)])
    else:
        Image.fromarray(picture()).save(path, xmp=GPANO % text)
    found = read_photo(path).panorama
    assert (None if found is None else found.equirectangular) == whole


def test_camera_raw(tmp_path: Path) -> None:
    """A DNG of one colour, stored on its side: turned, and read by content whatever its name."""
    rawpy = pytest.importorskip("rawpy")
    assert rawpy
    mosaic = np.zeros((96, 128), np.uint16)
    mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 0::2], mosaic[1::2, 1::2] = 12000, 24000, 24000, 6000
    mosaic[:, 96:] //= 8
    identity = (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)
    tags = [
        (50706, "B", 4, bytes([1, 4, 0, 0])),  # DNGVersion
        (50708, "s", 0, "Tiny Camera"),  # UniqueCameraModel
        (33421, "H", 2, (2, 2)),  # CFARepeatPatternDim
        (33422, "B", 4, bytes([0, 1, 1, 2])),  # CFAPattern: red, green, green, blue
        (50721, "2i", 9, identity),  # ColorMatrix1
        (50728, "2I", 3, (1, 2, 1, 1, 1, 4)),  # AsShotNeutral
        (274, "H", 1, 6),  # Orientation
    ]
    for name in ("a.dng", "a.tif"):
        tifffile.imwrite(tmp_path / name, mosaic, photometric=32803, extratags=tags)
        image, camera = load_image(tmp_path / name)
        assert image.shape == (128, 96, 3)
        assert image[:80].mean() > image[110:].mean() + 50  # what was right is below
        assert camera is None
    (tmp_path / "a.dng").write_bytes((tmp_path / "a.dng").read_bytes()[:9000])
    with pytest.raises(FileError, match=r"a\.dng is truncated.*develop it"):
        load_image(tmp_path / "a.dng")


@pytest.mark.parametrize("name", ["a.CR2", "a.dng", "a.3fr", "a.iiq", "a.rwl", "a.gpr", "a.erf"])
def test_camera_raw_without_its_package_names_the_extra(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"II*\0\x08\0\0\0" + bytes(99))
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(DependencyError, match=r"camera raw file.*pro-engine\[raw\].*develop it"):
        load_image(tmp_path / name)


def test_jpeg_xl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a plug-in the package is named; a plug-in that is there is used as it registers itself."""
    (tmp_path / "a.jxl").write_bytes(b"\xff\x0a" + bytes(20))
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    with pytest.raises(DependencyError, match=r"JPEG XL.*pillow-jxl-plugin"):
        load_image(tmp_path / "a.jxl")

    class Plugin(ImageFile.ImageFile):
        format = "JXL"

        def _open(self) -> None:
            self._mode, self._size = "RGB", (2, 1)
            self.im = Image.new("RGB", (2, 1), (1, 2, 3)).im
            self.tile = []

    Image.register_open("JXL", Plugin, lambda head: head.startswith(b"\xff\x0a"))
    monkeypatch.setitem(sys.modules, "pillow_jxl", ModuleType("pillow_jxl"))
    try:
        assert load_image(tmp_path / "a.jxl")[0].tolist() == [[[1, 2, 3]] * 2]
    finally:
        Image.ID.remove("JXL")
        del Image.OPEN["JXL"]


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.mp4", b"\0\0\0\x20ftypisom\0\0\2\0", "video.*ffmpeg"),
        ("a.mov", b"\0\0\0\x14ftypqt  \0\0\2\0", "video.*ffmpeg"),
        ("a.webm", b"\x1a\x45\xdf\xa3\x9fB\x86\x81", "video.*ffmpeg"),
        ("a.avi", b"RIFF\0\0\0\0AVI LIST", "video.*ffmpeg"),
        ("a.dds", b"DDS |\0\0\0", "DDS texture; save"),
        ("a.psd", b"8BPS\0\1", "Photoshop.*export"),
        ("a.dpx", b"SDPX\0\0", "DPX.*EXR"),
    ],
)
def test_what_is_no_photo_is_named(tmp_path: Path, name: str, head: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(head + bytes(200))
    with pytest.raises(FileError, match=expected):
        load_image(tmp_path / name)
