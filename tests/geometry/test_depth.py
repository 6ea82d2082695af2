from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_engine import InputError, ScaleShift, depth_edges, disparity_to_depth, fit_scale_shift, range_scale_shift
from pro_engine.geometry.depth import span_scale_shift

seeds = st.integers(0, 2**32 - 1)


def scene(seed: int, scale: float = 0.4, shift: float = 0.1, shape: tuple[int, int] = (30, 40)) -> tuple:
    """Disparity, and the depth it stands for."""
    disparity = np.random.default_rng(seed).uniform(0, 2, shape).astype(np.float32)
    return disparity, (1 / (scale * disparity.astype(np.float64) + shift)).astype(np.float32)


class TestFit:
    @given(seed=seeds, scale=st.floats(1e-4, 1e4), shift=st.floats(0.01, 10), robust=st.booleans())
    def test_an_exact_relation_is_found(self, seed: int, scale: float, shift: float, robust: bool) -> None:
        disparity, depth = scene(seed, scale, shift * scale)
        fit = fit_scale_shift(disparity, depth, robust=robust)
        assert (fit.scale, fit.shift) == pytest.approx((scale, shift * scale), rel=1e-3)
        assert fit.inlier_share == 1
        assert fit.source == "fitted"

    @pytest.mark.parametrize("kind", ["anywhere", "near", "far", "sloped", "one side"])
    @pytest.mark.parametrize("seed", range(5))
    def test_thirty_percent_outliers_do_not_move_the_robust_fit(self, kind: str, seed: int) -> None:
        disparity, depth = scene(seed)
        rng = np.random.default_rng(seed + 100)
        depth *= rng.normal(1, 0.01, depth.shape).astype(np.float32)
        order = disparity if kind == "one side" else rng.random(depth.shape)
        wrong = order < np.quantile(order, 0.3)
        depth[wrong] = {
            "anywhere": rng.uniform(0.05, 50, depth.shape),
            "near": np.full(depth.shape, 0.01),
            "far": np.full(depth.shape, 500.0),
            "sloped": 1 / (2.0 - 0.8 * disparity + 0.3),
            "one side": np.full(depth.shape, 0.2),
        }[kind][wrong]
        fit = fit_scale_shift(disparity, depth)
        assert (fit.scale, fit.shift) == pytest.approx((0.4, 0.1), rel=0.03)
        assert 0.69 < fit.inlier_share < 0.8

    def test_plain_least_squares_is_moved_by_outliers(self) -> None:
        disparity, depth = scene(0)
        depth[disparity > 1.8] = 20
        assert fit_scale_shift(disparity, depth).scale == pytest.approx(0.4, rel=1e-3)
        assert fit_scale_shift(disparity, depth, robust=False).scale < 0.3

    def test_the_same_input_gives_the_same_fit(self) -> None:
        disparity, depth = scene(3)
        depth *= np.random.default_rng(0).uniform(0.5, 2, depth.shape).astype(np.float32)
        assert fit_scale_shift(disparity, depth) == fit_scale_shift(disparity, depth)

    def test_a_sparse_sensor_will_do(self) -> None:
        disparity, depth = scene(4)
        sparse = np.full_like(depth, np.nan)
        sparse[::10, ::10] = depth[::10, ::10]
        assert fit_scale_shift(disparity, sparse).scale == pytest.approx(0.4, rel=1e-4)

    def test_two_points_make_a_plain_fit(self) -> None:
        fit = fit_scale_shift([[0.0, 1.0]], [[4.0, 2.0]], robust=False)
        assert (fit.scale, fit.shift) == pytest.approx((0.25, 0.25))

    def test_a_contrast_that_few_samples_carry_is_enough(self) -> None:
        disparity = np.zeros((300, 300), np.float32)
        disparity[0, 0] = 1
        assert fit_scale_shift(disparity, 1 / (0.5 * disparity + 0.25)).scale == pytest.approx(0.5)

    @pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf, 0.0, -1.0])
    def test_unknown_depth_is_not_used(self, nothing: float) -> None:
        disparity, depth = scene(5)
        depth[:20] = nothing
        assert fit_scale_shift(disparity, depth, robust=False).scale == pytest.approx(0.4, rel=1e-4)

    def test_only_valid_pixels_are_used(self) -> None:
        disparity, depth = scene(6)
        valid = np.ones(depth.shape, bool)
        depth[:, ::2], valid[:, ::2] = 0.3, False
        assert fit_scale_shift(disparity, depth, valid, robust=False).scale == pytest.approx(0.4, rel=1e-4)

    def test_a_large_map_is_thinned(self) -> None:
        disparity, depth = scene(7, shape=(1100, 1100))
        assert fit_scale_shift(disparity, depth).scale == pytest.approx(0.4, rel=1e-3)

    @pytest.mark.parametrize("robust", [True, False])
    def test_depth_in_place_of_disparity_is_refused(self, robust: bool) -> None:
        disparity, depth = scene(8)
        with pytest.raises(InputError, match="larger"):
            fit_scale_shift(3 - disparity, depth, robust=robust)

    def test_other_bad_input_is_refused(self) -> None:
        disparity, depth = scene(9)
        with pytest.raises(InputError, match="40x30 but depth 20x15; resize"):
            fit_scale_shift(disparity, depth[::2, ::2])
        with pytest.raises(InputError, match="at every sample"):
            fit_scale_shift(np.full_like(depth, 0.7), depth)
        with pytest.raises(InputError, match="Only 9 pixels"):
            fit_scale_shift(disparity[:1, :9], depth[:1, :9])
        with pytest.raises(InputError, match="Only 1 pixel"):
            fit_scale_shift(disparity[:1, :1], depth[:1, :1], robust=False)
        with pytest.raises(InputError, match="Only 0 pixels"):
            fit_scale_shift(disparity, depth, np.zeros(depth.shape, bool))
        with pytest.raises(InputError, match="valid has shape"):
            fit_scale_shift(disparity, depth, np.ones((3, 4), bool))
        with pytest.raises(InputError, match="valid has dtype"):
            fit_scale_shift(disparity, depth, np.ones(depth.shape, np.uint8))


