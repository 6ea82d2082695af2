"""EXIF: every way to hold a camera, and the focal length in pixels of the upright image."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from pro_engine.io import pictures
from pro_engine.io.image import load_image, read_photo
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


CANON = {"FocalLength": 15.4, "FocalPlaneXResolution": 8114.3, "FocalPlaneYResolution": 8114.3}


@pytest.mark.parametrize("size", [(96, 64), (19, 13)])
def test_a_sensor_that_cannot_be_gives_no_lens(tmp_path: Path, size: tuple[int, int]) -> None:
    """A program made the picture smaller and its size in EXIF too, but kept the resolution of the sensor."""
    save_with_exif(tmp_path / "a.jpg", size, ExifImageWidth=size[0], ExifImageHeight=size[1], **CANON)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.intrinsics is None
    assert "sensor" in photo.notes[0]
    assert "cannot be" in photo.notes[0]


@pytest.mark.parametrize(
    ("sensor_mm", "is_known"), [(1.5, False), (3.0, True), (36.0, True), (55.0, True), (70.0, False)]
)
def test_sensors_from_phones_to_medium_format(tmp_path: Path, sensor_mm: float, is_known: bool) -> None:
    tags = {"FocalLength": 2 * sensor_mm, "FocalPlaneXResolution": 4000 / sensor_mm, "FocalPlaneResolutionUnit": 4}
    save_with_exif(tmp_path / "a.jpg", (400, 300), ExifImageWidth=4000, ExifImageHeight=3000, **tags)
    _, camera = load_image(tmp_path / "a.jpg")
    assert (camera is not None) == is_known
    assert camera is None or camera.fx == pytest.approx(800)


SHOT = {"ExifImageWidth": 400, "ExifImageHeight": 300}
DIAGONAL = 500 / math.hypot(36, 24)


@pytest.mark.parametrize("size", [(330, 256), (256, 330), (400, 200), (200, 300), (300, 300)])
def test_crop_at_full_size_keeps_the_lens_of_the_shot(tmp_path: Path, size: tuple[int, int]) -> None:
    save_with_exif(tmp_path / "a.jpg", size, FocalLengthIn35mmFilm=26, **SHOT)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.intrinsics is not None
    assert photo.intrinsics.fx == photo.intrinsics.fy == pytest.approx(26 * DIAGONAL)
    assert photo.lens_is_sure
    assert "cropped" in photo.notes[0]


def test_crop_of_a_sensor_has_square_pixels(tmp_path: Path) -> None:
    tags = {"FocalLength": 50.0, "FocalPlaneXResolution": 3810.0, "FocalPlaneResolutionUnit": 3}
    save_with_exif(tmp_path / "a.jpg", (96, 64), ExifImageWidth=6000, ExifImageHeight=3000, **tags)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.intrinsics is not None
    assert photo.intrinsics.fx == photo.intrinsics.fy == pytest.approx(50 * 381 * 64 / 3000)
    assert not photo.lens_is_sure
    assert "96 x 64 of 6000 x 3000" in photo.notes[0]


@pytest.mark.parametrize("size", [(130, 168), (60, 60), (900, 300)])
def test_crop_that_was_resized_is_a_guess(tmp_path: Path, size: tuple[int, int]) -> None:
    save_with_exif(tmp_path / "a.jpg", size, FocalLengthIn35mmFilm=26, **SHOT)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.intrinsics is not None
    assert photo.intrinsics.fx == photo.intrinsics.fy
    assert not photo.lens_is_sure
    assert "guess" in photo.notes[0]


@pytest.mark.parametrize("size", [(400, 300), (300, 400), (200, 150), (133, 100), (800, 600)])
def test_copies_of_the_shape_of_the_shot_are_no_crops(tmp_path: Path, size: tuple[int, int]) -> None:
    save_with_exif(tmp_path / "a.jpg", size, FocalLengthIn35mmFilm=26, **SHOT)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.intrinsics is not None
    assert photo.intrinsics.fx == pytest.approx(26 * math.hypot(*size) / math.hypot(36, 24))
    assert (photo.lens_is_sure, photo.notes) == (True, ())


def test_sensor_and_35mm_equivalent_that_disagree(tmp_path: Path) -> None:
    tags = {"FocalLength": 10.0, "FocalPlaneXResolution": 10.0, "FocalPlaneResolutionUnit": 4}
    save_with_exif(tmp_path / "a.jpg", (400, 300), FocalLengthIn35mmFilm=26, **tags)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.intrinsics is not None
    assert photo.intrinsics.fx == pytest.approx(26 * DIAGONAL)
    assert "contradicts itself" in photo.notes[0]


def save_by_camera(path: Path, **tags: object) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Canon", "Canon DIGITAL IXUS 400"
    for name, value in tags.items():
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base[name]] = value
    Image.new("RGB", (96, 64)).save(path, exif=exif)


@pytest.mark.parametrize(
    "tags", [{"FocalLength": 15.4}, {**CANON, "ExifImageWidth": 96, "ExifImageHeight": 64}], ids=str
)
def test_sensor_by_the_name_of_the_camera(tmp_path: Path, tags: dict[str, object]) -> None:
    """The sensor of this camera is 7.2 x 5.3 mm: a 4.84th of the 35 mm frame's diagonal."""
    pytest.importorskip("lensfunpy")
    save_by_camera(tmp_path / "a.jpg", **tags)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.intrinsics is not None
    assert photo.intrinsics.fov_x_deg == pytest.approx(27, abs=0.6)
    assert "Lensfun" in photo.notes[-1]


def test_sensor_without_its_table_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lensfunpy", None)
    save_by_camera(tmp_path / "a.jpg", FocalLength=15.4)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.intrinsics is None
    assert "the extra lens" in photo.notes[0]
