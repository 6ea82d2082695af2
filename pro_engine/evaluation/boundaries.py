"""How well a map keeps the outlines of things: edges of depth, of mattes, and of neighbouring regions.

Two families. Recall and precision within 2 pixels forgive a displaced or softened outline and suit small, blurry maps.
The measures of Depth Pro demand the step between exactly the same two pixels and are what papers on high resolution
report. All work on disparity above 0, where the ratio of two disparities is the inverse ratio of their depths.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pro_engine.evaluation.metrics import Aligned, Values
from pro_engine.types import BoolMap

Matte = NDArray[np.uint8]

EDGE_RATIO = 1.05
MIN_EDGES = 200
MATTE_STEP = 0.02  # of the range between the 1st and 99th percentile
MATTE_BAND_PX = 41
_NEAR = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
_WINDOW = np.ones((5, 5), np.uint8)

THRESHOLDS = np.linspace(1.05, 1.25, 10)
WEIGHTS = THRESHOLDS / THRESHOLDS.sum()
ALPHA_THRESHOLD = 0.1


def edge_measures(aligned: Aligned) -> dict[str, float]:
    """Recall and precision of depth edges with a tolerance of 2 pixels. Empty with fewer than 200 true edge pixels.

    An edge pixel has a depth ratio above 1.05 to its right or lower neighbour.
    - edge_recall: share of true edge pixels with a predicted one inside the 5 x 5 ellipse around them.
    - edge_precision: share of predicted edge pixels with a true one inside that ellipse, of those whose 7 x 7
      neighbourhood is known throughout; 0 where nothing is predicted.
    - soft_recall: share of true edge pixels in whose 5 x 5 window the prediction varies by more than a ratio of 1.05; a
      blurred step counts, so this tells models with soft outlines apart.

    All from 0 to 1, higher is better. Source: boundary recall and precision as in Hu et al., WACV 2019, with ratios in
    place of absolute steps.
    """
    truth, known = aligned.truth, aligned.known
    true_edges = _ratio_edges(truth, known)
    if np.count_nonzero(true_edges) < MIN_EDGES:
        return {}
    found = _ratio_edges(aligned.disparity, np.ones_like(known))
    smooth = aligned.disparity.astype(np.float32)
    varies = cv2.dilate(smooth, _WINDOW) > EDGE_RATIO * cv2.erode(smooth, _WINDOW)
    inner = cv2.erode(known.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    judged = found & inner
    return {
        "edge_recall": float(_near(found)[true_edges].mean()),
        "edge_precision": float(_near(true_edges)[judged].mean()) if judged.any() else 0.0,
        "soft_recall": float(varies[true_edges].mean()),
    }


def matte_measures(prediction: Values, matte: Matte) -> dict[str, float]:
    """Recall and precision of a matte's outline with a tolerance of 2 pixels.

    The outline is the outer border of alpha >= 128, away from the picture's own border; a predicted edge is a step to
    the right or lower neighbour above 2 % of the range between the prediction's 1st and 99th percentile.
    - matte_recall: share of the outline with a predicted edge inside the 5 x 5 ellipse.
    - matte_precision: share of the predicted edges within 20 pixels of the outline that have it inside that ellipse;
      0 where there is none.

    From 0 to 1, higher is better. Empty where the matte has no outline. Source: our own, for maps too soft for
    `matte_boundary_recall`.

    Args:
        prediction: (H, W) disparity on the grid of the matte.
        matte: (H, W) uint8, 255 is foreground.
    """
    front = (matte >= 128).astype(np.uint8)
    outline = (cv2.dilate(front, np.ones((3, 3), np.uint8)) - front) > 0
    outline[[0, -1]] = False
    outline[:, [0, -1]] = False
    if not outline.any():
        return {}
    low, high = np.percentile(prediction, (1, 99))
    step = MATTE_STEP * max(float(high - low), 1e-12)
    found = np.zeros(matte.shape, dtype=np.bool_)
    found[:-1] |= np.abs(np.diff(prediction, axis=0)) > step
    found[:, :-1] |= np.abs(np.diff(prediction, axis=1)) > step
    judged = found & (cv2.dilate(outline.astype(np.uint8), np.ones((MATTE_BAND_PX, MATTE_BAND_PX), np.uint8)) > 0)
    return {
        "matte_recall": float(_near(found)[outline].mean()),
        "matte_precision": float(_near(outline)[judged].mean()) if judged.any() else 0.0,
    }


def boundary_f1(aligned: Aligned) -> float:
    """Boundary F1 = sum_t w_t * 2 P_t R_t / (P_t + R_t) over ten ratios t from 1.05 to 1.25, w_t = t / sum(t).

    For each of four directions (nearer on the left, right, upper or lower side) an occluding contour at t is a pair of
    neighbours whose depth ratio exceeds t. P_t and R_t are the means over directions of the shares of predicted and of
    true pairs that are both; a direction without pairs counts as 0, and F1 is 0 where P_t + R_t is. Only pairs with
    both pixels known count.

    From 0 to 1, higher is better. nan where the truth has no pair at 1.05. Source: Depth Pro (Bochkovskii et al., ICLR
    2025), section 3.2, with the prediction fitted to the truth first, as PRO (Kwon and Kim, ICCV 2025) does.
    """
    found, true = _ratios(aligned.disparity), _ratios(aligned.truth, aligned.known)
    both_known = [np.isfinite(ratio) for ratio in true]
    if not any(np.any(ratio > THRESHOLDS[0]) for ratio in true):
        return float("nan")
    score = 0.0
    for threshold, weight in zip(THRESHOLDS, WEIGHTS, strict=True):
        recall = precision = 0.0
        for f, t, known in zip(found, true, both_known, strict=True):
            predicted, wanted = known & (f > threshold), t > threshold
            recall += _share(predicted & wanted, wanted) / 4
            precision += _share(predicted & wanted, predicted) / 4
        if recall + precision > 0:
            score += float(weight) * 2 * recall * precision / (recall + precision)
    return score


def matte_boundary_recall(prediction: Values, matte: Matte) -> float:
    """BR = sum_t w_t * R_t over ten ratios t from 1.05 to 1.25, w_t = t / sum(t).

    The prediction is scaled to 0..1 (minimum to maximum) and raised to 1.2e-7 at least, since ratios need values above
    0. For each of four directions a predicted contour at t is a pair of neighbours whose ratio exceeds t and is the
    first largest of its run of such pairs along that direction; a true one is a pair with alpha > 0.1 on the nearer
    side alone. R_t is the mean over directions of the shares of true pairs that are predicted; a direction without true
    pairs counts as 0.

    From 0 to 1, higher is better. nan where the matte has no outline. Source: Depth Pro (Bochkovskii et al., ICLR 2025)
    for mattes; on min-max disparity as PRO (Kwon and Kim, ICCV 2025) reports it for DIS-5K.

    Args:
        prediction: (H, W) disparity on the grid of the matte.
        matte: (H, W) uint8, 255 is foreground.
    """
    low, high = float(prediction.min()), float(prediction.max())
    values = (prediction - low) / (high - low) if high > low else np.zeros_like(prediction)
    ratios = _ratios(np.maximum(values, float(np.finfo(np.float32).eps)))
    front = matte > ALPHA_THRESHOLD * 255
    across, down = (front[:, 1:], front[:, :-1]), (front[1:], front[:-1])
    wanted = [a & ~b for a, b in (across, across[::-1], down, down[::-1])]
    if not any(w.any() for w in wanted):
        return float("nan")
    score = 0.0
    for threshold, weight in zip(THRESHOLDS, WEIGHTS, strict=True):
        for i, (ratio, true) in enumerate(zip(ratios, wanted, strict=True)):
            thin = _thinned(ratio, float(threshold)) if i < 2 else _thinned(ratio.T, float(threshold)).T
            score += float(weight) * _share(thin & true, true) / 4
    return score


def _ratio_edges(disparity: Values, known: BoolMap) -> BoolMap:
    """(h, w): pixels with a ratio above 1.05 to the right or lower neighbour, both known."""
    edges = np.zeros(disparity.shape, dtype=np.bool_)
    for first, second in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        a, b = disparity[first], disparity[second]
        jump = np.maximum(a, b) > EDGE_RATIO * np.minimum(a, b)
        edges[first] |= known[first] & known[second] & jump
    return edges


def _share(part: BoolMap, whole: BoolMap) -> float:
    """Pixels of `part` over those of `whole`; 0 where that has none."""
    return int(part.sum()) / max(int(whole.sum()), 1)


def _near(edges: BoolMap) -> BoolMap:
    """Pixels with an edge inside the 5 x 5 ellipse around them."""
    near: BoolMap = cv2.dilate(edges.astype(np.uint8), _NEAR) > 0
    return near


def _ratios(disparity: Values, known: BoolMap | None = None) -> list[Values]:
    """Ratios of neighbours: right over left, left over right (h, w - 1), lower over upper, upper over lower (h - 1, w);
    nan where one of the two is not known."""
    values = disparity if known is None else np.where(known, disparity, np.nan)
    across, down = (values[:, 1:], values[:, :-1]), (values[1:], values[:-1])
    return [a / b for a, b in (across, across[::-1], down, down[::-1])]


def _thinned(ratio: Values, threshold: float) -> BoolMap:
    """Of every run of entries above `threshold` along a row, the first of the largest."""
    above = ratio > threshold
    starts = above.copy()
    starts[:, 1:] &= ~above[:, :-1]
    values = ratio[above]  # row by row, so the runs come one after the other
    kept = np.zeros(values.size, dtype=np.bool_)
    first = np.flatnonzero(starts[above])
    if first.size:
        lengths = np.diff(np.append(first, values.size))
        is_largest = values == np.repeat(np.maximum.reduceat(values, first), lengths)
        place = np.where(is_largest, np.arange(values.size), values.size)
        kept[np.minimum.reduceat(place, first)] = True
    thin = np.zeros_like(above)
    thin[above] = kept
    return thin
