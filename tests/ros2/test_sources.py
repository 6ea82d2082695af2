"""Messages of sensors become samples: every layout, every way to be wrong, and poses."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trimesh import transformations

import pro_engine as pro
from ros2_pro.faults import MessageError
from ros2_pro.messages.camera_info import CameraModel, lens_from_info
from ros2_pro.scale import sensor_samples

pytest.importorskip("sensor_msgs")

from geometry_msgs.msg import Transform
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, PointField

WIDTH, HEIGHT = 64, 48
LENS = pro.Intrinsics(50.0, 60.0, 31.0, 24.0, WIDTH, HEIGHT)
STRAIGHT = CameraModel(LENS, (np.zeros(WIDTH, np.float32), np.zeros(HEIGHT, np.float32)))
STILL = sensor_samples.pose_from_parameters([0.0] * 6)
# A laser whose x is forward, y left and z up, where the camera looks forward.
OPTICAL = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
FORWARD = sensor_samples.Pose(OPTICAL, np.zeros(3))


def depth_image(depth: np.ndarray, encoding: str = "32FC1") -> Image:
    height, width = depth.shape
    values = depth.astype(np.float32) if encoding == "32FC1" else np.round(depth * 1000).astype(np.uint16)
    message = Image(height=height, width=width, encoding=encoding, step=width * values.itemsize)
    message.header.stamp.sec, message.header.stamp.nanosec = 12, 500_000_000
    message.data.frombytes(values.tobytes())
    return message


def cloud(
    points: np.ndarray,
    *,
    names: str = "xyz",
    formats: tuple[str, ...] = ("f4", "f4", "f4"),
    gap: int = 0,
    big_endian: bool = False,
    rows: int = 1,
    padding: int = 0,
) -> PointCloud2:
    """A PointCloud2 of points (N, 3), its fields in the order of `names` with `gap` bytes before each."""
    order, codes = ">" if big_endian else "<", {"f4": PointField.FLOAT32, "f8": PointField.FLOAT64}
    offsets, end = [], 0
    for kind in formats:
        offsets.append(end + gap)
        end += gap + np.dtype(kind).itemsize
    layout = np.dtype(
        {"names": list(names), "formats": [order + kind for kind in formats], "offsets": offsets, "itemsize": end + gap}
    )
    packed = np.zeros(len(points), layout)
    for axis, values in zip("xyz", points.T, strict=True):
        packed[axis] = values
    width = len(points) // rows
    message = PointCloud2(height=rows, width=width, point_step=layout.itemsize, is_bigendian=big_endian)
    message.row_step = width * layout.itemsize + padding
    message.fields = [
        PointField(name=name, offset=offset, datatype=codes[kind], count=1)
        for name, offset, kind in zip(names, offsets, formats, strict=True)
    ]
    message.data.frombytes(b"".join(part.tobytes() + b"\xff" * padding for part in packed.reshape(rows, width)))
    return message


def points_at(columns: np.ndarray, rows: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Points (N, 3) in the camera's optical frame."""
    return np.stack([(columns - LENS.cx) / LENS.fx * depth, (rows - LENS.cy) / LENS.fy * depth, depth], axis=1)


def random_view(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, WIDTH - 1, count), rng.uniform(0, HEIGHT - 1, count), rng.uniform(1, 9, count)


def assert_samples(found: sensor_samples.Samples, columns: np.ndarray, rows: np.ndarray, depth: np.ndarray) -> None:
    """The same samples in any order."""
    assert {found.columns.dtype, found.rows.dtype, found.depth.dtype} == {np.dtype(np.float32)}
    got = np.stack([found.columns, found.rows, found.depth], axis=1).astype(np.float64)
    wanted = np.stack([columns, rows, depth], axis=1)
    assert got.shape == wanted.shape
    np.testing.assert_allclose(got[np.argsort(got[:, 2])], wanted[np.argsort(wanted[:, 2])], rtol=1e-4, atol=1e-3)


