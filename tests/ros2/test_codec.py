"""The image codec against arithmetic of the tests' own."""

from __future__ import annotations

import sys
import tracemalloc
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sensor_msgs")

from pictures import GREY, HEIGHT, RGB, SMOOTH, WIDTH, grey_rgb, message, tried, wide, with_alpha
from std_msgs.msg import Header

from ros2_pro.faults import DROPS, NOTES, MessageError
from ros2_pro.messages import images

EXACT = {
    "rgb8": (RGB, RGB),
    "bgr8": (RGB[..., ::-1], RGB),
    "rgba8": (with_alpha(RGB), RGB),
    "bgra8": (with_alpha(RGB[..., ::-1]), RGB),
    "mono8": (GREY, grey_rgb(GREY)),
    "mono16": (wide(GREY), grey_rgb(GREY)),
    "8UC1": (GREY, grey_rgb(GREY)),
    "8UC3": (RGB[..., ::-1], RGB),
    "8UC4": (with_alpha(RGB[..., ::-1]), RGB),
    "rgb16": (wide(RGB), RGB),
    "bgr16": (wide(RGB[..., ::-1]), RGB),
    "rgba16": (with_alpha(wide(RGB)), RGB),
    "bgra16": (with_alpha(wide(RGB[..., ::-1])), RGB),
    "16UC3": (wide(RGB[..., ::-1]), RGB),
    "16UC4": (with_alpha(wide(RGB[..., ::-1])), RGB),
}


@pytest.mark.parametrize("step", [0, 5])
@pytest.mark.parametrize("encoding", EXACT)
def test_colours_and_greys_are_bit_exact_with_and_without_padding(encoding, step):
    pixels, expected = EXACT[encoding]
    row = pixels[0].nbytes
    picture = images.decode_image(message(pixels, encoding, step=row + step))
    np.testing.assert_array_equal(picture.image, expected)
    assert picture.image.flags.c_contiguous and picture.notes == (("padded_rows",) if step else ())


@pytest.mark.parametrize("encoding", [name for name, (pixels, _) in EXACT.items() if pixels.dtype == np.uint16])
def test_big_endian_numbers_are_turned_and_noted(encoding):
    pixels, expected = EXACT[encoding]
    picture = images.decode_image(message(pixels, encoding, big_endian=True))
    np.testing.assert_array_equal(picture.image, expected)
    assert picture.notes == ("big_endian",)


def test_the_byte_order_does_not_matter_for_bytes():
    assert images.decode_image(message(RGB, "rgb8", big_endian=True)).notes == ()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (7, 1), (3, 5)])
@pytest.mark.parametrize("encoding", EXACT)
def test_small_and_odd_sizes_are_exact(encoding, height, width):
    pixels, expected = (values[:height, :width] for values in EXACT[encoding])
    picture = images.decode_image(message(pixels, encoding, height=height, width=width, step=pixels[0].nbytes + 3))
    np.testing.assert_array_equal(picture.image, expected)


def test_rgb_is_not_copied_and_other_colours_leave_the_message_as_it_was():
    made = message(RGB, "rgb8")
    assert np.shares_memory(images.decode_image(made).image, np.frombuffer(made.data, dtype=np.uint8))
    made = message(RGB, "bgr8")
    images.decode_image(made)
    assert bytes(made.data) == RGB.tobytes()


