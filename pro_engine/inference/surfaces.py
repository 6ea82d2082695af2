"""From a refined canvas to a map with sharp steps at the picture's own size, without anything to learn.

Where a refined map has a soft step, it is known on both sides of it what the surface is and what colours it has; in
between, the picture tells which side a pixel belongs to. So every pixel gets a near and a far surface, the means of the
map over those pixels around that are nearly the nearest or the farthest, and a score of the near one, from its colour
(one Gaussian a side) and its place on the slope. Where there is no step, or both sides look alike, both surfaces are
the map as it is. This is matting with a trimap that comes from the map (Chuang et al., CVPR 2001, in its simplest
form), and what it takes the place of is a filter that averages over like colours (`sharpen.py`).

Surfaces and score are enlarged linearly, and only then every pixel of the picture takes the surface that its score
tells, so that an outline is a step between two pixels of the picture, however much larger that is than the canvas.
Nothing lies beyond both sides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pro_engine.types import FloatMap, ImageArray

SIDE_PX = 5
"""How far from a pixel of a slope both sides are looked for, in pixels of the canvas."""
AROUND_PX = 15
"""A step makes up most of what the map varies by within this distance; a slope does not."""
SIDE_SHARE = 0.25
"""Share of the range, from either end, in which a pixel counts as one of that side."""
LEAST_STEP = 0.04
"""Share of the map's range from which on a step is sharpened; in full at twice that."""
STEP_SHARES = (0.5, 0.7)
"""Share of the range around that a step has at least, and from which on it is sharpened in full."""
SEPARATION = (1.0, 4.0)
"""Squared distance of both sides' mean colours in variances, from which on they can be told apart, and can in full."""
COLOUR_NOISE = 0.03
"""Deviation of a side's colour at least, of 1."""
DISTINCT = 0.02
"""Share of the map's range by which both surfaces differ where a pixel may be of both."""
_PLACE_SCORE = 4.0  # of a pixel at an end of the slope, as a logit
_MOST_COLOUR_SCORE = 6.0
_LEAST_PIXELS = 0.05  # of the window
_BAND_PX = 256
_HALO_PX = AROUND_PX + 2 * SIDE_PX
_TINY = 1e-9

Surfaces = NDArray[np.float32]


class _Side(NamedTuple):
    """The pixels of one side around every pixel: share of the window (h, w), means of map (h, w) and colour (h, w, 3),
    and the colour's variance (h, w)."""

    share: FloatMap
    value: FloatMap
    colour: NDArray[np.float32]
    variance: FloatMap

    @classmethod
    def of(cls, values: FloatMap, colours: NDArray[np.float32], chosen: NDArray[np.bool_]) -> _Side:
        weight = chosen.astype(np.float32)
        square = np.einsum("hwc,hwc->hw", colours, colours)
        stack = np.dstack((np.ones_like(weight), values, colours, square)) * weight[..., None]
        sums = np.asarray(cv2.blur(stack, (2 * SIDE_PX + 1,) * 2), np.float32)
        share = sums[..., 0]
        means = sums / (share[..., None] + _TINY)
        colour = means[..., 2:5]
        variance = np.maximum(means[..., 5] - np.einsum("hwc,hwc->hw", colour, colour), 0) / 3 + COLOUR_NOISE**2
        return cls(share, means[..., 1], colour, variance)

    def cost(self, colours: NDArray[np.float32]) -> FloatMap:
        """What a colour says against this side, minus the logarithm of its density."""
        off = colours - self.colour
        cost: FloatMap = 0.5 * np.einsum("hwc,hwc->hw", off, off) / self.variance + 1.5 * np.log(self.variance)
        return cost


def find(canvas: FloatMap, image: ImageArray) -> Surfaces:
    """The near and the far surface and the score of the near one, a logit, (3, h, w), of a canvas (h, w) and its
    picture (h, w, 3) uint8 RGB. Band by band, so that memory does not grow with the picture."""
    height = len(canvas)
    low, high = np.percentile(canvas[::4, ::4], (1, 99))
    extent = max(float(high - low), _TINY)
    found = np.empty((3, *canvas.shape), np.float32)

    def work(top: int) -> None:
        stop = min(top + _BAND_PX, height)
        rows = slice(max(0, top - _HALO_PX), stop + _HALO_PX)
        first = top - rows.start
        found[:, top:stop] = _find(canvas[rows], image[rows], extent)[:, first : first + stop - top]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        list(threads.map(work, range(0, height, _BAND_PX)))
    return found


