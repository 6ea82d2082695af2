"""Affine points of known views: the lens and the shift that made them, and a flat wall that tells neither."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pro_engine.errors import InputError
from pro_engine.geometry.affine_points import find_lens, find_shift
from pro_engine.types import Intrinsics

LENS = Intrinsics.from_fov(320, 240, fov_x_deg=62)
SHIFT, SCALE = 0.7, 2.5  # what affine points lack


def _rays(lens: Intrinsics) -> np.ndarray:
    x = (np.arange(lens.width) - lens.cx) / lens.fx
    y = (np.arange(lens.height) - lens.cy) / lens.fy
    return np.stack([*np.broadcast_arrays(x, y[:, None]), np.ones((lens.height, lens.width))], -1)  # (H, W, 3)


def plane(lens: Intrinsics, tilt_deg: float, distance_m: float = 3.0) -> np.ndarray:
    """Depth of a wall that is turned about the vertical by `tilt_deg`."""
    normal = np.array([math.sin(math.radians(tilt_deg)), 0, math.cos(math.radians(tilt_deg))])
    return distance_m * normal[2] / (_rays(lens) @ normal)


def room(lens: Intrinsics) -> np.ndarray:
    """Depth in a box: floor, ceiling, two walls and the far one."""
    walls = [((0, 1, 0), 1.5), ((0, -1, 0), 1.2), ((1, 0, 0), 2.0), ((-1, 0, 0), 2.5), ((0, 0, 1), 5.0)]
    with np.errstate(divide="ignore"):
        return np.min([np.where((at := _rays(lens) @ n) > 0, d / at, np.inf) for n, d in walls], 0)


VIEWS = {
    "room": room,
    "tilted plane": lambda lens: plane(lens, 40),
    "ground below a sky": lambda lens: 1.6 / np.maximum(_rays(lens)[..., 1], 0.02),
}


def affine(depth: np.ndarray, lens: Intrinsics, noise: float = 0.0) -> np.ndarray:
    """What a network would say of this depth."""
    xyz = _rays(lens) * depth[..., None] / SCALE
    xyz[..., 2] -= SHIFT
    xyz *= 1 + noise * np.random.default_rng(0).standard_normal(xyz.shape)
    return xyz.astype(np.float32)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("fov_x_deg", [45, 62, 95])
@pytest.mark.parametrize("size", [(320, 240), (90, 160), (40, 30)])
def test_lens_and_depth_of_a_known_view_are_found(view, fov_x_deg, size):
    lens = Intrinsics.from_fov(*size, fov_x_deg=fov_x_deg)
    depth = VIEWS[view](lens)
    points, valid = affine(depth, lens), depth < 50
    found, why = find_lens(points, valid)
    assert why == "" and found is not None
    assert (found.width, found.height, found.cx, found.cy) == (*size, (size[0] - 1) / 2, (size[1] - 1) / 2)
    assert (found.fx, found.fy) == pytest.approx((lens.fx, lens.fx), rel=1e-5)
    shift = find_shift(points, found, valid)
    assert shift == pytest.approx(SHIFT, rel=1e-4)
    np.testing.assert_allclose(SCALE * (points[..., 2] + shift)[valid], depth[valid], rtol=1e-3)


def test_a_coarse_grid_that_is_not_quite_in_the_photos_shape_finds_its_lens():
    lens = Intrinsics.from_fov(4000, 3000, fov_x_deg=62)
    grid = lens.resized(69, 53)
    points = affine(room(grid), grid)
    found, _ = find_lens(points, photo=(3000, 4000))
    assert found is not None and (found.width, found.height) == (4000, 3000)
    assert (found.fx, found.fy) == pytest.approx((lens.fx, lens.fx), rel=1e-5)
    assert find_shift(points, found.resized(69, 53)) == pytest.approx(SHIFT, rel=1e-4)


@pytest.mark.parametrize("view", ["room", "tilted plane"])
def test_a_little_noise_moves_the_lens_by_less_than_a_hundredth(view):
    found, _ = find_lens(affine(VIEWS[view](LENS), LENS, noise=0.01))
    assert found is not None and found.fx == pytest.approx(LENS.fx, rel=0.01)


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("tilt_deg", [0, 2, 4])
def test_a_nearly_flat_wall_tells_no_lens_and_says_so(tilt_deg, noise):
    found, why = find_lens(affine(plane(LENS, tilt_deg), LENS, noise))
    assert found is None
    assert "too flat" in why and "degrees" in why


def test_through_a_known_lens_even_a_flat_wall_tells_its_depth():
    depth = plane(LENS, 0)
    points = affine(depth, LENS)
    np.testing.assert_allclose(SCALE * (points[..., 2] + find_shift(points, LENS)), depth, rtol=1e-4)


def test_a_known_lens_may_look_past_the_middle():
    lens = Intrinsics(250, 260, 120, 140, 320, 240)
    assert find_shift(affine(room(lens), lens), lens) == pytest.approx(SHIFT, rel=1e-5)


def test_only_valid_pixels_count():
    depth = room(LENS)
    points, valid = affine(depth, LENS), np.ones(depth.shape, bool)
    valid[:80] = False
    points[:80] = 1e6
    points[0, 0] = np.nan
    found, _ = find_lens(points, valid)
    assert found is not None and found.fx == pytest.approx(LENS.fx, rel=1e-5)
    assert find_shift(points, LENS, valid) == pytest.approx(SHIFT, rel=1e-4)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_samples_tell_nothing(count):
    depth = room(LENS)
    valid = np.zeros(depth.shape, bool)
    valid.flat[:count] = True
    found, why = find_lens(affine(depth, LENS), valid)
    assert found is None and "fewer than two" in why
    assert find_shift(affine(depth, LENS), LENS, valid) == 0


def test_points_that_no_lens_sees_are_refused():
    points = affine(room(LENS), LENS)
    points[..., :2] *= -1  # upside down and mirrored
    found, why = find_lens(points)
    assert found is None and "not where any lens" in why
    assert find_shift(points, LENS) == 0


def test_wrong_arrays_are_refused():
    points = affine(room(LENS), LENS)
    with pytest.raises(InputError, match=r"points is \(240, 320\)"):
        find_lens(points[..., 2])
    with pytest.raises(InputError, match="valid has shape"):
        find_lens(points, np.ones((3, 3), bool))
    with pytest.raises(InputError, match="intrinsics are of a 64x48"):
        find_shift(points, LENS.resized(64, 48))
