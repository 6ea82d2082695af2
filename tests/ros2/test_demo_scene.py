"""The scene of the demo camera: its depth is that of its floor, boxes and balls, to float32."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

import pro_engine as pro
from ros2_pro.demo import scene as demo_scene
from ros2_pro.demo.scene import BALLS, BOXES, CAMERA_HEIGHT_M, PITCH, DemoScene

CAMERA = pro.Intrinsics.from_fov(320, 180, fov_x_deg=60)
TIMES = (0.0, 1.3, 4.2, 7.7)


@pytest.fixture(scope="module")
def scene() -> DemoScene:
    return DemoScene(CAMERA)


def level_points(depth: NDArray[np.float32], camera: pro.Intrinsics = CAMERA) -> NDArray[np.float64]:
    """Points (H, W, 3) in the level frame at the camera, NaN in the sky."""
    x, y, z = np.moveaxis(pro.unproject(depth, camera).astype(np.float64), -1, 0)
    cos, sin = math.cos(PITCH), math.sin(PITCH)
    return np.stack([x, cos * y + sin * z, -sin * y + cos * z], axis=-1)


def distance_to_boxes(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Metres from each point (N, 3) to the nearest surface of a box."""
    nearest = np.full(len(points), np.inf)
    for box in BOXES:
        cos, sin = math.cos(box.yaw), math.sin(box.yaw)
        x, y, z = (points - (box.x, CAMERA_HEIGHT_M - box.height / 2, box.z)).T
        local = np.stack([cos * x - sin * z, y, sin * x + cos * z], axis=-1)
        beyond = np.abs(local) - (box.half_width, box.height / 2, box.half_depth)
        outside = np.linalg.norm(np.maximum(beyond, 0), axis=-1)
        nearest = np.minimum(nearest, outside + np.abs(np.minimum(beyond.max(axis=-1), 0)))
    return nearest


def distance_to_balls(points: NDArray[np.float64], time_s: float) -> NDArray[np.float64]:
    """Metres from each point (N, 3) to the nearest ball's surface."""
    return np.min(
        [np.abs(np.linalg.norm(points - ball.center(time_s), axis=-1) - ball.radius) for ball in BALLS], axis=0
    )


@pytest.mark.parametrize("time_s", TIMES)
def test_every_point_lies_on_a_surface(scene: DemoScene, time_s: float) -> None:
    image, depth = scene.render(time_s)
    assert image.shape == (180, 320, 3) and image.dtype == np.uint8
    assert depth.shape == (180, 320) and depth.dtype == np.float32
    seen = np.isfinite(depth)
    points = level_points(depth)[seen]
    surfaces = np.stack(
        [np.abs(points[:, 1] - CAMERA_HEIGHT_M), distance_to_boxes(points), distance_to_balls(points, time_s)]
    )
    assert np.all(surfaces.min(axis=0) <= 1e-6 * np.maximum(1, depth[seen]))
    assert np.all(np.bincount(surfaces.argmin(axis=0), minlength=3) > 200)  # all three kinds are in view


@pytest.mark.parametrize("time_s", TIMES)
def test_nothing_hides_behind_what_is_seen(scene: DemoScene, time_s: float) -> None:
    """March along rays: up to the depth that is given, they are in the open."""
    _, depth = scene.render(time_s)
    seen = np.isfinite(depth) & (depth < 60)
    for share in np.linspace(0.05, 0.99, 40):
        points = level_points(depth * np.float32(share))[seen]
        assert points[:, 1].max() < CAMERA_HEIGHT_M
        for ball in BALLS:
            assert np.linalg.norm(points - ball.center(time_s), axis=-1).min() > ball.radius * (1 - 1e-6)
        for box in BOXES:
            cos, sin = math.cos(box.yaw), math.sin(box.yaw)
            x, y, z = (points - (box.x, CAMERA_HEIGHT_M - box.height / 2, box.z)).T
            local = np.abs(np.stack([cos * x - sin * z, y, sin * x + cos * z], axis=-1))
            assert not np.all(local < np.array([box.half_width, box.height / 2, box.half_depth]) - 1e-5, axis=-1).any()


