"""Distorted lenses are rectified before the model sees them, and cameras that are mounted turned are seen upright."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from desk import DISPARITY, HEIGHT, WIDTH, Desk, depth_message
from rig import camera_info
from sensor_msgs.msg import CameraInfo

import pro_engine as pro
from ros2_pro.frames.rotation import turned, turned_back, turned_lens
from ros2_pro.messages.camera_info import lens_from_info
from ros2_pro.messages.rectification import rectification_of

SIZE = 640, 480
K = np.array([[400.0, 0, 315], [0, 402, 242], [0, 0, 1]])
P = np.array([[380.0, 0, 322], [0, 380, 238], [0, 0, 1]])
LENSES = {
    "k1 +0.05": ("plumb_bob", [0.05, 0, 0, 0, 0]),
    "k1 -0.35": ("plumb_bob", [-0.35, 0.15, 0.001, -0.002, 0]),
    "fisheye": ("equidistant", [-0.02, 0.01, -0.003, 0.0005]),
}


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def info_of(name, *, p=True, turn=(0.0, 0.0, 0.0)):
    model, d = LENSES[name]
    info = CameraInfo(width=SIZE[0], height=SIZE[1], distortion_model=model, d=[float(value) for value in d])
    info.k, info.r = K.ravel().tolist(), cv2.Rodrigues(np.array(turn))[0].ravel().tolist()
    info.p = np.hstack([P, np.zeros((3, 1))]).ravel().tolist() if p else [0.0] * 12
    return info


def rectified(info):
    found = rectification_of(info, lens_from_info(info, *SIZE, rectified=False))
    assert found is not None
    return found


@pytest.mark.parametrize("p", [True, False])
@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (0.02, -0.03, 0.05)], ids=["mono", "stereo"])
@pytest.mark.parametrize("name", LENSES)
def test_consumers_that_know_p_find_every_pixel_within_a_tenth(name, turn, p):
    """Each pixel is taken from where OpenCV would take it, so that P sees each ray where the picture shows it."""
    info = info_of(name, turn=turn, p=p)
    made, d = rectified(info), np.array(info.d)
    onto, r = (P, np.array(info.r).reshape(3, 3)) if p else (K, np.eye(3))
    if info.distortion_model == "equidistant":
        expected = cv2.fisheye.initUndistortRectifyMap(K, d, r, onto, SIZE, cv2.CV_32FC1)
    else:
        expected = cv2.initUndistortRectifyMap(K, d, r, onto, SIZE, cv2.CV_32FC1)
    whole, part = made.remap
    found = whole + np.stack([part % 32, part // 32], axis=-1) / 32
    seen = np.ones(whole.shape[:2], np.bool_) if made.seen is None else made.seen
    assert seen.mean() > 0.8
    assert np.abs(found - np.stack(expected, axis=-1))[seen].max() < 0.1
    assert made.lens.is_straight and made.lens.rectified and "rectified_here" in made.lens.notes
    lens = made.lens.intrinsics
    assert (lens.fx, lens.fy, lens.cx, lens.cy) == (onto[0, 0], onto[1, 1], onto[0, 2], onto[1, 2])


@pytest.mark.parametrize("name", LENSES)
def test_pixels_of_a_registered_sensor_move_to_where_their_points_are_seen(name):
    info = info_of(name, turn=(0.02, -0.03, 0.05))
    made, rng = rectified(info), np.random.default_rng(3)
    points = np.stack([rng.uniform(-1, 1, 200), rng.uniform(-0.7, 0.7, 200), rng.uniform(2, 5, 200)], axis=1)
    if info.distortion_model == "equidistant":
        pixels, _ = cv2.fisheye.projectPoints(points[:, None], np.zeros(3), np.zeros(3), K, np.array(info.d))
    else:
        pixels, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), K, np.array(info.d))
    columns, rows = np.float32(pixels.reshape(-1, 2).T)
    found = np.stack(made.move(columns, rows, np.float32(points[:, 2])))
    there = points @ np.array(info.r).reshape(3, 3).T
    expected = np.stack([*((there @ P.T)[:, :2] / there[:, 2:]).T, there[:, 2]])
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=0.05)


def bent_info():
    bent = camera_info(WIDTH, HEIGHT)
    bent.d = [-0.3, 0.0, 0.0, 0.0, 0.0]
    return bent


def test_depth_of_a_distorted_camera_is_rectified_and_its_info_says_so(desk):
    out = desk.look(info=bent_info())
    assert {"depth", "camera_info", "points"} <= set(out) and "depth_raw" not in out
    info = out["camera_info"]
    assert not any(info.d) and list(info.k) == [info.p[0], 0, info.p[2], 0, info.p[5], info.p[6], 0, 0, 1]
    assert ("rectified_here", False) in desk.told and not [told for told in desk.told if told[0] == "distorted"]
    points = np.frombuffer(out["points"].data, np.float32).reshape(out["points"].height, out["points"].width, 4)
    with np.errstate(invalid="ignore"):
        columns = info.k[0] * points[..., 0] / points[..., 2] + info.k[2]
    np.testing.assert_allclose(columns[~np.isnan(columns)], np.nonzero(~np.isnan(columns))[1], atol=1e-3)


def test_what_the_camera_does_not_show_has_no_depth(desk):
    pincushion = bent_info()
    pincushion.d[0] = 0.8
    assert np.isnan(desk.depth(info=pincushion)).any()
    assert not np.isnan(desk.depth(info=bent_info())).any()


def test_a_camera_that_sees_nothing_has_depth_nowhere(desk):
    nothing = pro.DepthResult(DISPARITY.copy(), np.zeros((HEIGHT, WIDTH), np.bool_))
    desk.model.infer = lambda image, **given: nothing
    assert np.isnan(desk.depth()).all()


def test_a_projection_that_looks_elsewhere_rectifies_nothing(desk):
    elsewhere = bent_info()
    elsewhere.p[0], elsewhere.p[5], elsewhere.p[2], elsewhere.p[6] = 50.0, 50.0, 9000.0, 20.0
    out = desk.look(info=elsewhere)
    assert "depth_raw" in out and "depth" not in out


def test_depth_that_stays_bent_has_another_topic(desk):
    desk.set(input__rectify=False)
    out = desk.look(info=bent_info())
    assert "depth_raw" in out and "depth" not in out and list(out["camera_info"].d) == bent_info().d.tolist()
    assert "other_geometry" not in desk.health.counts()
    desk.listeners = frozenset({"depth"})
    assert not desk.look(info=bent_info())
    desk.listeners = frozenset({"depth_raw"})
    assert set(desk.look(info=bent_info())) == {"depth_raw", "camera_info"}
    assert not desk.look()
    assert desk.told.count(("other_geometry", True)) == 1 and desk.health.counts()["other_geometry"] == 2


@pytest.mark.parametrize("is_rectified", [False, True])
def test_a_registered_sensor_is_of_the_image_as_it_arrives_unless_its_topic_says_rect(desk, is_rectified):
    info = bent_info()
    info.d[0] = -0.2
    desk.topics["sensor"] = "/camera/depth/image_rect" if is_rectified else "/camera/depth/image_raw"
    desk.set(scale__mode="align")
    lens = lens_from_info(info, WIDTH, HEIGHT, rectified=False)
    rectification = rectification_of(info, lens)
    depth = (1 / (0.3 * DISPARITY + 0.2)).astype(np.float32)  # of what the rectified picture shows
    if not is_rectified:
        depth = seen_bent(depth, lens, rectification)
    np.testing.assert_allclose(desk.depth(depth_message(depth), info=info), 1 / (0.3 * DISPARITY + 0.2), rtol=0.01)


def seen_bent(depth, lens, rectification):
    """The depth image as the bent lens sees it."""
    x, y = rectification.lens.pixels(*(slope.astype(np.float64) for slope in lens.slopes))
    return cv2.remap(depth, np.float32(x), np.float32(y), cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_the_model_sees_a_turned_camera_upright_and_maps_stay_in_its_frame(desk, degrees):
    seen = []

    def infer(image, *, options, progress, intrinsics=None, lens_source="given"):
        seen.append((image, intrinsics))
        disparity = image[..., 0].astype(np.float32) / 255 + 0.1
        return pro.DepthResult(disparity, np.ones(disparity.shape, np.bool_))

    desk.model.infer = infer
    desk.set(input__rotation=degrees)
    out = desk.look()
    (image, lens), turns = seen[0], degrees // 90
    upright = np.rot90(np.zeros((HEIGHT, WIDTH)), -turns).shape
    assert image.shape[:2] == upright == (lens.height, lens.width)
    disparity = np.frombuffer(out["relative"].data, np.float32).reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(disparity, turned(image[..., 0], -turns).astype(np.float32) / 255 + np.float32(0.1))
    assert (out["camera_info"].width, out["depth"].width) == (WIDTH, WIDTH)


def test_a_turned_lens_sees_a_point_in_the_turned_pixel():
    lens, point = pro.Intrinsics(50, 51, 30, 20, WIDTH, HEIGHT), np.array([0.2, -0.1, 1.0])
    column, row = lens.fx * point[0] + lens.cx, lens.fy * point[1] + lens.cy
    for turns in range(4):
        found = turned_lens(lens, turns)
        x, y = [(point[0], point[1]), (-point[1], point[0]), (-point[0], -point[1]), (point[1], -point[0])][turns]
        at = [
            (column, row),
            (HEIGHT - 1 - row, column),
            (WIDTH - 1 - column, HEIGHT - 1 - row),
            (row, WIDTH - 1 - column),
        ]
        assert (found.fx * x + found.cx, found.fy * y + found.cy) == pytest.approx(at[turns])
        assert turned_lens(found, -turns) == lens


def test_turning_there_and_back_changes_nothing():
    values = np.random.default_rng(0).random((3, 5)).astype(np.float32)
    result = pro.DepthResult(values, values > 0.2, sky=values > 0.9, intrinsics=pro.Intrinsics(5, 6, 1, 2, 5, 3))
    for turns in range(4):
        there = pro.DepthResult(
            turned(values, turns), turned(values > 0.2, turns), sky=turned(values > 0.9, turns),
            intrinsics=turned_lens(result.intrinsics, turns),
        )  # fmt: skip
        back = turned_back(there, turns)
        assert np.array_equal(back.disparity, values) and np.array_equal(back.sky, result.sky)
        assert np.array_equal(back.valid, result.valid) and back.intrinsics == result.intrinsics


@pytest.mark.parametrize("degrees", [45, -90, 360])
def test_only_quarter_turns_are_taken(desk, degrees):
    desk.set(input__rotation=degrees)
    with pytest.raises(pro.OptionError, match=r"input\.rotation"):
        desk.processor._around.settings()
