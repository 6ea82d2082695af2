"""EXIF: every way to hold a camera, and the focal length in pixels of the upright image."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from pro_engine.io import pictures
from pro_engine.io.image import load_image
from pro_engine.types import ImageArray, Intrinsics


def colours(height: int, width: int) -> ImageArray:
    return np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


# A camera held in each of the eight ways stores the upright picture `u` as:
STORED: dict[int, Callable[[ImageArray], ImageArray]] = {
    1: lambda u: u,
    2: lambda u: u[:, ::-1],
    3: lambda u: u[::-1, ::-1],
    4: lambda u: u[::-1],
    5: lambda u: u.transpose(1, 0, 2),
    6: lambda u: np.rot90(u, 1),
    7: lambda u: np.rot90(u, 2).transpose(1, 0, 2),
    8: lambda u: np.rot90(u, -1),
}


@pytest.mark.parametrize("turn", STORED)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_all_orientations(tmp_path: Path, turn: int, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_STRIP_PIXELS", 12)
    upright = colours(5, 7)
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = turn
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 28
    stored = np.ascontiguousarray(STORED[turn](upright))
    options = {"lossless": True} if suffix == ".webp" else {}
    Image.fromarray(stored).save(tmp_path / f"a{suffix}", exif=tags.tobytes(), **options)
    loaded, intrinsics = load_image(tmp_path / f"a{suffix}")
    assert np.array_equal(loaded, upright)
    assert loaded.flags.c_contiguous
    assert intrinsics == Intrinsics.from_focal_35mm(7, 5, focal_35mm=28)


def save_with_exif(path: Path, size: tuple[int, int], turn: int = 1, **tags: object) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    for name, value in tags.items():
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base[name]] = value
    Image.new("RGB", size).save(path, exif=exif)


def test_focal_length_from_35mm_equivalent(tmp_path: Path) -> None:
    save_with_exif(tmp_path / "a.jpg", (360, 240), FocalLengthIn35mmFilm=50, FocalLength=7.0)
    _, intrinsics = load_image(tmp_path / "a.jpg")
    assert intrinsics is not None
    assert math.isclose(intrinsics.fx, 500, rel_tol=1e-9)  # 360 px are 36 mm
    assert intrinsics.fx == intrinsics.fy
    assert (intrinsics.cx, intrinsics.cy, intrinsics.width, intrinsics.height) == (179.5, 119.5, 360, 240)


@pytest.mark.parametrize(("unit", "per_unit"), [(2, 254.0), (None, 254.0), (3, 100.0), (4, 10.0), (5, 0.01)])
def test_focal_length_from_the_sensor(tmp_path: Path, unit: int | None, per_unit: float) -> None:
    """10 mm on a sensor of 10 pixels a millimetre are 100 px, in an inch, a centimetre, a millimetre, a micrometre."""
    tags = {"FocalLength": 10.0, "FocalPlaneXResolution": per_unit, "FocalPlaneYResolution": 2 * per_unit}
    if unit is not None:
        tags["FocalPlaneResolutionUnit"] = unit
    save_with_exif(tmp_path / "a.jpg", (200, 120), **tags)
    _, intrinsics = load_image(tmp_path / "a.jpg")
    assert intrinsics is not None
    assert (intrinsics.fx, intrinsics.fy) == pytest.approx((100, 200), rel=1e-4)


def test_focal_length_follows_turn_and_resizing(tmp_path: Path) -> None:
    tags = {"FocalLength": 10.0, "FocalPlaneXResolution": 10.0, "FocalPlaneYResolution": 20.0}
    tags |= {"FocalPlaneResolutionUnit": 4, "ExifImageWidth": 400, "ExifImageHeight": 240}
    save_with_exif(tmp_path / "a.jpg", (200, 120), turn=6, **tags)
    image, intrinsics = load_image(tmp_path / "a.jpg")
    assert image.shape == (200, 120, 3)
    assert intrinsics is not None
    assert (intrinsics.fx, intrinsics.fy) == pytest.approx((100, 50))
    assert (intrinsics.width, intrinsics.height) == (120, 200)


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"FocalLengthIn35mmFilm": 0},
        {"FocalLength": 10.0},
        {"FocalLength": 0.0, "FocalPlaneXResolution": 100.0},
        {"FocalLength": 10.0, "FocalPlaneXResolution": 100.0, "FocalPlaneResolutionUnit": 77},
        {"FocalLength": 10.0, "FocalPlaneXResolution": 1e7},
        {"FocalLengthIn35mmFilm": 60000},
    ],
    ids=str,
)
def test_no_camera_from_missing_or_senseless_tags(tmp_path: Path, tags: dict[str, object]) -> None:
    save_with_exif(tmp_path / "a.jpg", (200, 120), **tags)
    assert load_image(tmp_path / "a.jpg")[1] is None


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"]
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path, exif: bytes) -> None:
    Image.fromarray(colours(48, 64)).save(tmp_path / "a.jpg", exif=exif)
    image, intrinsics = load_image(tmp_path / "a.jpg")
    assert image.shape == (48, 64, 3)
    assert intrinsics is None