class TestDepthImage:
    @pytest.mark.parametrize(("encoding", "tolerance"), [("32FC1", 1e-6), ("16UC1", 5e-4)])
    @pytest.mark.parametrize("zoom", [0.25, 1, 2])
    def test_samples_lie_where_the_sensors_pixels_are_in_the_image(
        self, encoding: str, tolerance: float, zoom: float
    ) -> None:
        width, height = int(WIDTH * zoom), int(HEIGHT * zoom)
        rows, columns = np.mgrid[0:height, 0:width]
        depth = 1 / (0.2 + 0.5 * columns / width + 0.2 * rows / height)  # a slanted plane
        found = sensor_samples.from_depth_image(depth_image(depth, encoding), WIDTH, HEIGHT)
        assert found.stamp == 12.5
        assert len(found.depth) == depth.size  # however steep, a plane has no edge
        in_image_columns = (found.columns + 0.5) / WIDTH
        in_image_rows = (found.rows + 0.5) / HEIGHT
        expected = 1 / (0.2 + 0.5 * (in_image_columns - 0.5 / width) + 0.2 * (in_image_rows - 0.5 / height))
        np.testing.assert_allclose(found.depth, expected, atol=tolerance + 1e-5)

    def test_unknown_depth_gives_no_sample(self) -> None:
        depth = np.full((HEIGHT, WIDTH), 2.0)
        depth[0], depth[1], depth[2], depth[3], depth[4] = np.nan, np.inf, 0.0, -1.0, -np.inf
        found = sensor_samples.from_depth_image(depth_image(depth), WIDTH, HEIGHT)
        assert len(found.depth) == (HEIGHT - 5) * WIDTH and set(found.depth) == {2.0}
        assert len(sensor_samples.from_depth_image(depth_image(depth[:5].repeat(10, 0)[:48]), WIDTH, HEIGHT).depth) == 0

    def test_pixels_on_both_sides_of_a_jump_and_between_are_left_out(self) -> None:
        depth = np.full((HEIGHT, WIDTH), 2.0)
        depth[:, 30:] = 4.0
        depth[:, 30] = 3.0  # hangs between
        found = sensor_samples.from_depth_image(depth_image(depth), WIDTH, HEIGHT)
        assert set(found.columns.astype(int)) == set(range(WIDTH)) - {29, 30, 31}
        assert len(found.depth) == HEIGHT * (WIDTH - 3)

    def test_a_noisy_sensor_keeps_most_of_its_samples(self) -> None:
        depth = 3 * (1 + 0.1 * np.random.default_rng(0).standard_normal((HEIGHT, WIDTH)))
        found = sensor_samples.from_depth_image(depth_image(depth), WIDTH, HEIGHT)
        assert len(found.depth) > 0.8 * HEIGHT * WIDTH

    @pytest.mark.parametrize("sparse", [False, True])
    def test_many_pixels_are_thinned_evenly(self, sparse: bool) -> None:
        depth = np.full((480, 640), 2.0)
        if sparse:
            depth[np.random.default_rng(0).random(depth.shape) < 0.8] = np.nan
        found = sensor_samples.from_depth_image(depth_image(depth), 640, 480)
        assert 19_000 <= len(found.depth) <= sensor_samples.MAX_SAMPLES
        across, down = np.histogram(found.columns, 8)[0], np.histogram(found.rows, 8)[0]
        assert across.min() > 0.9 * across.mean() and down.min() > 0.9 * down.mean()

    @pytest.mark.parametrize("size", [(48, 48), (48, 66), (27, 48)])
    def test_another_aspect_ratio_is_refused(self, size: tuple[int, int]) -> None:
        with pytest.raises(MessageError, match="register") as caught:
            sensor_samples.from_depth_image(depth_image(np.ones(size)), WIDTH, HEIGHT)
        assert caught.value.cause == "bad_scale_source"
        assert f"{size[1]}x{size[0]}" in str(caught.value)

    def test_almost_the_same_aspect_ratio_will_do(self) -> None:
        assert len(sensor_samples.from_depth_image(depth_image(np.ones((240, 424))), 1920, 1080).depth) > 19_000

    @pytest.mark.parametrize("encoding", ["rgb8", "", "32FC3", "\U0001f41f"])
    def test_what_is_no_depth_is_refused_as_a_bad_source(self, encoding: str) -> None:
        message = depth_image(np.ones((HEIGHT, WIDTH)))
        message.encoding = encoding
        with pytest.raises(MessageError) as caught:
            sensor_samples.from_depth_image(message, WIDTH, HEIGHT)
        assert caught.value.cause == "bad_scale_source"


