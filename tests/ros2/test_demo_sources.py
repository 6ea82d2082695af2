"""Pictures of the demo camera: photos, folders, videos; sizes and cameras; sources that are none."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pro_engine as pro
from ros2_pro.demo.settings import DemoSettings
from ros2_pro.demo.sources import DEFAULT_FOV_X_DEG, fit, open_source

RED, GREEN, BLUE = (200, 10, 10), (10, 200, 10), (10, 10, 200)


def write_photo(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> Path:
    """A PNG of one RGB colour."""
    width, height = size
    assert cv2.imwrite(str(path), np.full((height, width, 3), color[::-1], np.uint8))
    return path


def colors(pictures, count: int) -> list[tuple[int, ...]]:
    """The first pixels of the next pictures."""
    return [tuple(picture.image[0, 0].tolist()) for picture in itertools.islice(pictures, count)]


def test_a_photo_comes_again_and_again(tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.png", RED)
    assert colors(open_source(DemoSettings(source=str(photo))), 3) == [RED] * 3
    assert colors(open_source(DemoSettings(source=str(photo), loop=False)), 3) == [RED]


def test_a_folder_comes_in_order(tmp_path: Path) -> None:
    for name, color in (("b.png", GREEN), ("a.png", RED), ("c.PNG", BLUE)):
        write_photo(tmp_path / name, color)
    (tmp_path / "notes.txt").write_text("no photo")
    assert colors(open_source(DemoSettings(source=str(tmp_path))), 5) == [RED, GREEN, BLUE, RED, GREEN]
    assert colors(open_source(DemoSettings(source=str(tmp_path), loop=False)), 5) == [RED, GREEN, BLUE]


def test_a_video_is_played_again(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for color in (RED, GREEN, BLUE):
        writer.write(np.full((48, 64, 3), color[::-1], np.uint8))
    writer.release()
    for loop, count in ((True, 7), (False, 3)):
        seen = colors(open_source(DemoSettings(source=str(path), loop=loop)), 7)
        expected = list(itertools.islice(itertools.cycle((RED, GREEN, BLUE)), count))
        assert len(seen) == count
        np.testing.assert_allclose(seen, expected, atol=12)  # JPEG


def test_the_scene_has_depth_and_never_ends() -> None:
    pictures = open_source(DemoSettings(source="synthetic", width=64, height=36, rate_hz=2, loop=False))
    first, second = itertools.islice(pictures, 2)
    assert first.depth is not None and first.depth.shape == (36, 64)
    assert first.camera.fov_x_deg == pytest.approx(DEFAULT_FOV_X_DEG)
    assert not np.array_equal(first.image, second.image)


@pytest.mark.parametrize(
    ("width", "height", "expected"), [(0, 0, (40, 30)), (20, 0, (20, 15)), (0, 60, (80, 60)), (50, 50, (50, 50))]
)
def test_sizes(tmp_path: Path, width: int, height: int, expected: tuple[int, int]) -> None:
    photo = write_photo(tmp_path / "a.png", RED)
    picture = next(open_source(DemoSettings(source=str(photo), width=width, height=height)))
    assert picture.image.shape == (expected[1], expected[0], 3)
    assert (picture.camera.width, picture.camera.height) == expected
    assert picture.camera.fov_x_deg == pytest.approx(DEFAULT_FOV_X_DEG)


@given(
    wide=st.integers(1, 500), high=st.integers(1, 500), width=st.integers(0, 60), height=st.integers(0, 60),
    fov_x_deg=st.sampled_from([0.0, 35.0, 120.0]),
)  # fmt: skip
def test_image_and_camera_always_agree(wide: int, high: int, width: int, height: int, fov_x_deg: float) -> None:
    image = np.zeros((high, wide, 3), np.uint8)
    known = pro.Intrinsics.from_fov(wide, high, fov_x_deg=50)
    for camera, own in ((known, 50.0), (None, DEFAULT_FOV_X_DEG)):
        picture = fit(image, camera, DemoSettings(width=width, height=height, fov_x_deg=fov_x_deg))
        assert picture.image.shape == (picture.camera.height, picture.camera.width, 3)
        assert picture.camera.fov_x_deg == pytest.approx(fov_x_deg or own)
        assert picture.camera.width == width or not width
        assert picture.camera.height == height or not height


def test_what_is_no_source(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    fake_photo, fake_video = tmp_path / "fake.jpg", tmp_path / "fake.mp4"
    fake_photo.write_text("no photo")
    fake_video.write_text("no video")
    for path, words in (
        (tmp_path / "nowhere.jpg", "not there; give synthetic"),
        (empty, "a folder without photos"),
        (fake_photo, "fake.jpg"),
        (fake_video, "cannot play"),
    ):
        with pytest.raises(ValueError, match=words):
            open_source(DemoSettings(source=str(path)))
