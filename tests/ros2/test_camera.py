"""Camera info to lens and back."""

from __future__ import annotations

import copy

import cv2
import numpy as np
import pytest

pytest.importorskip("sensor_msgs")

from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from ros2_pro import camera
from ros2_pro.causes import MessageError

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


def test_a_raw_image_has_the_lens_of_k_and_a_rectified_one_that_of_p():
    assert values(camera.lens_from_info(info(), WIDTH, HEIGHT, rectified=False)) == (50, 51, 30, 20)
    assert values(camera.lens_from_info(info(), WIDTH, HEIGHT, rectified=True)) == (40, 41, 31, 21)
    assert values(camera.lens_from_info(info(p=[0.0] * 12), WIDTH, HEIGHT, rectified=True)) == (50, 51, 30, 20)


def test_slopes_are_those_of_pixel_centres():
    lens = camera.lens_from_info(info(), WIDTH, HEIGHT, rectified=False)
    x, y = lens.slopes
    np.testing.assert_allclose(x, (np.arange(WIDTH) - 30) / 50, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(y, (np.arange(HEIGHT) - 20) / 51, rtol=1e-6, atol=1e-7)


def test_an_image_of_another_size_scales_k_so_that_edges_stay_edges():
    lens = camera.lens_from_info(info(), 2 * WIDTH, 2 * HEIGHT, rectified=False)
    assert lens.notes == ("camera_info_scaled",) and values(lens) == (100, 102, 60.5, 40.5)
    with pytest.raises(MessageError) as caught:
        camera.lens_from_info(info(), WIDTH, WIDTH, rectified=False)
    assert caught.value.cause == "bad_camera_info"


def test_region_of_interest_and_binning_are_honoured():
    roi = RegionOfInterest(x_offset=8, y_offset=6, width=32, height=24)
    lens = camera.lens_from_info(info(roi=roi), 32, 24, rectified=False)
    assert values(lens) == (50, 51, 22, 14) and lens.notes == ()
    lens = camera.lens_from_info(info(roi=roi, binning_x=2, binning_y=2), 16, 12, rectified=False)
    assert values(lens) == (25, 25.5, 10.75, 6.75) and lens.notes == ()
    # The ray of a binned pixel is that of the middle of its four.
    assert (0 - 10.75) / 25 == pytest.approx((8.5 - 30) / 50)


@pytest.mark.parametrize(
    "k",
    [[0.0] * 9, [float("nan")] * 9, [-50.0, 0.0, 30.0, 0.0, 51.0, 20.0, 0.0, 0.0, 1.0], [50.0, 0.0, float("inf")] * 3],
)
def test_a_matrix_of_no_camera_is_refused(k):
    with pytest.raises(MessageError) as caught:
        camera.lens_from_info(info(k=k), WIDTH, HEIGHT, rectified=False)
    assert caught.value.cause == "bad_camera_info" and "calibrate" in str(caught.value)


def test_focal_lengths_that_differ_are_noted():
    k = [50.0, 0.0, 30.0, 0.0, 70.0, 20.0, 0.0, 0.0, 1.0]
    assert camera.lens_from_info(info(k=k), WIDTH, HEIGHT, rectified=False).notes == ("unequal_focal",)


PLUMB_BOB = [-0.2, 0.05, 0.001, -0.002, 0.01]
FISHEYE = [0.05, -0.01, 0.003, -0.001]


@pytest.mark.parametrize(
    ("model", "d"),
    [("plumb_bob", PLUMB_BOB), ("rational_polynomial", [*PLUMB_BOB, 0.01, 0.02, 0.003]), ("equidistant", FISHEYE)],
)
def test_rays_of_a_distorted_image_lead_back_to_their_pixels(model, d):
    lens = camera.lens_from_info(info(distortion_model=model, d=d), WIDTH, HEIGHT, rectified=False)
    assert lens.notes == ("distorted",) and not lens.rectified
    x, y = (slope.astype(np.float64) for slope in lens.slopes)
    assert x.shape == (HEIGHT, WIDTH)
    points = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 1, 3)
    matrix = np.array(info().k).reshape(3, 3)
    zero = np.zeros(3)
    forward = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    pixels, _ = forward(points, zero, zero, matrix, np.array(d))
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    off = pixels.reshape(HEIGHT, WIDTH, 2) - np.stack([columns, rows], axis=-1)
    assert np.abs(off).max() < 0.05


def test_the_distortion_of_a_rectified_image_does_not_matter():
    lens = camera.lens_from_info(info(d=PLUMB_BOB), WIDTH, HEIGHT, rectified=True)
    assert lens.notes == () and lens.slopes[0].shape == (WIDTH,)


@pytest.mark.parametrize(
    ("model", "d"), [("mystery", [0.1] * 5), ("plumb_bob", [0.1] * 3), ("equidistant", [0.1] * 5), ("plumb_bob", [float("nan")] * 5)]
)  # fmt: skip
def test_an_unknown_distortion_is_noted_and_left_out(model, d):
    lens = camera.lens_from_info(info(distortion_model=model, d=d), WIDTH, HEIGHT, rectified=False)
    assert lens.notes == ("unknown_distortion",) and values(lens) == (50, 51, 30, 20) and lens.slopes[0].ndim == 1


def test_camera_info_of_the_depth_fits_its_image_and_the_source_stays():
    source = info(d=PLUMB_BOB, binning_x=2, binning_y=2, roi=RegionOfInterest(width=WIDTH, height=HEIGHT))
    before = copy.deepcopy(source)
    header = Header(frame_id="other")
    for rectified in (True, False):
        lens = camera.lens_from_info(source, WIDTH // 2, HEIGHT // 2, rectified=rectified)
        made = camera.info_message(source, lens, header)
        assert (made.width, made.height, made.header) == (WIDTH // 2, HEIGHT // 2, header)
        again = camera.lens_from_info(made, WIDTH // 2, HEIGHT // 2, rectified=rectified)
        assert values(again) == pytest.approx(values(lens))
        assert list(made.d) == ([0.0] * 5 if rectified else PLUMB_BOB)
        assert made.k[0] == made.p[0] and made.k[2] == made.p[2] and not made.roi.width and not made.binning_x
    assert source == before


def test_a_guessed_lens_has_its_field_of_view():
    lens = camera.guessed_lens(1000, 500, 90)
    assert values(lens) == pytest.approx((500, 500, 499.5, 249.5))
    assert camera.info_message(None, lens, Header()).k[0] == pytest.approx(500)


@pytest.mark.parametrize(
    ("topic", "setting", "expected"),
    [
        ("/camera/image_rect", "auto", True), ("/camera/image_rect_color", "auto", True), ("/camera/image_raw", "auto", False),
        ("/rectangle/image", "auto", False), ("/camera/image_raw", "yes", True), ("/camera/image_rect", "no", False),
    ],
)  # fmt: skip
def test_whether_an_image_is_rectified(topic, setting, expected):
    assert camera.is_rectified(topic, setting) is expected
