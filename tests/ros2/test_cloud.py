"""Point clouds: geometry, colours, limits, strides."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sensor_msgs")

from std_msgs.msg import Header

import pro_engine as pro
from ros2_pro.messages import camera_info, clouds
from ros2_pro.settings import PointsSettings

HEIGHT, WIDTH = 30, 40
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
DEPTH = RNG.uniform(1, 9, (HEIGHT, WIDTH)).astype(np.float32)
LENS = camera_info.guessed_lens(WIDTH, HEIGHT, 60)
PLAIN = PointsSettings(edge_filter=False)
ALL = 10**7  # points: a limit that no image here meets


def read(message):
    """The fields of a message by its own description."""
    formats = {7: "<f4"}
    kind = np.dtype(
        {
            "names": [field.name for field in message.fields],
            "formats": [formats[field.datatype] for field in message.fields],
            "offsets": [field.offset for field in message.fields],
            "itemsize": message.point_step,
        }
    )
    return np.frombuffer(message.data, kind).reshape(message.height, message.width)


def colours(points):
    packed = np.ascontiguousarray(points["rgb"]).view(np.uint32)
    return np.stack([packed >> 16 & 255, packed >> 8 & 255, packed & 255], axis=-1)


@settings(max_examples=50, deadline=None)
@given(
    fx=st.floats(20, 4000), fy=st.floats(20, 4000), cx=st.floats(-50, 90), cy=st.floats(-50, 90),
    near=st.floats(0.01, 100), stride=st.integers(1, 4),
)  # fmt: skip
def test_points_project_back_to_their_pixels_with_their_depth(fx, fy, cx, cy, near, stride):
    info = camera_info.info_message(None, LENS, Header())
    info.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    lens = camera_info.lens_from_info(info, WIDTH, HEIGHT, rectified=False)
    depth = DEPTH * np.float32(near)
    made = clouds.build_cloud(depth, IMAGE, lens, PointsSettings(edge_filter=False, stride=stride))
    points = read(clouds.cloud_message(made, Header()))
    rows, columns = np.mgrid[0:HEIGHT:stride, 0:WIDTH:stride]
    xyz = np.stack([points[name].astype(np.float64) for name in "xyz"], axis=-1)
    np.testing.assert_allclose(xyz[..., 2], depth[::stride, ::stride], rtol=1e-5)
    assert np.abs(xyz[..., 0] / xyz[..., 2] * fx + cx - columns).max() < 0.01
    assert np.abs(xyz[..., 1] / xyz[..., 2] * fy + cy - rows).max() < 0.01
    np.testing.assert_array_equal(colours(points), IMAGE[::stride, ::stride])


def test_the_layout_is_that_of_sixteen_bytes_a_point():
    message = clouds.cloud_message(clouds.build_cloud(DEPTH, IMAGE, LENS, PLAIN), Header(frame_id="c"))
    assert [(field.name, field.offset, field.datatype) for field in message.fields] == [
        ("x", 0, 7), ("y", 4, 7), ("z", 8, 7), ("rgb", 12, 7),
    ]  # fmt: skip
    assert message.point_step == 16 and message.row_step == 16 * WIDTH and not message.is_bigendian
    assert len(message.data) == 16 * WIDTH * HEIGHT and message.header.frame_id == "c" and not message.is_dense


def test_there_are_no_points_without_a_depth_or_beyond_the_limits():
    depth = DEPTH.copy()
    depth[0, :5] = np.nan, np.inf, 0, -1, 5
    depth[1, :2] = 0.99, 9.01
    given_settings = PointsSettings(edge_filter=False, min_depth_m=1.0, max_depth_m=9.0)
    made = clouds.build_cloud(depth, IMAGE, LENS, given_settings)
    gone = np.isnan(made.points[..., :3]).all(axis=-1)
    assert gone[0, :5].tolist() == [True] * 4 + [False] and gone[1, :2].all() and gone.sum() == 6
    dense = clouds.build_cloud(depth, IMAGE, LENS, PointsSettings(edge_filter=False, min_depth_m=1.0, organized=False))
    message = clouds.cloud_message(dense, Header())
    assert message.is_dense and message.height == 1 and message.width == HEIGHT * WIDTH - 5
    assert np.isfinite(read(message)["z"]).all()


def test_the_stride_grows_until_the_most_points_are_held():
    big = np.ones((200, 300), dtype=np.float32)
    picture = np.zeros((200, 300, 3), dtype=np.uint8)
    lens = camera_info.guessed_lens(300, 200, 60)
    for most in (1000, 15000, 60000):
        height, width = clouds.build_cloud(big, picture, lens, PointsSettings(max_points=most)).points.shape[:2]
        finer = (300 // width) - 1
        assert height * width <= most and (finer == 0 or -(-200 // finer) * -(-300 // finer) > most)


@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (1920, 1080), (3840, 2160)])
def test_by_default_a_cloud_has_less_than_a_megabyte_however_large_the_image(size):
    width, height = size
    lens = camera_info.guessed_lens(width, height, 60)
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    made = clouds.build_cloud(np.ones((height, width), np.float32), picture, lens, PointsSettings())
    assert 500_000 < len(clouds.cloud_message(made, Header()).data) < 1_000_000


def test_a_part_of_the_image_gives_its_points_and_no_others():
    whole = clouds.build_cloud(DEPTH, IMAGE, LENS, PLAIN).points
    part = clouds.build_cloud(DEPTH, IMAGE, LENS, PointsSettings(edge_filter=False, roi=(10, 5, 20, 8))).points
    np.testing.assert_array_equal(part.view(np.uint32), whole[5:13, 10:30].view(np.uint32))
    outside = clouds.build_cloud(DEPTH, IMAGE, LENS, PointsSettings(roi=(100, 100, 5, 5)))
    assert outside.points.size == 0 and len(clouds.cloud_message(outside, Header()).data) == 0


def test_flying_points_go():
    depth = np.full((120, 160), 4, dtype=np.float32)
    depth[:, :80], depth[:, 80] = 2, 3
    picture = np.zeros((120, 160, 3), dtype=np.uint8)
    lens = camera_info.guessed_lens(160, 120, 60)
    kept = clouds.build_cloud(depth, picture, lens, PLAIN).points
    filtered = clouds.build_cloud(depth, picture, lens, PointsSettings()).points
    assert not np.isnan(kept[..., 0]).any()
    assert np.isnan(filtered[:, 80, :3]).all() and np.isnan(filtered[..., 0]).sum() == 120


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5, 6, 64])
def test_outlines_are_looked_for_finer_than_the_stride(stride):
    height, width = 600, 800
    depth = np.tile(np.linspace(2, 9, height, dtype=np.float32)[:, None], (1, width))
    depth[:, 300:500] = 1.5
    soft = 1 / cv2.blur(1 / depth, (8, 8))
    lens = camera_info.guessed_lens(width, height, 60)
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    points = clouds.build_cloud(soft, picture, lens, PointsSettings(stride=stride, max_points=ALL)).points
    gone = np.isnan(points[..., 2])
    flyers = ((soft > 1.1 * 1.5) & (soft < depth / 1.1) & (depth > 2.5))[::stride, ::stride]
    far_from_outlines = cv2.erode((np.abs(soft / depth - 1) < 0.01).astype(np.uint8), np.ones((13, 13)))
    assert not flyers.any() or gone[flyers].mean() >= 0.9
    assert gone[far_from_outlines[::stride, ::stride] == 1].mean() <= 0.02


def test_points_of_a_distorted_image_follow_its_rays():
    width, height, d = 320, 240, [-0.3, 0.09, 0.0005, -0.0003, -0.012]
    info = camera_info.info_message(None, camera_info.guessed_lens(width, height, 90), Header())
    info.d = d
    lens = camera_info.lens_from_info(info, width, height, rectified=False)
    depth = RNG.uniform(1, 9, (height, width)).astype(np.float32)
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    for stride in (1, 2, 3):
        settings = PointsSettings(edge_filter=False, stride=stride, max_points=ALL)
        made = clouds.build_cloud(depth, picture, lens, settings)
        known = ~np.isnan(made.points[..., 0])
        assert 0.85 < known.mean() < 1 and np.isnan(made.points[~known][:, :3]).all()
        rows, columns = (part[::stride, ::stride][known] for part in np.mgrid[0:height, 0:width])
        xyz = made.points[known][:, :3].astype(np.float64)
        pixels, _ = cv2.projectPoints(xyz[:, None], np.zeros(3), np.zeros(3), info.k.reshape(3, 3), np.array(d))
        off = np.hypot(pixels[:, 0, 0] - columns, pixels[:, 0, 1] - rows)
        assert np.quantile(off, 0.9999) < 0.01
        np.testing.assert_array_equal(xyz[:, 2], depth[::stride, ::stride][known])


def test_an_image_without_any_depth_gives_an_empty_cloud():
    made = clouds.build_cloud(np.full_like(DEPTH, np.nan), IMAGE, LENS, PointsSettings(organized=False))
    message = clouds.cloud_message(made, Header())
    assert message.width == 0 and message.row_step == 0 and clouds.points_of(made) is None


def test_points_to_be_saved_are_those_of_the_engine():
    depth = DEPTH.copy()
    depth[3, 4] = np.nan
    saved = clouds.points_of(clouds.build_cloud(depth, IMAGE, LENS, PLAIN))
    expected = pro.depth_to_cloud(depth, LENS.intrinsics, image=IMAGE)
    np.testing.assert_allclose(saved.xyz, expected.xyz, rtol=1e-6)
    np.testing.assert_array_equal(saved.rgb, expected.rgb)


def test_a_message_is_filled_again():
    first = clouds.cloud_message(clouds.build_cloud(DEPTH, IMAGE, LENS, PLAIN), Header())
    again = clouds.cloud_message(clouds.build_cloud(2 * DEPTH, IMAGE, LENS, PLAIN), Header(), reuse=first)
    assert again is first
    np.testing.assert_allclose(read(again)["z"], 2 * DEPTH)
