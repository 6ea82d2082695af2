"""A relative map on sparse points of known depth: a robust scale and shift, and where points are dense enough a smooth
correction, never sharper than the points.

The correction is the posterior mean of a Gaussian process (Rasmussen and Williams, Gaussian Processes for Machine
Learning, 2.2) of the logarithm of depth, over the place in the picture and the logarithm of the depth that scale and
shift give: what a network gets wrong, it gets wrong for a surface, not for a pixel. It is a sum of parts that reach far
and may be large and of parts that are sharper and smaller, so that a point that is far off alone is no surface. How
sharp it is, how strong it may be, and whether there is one at all is chosen by points that are held out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from pro_engine.errors import InputError
from pro_engine.geometry.checks import as_map
from pro_engine.geometry.depth import disparity_to_depth, fit_scale_shift
from pro_engine.geometry.neighbours import shared_error
from pro_engine.types import BoolMap, FloatMap, ScaleShift

Vector = NDArray[np.float64]
Indices = NDArray[np.int64]

MIN_POINTS = 12
MIN_POINTS_CORRECTED = 40
MOST_POINTS, MOST_TRIED = 1200, 400  # that a correction is computed from, and each of those that are tried
FOLDS = 5
REACHES = (1.0, 0.5, 0.25, 0.12, 0.07)  # of the correction over the picture, as a share of the longer side
DEPTH_REACH = 0.7  # over the logarithm of depth, in its standard deviations
STRENGTHS = (0.1, 0.3)  # standard deviation of the logarithm of depth that a reach of 1 may have, less in proportion
BLOCKS = 10  # of the picture, of which some are held out as a whole: there the correction has to be sensible, too
CLIPPED = 0.3  # error of the logarithm of depth, that is as bad as any
SHARPEST = 1.5  # times the usual distance between neighbouring points: no correction is sharper
WORTH = 0.97  # of the error of scale and shift alone, that a correction has to stay below at held-out points
AGREE = math.log(1.25)  # of the logarithm of depth, up to which a point counts as an inlier
FAR_FLOOR = 0.1  # of the median inverse depth, below which relative errors count no more than there
HUBER, ROUNDS = 1.5, 3
LEVELS = 12  # of depth, at which the correction is computed


@dataclass(frozen=True, eq=False)
class Correction:
    """A smooth factor of depth: log_factor (L, R, C) float32 over levels of log depth, rows and columns.

    near, far: log depth of the first and the last level. The corners of the picture are those of the grid.
    """

    log_factor: NDArray[np.float32]
    near: float
    far: float

    def apply(self, depth: FloatMap) -> FloatMap:
        """(H, W) depth times the factor; NaN and inf stay what they are."""
        height, width = depth.shape
        levels = len(self.log_factor)
        with np.errstate(invalid="ignore", divide="ignore"):
            place = np.log(depth)
        np.clip((place - self.near) * ((levels - 1) / (self.far - self.near)), 0, levels - 1, out=place)
        total = np.zeros_like(depth)
        for level, part in enumerate(self.log_factor):
            weight = np.maximum(1 - np.abs(place - level), 0)
            total += weight * _enlarged(part, height, width)
        corrected: FloatMap = depth * np.exp(total)
        return corrected


@dataclass(frozen=True, eq=False)
class SparseFit:
    """What sparse points say of a map.

    scale_shift: with source "fitted"; its inlier_share is that of the points within a factor of 1.25 afterwards.
    correction: or None. points: how many were used. error: median relative error at points that were held out, each
    once; line_error: the same of scale and shift alone. used (N,) bool: which of the points that were given. held_out
    (N,): depth at each of these from a fit without it, NaN for the others. shared, pairs: how far neighbouring points
    have the same of these errors, see `shared_error`.
    """

    scale_shift: ScaleShift
    correction: Correction | None
    points: int
    error: float
    line_error: float
    used: BoolMap
    held_out: Vector
    shared: float
    pairs: int

    def depth(self, disparity: ArrayLike, *, max_depth_m: float | None = None, sky: BoolMap | None = None) -> FloatMap:
        """As `disparity_to_depth`, corrected."""
        plain = disparity_to_depth(disparity, self.scale_shift, sky=sky)
        made = plain if self.correction is None else self.correction.apply(plain)
        if max_depth_m is not None:
            made[made > max_depth_m] = np.inf
        return made

    def summary(self) -> dict[str, float | int | bool]:
        """Plain values for people and files."""
        inliers = round(self.scale_shift.inlier_share * self.points)
        corrected = self.correction is not None
        plain = {"points": self.points, "inliers": inliers, "error": self.error, "corrected": corrected}
        return plain | {"shared": self.shared, "pairs": self.pairs}


@dataclass(frozen=True, eq=False)
class MorePoints:
    """Points that a fit uses and of which it tells nothing: pixels (N, 2), column and row, and depth (N,)."""

    pixels: Vector
    depth: Vector


def fit_points(
    disparity: ArrayLike,
    pixels: ArrayLike,
    depth: ArrayLike,
    *,
    correct: bool = True,
    more: MorePoints | None = None,
) -> SparseFit:
    """Fit a relative map to points of known depth.

    Args:
        disparity: (H, W) relative inverse depth, larger is nearer; NaN is not used.
        pixels: (N, 2) column and row of the points, pixel centres at integers.
        depth: (N,) their z, above 0.
        correct: whether there may be a smooth correction.
        more: points that are less sure; the figures are of the others.

    Raises:
        InputError: fewer than 12 points on the map, or a fit that is not increasing.
    """
    d_map = as_map(disparity, "disparity")
    places, z = np.asarray(pixels, dtype=np.float64), np.asarray(depth, dtype=np.float64)
    given = len(z)
    if more is not None:
        places, z = np.concatenate([places, more.pixels]), np.concatenate([z, more.depth])
    height, width = d_map.shape
    column, row = (np.rint(places[:, axis]).astype(np.int64) for axis in (0, 1))
    on_map = (column >= 0) & (column < width) & (row >= 0) & (row < height) & np.isfinite(z) & (z > 0)
    d = np.full(len(z), np.nan)
    d[on_map] = _between(d_map, places[on_map])
    used = np.isfinite(d)
    own, count = int(used[:given].sum()), int(used.sum())
    if own < MIN_POINTS:
        raise InputError(f"Only {own} points of known depth lie on the map, and the fit needs {MIN_POINTS}.")
    d, z, uv = d[used], z[used], places[used] / max(height, width)
    folds = _folds(places[used])
    with threadpool_limits(1, "blas"):  # many small systems: threads only wait for each other
        line = _line(d[:own], z[:own])
        held_line = _held_out(folds[:own], lambda train, test: _depth_of(d[test], _line(d[train], z[train], line)))
        best = _best_reach(d, z, uv, line, folds) if correct and count >= MIN_POINTS_CORRECTED else None
        if best is None:
            correction, held, final = None, held_line, _depth_of(d[:own], line)
        else:
            predict = partial(_corrected, d, z, uv, line, best)
            correction, held = _grid(d, z, uv, line, best, (height, width)), _held_out(folds, predict)
            final = predict(np.arange(count), np.arange(own))
    share = float((np.abs(np.log(final / z[:own])) < AGREE).mean())
    told = np.full(given, np.nan)
    told[used[:given]] = held[:own]
    link = ScaleShift(line.scale, line.shift, inlier_share=share, source="fitted")
    line_error = _median_error(held_line, z[:own])
    error = _median_error(held[:own], z[:own])
    shared, pairs = shared_error(held[:own] / z[:own] - 1, uv[:own], np.log(z[:own]), folds[:own])
    return SparseFit(link, correction, own, error, line_error, used[:given], told, shared, pairs)


def _between(values: FloatMap, places: Vector) -> Vector:
    """(N,) of a map between its pixels."""
    column, row = places.T.astype(np.float32)
    parts = [  # remap takes at most 32767 places in a row
        cv2.remap(
            values,
            column[None, start : start + 10_000],
            row[None, start : start + 10_000],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )[0]
        for start in range(0, len(column), 10_000)
    ]
    found: Vector = np.concatenate([np.empty(0), *parts])
    return found


def _folds(places: Vector) -> Indices:
    """(N,) which points are held out together. Points in one pixel are one measurement: a feature with two orientations
    becomes two points with the same error, and one of them would tell the other's."""
    cells, cell = np.unique(np.rint(places), axis=0, return_inverse=True)
    folds: Indices = (np.random.default_rng(0).permutation(len(cells)) % FOLDS)[cell.reshape(-1)]
    return folds


