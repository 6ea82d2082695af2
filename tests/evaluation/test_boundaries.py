"""Edges, mattes, contours and order on maps whose edges can be counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pro_engine.evaluation.boundaries import (
    THRESHOLDS,
    WEIGHTS,
    boundary_f1,
    edge_measures,
    matte_boundary_recall,
    matte_measures,
)
from pro_engine.evaluation.metrics import Aligned
from pro_engine.evaluation.ordinal import d3r, discontinuity_pairs, superpixels

BOTH = {"edge_recall": 1.0, "edge_precision": 1.0, "soft_recall": 1.0}


def pair(disparity: np.ndarray, truth: np.ndarray, known: np.ndarray | None = None) -> Aligned:
    """A fit as it is, without fitting."""
    known = np.ones(truth.shape, dtype=bool) if known is None else known
    return Aligned(disparity.astype(np.float64), truth.astype(np.float64), known, 0.0, False, 0.0)


def halves(height: int, width: int, column: int, near: float = 2.0) -> np.ndarray:
    """Disparity 1 to the left of a column, `near` from it on."""
    values = np.ones((height, width))
    values[:, column:] = near
    return values


def test_edges_of_the_truth_itself():
    truth = halves(300, 60, 30)
    assert edge_measures(pair(truth, truth)) == BOTH


@pytest.mark.parametrize(("moved", "recall"), [(2, 1.0), (3, 0.0), (-2, 1.0), (-3, 0.0)])
def test_edges_may_be_two_pixels_off(moved, recall):
    truth, found = halves(300, 60, 30), halves(300, 60, 30 + moved)
    scores = edge_measures(pair(found, truth))
    assert (scores["edge_recall"], scores["edge_precision"]) == (recall, recall)


def test_half_of_an_edge_and_a_false_one():
    truth, found = halves(400, 60, 30), halves(400, 60, 30)
    found[:200] = 1
    found[:, :10] = 0.5  # a false edge as long as the true one, a column from 9 to 10
    scores = edge_measures(pair(found, truth))
    assert scores["edge_recall"] == pytest.approx(202 / 400)  # two rows further are within 2 pixels of the found half
    # Found: 400 false, 200 right, and 30 along the upper end of the found half, of which 2 are near the true edge.
    assert scores["edge_precision"] == pytest.approx(202 / 630)


def test_a_soft_step_counts_only_softly():
    ramp = np.clip((np.arange(100) - 40) / 20, 0, 1)[None] + 1  # 1 to 2 over 20 pixels: 5 % to 2.5 % a pixel
    scores = edge_measures(pair(np.repeat(ramp, 300, axis=0), halves(300, 100, 50)))
    assert scores["edge_recall"] == 0
    assert scores["soft_recall"] == 1


def test_edges_at_unknown_pixels_and_too_few_of_them():
    truth = halves(300, 60, 30)
    known = np.ones(truth.shape, dtype=bool)
    known[:, 29] = False
    assert edge_measures(pair(truth, truth, known)) == {}
    assert edge_measures(pair(truth[:199], truth[:199])) == {}
    assert edge_measures(pair(truth[:200], truth[:200])) == BOTH


def test_contours_of_the_truth_itself_in_one_direction():
    """One of four directions has contours, so recall and precision are 1/4 each."""
    truth = halves(4, 6, 3, near=1.5)
    assert boundary_f1(pair(truth, truth)) == pytest.approx(0.25)
    assert math.isnan(boundary_f1(pair(truth, np.ones((4, 6)))))
    assert boundary_f1(pair(np.ones((4, 6)), truth)) == 0


def test_contours_by_hand():
    """A square one pixel off to the right: nothing of its left and right side, 3 of 4 of its upper and lower side."""
    truth, found = np.ones((10, 10)), np.ones((10, 10))
    truth[3:7, 3:7] = 2
    found[3:7, 4:8] = 2
    assert boundary_f1(pair(truth, truth)) == pytest.approx(1)
    assert boundary_f1(pair(found, truth)) == pytest.approx((0 + 0 + 3 / 4 + 3 / 4) / 4)


def test_weights_favour_large_steps():
    """A found step of 1.15 beside a true one of 1.3 is there at the lower thresholds alone."""
    truth, found = halves(4, 6, 3, near=1.3), halves(4, 6, 3, near=1.15)
    seen = WEIGHTS[THRESHOLDS < 1.15].sum()
    assert boundary_f1(pair(found, truth)) == pytest.approx(0.25 * seen)
    assert 0 < seen < (THRESHOLDS < 1.15).mean()


def test_contours_at_unknown_pixels_do_not_count():
    truth, found = np.ones((6, 6)), np.ones((6, 6))
    truth[2:4, 2:4] = found[2:4, 2:4] = 2
    found[0, 0] = 5
    known = np.ones((6, 6), dtype=bool)
    assert boundary_f1(pair(found, truth)) < 1
    known[0, 0] = False
    assert boundary_f1(pair(found, truth, known)) == pytest.approx(1)


def matte_of(values: np.ndarray) -> np.ndarray:
    return np.where(values > 1, 255, 0).astype(np.uint8)


def test_matte_recall_of_depth_pro_by_hand():
    found = np.full((10, 10), 0.5)
    found[3:7, 3:7] = 1
    found[0, 0] = 0  # fixes the scale: min-max leaves 0, 0.5 and 1
    matte = np.zeros((10, 10), dtype=np.uint8)
    matte[3:7, 3:7] = 255
    assert matte_boundary_recall(found, matte) == pytest.approx(1)
    matte[3:7, 7] = 26  # just above 0.1: the outline on the right is one further out, those above and below longer
    assert matte_boundary_recall(found, matte) == pytest.approx((1 + 0 + 4 / 5 + 4 / 5) / 4)
    matte[3:7, 7] = 25
    assert matte_boundary_recall(found, matte) == pytest.approx(1)
    assert math.isnan(matte_boundary_recall(found, np.full((10, 10), 255, dtype=np.uint8)))
    assert matte_boundary_recall(np.ones((10, 10)), matte) == 0


@pytest.mark.parametrize(("start", "hit"), [(2, 0), (3, 1), (4, 0), (6, 1)])
def test_of_a_run_of_steps_the_first_largest_counts(start, hit):
    """Ratios 1, 1.5, 2, 2, 1, 1.7 along each row: the contours are the first 2 and the 1.7."""
    row = np.array([0.1, 0.1, 0.15, 0.3, 0.6, 0.6, 1.0])
    found = np.stack([row, row, row, 0 * row])  # the last row fixes the scale, and is an outline below, always found
    matte = np.zeros(found.shape, dtype=np.uint8)
    matte[:3, start:] = 255
    assert matte_boundary_recall(found, matte) == pytest.approx((hit + 1) / 4)


def test_mattes_with_a_tolerance():
    values = halves(100, 80, 40)
    assert matte_measures(values, matte_of(values)) == {"matte_recall": 1.0, "matte_precision": 1.0}
    off = matte_measures(halves(100, 80, 50), matte_of(values))
    assert off == {"matte_recall": 0.0, "matte_precision": 0.0}
    far = matte_measures(halves(100, 80, 65), matte_of(values))
    assert far == {"matte_recall": 0.0, "matte_precision": 0.0}
    false = values.copy()
    false[:, :30] = 0  # 10 pixels beside the outline
    assert matte_measures(false, matte_of(values)) == {"matte_recall": 1.0, "matte_precision": 0.5}
    assert matte_measures(values, np.zeros((100, 80), dtype=np.uint8)) == {}


def test_order_of_regions():
    truth = halves(120, 80, 40, near=2.0)
    assert d3r(pair(truth, truth)) == 0
    assert d3r(pair(np.ones_like(truth), truth)) == 1
    assert d3r(pair(1 / truth, truth)) == 2
    assert d3r(pair(halves(120, 80, 40, near=1.02), truth)) == 0  # more than 1 %: the right order
    assert d3r(pair(halves(120, 80, 40, near=1.005), truth)) == 1
    assert math.isnan(d3r(pair(truth, halves(120, 80, 40, near=1.09))))  # no discontinuity


def test_superpixels_follow_the_truth_and_pairs_span_its_edges():
    truth = halves(120, 80, 41)
    known = np.ones(truth.shape, dtype=bool)
    known[:, 70:] = False
    labels = superpixels(truth, known)
    assert (labels[~known] == -1).all() and labels[known].min() == 0
    assert set(np.unique(labels[known])) == set(range(labels.max() + 1))
    assert not set(labels[:, :41].ravel()) & set(labels[:, 41:70].ravel())
    first, second = discontinuity_pairs(truth, known)
    columns = np.sort(np.stack([first % 80, second % 80]), axis=0)
    assert first.size > 20
    assert (columns[0] < 41).all() and (columns[1] >= 41).all() and (columns[1] - columns[0] < 12).all()


def test_large_truths_are_thinned():
    truth = halves(900, 1200, 600)
    first, second = discontinuity_pairs(truth, np.ones(truth.shape, dtype=bool))
    assert (first % 1200 % 2 == 0).all() and (first // 1200 % 2 == 0).all()
    assert (truth.ravel()[first] != truth.ravel()[second]).all()
