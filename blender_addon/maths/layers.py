# SPDX-License-Identifier: Apache-2.0
"""A depth map to two surfaces that hold when the camera moves: the photo in front, and what goes on behind it.

In front lies every cell between four pixels. Where the depth steps by more than a threshold, the cell belongs to the
nearer side alone: the outline of what is near stays whole, and from the photo's own camera there is no gap. Behind it
the farther side goes on, under what is near, over the band that a camera moved sideways uncovers: its depth and its
colours are continued smoothly from the far side, and it is never in front of the first surface.

Needs numpy alone, and of the project `push_pull.py` beside it: the Blender add-on has copies of both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .push_pull import push_pull

FloatMap = NDArray[np.float32]
BoolMap = NDArray[np.bool_]

HALO_SHARE = 1 / 600  # of the longer side: how far colours of the near side spill over an outline
SLOPE_HALOS = 1.5  # in these: how far the far side of an outline is from its near side at most
SOURCE_PX = 8  # how far around a band its colours and depths are taken from, beside the spill
SPILL_WEIGHT = 1e-4  # of pixels that may have colours of the near side, for where there are no others
DIAGONAL = 2**0.5  # distances are counted along rows and columns
SAME = 1e-4  # relative difference of depths up to which both surfaces meet
SLOPE = 0.49  # of the threshold, a pixel: across a cell in both directions the second surface stays below it
DOME = 4.0  # distance of the sky in distances of the farthest surface: beside that it hardly moves
SKY_SHARE = 0.01  # of the picture: what is less is a gap in something
SKY_TOP_SHARE, SKY_BOTTOM_SHARE = 0.25, 0.1  # of the top rows at least; of its pixels in the lowest quarter at most
PAYLOAD_BITS, PIXEL_STEPS, LOG_STEPS, LOG_LOWEST = 20, 64, 1 << 14, -32.0
NOTHING = -(1 << 48)


class Sheet(NamedTuple):
    """Faces over the grid of pixels. Corners of a quad run counter-clockwise as the camera sees them.

    pixels (V, 2) float32 column and row in the photo, beyond its border too; depth (V,) float32 metres; quads (Q, 4)
    int32; own (V,) bool, False for vertices that hold an outline: they stand at a pixel of the far side, at the depth
    of the near one.
    """

    pixels: FloatMap
    depth: FloatMap
    quads: NDArray[np.int32]
    own: BoolMap


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
    the near one.
    """

    under: BoolMap
    weight: FloatMap
    spill: BoolMap


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
    front = sheet_of(z[inside], edge_rtol, stride)
    band = _band(np.log(z), free, np.log1p(edge_rtol), shift_px, HALO_SHARE * max(depth.shape))
    plate = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    if not band.under.any():
        return Layers(front, None, plate, np.zeros(plate.shape[:2], np.bool_), margin)
    covered = band.under | band.spill
    inverse, colours = _filled(z, plate, band, covered)
    covered = covered[1:-1, 1:-1]
    plate[covered] = np.rint(colours).clip(0, 255) if plate.dtype == np.uint8 else colours
    second = _continued(z, inverse, band, edge_rtol)
    with np.errstate(invalid="ignore"):
        wanted = band.under | (second > z)
    behind = sheet_of(second, edge_rtol, stride, wanted=wanted)
    behind.pixels[:] -= margin
    return Layers(front, behind, plate, covered, margin)


def _band(log_z: FloatMap, free: BoolMap, step: float, shift_px: float, halo: float) -> _Band:
    """Where the far side of each tear is uncovered by a camera that moves by so much, and what it is continued from."""
    low, high = _extremes(log_z)
    with np.errstate(invalid="ignore"):
        torn = np.flatnonzero(np.pad(high - low > step, ((0, 1), (0, 1))))  # by the first corner of a cell
    around = halo + SOURCE_PX
    seeds = np.full(log_z.shape, NOTHING, np.int64)
    near = np.full(log_z.shape, NOTHING, np.int64)
    beyond = _farthest(log_z, round(SLOPE_HALOS * halo))  # outlines are slopes, of some pixels between both sides
    corners = [torn + offset for offset in _offsets(log_z.shape)]
    depths = [log_z.reshape(-1)[corner] for corner in corners]
    near_side = _all_of(np.fmin, depths)
    far_side = _all_of(np.fmax, [beyond.reshape(-1)[corner] for corner in corners])
    reach = DIAGONAL * shift_px * (np.exp(-near_side) - np.exp(-far_side)) + around
    spill_key = round(halo * PIXEL_STEPS) << PAYLOAD_BITS
    for corner, depth in zip(corners, depths, strict=True):
        is_far = depth > near_side + step
        at = corner[is_far]  # no pixel is the same corner of two cells
        keys = _keys(reach[is_far], beyond.reshape(-1)[at])
        seeds.reshape(-1)[at] = np.maximum(seeds.reshape(-1)[at], keys)
        near.reshape(-1)[corner[depth <= near_side + step]] = spill_key
    if free.any():
        at = np.flatnonzero((_farthest(free.astype(np.float32), 1) > 0) & np.isfinite(log_z))  # beside it
        keys = _keys(np.full(len(at), around), log_z.reshape(-1)[at])
        seeds.reshape(-1)[at] = np.maximum(seeds.reshape(-1)[at], keys)
        near[free] = spill_key
    grown = _spread(seeds)
    limit = (grown & ((1 << PAYLOAD_BITS) - 1)).astype(np.float32)
    limit *= np.float32(1 / LOG_STEPS)
    limit += np.float32(LOG_LOWEST - step)
    reached = grown > 0
    with np.errstate(invalid="ignore"):
        under = reached & (log_z < limit)
        source = reached & (log_z >= limit)
    spill = source & (_spread(near) > 0)
    weight = np.where(spill, np.float32(SPILL_WEIGHT), source.astype(np.float32))
    return _Band(under | free, weight, spill)


