from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_engine import InputError, Intrinsics, project, unproject

CAMERA = Intrinsics(100.0, 50.0, 1.0, 0.5, 4, 3)


def test_a_known_pixel() -> None:
    points = unproject(np.full((3, 4), 2.0), CAMERA)
    assert points.shape == (3, 4, 3)
    assert points.dtype == np.float32
    assert points[2, 3] == pytest.approx((2 * (3 - 1.0) / 100, 2 * (2 - 0.5) / 50, 2))


def test_the_principal_point_looks_straight_ahead() -> None:
    camera = Intrinsics(100.0, 100.0, 2, 1, 5, 3)
    points = unproject(np.full((3, 5), 7.0, np.float32), camera)
    assert points[1, 2].tolist() == [0, 0, 7]
    assert points[1, 4, 0] > 0, "x to the right"
    assert points[2, 2, 1] > 0, "y down"


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf, 0.0, -1.0])
def test_pixels_without_a_depth_have_no_point(nothing: float) -> None:
    depth = np.ones((3, 4), np.float32)
    depth[1, 2] = nothing
    points = unproject(depth, CAMERA)
    assert np.isnan(points[1, 2]).all()
    assert np.isfinite(points).all(axis=2).sum() == 11


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    fov=st.floats(5, 150),
    shift=st.floats(-20, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_project_undoes_unproject(width: int, height: int, fov: float, shift: float, seed: int) -> None:
    lens = Intrinsics.from_fov(width, height, fov_x_deg=fov)
    camera = Intrinsics(lens.fx, 1.1 * lens.fy, lens.cx + shift, lens.cy - shift, width, height)
    depth = np.random.default_rng(seed).uniform(0.1, 100, (height, width)).astype(np.float32)
    pixels, z = project(unproject(depth, camera).reshape(-1, 3), camera)
    rows, columns = np.mgrid[:height, :width]
    np.testing.assert_allclose(pixels, np.stack([columns.ravel(), rows.ravel()], axis=1), atol=2e-4)
    np.testing.assert_array_equal(z, depth.ravel())


def test_a_4k_picture_comes_back_within_a_hundredth_of_a_pixel() -> None:
    camera = Intrinsics.from_fov(3840, 2160, fov_x_deg=65)
    depth = np.full((2160, 3840), 12.345, np.float32)
    pixels, _ = project(unproject(depth, camera)[::100, ::100].reshape(-1, 3), camera)
    rows, columns = np.mgrid[:2160:100, :3840:100]
    np.testing.assert_allclose(pixels, np.stack([columns.ravel(), rows.ravel()], axis=1), atol=0.01)


def test_points_not_in_front_have_no_pixel() -> None:
    pixels, depth = project([[1, 2, -3], [1, 2, 0], [0, 0, 1], [np.nan, 0, 1]], CAMERA)
    assert np.isnan(pixels[[0, 1]]).all()
    assert pixels[2].tolist() == [1.0, 0.5]
    assert np.isnan(pixels[3, 0])
    assert depth.tolist() == [-3, 0, 1, 1]


def test_no_points_give_no_pixels() -> None:
    pixels, depth = project(np.empty((0, 3)), CAMERA)
    assert pixels.shape == (0, 2)
    assert depth.shape == (0,)


@pytest.mark.parametrize("points", [np.ones(3), np.ones((2, 2)), np.ones((2, 3, 3)), [["a", "b", "c"]], [[1j, 0, 1]]])
def test_bad_points_are_refused(points: object) -> None:
    with pytest.raises(InputError, match="points"):
        project(points, CAMERA)  # type: ignore[arg-type]


@pytest.mark.parametrize("camera", [Intrinsics(100, 100, 1, 1, 3, 4), CAMERA.matrix(), None])
def test_a_camera_of_another_picture_is_refused(camera: Intrinsics) -> None:
    with pytest.raises(InputError, match="intrinsics"):
        unproject(np.ones((3, 4), np.float32), camera)
