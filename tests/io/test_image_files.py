"""Photos in every format: known pixels in, the same pixels out, upright, with the camera that EXIF names."""

from __future__ import annotations

import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from pro_engine.errors import DependencyError, FileError
from pro_engine.io import pictures
from pro_engine.io.image import IMAGE_SUFFIXES, load_image, save_image
from pro_engine.types import ImageArray, Intrinsics

SIZES = [(1, 1), (1, 7), (7, 1), (5, 7), (64, 33)]


def colours(height: int, width: int) -> ImageArray:
    return np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int = 48, width: int = 64) -> ImageArray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 3, y * 4, 255 - x * 2], -1).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".png", {}),
        (".bmp", {}),
        (".ppm", {}),
        (".tif", {}),
        (".tif", {"compression": "tiff_lzw"}),
        (".webp", {"lossless": True, "exact": True}),
        (".jp2", {"irreversible": False}),
    ],
)
def test_lossless_formats_come_back_exact(
    tmp_path: Path, size: tuple[int, int], suffix: str, options: dict[str, Any]
) -> None:
    image = colours(*size)
    Image.fromarray(image).save(tmp_path / f"a{suffix}", **options)
    loaded, intrinsics = load_image(tmp_path / f"a{suffix}")
    assert np.array_equal(loaded, image)
    assert loaded.dtype == np.uint8
    assert loaded.flags.c_contiguous
    assert loaded.flags.writeable
    assert intrinsics is None
    assert suffix in IMAGE_SUFFIXES


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".jp2"])
def test_lossy_formats_come_back_close(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(smooth()).save(tmp_path / f"a{suffix}", quality=95)
    loaded, _ = load_image(tmp_path / f"a{suffix}")
    assert loaded.shape == smooth().shape
    assert np.abs(loaded.astype(int) - smooth()).mean() < 4


def test_progressive_and_grey_jpeg(tmp_path: Path) -> None:
    Image.fromarray(smooth()[..., 0]).save(tmp_path / "a.jpg", quality=98, progressive=True)
    loaded, _ = load_image(tmp_path / "a.jpg")
    assert np.array_equal(loaded[..., 0], loaded[..., 2])
    assert np.abs(loaded.astype(int) - smooth()[..., :1]).mean() < 2


def test_content_decides_not_the_suffix(tmp_path: Path) -> None:
    Image.fromarray(colours(5, 7)).save(tmp_path / "a.jpg", format="PNG")
    assert np.array_equal(load_image(str(tmp_path / "a.jpg"))[0], colours(5, 7))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_large_pictures_pass_strip_by_strip(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow's own limit (here 300 pixels) neither stops us nor is it changed for others."""
    image = colours(61, 53)
    Image.fromarray(image).save(tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    monkeypatch.setattr(pictures, "_STRIP_PIXELS", 250)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    with ThreadPoolExecutor(4) as pool:
        for loaded, _ in pool.map(load_image, [tmp_path / f"a{suffix}"] * 40):
            assert np.array_equal(loaded, image)
    assert Image.MAX_IMAGE_PIXELS == 300


def test_grey_palette_and_bilevel(tmp_path: Path) -> None:
    grey = colours(5, 7)[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(load_image(tmp_path / "grey.png")[0], np.repeat(grey[..., None], 3, 2))
    palette = Image.fromarray(colours(5, 7)).quantize(8)
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(load_image(tmp_path / "palette.png")[0], np.asarray(palette.convert("RGB")))
    Image.fromarray(grey > 127).save(tmp_path / "bilevel.png")
    assert np.array_equal(load_image(tmp_path / "bilevel.png")[0][..., 1], (grey > 127) * 255)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_keep_the_high_byte(tmp_path: Path, suffix: str, channels: int) -> None:
    image = colours(5, 7)[..., :channels]
    wide = image.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / f"a{suffix}"), wide[..., ::-1])
    assert np.array_equal(load_image(tmp_path / f"a{suffix}")[0], np.broadcast_to(image, (5, 7, 3)))


def transparent(mode: str) -> Image.Image:
    """Left pixel opaque and dark, middle one half transparent black, right one fully transparent red (or dark)."""
    if mode in ("RGBA", "LA"):
        rgba = Image.new("RGBA", (3, 1))
        for x, value in enumerate([(20, 20, 20, 255), (0, 0, 0, 128), (90, 90, 90, 0)]):
            rgba.putpixel((x, 0), value)
        return rgba.convert(mode)
    picture = Image.new("P", (3, 1))
    picture.putpalette([20, 20, 20, 0, 0, 0, 255, 0, 0])
    for x in range(3):
        picture.putpixel((x, 0), x)
    picture.info["transparency"] = bytes([255, 128, 0])
    return picture


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_turn_white(tmp_path: Path, mode: str) -> None:
    transparent(mode).save(tmp_path / "a.png")
    loaded, _ = load_image(tmp_path / "a.png")
    assert loaded[0, 0].tolist() == [20, 20, 20]
    assert loaded[0, 1].tolist() == [127, 127, 127]
    assert loaded[0, 2].tolist() == [255, 255, 255]


def test_transparent_key_colour(tmp_path: Path) -> None:
    picture = Image.new("RGB", (2, 1), (1, 2, 3))
    picture.putpixel((1, 0), (9, 9, 9))
    picture.save(tmp_path / "a.png", transparency=(9, 9, 9))
    assert load_image(tmp_path / "a.png")[0].tolist() == [[[1, 2, 3], [255, 255, 255]]]


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk(tmp_path: Path, suffix: str) -> None:
    Image.new("CMYK", (16, 8), (0, 255, 255, 0)).save(tmp_path / f"a{suffix}")
    loaded, _ = load_image(tmp_path / f"a{suffix}")
    assert loaded.shape == (8, 16, 3)
    assert np.abs(loaded.astype(int) - [255, 0, 0]).max() < 6


def profile_with_red_and_green_swapped() -> bytes:
    """The sRGB profile under another name, with the table entries of rXYZ and gXYZ exchanged."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = data.replace(b"rXYZ", b"tmpZ").replace(b"gXYZ", b"rXYZ").replace(b"tmpZ", b"gXYZ")
    return swapped.replace(b"sRGB", b"test").replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))


@pytest.mark.parametrize("size", [(3, 2), (1, 1)])
def test_colour_profile_is_converted_to_srgb(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (255, 0, 0)).save(tmp_path / "a.png", icc_profile=profile_with_red_and_green_swapped())
    loaded, _ = load_image(tmp_path / "a.png")
    assert np.abs(loaded.astype(int) - [0, 255, 0]).max() <= 2


def test_srgb_profile_changes_nothing_and_a_bad_one_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(colours(5, 7)).save(tmp_path / "a.png", icc_profile=srgb)
    assert np.array_equal(load_image(tmp_path / "a.png")[0], colours(5, 7))
    Image.fromarray(colours(5, 7)).save(tmp_path / "b.png", icc_profile=b"not a profile" * 20)
    assert np.array_equal(load_image(tmp_path / "b.png")[0], colours(5, 7))
    assert "b.png" in caplog.text


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_first_frame_of_many(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (7, 5), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], **options)
    loaded, _ = load_image(tmp_path / f"a{suffix}")
    assert np.array_equal(loaded, np.broadcast_to(np.uint8([255, 0, 0]), (5, 7, 3)))


def test_heic(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    tags = Image.Exif()
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    Image.fromarray(smooth()).save(tmp_path / "a.heic", quality=95, exif=tags)
    image, intrinsics = load_image(tmp_path / "a.heic")
    assert np.abs(image.astype(int) - smooth()).mean() < 4
    assert intrinsics == Intrinsics.from_focal_35mm(64, 48, focal_35mm=26)
    (tmp_path / "cut.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:-200])
    with pytest.raises(FileError, match=r"cut\.heic"):
        load_image(tmp_path / "cut.heic")


def test_heic_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + b"\0" * 40)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DependencyError, match=r"a\.heic.*pro-engine\[heif\]"):
        load_image(tmp_path / "a.heic")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".PNG"])
def test_save_image(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    image = smooth(*size)
    save_image(tmp_path / f"a{suffix}", image)
    loaded, _ = load_image(tmp_path / f"a{suffix}")
    tolerance = 0 if suffix.lower() == ".png" else 8
    assert np.abs(loaded.astype(int) - image).mean() <= tolerance
    with Image.open(tmp_path / f"a{suffix}") as picture:
        assert picture.format == {".png": "PNG", ".webp": "WEBP"}.get(suffix.lower(), "JPEG")


def test_save_image_takes_views(tmp_path: Path) -> None:
    image = colours(6, 8)
    save_image(tmp_path / "a.png", image[::-2, ::2, ::-1])
    assert np.array_equal(load_image(tmp_path / "a.png")[0], image[::-2, ::2, ::-1])


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    """Every format that holds noise, cut at a tenth, at half and near its end."""
    noise = colours(64, 64)
    for name, options in {"JPEG": {}, "PNG": {}, "WEBP": {}, "TIFF": {}, "BMP": {}, "GIF": {}}.items():
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, format=name, **options)
        data = buffer.getvalue()
        for part in (0.1, 0.5, 0.9):
            path = tmp_path / f"cut-{name}-{part}"
            path.write_bytes(data[: int(len(data) * part)])
            with pytest.raises(FileError, match=path.name):
                load_image(path)


def test_import_stays_light() -> None:
    code = (
        "import sys, pro_engine.io.image, pro_engine.io.depth, pro_engine.io.cloud, pro_engine.io.mesh\n"
        "print(sorted({'torch', 'trimesh', 'OpenEXR', 'cv2', 'tifffile', 'pillow_heif'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