class TestDepthCamera:
    """A sensor with a view half as wide again, 6 cm beside the camera, which both see a slanted plane."""

    NORMAL, DISTANCE, BASELINE = np.array([0.3, -0.2, 1.0]), 4.0, np.array([0.06, 0.0, 0.01])
    SENSOR = pro.Intrinsics(30.0, 36.0, 30.5, 23.0, WIDTH, HEIGHT)

    def plane(self, k: pro.Intrinsics, seen_from: np.ndarray) -> np.ndarray:
        rows, columns = np.mgrid[0 : k.height, 0 : k.width]
        rays = np.stack([(columns - k.cx) / k.fx, (rows - k.cy) / k.fy, np.ones(rows.shape)], axis=-1)
        return (self.DISTANCE - self.NORMAL @ seen_from) / (rays @ self.NORMAL)

    def read(self, frame: str = "depth", **changes: Any) -> sensor_samples.Samples:
        message = depth_image(self.plane(self.SENSOR, self.BASELINE))
        message.header.frame_id = frame
        info = CameraInfo(width=WIDTH, height=HEIGHT, p=np.c_[self.SENSOR.matrix(), np.zeros(3)].ravel().tolist())
        options = {
            "lens": STRAIGHT,
            "frame_id": "camera",
            "sensor_info": info,
            "sensor_pose": (*self.BASELINE, 0, 0, 0),
        }
        return sensor_samples.samples_of(message, WIDTH, HEIGHT, **{**options, "tf": None, **changes})

    def error(self, found: sensor_samples.Samples) -> float:
        """Mean relative difference between the samples and what the camera sees there."""
        x, y = (found.columns - LENS.cx) / LENS.fx, (found.rows - LENS.cy) / LENS.fy
        truth = self.DISTANCE / (np.stack([x, y, np.ones(x.shape)], axis=-1) @ self.NORMAL)
        return float(np.mean(np.abs(found.depth / truth - 1)))

    @pytest.mark.parametrize("place", ["parameters", "tf"])
    def test_it_is_registered_by_its_camera_info_and_its_place(self, place: str) -> None:
        tf = _Tf(sensor_samples.Pose(np.eye(3), self.BASELINE))
        found = self.read() if place == "parameters" else self.read(tf=tf, sensor_pose=(0,) * 6)
        assert self.error(found) < 1e-5 and len(found.depth) > 500 and not found.note

    @pytest.mark.parametrize("lacking", [{"lens": None}, {"sensor_info": None}, {"sensor_pose": (0,) * 6}])
    def test_it_is_taken_as_registered_and_that_is_noted_where_something_lacks(self, lacking: dict[str, Any]) -> None:
        found = self.read(**lacking)
        assert self.error(found) > 0.05
        for word in ("'depth'", "'camera'", "registered", "scale/camera_info", "tf"):
            assert word in found.note

    def test_nothing_is_noted_where_the_frames_agree_or_are_not_named(self) -> None:
        for frames in (("camera", "camera"), ("", "camera"), ("depth", "")):
            assert not self.read(frames[0], frame_id=frames[1]).note

    def test_a_camera_info_of_no_camera_is_refused(self) -> None:
        with pytest.raises(MessageError, match=r"scale/camera_info.*calibrate") as caught:
            self.read(sensor_info=CameraInfo())
        assert caught.value.cause == "bad_scale_source"