def landscape(sky: float | None, shape: tuple[int, int] = (200, 100)) -> np.ndarray:
    """A ground from the bottom row (disparity 2) to the middle (0.1), above it a sky or a slope that comes nearer."""
    height, width = shape
    half = height // 2
    column = np.concatenate([np.linspace(0.6, 0.1, half), np.linspace(0.1, 2, height - half)])
    if sky is not None:
        column[:half] = sky
    return np.tile(column[:, None], (1, width)).astype(np.float32)


class TestSpan:
    @given(near=st.floats(0.05, 10), ratio=st.floats(1.1, 50), offset=st.floats(-50, 50), factor=st.floats(0.01, 100))
    def test_both_percentiles_land_where_estimated(
        self, near: float, ratio: float, offset: float, factor: float
    ) -> None:
        disparity = (np.linspace(0, 1, 10_000).reshape(100, 100) * factor + offset * factor).astype(np.float32)
        fit = span_scale_shift(disparity, near, near * ratio)
        tail, low, high = np.percentile(disparity.astype(float), (0.5, 2, 98))
        assert fit.source == "estimated" and fit.scale > 0
        assert 1 / (fit.scale * high + fit.shift) == pytest.approx(near, rel=1e-2)
        assert 0 < 1 / (fit.scale * tail + fit.shift) <= 5.01 * near * ratio
        if ratio < 10:  # the law reaches as far as it is
            assert 1 / (fit.scale * low + fit.shift) == pytest.approx(near * ratio, rel=2e-2)

    def test_only_valid_pixels_count(self) -> None:
        disparity = np.tile(np.linspace(1, 2, 100, dtype=np.float32)[:, None], (1, 100))
        with_sky = np.concatenate([np.full((50, 100), -9, np.float32), disparity])
        valid = np.arange(150)[:, None].repeat(100, 1) >= 50
        assert span_scale_shift(with_sky, 1, 5, valid).scale == pytest.approx(span_scale_shift(disparity, 1, 5).scale)

    def test_no_contrast_is_refused(self) -> None:
        with pytest.raises(InputError, match="no contrast"):
            span_scale_shift(np.ones((20, 20), np.float32), 1, 2)


