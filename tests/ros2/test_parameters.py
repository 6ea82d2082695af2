"""Every writable parameter changes what the next frame gives."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from desk import DISPARITY, HEIGHT, WIDTH, Desk, depth_message, measured
from rig import camera_info

import pro_engine as pro
from ros2_pro.graph.publishers import TOPICS
from ros2_pro.messages.camera_info import lens_from_info
from ros2_pro.messages.clouds import build_cloud, cloud_message
from ros2_pro.settings import PointsSettings, from_values, options, value_of

# One function a parameter: it sets the parameter of a desk and looks at the frame after that.


def input_rectified(desk):
    bent = camera_info(WIDTH, HEIGHT)
    bent.d = [-0.3, 0.0, 0.0, 0.0, 0.0]
    desk.set(input__rectify=False)
    before = desk.points(info=bent)
    desk.set(input__rectified="yes")
    after = desk.points(info=bent)
    assert not np.allclose(before[0, 0, :2] / before[0, 0, 2], after[0, 0, :2] / after[0, 0, 2], atol=1e-3)


def input_rectify(desk):
    bent = camera_info(WIDTH, HEIGHT)
    bent.d = [-0.3, 0.0, 0.0, 0.0, 0.0]
    assert "depth" in desk.look(info=bent)
    desk.set(input__rectify=False)
    assert "depth" not in desk.look(info=bent)


def input_rotation(desk):
    before = desk.depth()
    desk.set(input__rotation=180)  # the model gives the same map, of what it sees turned now
    np.testing.assert_array_equal(desk.depth(), before[::-1, ::-1])


def input_camera_info_timeout_s(desk):
    desk.look()
    desk.set(input__camera_info_timeout_s=0.3)
    desk.look()
    assert desk.infos.waits_s == [0.5, 0.3]


def input_fallback_fov_x_deg(desk):
    desk.set(input__camera_info_timeout_s=0.0)
    assert "points" not in desk.look(info=False)
    desk.set(input__fallback_fov_x_deg=90.0)
    after = desk.look(info=False)
    assert after["camera_info"].k[0] == pytest.approx(WIDTH / 2, rel=0.03) and "points" in after


def engine_always_run(desk):
    desk.listeners = frozenset()
    desk.look()
    assert not desk.model.options
    desk.set(engine__always_run=True)
    desk.look()
    assert desk.model.options and not desk.published


def engine_hold_scale(desk):
    before = desk.look()["relative"].data.tobytes()
    desk.set(engine__hold_scale=True)
    desk.look()
    desk.model.disparity = desk.model.disparity * 1.5 + 1  # the same view at another scale
    held = np.frombuffer(desk.look()["relative"].data, np.float32)
    np.testing.assert_allclose(held, np.frombuffer(before, np.float32), atol=0.005)
    desk.set(engine__hold_scale=False)
    free = np.frombuffer(desk.look()["relative"].data, np.float32)
    np.testing.assert_array_equal(free, desk.model.disparity.ravel())
    desk.set(engine__hold_scale=True)


def loads_again(name, value):
    def check(desk):
        desk.look()
        desk.set(**{f"engine__{name}": value})
        desk.look()
        assert len(desk.model.loaded) == 2 and str(desk.model.loaded[1][name]) == str(value)
        assert str(desk.model.loaded[0][name]) != str(value)

    return check


def infers_with(name, value, seen, default):
    def check(desk):
        desk.look()
        desk.set(**{f"engine__{name}": value})
        desk.look()
        assert [getattr(options, name) for options in desk.model.options] == [default, seen]
        assert len(desk.model.loaded) == 1

    return check


def scale_mode(desk):
    assert "depth" in desk.look()
    desk.set(scale__mode="none")
    assert desk.look().keys() == {"relative", "preview", "preview_compressed"}
    desk.set(scale__mode="metric")
    assert "depth" not in desk.look()
    desk.model.metric = pro.ScaleShift(0.5, 0.5, source="metric")
    np.testing.assert_allclose(desk.depth(), 1 / (0.5 * DISPARITY + 0.5), rtol=1e-5)
    desk.set(scale__mode="align")
    np.testing.assert_allclose(desk.depth(measured(0.3, 0.2)), measured(0.3, 0.2), rtol=1e-3)


def scale_factor(desk):
    desk.set(scale__factor=2.0, scale__shift=0.0)
    np.testing.assert_allclose(desk.depth(), 1 / (2 * DISPARITY), rtol=1e-5)


def scale_shift(desk):
    desk.set(scale__shift=0.7)
    np.testing.assert_allclose(desk.depth(), 1 / (0.1 * DISPARITY + 0.7), rtol=1e-5)


def scale_sensor_pose(desk):
    desk.set(scale__mode="align")
    flat = build_cloud(
        measured(0.3, 0.2),
        np.zeros((HEIGHT, WIDTH, 3), np.uint8),
        lens_from_info(camera_info(WIDTH, HEIGHT), WIDTH, HEIGHT, rectified=True),
        PointsSettings(edge_filter=False),
    )
    cloud = cloud_message(flat, depth_message(DISPARITY).header)
    near = desk.depth(cloud)
    desk.processor._tracker.reset()
    desk.set(scale__sensor_pose=(0.0, 0.0, 1.0, 0.0, 0.0, 0.0))
    far = desk.depth(cloud)
    np.testing.assert_allclose(near, measured(0.3, 0.2), rtol=0.01)
    assert np.median(far - near) == pytest.approx(1.0, abs=0.2)


def scale_min_samples(desk):
    few = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    few[::8, ::8] = measured(0.3, 0.2)[::8, ::8]
    desk.set(scale__mode="align", scale__min_samples=200)
    assert desk.depth(few) is None
    desk.set(scale__min_samples=20)
    np.testing.assert_allclose(desk.depth(few), measured(0.3, 0.2), rtol=0.01)


def scale_min_inlier_share(desk):
    mixed = measured(0.3, 0.2)
    mixed[: HEIGHT // 3] *= 5
    desk.set(scale__mode="align", scale__min_inlier_share=0.95)
    assert desk.depth(mixed) is None
    desk.set(scale__min_inlier_share=0.4)
    assert np.median(desk.depth(mixed) / measured(0.3, 0.2)) == pytest.approx(1.0, abs=0.1)


def scale_smoothing_s(desk):
    random = np.random.default_rng(0)
    noisy = [(measured(0.3, 0.2) * random.normal(1, 0.1, (HEIGHT, WIDTH))).astype(np.float32) for _ in range(2)]
    desk.set(scale__mode="align", scale__smoothing_s=60.0)
    first, smoothed = desk.depth(noisy[0]), desk.depth(noisy[1])
    desk.set(scale__smoothing_s=0.0)
    assert np.abs(smoothed - first).mean() < 0.3 * np.abs(desk.depth(noisy[1]) - first).mean()


def scale_max_offset_s(desk):
    desk.set(scale__mode="align")
    assert desk.depth(measured(0.3, 0.2), offset_s=0.4) is None
    desk.set(scale__max_offset_s=0.5)
    assert desk.depth(measured(0.3, 0.2), offset_s=0.4) is not None


def scale_stale_after_s(desk):
    desk.set(scale__mode="align", scale__stale_after_s=60.0, scale__hold_s=600.0)
    desk.depth(measured(0.3, 0.2))
    desk.stamp_s += 58
    assert desk.depth() is not None and desk.processor.scale_now().state == "held"
    desk.set(scale__stale_after_s=58.0)
    assert desk.depth() is not None and desk.processor.scale_now().state == "stale"


def scale_hold_s(desk):
    desk.set(scale__mode="align", scale__hold_s=60.0)
    desk.depth(measured(0.3, 0.2))
    desk.stamp_s += 58
    assert desk.depth() is not None
    desk.set(scale__hold_s=58.0)
    assert desk.depth() is None


def depth_encoding(desk):
    metres = desk.depth()
    desk.set(depth__encoding="16UC1")
    message = desk.look()["depth"]
    assert message.encoding == "16UC1"
    assert np.array_equal(np.frombuffer(message.data, np.uint16).reshape(HEIGHT, WIDTH), np.rint(metres * 1000))


def depth_min_depth_m(desk):
    limit = float(np.median(desk.depth()))
    desk.set(depth__min_depth_m=limit)
    after = desk.depth()
    assert np.isnan(after).mean() == pytest.approx(0.5, abs=0.1) and np.nanmin(after) >= limit


def depth_max_depth_m(desk):
    limit = float(np.median(desk.depth()))
    desk.set(depth__max_depth_m=limit)
    after = desk.depth()
    assert np.isposinf(after).mean() == pytest.approx(0.5, abs=0.1) and after[np.isfinite(after)].max() <= limit


def count(points):
    return int((~np.isnan(points[..., 0])).sum())


def points_organized(desk):
    desk.set(points__max_depth_m=float(np.median(desk.depth())))
    before = desk.points()
    assert before.shape[:2] == (HEIGHT, WIDTH) and 0 < count(before) < HEIGHT * WIDTH
    desk.set(points__organized=False)
    after = desk.points()
    assert after.shape[:2] == (1, count(before)) and not np.isnan(after[..., :3]).any()


def points_stride(desk):
    desk.set(points__stride=4)
    assert desk.points().shape[:2] == (HEIGHT // 4, WIDTH // 4)


def points_max_points(desk):
    assert desk.points().shape[:2] == (HEIGHT, WIDTH)
    desk.set(points__max_points=1000)
    assert 0 < desk.points()[..., 0].size <= 1000


def points_min_depth_m(desk):
    limit = float(np.median(desk.depth()))
    desk.set(points__min_depth_m=limit)
    assert np.nanmin(desk.points()[..., 2]) >= limit and np.isfinite(desk.depth()).all()


def depth_baseline_m(desk):
    pytest.importorskip("stereo_msgs")
    desk.listeners |= {"disparity"}
    assert "disparity" not in desk.look()
    desk.set(depth__baseline_m=0.3)
    assert desk.look()["disparity"].t == pytest.approx(0.3)


def points_max_depth_m(desk):
    limit = float(np.median(desk.depth()))
    desk.set(points__max_depth_m=limit)
    assert np.nanmax(desk.points()[..., 2]) <= limit and np.isfinite(desk.depth()).all()


def points_roi(desk):
    before = desk.points()
    desk.set(points__roi=(8, 4, 32, 40))
    after = desk.points()
    assert after.shape[:2] == (40, 32)  # beside its border there is nothing to tell an outline by
    np.testing.assert_array_equal(after[8:-8, 8:-8], before[12:36, 16:32])


def step_up(desk):
    """A disparity with an outline between two surfaces, and a column of pixels that hang between them."""
    desk.model.disparity = np.full((HEIGHT, WIDTH), 1.0, np.float32)
    desk.model.disparity[:, WIDTH // 2 :] = 0.2
    desk.model.disparity[:, WIDTH // 2] = 0.5
    desk.set(scale__factor=1.0, scale__shift=0.0)


def points_edge_filter(desk):
    step_up(desk)
    before = desk.points()
    assert np.isnan(before[5:-5, WIDTH // 2, 2]).all()
    desk.set(points__edge_filter=False)
    np.testing.assert_allclose(desk.points()[5:-5, WIDTH // 2, 2], 2.0, rtol=1e-5)


def points_edge_rtol(desk):
    step_up(desk)
    assert np.isnan(desk.points()[5:-5, WIDTH // 2, 2]).all()
    desk.set(points__edge_rtol=1.0)
    assert not np.isnan(desk.points()[5:-5, WIDTH // 2, 2]).any()


def preview_colormap(desk):
    colours = desk.look()["preview"].data.tobytes()
    desk.set(preview__colormap="gray")
    gray = np.frombuffer(desk.look()["preview"].data, np.uint8).reshape(-1, 3)
    assert gray.tobytes() != colours and (gray == gray[:, :1]).all() and np.ptp(gray) > 200


def preview_max_width(desk):
    assert desk.look()["preview"].width == WIDTH
    desk.set(preview__max_width=32)
    message = desk.look()["preview"]
    assert (message.width, message.height) == (32, 24)


def snapshot_folder(desk):
    other = desk.values["snapshot_folder"] + "/other"
    desk.set(snapshot_folder=other)
    asked = desk.processor.snapshot()
    desk.look()
    assert str(asked.result(1).parent) == other


def on_the_ground(**values):
    """A check of a parameter by which the floor of a flat room lies elsewhere."""

    def check(desk):
        rows = np.linspace(-0.4, 0.9, HEIGHT, dtype=np.float32)[:, None]
        desk.model.disparity = np.broadcast_to(np.maximum(rows, 0.05), (HEIGHT, WIDTH)).astype(np.float32)
        desk.set(scale__mode="ground", scale__camera_height_m=1.0)
        before = desk.depth()
        desk.set(**values)
        after = desk.depth()
        assert before is not None and not np.allclose(before, after, equal_nan=True)

    return check


def scale_ground_frame(desk):
    desk.set(scale__mode="ground")
    asked = []
    desk.pose = lambda frame, sensor_frame: asked.append(sensor_frame)
    desk.look()
    desk.set(scale__ground_frame="floor")
    desk.look()
    assert asked == ["base_footprint", "floor"]


ON_THE_DESK = {
    "input.rectify": input_rectify,
    "input.rotation": input_rotation,
    "input.rectified": input_rectified,
    "input.camera_info_timeout_s": input_camera_info_timeout_s,
    "input.fallback_fov_x_deg": input_fallback_fov_x_deg,
    "engine.model": loads_again("model", "other"),
    "engine.device": loads_again("device", "cpu"),
    "engine.dtype": loads_again("dtype", "bfloat16"),
    "engine.backend": loads_again("backend", "onnxruntime"),
    "engine.weights": loads_again("weights", "/weights"),
    "engine.refiner_weights": loads_again("refiner_weights", "/weights"),
    "engine.fine": loads_again("fine", "same"),
    "engine.any_revision": loads_again("any_revision", True),
    "engine.refine": infers_with("refine", "blend", "blend", "trained"),
    "engine.tiles": infers_with("tiles", (3, 4), (3, 4), "auto"),
    "engine.batch_size": infers_with("batch_size", 5, 5, "auto"),
    "engine.hold_scale": engine_hold_scale,
    "engine.always_run": engine_always_run,
    "scale.mode": scale_mode,
    "scale.ground_frame": scale_ground_frame,
    "scale.camera_height_m": on_the_ground(scale__camera_height_m=1.1, scale__smoothing_s=0.0),
    "scale.pitch_deg": on_the_ground(scale__pitch_deg=5.0, scale__smoothing_s=0.0),
    "scale.roll_deg": on_the_ground(scale__roll_deg=5.0, scale__smoothing_s=0.0),
    "scale.factor": scale_factor,
    "scale.shift": scale_shift,
    "scale.sensor_pose": scale_sensor_pose,
    "scale.min_samples": scale_min_samples,
    "scale.min_inlier_share": scale_min_inlier_share,
    "scale.smoothing_s": scale_smoothing_s,
    "scale.max_offset_s": scale_max_offset_s,
    "scale.stale_after_s": scale_stale_after_s,
    "scale.hold_s": scale_hold_s,
    "depth.encoding": depth_encoding,
    "depth.min_depth_m": depth_min_depth_m,
    "depth.max_depth_m": depth_max_depth_m,
    "depth.baseline_m": depth_baseline_m,
    "points.organized": points_organized,
    "points.stride": points_stride,
    "points.max_points": points_max_points,
    "points.min_depth_m": points_min_depth_m,
    "points.max_depth_m": points_max_depth_m,
    "points.roi": points_roi,
    "points.edge_filter": points_edge_filter,
    "points.edge_rtol": points_edge_rtol,
    "preview.colormap": preview_colormap,
    "preview.max_width": preview_max_width,
    "snapshot_folder": snapshot_folder,
}
IN_THE_NODE = {"input.max_rate_hz", "input.stale_after_s"}
WRITABLE = [name for name, option in options() if not option.metadata.get("read_only")]


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_every_writable_parameter_is_tried():
    assert set(WRITABLE) == set(ON_THE_DESK) | IN_THE_NODE


@pytest.mark.parametrize("name", ON_THE_DESK)
def test_a_parameter_takes_effect_on_the_next_frame(desk, name):
    ON_THE_DESK[name](desk)
    assert desk.values[name] != value_of(from_values({}), name), "the test did not set it"


@pytest.mark.parametrize("wanted", [c for n in (0, 1, 2, len(TOPICS)) for c in itertools.combinations(TOPICS, n)])
def test_only_what_somebody_listens_to_is_made(desk, wanted):
    desk.set(depth__baseline_m=0.1)
    desk.listeners = frozenset(wanted)
    given = desk.look()
    with_it = (
        {"camera_info"} if {"depth", "depth_compressed"} & set(wanted) else set()
    )  # cheap, and of no use without the depth image
    assert (
        given.keys() == set(wanted) - {"camera_info", "depth_raw", "depth_raw_compressed"} | with_it
    )  # of a straight lens
    assert bool(desk.model.options) == bool(given)