class TestPoints:
    @pytest.mark.parametrize(
        "layout",
        [
            {},
            {"names": "zxy", "gap": 3},
            {"formats": ("f8", "f8", "f8")},
            {"formats": ("f4", "f8", "f4"), "gap": 1},
            {"big_endian": True},
            {"big_endian": True, "formats": ("f8", "f4", "f8"), "names": "yzx"},
            {"rows": 4},
            {"rows": 4, "padding": 24},
            {"rows": 4, "padding": 5, "gap": 2, "formats": ("f8", "f8", "f4")},
        ],
    )
    def test_every_layout_gives_the_same_samples(self, layout: dict[str, Any]) -> None:
        view = random_view(200)
        message = cloud(points_at(*view), **layout)
        message.header.stamp.sec = 7
        found = sensor_samples.from_points(message, STRAIGHT, STILL)
        assert found.stamp == 7.0
        assert_samples(found, *view)

    def test_a_pose_is_applied(self) -> None:
        columns, rows, depth = random_view(300)
        pose = sensor_samples.pose_from_parameters([0.3, -0.2, 0.1, 0.2, -0.4, 1.1])
        in_sensor = (points_at(columns, rows, depth) - pose.translation) @ pose.rotation
        assert_samples(sensor_samples.from_points(cloud(in_sensor), STRAIGHT, pose), columns, rows, depth)

    @pytest.mark.parametrize("strength", [-0.3, -0.1, 0.1])
    def test_points_follow_the_distortion_of_a_bent_image(self, strength: float) -> None:
        d = [strength, 0.05, 0.01, -0.01, 0.0]
        info = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob", d=d)
        info.k = LENS.matrix().ravel().tolist()
        lens = lens_from_info(info, WIDTH, HEIGHT, rectified=False)
        points = points_at(*random_view(300))
        seen, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), LENS.matrix(), np.array(d))
        columns, rows = seen[:, 0].T
        inside = (columns > 0) & (columns < WIDTH - 1) & (rows > 0) & (rows < HEIGHT - 1)
        found = sensor_samples.from_points(cloud(points[inside]), lens, STILL)
        order = np.argsort(points[inside, 2])
        place = np.argsort(found.depth)
        assert len(place) == len(order) > 200
        assert np.abs(found.columns[place] - columns[inside][order]).max() < 0.75
        assert np.abs(found.rows[place] - rows[inside][order]).max() < 0.75

    def test_a_lens_of_unknown_distortion_is_taken_as_straight(self) -> None:
        view = random_view(50)
        found = sensor_samples.from_points(
            cloud(points_at(*view)), CameraModel(LENS, STRAIGHT.slopes, rectified=False), STILL
        )
        assert_samples(found, *view)

    def test_points_that_are_no_points_or_out_of_view_are_left_out(self) -> None:
        points = points_at(*random_view(10))
        bad = [[np.nan, 0, 1], [0, np.inf, 1], [0, 0, -np.inf], [0, 0, 0], [0, 0, -2], [9, 0, 1], [0, -9, 1]]
        found = sensor_samples.from_points(cloud(np.concatenate([points, bad])), STRAIGHT, STILL)
        assert len(found.depth) == 10
        assert len(sensor_samples.from_points(cloud(np.array(bad)), STRAIGHT, STILL).depth) == 0

    def test_points_behind_a_surface_are_left_out_of_a_dense_cloud(self) -> None:
        columns, rows, _ = random_view(30_000)
        hidden = np.arange(30_000) % 2 == 0
        depth = np.where(hidden, 6.0, 2.0)
        depth[rows < 10] = 6.0  # here one sees the wall itself
        found = sensor_samples.from_points(cloud(points_at(columns, rows, depth)), STRAIGHT, STILL)
        low = found.rows > 12
        assert (found.depth[low] == 2).mean() > 0.99
        assert (found.depth[found.rows < 10] == 6).all() and (found.rows < 10).sum() > 1000

    def test_a_slanted_surface_is_not_hidden_by_itself(self) -> None:
        columns, rows, _ = random_view(15_000)
        depth = 2 + columns / WIDTH
        found = sensor_samples.from_points(cloud(points_at(columns, rows, depth)), STRAIGHT, STILL)
        assert len(found.depth) > 0.95 * 15_000

    def test_large_clouds_are_thinned(self) -> None:
        found = sensor_samples.from_points(cloud(np.tile([[0.0, 0.0, 3.0]], (1_500_000, 1))), STRAIGHT, STILL)
        assert len(found.depth) == sensor_samples.MAX_SAMPLES

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda m: setattr(m, "fields", m.fields[:2]), "x, y, z"),
            (lambda m: setattr(m, "fields", []), "x, y, z"),
            (lambda m: setattr(m.fields[1], "datatype", PointField.INT32), "datatype 5"),
            (lambda m: setattr(m.fields[2], "offset", 9), "byte 9"),
            (lambda m: setattr(m.fields[2], "offset", 2**32 - 1), "byte 4294967295"),
            (lambda m: setattr(m, "width", 0), "0x1"),
            (lambda m: setattr(m, "height", 0), "0 points"),
            (lambda m: setattr(m, "width", 11), "bytes"),
            (lambda m: setattr(m, "width", 2**31), "bytes"),
            (lambda m: setattr(m, "point_step", 0), "byte"),
            (lambda m: (setattr(m, "height", 5), setattr(m, "width", 2), setattr(m, "row_step", 7)), "rows of 7"),
        ],
    )
    def test_fields_and_sizes_that_make_no_points_are_refused(self, change: Any, words: str) -> None:
        message = cloud(points_at(*random_view(10)))
        change(message)
        with pytest.raises(MessageError, match=words) as caught:
            sensor_samples.from_points(message, STRAIGHT, STILL)
        assert caught.value.cause == "bad_scale_source"

    @given(
        shape=st.tuples(*[st.one_of(st.integers(0, 20), st.integers(0, 2**32 - 1))] * 4),
        fields=st.lists(
            st.tuples(
                st.sampled_from(["x", "y", "z", "", "rgb"]), st.integers(0, 30), st.sampled_from([0, 1, 5, 7, 8, 255])
            ),
            max_size=6,
        ),
        data=st.binary(max_size=400),
        big_endian=st.booleans(),
    )
    @settings(max_examples=300, deadline=None)
    def test_any_cloud_gives_samples_or_a_message_error(
        self, shape: tuple[int, ...], fields: list[tuple[str, int, int]], data: bytes, big_endian: bool
    ) -> None:
        height, width, point_step, row_step = shape
        message = PointCloud2(
            height=height, width=width, point_step=point_step, row_step=row_step, is_bigendian=big_endian
        )
        message.fields = [PointField(name=name, offset=offset, datatype=code) for name, offset, code in fields]
        message.data.frombytes(data)
        assert_usable_or_refused(lambda: sensor_samples.from_points(message, STRAIGHT, STILL))

    @given(data=st.binary(min_size=24 * 12, max_size=24 * 12), big_endian=st.booleans())
    @settings(max_examples=100, deadline=None)
    def test_any_bytes_are_taken_as_points(self, data: bytes, big_endian: bool) -> None:
        message = cloud(np.zeros((24, 3)), big_endian=big_endian)
        message.data[:] = type(message.data)("B", data)
        assert_usable_or_refused(lambda: sensor_samples.from_points(message, STRAIGHT, STILL))


