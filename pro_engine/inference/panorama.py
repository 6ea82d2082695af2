"""Panoramas: views of a pinhole camera all around, each inferred as any photo, then brought to one scale and joined.

Each view knows its inverse depth but for a scale and a shift of its own. Where two views overlap they see the same
distances, and as their axes differ the same distance is another depth in each: that ties the scales together, and
tells the shifts as well. So a panorama has one unknown left, its unit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import InputError
from pro_engine.geometry.camera import Directions, directions
from pro_engine.geometry.sphere import SphereView, at_rays, is_sphere
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.inference.runtime import Progress
from pro_engine.options import InferenceOptions
from pro_engine.types import BoolMap, DepthResult, FloatMap, ImageArray

_DEFAULTS = InferenceOptions()
_LEVEL, _LEVEL_FOV_DEG = 6, 90.0  # views along the horizon
_POLE_FOV_DEG = 110.0  # of the views up and down, which reach the lower border of the others
_LEAST_PX = 128  # of its width
_SMALL_PX = 96  # side of the maps that are fitted to each other
_SAMPLES = 20_000  # directions in which they are
_COARSE = (256, 512)  # of the panorama that all views agree on
_NEAR, _FAR = 99.0, 1.0  # percentiles of a view's disparity
_RANGE = 20.0  # how much farther than its nearest a level view's farthest surface is taken to be, but weakly
_RANGE_WEIGHT, _ALIKE_WEIGHT = 0.03, 0.02
_ROUNDS = 30
_SPREAD_PX = 4.0  # standard deviation of what is levelled between the views, of _SMALL_PX
_NARROW = 6  # power of a view's weight where details are joined
_STRIP_PX = 1 << 20
_EVEN = 1e-6


def infer_panorama(
    predictor: DepthPredictor,
    image: ImageArray,
    *,
    options: InferenceOptions = _DEFAULTS,
    progress: Progress | None = None,
) -> DepthResult:
    """Inverse distance all around from a whole equirectangular panorama.

    Args:
        predictor: the model.
        image: (H, W, 3) uint8 RGB, W = 2 H; the horizon in the middle row.
        options: how each view is inferred; `keep_coarse` and `keep_alpha` are left out.
        progress: as for `DepthPredictor.infer`, over all views.

    Returns:
        DepthResult whose disparity is the inverse of the distance along the ray but for its unit: the median is 1, a
        shift is not unknown. With a metric model it is in 1 / m, and depth the distance in metres.

    Raises:
        InputError: not a whole panorama, or too small.
        CancelledError, DeviceError: as `DepthPredictor.infer`.
    """
    height, width = image.shape[:2]
    if not is_sphere(height, width):
        raise InputError(f"The picture is {width}x{height} pixels; a whole panorama is twice as wide as high.")
    if width < _LEAST_PX:
        raise InputError(f"The panorama is {width}x{height} pixels; give one that is at least {_LEAST_PX} wide.")
    views = _views(width)
    plain = replace(options, keep_coarse=False, keep_alpha=False)
    results, passes = [], [_passes(predictor, view, plain) for view in views]
    for number, view in enumerate(views):
        step = None if progress is None else _after(progress, sum(passes[:number]), sum(passes))
        seen = view.picture(image)
        found = predictor.infer(seen, intrinsics=view.intrinsics, lens_source="given", options=plain, progress=step)
        results.append(_Seen.of(view, found, level=number < _LEVEL))
    return _whole(results, found, height, width)


def _whole(results: Sequence[_Seen], one: DepthResult, height: int, width: int) -> DepthResult:
    """The result of the whole panorama of this size, which is otherwise as that of `one` of its views."""
    metric = one.depth is not None
    disparity, sky, valid = _joined(_on_one_scale(results, metric=metric), height, width)
    unit = 1.0 if metric else float(np.median(disparity[valid] if valid.any() else disparity))
    if unit > _EVEN:
        disparity /= unit
    if sky is not None:
        disparity[sky] = 0
    result = replace(
        one,
        disparity=disparity,
        valid=valid,
        depth=None,
        intrinsics=None,
        lens_source=None,
        scale_shift=None,
        sky=sky,
        normals=None,
        seconds=sum(seen.seconds for seen in results),
        timings=_sums([seen.timings for seen in results]),
    )
    if one.scale_shift is None:
        return result
    with np.errstate(divide="ignore"):
        depth = np.where(valid, 1 / np.maximum(disparity, 0), np.float32(np.nan))
    return result.with_depth(depth, replace(one.scale_shift, scale=1.0, shift=0.0))


def _views(width: int) -> list[SphereView]:
    """Views with the panorama's resolution in their middle."""
    focal = width / (2 * math.pi)
    sides = [2 * math.ceil(focal * math.tan(math.radians(fov) / 2)) for fov in (_LEVEL_FOV_DEG, _POLE_FOV_DEG)]
    level = [SphereView.towards(360 / _LEVEL * k, 0, _LEVEL_FOV_DEG, sides[0]) for k in range(_LEVEL)]
    return level + [SphereView.towards(0, pitch, _POLE_FOV_DEG, sides[1]) for pitch in (90, -90)]


