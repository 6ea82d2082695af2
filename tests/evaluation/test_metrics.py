"""Alignment and errors on maps small enough to work out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pro_engine.errors import InputError
from pro_engine.evaluation import metrics
from pro_engine.evaluation.metrics import abs_rel_inside, accuracy, align, consistency_error, on_grid


def f32(rows) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def everywhere(values: np.ndarray) -> np.ndarray:
    return np.ones(values.shape, dtype=bool)


DEPTH = np.array([1.0, 2.0, 4.0, 4.0])  # of a prediction
TRUE = np.array([1.0, 1.0, 2.0, 8.0])


def test_errors_by_hand():
    assert metrics.abs_rel(DEPTH, TRUE) == pytest.approx((0 + 1 + 1 + 0.5) / 4)
    assert metrics.delta(DEPTH, TRUE, 1) == 0.25
    assert metrics.delta(np.array([1.24, 1.5, 1.9, 2.0]), np.ones(4), 1) == 0.25
    assert metrics.delta(np.array([1.24, 1.5, 1.9, 2.0]), np.ones(4), 2) == 0.5
    assert metrics.delta(np.array([1.24, 1.5, 1.9, 2.0]), np.ones(4), 3) == 0.75
    assert metrics.delta(np.ones(4), np.array([1.24, 1.5, 1.9, 2.0]), 3) == 0.75  # the same the other way round
    assert metrics.rmse(DEPTH, TRUE) == pytest.approx(math.sqrt((0 + 1 + 4 + 16) / 4))
    assert metrics.log10_error(DEPTH, TRUE) == pytest.approx(3 * math.log10(2) / 4)
    two = math.log(2)  # e = 0, ln 2, ln 2, -ln 2
    assert metrics.silog(DEPTH, TRUE) == pytest.approx(100 * math.sqrt(3 * two**2 / 4 - (two / 4) ** 2))
    assert metrics.silog(7 * DEPTH, TRUE) == pytest.approx(metrics.silog(DEPTH, TRUE))


def test_an_affine_map_of_the_truth_is_perfect():
    truth = f32([[0.1, 0.2, 0.4], [0.5, 0.8, 1.0]])
    found = accuracy(align(300 * truth - 7, truth, everywhere(truth)))
    assert found["absrel"] < 1e-5 and found["rmse"] < 1e-4 and found["log10"] < 1e-5 and found["silog"] < 1e-2
    assert found["delta1"] == found["delta2"] == found["delta3"] == 1
    assert found["r2"] == pytest.approx(1)


def test_fit_by_hand():
    """x = 0 1 2 3 against y = 1 3 2 6: slope 1.4, mean y 3; y by the line 0.9 2.3 3.7 5.1."""
    aligned = align(f32([[0, 1], [2, 3]]), f32([[1, 3], [2, 6]]), np.ones((2, 2), dtype=bool))
    np.testing.assert_allclose(aligned.disparity, [[0.9, 2.3], [3.7, 5.1]], rtol=1e-6)
    assert aligned.r2 == pytest.approx(1 - (0.1**2 + 0.7**2 + 1.7**2 + 0.9**2) / (4 + 0 + 1 + 9))
    assert not aligned.flipped
    expected = np.mean([1 / 0.9 - 1, 3 / 2.3 - 1, 1 - 2 / 3.7, 6 / 5.1 - 1])
    assert accuracy(aligned)["absrel"] == pytest.approx(expected)


def test_a_fit_behind_the_camera_is_raised_to_half_the_smallest_truth():
    truth = f32([[1, 1, 1, 1, 9]])
    aligned = align(f32([[0, 4, 4, 4, 9]]), truth, everywhere(truth))
    x, y = np.array([0, 4, 4, 4, 9]), np.array([1, 1, 1, 1, 9])
    slope, offset = np.polyfit(x, y, 1)
    assert offset < 0
    np.testing.assert_allclose(aligned.disparity[0], np.maximum(slope * x + offset, 0.5), rtol=1e-6)
    assert aligned.r2 == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)  # of the fit as it was


def test_a_map_that_is_upside_down_becomes_a_constant():
    truth = f32([[1, 2, 3]])
    aligned = align(f32([[9, 5, 1]]), truth, everywhere(truth))
    assert aligned.flipped
    np.testing.assert_allclose(aligned.disparity, 2)
    assert aligned.r2 == pytest.approx(0)
    assert not align(f32([[4, 4, 4]]), truth, everywhere(truth)).flipped


def test_unknown_and_infinite_truth_takes_no_part():
    truth = f32([[1, 2, 3, 0, np.nan, 50]])
    valid = np.array([[True, True, True, True, True, False]])
    aligned = align(f32([[2, 4, 6, 100, 100, 100]]), truth, valid)
    assert aligned.known.tolist() == [[True, True, True, False, False, False]]
    assert accuracy(aligned)["absrel"] == pytest.approx(0, abs=1e-6)


def test_prediction_is_brought_to_the_grid_of_the_truth():
    fine = np.arange(16, dtype=np.float32).reshape(4, 4)
    values, share = on_grid(fine, (2, 2))
    np.testing.assert_allclose(values, [[2.5, 4.5], [10.5, 12.5]])  # means of 2 x 2
    assert share == 0
    values, share = on_grid(f32([[1, np.nan], [3, 5]]), (2, 2))
    np.testing.assert_allclose(values, [[1, 3], [3, 5]])  # the median of 1, 3, 5
    assert share == 0.25
    assert on_grid(np.full((2, 2), np.nan, dtype=np.float32), (1, 1)) == (np.zeros((1, 1)), 1.0)


def test_errors_inside_a_mask_use_the_fit_of_all():
    truth = np.tile(f32([1, 2]), (10, 10))  # (10, 20)
    prediction = truth.copy()
    glass = np.zeros(truth.shape, dtype=bool)
    glass[:5, ::2] = True  # 50 pixels whose truth is 1
    aligned = align(prediction, truth, everywhere(truth))
    object.__setattr__(aligned, "disparity", np.where(glass, 2.0, aligned.disparity))
    assert abs_rel_inside(aligned, glass) == pytest.approx(0.5)
    assert abs_rel_inside(aligned, ~glass) == pytest.approx(0, abs=1e-6)
    glass[0, 0] = False
    assert math.isnan(abs_rel_inside(aligned, glass))


def test_consistency_error_by_hand():
    first = f32([[0, 2, 4, 6]])  # median 3, deviation 2
    second = f32([[0, 2.5, 4.5, 100]])
    shared = np.array([[True, True, True, False]])
    assert consistency_error(first, second, shared) == pytest.approx((1 / 3) / (4 / 3))
    assert consistency_error(first, first, shared) == 0
    assert consistency_error(10 * first + 3, 10 * second + 3, shared) == pytest.approx(0.25)
    assert math.isnan(consistency_error(first, second, np.zeros((1, 4), dtype=bool)))
    assert math.isnan(consistency_error(np.ones_like(first), second, shared))


@pytest.mark.parametrize(
    ("prediction", "truth", "valid", "message"),
    [
        (np.ones((2, 2, 3)), np.ones((2, 2)), np.ones((2, 2)), "one (H, W) map"),
        (np.ones((2, 2)), np.ones((2, 2)), np.ones((2, 3)), "two maps of one size"),
        (np.ones((2, 2)), np.ones((2, 2)), np.zeros((2, 2)), "no pixel with a finite depth"),
        (np.ones((2, 2)), np.zeros((2, 2)), np.ones((2, 2)), "no pixel with a finite depth"),
    ],
)
def test_bad_maps(prediction, truth, valid, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)")):
        align(prediction.astype(np.float32), truth.astype(np.float32), valid.astype(bool))


def test_a_mask_of_another_size_is_refused():
    truth = f32([[1, 2]])
    with pytest.raises(InputError, match="mask of its size"):
        abs_rel_inside(align(truth, truth, everywhere(truth)), np.ones((2, 2), dtype=bool))


def test_a_random_example_against_plain_loops():
    """The whole protocol once more, pixel by pixel and without numpy's help."""
    rng = np.random.default_rng(3)
    truth = rng.uniform(0.2, 2, (30, 40)).astype(np.float32)
    prediction = (truth + rng.normal(0, 0.3, truth.shape)).astype(np.float32) * 5 - 20
    valid = rng.random(truth.shape) < 0.7
    pairs = [(float(p), float(t)) for p, t, v in zip(prediction.flat, truth.flat, valid.flat, strict=True) if v]
    n = len(pairs)
    p_mean, t_mean = sum(p for p, _ in pairs) / n, sum(t for _, t in pairs) / n
    scale = sum((p - p_mean) * (t - t_mean) for p, t in pairs) / sum((p - p_mean) ** 2 for p, _ in pairs)
    lowest = min(t for _, t in pairs) / 2
    lines = [scale * (p - p_mean) + t_mean for p, _ in pairs]
    depths = [(1 / max(line, lowest), 1 / t) for line, (_, t) in zip(lines, pairs, strict=True)]
    found = accuracy(align(prediction, truth, valid))
    assert found["absrel"] == pytest.approx(sum(abs(d - t) / t for d, t in depths) / n)
    assert found["delta1"] == pytest.approx(sum(max(d / t, t / d) < 1.25 for d, t in depths) / n)
    left = sum((line - t) ** 2 for line, (_, t) in zip(lines, pairs, strict=True))
    assert found["r2"] == pytest.approx(1 - left / sum((t - t_mean) ** 2 for _, t in pairs))