def _best_reach(d: Vector, z: Vector, uv: Vector, line: ScaleShift, folds: Indices) -> _Reach | None:
    """The reach whose correction is best at points that are held out; None where none is worth it.

    Each point counts as the part of the picture that it has for itself, and is held out once alone and once with all
    around it: most pixels lie between points, many far from any.
    """
    chosen = _thinned(len(d), MOST_TRIED)
    spacing = _spacing(uv[chosen], uv)
    d, z, uv = d[chosen], z[chosen], uv[chosen]
    weight = np.minimum(spacing, 0.15) ** 2
    ways = [way for way in (folds[chosen], _blocks(uv)) if np.ptp(way)]  # points in one place are one block

    def loss(predict: Callable[[Indices, Indices], Vector]) -> float:
        errors = [np.minimum(np.abs(np.log(_held_out(way, predict) / z)), CLIPPED) for way in ways]
        return float(np.average(np.mean(errors, axis=0), weights=weight))

    reaches = [reach for reach in REACHES[1:] if reach >= SHARPEST * np.median(spacing)]
    tried = [_Reach(reach, strength) for reach in reaches for strength in STRENGTHS]
    losses = {reach: loss(partial(_corrected, d, z, uv, line, reach)) for reach in tried}
    best = min(losses, key=lambda reach: losses[reach], default=None)
    plain = loss(lambda _train, test: _depth_of(d[test], line))
    return best if best is not None and losses[best] < WORTH * plain else None


