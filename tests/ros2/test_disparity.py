"""stereo_msgs/DisparityImage: what consumers of a stereo camera make of it is our depth again."""

from __future__ import annotations

import numpy as np
import pytest
from desk import DISPARITY, HEIGHT, WIDTH, Desk
from rig import camera_info

DisparityImage = pytest.importorskip("stereo_msgs.msg").DisparityImage

FOCAL_PX = 50.0


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    desk.listeners |= {"disparity"}
    return desk


def right_camera(baseline_m):
    """Camera info of the right one of a pair, whose P has -fx * baseline."""
    info = camera_info(WIDTH, HEIGHT, focal_px=FOCAL_PX)
    info.p[3] = -FOCAL_PX * baseline_m
    return info


def metres(message):
    """As image_geometry has it: Z = f T / d, of disparities within the range that the message tells."""
    d = np.frombuffer(message.image.data, np.float32).reshape(message.image.height, message.image.width)
    seen = (d >= message.min_disparity) & (d <= message.max_disparity)
    with np.errstate(divide="ignore"):
        return np.where(seen, np.float32(message.f * message.t) / d, np.nan)


@pytest.mark.parametrize("by", ["camera info", "parameter"])
def test_a_stereo_consumer_sees_our_depth(desk, by):
    desk.set(depth__baseline_m=0.12 if by == "parameter" else 0.0)
    out = desk.look(info=right_camera(0.12 if by == "camera info" else 0.0))
    message = out["disparity"]
    assert type(message) is DisparityImage and message.header == out["depth"].header == message.image.header
    assert message.f == FOCAL_PX and message.t == pytest.approx(0.12) and message.image.encoding == "32FC1"
    assert (message.valid_window.width, message.valid_window.height) == (WIDTH, HEIGHT)
    depth = np.frombuffer(out["depth"].data, np.float32).reshape(HEIGHT, WIDTH)
    np.testing.assert_allclose(metres(message), depth, rtol=1e-5)


def test_sky_has_no_disparity_and_what_is_unknown_is_out_of_range(desk):
    desk.set(depth__baseline_m=0.1, depth__max_depth_m=8.0, depth__min_depth_m=6.0)
    out = desk.look()
    found, depth = metres(out["disparity"]), np.frombuffer(out["depth"].data, np.float32).reshape(HEIGHT, WIDTH)
    assert np.isinf(depth).any() and np.isnan(depth).any() and np.isfinite(depth).any()
    np.testing.assert_allclose(found, depth, rtol=1e-5)


@pytest.mark.parametrize("why", ["no baseline", "no camera info", "a bent lens", "no scale"])
def test_without_baseline_lens_or_metres_there_is_none_and_it_is_told(desk, why):
    desk.listeners = frozenset({"disparity"})
    info = right_camera(0.0 if why == "no baseline" else 0.1)
    if why == "a bent lens":
        info.d[0] = -0.3
        desk.set(input__rectify=False)
    if why == "no scale":
        desk.set(scale__mode="none")
    assert not desk.look(info=False if why == "no camera info" else info)
    assert ("no_scale" if why == "no scale" else "no_baseline", True) in desk.told


def test_the_relative_map_is_under_a_name_that_promises_no_pixels(desk):
    relative = desk.look()["relative"]
    np.testing.assert_array_equal(np.frombuffer(relative.data, np.float32).reshape(HEIGHT, WIDTH), DISPARITY)
