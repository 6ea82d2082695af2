"""The line between disparity and inverse depth: fitted to samples of a sensor, carried to other frames, smoothed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ros2_pro.scale.sensor_samples import Samples

Vector = NDArray[np.float64]
FloatMap = NDArray[np.float32]
BoolMap = NDArray[np.bool_]

AGREEMENT_RATIO = 1.25  # a sample agrees when fitted and measured depth are within this factor
ALIKE_RATIO = 1.5  # fits whose depths typically differ by more do not continue each other
MIN_CORRELATION = 0.2  # of disparity and inverse depth; below, the sensor sees something else or but one distance
CORRELATION_SIGMAS = 3.0  # above what chance gives so few samples
JUMP = 0.05  # step between neighbouring pixels, of the disparity's range: an outline, where no sample is taken

START_RATIO = 5.0  # samples within this factor of the median start the fit
ITERATIONS = 10
FIT_SAMPLES = 5000  # more make the line no better
RELATIVE_FLOOR = 0.3  # of the median inverse depth: errors grow with inverse depth, from this on
SMALL_ERROR = 0.02  # relative; smaller ones weigh no more
TUKEY = 4.685  # in standard deviations: 95 % efficient where errors are normal
SIGMA_PER_MAD = 1.4826  # median absolute deviation of a normal distribution to its standard deviation

QUANTILES = np.linspace(0.02, 0.98, 49)
GRID_PIXELS = 8192  # of the disparity, for its quantiles
TRIM_SIGMAS, TRIMMINGS = 2.5, 6
CONFIDENCE = 6.0  # two parameters at 95 %: 2 F(2, many)
INDEPENDENT_SAMPLES = 200  # at most: a model's errors at neighbouring samples are one error


class Line(NamedTuple):
    """Inverse depth in 1/m as `slope * disparity + offset`."""

    slope: float
    offset: float

    def at(self, disparity: Vector) -> Vector:
        """Inverse depth (N,) in 1/m at disparities (N,)."""
        return self.slope * disparity + self.offset


@dataclass(frozen=True, eq=False)
class Fit:
    """A line, the disparities (K,) of the samples that agree with it, and the variance of their inverse depth about it.

    `inlier_share` is K of the number of `samples`.
    """

    line: Line
    agreeing: Vector
    variance: float
    inlier_share: float
    samples: int


class NoFitError(Exception):
    """Samples that give no usable fit; the text says why, the rest how near they came."""

    def __init__(self, text: str, *, inlier_share: float = 0.0, samples: int = 0) -> None:
        super().__init__(text)
        self.inlier_share, self.samples = inlier_share, samples


def quantiles_of(disparity: FloatMap, valid: BoolMap) -> Vector:
    """Quantiles (49,) of the disparity (H, W) where it is valid (H, W) and finite, from 2 % to 98 %; else zeros."""
    step = max(1, round(math.sqrt(disparity.size / GRID_PIXELS)))
    grid = disparity[step // 2 :: step, step // 2 :: step]
    known = grid[valid[step // 2 :: step, step // 2 :: step] & np.isfinite(grid)].astype(np.float64)
    return np.quantile(known, QUANTILES) if known.size else np.zeros(len(QUANTILES))


def fit_line(
    disparity: FloatMap,
    valid: BoolMap,
    samples: Samples,
    quantiles: Vector,
    *,
    min_samples: int,
    min_inlier_share: float,
) -> Fit:
    """The line through the samples, in spite of 20 % of outliers and more.

    Least absolute deviations, then one step of Tukey's biweight (a one-step M-estimate: Bickel, One-Step Huber
    Estimates in the Linear Model, JASA 1975). It does not flatten, as a fit to the closest majority does, where most of
    the view lies at one distance and the model errs.

    Args:
        disparity: (H, W) relative inverse depth.
        valid: (H, W) bool, the pixels to look at.
        samples: of the sensor, in pixels of the image and metres.
        quantiles: of the disparity, from `quantiles_of`.
        min_samples: fewest samples that have a disparity.
        min_inlier_share: smallest share of them that must agree, that is, be within a factor of 1.25.

    Raises:
        NoFitError: too few samples, too few that agree, or a disparity that has nothing to do with the depth.
    """
    x, y = _paired(disparity, valid, samples, quantiles)
    if len(x) < min_samples:
        raise NoFitError(
            f"Only {len(x)} of {len(samples.depth)} samples lie on known depth away from outlines, and "
            f"scale.min_samples is {min_samples}; check the sensor, its pose and the stamps.",
            samples=len(x),
        )
    every = math.ceil(len(x) / FIT_SAMPLES)
    line = _robust_line(x[::every], y[::every])
    fitted = line.at(x)
    agrees = (fitted < y * AGREEMENT_RATIO) & (fitted > y / AGREEMENT_RATIO)
    share = float(agrees.mean())
    if share < min_inlier_share:
        raise NoFitError(
            f"Only {share:.0%} of {len(x)} samples agree with a scale, and scale.min_inlier_share is "
            f"{min_inlier_share:g}; check the sensor, its pose and the stamps.",
            inlier_share=share, samples=len(x),
        )  # fmt: skip
    x, y = x[agrees], y[agrees]
    correlation, needed = _correlation(x, y), max(MIN_CORRELATION, CORRELATION_SIGMAS / math.sqrt(len(x)))
    if line.slope <= 0 or correlation < needed:
        raise NoFitError(
            f"Disparity and inverse depth correlate by {correlation:.2f}, and {needed:.2f} is needed to tell the "
            "scale; check that the sensor sees what the camera sees, and more than one distance.",
            inlier_share=share, samples=len(fitted),
        )  # fmt: skip
    return Fit(line, x, float(np.mean((y - line.at(x)) ** 2)), share, len(fitted))


def _paired(disparity: FloatMap, valid: BoolMap, samples: Samples, quantiles: Vector) -> tuple[Vector, Vector]:
    """Disparity and inverse depth (K,) of the samples in the image, off its outlines and holes."""
    height, width = disparity.shape
    columns, rows, depth = (np.asarray(a, np.float64) for a in (samples.columns, samples.rows, samples.depth))
    with np.errstate(invalid="ignore", divide="ignore"):
        inverse = 1 / depth
        use = (depth > 0) & (inverse > 0) & (columns > -0.5) & (columns < width - 0.5)
        use &= (rows > -0.5) & (rows < height - 0.5)
    columns, rows = np.clip(columns[use], 0, width - 1), np.clip(rows[use], 0, height - 1)
    left, top = columns.astype(np.intp), rows.astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = columns - left, rows - top
    at = ((top, left), (top, right), (bottom, left), (bottom, right))
    corners = np.stack([np.where(valid[place], disparity[place], np.nan).astype(np.float64) for place in at])  # (4, K)
    corners[~np.isfinite(corners)] = np.nan
    weights = np.stack([(1 - across) * (1 - down), across * (1 - down), (1 - across) * down, across * down])
    # A NaN at any corner makes the comparison false: next to a hole there is no sample.
    smooth = np.ptp(corners, axis=0) <= JUMP * (quantiles[-1] - quantiles[0])
    return (weights * corners).sum(axis=0)[smooth], inverse[use][smooth]


def _robust_line(x: Vector, y: Vector) -> Line:
    median = float(np.median(y))
    near = (y < START_RATIO * median) & (y > median / START_RATIO)
    line = _weighted_line(x[near], y[near], np.ones(np.count_nonzero(near)))

    def relative(line: Line) -> tuple[Vector, Vector]:
        fitted = line.at(x)
        expected = np.maximum(fitted, 0) + RELATIVE_FLOOR * median  # the size of errors grows with it
        return np.abs(y - fitted) / expected, expected

    for _ in range(ITERATIONS):  # least absolute deviations as least squares with weights of the errors before
        error, expected = relative(line)
        line = _weighted_line(x, y, 1 / (np.maximum(error, SMALL_ERROR) * expected))
    error, expected = relative(line)
    limit = max(TUKEY * SIGMA_PER_MAD * float(np.median(error)), np.finfo(np.float32).eps)
    return _weighted_line(x, y, (np.maximum(1 - (error / limit) ** 2, 0) / expected) ** 2)


def _weighted_line(x: Vector, y: Vector, weights: Vector) -> Line:
    """Least squares of y on x; flat where x has no spread."""
    total = float(weights.sum())
    x_mean, y_mean = _dot(weights, x) / total, _dot(weights, y) / total
    centred = weights * (x - x_mean)
    spread = _dot(centred, x - x_mean)
    slope = _dot(centred, y - y_mean) / spread if spread > 0 else 0.0
    return Line(slope, y_mean - slope * x_mean)


def _correlation(x: Vector, y: Vector) -> float:
    x, y = x - x.mean(), y - y.mean()
    spread = math.sqrt(_dot(x, x) * _dot(y, y))
    return _dot(x, y) / spread if spread > 0 else 0.0


def _dot(a: Vector, b: Vector) -> float:
    # Not `a @ b`: a BLAS wakes all its threads for it, and waits for them up to a second where the model has the cores.
    return float((a * b).sum())


def carried(line: Line, then: Vector, now: Vector) -> Line:
    """A line of another frame for the present one, whose disparity has other scale and shift.

    The quantiles of both frames are laid over each other by a straight line through most of them (reduced major axis,
    so that nothing is flattened), on the assumption that the view as a whole shows the same distances. It is exact for
    the same view with another normalisation.

    Args:
        line: between disparity and inverse depth, then.
        then, now: (49,) quantiles of both disparities, from `quantiles_of`.
    """
    inside = np.ones(len(now), dtype=np.bool_)
    factor, shift = 1.0, 0.0
    for _ in range(TRIMMINGS):
        spread_then, spread_now = float(then[inside].std()), float(now[inside].std())
        if not (spread_then > 0 and spread_now > 0):
            break
        factor = spread_then / spread_now
        shift = float(then[inside].mean()) - factor * float(now[inside].mean())
        error = np.abs(then - factor * now - shift)
        floor = 1e-6 * float(np.ptp(then))
        inside = error <= TRIM_SIGMAS * SIGMA_PER_MAD * float(np.median(error)) + floor
    return Line(line.slope * factor, line.slope * shift + line.offset)


def are_alike(fit: Fit, other: Line) -> bool:
    """Whether the depths of both typically are within a factor of 1.5 where the fit's samples are."""
    ratio = other.at(fit.agreeing) / fit.line.at(fit.agreeing)
    return float(np.mean((ratio > 1 / ALIKE_RATIO) & (ratio < ALIKE_RATIO))) > 0.5


def smoothed(fit: Fit, before: Line, passed_s: float, smoothing_s: float) -> Line:
    """Between the line before and the fit, as far as time has passed or the samples demand.

    Where the camera moves, the old line is wrong, and low-pass filtering alone would lag behind by the time constant.
    So the result never leaves the fit's own confidence region (95 %, of least squares): smoothing takes noise away, and
    nothing that the samples can tell.

    Args:
        fit: of the present frame.
        before: the line before, carried to the present frame.
        passed_s: seconds between the two.
        smoothing_s: time constant in seconds; 0: no smoothing.
    """
    if smoothing_s <= 0:
        return fit.line
    count = min(len(fit.agreeing), INDEPENDENT_SAMPLES)
    square_gap = float(np.mean((before.at(fit.agreeing) - fit.line.at(fit.agreeing)) ** 2))
    allowed = math.sqrt(CONFIDENCE * fit.variance / (count * square_gap)) if square_gap > 0 else 1.0
    old = min(math.exp(-passed_s / smoothing_s), allowed)
    return Line(*(old * a + (1 - old) * b for a, b in zip(before, fit.line, strict=True)))
