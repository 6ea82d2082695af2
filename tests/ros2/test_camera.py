"""Camera info to lens and back."""

from __future__ import annotations

import copy

import pytest

pytest.importorskip("sensor_msgs", reason="ROS 2 is not installed; the extra `ros` has it")

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from ros2_pro.faults import MessageError
from ros2_pro.messages import camera_info

WIDTH, HEIGHT = 64, 48


def info(**changes):
    made = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob", d=[0.0] * 5)
    made.k = [50.0, 0.0, 30.0, 0.0, 51.0, 20.0, 0.0, 0.0, 1.0]
    made.p = [40.0, 0.0, 31.0, 0.0, 0.0, 41.0, 21.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def values(lens):
    k = lens.intrinsics
    return k.fx, k.fy, k.cx, k.cy


def test_a_raw_image_whose_k_is_empty_has_the_lens_of_p():
    """As depthai-ros publishes it (issue 598 there)."""
    found = camera_info.lens_from_info(info(k=[0.0] * 9, d=[-0.3, 0.1, 0.0, 0.0, 0.0]), WIDTH, HEIGHT, rectified=False)
    assert values(found) == (40.0, 41.0, 31.0, 21.0) and found.distortion is None and "distorted" not in found.notes
    with pytest.raises(MessageError):
        camera_info.lens_from_info(info(k=[0.0] * 9, p=[0.0] * 12), WIDTH, HEIGHT, rectified=False)


def test_a_raw_image_has_the_lens_of_k_and_a_rectified_one_that_of_p():
    assert values(camera_info.lens_from_info(info(), WIDTH, HEIGHT, rectified=False)) == (50, 51, 30, 20)
    assert values(camera_info.lens_from_info(info(), WIDTH, HEIGHT, rectified=True)) == (40, 41, 31, 21)
    assert values(camera_info.lens_from_info(info(p=[0.0] * 12), WIDTH, HEIGHT, rectified=True)) == (50, 51, 30, 20)


def test_slopes_are_those_of_pixel_centres():
    lens = camera_info.lens_from_info(info(), WIDTH, HEIGHT, rectified=False)
    x, y = lens.slopes
    np.testing.assert_allclose(x, (np.arange(WIDTH) - 30) / 50, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(y, (np.arange(HEIGHT) - 20) / 51, rtol=1e-6, atol=1e-7)


def test_an_image_of_another_size_scales_k_so_that_edges_stay_edges():
    lens = camera_info.lens_from_info(info(), 2 * WIDTH, 2 * HEIGHT, rectified=False)
    assert lens.notes == ("camera_info_scaled",) and values(lens) == (100, 102, 60.5, 40.5)
    with pytest.raises(MessageError) as caught:
        camera_info.lens_from_info(info(), WIDTH, WIDTH, rectified=False)
    assert caught.value.cause == "bad_camera_info"


def test_region_of_interest_and_binning_are_honoured():
    roi = RegionOfInterest(x_offset=8, y_offset=6, width=32, height=24)
    lens = camera_info.lens_from_info(info(roi=roi), 32, 24, rectified=False)
    assert values(lens) == (50, 51, 22, 14) and lens.notes == ()
    lens = camera_info.lens_from_info(info(roi=roi, binning_x=2, binning_y=2), 16, 12, rectified=False)
    assert values(lens) == (25, 25.5, 10.75, 6.75) and lens.notes == ()
    # The ray of a binned pixel is that of the middle of its four.
    assert lens.slopes[0][0] == pytest.approx((8.5 - 30) / 50)


def test_the_rest_of_a_last_block_of_binning_is_no_other_scale():
    lens = camera_info.lens_from_info(info(width=67, height=51, binning_x=2, binning_y=2), 33, 25, rectified=False)
    assert lens.notes == () and values(lens) == (25, 25.5, 14.75, 9.75)


@pytest.mark.parametrize(
    "k",
    [[float("nan")] * 9, [-50.0, 0.0, 30.0, 0.0, 51.0, 20.0, 0.0, 0.0, 1.0], [50.0, 0.0, float("inf")] * 3],
)
def test_a_matrix_of_no_camera_is_refused(k):
    with pytest.raises(MessageError) as caught:
        camera_info.lens_from_info(info(k=k), WIDTH, HEIGHT, rectified=False)
    assert caught.value.cause == "bad_camera_info" and "calibrate" in str(caught.value)


def test_a_distortion_that_no_ray_passes_is_refused():
    for d in ([-1e5, 0.0, 0.0, 0.0], [-1e300, 1e300, 1e300, 1e300]):
        with pytest.raises(MessageError) as caught:
            camera_info.lens_from_info(info(d=d), WIDTH, HEIGHT, rectified=False)
        assert caught.value.cause == "bad_camera_info" and "calibrate" in str(caught.value)


def test_focal_lengths_that_differ_are_noted():
    k = [50.0, 0.0, 30.0, 0.0, 70.0, 20.0, 0.0, 0.0, 1.0]
    assert camera_info.lens_from_info(info(k=k), WIDTH, HEIGHT, rectified=False).notes == ("unequal_focal",)


PLUMB_BOB = [-0.2, 0.05, 0.001, -0.002, 0.01]
FISHEYE = [0.05, -0.01, 0.003, -0.001]
# Kind of model, coefficients, focal length; the last share of pixels has no ray, as the lens folds back or sees behind.
LENSES = {
    "plumb_bob": ("plumb_bob", PLUMB_BOB, 500, 0),
    "webcam": ("plumb_bob", [-0.38, 0.17, 0.001, -0.001, -0.04], 420, 0.04),
    "wide": ("plumb_bob", [-0.3, 0.09, 0.0005, -0.0003, -0.012], 320, 0.1),
    "pincushion": ("plumb_bob", [0.4, 0.1, 0.0, 0.0], 320, 0),
    "rational": ("rational_polynomial", [0.5, -2.6, 0.0005, -0.0003, 1.5, 0.38, -2.4, 1.44], 305, 0),
    "thin_prism": ("rational_polynomial", [0.1, 0.2, 0.001, -0.001, *[0.01] * 4, 0.002, 0.001, -0.002, 0.001], 400, 0),
    "tilted": ("rational_polynomial", [0.1, 0.2, 0.001, -0.001, *[0.0] * 8, 0.03, -0.02], 400, 0),
    "fisheye": ("equidistant", FISHEYE, 300, 0),
    "fisheye_beyond_the_side": ("equidistant", [-0.02, 0.005, -0.002, 0.0002], 180, 0.31),
}  # fmt: skip


def forward(slopes, matrix, model, d):
    """The pixels of rays, (H, W, 2), by OpenCV."""
    x, y = (np.nan_to_num(slope).astype(np.float64) for slope in slopes)
    points = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 1, 3)
    bend = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    pixels, _ = bend(points, np.zeros(3), np.zeros(3), np.reshape(matrix, (3, 3)), np.array(d))
    return pixels.reshape(*x.shape, 2)


@pytest.mark.parametrize("name", LENSES)
def test_rays_of_a_distorted_image_lead_back_to_their_pixels(name):
    model, d, focal, blind = LENSES[name]
    width, height = 640, 480
    k = [focal, 0.0, 320.0, 0.0, 1.02 * focal, 241.3, 0.0, 0.0, 1.0]
    made = info(width=width, height=height, distortion_model=model, d=d, k=[float(value) for value in k])
    lens = camera_info.lens_from_info(made, width, height, rectified=False)
    assert lens.notes == ("distorted",) and not lens.rectified
    assert all(slope.shape == (height, width) and slope.dtype == np.float32 for slope in lens.slopes)
    known = np.isfinite(lens.slopes[0])
    assert (known == np.isfinite(lens.slopes[1])).all() and 1 - known.mean() <= blind
    rows, columns = np.mgrid[0:height, 0:width]
    off = np.hypot(*np.moveaxis(forward(lens.slopes, k, model, d) - np.stack([columns, rows], axis=-1), -1, 0))[known]
    assert np.quantile(off, 0.9999) < 0.01 and off.max() < 0.05
    back = lens.pixels(*(slope.astype(np.float64) for slope in lens.slopes))
    assert all(np.quantile(np.abs(a - b)[known], 0.9999) < 0.01 for a, b in zip(back, (columns, rows), strict=True))
    # No ray leads to the other side of the lens.
    aside = lens.slopes[0] * (columns - 320) + lens.slopes[1] * (rows - 241.3)
    assert (aside[known & (np.hypot(columns - 320, rows - 241.3) > 20)] > 0).all()


def test_rays_that_a_lens_does_not_see_have_no_pixel():
    model, d, focal, _ = LENSES["wide"]
    made = info(distortion_model=model, d=d, k=[float(focal), 0.0, 30.0, 0.0, float(focal), 20.0, 0.0, 0.0, 1.0])
    lens = camera_info.lens_from_info(made, WIDTH, HEIGHT, rectified=False)
    columns, rows = lens.pixels(np.array([0.0, 0.1, 9.0]), np.array([0.0, 0.2, 0.0]))
    assert (columns[0], rows[0]) == (30, 20) and np.isnan([columns[2], rows[2]]).all()
    expected = forward((np.array([[0.1]]), np.array([[0.2]])), made.k, model, d)[0, 0]
    np.testing.assert_allclose([columns[1], rows[1]], expected, atol=1e-9)
    straight = camera_info.guessed_lens(WIDTH, HEIGHT, 90)
    assert [float(value) for value in straight.pixels(np.array(1.0), np.array(0.0))] == pytest.approx([63.5, 23.5])


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 9), (3, 5), (7, 2)])
def test_small_distorted_images_have_rays(width, height):
    k = [50.0, 0.0, width / 2, 0.0, 50.0, height / 2, 0.0, 0.0, 1.0]
    message = info(width=width, height=height, k=k, d=PLUMB_BOB)
    lens = camera_info.lens_from_info(message, width, height, rectified=False)
    assert lens.slopes[0].shape == (height, width)
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = forward(lens.slopes, k, "plumb_bob", PLUMB_BOB)
    np.testing.assert_allclose(pixels, np.stack([columns, rows], axis=-1), atol=1e-3)