def assert_usable_or_refused(read: Any) -> None:
    try:
        found = read()
    except MessageError as error:
        if error.cause == "bad_scale_source" and str(error).endswith("."):
            return
        raise
    assert len(found.columns) == len(found.rows) == len(found.depth) <= sensor_samples.MAX_SAMPLES
    assert np.isfinite(found.depth).all() and (found.depth > 0).all()
    assert (found.columns >= -0.5).all() and (found.columns <= WIDTH - 0.5).all()
    assert (found.rows >= -0.5).all() and (found.rows <= HEIGHT - 0.5).all()


class TestScan:
    def scan(self, given: Any, **changes: Any) -> LaserScan:
        message = LaserScan(angle_min=-0.5, angle_max=0.5, angle_increment=0.1, range_min=0.1, range_max=20.0)
        message.ranges = [float(value) for value in given]
        for name, value in changes.items():
            setattr(message, name, value)
        return message

    def test_a_wall_ahead_is_seen_at_one_depth_along_one_row(self) -> None:
        angles = -0.5 + 0.1 * np.arange(11)
        found = sensor_samples.from_scan(self.scan(3 / np.cos(angles)), STRAIGHT, FORWARD)
        np.testing.assert_allclose(found.depth, 3, rtol=1e-5)
        np.testing.assert_allclose(found.rows, LENS.cy, atol=1e-3)
        # The scan goes to the left as angles grow, and so does its place in the image.
        np.testing.assert_allclose(found.columns, LENS.cx - LENS.fx * np.tan(angles), atol=1e-2)

    def test_a_scan_above_the_camera_is_seen_above_the_middle(self) -> None:
        pose = sensor_samples.Pose(OPTICAL, np.array([0.0, -0.5, 0.0]))  # optical y is down
        found = sensor_samples.from_scan(self.scan([4.0], angle_min=0.0), STRAIGHT, pose)
        assert found.rows[0] == pytest.approx(LENS.cy - LENS.fy * 0.5 / 4, abs=1e-3)

    def test_ranges_that_are_none_are_left_out(self) -> None:
        ranges = [np.nan, np.inf, -np.inf, 0.05, 25.0, -1.0, 0.0, 5.0, 5.0]
        assert len(sensor_samples.from_scan(self.scan(ranges), STRAIGHT, FORWARD).depth) == 2

    @pytest.mark.parametrize(
        "changes",
        [
            {"angle_min": math.nan},
            {"angle_increment": math.inf},
            {"angle_increment": 0.0},
            {"range_min": math.nan},
            {"range_max": math.nan},
            {"range_max": 0.05},
            {"range_min": -1.0},
            {"ranges": []},
        ],
    )
    def test_what_is_no_scan_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(MessageError) as caught:
            sensor_samples.from_scan(self.scan([5.0] * 11, **changes), STRAIGHT, FORWARD)
        assert caught.value.cause == "bad_scale_source"

    @given(
        ranges=st.lists(st.floats(width=32), max_size=30),
        limits=st.tuples(*[st.floats(width=32)] * 4),
    )
    @settings(max_examples=200, deadline=None)
    def test_any_scan_gives_samples_or_a_message_error(
        self, ranges: list[float], limits: tuple[float, float, float, float]
    ) -> None:
        names = ("angle_min", "angle_increment", "range_min", "range_max")
        message = self.scan(ranges, **dict(zip(names, limits, strict=True)))
        assert_usable_or_refused(lambda: sensor_samples.from_scan(message, STRAIGHT, FORWARD))


