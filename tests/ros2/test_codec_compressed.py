"""Compressed images against the pictures they were made of, and files that are cut, damaged or lying."""

from __future__ import annotations

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sensor_msgs")

from pictures import GREY, HEIGHT, RGB, SMOOTH, WIDTH, compressed, grey_rgb, tried, wide

from ros2_pro.faults import MessageError
from ros2_pro.messages import images


def test_png_is_exact_and_jpeg_is_close_and_both_are_rgb():
    np.testing.assert_array_equal(images.decode_compressed(compressed(".png", RGB[..., ::-1])).image, RGB)
    smooth = images.decode_compressed(compressed(".jpg", SMOOTH[..., ::-1])).image
    assert np.abs(smooth.astype(int) - SMOOTH).mean() < 3
    np.testing.assert_array_equal(images.decode_compressed(compressed(".png", GREY)).image, grey_rgb(GREY))
    high = images.decode_compressed(compressed(".png", wide(RGB[..., ::-1]))).image
    assert np.abs(high.astype(int) - RGB).max() <= 1


@pytest.mark.parametrize("kind", ["jpeg", "rgb8; jpeg compressed bgr8", "bgr8; png compressed bgr8", "", "😀"])
def test_the_data_say_what_they_are_not_the_format(kind):
    np.testing.assert_array_equal(images.decode_compressed(compressed(".png", RGB[..., ::-1], kind)).image, RGB)
    smooth = images.decode_compressed(compressed(".jpg", SMOOTH[..., ::-1], kind)).image
    assert np.abs(smooth.astype(int) - SMOOTH).mean() < 3


def segment(marker, content):
    """A segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(*segments, pixels=SMOOTH):
    """A JPEG with segments of ours in front of its own."""
    whole = bytes(compressed(".jpg", pixels[..., ::-1]).data)
    return whole[:2] + b"".join(segments) + whole[2:]


def exif(content):
    return segment(0xE1, b"Exif\0\0MM\0*" + struct.pack(">I", 8) + content)


def test_a_picture_is_not_turned_by_exif():
    turned = exif(struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 0))
    data = jpeg(turned)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (WIDTH, HEIGHT, 3), "it has no effect"
    image = images.decode_compressed(SimpleNamespace(data=data, format="jpeg")).image
    assert np.abs(image.astype(int) - SMOOTH).mean() < 3


@pytest.mark.parametrize("behind", [b"\0" * 100_000, b"\xff" * 5000, bytes(range(256)) * 40])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_bytes_behind_the_end_do_not_matter(suffix, behind):
    whole = compressed(suffix, SMOOTH[..., ::-1])
    longer = SimpleNamespace(data=bytes(whole.data) + behind, format="x")
    np.testing.assert_array_equal(images.decode_compressed(longer).image, images.decode_compressed(whole).image)


def test_the_end_of_a_thumbnail_is_not_that_of_the_picture(monkeypatch):
    thumbnail = bytes(compressed(".jpg", SMOOTH[:8, :8]).data)
    data = jpeg(exif(struct.pack(">HI", 0, 0) + thumbnail), pixels=RGB)
    assert images.decode_compressed(SimpleNamespace(data=data, format="jpeg")).image.shape == RGB.shape
    # OpenCV 5 refuses what is cut, older ones fill it with grey; none is asked.
    monkeypatch.setattr(cv2, "imdecode", lambda *_: np.zeros_like(RGB))
    with pytest.raises(MessageError) as caught:
        images.decode_compressed(SimpleNamespace(data=data[:-100], format="jpeg"))
    assert caught.value.cause == "bad_compressed"


@pytest.mark.parametrize("keep", [0, 1, 2, 100, 0.5, 0.95])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_cut_files_are_refused(suffix, keep):
    whole = compressed(suffix, RGB)
    count = int(keep * len(whole.data)) if isinstance(keep, float) else keep
    with pytest.raises(MessageError) as caught:
        images.decode_compressed(SimpleNamespace(data=bytes(whole.data[:count]), format="x"))
    assert caught.value.cause == "bad_compressed"


def claiming(kind, side):
    """A compressed image whose header says that it has `side` rows and columns."""
    if kind == "png":
        return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", side, side) + b"\x08\x02" + b"\0" * 100
    data = bytearray(jpeg(segment(0xE0, b"\xff\xc0 in a segment"), b"\xff\xff", b"\xff\x01", b"rubbish \xff\x00"))
    at = data.rindex(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", side, side)
    return bytes(data)


@pytest.mark.parametrize(("kind", "side"), [("png", 60_000), ("jpeg", 30_000), ("jpeg", 65_535)])
def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(monkeypatch, kind, side):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("OpenCV would take memory"))
    with pytest.raises(MessageError) as caught:
        images.decode_compressed(SimpleNamespace(data=claiming(kind, side), format=kind))
    assert caught.value.cause == "too_large" and f"{side}x{side}" in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300), head=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"GIF8"]))
def test_random_bytes_are_refused(data, head):
    with pytest.raises(MessageError):
        images.decode_compressed(SimpleNamespace(data=head + data, format="jpeg"))


@settings(max_examples=150, deadline=None)
@given(
    suffix=st.sampled_from([".jpg", ".png", ".bmp", ".webp", ".tiff", ".ppm"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_files_give_a_picture_or_a_message_error(suffix, changes):
    data = bytearray(cv2.imencode(suffix, SMOOTH)[1].tobytes())
    for place, value in changes:
        data[int(place * len(data))] = value
    picture, cause = tried(images.decode_compressed, SimpleNamespace(data=bytes(data), format=suffix))
    if picture is None:
        assert cause in ("bad_compressed", "too_large")
    else:
        assert picture.image.dtype == np.uint8 and picture.image.shape[2:] == (3,)