def _passes(predictor: DepthPredictor, view: SphereView, options: InferenceOptions) -> int:
    if predictor.refiner_for(options) is None:
        return 1
    size = view.intrinsics.height, view.intrinsics.width
    return 1 + sum(one.patches for one in predictor.plans(*size, options))


def _after(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)


def _sums(timings: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: sum(one.get(name, 0.0) for one in timings) for name in timings[0]}


@dataclass(frozen=True, eq=False)
class _Seen:
    """A view and its maps: inverse depth but for `scale` and `shift`, that map made small, and what of it is known."""

    view: SphereView
    inverse: FloatMap
    small: FloatMap
    known: BoolMap
    sky: BoolMap | None
    level: bool
    seconds: float
    timings: dict[str, float]
    scale: float = 1.0
    shift: float = 0.0

    @classmethod
    def of(cls, view: SphereView, result: DepthResult, *, level: bool) -> _Seen:
        """From what was inferred of it; of a metric model with the metres that it gave."""
        inverse = result.disparity
        if result.depth is not None:
            with np.errstate(divide="ignore"):
                inverse = np.nan_to_num(1 / result.depth, nan=0.0, posinf=0.0)
        small = np.asarray(cv2.resize(inverse, (_SMALL_PX, _SMALL_PX), interpolation=cv2.INTER_AREA), np.float32)
        return cls(view, inverse, small, result.valid, result.sky, level, result.seconds, result.timings)

    def at(self, values: FloatMap, columns: FloatMap, rows: FloatMap) -> FloatMap:
        """A map of this view, of any size, at pixels of the view."""
        factor = np.float32(values.shape[0] / self.view.intrinsics.height)
        places = ((columns + 0.5) * factor - 0.5, (rows + 0.5) * factor - 0.5)
        x, y = (np.ascontiguousarray(np.atleast_2d(place), np.float32) for place in places)
        found = cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(found, np.float32).reshape(columns.shape)

    def weight(self, columns: FloatMap, rows: FloatMap, cosine: FloatMap) -> FloatMap:
        """1 in the middle, 0 at the border and beyond."""
        half = self.view.intrinsics.width / 2
        across, down = ((np.clip((place + 0.5) / half - 1, -1, 1)) ** 2 for place in (columns, rows))
        return np.asarray(np.where(cosine > 0, (1 - across) * (1 - down), 0), np.float32)

    def ends(self) -> tuple[float, float]:
        """Disparity of its farthest and of its nearest surface."""
        far, near = np.percentile(self.small, (_FAR, _NEAR))
        return float(far), float(near)


def _on_one_scale(views: Sequence[_Seen], *, metric: bool) -> list[_Seen]:
    """The views with the scales and shifts with which they agree best, robustly; of a metric model scales alone."""
    rays = _sphere_directions(_SAMPLES)
    rows, weights = [], []
    seen = [(one, *one.view.seen(rays)) for one in views]
    values = [one.at(one.small, columns, lines) for one, columns, lines, _ in seen]
    hats = [one.weight(columns, lines, cosine) for one, columns, lines, cosine in seen]
    for i in range(len(views)):
        for j in range(i):
            both = (hats[i] > 0) & (hats[j] > 0)
            row = np.zeros((np.count_nonzero(both), 2 * len(views)))
            for k, sign in ((i, 1), (j, -1)):
                cosine = seen[k][3][both]
                row[:, 2 * k], row[:, 2 * k + 1] = sign * cosine * values[k][both], sign * cosine
            rows.append(row)
            weights.append(np.sqrt(hats[i][both] * hats[j][both]))
    x = _solve(np.concatenate(rows), np.concatenate(weights).astype(np.float64), views, metric)
    return [
        replace(one, scale=float(scale), shift=float(shift))
        for one, scale, shift in zip(views, x[0::2], x[1::2], strict=True)
    ]


