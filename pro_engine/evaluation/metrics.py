"""How far a relative disparity map is from the truth: alignment, then the errors of the field.

A prediction is known up to a scale and a shift, so it is first fitted to the true disparity (`align`); every error is
measured on the depth 1 / disparity of that fit, at the pixels where the truth is known. Depth has the unit of 1 / true
disparity: metres where that is 1 / m, and otherwise a unit of the dataset's own, in which only ratios mean something.

d is the depth of the fit, d* the true depth, mean the mean over known pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import InputError
from pro_engine.types import BoolMap, FloatMap

Values = NDArray[np.float64]

DELTA_RATIO = 1.25
MIN_MASK_PIXELS = 50
_SHRINK_BY_AREA_FROM = 1.5
_NO_VARIANCE = 1e-20


@dataclass(frozen=True, eq=False)
class Aligned:
    """A prediction fitted to the truth.

    disparity (h, w) float64 on the scale of the truth, above 0; truth (h, w) float64 true disparity, above 0 where
    known (h, w) bool is True. r2: explained variance of the fit. flipped: the fit would have had a negative scale, so
    far and near are swapped and the constant was taken instead. unknown_share: of the prediction's pixels, those that
    were not finite and got its median.
    """

    disparity: Values
    truth: Values
    known: BoolMap
    r2: float
    flipped: bool
    unknown_share: float

    @property
    def depth(self) -> Values:
        """d: (N,) depth of the fit at the known pixels."""
        depth: Values = 1 / self.disparity[self.known]
        return depth

    @property
    def true_depth(self) -> Values:
        """d*: (N,) true depth at the known pixels."""
        depth: Values = 1 / self.truth[self.known]
        return depth


def on_grid(prediction: FloatMap, shape: tuple[int, int]) -> tuple[Values, float]:
    """A prediction (H, W) at `shape` (h, w) as float64, and the share of its pixels that are not finite.

    Those get the median of the others (0 where there is none). Resizing averages areas where the prediction is more
    than 1.5 times as high as the target, and is bilinear otherwise.

    Raises:
        InputError: the prediction is not one map.
    """
    values = np.asarray(prediction, dtype=np.float32)
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"The prediction has the shape {values.shape}; give one (H, W) map.")
    missing = ~np.isfinite(values)
    share = float(missing.mean())
    if share > 0:
        values = np.where(missing, np.median(values[~missing]) if share < 1 else 0.0, values).astype(np.float32)
    if values.shape != shape:
        way = cv2.INTER_AREA if values.shape[0] > _SHRINK_BY_AREA_FROM * shape[0] else cv2.INTER_LINEAR
        values = np.asarray(cv2.resize(values, (shape[1], shape[0]), interpolation=way), dtype=np.float32)
    return values.astype(np.float64), share


def align(prediction: FloatMap, truth: FloatMap, valid: BoolMap) -> Aligned:
    """Fit scale >= 0 and shift of a prediction to the true disparity by least squares, as is usual for relative depth.

    Source: the scale- and shift-invariant protocol of MiDaS (Ranftl et al., TPAMI 2022), in disparity. A fit at or
    below zero would be infinitely far or behind the camera; it is raised to half the smallest true disparity.

    Args:
        prediction: (H, W) relative disparity, larger is nearer; brought to the grid of the truth by `on_grid`.
        truth: (h, w) true disparity; 0 (infinitely far) takes no part, since its depth is no number.
        valid: (h, w) bool, where the truth is known.

    Raises:
        InputError: maps of a wrong form, or a truth without a known pixel above 0.
    """
    if truth.ndim != 2 or valid.shape != truth.shape:
        raise InputError(f"The truth is {truth.shape} and its mask {valid.shape}; give two maps of one size.")
    true = truth.astype(np.float64)
    known = valid & np.isfinite(true) & (true > 0)
    if not known.any():
        raise InputError("The truth has no pixel with a finite depth; leave this item out of accuracy measures.")
    values, share = on_grid(prediction, truth.shape)
    p, g = values[known], true[known]
    p_mean, g_mean = float(p.mean()), float(g.mean())
    p -= p_mean
    variance = float((p**2).mean())
    scale = float((p * (g - g_mean)).mean()) / variance if variance > _NO_VARIANCE else 0.0
    flipped, scale = scale < 0, max(scale, 0.0)
    g_variance = float(g.var())
    left = float(((scale * p - (g - g_mean)) ** 2).mean())
    values -= p_mean
    values *= scale
    values += g_mean
    np.maximum(values, 0.5 * float(g.min()), out=values)
    return Aligned(values, true, known, 1 - left / g_variance if g_variance > 0 else 0.0, flipped, share)


def abs_rel(depth: Values, true_depth: Values) -> float:
    """AbsRel = mean(|d - d*| / d*). No unit; 0 is perfect, lower is better. Source: Eigen et al., NIPS 2014."""
    return float(np.mean(np.abs(depth - true_depth) / true_depth))


def delta(depth: Values, true_depth: Values, power: int) -> float:
    """delta_n = share of pixels with max(d / d*, d* / d) < 1.25^n. 0 to 1; higher is better.

    Source: Ladicky et al., CVPR 2014, as used by Eigen et al., NIPS 2014.
    """
    ratio = np.maximum(depth / true_depth, true_depth / depth)
    return float(np.mean(ratio < DELTA_RATIO**power))


def rmse(depth: Values, true_depth: Values) -> float:
    """RMSE = sqrt(mean((d - d*)^2)). In the unit of the true depth; lower is better. Source: Eigen et al., NIPS 2014.

    Do not average it over datasets whose truth has different units.
    """
    return float(np.sqrt(np.mean((depth - true_depth) ** 2)))


def log10_error(depth: Values, true_depth: Values) -> float:
    """log10 = mean(|log10 d - log10 d*|). No unit; lower is better. Source: Saxena et al., TPAMI 2009."""
    return float(np.mean(np.abs(np.log10(depth) - np.log10(true_depth))))


def silog(depth: Values, true_depth: Values) -> float:
    """SILog = 100 sqrt(mean(e^2) - mean(e)^2), e = ln d - ln d*. No unit; lower is better; blind to a common factor.

    Source: the scale-invariant error of Eigen et al., NIPS 2014, with the root and factor of the KITTI benchmark.
    """
    return 100 * float((np.log(depth) - np.log(true_depth)).std())


def accuracy(aligned: Aligned) -> dict[str, float]:
    """Every error above, and R2 = 1 - sum((D - D*)^2) / sum((D* - mean D*)^2) of the fitted disparity D before it is
    clipped (no unit; 1 is perfect, 0 is as good as a constant; higher is better)."""
    d, t = aligned.depth, aligned.true_depth
    return {
        "absrel": abs_rel(d, t),
        **{f"delta{power}": delta(d, t, power) for power in (1, 2, 3)},
        "rmse": rmse(d, t),
        "log10": log10_error(d, t),
        "silog": silog(d, t),
        "r2": aligned.r2,
    }


def abs_rel_inside(aligned: Aligned, mask: BoolMap) -> float:
    """AbsRel over the known pixels of `mask` (h, w) alone, such as glass, with scale and shift fitted to all of them.

    nan with fewer than 50 such pixels. No unit; lower is better. Source: the per-class errors of Booster (Zama Ramirez
    et al., CVPR 2022), where glass and mirrors are judged apart.

    Raises:
        InputError: a mask of another size.
    """
    if mask.shape != aligned.known.shape:
        raise InputError(f"The mask is {mask.shape} and the truth {aligned.known.shape}; give a mask of its size.")
    inside = aligned.known & mask
    if np.count_nonzero(inside) < MIN_MASK_PIXELS:
        return float("nan")
    return abs_rel(1 / aligned.disparity[inside], 1 / aligned.truth[inside])


def consistency_error(first: FloatMap, second: FloatMap, shared: BoolMap) -> float:
    """CE = mean(|A - B|) / mean(|A - median(A)|) over the pixels that both predictions cover.

    A and B (H, W) are disparities of one picture with patches half a patch apart, so that every pixel of `shared` lies
    in two different patches. No unit; 0 says that it does not matter where patch borders lie, lower is better; 0.01 is
    one percent of the map's mean absolute deviation. nan where nothing is shared or A is constant.

    Source: PatchFusion (Li et al., CVPR 2024), which takes the mean absolute difference of depth in metres over the
    overlap of patches that are shifted by half their size. Dividing by the deviation makes it independent of the scale
    of relative disparity.
    """
    a, b = first[shared].astype(np.float64), second[shared].astype(np.float64)
    if a.size == 0:
        return float("nan")
    spread = float(np.mean(np.abs(a - np.median(a))))
    return float(np.mean(np.abs(a - b))) / spread if spread > 0 else float("nan")
