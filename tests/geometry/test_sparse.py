"""Maps on sparse points: the line is found in spite of outliers, what bends is bent back, what cannot be told stays."""

from __future__ import annotations

import numpy as np
import pytest

from pro_engine.errors import InputError
from pro_engine.geometry.sparse import fit_points

SIZE = (120, 160)


def scene(bend: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """True depth, and a disparity whose depth is off by a smooth factor, then by a scale and shift."""
    row, column = np.mgrid[: SIZE[0], : SIZE[1]]
    depth = 2 + 3 * row[::-1] / SIZE[0] + 2 * (column > 80)
    factor = np.exp(bend * np.sin(2 * np.pi * column / SIZE[1]))
    return depth, ((1 / (depth * factor) - 0.05) / 0.3).astype(np.float32)


def points(depth: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    pixels = np.stack([rng.integers(0, SIZE[1], count), rng.integers(0, SIZE[0], count)], axis=1)
    return pixels, depth[pixels[:, 1], pixels[:, 0]].copy()


def test_scale_and_shift_are_found_in_spite_of_outliers():
    depth, disparity = scene()
    pixels, z = points(depth, 100)
    z[:25] = 20.0
    fit = fit_points(disparity, pixels, z, correct=False)
    assert fit.scale_shift.scale == pytest.approx(0.3, rel=1e-3)
    assert fit.scale_shift.shift == pytest.approx(0.05, rel=1e-2)
    assert fit.scale_shift.inlier_share == pytest.approx(0.75, abs=0.01)
    np.testing.assert_allclose(fit.depth(disparity), depth, rtol=1e-3)


def test_a_smooth_error_is_corrected_and_outlines_stay_sharp():
    depth, disparity = scene(bend=0.15)
    pixels, z = points(depth, 250)
    z[::10] *= 1.7  # points that are wrong do not bend the map
    fit = fit_points(disparity, pixels, z)
    line = fit_points(disparity, pixels, z, correct=False)
    assert fit.correction is not None
    assert line.correction is None
    made, plain = np.abs(fit.depth(disparity) / depth - 1), np.abs(line.depth(disparity) / depth - 1)
    assert np.median(made) < 0.25 * np.median(plain)
    assert fit.error < 0.5 * fit.line_error
    right = np.arange(250) % 10 != 0
    true_error = np.median(np.abs(fit.held_out / depth[pixels[:, 1], pixels[:, 0]] - 1)[right])
    assert fit.error == pytest.approx(true_error, abs=0.01)
    step = fit.depth(disparity)[:, 81] - fit.depth(disparity)[:, 80]
    np.testing.assert_allclose(step, 2.0, rtol=0.1)


def test_an_exact_map_and_few_points_are_not_bent():
    depth, disparity = scene()
    assert fit_points(disparity, *points(depth * (1 + 0.0), 20)).correction is None
    noisy = points(depth, 200)
    noisy[1][:] *= np.exp(np.random.default_rng(1).normal(0, 0.1, 200))
    fit = fit_points(disparity, *noisy)
    assert np.median(np.abs(fit.depth(disparity) / depth - 1)) < 0.03


def test_too_few_points_are_refused_and_unknown_pixels_are_not_used():
    depth, disparity = scene()
    pixels, z = points(depth, 30)
    disparity[pixels[:20, 1], pixels[:20, 0]] = np.nan
    with pytest.raises(InputError, match="Only 10 points"):
        fit_points(disparity, pixels, z)
    with pytest.raises(InputError, match="Only 0 points"):
        fit_points(scene()[1], pixels + 1000, z)


def test_points_in_one_place_are_fitted():
    depth, disparity = scene()
    pixels, z = points(depth, 60)
    crowd = np.concatenate([np.repeat(pixels[:1], 50, axis=0), pixels[:12]])
    fit = fit_points(disparity, crowd, np.concatenate([np.repeat(z[:1], 50), z[:12]]))
    assert np.median(np.abs(fit.depth(disparity) / depth - 1)) < 0.05
    same = np.repeat(pixels[:1], 60, axis=0)
    with pytest.raises(InputError):
        fit_points(disparity, same, np.repeat(z[:1], 60))


def test_points_in_one_pixel_are_held_out_together():
    depth, disparity = scene(bend=0.15)
    pixels, z = points(depth, 200)
    fit = fit_points(disparity, np.concatenate([pixels, pixels]), np.concatenate([z, z]))
    np.testing.assert_allclose(fit.held_out[:200], fit.held_out[200:])
