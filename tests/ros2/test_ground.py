"""scale.mode ground: the floor gives metres to a camera of known height, by tf or by parameters."""

from __future__ import annotations

import numpy as np
import pytest
from desk import HEIGHT, WIDTH, Desk
from rig import camera_info

import pro_engine as pro
from ros2_pro.scale.sensor_samples import Pose

FOCAL = 50.0
WALL_M = 4.0


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    made.set(scale__mode="ground")
    return made


def room(height_m, pitch_deg, *, floor=True):
    """Depth (H, W) of a floor and a wall, and where the floor is."""
    down = pro.down_vector(pitch_deg, 0.0)
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack([(columns - (WIDTH - 1) / 2) / FOCAL, (rows - (HEIGHT - 1) / 2) / FOCAL, np.ones(rows.shape)], -1)
    with np.errstate(divide="ignore"):
        below = height_m / np.maximum(rays @ down, 1e-9)
    depth = np.minimum(below, WALL_M) if floor else np.full(below.shape, WALL_M)
    return depth, below <= WALL_M


def seen(desk, depth, seed=0):
    """What the model makes of it: its own scale and shift, and noise of 2 %."""
    noise = 1 + 0.02 * np.random.default_rng(seed).standard_normal(depth.shape)
    desk.model.disparity = ((noise / depth - 0.05) / 0.4).astype(np.float32)


def info():
    return camera_info(WIDTH, HEIGHT, focal_px=FOCAL)


@pytest.mark.parametrize(("height_m", "pitch_deg"), [(0.3, 0), (0.3, 12), (0.3, 25), (1.5, 12), (1.5, 25)])
def test_floor_and_wall_are_at_their_distances(desk, height_m, pitch_deg):
    desk.set(scale__camera_height_m=height_m, scale__pitch_deg=pitch_deg)
    truth, floor = room(height_m, pitch_deg)
    seen(desk, truth)
    error = np.abs(desk.depth(info=info()) / truth - 1)
    assert np.median(error[floor]) < 0.03 and np.median(error) < 0.05
    scale = desk.processor.scale_now()
    assert (scale.state, scale.scale_shift.source) == ("ok", "fitted")


def test_tf_tells_height_and_attitude(desk):
    truth, floor = room(0.4, 15.0)
    seen(desk, truth)
    down = pro.down_vector(15.0, 0.0)
    forward = np.array([0, 0, 1]) - down[2] * down
    forward /= np.linalg.norm(forward)
    rotation = np.stack([forward, np.cross(-down, forward), -down], axis=1)  # x forward, y left, z up of the base
    desk.tf = {("camera_optical", "base_footprint"): Pose(rotation, 0.4 * down - 0.2 * forward)}
    assert np.median(np.abs(desk.depth(info=info()) / truth - 1)[floor]) < 0.03
    desk.tf = {("camera_optical", "base_footprint"): Pose(rotation, -0.4 * down)}
    desk.told.clear()
    desk.look(info=info())
    assert ("no_ground", False) in desk.told  # the last fit is held


@pytest.mark.parametrize("why", ["wall", "no tf", "no lens"])
def test_without_ground_there_are_no_metres_and_it_is_told(desk, why):
    truth, _ = room(0.4, 12.0, floor=why != "wall")
    seen(desk, truth)
    if why != "no tf":
        desk.set(scale__camera_height_m=0.4, scale__pitch_deg=12.0)
    assert "depth" not in desk.look(info=False if why == "no lens" else info())
    assert ("no_ground", True) in desk.told


def test_a_frame_without_ground_holds_the_last_scale(desk):
    desk.set(scale__camera_height_m=0.4, scale__pitch_deg=12.0)
    truth, _ = room(0.4, 12.0)
    seen(desk, truth)
    before = desk.depth(info=info())
    wall = room(0.4, 12.0, floor=False)[0]
    desk.model.disparity = np.full(wall.shape, (1 / WALL_M - 0.05) / 0.4, np.float32)
    held = desk.depth(info=info())
    assert before is not None and held is not None
    assert desk.processor.scale_now().state in ("held", "stale")


def test_the_floor_is_levelled_where_one_scale_does_not_do_and_what_stands_on_it_stays(desk):
    """A model whose floor waves by 5 %, with a curb a few pixels wide, a thirtieth of the camera's height high."""
    desk.set(scale__camera_height_m=0.9, scale__pitch_deg=25.0)
    truth, floor = room(0.9, 25.0)
    rows, columns = np.indices(truth.shape)
    wave = 1 + 0.05 * np.sin(columns / WIDTH * 2 * np.pi)
    curb = (np.abs(columns - WIDTH // 3) < 2) & floor
    made = np.where(curb, truth * (1 - 1 / 30), truth)
    desk.model.disparity = (((wave / made) - 0.05) / 0.4).astype(np.float32)
    depth = desk.depth(info=info())
    clear = floor & ~curb
    assert np.median(np.abs(depth / truth - 1)[clear]) < 0.015 < np.median(np.abs(1 / wave - 1)[clear])
    beside = np.roll(curb, 4, axis=1) & clear | np.roll(curb, -4, axis=1) & clear
    height = 1 - np.median((depth / truth)[curb]) / np.median((depth / truth)[beside])
    assert height == pytest.approx(1 / 30, rel=0.35)
    wall = ~floor & (rows < 3)
    link = desk.processor.scale_now().scale_shift
    line = 1 / (link.scale * desk.model.disparity + link.shift)
    np.testing.assert_allclose(depth[wall], line[wall], rtol=0.02)
