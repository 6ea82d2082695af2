"""What a processor tells of frames and their stamps, on a desk."""

from __future__ import annotations

import numpy as np
import pytest
from desk import HEIGHT, WIDTH, Desk, depth_message, measured
from rig import camera_info


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_a_recordings_latency_is_not_told_as_years(desk):
    desk.look()  # stamped 1 s after the epoch, at a time of 1e9 s
    values = desk.health.report(stale_after_s=1).values
    assert values["latency from"].startswith("its arrival")
    assert float(values["latency p95 (s)"]) == 0  # of the desk's clock


def test_a_stamp_is_not_of_the_future_before_there_is_a_time(desk):
    desk.ros_time_s = 0.0
    desk.look()
    assert not desk.health.counts().get("time_jump")
    desk.ros_time_s = 1.0
    desk.look()
    desk.look()  # stamped 3 s
    assert desk.health.counts()["time_jump"] == 1


def test_a_sensor_of_another_frame_is_registered_or_told(desk):
    desk.set(scale__mode="align")
    message = depth_message(measured(0.3, 0.2))
    message.header.frame_id = "depth_optical"
    assert desk.depth(message) is not None
    assert desk.health.counts()["unregistered_sensor"] == 1
    desk.sensor.put_info(camera_info(WIDTH, HEIGHT, focal_px=50.0))
    desk.set(scale__sensor_pose=(0.0, 0.0, 1e-9, 0.0, 0.0, 0.0))
    np.testing.assert_allclose(desk.depth(message), measured(0.3, 0.2), rtol=0.01)
    assert desk.health.counts()["unregistered_sensor"] == 1


@pytest.mark.parametrize(
    ("listeners", "fov_x_deg", "withheld"),
    [({"points"}, 0.0, True), ({"depth"}, 0.0, False), ({"relative"}, 0.0, False), ({"points"}, 90.0, False)],
)
def test_a_missing_camera_info_withholds_points_from_whoever_listens(desk, listeners, fov_x_deg, withheld):
    desk.listeners = frozenset(listeners)
    desk.set(input__fallback_fov_x_deg=fov_x_deg)
    assert ("points" in desk.look(info=False)) == ("points" in listeners and not withheld)
    assert ("no_camera_info", withheld) in desk.told


def test_what_gives_no_metres_withholds_depth_only_where_none_are_held(desk):
    desk.set(scale__mode="none")
    assert "depth" not in desk.look() and desk.told == [("no_scale", True)]
    desk.set(scale__mode="align")
    wrong = depth_message(np.ones((10, 60), np.float32))  # of another view
    desk.told.clear()
    assert desk.depth(wrong) is None and desk.told == [("bad_scale_source", True)]
    assert desk.depth(measured(0.3, 0.2)) is not None
    assert desk.depth(wrong) is not None


def test_the_state_of_the_scale_says_why_nothing_is_fitted(desk):
    desk.set(scale__mode="align", scale__stale_after_s=0.1)
    reasons = []
    wrong = depth_message(np.ones((10, 60), np.float32))  # of another view
    millimetres = 1000 * measured(0.3, 0.2)
    for sensor, offset_s in ((None, 0.0), (measured(0.3, 0.2), 0.4), (wrong, 0.0), (millimetres, 0.0)):
        desk.look(sensor, offset_s=offset_s)
        reasons.append(desk.processor.scale_now().reason)
    for reason, words in zip(
        reasons,
        (
            "nothing came",
            "nearest stamp on /camera/depth is +0.40 s from the image's, and scale.max_offset_s is 0.1.",
            "do not show the same view",
            "send metres (16UC1: millimetres), not millimetres.",
        ),
        strict=True,
    ):
        assert words in reason.replace("Nothing", "nothing"), reason
    desk.set(scale__mode="ground")
    desk.look()
    assert "tf does not say where 'base_footprint' is" in desk.processor.scale_now().reason


def test_an_unknown_distortion_is_named(desk):
    other = camera_info(WIDTH, HEIGHT)
    other.distortion_model, other.d = "bananas", [0.1] * 5
    desk.look(info=other)
    assert any("'bananas' with 5 coefficients" in line for line in desk.lines)


def test_a_stale_scale_withholds_depth_once_it_is_no_longer_held(desk):
    desk.set(scale__mode="align", scale__stale_after_s=2.0, scale__hold_s=4.0)
    desk.depth(measured(0.3, 0.2))
    desk.stamp_s += 2
    assert desk.depth() is not None and desk.told == [("scale_stale", False)]


def test_a_camera_info_of_another_frame_is_told_once_and_used(desk):
    other = camera_info(WIDTH, HEIGHT)
    other.header.frame_id = "right_optical"
    for _ in range(3):
        assert "points" in desk.look(info=other)
    assert desk.health.counts()["camera_info_frame"] == 1
