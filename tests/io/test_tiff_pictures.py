"""TIFF photos of every kind of samples, and files that hold more than one picture."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from pro_engine.errors import FileError
from pro_engine.io.image import load_image, read_photo
from pro_engine.types import ImageArray

HEIGHT, WIDTH = 50, 61


def picture() -> ImageArray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 4, y * 5, 255 - x * 4], -1).astype(np.uint8)


def light() -> np.ndarray[Any, np.dtype[np.float64]]:
    x = picture() / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def grey(values: Any) -> Any:
    return np.ascontiguousarray(values[..., 0])


def check(path: Path, wanted: ImageArray | None = None, within: int = 0) -> tuple[str, ...]:
    photo = read_photo(path)
    assert np.abs(photo.image.astype(int) - (picture() if wanted is None else wanted)).max() <= within
    return photo.notes


GREY = np.repeat(picture()[..., :1], 3, axis=2)
WIDE = picture().astype(np.uint16) * 257


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize(("compression", "predictor"), [(None, False), ("zlib", False), ("zlib", True)])
def test_samples_in_any_layout(
    tmp_path: Path, order: str, tile: Any, planar: str, compression: str | None, predictor: bool
) -> None:
    kinds: list[tuple[Any, int]] = [(picture(), 0), (WIDE, 0), (WIDE.astype(np.uint32) * 65537, 0)]
    if not predictor:
        kinds += [(light().astype(dtype), 1) for dtype in (np.float16, np.float32, np.float64)]
    for values, within in kinds:
        stored = np.moveaxis(values, 2, 0) if planar == "separate" else values
        tifffile.imwrite(
            tmp_path / "a.tif",
            stored,
            photometric="rgb",
            planarconfig=planar,
            tile=tile,
            byteorder=order,
            compression=compression,
            predictor=predictor,
        )
        assert check(tmp_path / "a.tif", within=within) == ()


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "lzma"])
def test_what_libtiff_compresses(tmp_path: Path, compression: str) -> None:
    for values, predictor, within in ((grey(WIDE), 2, 0), (grey(light().astype(np.float32)), 3, 1)):
        predictor = 1 if compression == "packbits" else predictor
        Image.fromarray(values).save(tmp_path / "a.tif", compression=compression, tiffinfo={317: predictor})
        check(tmp_path / "a.tif", GREY, within)


@pytest.mark.parametrize("bits", [8, 16])
def test_white_is_zero(tmp_path: Path, bits: int) -> None:
    values = grey(picture()) if bits == 8 else grey(WIDE)
    tifffile.imwrite(tmp_path / "a.tif", np.iinfo(values.dtype).max - values, photometric="miniswhite")
    assert check(tmp_path / "a.tif", GREY) == ()
    tifffile.imwrite(tmp_path / "f.tif", 1 - grey(light()).astype(np.float32), photometric="miniswhite")
    check(tmp_path / "f.tif", GREY, within=1)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_camera_values_in_sixteen_bits(tmp_path: Path, bits: int) -> None:
    for name, values in {"grey": grey(WIDE), "rgb": WIDE}.items():
        photometric = "rgb" if name == "rgb" else "minisblack"
        tifffile.imwrite(tmp_path / f"{name}.tif", values >> (16 - bits), photometric=photometric)
        notes = check(tmp_path / f"{name}.tif", GREY if name == "grey" else None)
        assert f"taken as values of {bits} bits" in notes[0]


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits(tmp_path: Path, bits: int) -> None:
    values = grey(picture()).astype(np.uint16) << (bits - 8)
    ones = (values[..., np.newaxis] >> np.arange(bits - 1, -1, -1)) & 1
    data = np.packbits(ones.astype(np.uint8).reshape(HEIGHT, -1), axis=1).tobytes()
    tags = [(256, WIDTH), (257, HEIGHT), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, HEIGHT)]
    tags.append((279, len(data)))
    entries = b"".join(struct.pack("<HHII", code, 4, 1, value) for code, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    (tmp_path / "a.tif").write_bytes(head + data + struct.pack("<H", len(tags)) + entries + bytes(4))
    assert check(tmp_path / "a.tif", GREY) == ()


def test_alpha_and_further_samples(tmp_path: Path) -> None:
    clear = np.zeros((HEIGHT, WIDTH, 1), np.uint16)
    kinds = {"opaque": (clear + 65535, "unassalpha"), "clear": (clear, "unassalpha"), "other": (clear, "unspecified")}
    for name, (fourth, kind) in kinds.items():
        tifffile.imwrite(tmp_path / "a.tif", np.dstack([WIDE, fourth]), photometric="rgb", extrasamples=[kind])
        assert check(tmp_path / "a.tif") == (
            ("Its alpha is 0 everywhere and was left out.",) if name == "clear" else ()
        )
    clear[:, 30:] = 65535
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([WIDE, clear]), photometric="rgb", extrasamples=["unassalpha"])
    wanted = picture()
    wanted[:, :30] = 255
    check(tmp_path / "a.tif", wanted)


def test_float_alpha_of_nothing_is_no_matte(tmp_path: Path) -> None:
    values = np.dstack([light(), np.zeros((HEIGHT, WIDTH))]).astype(np.float32)
    for kind in ("unassalpha", "assocalpha"):
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=[kind])
        assert "alpha is 0 everywhere" in check(tmp_path / "a.tif", within=1)[0]


def test_signed_and_cmyk(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "c.tif", (picture() >> 1).astype(np.int8), photometric="rgb")
    check(tmp_path / "c.tif", within=1)
    tifffile.imwrite(tmp_path / "a.tif", (WIDE >> 1).astype(np.int16), photometric="rgb")
    check(tmp_path / "a.tif")
    cmyk = np.asarray(Image.fromarray(picture()).convert("CMYK")).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "b.tif", cmyk, photometric="separated")
    check(tmp_path / "b.tif", within=2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_full_picture_never_the_thumbnail(tmp_path: Path, dtype: Any, bigtiff: bool) -> None:
    full = picture() if dtype is np.uint8 else WIDE
    small = full[::4, ::4]
    rgb = {"photometric": "rgb"}
    layouts: dict[str, list[tuple[Any, dict[str, Any]]]] = {
        "marked": [(small, {"subfiletype": 1}), (full, {})],
        "unmarked": [(small, {}), (full, {})],
        "inside": [(small, {"subfiletype": 1, "subifds": 1}), (full, {})],
        "behind": [(full, {}), (small, {"subfiletype": 1})],
        "pyramid": [(full, {"subifds": 1}), (small, {"subfiletype": 1})],
    }
    for name, pages in layouts.items():
        with tifffile.TiffWriter(tmp_path / f"{name}.tif", bigtiff=bigtiff) as file:
            for values, options in pages:
                file.write(values, **rgb, **options)
        notes = check(tmp_path / f"{name}.tif")
        assert bool(notes) == (name in ("marked", "unmarked", "inside"))


def test_first_of_pages_is_told(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for values in (picture(), 255 - picture()):
            file.write(values, photometric="rgb")
    assert "Of its 2 pictures the first" in check(tmp_path / "a.tif")[0]


def test_thumbnail_first_keeps_the_camera(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 50
    exif[0x8769] = dict(exif.get_ifd(0x8769))
    Image.fromarray(picture()[::4, ::4]).save(tmp_path / "a.tif", exif=exif)
    tifffile.imwrite(tmp_path / "a.tif", picture(), photometric="rgb", append=True)
    _, camera = load_image(tmp_path / "a.tif")
    assert camera is not None
    assert camera.width == WIDTH
    assert camera.fx == pytest.approx(50 * np.hypot(WIDTH, HEIGHT) / np.hypot(36, 24))


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (np.zeros((4, 32, 32), np.uint8), {"volumetric": True, "tile": (4, 16, 16)}),
        (np.zeros((32, 32, 500), np.uint8), {"planarconfig": "contig"}),
    ],
    ids=["volume", "samples"],
)
def test_too_many_values_a_pixel(tmp_path: Path, values: Any, options: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", **options)
    with pytest.raises(FileError, match="values a pixel, not one picture"):
        load_image(tmp_path / "a.tif")


def test_cut_and_unknown_files(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", WIDE, photometric="rgb")
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[:-2000])
    with pytest.raises(FileError, match=r"a\.tif is truncated.*a part of the picture is missing"):
        load_image(tmp_path / "a.tif")