class TestPose:
    @pytest.mark.parametrize(
        ("angles", "point", "turned"),
        [
            ((math.pi / 2, 0, 0), (0, 1, 0), (0, 0, 1)),
            ((0, math.pi / 2, 0), (0, 0, 1), (1, 0, 0)),
            ((0, 0, math.pi / 2), (1, 0, 0), (0, 1, 0)),
            ((math.pi / 2, 0, math.pi / 2), (0, 1, 0), (0, 0, 1)),  # roll first, about axes that stay
            ((0, math.pi / 2, math.pi / 2), (0, 0, 1), (0, 1, 0)),
        ],
    )
    def test_roll_pitch_yaw_are_about_fixed_axes_in_this_order(self, angles: Any, point: Any, turned: Any) -> None:
        pose = sensor_samples.pose_from_parameters([1.0, 2.0, 3.0, *angles])
        np.testing.assert_allclose(pose.rotation @ point, turned, atol=1e-12)
        assert pose.translation.tolist() == [1, 2, 3]

    def test_the_common_pose_of_a_forward_laser(self) -> None:
        pose = sensor_samples.pose_from_parameters([0, 0, 0, math.pi / 2, -math.pi / 2, 0])
        np.testing.assert_allclose(pose.rotation, OPTICAL, atol=1e-12)

    @given(angles=st.tuples(*[st.floats(-3, 3)] * 3), length=st.floats(0.1, 10))
    @settings(deadline=None)
    def test_tf_and_parameters_turn_as_trimesh_does(self, angles: tuple[float, float, float], length: float) -> None:
        (a, b), (c, d), (e, f) = ((math.cos(v / 2), math.sin(v / 2)) for v in angles)
        message = Transform()
        message.rotation.w, message.rotation.x = length * (a * c * e + b * d * f), length * (b * c * e - a * d * f)
        message.rotation.y, message.rotation.z = length * (a * d * e + b * c * f), length * (a * c * f - b * d * e)
        message.translation.x = 4.0
        pose = sensor_samples.pose_from_tf(message)
        expected = transformations.euler_matrix(*angles, "sxyz")[:3, :3]
        np.testing.assert_allclose(pose.rotation, expected, atol=1e-12)
        rotation = sensor_samples.pose_from_parameters([0, 0, 0, *angles]).rotation
        np.testing.assert_allclose(rotation, expected, atol=1e-12)
        assert pose.translation.tolist() == [4, 0, 0]

    @pytest.mark.parametrize("broken", ["zero", "nan", "far"])
    def test_a_broken_transform_is_refused(self, broken: str) -> None:
        message = Transform()
        message.rotation.w = {"zero": 0.0, "nan": math.nan, "far": 1.0}[broken]
        message.translation.z = math.inf if broken == "far" else 0.0
        with pytest.raises(MessageError) as caught:
            sensor_samples.pose_from_tf(message)
        assert caught.value.cause == "bad_scale_source"