def _spacing(some: Vector, uv: Vector) -> Vector:
    """(N,) how far some points are from their fourth neighbour among all."""
    apart = np.sqrt(_squares(some, uv))
    near: Vector = np.partition(apart, 4, axis=1)[:, 4]
    return near


def _blocks(uv: Vector) -> Indices:
    """(N,) folds of points that lie together."""
    centers = uv[np.random.default_rng(1).permutation(len(uv))[:BLOCKS]]
    for _ in range(10):  # k-means
        nearest = ((uv[:, None] - centers[None]) ** 2).sum(-1).argmin(1)
        centers = np.stack([uv[nearest == k].mean(0) if (nearest == k).any() else centers[k] for k in range(BLOCKS)])
    folds: Indices = nearest % FOLDS
    return folds


def _median_error(found: Vector, z: Vector) -> float:
    return float(np.median(np.abs(found / z - 1)))


def _held_out(folds: Indices, predict: Callable[[Indices, Indices], Vector]) -> Vector:
    """Depth at each point from a fit to the points of other folds."""
    found = np.empty(len(folds))
    for fold in np.unique(folds):
        test = np.flatnonzero(folds == fold)
        found[test] = predict(np.flatnonzero(folds != fold), test)
    return found


def _line(d: Vector, z: Vector, start: ScaleShift | None = None) -> ScaleShift:
    """Scale and shift: robust in inverse depth, then by relative errors, as those are what counts near and far."""
    first = start or fit_scale_shift(d[None].astype(np.float32), z[None].astype(np.float32))
    scale, shift, inverse = first.scale, first.shift, 1 / z
    floor = np.maximum(inverse, FAR_FLOOR * np.median(inverse))
    for _ in range(10):
        residual = (scale * d + shift - inverse) / floor
        spread = 1.4826 * float(np.median(np.abs(residual))) + 1e-9
        weight = np.clip(1 - (residual / (4 * spread)) ** 2, 0, None) / floor  # Tukey's, as a square root
        design = np.stack([d, np.ones_like(d)], axis=1) * weight[:, None]
        slope, offset = np.linalg.lstsq(design, inverse * weight, rcond=None)[0]
        if not slope > 0:
            break
        scale, shift = float(slope), float(offset)
    return ScaleShift(scale, shift, source="fitted")


def _depth_of(d: Vector, line: ScaleShift) -> Vector:
    """Depth at points; what lies at infinity or beyond counts as very far."""
    inverse = line.scale * d + line.shift
    floor = 1e-3 * max(float(np.median(inverse)), 1e-9)
    depth: Vector = 1 / np.maximum(inverse, floor)
    return depth


@dataclass(frozen=True)
class _Reach:
    """How far the sharpest part of a correction reaches, in longer sides of the picture, and how strong it may be."""

    uv: float
    strength: float