def test_rays_are_found_once():
    made = info(d=PLUMB_BOB)
    first, again = (camera_info.lens_from_info(made, WIDTH, HEIGHT, rectified=False).slopes for _ in range(2))
    assert first[0] is again[0] and not first[0].flags.writeable
    made.d[0] = -0.1
    assert camera_info.lens_from_info(made, WIDTH, HEIGHT, rectified=False).slopes[0] is not first[0]


def test_the_distortion_of_a_rectified_image_does_not_matter():
    lens = camera_info.lens_from_info(info(d=PLUMB_BOB), WIDTH, HEIGHT, rectified=True)
    assert lens.notes == () and lens.slopes[0].shape == (WIDTH,)


@pytest.mark.parametrize(
    ("model", "d"),
    [
        ("mystery", [0.1] * 5),
        ("plumb_bob", [0.1] * 3),
        ("equidistant", [0.1] * 5),
        ("plumb_bob", [float("nan")] * 5),
    ],
)
def test_an_unknown_distortion_is_noted_and_left_out(model, d):
    lens = camera_info.lens_from_info(info(distortion_model=model, d=d), WIDTH, HEIGHT, rectified=False)
    assert lens.notes == ("unknown_distortion",) and values(lens) == (50, 51, 30, 20) and lens.slopes[0].ndim == 1
    sentence = camera_info.unknown_distortion(info(distortion_model=model, d=d))
    assert f"{model!r} with {len(d)} coefficients" in sentence and "equidistant" in sentence