class TestRange:
    @given(near=st.floats(0.05, 10), ratio=st.floats(1.1, 1000), offset=st.floats(-50, 50), factor=st.floats(0.01, 100))
    def test_near_and_far_surface_land_where_asked(
        self, near: float, ratio: float, offset: float, factor: float
    ) -> None:
        disparity = (landscape(None) * factor + offset * factor).astype(np.float32)
        fit = range_scale_shift(disparity, near, near * ratio)
        depth = disparity_to_depth(disparity, fit, max_depth_m=near * ratio)
        assert fit.scale > 0
        assert fit.source == "given"
        assert np.isfinite(depth).all(), "the farthest surface is not cut at far"
        assert depth.max() == pytest.approx(near * ratio, rel=2e-3)
        assert np.quantile(depth, 0.005) == pytest.approx(near, rel=2e-2)

    @pytest.mark.parametrize("sky", [0.09, 0.0, -1.0])
    def test_an_even_sky_falls_beyond_far_and_the_horizon_on_it(self, sky: float) -> None:
        disparity = landscape(sky)
        depth = disparity_to_depth(disparity, range_scale_shift(disparity, 1, 20), max_depth_m=20)
        assert np.isinf(depth[:100]).all()
        assert np.isfinite(depth[103:]).all()
        assert depth[101:].max() == np.inf or depth[100:].max() <= 20.01

    def test_a_noisy_sky_is_still_a_sky(self) -> None:
        disparity = landscape(-0.5)
        disparity[:100] += np.random.default_rng(0).normal(0, 0.005, (100, 100)).astype(np.float32)
        depth = disparity_to_depth(disparity, range_scale_shift(disparity, 1, 20), max_depth_m=20)
        assert np.isinf(depth[:100]).mean() > 0.99
        assert np.isfinite(depth[102:]).all()

    def test_the_sky_can_be_kept_as_a_surface(self) -> None:
        disparity = landscape(-1.0)
        depth = disparity_to_depth(disparity, range_scale_shift(disparity, 1, 20, cut_plateau=False), max_depth_m=20)
        np.testing.assert_allclose(depth[:100], 20, rtol=1e-4)

    def test_an_even_ground_is_no_sky(self) -> None:
        disparity = landscape(0.0)[::-1]
        depth = disparity_to_depth(disparity, range_scale_shift(disparity, 1, 20), max_depth_m=20)
        assert np.isfinite(depth).all()

    def test_single_wild_pixels_do_not_set_the_range(self) -> None:
        disparity = landscape(None)
        disparity[0, 0], disparity[0, 1] = -100, 100
        fit = range_scale_shift(disparity, 1, 20)
        clean = range_scale_shift(landscape(None), 1, 20)
        assert fit.scale == pytest.approx(clean.scale, rel=0.02)

    def test_only_valid_pixels_count(self) -> None:
        disparity = landscape(None)
        valid = np.ones(disparity.shape, bool)
        disparity[:50], valid[:50] = 30, False
        disparity[0, 0] = np.nan
        assert range_scale_shift(disparity, 1, 20, valid).scale == pytest.approx(0.95 / 1.88, rel=0.02)

    @pytest.mark.parametrize(
        ("near", "far"),
        [(0, 20), (-1, 20), (1, 1), (20, 1), (np.nan, 20), (1, np.inf), ("1", 20), (1, None), (True, 20)],
    )
    def test_bad_ranges_are_refused(self, near: float, far: float) -> None:
        with pytest.raises(InputError, match=r"near_m|far_m"):
            range_scale_shift(landscape(None), near, far)

    def test_a_map_without_contrast_is_refused(self) -> None:
        with pytest.raises(InputError, match="contrast"):
            range_scale_shift(np.full((20, 20), 3.0), 1, 20)
        with pytest.raises(InputError, match="valid"):
            range_scale_shift(landscape(None), 1, 20, np.zeros((200, 100), bool))


