# SPDX-License-Identifier: Apache-2.0
"""A depth map to two surfaces that hold when the camera moves: the photo in front, and what goes on behind it.

In front lies every cell between four pixels. Where the depth steps by more than a threshold, the cell belongs to the
nearer side alone: the outline of what is near stays whole, and from the photo's own camera there is no gap. Behind it
the farther side goes on, under what is near, over the band that a camera moved sideways uncovers: its depth is that of
the nearest part of the far side, its colours are continued smoothly, and it is never in front of the first surface.

Needs numpy alone, and of the project `sheets.py` and `push_pull.py` beside it: the Blender add-on has copies of all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .push_pull import push_pull
from .sheets import BoolMap, FloatMap, Sheet, all_of, extremes_of, joined, offsets_of, sheet_of

HALO_SHARE = 1 / 600  # of the longer side: how far colours of the near side spill over an outline
SLOPE_HALOS = 1.5  # in these: how far the far side of an outline is from its near side at most
SOURCE_PX = 8  # how far around a band its colours and depths are taken from, beside the spill
SPILL_WEIGHT = 1e-4  # of pixels that may have colours of the near side, for where there are no others
DIAGONAL = 2**0.5  # distances are counted along rows and columns
MARGIN = 0.5  # of the threshold, by which what is hidden is behind what hides it at least
SLOPE = 0.49  # of the threshold, a pixel: across a cell in both directions the second surface stays below it
DOME = 4.0  # distance of the sky in distances of the farthest surface: beside that it hardly moves
SKY_SHARE = 0.01  # of the picture: what is less is a gap in something
SKY_TOP_SHARE, SKY_BOTTOM_SHARE = 0.25, 0.1  # of the top rows at least; of its pixels in the lowest quarter at most
PAYLOAD_BITS, PIXEL_STEPS, LOG_STEPS, LOG_LOWEST = 20, 64, 1 << 14, -32.0
NOTHING = -(1 << 48)


class Layers(NamedTuple):
    """Two surfaces of one camera. `behind` is None where nothing is uncovered.

    plate (H + 2 margin, W + 2 margin, C) is the texture of `behind`: the photo where nothing covers it, and elsewhere
    its own continuation; `covered` of the same size, True where the colours are continued.
    """

    front: Sheet
    behind: Sheet | None
    plate: NDArray[Any]
    covered: BoolMap
    margin: int


class _Band(NamedTuple):
    """Where the second surface goes on, (rows, columns) each.

    under: it does; weight: of pixels from which it is continued; spill: pixels of the far side that may have colours of
    the near one; meets: pixels at which the first surface is torn or ends.
    """

    under: BoolMap
    weight: FloatMap
    spill: BoolMap
    meets: BoolMap


def layers_of(
    depth: FloatMap,
    image: NDArray[Any],
    *,
    focal_px: float,
    edge_rtol: float,
    reveal: float,
    dropped: BoolMap | None = None,
    margin: int = 0,
    stride: int,
) -> Layers:
    """The photo in front, and the far side continued behind it.

    Args:
        depth: (H, W) z in metres, at least 2x2; what is not finite and above 0 is no surface.
        image: (H, W, C) colours, uint8 or float.
        focal_px: focal length in pixels, the larger of both.
        edge_rtol: relative step in depth between the corners of a cell from which it is torn.
        reveal: how far the camera may move to any side, as a share of the median depth.
        dropped: (H, W) True where the first surface is taken away and the second goes on instead.
        margin: pixels by which the second surface continues the photo beyond its border.
        stride: where nothing is torn, a cell every `stride` pixels.

    Returns:
        Layers. `front` reaches one pixel over the border of the photo, so that it fills the frame.

    Raises:
        ValueError: no pixel has a depth.
    """
    pad = margin + 1
    usable = np.isfinite(depth) & (depth > 0)
    if not usable.any():
        raise ValueError("No pixel has a depth.")
    shift_px = focal_px * reveal * float(np.median(depth[usable]))
    z = np.pad(np.where(usable, depth, np.float32(np.nan)), pad, mode="edge")
    free = np.ones(z.shape, np.bool_)
    inside = (slice(margin, z.shape[0] - margin), slice(margin, z.shape[1] - margin))
    free[inside] = False if dropped is None else np.pad(dropped, 1, mode="edge")
    z[free] = np.nan
    shown = z.copy()
    front = sheet_of(z[inside], edge_rtol, stride, deepest=shown[inside])
    band = _band(np.log(z), free, np.log1p(edge_rtol), shift_px, HALO_SHARE * max(depth.shape))
    plate = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    if not band.under.any():
        return Layers(front, None, plate, np.zeros(plate.shape[:2], np.bool_), margin)
    covered = band.under | band.spill
    colours = _colours(plate, band, covered)
    covered = covered[1:-1, 1:-1]
    plate[covered] = np.rint(colours).clip(0, 255) if plate.dtype == np.uint8 else colours
    behind = _behind(shown, band, edge_rtol, stride, shift_px)
    behind.pixels[:] -= margin
    return Layers(front, behind, plate, covered, margin)


def _band(log_z: FloatMap, free: BoolMap, step: float, shift_px: float, halo: float) -> _Band:
    """Where the far side of each tear is uncovered by a camera that moves by so much, and what it is continued from."""
    low, high = extremes_of(log_z)
    with np.errstate(invalid="ignore"):
        torn = np.flatnonzero(np.pad(high - low > step, ((0, 1), (0, 1))))  # by the first corner of a cell
    around = halo + SOURCE_PX
    seeds = np.full(log_z.shape, NOTHING, np.int64)
    near = np.full(log_z.shape, NOTHING, np.int64)
    beyond = _farthest(log_z, round(SLOPE_HALOS * halo))  # outlines are slopes, of some pixels between both sides
    before = _farthest(-log_z, round(SLOPE_HALOS * halo))
    corners = [torn + offset for offset in offsets_of(log_z.shape)]
    meets = np.zeros_like(free)
    meets.reshape(-1)[corners] = True
    depths = [log_z.reshape(-1)[corner] for corner in corners]
    near_side = all_of(np.fmin, depths)
    far_side = all_of(np.fmax, [beyond.reshape(-1)[corner] for corner in corners])
    nearest = -all_of(np.fmax, [before.reshape(-1)[corner] for corner in corners])
    reach = DIAGONAL * shift_px * (np.exp(-nearest) - np.exp(-far_side)) + around
    spill_key = round(halo * PIXEL_STEPS) << PAYLOAD_BITS
    for corner, depth in zip(corners, depths, strict=True):
        is_far = depth > near_side + step
        at = corner[is_far]  # no pixel is the same corner of two cells
        keys = _keys(reach[is_far], beyond.reshape(-1)[at])
        seeds.reshape(-1)[at] = np.maximum(seeds.reshape(-1)[at], keys)
        near.reshape(-1)[corner[depth <= near_side + step]] = spill_key
    if free.any():
        at = np.flatnonzero((_farthest(free.astype(np.float32), 1) > 0) & np.isfinite(log_z))  # beside it
        meets.reshape(-1)[at] = True
        keys = _keys(np.full(len(at), around), log_z.reshape(-1)[at])
        seeds.reshape(-1)[at] = np.maximum(seeds.reshape(-1)[at], keys)
        near[free] = spill_key
    grown = _spread(seeds)
    limit = _log_depth(grown) - np.float32(step)
    reached = grown > 0
    with np.errstate(invalid="ignore"):
        under = reached & (log_z < limit)
        source = reached & (log_z >= limit)
    spill = source & (_spread(near) > 0)
    weight = np.where(spill, np.float32(SPILL_WEIGHT), source.astype(np.float32))
    return _Band(under | free, weight, spill, meets)


def _farthest(values: FloatMap, radius: int) -> FloatMap:
    """The largest within so many rows and columns, NaN left out."""
    result: FloatMap = np.where(np.isnan(values), np.float32(-np.inf), values)
    for array in (result, result.T):
        done = 0
        while done < radius:  # windows of 1, 3, 9, ... pixels
            move = min(2 * done + 1, radius - done)
            before = array.copy()
            np.maximum(array[move:], before[:-move], out=array[move:])
            np.maximum(array[:-move], before[move:], out=array[:-move])
            done += move
    return result


def _behind(z: FloatMap, band: _Band, rtol: float, stride: int, shift_px: float) -> Sheet:
    """What goes on under the first surface, and where that is torn itself, a second sheet that closes its gaps.

    z (rows, columns) of the first; shift_px: how far a camera moves, in pixels of what is at 1 m.
    """
    step = np.log1p(rtol)
    second = _continued(z, band, step)
    low, high = extremes_of(second)
    with np.errstate(invalid="ignore"):
        torn = np.flatnonzero(np.pad(high - low > step, ((0, 1), (0, 1))))
    parts = [sheet_of(np.exp(second), rtol, stride, wanted=band.under, over=z)]
    if len(torn):
        reach = DIAGONAL * shift_px * (np.exp(-low) - np.exp(-high)).reshape(-1)[torn - torn // z.shape[1]] + SOURCE_PX
        near = np.full(z.shape, -np.inf, np.float32)
        third = np.where(np.isnan(second), np.float32(-np.inf), second + np.float32(MARGIN * step))
        near.reshape(-1)[torn] = reach
        for values, slope in ((near, 1.0), (third, SLOPE * step)):
            _majorant(values, slope)
            _majorant(values.T, slope)
        third[(near <= 0) | np.isnan(second)] = np.nan
        parts.append(sheet_of(np.exp(third), rtol, stride, wanted=near > 0, over=z))
    return joined(parts)


def _continued(z: FloatMap, band: _Band, step: float) -> FloatMap:
    """Log of the depth of the second surface (rows, columns): that of the nearest far side, behind the first.

    What is hidden is most often more of what is seen next to it. A mean of several things around it would lie at none
    of them: between a house and the sky, far behind the house. It meets the first surface where that is torn, and goes
    on under it where it is not. NaN where the surface is not.
    """
    known = np.flatnonzero(band.weight)
    log_z = np.log(z)
    keys = np.full(z.shape, NOTHING, np.int64)
    keys.reshape(-1)[known] = _keys(np.zeros(len(known)), log_z.reshape(-1)[known])
    behind = log_z + np.float32(MARGIN * step)
    result: FloatMap = np.where(band.under, np.fmax(_log_depth(_spread(keys)), behind), np.float32(np.nan))
    result.reshape(-1)[known] = np.where(band.meets, log_z, behind).reshape(-1)[known]
    return result


def with_dome(depth: FloatMap, beyond: BoolMap, far_m: float, x_slope: FloatMap, y_slope: FloatMap) -> FloatMap:
    """Depth with a surface where it lies beyond the farthest: a sphere around the camera, or a wall at `far_m` where
    that does not reach the top of the picture, as the sky does.

    Args:
        depth: (H, W) metres.
        beyond: (H, W) True where it is farther than `far_m`.
        far_m: metres.
        x_slope: (W,) x / z of the columns; y_slope: (H,) y / z of the rows.

    Returns:
        (H, W) metres, a new array.
    """
    if beyond.mean() < SKY_SHARE or not lies_like_sky(beyond):
        return np.where(beyond, np.float32(far_m), depth)
    return np.where(beyond, np.float32(DOME * far_m) / np.sqrt(1 + x_slope**2 + (y_slope**2)[:, None]), depth)


def lies_like_sky(region: BoolMap) -> bool:
    """Whether `region` (H, W) takes part of the top rows and next to nothing of the lowest quarter."""
    height = len(region)
    top, bottom = region[: max(1, height // 50)], region[height - max(1, height // 4) :]
    return bool(top.mean() >= SKY_TOP_SHARE and bottom.sum() <= SKY_BOTTOM_SHARE * region.sum())


def _colours(plate: NDArray[Any], band: _Band, covered: BoolMap) -> FloatMap:
    """Colours (N, C) of what goes on under the first surface, of the pixels inside the plate that are `covered`.

    plate (rows - 2, columns - 2, C); covered (rows, columns).
    """
    source = np.flatnonzero(band.weight)
    wanted = np.flatnonzero(covered[1:-1, 1:-1])
    row, column = np.divmod(wanted, plate.shape[1])
    wanted = (row + 1) * covered.shape[1] + column + 1
    row, column = np.divmod(source, covered.shape[1])
    at = (row - 1).clip(0, len(plate) - 1), (column - 1).clip(0, plate.shape[1] - 1)
    values = plate[at].astype(np.float32)
    return push_pull(covered.shape, source, values, band.weight.reshape(-1)[source], wanted)


def _keys(reach_px: NDArray[Any], log_z: FloatMap) -> NDArray[np.int64]:
    """Reach in pixels and log of a depth in one number, to be compared by reach first."""
    depth = np.where(np.isfinite(log_z), (log_z - LOG_LOWEST) * LOG_STEPS, 0).astype(np.int64)
    keys: NDArray[np.int64] = np.rint(reach_px * PIXEL_STEPS).astype(np.int64) << PAYLOAD_BITS
    keys += depth
    return keys


def _log_depth(keys: NDArray[np.int64]) -> FloatMap:
    """The log of a depth that was put into each key."""
    depth: FloatMap = (keys & ((1 << PAYLOAD_BITS) - 1)).astype(np.float32)
    depth *= np.float32(1 / LOG_STEPS)
    depth += np.float32(LOG_LOWEST)
    return depth


def _spread(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """The largest key that reaches each pixel, its reach less by one for each pixel of the way."""
    for values in (keys, keys.T):
        _majorant(values, PIXEL_STEPS << PAYLOAD_BITS)
    return keys


def _majorant(values: NDArray[Any], slope: float) -> None:
    """Raise values (N, ...) along the first axis, in place, so that they fall by `slope` a step at most."""
    rise = (np.arange(len(values)) * slope).astype(values.dtype).reshape(-1, *(1,) * (values.ndim - 1))
    for way in (values, values[::-1]):
        way += rise
        np.maximum.accumulate(way, axis=0, out=way)
        way -= rise