@pytest.mark.parametrize(
    ("model", "d", "same_model", "same"),
    [
        ("Plumb_Bob", PLUMB_BOB, "plumb_bob", PLUMB_BOB),
        ("plumb_bob", [*PLUMB_BOB, 0.01, 0.0, 0.0], "rational_polynomial", [*PLUMB_BOB, 0.01, 0.0, 0.0]),
        ("plumb_bob", [*PLUMB_BOB, *[0.0] * 11], "plumb_bob", PLUMB_BOB),
        ("equidistant", [0.1, 0.02, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "fisheye", [0.1, 0.02, 0.0, 0.0]),
    ],
)
def test_drivers_that_fill_up_with_zeros_or_write_a_model_otherwise_are_understood(model, d, same_model, same):
    one, other = (
        camera_info.lens_from_info(info(distortion_model=name, d=given), WIDTH, HEIGHT, rectified=False)
        for name, given in ((model, d), (same_model, same))
    )
    assert one.notes == other.notes == ("distorted",)
    np.testing.assert_array_equal(one.slopes[0], other.slopes[0])


@pytest.mark.parametrize(
    ("given", "is_odd"),
    [
        ({}, False),
        ({"k": [50.0, 0, WIDTH + 1, 0, 51, 20, 0, 0, 1]}, True),  # K of a larger image
        ({"k": [50.0, 0, 30, 0, 51, -1, 0, 0, 1]}, True),
        ({"k": [50.0, 0, 500, 0, 51, 20, 0, 0, 1], "width": 0, "height": 0}, False),  # of what, it does not say
        ({"width": 2 * WIDTH, "height": 2 * HEIGHT,
          "roi": RegionOfInterest(x_offset=WIDTH, y_offset=HEIGHT, width=WIDTH, height=HEIGHT)}, False),
        ({"width": 2 * WIDTH, "height": 2 * HEIGHT,
          "roi": RegionOfInterest(x_offset=WIDTH + 1, y_offset=0, width=WIDTH, height=HEIGHT)}, True),
    ],
)  # fmt: skip
def test_a_camera_info_that_shows_past_its_own_image_is_told(given, is_odd):
    lens = camera_info.lens_from_info(info(**given), WIDTH, HEIGHT, rectified=False)
    assert ("camera_info_odd" in lens.notes) == is_odd


def test_camera_info_of_the_depth_fits_its_image_and_the_source_stays():
    source = info(d=PLUMB_BOB, binning_x=2, binning_y=2, roi=RegionOfInterest(width=WIDTH, height=HEIGHT))
    before = copy.deepcopy(source)
    header = Header(frame_id="other")
    for rectified in (True, False):
        lens = camera_info.lens_from_info(source, WIDTH // 2, HEIGHT // 2, rectified=rectified)
        made = camera_info.info_message(source, lens, header)
        assert (made.width, made.height, made.header) == (WIDTH // 2, HEIGHT // 2, header)
        again = camera_info.lens_from_info(made, WIDTH // 2, HEIGHT // 2, rectified=rectified)
        assert values(again) == pytest.approx(values(lens))
        assert list(made.d) == ([0.0] * 5 if rectified else PLUMB_BOB)
        assert made.k[0] == made.p[0] and made.k[2] == made.p[2] and not made.roi.width and not made.binning_x
    assert source == before


def test_a_guessed_lens_has_its_field_of_view():
    lens = camera_info.guessed_lens(1000, 500, 90)
    assert values(lens) == pytest.approx((500, 500, 499.5, 249.5))
    assert camera_info.info_message(None, lens, Header()).k[0] == pytest.approx(500)


@pytest.mark.parametrize(
    ("topic", "setting", "expected"),
    [
        ("/camera/image_rect", "auto", True),
        ("/camera/image_rect_color", "auto", True),
        ("/camera/image_rect/compressed", "auto", True),
        ("/rgb/rect/image", "auto", True),
        ("/camera/image_raw", "auto", False),
        ("/rectangle/image", "auto", False),
        ("/camera/image_unrectified", "auto", False),
        ("/camera/image_raw", "yes", True),
        ("/camera/image_rect", "no", False),
    ],
)
def test_whether_an_image_is_rectified(topic, setting, expected):
    assert camera_info.is_rectified(topic, setting) is expected
