"""Scale and shift from what one knows of a photo: distances from the camera, and lengths between two of its points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import InputError
from pro_engine.geometry.camera import directions
from pro_engine.geometry.checks import check_intrinsics
from pro_engine.types import FloatMap, Intrinsics, ScaleShift

Pixel = tuple[float, float]
AROUND = 2  # pixels around a point whose median counts
TRIALS = 400
SAME = 0.02  # share of the map's range within which all points count as equally far
FARTHEST = 0.5  # percentile of the disparity that lies at infinity where nothing tells the shift


@dataclass(frozen=True)
class Measured:
    """Metres from the camera to a pixel (column, row), or with `other` between the points behind two pixels."""

    pixel: tuple[float, float]
    metres: float
    other: tuple[float, float] | None = None


@dataclass(frozen=True)
class KnownFit:
    """scale_shift: with source "fitted". worst: largest relative error of what was measured. shift_is_known: whether
    the measurements tell the shift, else the farthest surface is taken to be infinitely far, or `link` tells it."""

    scale_shift: ScaleShift
    worst: float
    shift_is_known: bool


def fit_known(
    disparity: FloatMap, intrinsics: Intrinsics | None, measured: Sequence[Measured], link: ScaleShift | None = None
) -> KnownFit:
    """The scale and shift of a map that agree best with what was measured, by relative errors.

    1 / z = s (d + b): every distance and length goes with 1 / s, so b is searched and s follows. One measurement, or
    several that are equally far, tell s alone.

    Args:
        disparity: (H, W) relative inverse depth, larger is nearer. intrinsics: of the map; None for the inverse
            distances of a whole panorama.
        measured: at least one. link: scale and shift of a model with metres of its own, whose b is kept if need be.

    Raises:
        InputError: a pixel outside the map or without a disparity, or one that can be at no distance.
    """
    if intrinsics is not None:
        check_intrinsics(intrinsics, disparity.shape)
    pixels = [pixel for one in measured for pixel in (one.pixel, one.other) if pixel is not None]
    d = {pixel: _at(disparity, pixel) for pixel in pixels}
    finite = disparity[np.isfinite(disparity)]
    low, high = (float(value) for value in np.percentile(finite, (FARTHEST, 100 - FARTHEST)))
    usual = -low if link is None else link.shift / link.scale
    spread = max(d.values()) - min(d.values())
    tells = len(measured) > 1 and spread > SAME * (high - low)
    least = -min(d.values())
    room = high - low + 1e-12
    tried = least + room * np.geomspace(1e-3, 1e2, TRIALS) if tells else np.array([max(usual, least + 1e-3 * room)])
    rays = {pixel: _ray(pixel, intrinsics, disparity.shape) for pixel in pixels}
    ratios = np.array([_ratios(float(b), d, rays, measured) for b in tried])  # (trials, measurements), log
    best = int(np.argmin(ratios.var(axis=1)))
    middle = float(ratios[best].mean())
    scale = math.exp(-middle)
    worst = float(np.abs(np.expm1(ratios[best] - middle)).max())
    return KnownFit(ScaleShift(scale, scale * float(tried[best]), source="fitted"), worst, tells)


def _at(disparity: FloatMap, pixel: Pixel) -> float:
    column, row = (round(value) for value in pixel)
    height, width = disparity.shape
    if not (0 <= column < width and 0 <= row < height):
        raise InputError(f"The point {pixel[0]:g},{pixel[1]:g} lies outside the picture of {width}x{height} pixels.")
    near = disparity[max(0, row - AROUND) : row + AROUND + 1, max(0, column - AROUND) : column + AROUND + 1]
    if not np.isfinite(near).any():
        raise InputError(f"At the point {pixel[0]:g},{pixel[1]:g} the map knows no surface; give another one.")
    return float(np.median(near[np.isfinite(near)]))


def _ray(pixel: Pixel, k: Intrinsics | None, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The point through a pixel at depth 1, or of a panorama at distance 1."""
    if k is None:
        return np.asarray(directions([pixel[1]], [pixel[0]], shape[0], shape[1])[0, 0], np.float64)
    return np.array([(pixel[0] - k.cx) / k.fx, (pixel[1] - k.cy) / k.fy, 1.0])


def _ratios(
    b: float, d: Mapping[Pixel, float], rays: Mapping[Pixel, NDArray[np.float64]], measured: Sequence[Measured]
) -> NDArray[np.float64]:
    """Logarithm of each measurement over what the map says with s = 1."""
    points = {pixel: ray / (d[pixel] + b) for pixel, ray in rays.items()}
    origin = np.zeros(3)
    found = [
        np.linalg.norm(points[one.pixel] - (origin if one.other is None else points[one.other])) for one in measured
    ]
    return np.log([one.metres for one in measured]) - np.log(np.maximum(found, 1e-30))