@pytest.mark.parametrize(("bits", "big_endian"), [(8, False), (16, False), (16, True)])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_give_the_colours_back(pattern, bits, big_endian):
    mosaic = np.empty((HEIGHT, WIDTH), dtype=np.uint8)
    for place, colour in enumerate(pattern):
        cell = slice(place // 2, None, 2), slice(place % 2, None, 2)
        mosaic[cell] = SMOOTH[(*cell, "rgb".index(colour))]
    pixels = wide(mosaic) if bits == 16 else mosaic
    made = message(pixels, f"bayer_{pattern}{bits}", big_endian=big_endian, step=pixels[0].nbytes + 6)
    picture = images.decode_image(made)
    inner = slice(2, -2), slice(2, -2)
    assert np.abs(picture.image[inner].astype(int) - SMOOTH[inner]).max() <= 2


def yuv_of(rgb):
    """BT.601 in video range, as floats."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = 16 + (65.738 * r + 129.057 * g + 25.064 * b) / 256
    return y, 128 + (-37.945 * r - 74.494 * g + 112.439 * b) / 256, 128 + (112.439 * r - 94.154 * g - 18.285 * b) / 256


def packed_yuv(encoding):
    y, u, v = (np.rint(plane).astype(np.uint8) for plane in yuv_of(SMOOTH))
    if encoding in ("nv12", "nv21"):
        pair = (u, v) if encoding == "nv12" else (v, u)
        chroma = np.stack([plane[::2, ::2] for plane in pair], axis=-1).reshape(HEIGHT // 2, WIDTH)
        return np.concatenate([y, chroma])
    chroma = np.stack([u[:, ::2], v[:, ::2]], axis=-1).reshape(HEIGHT, WIDTH)
    return np.stack([chroma, y] if encoding in ("uyvy", "yuv422") else [y, chroma], axis=-1)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", ["uyvy", "yuv422", "yuyv", "yuv422_yuy2", "nv12", "nv21"])
def test_video_encodings_give_the_colours_back(encoding, padding):
    pixels = packed_yuv(encoding)
    picture = images.decode_image(message(pixels, encoding, step=pixels[0].nbytes + padding))
    off = np.abs(picture.image.astype(int) - SMOOTH)
    assert picture.image.shape == SMOOTH.shape and off.mean() < 3 and off.max() <= 12


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_values_without_a_range_are_stretched(dtype):
    values = np.linspace(1000, 3000, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(dtype)
    grey = images.decode_image(message(values, "16UC1" if dtype == np.uint16 else "32FC1")).image
    assert grey[0, 0].max() == 0 and grey[-1, -1].min() == 255 and 120 < grey[HEIGHT // 2, 0, 0] < 136


def test_what_is_not_a_number_is_black_and_noted():
    values = np.linspace(1, 3, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    values[5, 5], values[6, 6], values[7, 7] = np.nan, np.inf, -np.inf
    picture = images.decode_image(message(values, "32FC1"))
    assert picture.notes == ("nonfinite_input",)
    assert not picture.image[[5, 6, 7], [5, 6, 7]].any() and picture.image[20, 20].all()


@pytest.mark.parametrize("far", [50.0, 3e38])
def test_few_values_far_from_the_others_are_white_or_black(far):
    values = np.ones((HEIGHT, WIDTH), dtype=np.float32)
    values[0, 0], values[-1, -1] = -far, far
    grey = images.decode_image(message(values, "32FC1")).image[..., 0]
    assert grey[-1, -1] == 255 and grey[0, 0] == 0


def test_encodings_are_taken_in_any_case():
    np.testing.assert_array_equal(images.decode_image(message(RGB, "RGB8")).image, RGB)


def test_an_even_picture_and_data_too_much_are_noted():
    even = np.broadcast_to(np.uint8([9, 10, 11]), RGB.shape)
    assert images.decode_image(message(even, "rgb8")).notes == ("featureless",)
    almost = even.copy()
    almost[-1, -1, -1] = 10
    assert images.decode_image(message(almost, "rgb8", extra=b"more")).notes == ("extra_data",)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"encoding": ""}, "bad_encoding"),
        ({"encoding": "😀"}, "bad_encoding"),
        ({"encoding": "rgb9"}, "bad_encoding"),
        ({"height": HEIGHT + 1}, "short_data"),
        ({"step": 3 * WIDTH - 1}, "bad_step"),
        ({"step": 0}, "bad_step"),
        ({"height": 0}, "empty_image"),
        ({"width": 0}, "empty_image"),
        ({"height": 2**31, "width": 2**31, "step": 2**32 - 1}, "too_large"),
        ({"encoding": "yuyv", "width": 33}, "bad_step"),
        ({"encoding": "nv12", "height": 23}, "bad_step"),
    ],
)
def test_what_cannot_be_an_image_is_refused_with_its_cause(changes, cause):
    made = message(RGB, "rgb8")
    for name, value in changes.items():
        setattr(made, name, value)
    with pytest.raises(MessageError) as caught:
        images.decode_image(made)
    assert caught.value.cause == cause and str(caught.value).endswith(".")


def test_a_raw_image_that_claims_too_much_takes_no_memory():
    huge = message(RGB, "bgr8")
    huge.height = huge.width = 2**31
    huge.step = 2**32 - 1
    tracemalloc.start()
    try:
        for decode in (images.decode_image, images.decode_depth):
            with pytest.raises(MessageError):
                decode(huge)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@settings(max_examples=400, deadline=None)
@given(
    encoding=st.one_of(st.sampled_from([*images.LAYOUTS, "mono8 "]), st.text(max_size=8)),
    height=st.integers(0, 9), width=st.integers(0, 9), step=st.integers(0, 80), big=st.integers(0, 255),
    data=st.binary(max_size=600), huge=st.booleans(),
)  # fmt: skip
def test_whatever_a_message_holds_it_gives_a_picture_or_a_message_error(encoding, height, width, step, big, data, huge):
    if huge:
        height, width, step = height * 2**28, width * 2**28, step * 2**25
    made = SimpleNamespace(encoding=encoding, height=height, width=width, step=step, is_bigendian=big, data=data)
    picture, cause = tried(images.decode_image, made)
    if picture is None:
        assert cause in DROPS
    else:
        assert picture.image.shape == (height, width, 3) and picture.image.dtype == np.uint8
        assert set(picture.notes) <= set(NOTES)
    depth, cause = tried(images.decode_depth, made)
    assert cause in DROPS if depth is None else depth.shape == (height, width)


@pytest.fixture
def cv_bridge(monkeypatch):
    """A stand-in for the cv_bridge of a ROS distribution; `answer` is what it makes of any image."""
    bridge = SimpleNamespace(answer=RGB)

    class CvBridge:
        def imgmsg_to_cv2(self, made, encoding):
            assert encoding == "rgb8"
            if isinstance(bridge.answer, Exception):
                raise bridge.answer
            return bridge.answer

    package, compiled = ModuleType("cv_bridge"), ModuleType("cv_bridge.boost")
    package.CvBridge, compiled.cv_bridge_boost = CvBridge, object()
    monkeypatch.setitem(sys.modules, "cv_bridge", package)
    monkeypatch.setitem(sys.modules, "cv_bridge.boost", compiled)
    return bridge


def test_an_unknown_encoding_goes_to_the_cv_bridge_of_a_distribution(cv_bridge):
    np.testing.assert_array_equal(images.decode_image(message(RGB, "nv24")).image, RGB)
    cv_bridge.answer = np.full_like(RGB, 3)
    assert images.decode_image(message(RGB, "nv24")).notes == ("featureless",)


@pytest.mark.parametrize(
    "answer", [ValueError("two\nlines"), KeyError("nv24"), GREY, RGB.astype(np.float32), RGB[:0], None]
)
def test_what_cv_bridge_cannot_do_is_a_bad_encoding(cv_bridge, answer):
    cv_bridge.answer = answer
    with pytest.raises(MessageError) as caught:
        images.decode_image(message(RGB, "nv24"))
    assert caught.value.cause == "bad_encoding" and "nv24" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["cv_bridge", "cv_bridge.boost"])
def test_without_the_compiled_half_the_encodings_that_we_take_are_named(cv_bridge, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MessageError) as caught:
        images.decode_image(message(RGB, "nv24"))
    assert caught.value.cause == "bad_encoding" and "'nv24'" in str(caught.value) and "bayer_rggb8" in str(caught.value)


@pytest.mark.parametrize("step", [0, 6])
@pytest.mark.parametrize("big_endian", [False, True])
def test_depth_is_metres_and_nan_where_there_is_none(big_endian, step):
    metres = np.linspace(0.5, 40, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    millimetres = np.rint(metres * 1000).astype(np.uint16)
    metres[0, :4] = np.nan, 0, -1, np.inf
    millimetres[0, 0] = 0
    given32 = message(metres, "32FC1", big_endian=big_endian, step=4 * WIDTH + step)
    depth = images.decode_depth(given32)
    assert np.isnan(depth[0, :3]).all() and np.isposinf(depth[0, 3]) and depth.dtype == np.float32
    np.testing.assert_array_equal(depth[1:], metres[1:])
    given16 = message(millimetres, "16UC1", big_endian=big_endian, step=2 * WIDTH + step)
    depth = images.decode_depth(given16)
    assert np.isnan(depth[0, 0]) and np.abs(depth[1:] - metres[1:]).max() <= 0.00051


def test_other_depth_encodings_are_the_same_metres():
    metres = np.linspace(0.5, 40, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    metres[0, :3] = np.nan, -np.inf, 1e300  # the last is beyond float32
    depth = images.decode_depth(message(metres, "64FC1"))
    assert np.isnan(depth[0, :2]).all() and np.isposinf(depth[0, 2]) and depth.dtype == np.float32
    np.testing.assert_array_equal(depth[1:], metres[1:].astype(np.float32))
    millimetres = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)
    depth = images.decode_depth(message(millimetres, "mono16"))
    assert np.isnan(depth[0, 0]) and abs(depth[0, 1] - 0.001) < 1e-9 and abs(depth[1, 0] - WIDTH / 1000) < 1e-8


@pytest.mark.parametrize("encoding", ["32FC1", "64FC1"])
def test_numpy_does_not_complain_of_nan_that_signals(encoding):
    quiet = np.linspace(1, 3, HEIGHT * WIDTH, dtype=np.float32 if encoding == "32FC1" else np.float64)
    bits = quiet.view(np.uint32 if encoding == "32FC1" else np.uint64)
    bits[40] = 0x7F800001 if encoding == "32FC1" else 0x7FF0000000000001
    made = message(quiet.reshape(HEIGHT, WIDTH), encoding)
    with np.errstate(all="raise"):
        assert np.isnan(images.decode_depth(made)).sum() == 1
        if encoding == "32FC1":
            assert images.decode_image(made).notes == ("nonfinite_input",)


def test_a_picture_is_no_depth_image():
    with pytest.raises(MessageError) as caught:
        images.decode_depth(message(RGB, "rgb8"))
    assert caught.value.cause == "bad_encoding" and "32FC1" in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "values"),
    [
        ("32FC1", np.arange(12, dtype=np.float32).reshape(3, 4)),
        ("16UC1", wide(GREY)),
        ("rgb8", RGB),
        ("bgr8", RGB[:, ::2]),
    ],
)
def test_messages_come_back_as_they_were(encoding, values):
    header = Header(frame_id="camera")
    made = images.image_message(values, encoding, header)
    assert (made.height, made.width) == values.shape[:2] and made.header == header and made.encoding == encoding
    assert len(made.data) == made.step * made.height and not made.is_bigendian
    back = np.frombuffer(made.data, values.dtype).reshape(values.shape)
    np.testing.assert_array_equal(back, values)


def test_a_message_is_filled_again_in_its_own_memory_whatever_size_comes():
    made = images.image_message(np.zeros((4, 5), np.float32), "32FC1", Header())
    data = made.data
    again = images.image_message(np.ones((5, 4), np.float32), "32FC1", Header(frame_id="b"), reuse=made)
    assert again is made and again.data is data and (made.height, made.width, made.step) == (5, 4, 16)
    larger = images.image_message(np.full((6, 7), 2, np.float32), "32FC1", Header(), reuse=made)
    assert len(larger.data) == 6 * 7 * 4 and np.frombuffer(larger.data, np.float32).min() == 2


def test_millimetres_are_rounded_and_zero_where_they_cannot_be():
    depth = np.array([[1.0004, 1.0006, 65.535, 65.536, np.nan, np.inf, -np.inf, -1, 0, 0.0004, 3e38]], dtype=np.float32)
    with np.errstate(all="raise"):
        assert images.depth_to_millimetres(depth).tolist() == [[1000, 1001, 65535, 0, 0, 0, 0, 0, 0, 0, 0]]
