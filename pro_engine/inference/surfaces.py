"""From a refined canvas to a map with sharp steps at the picture's own size.

A refined map has soft steps, and slopes where a flat surface has a pattern. `OutlineNet` (`pro_engine.models`) says
where an outline of depth is near by, and which pixels are on its near side. So every pixel there gets a near and a far
surface, the means of the map on either side of the outline but for what is right beside it, and a score of the near
one: what the network says, and which side's colour it has (one Gaussian a side), which is right to the pixel. That is
matting with a trimap (Chuang et al., CVPR 2001, in its simplest form). Where no outline is, both surfaces are the map,
and it is smooth.

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

from pro_engine.types import BoolMap, FloatMap, ImageArray

OUTLINE_SHARES = (0.5, 0.8)
"""Probability of an outline near by, from which on a step is sharpened, and from which on it is in full."""
FLAT_SHARES = (0.1, 0.3)
"""The same, up to which the map is smoothed in full, and up to which it is at all."""
FLAT_SIGMA_PX = 3.0
"""Gaussian that smooths it, in pixels of the canvas, as all lengths here."""
SLOPE_PX = 2.0
"""What is closer to the line between both sides hardly counts: there is the slope of the soft step."""
SIDE_SIGMA_PX = 3.0
"""Gaussian over which the means of a side are taken."""
LEAST_STEP = 0.02
"""Share of the map's range from which on a step is sharpened; in full at twice that."""
SEPARATION = (1.0, 4.0)
"""Squared distance of both sides' mean colours in variances, from which on they can be told apart, and can in full."""
COLOUR_NOISE = 0.03
"""Deviation of a side's colour at least, of 1."""
MOST_COLOUR_SCORE = 6.0
"""The most that the logarithm of the colours' odds counts."""
DISTINCT = 0.02
"""Share of the map's range by which both surfaces differ where a pixel may be of both."""
_LEAST_PIXELS = (0.01, 0.03)  # share of a side around, from which on it is known, and is in full
_LEAST_WEIGHT = 0.02
_BAND_PX = 256
_HALO_PX = 48
_TINY = 1e-9

Surfaces = NDArray[np.float32]


class Sides(NamedTuple):
    """What `OutlineNet` says of a canvas: the probability that an outline is near by, and the logit that a pixel is on
    its near side, (h, w) each."""

    near_by: FloatMap
    near_side: FloatMap


class _Side(NamedTuple):
    """One side around every pixel: its share of the weight (h, w), means of map (h, w) and colour (h, w, 3), and the
    colour's variance (h, w)."""

    share: FloatMap
    value: FloatMap
    colour: NDArray[np.float32]
    variance: FloatMap

    @classmethod
    def of(cls, stack: NDArray[np.float32], weight: FloatMap, around: FloatMap) -> _Side:
        """stack (h, w, 6) of 1, map, colour and its square; weight (h, w) of the side's pixels; around: that of both
        sides together, smoothed."""
        sums = _smooth(stack * weight[..., None], SIDE_SIGMA_PX)
        means = sums / (sums[..., :1] + _TINY)
        colour = means[..., 2:5]
        variance = np.maximum(means[..., 5] - np.einsum("hwc,hwc->hw", colour, colour), 0) / 3 + COLOUR_NOISE**2
        return cls(sums[..., 0] / (around + _TINY), means[..., 1], colour, variance)

    def cost(self, colours: NDArray[np.float32]) -> FloatMap:
        """What a colour says against this side, minus the logarithm of its density."""
        off = colours - self.colour
        cost: FloatMap = 0.5 * np.einsum("hwc,hwc->hw", off, off) / self.variance + 1.5 * np.log(self.variance)
        return cost


def find(canvas: FloatMap, image: ImageArray, sides: Sides) -> Surfaces:
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
        part = Sides(*(each[rows] for each in sides))
        found[:, top:stop] = _find(canvas[rows], image[rows], part, extent)[:, first : first + stop - top]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        list(threads.map(work, range(0, height, _BAND_PX)))
    return found


def _find(values: FloatMap, image: ImageArray, sides: Sides, extent: float) -> Surfaces:
    flat = 1 - _ramp(_smooth(sides.near_by, 2), FLAT_SHARES)
    plain = values + flat * (_smooth(values, FLAT_SIGMA_PX) - values)
    is_near = sides.near_side > 0
    line = _line_between(is_near, sides.near_by > 0.5)
    if not line.any():
        return np.stack((plain, plain, sides.near_side))
    away = cv2.distanceTransform((~line).astype(np.uint8), cv2.DIST_L2, 5)
    weight = (1 + _LEAST_WEIGHT - np.exp(-(np.minimum(away / SLOPE_PX, 9) ** 2))).astype(np.float32)
    # Noise is no outline.
    colours = cv2.blur(image, (3, 3)).astype(np.float32) / np.float32(255)
    stack = np.dstack((np.ones_like(values), values, colours, np.einsum("hwc,hwc->hw", colours, colours)))
    around = _smooth(weight, SIDE_SIGMA_PX)
    near, far = (_Side.of(stack, weight * chosen, around) for chosen in (is_near, ~is_near))
    off = near.colour - far.colour
    separation = np.einsum("hwc,hwc->hw", off, off) / (near.variance + far.variance)
    odds = np.clip(far.cost(colours) - near.cost(colours), -MOST_COLOUR_SCORE, MOST_COLOUR_SCORE)
    score = sides.near_side + _ramp(separation, SEPARATION) * odds
    step = _smooth(_ramp(sides.near_by, OUTLINE_SHARES), 1)
    step *= np.clip((near.value - far.value) / (extent * LEAST_STEP) - 1, 0, 1)
    step *= _ramp(np.minimum(near.share, far.share), _LEAST_PIXELS)
    return np.stack((plain + step * (near.value - plain), plain + step * (far.value - plain), score))


def _line_between(is_near: BoolMap, counts: BoolMap) -> BoolMap:
    """Pixels with a neighbour on the other side, where one of the two counts; all (h, w)."""
    line = np.zeros_like(is_near)
    for one, other in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        differ = (is_near[one] != is_near[other]) & (counts[one] | counts[other])
        line[one] |= differ
        line[other] |= differ
    return line


def _smooth(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)


def _ramp(values: FloatMap, limits: tuple[float, float]) -> FloatMap:
    """0 up to the first limit, 1 from the second on."""
    low, high = limits
    ramp: FloatMap = np.clip((values - low) / (high - low), 0, 1)
    return ramp


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
