"""Metres from the ground: a room seen by a camera of known height, in relative disparity with noise."""

from __future__ import annotations

import numpy as np
import pytest

from pro_engine.errors import InputError
from pro_engine.geometry.depth import disparity_to_depth
from pro_engine.geometry.ground import GroundFit, down_vector, ground_scale_shift
from pro_engine.types import Intrinsics

WIDTH, HEIGHT = 160, 120
LENS = Intrinsics.from_fov(WIDTH, HEIGHT, fov_x_deg=75)
CEILING_M, AHEAD_M, ASIDE_M = 2.6, 6.0, 2.5


def rays() -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return np.stack([(columns - LENS.cx) / LENS.fx, (rows - LENS.cy) / LENS.fy, np.ones((HEIGHT, WIDTH))], axis=-1)


def directions(pitch_deg: float, roll_deg: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Down, level ahead, and to the right, in the camera frame."""
    down = down_vector(pitch_deg, roll_deg)
    ahead = np.array([0.0, 0.0, 1.0]) - down[2] * down
    ahead /= np.linalg.norm(ahead)
    return down, ahead, np.cross(down, ahead)


def room(camera_m: float, pitch_deg: float, roll_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth (H, W) of a room with boxes on its floor, and where the floor is."""
    down, ahead, right = directions(pitch_deg, roll_deg)
    seen = rays()
    planes = (seen @ down / camera_m, -(seen @ down) / (CEILING_M - camera_m), seen @ ahead / AHEAD_M)
    depth = 1 / np.maximum.reduce([*planes, seen @ right / ASIDE_M])
    floor = depth == 1 / np.maximum(planes[0], 1e-9)
    for distance_m, aside_m, half_m, top_m in ((2.0, -0.7, 0.3, 0.4), (3.5, 0.9, 0.5, 0.8), (5.0, -0.5, 0.6, 0.3)):
        point = seen * (distance_m / np.maximum(seen @ ahead, 1e-9))[..., None]
        height_m = camera_m - point @ down
        hit = (np.abs(point @ right - aside_m) < half_m) & (height_m > 0) & (height_m < top_m)
        hit &= point[..., 2] < depth
        depth, floor = np.where(hit, point[..., 2], depth), floor & ~hit
    return depth, floor


def relative(depth: np.ndarray, noise: float = 0.02) -> np.ndarray:
    """Disparity of an unknown scale and shift, with noise."""
    noisy = (1 + np.random.default_rng(7).normal(0, noise, depth.shape)) / depth
    return (3.7 * noisy + 11.0).astype(np.float32)


@pytest.mark.parametrize("roll", [0.0, -6.0])
@pytest.mark.parametrize("pitch", [0.0, 12.0, 25.0])
@pytest.mark.parametrize("camera_m", [0.3, 0.9, 1.7])
def test_the_floor_gives_metres(camera_m: float, pitch: float, roll: float) -> None:
    depth, floor = room(camera_m, pitch, roll)
    found = ground_scale_shift(relative(depth), LENS, camera_m, 5.0 * down_vector(pitch, roll))
    error = np.abs(disparity_to_depth(relative(depth), found.scale_shift) / depth - 1)
    assert np.median(error[floor]) < 0.03 and np.median(error) < 0.03
    assert found.scale_shift.source == "fitted" and found.height_m == camera_m
    assert (found.pitch_deg, found.roll_deg) == (pytest.approx(pitch), pytest.approx(roll))
    assert found.mask[floor].mean() > 0.9 and found.mask[~floor].mean() < 0.1


def test_without_noise_the_metres_are_exact_and_pixels_may_be_missing() -> None:
    depth, floor = room(1.2, 10.0, 0.0)
    disparity = relative(depth, 0.0)
    disparity[:, 40:60] = np.nan
    valid = np.ones(depth.shape, dtype=np.bool_)
    valid[:, :30] = False
    found = ground_scale_shift(disparity, LENS, 1.2, down_vector(10.0), valid=valid)
    np.testing.assert_allclose(
        disparity_to_depth(relative(depth, 0.0), found.scale_shift)[floor], depth[floor], rtol=1e-3
    )
    assert not found.mask[:, :30].any() and not found.mask[:, 40:60].any()


@pytest.mark.parametrize("pitch", [-10.0, 0.0, 10.0])
def test_a_wall_is_no_ground(pitch: float) -> None:
    wall = 3.0 / (rays() @ directions(pitch, 0.0)[1])
    with pytest.raises(InputError, match=r"The ground cannot be found: .*; check the camera's pitch and roll"):
        ground_scale_shift(relative(wall), LENS, 1.2, down_vector(pitch))


def test_a_wrong_roll_is_noticed() -> None:
    depth, _ = room(1.2, 12.0, 0.0)
    with pytest.raises(InputError, match="The ground cannot be found"):
        ground_scale_shift(relative(depth), LENS, 1.2, down_vector(12.0, 40.0))


def test_a_camera_that_looks_up_sees_no_ground() -> None:
    depth, _ = room(1.2, 0.0, 0.0)
    with pytest.raises(InputError, match="hardly any pixel looks below the horizon"):
        ground_scale_shift(relative(depth), LENS, 1.2, down_vector(-60.0))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.ones((4, 5), np.float32), LENS, 1.0, (0, 1, 0)), "intrinsics are of a"),
        ((np.ones((HEIGHT, WIDTH), np.float32), LENS, 0.0, (0, 1, 0)), "camera_height_m"),
        ((np.ones((HEIGHT, WIDTH), np.float32), LENS, 1.0, (0, 0, 0)), "normal"),
        ((np.ones((HEIGHT, WIDTH), np.float32), LENS, 1.0, (0, 1)), "normal"),
        ((np.full((HEIGHT, WIDTH), 2.0, np.float32), LENS, 1.0, (0, 1, 0)), "The ground cannot be found"),
    ],
)
def test_what_cannot_be_is_one_sentence(arguments: tuple, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        ground_scale_shift(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("angles", [(91.0, 0.0), (float("nan"), 0.0), (0.0, float("inf"))])
def test_angles_that_cannot_be(angles: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="Pitch and roll"):
        down_vector(*angles)


def test_the_fit_is_seen_from_the_front_page() -> None:
    import pro_engine as pro

    assert (
        pro.GroundFit is GroundFit and pro.ground_scale_shift is ground_scale_shift and pro.down_vector is down_vector
    )