def _all_of(combine: np.ufunc, values: list[FloatMap]) -> FloatMap:
    """Four arrays in one."""
    return combine(combine(values[0], values[1]), combine(values[2], values[3]))  # type: ignore[no-any-return]


def _offsets(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """From the first corner of a cell to each, in a flat array."""
    return 0, shape[1], shape[1] + 1, 1


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


def _continued(z: FloatMap, inverse: FloatMap, band: _Band, rtol: float) -> FloatMap:
    """Depth of the second surface: what was filled in, behind the first and without steep slopes; NaN where it is not.

    z (rows, columns) of the first, inverse of the same size its continued inverse.
    """
    step = np.log1p(rtol)
    first = np.where(band.under | (band.weight > 0), np.log(z), np.float32(np.nan))
    least = np.where(np.isnan(first), np.float32(-1e3), first + np.where(band.under, np.float32(step / 2), 0))
    wanted = np.where(band.under, np.log(np.maximum(inverse, np.float32(1e-9))), -first)  # of the inverse
    nearest = np.where(np.isnan(wanted), np.float32(-1e3), wanted)
    for values in (least, least.T, nearest, nearest.T):
        _majorant(values, SLOPE * step)
    behind = np.maximum(least, -nearest)
    behind = np.exp(behind)
    on_first = ~band.under & (behind <= z * np.float32(1 + SAME))
    result: FloatMap = np.where(on_first, z, behind)
    result[~band.under & (band.weight == 0)] = np.nan
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


def _filled(z: FloatMap, plate: NDArray[Any], band: _Band, covered: BoolMap) -> tuple[FloatMap, FloatMap]:
    """What goes on under the first surface: inverse depth, of the size of `z`, and the colours of what is `covered`.

    plate (rows - 2, columns - 2, C); covered of the size of `z`. The colours are those inside the plate, (N, C).
    """
    source = np.flatnonzero(band.weight)
    wanted = np.flatnonzero(covered)
    row, column = np.divmod(source, z.shape[1])
    at = (row - 1).clip(0, len(plate) - 1), (column - 1).clip(0, plate.shape[1] - 1)
    values = np.empty((len(source), plate.shape[2] + 1), np.float32)
    values[:, :-1] = plate[at]
    values[:, -1] = 1 / z.reshape(-1)[source]
    filled = push_pull(z.shape, source, values, band.weight.reshape(-1)[source], wanted)
    inverse = np.ones(z.shape, np.float32)
    inverse.reshape(-1)[wanted] = filled[:, -1]
    row, column = np.divmod(wanted, z.shape[1])
    inside = (row > 0) & (row < z.shape[0] - 1) & (column > 0) & (column < z.shape[1] - 1)
    return inverse, filled[inside, :-1]


def _keys(reach_px: NDArray[Any], log_z: FloatMap) -> NDArray[np.int64]:
    """Reach in pixels and log of a depth in one number, to be compared by reach first."""
    depth = np.where(np.isfinite(log_z), (log_z - LOG_LOWEST) * LOG_STEPS, 0).astype(np.int64)
    keys: NDArray[np.int64] = np.rint(reach_px * PIXEL_STEPS).astype(np.int64) << PAYLOAD_BITS
    keys += depth
    return keys


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


_A, _B = (slice(None, -1), slice(None, -1)), (slice(None, -1), slice(1, None))
_C, _D = (slice(1, None), slice(None, -1)), (slice(1, None), slice(1, None))
_CORNERS = (_A, _C, _D, _B)  # counter-clockwise as seen in the picture, y down


def _extremes(values: FloatMap) -> tuple[FloatMap, FloatMap]:
    """The lowest and the highest corner of each cell (rows - 1, columns - 1), NaN left out."""
    corners = [values[corner] for corner in _CORNERS]
    return _all_of(np.fmin, corners), _all_of(np.fmax, corners)


def sheet_of(z: FloatMap, rtol: float, stride: int, *, wanted: BoolMap | None = None) -> Sheet:
    """Faces of all cells with a corner that has a depth, each on its near side alone, or of those that are wanted.

    Args:
        z: (rows, columns) metres, NaN where there is nothing; the first row and column lie outside the photo.
        rtol: relative step from which a corner is of the far side, and is replaced by one at the depth of the near.
        stride: squares of so many cells become one where none is torn.
        wanted: (rows, columns): only cells with a corner here, and of these only such as are not torn.
    """
    low, high = _extremes(z)
    near_limit = low * np.float32(1 + rtol)
    drawn = np.isfinite(low)
    if wanted is not None:
        drawn &= wanted[_A] | wanted[_B] | wanted[_C] | wanted[_D]
    whole = drawn & (high <= near_limit)
    for corner in _CORNERS:
        whole &= np.isfinite(z[corner])
    torn = drawn & ~whole if wanted is None else np.zeros_like(drawn)
    held = np.full(z.shape, np.inf, np.float32)  # the nearest that a pixel is replaced by
    for corner in _CORNERS:
        np.minimum(held[corner], np.where(torn, low, np.float32(np.inf)), out=held[corner])
    rows, columns = np.nonzero(torn)
    first = rows * z.shape[1] + columns
    pixel = np.stack([first + offset for offset in _offsets(z.shape)], axis=1)  # (T, 4)
    limit = near_limit[torn][:, None]
    with np.errstate(invalid="ignore"):
        is_own = z.reshape(-1)[pixel] <= limit
    # A replaced corner is shared among the cells around it, unless it is too near for one of them.
    highest = np.where(is_own, z.reshape(-1)[pixel], 0).max(axis=1, keepdims=True)
    is_shared = ~is_own & (highest <= held.reshape(-1)[pixel] * np.float32(1 + rtol))
    alone = ~(is_own | is_shared)
    squares, z = _squares(z, whole, stride) if stride > 1 else (_corners_of(whole), z)
    used = np.zeros(z.size, np.bool_)
    used[squares] = used[pixel[is_own]] = True
    extra = np.zeros(z.size, np.bool_)
    extra[pixel[is_shared]] = True
    number, extra_number = (np.cumsum(mask, dtype=np.int32) - 1 for mask in (used, extra))
    counts = int(used.sum()), int(extra.sum()), int(alone.sum())
    quads = np.empty((len(squares) + len(pixel), 4), np.int32)
    quads[: len(squares)] = number[squares]
    edge = np.where(is_own, number[pixel], extra_number[pixel] + counts[0])
    edge[alone] = np.arange(counts[2]) + counts[0] + counts[1]
    quads[len(squares) :] = edge
    places = np.concatenate([np.flatnonzero(used), np.flatnonzero(extra), pixel[alone]])
    flat_low = np.broadcast_to(low[torn][:, None], pixel.shape)
    depth = np.concatenate([z.reshape(-1)[used], held.reshape(-1)[extra], flat_low[alone]])
    pixels = np.stack([places % z.shape[1] - 1, places // z.shape[1] - 1], axis=1).astype(np.float32)
    return Sheet(pixels, depth, quads, np.arange(len(depth)) < counts[0])


def _corners_of(cells: BoolMap) -> NDArray[np.intp]:
    """(N, 4) flat indices of the corners of cells (rows - 1, columns - 1) on a grid (rows, columns)."""
    rows, columns = np.nonzero(cells)
    first, width = rows * (cells.shape[1] + 1) + columns, cells.shape[1] + 1
    return np.stack([first, first + width, first + width + 1, first + 1], axis=1)


def _squares(z: FloatMap, whole: BoolMap, stride: int) -> tuple[NDArray[np.intp], FloatMap]:
    """Corners of whole cells, `stride` x `stride` of them joined where all are whole; and the depth of the vertices.

    A vertex on the side of a larger square is put onto the straight line that this side is, so that no crack opens.
    """
    lines = [np.append(np.arange(0, n - 1, stride), n - 1) for n in z.shape]
    joined = np.logical_and.reduceat(np.logical_and.reduceat(whole, lines[0][:-1], axis=0), lines[1][:-1], axis=1)
    rows, columns = np.nonzero(joined)
    top, bottom = (lines[0][rows + k] * z.shape[1] for k in (0, 1))
    left, right = (lines[1][columns + k] for k in (0, 1))
    large = np.stack([top + left, bottom + left, bottom + right, top + right], axis=1)
    block = [np.repeat(np.arange(len(line) - 1), np.diff(line)) for line in lines]
    small = whole & ~joined[np.ix_(*block)]
    straight = z.copy()
    for depth, across, along, is_large in ((straight, *lines, joined), (straight.T, *lines[::-1], joined.T)):
        has_side = np.zeros((len(across), is_large.shape[1]), np.bool_)
        has_side[:-1] ^= is_large
        has_side[1:] ^= is_large  # between two large squares nothing is on the side
        line, square = np.nonzero(has_side)
        for k in range(1, stride):
            at = along[square] + k
            inside = at < along[square + 1]
            row, start, stop, at = across[line][inside], along[square][inside], along[square + 1][inside], at[inside]
            share = (at - start) / (stop - start)
            depth[row, at] = 1 / ((1 - share) / depth[row, start] + share / depth[row, stop])
    return np.concatenate([large, _corners_of(small)]), straight