def _find(values: FloatMap, image: ImageArray, extent: float) -> Surfaces:
    # Noise is no outline.
    colours = cv2.blur(image, (3, 3)).astype(np.float32) / np.float32(255)
    low, span = _range(values, SIDE_PX)
    place = (values - low) / (span + _TINY)
    near, far = (_Side.of(values, colours, chosen) for chosen in (place > 1 - SIDE_SHARE, place < SIDE_SHARE))
    off = near.colour - far.colour
    separation = np.einsum("hwc,hwc->hw", off, off) / (near.variance + far.variance)
    score = np.clip(far.cost(colours) - near.cost(colours), -_MOST_COLOUR_SCORE, _MOST_COLOUR_SCORE)
    score += _PLACE_SCORE * (2 * place - 1)
    step = np.clip((near.value - far.value) / (extent * LEAST_STEP) - 1, 0, 1)
    step *= _ramp(separation, SEPARATION) * _ramp(span / (_range(values, AROUND_PX)[1] + _TINY), STEP_SHARES)
    step *= (near.share > _LEAST_PIXELS) & (far.share > _LEAST_PIXELS)
    return np.stack((values + step * (near.value - values), values + step * (far.value - values), score))


def _range(values: FloatMap, reach: int) -> tuple[FloatMap, FloatMap]:
    """Least value within `reach` pixels, and the largest one less that."""
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    low = np.asarray(cv2.erode(values, window), np.float32)
    return low, np.asarray(cv2.dilate(values, window), np.float32) - low


def _ramp(values: FloatMap, ends: tuple[float, float]) -> FloatMap:
    return np.clip((values - ends[0]) / (ends[1] - ends[0]), 0, 1)


def shown(surfaces: Surfaces) -> FloatMap:
    """The surface with the larger share; (3, h, w) -> (h, w)."""
    return np.where(surfaces[2] > 0, surfaces[0], surfaces[1])


def on_picture(surfaces: Surfaces, size: tuple[int, int], *, aligned: bool = False) -> FloatMap:
    """The map of a picture of `size` (H, W); aligned: corner pixels lie on corner pixels, else edges on edges."""
    disparity = np.empty(size, np.float32)
    for rows, band in _bands(surfaces, size, aligned):
        disparity[rows] = shown(band)
    return disparity


def alpha_of(surfaces: Surfaces, size: tuple[int, int], *, aligned: bool = False) -> FloatMap:
    """Which share of every pixel of a picture of `size` (H, W) the near surface fills, 0 to 1; 1 where there is one
    surface only, that is where both differ by less than 2 % of the map's range."""
    low, high = np.percentile(shown(surfaces), (1, 99))
    distinct = DISTINCT * max(float(high - low), 1e-12)
    alpha = np.empty(size, np.float32)
    for rows, (near, far, share) in _bands(surfaces, size, aligned):
        two = np.clip((near - far) / distinct - 1, 0, 1)
        alpha[rows] = 1 - two / (1 + np.exp(np.clip(share, -30, 30)))
    return alpha


def _bands(surfaces: Surfaces, size: tuple[int, int], aligned: bool) -> Iterator[tuple[slice, Surfaces]]:
    """Rows of the picture, and the surfaces (3, rows, W) there: three maps of its size never exist at once."""
    (h, w), (height, width) = surfaces.shape[1:], size
    above, below, part = _taps(h, height, aligned)
    before, after, share = _taps(w, width, aligned)
    for top in range(0, height, _BAND_PX):
        rows = slice(top, min(top + _BAND_PX, height))
        band = np.empty((3, rows.stop - top, width), np.float32)
        for plane, out in zip(surfaces, band, strict=True):
            first = plane[above[rows]]
            lines = first + part[rows, None] * (plane[below[rows]] - first)  # (rows, w)
            if aligned:
                out[:] = lines[:, before] + share * (lines[:, after] - lines[:, before])
            else:
                out[:] = cv2.resize(lines, (width, len(lines)), interpolation=cv2.INTER_LINEAR)
        yield rows, band


def _taps(length: int, wanted: int, aligned: bool) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For each of `wanted` pixels the two of `length` that it lies between, and the share of the second one."""
    places = np.arange(wanted)
    at = places * (length - 1) / max(wanted - 1, 1) if aligned else (places + 0.5) * length / wanted - 0.5
    at = np.clip(at, 0, length - 1)
    low = np.minimum(at.astype(np.intp), max(length - 2, 0))
    return low, np.minimum(low + 1, length - 1), (at - low).astype(np.float32)