def _solve(
    rows: NDArray[np.float64], weights: NDArray[np.float64], views: Sequence[_Seen], metric: bool
) -> NDArray[np.float64]:
    """(2 V,) scale and shift of each view: least squares over the overlaps, where far outliers count less and less.

    The mean of the scales is fixed. Two weak terms decide what the overlaps leave open: scales are alike, and level
    views reach far.
    """
    count = len(views)
    ends = np.array([one.ends() for one in views])
    spread = np.maximum(ends[:, 1] - ends[:, 0], _EVEN)
    if metric:
        spread = np.ones(count)
    alike, reach, mean = np.zeros((count, 2 * count)), np.zeros((count, 2 * count)), np.zeros(2 * count)
    mean[0::2] = spread / count
    for i, one in enumerate(views):
        alike[i, 2 * i] = spread[i]
        if one.level:
            reach[i, 2 * i : 2 * i + 2] = ends[i, 0] - ends[i, 1] / _RANGE, 1 - 1 / _RANGE
    fixed = _RANGE_WEIGHT**2 / count * reach.T @ reach + _ALIKE_WEIGHT**2 / count * alike.T @ alike
    target = _ALIKE_WEIGHT**2 / count * alike.T @ np.ones(count)
    kept = np.arange(0, 2 * count, 2) if metric else np.arange(2 * count)
    current, found = weights, np.zeros(2 * count)
    for _ in range(_ROUNDS):
        weighted = rows * current[:, None]
        normal = (weighted.T @ weighted / weights.sum() + fixed)[np.ix_(kept, kept)]
        system = np.block([[normal, mean[kept, None]], [mean[None, kept], np.zeros((1, 1))]])
        found[kept] = np.linalg.lstsq(system, np.append(target[kept], 1.0), rcond=None)[0][:-1]
        error = np.abs(rows @ found)
        usual = 1.5 * float(np.median(error)) + _EVEN
        current = weights * np.sqrt(1 / np.maximum(1, error / usual))
    found[0::2] = np.maximum(found[0::2], _EVEN)
    return found


def _sphere_directions(count: int) -> Directions:
    """(count, 3) unit vectors spread evenly over the sphere, by the golden angle."""
    down = 1 - 2 * (np.arange(count) + 0.5) / count
    turn = np.arange(count) * math.pi * (3 - math.sqrt(5))
    flat = np.sqrt(1 - down**2)
    return np.stack([flat * np.sin(turn), down, flat * np.cos(turn)], axis=1).astype(np.float32)


def _joined(views: Sequence[_Seen], height: int, width: int) -> tuple[FloatMap, BoolMap | None, BoolMap]:
    """Inverse distance (H, W), where the sky is if the model tells it, and what is known.

    What is large is a mean of all views, with weights that fall slowly; details are those of the nearest view alone, so
    that outlines do not come twice.
    """
    agreed = _agreed(views)
    changes = [_change(one, agreed) for one in views]
    disparity, sure = np.empty((height, width), np.float32), np.empty((height, width), np.bool_)
    sky = None if views[0].sky is None else np.empty((height, width), np.bool_)
    lines = max(1, _STRIP_PX // width)
    for start in range(0, height, lines):
        rows = np.arange(start, min(start + lines, height))
        rays = directions(rows, np.arange(width), height, width)
        sums = np.zeros((4, len(rows), width), np.float32)  # of weights, inverse distance, sky and what is known
        for one, change in zip(views, changes, strict=True):
            columns, down, cosine = one.view.seen(rays)
            band = np.flatnonzero((cosine > 0).any(axis=0))
            if not len(band):
                continue
            part = slice(band[0], band[-1] + 1)
            columns, down, cosine = columns[:, part], down[:, part], cosine[:, part]
            weight = one.weight(columns, down, cosine) ** _NARROW
            inverse = one.at(one.inverse, columns, down) * np.float32(one.scale) + np.float32(one.shift)
            sums[0, :, part] += weight
            sums[1, :, part] += weight * (cosine * inverse + one.at(change, columns, down))
            if one.sky is not None:
                sums[2, :, part] += weight * one.at(one.sky.astype(np.float32), columns, down)
            sums[3, :, part] += weight * one.at(one.known.astype(np.float32), columns, down)
        sums[1:] /= sums[0]
        disparity[rows], sure[rows] = sums[1], sums[3] > 0.5
        if sky is not None:
            sky[rows] = sums[2] > 0.5
    return disparity, sky, sure


def _agreed(views: Sequence[_Seen]) -> FloatMap:
    """(h, w) a small panorama of the inverse distance, the mean of all views."""
    height, width = _COARSE
    rays = directions(np.arange(height), np.arange(width), height, width)
    total, weights = np.zeros(_COARSE, np.float32), np.zeros(_COARSE, np.float32)
    for one in views:
        columns, rows, cosine = one.view.seen(rays)
        weight = one.weight(columns, rows, cosine)
        total += weight * cosine * (one.at(one.small, columns, rows) * np.float32(one.scale) + np.float32(one.shift))
        weights += weight
    return np.asarray(total / weights, np.float32)


def _change(one: _Seen, agreed: FloatMap) -> FloatMap:
    """(s, s) what has to be added to the inverse distance of a view so that it agrees with the others, smoothly."""
    rays, length = one.view.rays(_SMALL_PX, _SMALL_PX)
    there = at_rays(agreed, rays, cv2.INTER_LINEAR)
    own = (one.small * np.float32(one.scale) + np.float32(one.shift)) / length
    return np.asarray(cv2.GaussianBlur(there - own, (0, 0), _SPREAD_PX, borderType=cv2.BORDER_REPLICATE), np.float32)