def test_the_sky_is_infinite_and_only_above(scene: DemoScene) -> None:
    _, depth = scene.render(0.0)
    horizon = math.floor(CAMERA.cy - CAMERA.fy * math.tan(PITCH))  # the last row above it
    assert np.isinf(depth[:horizon]).mean() > 0.5
    assert np.isfinite(depth[horizon + 1 :]).all()
    assert not np.isnan(depth).any() and depth.min() > 0


def test_only_the_balls_move_and_nothing_is_clipped(scene: DemoScene, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [scene.render(time_s) for time_s in TIMES]
    assert not np.array_equal(pictures[0][0], pictures[1][0])
    everywhere = (slice(0, CAMERA.height), slice(0, CAMERA.width))
    monkeypatch.setattr(DemoScene, "_around", lambda *_: everywhere)
    for (image, depth), time_s in zip(pictures, TIMES, strict=True):
        again = scene.render(time_s)
        np.testing.assert_array_equal(image, again[0])
        np.testing.assert_array_equal(depth, again[1])


def test_what_is_handed_out_is_the_callers(scene: DemoScene) -> None:
    image, depth = scene.render(0.0)
    copy = image.copy()
    image[:] = 0
    depth[:] = 0
    np.testing.assert_array_equal(scene.render(0.0)[0], copy)


def test_a_ball_that_the_camera_cannot_see_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    around = demo_scene.Ball(0.0, 1.0, 0.0, 1.4, 0.0, 5.0, (255, 0, 0))
    behind = demo_scene.Ball(0.0, -5.0, 0.0, 0.3, 0.0, 5.0, (255, 0, 0))
    aside = demo_scene.Ball(50.0, 5.0, 0.0, 0.3, 0.0, 5.0, (255, 0, 0))
    monkeypatch.setattr(demo_scene, "BALLS", ())
    scene = DemoScene(CAMERA)
    expected = scene.render(0.0)[1]
    monkeypatch.setattr(demo_scene, "BALLS", (around, behind, aside))
    np.testing.assert_array_equal(scene.render(0.0)[1], expected)


def test_a_box_hides_the_light_from_the_floor_behind_it_and_at_its_foot(monkeypatch: pytest.MonkeyPatch) -> None:
    box = demo_scene.Box(0.0, 5.0, 0.4, 1.0, 0.4, 0.0, (190, 90, 70))
    monkeypatch.setattr(demo_scene, "BALLS", ())
    pictures = []
    for boxes in ((), (box,)):
        monkeypatch.setattr(demo_scene, "BOXES", boxes)
        pictures.append(DemoScene(CAMERA).render(0.0))
    (bare, floor), (image, depth) = pictures
    light = image.mean(axis=-1) / bare.mean(axis=-1)
    points = level_points(depth)
    is_floor = np.isfinite(depth) & (depth == floor)
    # In the shadow, which falls to the right and away, not too near the foot; and in the open.
    toward = np.array(demo_scene.TO_LIGHT)
    middle = np.array([box.x, box.z]) - toward[[0, 2]] * box.height / -toward[1] * 1.3
    away = np.hypot(*(points[..., [0, 2]] - middle).transpose(2, 0, 1))
    shadow = light[is_floor & (away < 0.15)].mean()  # grain is on every pixel
    np.testing.assert_allclose(shadow, demo_scene.AMBIENT / demo_scene.FLOOR_LIGHT, rtol=0.1)
    assert np.all(light[is_floor & (away > 4)] == 1)
    foot = is_floor & (np.abs(points[..., 0]) < 0.3) & (points[..., 2] < 4.6) & (points[..., 2] > 4.5)
    assert foot.any() and light[foot].mean() < 1 - demo_scene.CORNER * 0.4