def _kernel(a: Vector, b: Vector, reach: _Reach) -> Vector:
    """Squared exponentials of points (N, 3) and (M, 3), place and depth, one for each reach that is not sharper."""
    apart = _squares(a[:, :2], b[:, :2])
    parts = [(part * reach.strength) ** 2 * np.exp(apart * (-0.5 / part**2)) for part in REACHES if part >= reach.uv]
    kernel: Vector = np.sum(parts, axis=0) * np.exp(-0.5 * _squares(a[:, 2:], b[:, 2:]))
    return kernel


def _squares(a: Vector, b: Vector) -> Vector:
    squares: Vector = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0)
    return squares


def _weights(x: Vector, residual: Vector, reach: _Reach) -> Vector:
    """Weights (N,) of the kernel at points x (N, 3): those that lie far off count less."""
    kernel, trust = _kernel(x, x, reach), np.ones(len(x))
    solved: Vector = np.zeros(len(x))
    noise = 1.4826 * float(np.median(np.abs(residual - np.median(residual)))) + 1e-3
    for _ in range(ROUNDS):
        solved[:] = np.linalg.solve(kernel + np.diag(noise**2 / trust), residual)
        rest = np.abs(residual - kernel @ solved)
        noise = max(1.4826 * float(np.median(rest)), 1e-3)
        trust = np.minimum(1, HUBER * noise / np.maximum(rest, 1e-12)) ** 2
    return solved


def _space(log_depth: Vector, uv: Vector, spread: float) -> Vector:
    return np.concatenate([uv, log_depth[:, None] / (DEPTH_REACH * spread)], axis=1)


def _thinned(count: int, most: int) -> Indices:
    return np.sort(np.random.default_rng(2).permutation(count)[:most])


def _solved(d: Vector, z: Vector, uv: Vector, line: ScaleShift, reach: _Reach) -> tuple[Vector, Vector, float]:
    """Points (N, 3) in units of the reach, their weights, and the spread of the logarithm of depth."""
    chosen = _thinned(len(d), MOST_POINTS)
    log_depth = np.log(_depth_of(d[chosen], line))
    spread = float(log_depth.std()) + 1e-3
    x = _space(log_depth, uv[chosen], spread)
    return x, _weights(x, np.log(z[chosen]) - log_depth, reach), spread


def _corrected(
    d: Vector, z: Vector, uv: Vector, line: ScaleShift, reach: _Reach, train: Indices, test: Indices
) -> Vector:
    """Depth at `test` from a line and a correction of it that was fitted at `train`."""
    x, weights, spread = _solved(d[train], z[train], uv[train], line, reach)
    ends = np.log(_depth_of(d[train], line))
    log_depth = np.log(_depth_of(d[test], line))
    place = _space(np.clip(log_depth, ends.min(), ends.max()), uv[test], spread)
    found: Vector = np.exp(log_depth + _kernel(place, x, reach) @ weights)
    return found


def _grid(d: Vector, z: Vector, uv: Vector, line: ScaleShift, reach: _Reach, shape: tuple[int, int]) -> Correction:
    """The correction on a grid whose meshes are a third of its reach."""
    x, weights, spread = _solved(d, z, uv, line, reach)
    log_depth, longer = np.log(_depth_of(d, line)), max(shape)
    near, far = float(log_depth.min()), float(log_depth.max()) + 1e-6
    rows, columns = (max(2, math.ceil(3 * side / longer / reach.uv) + 1) for side in shape)
    v = np.linspace(-0.5, shape[0] - 0.5, rows) / longer
    u = np.linspace(-0.5, shape[1] - 0.5, columns) / longer
    places = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    levels = [
        _kernel(_space(np.full(len(places), level), places, spread), x, reach) @ weights
        for level in np.linspace(near, far, LEVELS)
    ]
    return Correction(np.stack(levels).reshape(LEVELS, rows, columns).astype(np.float32), near, far)


def _enlarged(part: NDArray[np.float32], height: int, width: int) -> FloatMap:
    """(R, C) whose corners lie on those of the picture, at (H, W) pixels."""
    rows, columns = part.shape
    x = (np.arange(width, dtype=np.float32) + 0.5) * ((columns - 1) / width)
    y = (np.arange(height, dtype=np.float32) + 0.5) * ((rows - 1) / height)
    across, down = np.broadcast_to(x, (height, width)), np.broadcast_to(y[:, None], (height, width))
    return np.asarray(cv2.remap(part, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