class _Tf:
    """Of the form of sources.TfLookup."""

    def __init__(self, pose: sensor_samples.Pose | None) -> None:
        self.found, self.asked = pose, []

    def pose(self, frame: str, sensor_frame: str) -> sensor_samples.Pose | None:
        self.asked.append((frame, sensor_frame))
        return self.found


class TestSamplesOf:
    def read(self, message: Any, **changes: Any) -> sensor_samples.Samples:
        options = {
            "lens": STRAIGHT,
            "frame_id": "camera",
            "sensor_pose": (0.0,) * 6,
            "tf": None,
        }
        return sensor_samples.samples_of(message, WIDTH, HEIGHT, **{**options, **changes})

    def laser(self) -> LaserScan:
        message = LaserScan(angle_increment=0.1, range_max=10.0, ranges=[3.0, 3.0])
        message.header.frame_id = "laser"
        return message

    def test_a_depth_image_needs_no_lens_and_no_pose(self) -> None:
        message = depth_image(np.full((HEIGHT, WIDTH), 2.0))
        assert len(self.read(message, lens=None).depth) == WIDTH * HEIGHT

    def test_points_in_the_cameras_own_frame_need_no_pose(self) -> None:
        message = cloud(points_at(*random_view(20)))
        message.header.frame_id = "camera"
        assert len(self.read(message).depth) == 20

    def test_points_and_scans_need_a_lens(self) -> None:
        for message in (cloud(points_at(*random_view(20))), self.laser()):
            with pytest.raises(MessageError, match="camera info"):
                self.read(message, lens=None)

    def test_the_parameters_pose_serves_where_tf_does_not_know(self) -> None:
        pose = (0.0, 0.0, 1.0, math.pi / 2, -math.pi / 2, 0.0)
        for tf in (None, _Tf(None)):
            assert self.read(self.laser(), sensor_pose=pose, tf=tf).depth[0] == pytest.approx(4)

    def test_tf_goes_before_the_parameters(self) -> None:
        tf = _Tf(FORWARD)
        assert self.read(self.laser(), sensor_pose=(0, 0, 1, 0, 0, 0), tf=tf).depth[0] == pytest.approx(3)
        assert tf.asked == [("camera", "laser")]

    def test_a_sensor_of_an_unknown_place_is_refused(self) -> None:
        for tf in (None, _Tf(None)):
            with pytest.raises(MessageError, match=r"'laser'.*'camera'.*sensor_pose") as caught:
                self.read(self.laser(), tf=tf)
            assert caught.value.cause == "bad_scale_source"


class TestTfLookup:
    def test_there_is_none_without_tf2_ros(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "tf2_ros", None)
        assert sensor_samples.TfLookup.create(object()) is None

    def test_it_asks_for_the_sensor_in_the_cameras_frame(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("rclpy")

        class UnlinkedError(Exception):
            pass

        class Buffer:
            def lookup_transform(self, target: str, source: str, time: Any) -> Any:
                if source != "laser":
                    raise UnlinkedError
                assert target == "camera" and time.nanoseconds == 0
                message = Transform()
                message.translation.x = 2.0
                return SimpleNamespace(transform=message)

        listening = []
        module = SimpleNamespace(
            Buffer=Buffer,
            TransformListener=lambda *given: listening.append(given),
            TransformException=UnlinkedError,
        )
        monkeypatch.setitem(sys.modules, "tf2_ros", module)
        lookup = sensor_samples.TfLookup.create("node")
        assert lookup is not None and listening[0][1] == "node"
        found = lookup.pose("camera", "laser")
        assert found is not None and found.translation.tolist() == [2, 0, 0]
        assert lookup.pose("camera", "elsewhere") is None
