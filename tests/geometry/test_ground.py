"""Metres from the ground: a room seen by a camera of known height, in relative disparity with noise."""

from __future__ import annotations

import numpy as np
import pytest
from rooms import HEIGHT, LENS, WIDTH, directions, rays, relative, room

from pro_engine.errors import InputError
from pro_engine.geometry.depth import disparity_to_depth
from pro_engine.geometry.ground import GroundFit, down_vector, ground_plane, ground_scale_shift


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
    found = ground_scale_shift(disparity, LENS, 1.2, down_vector(10.0, 0.0), valid=valid)
    np.testing.assert_allclose(
        disparity_to_depth(relative(depth, 0.0), found.scale_shift)[floor], depth[floor], rtol=1e-3
    )
    assert not found.mask[:, :30].any() and not found.mask[:, 40:60].any()


@pytest.mark.parametrize("pitch", [-10.0, 0.0, 10.0])
def test_a_wall_is_no_ground(pitch: float) -> None:
    wall = 3.0 / (rays() @ directions(pitch, 0.0)[1])
    with pytest.raises(InputError, match=r"The ground cannot be found: .*; check the camera's pitch and roll"):
        ground_scale_shift(relative(wall), LENS, 1.2, down_vector(pitch, 0.0))


def test_a_wrong_roll_is_noticed() -> None:
    depth, _ = room(1.2, 12.0, 0.0)
    with pytest.raises(InputError, match="The ground cannot be found"):
        ground_scale_shift(relative(depth), LENS, 1.2, down_vector(12.0, 40.0))


def test_a_camera_that_looks_up_sees_no_ground() -> None:
    depth, _ = room(1.2, 0.0, 0.0)
    with pytest.raises(InputError, match="hardly any pixel looks below the horizon"):
        ground_scale_shift(relative(depth), LENS, 1.2, down_vector(-60.0, 0.0))


@pytest.mark.parametrize("roll", [0.0, -6.0])
@pytest.mark.parametrize("pitch", [0.0, 12.0, 25.0])
@pytest.mark.parametrize("camera_m", [0.3, 1.7])
def test_the_ground_of_a_depth_map_levels_it(camera_m: float, pitch: float, roll: float) -> None:
    depth, floor = room(camera_m, pitch, roll)
    noisy = 3.0 * depth * (1 + np.random.default_rng(0).normal(0, 0.01, depth.shape))  # in another unit
    noisy[:, :10] = np.nan
    found = ground_plane(noisy, LENS)
    assert found.height == pytest.approx(3.0 * camera_m, rel=0.02)
    assert np.degrees(np.arccos(found.normal @ down_vector(pitch, roll))) < 0.5
    assert found.mask[floor].mean() > 0.85 and found.mask[~floor].mean() < 0.05


def test_walls_have_no_ground() -> None:
    wall = 3.0 / (rays() @ directions(10.0, 0.0)[1])
    with pytest.raises(InputError, match="No ground is in view"):
        ground_plane(wall, LENS)
    with pytest.raises(InputError, match="too few pixels"):
        ground_plane(np.zeros((HEIGHT, WIDTH), np.float32), LENS)


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
