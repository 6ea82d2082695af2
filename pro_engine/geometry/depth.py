"""Disparity to metres and back: finding the scale, applying it, and the edges of a depth map."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pro_engine.errors import InputError
from pro_engine.geometry.checks import as_map, as_mask, check_positive, size_text
from pro_engine.geometry.layers import lies_like_sky
from pro_engine.options import GeometryOptions
from pro_engine.types import BoolMap, FloatMap, ScaleShift, is_finite_number

Vector = NDArray[np.float64]

MAX_SAMPLES = 1_000_000
CHUNK = 1 << 20  # pixels worked on at a time where doubles are needed
FLAT = 1e-6  # relative spread below which a disparity map has no contrast

AGREEMENT_RATIO = 1.25  # a sample agrees when fitted and measured depth are within this factor (delta 1 of the field)
MIN_SAMPLES_ROBUST = 10
MIN_SAMPLES = 2
TRIAL_LINES = 512
TRIAL_SAMPLES = 4096
TRIAL_COVERAGE = 0.6  # share of the samples a trial line is judged by: up to 40 % may be anything
INLIER_SIGMAS = 2.5
SIGMA_PER_MAD = 1.4826  # median absolute deviation of a normal distribution to its standard deviation
REFITS = 20

NEAR_PERCENTILE, FAR_PERCENTILE = 99.5, 0.5
SPAN_PERCENTILES = 2.0, 98.0  # the farthest and the nearest surface of an estimated range
SPAN_REACH = 5.0  # times as far as its far end may lie what is behind
FAR_SLACK = (
    0.05  # the minimum counts as the farthest surface when it lies this close to the far percentile, of the range
)
PLATEAU_WIDTH = 0.02  # of the range
PLATEAU_SHARE = 0.08  # of the pixels
PLATEAU_CONTRAST = 4.0  # times as many pixels as the equally wide band in front of it
DEPTH_SLACK = 1e-6  # relative; keeps a surface at exactly max_depth_m in spite of rounding


def fit_scale_shift(
    disparity: ArrayLike, depth: ArrayLike, valid: ArrayLike | None = None, robust: bool = True
) -> ScaleShift:
    """The scale and shift that turn relative disparity into inverse metres: least squares of 1 / depth on disparity.

    The robust fit draws trial lines through pairs of samples, keeps the one that is closest to most of them, then
    repeats least squares on the samples within 2.5 standard deviations; 30 % of arbitrary outliers do not move it. Its
    draws are seeded, so the same input gives the same answer.

    Args:
        disparity: (H, W) relative inverse depth, larger is nearer.
        depth: (H, W) metres; pixels that are NaN, infinite or not above 0 are not used, so a sparse map will do.
        valid: (H, W) bool, the pixels to use.
        robust: False for plain least squares, which also takes as few as two samples.

    Returns:
        ScaleShift with source "fitted"; `inlier_share` is the share of the samples whose fitted depth is within a
        factor of 1.25 of the measured one.

    Raises:
        InputError: sizes that differ, too few samples, disparity without contrast, or a fit that is not increasing.
    """
    d, inverse = _fit_samples(disparity, depth, valid, MIN_SAMPLES_ROBUST if robust else MIN_SAMPLES)
    scale, shift = _robust_line(d, inverse) if robust else _least_squares(d, inverse)
    if not (math.isfinite(scale) and math.isfinite(shift) and scale > 0):
        raise InputError(
            f"The fitted scale is {scale:g}, so nearer disparity would be farther away; check that disparity is larger "
            "when nearer, that depth is in metres, and that both show the same view."
        )
    fitted = scale * d + shift
    agree = (fitted < inverse * AGREEMENT_RATIO) & (fitted > inverse / AGREEMENT_RATIO)
    return ScaleShift(scale, shift, inlier_share=float(agree.mean()), source="fitted")


def _fit_samples(disparity: ArrayLike, depth: ArrayLike, valid: ArrayLike | None, needed: int) -> tuple[Vector, Vector]:
    """Disparity and inverse depth (N,) of the pixels that have both, thinned to at most about a million."""
    d_map, z_map = as_map(disparity, "disparity"), as_map(depth, "depth")
    if d_map.shape != z_map.shape:
        raise InputError(
            f"disparity is {size_text(d_map.shape)} but depth {size_text(z_map.shape)}; resize one to the other first "
            "(depth: nearest neighbour, so that near and far do not mix)."
        )
    with np.errstate(divide="ignore", over="ignore"):
        inverse_map = np.where(z_map > 0, np.float32(1) / z_map, np.float32(np.nan))
    use = as_mask(valid, d_map.shape) & np.isfinite(d_map) & np.isfinite(inverse_map) & (inverse_map > 0)
    count = int(np.count_nonzero(use))
    if count < needed:
        raise InputError(
            f"Only {count} pixels have both a disparity and a depth above 0, the fit needs {needed}; check the unit "
            "(metres), the valid mask and that both maps show the same view (robust=False takes as few as 2)."
        )
    step = math.ceil(count / MAX_SAMPLES)
    d, inverse = d_map[use][::step].astype(np.float64), inverse_map[use][::step].astype(np.float64)
    if np.ptp(d) <= FLAT * np.abs(d).max():
        raise InputError(f"The disparity is {d[0]:g} at every sample; add samples at other distances.")
    return d, inverse


def _least_squares(x: Vector, y: Vector) -> tuple[float, float]:
    """Slope and offset of y on x; slope NaN when x has no spread."""
    x_mean, y_mean = float(x.mean()), float(y.mean())
    centred = x - x_mean
    spread = float(centred @ centred)
    slope = float(centred @ (y - y_mean)) / spread if spread > 0 else math.nan
    return slope, y_mean - slope * x_mean


def _robust_line(x: Vector, y: Vector) -> tuple[float, float]:
    """Slope and offset of y on x in spite of outliers: the best trial line, then least squares on what is near it."""
    slope, offset = _best_trial_line(x, y)
    inside = np.zeros(len(x), dtype=np.bool_)
    floor = 1e-9 * float(np.abs(y).max())
    for _ in range(REFITS):
        residual = np.abs(y - (slope * x + offset))
        before, inside = inside, residual <= INLIER_SIGMAS * SIGMA_PER_MAD * float(np.median(residual)) + floor
        if np.array_equal(before, inside):
            break
        refit = _least_squares(x[inside], y[inside])
        if not math.isfinite(refit[0]):
            break
        slope, offset = refit
    return slope, offset


def _best_trial_line(x: Vector, y: Vector) -> tuple[float, float]:
    """Of lines through random pairs, one sample from the lower and one from the upper half of x, the one with the
    smallest mean distance to the nearest 60 % of the samples."""
    rng = np.random.default_rng(0)
    order = np.argsort(x, kind="stable")
    if len(x) > TRIAL_SAMPLES:  # evenly over the sorted samples, so both ends are kept
        order = order[np.linspace(0, len(x) - 1, TRIAL_SAMPLES).astype(np.intp)]
    x, y = x[order], y[order]
    half = len(x) // 2
    low, high = rng.integers(0, half, TRIAL_LINES), rng.integers(half, len(x), TRIAL_LINES)
    low[0], high[0] = 0, len(x) - 1  # at least one pair differs
    run = x[high] - x[low]
    apart = run > FLAT * run.max()
    low, high, run = low[apart], high[apart], run[apart]
    slopes = (y[high] - y[low]) / run
    offsets = y[low] - slopes * x[low]
    keep = max(2, math.ceil(TRIAL_COVERAGE * len(x)))
    residuals = np.abs(y - (slopes[:, None] * x + offsets[:, None]))  # (lines, samples)
    cost = np.partition(residuals, keep - 1, axis=1)[:, :keep].mean(axis=1)
    best = int(np.argmin(cost))
    return float(slopes[best]), float(offsets[best])


def range_scale_shift(
    disparity: ArrayLike, near_m: float, far_m: float, valid: ArrayLike | None = None, *, cut_plateau: bool = True
) -> ScaleShift:
    """The scale and shift that put the nearest surface at `near_m` and the farthest at `far_m`: the artist's choice.

    The nearest surface is the 99.5th percentile of the disparity. The farthest is its minimum, or the 0.5th percentile
    where single pixels lie far below. An even sky is no surface: where 8 % of the pixels or more sit within 2 % of the
    range at the low end, four times as many as just in front of them, they fall beyond `far_m` and the farthest surface
    is what comes next; but only if this far end reaches the top of the picture and not its lowest quarter. An even wall
    that fills the upper background looks the same from disparity alone: `cut_plateau=False` keeps it, at `far_m`.

    Args:
        disparity: (H, W) relative inverse depth, larger is nearer.
        near_m: metres, above 0.
        far_m: metres, above `near_m`.
        valid: (H, W) bool, the pixels to look at.
        cut_plateau: whether an even far end falls beyond `far_m`.

    Returns:
        ScaleShift with source "given".

    Raises:
        InputError: a bad range, sizes that differ, or disparity without contrast.
    """
    _check_range(near_m, far_m)
    near, far = _nearest_and_farthest(_thinned(disparity, valid), cut_plateau)
    _check_contrast(far, near)
    scale = (1 / near_m - 1 / far_m) / (near - far)
    return ScaleShift(scale, 1 / far_m - scale * far, source="given")


def _check_range(near_m: float, far_m: float) -> None:
    check_positive(near_m, "near_m", "metres")
    check_positive(far_m, "far_m", "metres")
    if near_m >= far_m:
        raise InputError(f"near_m is {near_m:g} and far_m {far_m:g}; give a near distance below the far one.")


def _thinned(disparity: ArrayLike, valid: ArrayLike | None) -> FloatMap:
    """A map with about `MAX_SAMPLES` pixels, NaN where one is not to be used."""
    d_map = as_map(disparity, "disparity")
    mask = as_mask(valid, d_map.shape)
    step = math.ceil(math.sqrt(d_map.size / MAX_SAMPLES))
    thin = np.where(mask[::step, ::step] & np.isfinite(d_map[::step, ::step]), d_map[::step, ::step], np.nan)
    if np.isnan(thin).all():
        raise InputError("No pixel of the disparity is finite and valid; check the map and the valid mask.")
    return thin


def _check_contrast(far: float, near: float) -> None:
    if near - far <= FLAT * max(abs(near), abs(far)):
        raise InputError(
            f"The disparity has no contrast (from {far:g} to {near:g}), so no range can be laid over it; "
            "use a picture with something near and something far."
        )


def span_scale_shift(disparity: ArrayLike, near_m: float, far_m: float, valid: ArrayLike | None = None) -> ScaleShift:
    """The scale and shift of an estimated range: the 98th percentile of the disparity at `near_m`, the 2nd at `far_m`.

    The law goes on behind the 2nd percentile up to `SPAN_REACH` times `far_m`; where it would end before the farthest
    surface, that lies there instead.

    Args:
        disparity: (H, W) relative inverse depth, larger is nearer.
        near_m: metres, above 0.
        far_m: metres, above `near_m`.
        valid: (H, W) bool, the pixels to look at: all that is no sky.

    Returns:
        ScaleShift with source "estimated".

    Raises:
        InputError: as `range_scale_shift`.
    """
    _check_range(near_m, far_m)
    seen = _thinned(disparity, valid)
    farthest, far, near = np.nanpercentile(seen, (FAR_PERCENTILE, *SPAN_PERCENTILES)).astype(np.float64)
    _check_contrast(far, near)
    scale = (1 / near_m - 1 / far_m) / (near - far)
    least = 1 / (SPAN_REACH * far_m)
    if 1 / far_m + scale * (farthest - far) < least:
        scale = (1 / near_m - least) / (near - farthest)
    return ScaleShift(float(scale), float(1 / near_m - scale * near), source="estimated")


def _nearest_and_farthest(disparity: FloatMap, cut_plateau: bool) -> tuple[float, float]:
    """The disparity of the nearest and of the farthest surface, see `range_scale_shift`; NaN marks unused pixels."""
    d = disparity[~np.isnan(disparity)].astype(np.float64)
    lowest, far, near = float(d.min()), *(float(v) for v in np.percentile(d, (FAR_PERCENTILE, NEAR_PERCENTILE)))
    spread = near - far
    if cut_plateau and spread > 0:
        limit = far + PLATEAU_WIDTH * spread
        rest = d[d > limit]
        in_front = np.count_nonzero(rest <= limit + PLATEAU_WIDTH * spread)
        inside = d.size - rest.size
        even = inside >= PLATEAU_SHARE * d.size and inside >= PLATEAU_CONTRAST * in_front
        if even and rest.size and lies_like_sky(disparity <= limit):
            return near, float(np.percentile(rest, FAR_PERCENTILE))
    return near, lowest if far - lowest <= FAR_SLACK * spread else far


def disparity_to_depth(
    disparity: ArrayLike, scale_shift: ScaleShift, *, max_depth_m: float | None = None, sky: BoolMap | None = None
) -> FloatMap:
    """Metres from relative disparity: 1 / (scale * disparity + shift).

    Args:
        disparity: (H, W) relative inverse depth, larger is nearer.
        scale_shift: from `fit_scale_shift`, `range_scale_shift` or a metric model.
        max_depth_m: metres; what lies beyond becomes +inf. None: no limit.
        sky: (H, W) bool, what becomes +inf in any case (`DepthResult.sky`).

    Returns:
        (H, W) float32 metres; +inf where the inverse depth is not above 0, NaN where the disparity is not finite.

    Raises:
        InputError: a map of a wrong kind, or a scale or limit that is not a finite number above 0.
    """
    d = as_map(disparity, "disparity")
    if not isinstance(scale_shift, ScaleShift):
        raise InputError(f"scale_shift is {type(scale_shift).__name__}; give a ScaleShift, see range_scale_shift.")
    check_positive(scale_shift.scale, "scale_shift.scale", "inverse metres a unit of disparity")
    if not is_finite_number(scale_shift.shift):
        raise InputError(f"scale_shift.shift is {scale_shift.shift!r}; give a finite number (inverse metres).")
    if max_depth_m is not None:
        check_positive(max_depth_m, "max_depth_m", "metres")
    depth = np.empty_like(d)
    rows = max(1, CHUNK // d.shape[1])
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        for start in range(0, len(d), rows):  # in doubles: far away, scale * disparity and shift nearly cancel
            inverse = d[start : start + rows] * np.float64(scale_shift.scale) + scale_shift.shift
            depth[start : start + rows] = 1 / np.maximum(inverse, 0)
    if max_depth_m is not None:
        depth[depth > max_depth_m * (1 + DEPTH_SLACK)] = np.inf
    if sky is not None:
        depth[as_mask(sky, d.shape)] = np.inf
    depth[~np.isfinite(d)] = np.nan
    return depth


def depth_edges(depth: ArrayLike, *, rtol: float = GeometryOptions.edge_rtol) -> BoolMap:
    """Where the depth jumps: both sides of every step to a 4-neighbour that is larger than `rtol` of the nearer depth.

    A step between a finite and an infinite depth is an edge. Unknown pixels (NaN, or not above 0) make none.

    Args:
        depth: (H, W) metres (any unit: the test is relative).
        rtol: relative step, above 0.

    Returns:
        (H, W) bool.

    Raises:
        InputError: a map of a wrong kind, or a bad `rtol`.
    """
    z = as_map(depth, "depth")
    across, down = jump_links(z, rtol)
    edges = np.zeros(z.shape, dtype=np.bool_)
    edges[:, :-1] |= across
    edges[:, 1:] |= across
    edges[:-1] |= down
    edges[1:] |= down
    return edges


def jump_links(depth: FloatMap, rtol: float) -> tuple[BoolMap, BoolMap]:
    """The steps of `depth_edges`, between a pixel and its right neighbour (H, W - 1) and its lower one (H - 1, W).

    Raises:
        InputError: `rtol` is not a finite number above 0.
    """
    check_positive(rtol, "rtol", "relative step in depth")
    return _jump(depth[:, :-1], depth[:, 1:], rtol), _jump(depth[:-1], depth[1:], rtol)


def _jump(a: FloatMap, b: FloatMap, rtol: float) -> BoolMap:
    nearer = np.minimum(a, b)
    known = nearer > 0
    nearer *= np.float32(1 + rtol)
    jump: BoolMap = np.maximum(a, b) > nearer
    jump &= known
    return jump