class TestDisparityToDepth:
    def test_known_numbers(self) -> None:
        depth = disparity_to_depth([[1.0, 0.5, 0.0, -0.5, np.nan, np.inf, -np.inf]], ScaleShift(2.0, 0.0))
        np.testing.assert_array_equal(depth, np.array([[0.5, 1, np.inf, np.inf, np.nan, np.nan, np.nan]], np.float32))

    def test_shift_moves_infinity(self) -> None:
        depth = disparity_to_depth([[1.0, 0.25, 0.2]], ScaleShift(1.0, -0.25))
        np.testing.assert_allclose(depth, [[4 / 3, np.inf, np.inf]])

    def test_what_lies_beyond_the_limit_is_infinite(self) -> None:
        depth = disparity_to_depth([[1.0, 0.1, 0.099]], ScaleShift(1.0, 0.0), max_depth_m=10)
        np.testing.assert_allclose(depth, [[1, 10, np.inf]])

    @given(seed=seeds, scale=st.floats(0.01, 100), shift=st.floats(0.001, 10))
    def test_fit_and_conversion_agree(self, seed: int, scale: float, shift: float) -> None:
        disparity, depth = scene(seed, scale, shift)
        np.testing.assert_allclose(disparity_to_depth(disparity, ScaleShift(scale, shift)), depth, rtol=1e-5)

    @pytest.mark.parametrize("limit", [0, -1, np.nan, np.inf, "20"])
    def test_bad_limits_are_refused(self, limit: float) -> None:
        with pytest.raises(InputError, match="max_depth_m"):
            disparity_to_depth([[1.0]], ScaleShift(1, 0), max_depth_m=limit)

    @pytest.mark.parametrize(
        "scale", [ScaleShift(0, 1), ScaleShift(-1, 1), ScaleShift(np.nan, 0), ScaleShift(1, np.nan), None, (1.0, 0.0)]
    )
    def test_bad_scales_are_refused(self, scale: ScaleShift) -> None:
        with pytest.raises(InputError, match="scale_shift"):
            disparity_to_depth([[1.0]], scale)


class TestEdges:
    def test_both_sides_of_a_step_are_edges(self) -> None:
        depth = np.ones((4, 6), np.float32)
        depth[:, 3:] = 2
        expected = np.zeros((4, 6), bool)
        expected[:, 2:4] = True
        np.testing.assert_array_equal(depth_edges(depth), expected)
        np.testing.assert_array_equal(depth_edges(depth.T), expected.T)

    def test_the_step_is_relative_to_the_nearer_side(self) -> None:
        assert not depth_edges([[100.0, 104.0]], rtol=0.041).any()
        assert depth_edges([[100.0, 104.0]], rtol=0.039).all()
        assert depth_edges([[104.0, 100.0]], rtol=0.039).all()

    @given(seed=seeds, factor=st.sampled_from([0.001, 0.5, 1000.0]))
    def test_the_unit_does_not_matter(self, seed: int, factor: float) -> None:
        depth = np.random.default_rng(seed).choice([1.0, 1.01, 2.0, np.nan, np.inf], (8, 9))
        np.testing.assert_array_equal(depth_edges(depth), depth_edges(depth * factor))

    def test_the_sky_line_is_an_edge_but_unknown_pixels_are_none(self) -> None:
        assert depth_edges([[1.0, np.inf, np.inf]]).tolist() == [[True, True, False]]
        assert not depth_edges([[1.0, np.nan, 5.0, 0.0, np.inf, -1.0]]).any()

    @pytest.mark.parametrize("rtol", [0, -0.1, np.nan, np.inf, None])
    def test_bad_tolerances_are_refused(self, rtol: float) -> None:
        with pytest.raises(InputError, match="rtol"):
            depth_edges([[1.0, 2.0]], rtol=rtol)
