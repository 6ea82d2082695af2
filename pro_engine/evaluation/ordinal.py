"""D3R: whether neighbouring regions of the truth that lie at different depths are in the right order."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pro_engine.evaluation.metrics import Aligned, Values
from pro_engine.types import BoolMap

Labels = NDArray[np.int64]

REGIONS = 5000
STEP_RATIO = 0.1  # true depths of two regions that differ by less make no discontinuity
ORDER_RATIO = 0.01  # depths that differ by less count as equal
MIN_PAIRS = 20
_COMPACTNESS = 0.1  # the share of the disparity's range that weighs as much as one grid step
_ROUNDS = 5
_MIN_REGION_SIDE_PX = 4
_MAX_PIXELS = 400_000


def d3r(aligned: Aligned) -> float:
    """Depth discontinuity disagreement ratio: mean over pairs of |ord(true) - ord(predicted)|.

    Pairs are centres of touching superpixels of the true disparity (about 5000 of them) whose true depths differ by a
    ratio above 1.1; ord is 1, 0 or -1 as the first depth is more than 1 % smaller, about the same, or more than 1 %
    larger. A pair that is flat in the prediction costs 1, one in the wrong order 2.

    From 0 to 2, lower is better. nan with fewer than 20 pairs. Source: Miangoleh et al., CVPR 2021 ("Boosting monocular
    depth"). Ours differs in the superpixels: SLIC with a fixed compactness on min-max disparity, on every n-th pixel
    where the truth is larger than 0.4 megapixels, over known pixels only, and a centre is the pixel of the superpixel
    that is closest to its mean rather than the mean, which may lie outside.
    """
    first, second = discontinuity_pairs(aligned.truth, aligned.known)
    if first.size < MIN_PAIRS:
        return float("nan")
    predicted, true = aligned.disparity.ravel(), aligned.truth.ravel()
    wrong = np.abs(_order(true[first], true[second]) - _order(predicted[first], predicted[second]))
    return float(wrong.mean())


def discontinuity_pairs(truth: Values, known: BoolMap) -> tuple[Labels, Labels]:
    """Flat indices (N,) into the truth (h, w) of both centres of every pair of touching superpixels whose depths differ
    by a ratio above 1.1."""
    step = max(1, math.ceil(math.sqrt(truth.size / _MAX_PIXELS)))
    labels = superpixels(truth[::step, ::step], known[::step, ::step])
    rows, columns = np.divmod(_centres(labels), labels.shape[1])
    centres = (rows * step) * truth.shape[1] + columns * step
    pairs = _touching(labels)
    first, second = centres[pairs[:, 0]], centres[pairs[:, 1]]
    a, b = truth.ravel()[first], truth.ravel()[second]
    apart = np.maximum(a, b) > (1 + STEP_RATIO) * np.minimum(a, b)
    return first[apart], second[apart]


def superpixels(truth: Values, known: BoolMap) -> Labels:
    """SLIC superpixels (h, w) of a disparity map, numbered from 0 without gaps; -1 where it is not known.

    A pixel belongs to that of the nine superpixels seeded around it whose mean is closest in
    (difference of disparity / (0.1 x range))^2 + (distance / grid step)^2. Source: Achanta et al., TPAMI 2012.
    """
    h, w = truth.shape
    side = max(math.sqrt(truth.size / REGIONS), _MIN_REGION_SIDE_PX)
    rows, columns = max(1, round(h / side)), max(1, round(w / side))
    y, x = (axis.astype(np.float32) for axis in np.mgrid[:h, :w])
    low, high = float(truth[known].min()), float(truth[known].max())
    value = (np.where(known, truth, low) / max(_COMPACTNESS * (high - low), 1e-30)).astype(np.float32)
    home_row, home_column = (y * rows / h).astype(np.int64), (x * columns / w).astype(np.int64)
    labels = home_row * columns + home_column
    for _ in range(_ROUNDS):
        means = [_means(axis, labels, known, rows * columns) for axis in (value, y / side, x / side)]
        best = np.full((h, w), np.inf, dtype=np.float32)
        for row_step, column_step in np.ndindex(3, 3):
            row, column = home_row + row_step - 1, home_column + column_step - 1
            inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            candidate = np.where(inside, row * columns + column, 0)
            cost = sum(
                (axis - mean[candidate]) ** 2 for axis, mean in zip((value, y / side, x / side), means, strict=True)
            )
            better = inside & (cost < best)
            best[better] = cost[better]
            labels[better] = candidate[better]
    numbered = np.full((h, w), -1, dtype=np.int64)
    numbered[known] = np.unique(labels[known], return_inverse=True)[1].reshape(-1)
    return numbered


def _means(values: NDArray[np.float32], labels: Labels, known: BoolMap, count: int) -> NDArray[np.float32]:
    """Mean of the known values of each label; inf where a label has none, so that nothing is close to it."""
    sizes = np.bincount(labels[known], minlength=count)
    sums = np.bincount(labels[known], weights=values[known], minlength=count)
    return np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf).astype(np.float32)


def _centres(labels: Labels) -> Labels:
    """For each label the flat index of its pixel that is closest to the mean of its pixels."""
    at = np.flatnonzero(labels >= 0)
    label = labels.ravel()[at]
    rows, columns = np.divmod(at, labels.shape[1])
    sizes = np.bincount(label)
    offsets = [axis - (np.bincount(label, weights=axis) / sizes)[label] for axis in (rows, columns)]
    order = np.lexsort((offsets[0] ** 2 + offsets[1] ** 2, label))
    return at[order[np.searchsorted(label[order], np.arange(sizes.size))]]


def _touching(labels: Labels) -> Labels:
    """(N, 2) pairs of labels, the smaller one first, that are 4-neighbours anywhere."""
    sides = [(labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])]
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], axis=1) for a, b in sides])
    pairs = pairs[(pairs.min(axis=1) >= 0) & (pairs[:, 0] != pairs[:, 1])]
    return np.unique(np.sort(pairs, axis=1), axis=0)


def _order(first: Values, second: Values) -> NDArray[np.int64]:
    """1 where the first disparity is more than 1 % larger, -1 where it is more than 1 % smaller, else 0."""
    ratio = first / second
    return np.where(ratio > 1 + ORDER_RATIO, 1, np.where(ratio < 1 / (1 + ORDER_RATIO), -1, 0))
