"""The distortion models of sensor_msgs/CameraInfo, and their inverse: the rays that a distorted image is seen along.

The models are those of OpenCV ("Camera Calibration and 3D Reconstruction", and its fisheye part). Their radial part is
inverted by a table, up to where it folds back, so a pixel has the right ray or none. Fixed-point iteration, the usual
way, strays on wide lenses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Slopes = NDArray[np.float32]

MAX_SLOPE = 100.0  # rays farther from the axis than 89.4 degrees have no depth to speak of
NODES = 1 << 17  # of the grid on which rays are found; between its nodes they are interpolated
STEPS = 20  # for the tangential part, which is small
CONVERGED = 1e-6  # radians
MIN_RISE = 0.25  # of the image per angle, 1 at the middle of the lens; below, the lens is about to fold back
_ANGLES = np.linspace(0, math.atan(MAX_SLOPE), 1 << 15)  # from the axis; of the table of the radial part


@dataclass(frozen=True)
class Distortion:
    """How a lens bends rays. Slopes are x / z and y / z, of any shape; a bent one times the focal length is in pixels.

    d: coefficients in OpenCV's order; 4 of the fisheye model, or 4, 5, 8, 12 or 14 of the other.
    fisheye: which model.
    """

    d: tuple[float, ...]
    fisheye: bool = False

    def bend(self, x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
        """Bent slopes of rays; NaN for those that the lens would fold back."""
        with np.errstate(all="ignore"):  # coefficients may be absurd
            radius = np.hypot(x, y)
            scale = np.where(radius > 0, self._radial(radius) / radius, 1)
            scale[~(radius <= self._table[0][-1])] = np.nan
            off_x, off_y = self._tangential(x, y)
            x, y = x * scale + off_x, y * scale + off_y
            return (x, y) if self._tilt is None else _through(self._tilt, x, y)

    def unbend(self, x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
        """Slopes of the rays that are bent to x, y; NaN where there is none before the lens folds back."""
        with np.errstate(all="ignore"):  # coefficients may be absurd
            if self._tilt is not None:
                x, y = _through(np.asarray(np.linalg.inv(self._tilt), np.float64), x, y)
            found_x, found_y = self._unbend_radial(x, y)
            if self.fisheye or not any(self._all[2:4] + self._all[8:12]):
                return found_x, found_y
            for _ in range(STEPS):
                last_x, last_y = found_x, found_y
                off_x, off_y = self._tangential(last_x, last_y)
                found_x, found_y = self._unbend_radial(x - off_x, y - off_y)
                moved = np.hypot(found_x - last_x, found_y - last_y)
                astray = ~(moved < CONVERGED * (1 + last_x * last_x + last_y * last_y))
                if not (astray & np.isfinite(found_x)).any():
                    break
        return np.where(astray, np.nan, found_x), np.where(astray, np.nan, found_y)

    @cached_property
    def _all(self) -> tuple[float, ...]:
        return (*self.d, *(0.0,) * (14 - len(self.d)))

    @cached_property
    def _table(self) -> tuple[Numbers, Numbers]:
        """Radii of slopes before and after the radial part, up to where it folds back."""
        radius = np.tan(_ANGLES)
        bent = self._radial(radius)
        folds = np.flatnonzero(~(np.diff(bent) > MIN_RISE * _ANGLES[1]))
        end = int(folds[0]) + 1 if folds.size else len(bent)
        return radius[:end], bent[:end]

    @cached_property
    def _tilt(self) -> Numbers | None:
        """The homography from the straight sensor to a tilted one; None where it is straight."""
        tilt_x, tilt_y = self._all[12:]
        if not tilt_x and not tilt_y:
            return None
        cos_x, sin_x, cos_y, sin_y = math.cos(tilt_x), math.sin(tilt_x), math.cos(tilt_y), math.sin(tilt_y)
        about_x = np.array([[1, 0, 0], [0, cos_x, sin_x], [0, -sin_x, cos_x]])
        about_y = np.array([[cos_y, 0, -sin_y], [0, 1, 0], [sin_y, 0, cos_y]])
        turn = about_y @ about_x
        onto: Numbers = np.array([[turn[2, 2], 0, -turn[0, 2]], [0, turn[2, 2], -turn[1, 2]], [0, 0, 1]]) @ turn
        return onto

    def _radial(self, radius: Numbers) -> Numbers:
        if self.fisheye:
            (a, b, c, d), angle = self.d, np.arctan(radius)
            square = angle * angle
            return np.asarray(angle * (1 + square * (a + square * (b + square * (c + square * d)))))
        k1, k2, _, _, k3, k4, k5, k6 = self._all[:8]
        square = radius * radius
        bent = radius * (1 + square * (k1 + square * (k2 + square * k3)))
        return np.asarray(bent / (1 + square * (k4 + square * (k5 + square * k6))))

    def _tangential(self, x: Numbers, y: Numbers) -> tuple[Numbers | float, Numbers | float]:
        """What the tangential and thin-prism parts add."""
        if self.fisheye:
            return 0.0, 0.0
        (p1, p2), (s1, s2, s3, s4) = self._all[2:4], self._all[8:12]
        xy, xx, yy = x * y, x * x, y * y
        r2 = xx + yy
        off_x = 2 * p1 * xy + p2 * (r2 + 2 * xx) + r2 * (s1 + s2 * r2)
        off_y = p1 * (r2 + 2 * yy) + 2 * p2 * xy + r2 * (s3 + s4 * r2)
        return off_x, off_y

    def _unbend_radial(self, x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
        radius, bent = self._table
        seen = np.hypot(x, y)
        scale = np.interp(seen, bent, radius, right=np.nan) / np.maximum(seen, 1e-300)
        return np.where(seen > 0, x * scale, 0), np.where(seen > 0, y * scale, 0)


def bent_slopes(
    matrix: tuple[float, float, float, float], width: int, height: int, distortion: Distortion
) -> tuple[Slopes, Slopes]:
    """x / z and y / z of the ray through every pixel of a distorted image.

    Args:
        matrix: fx, fy, cx, cy in pixels; pixel centres are integers.
        width, height: of the image.
        distortion: of the lens.

    Returns:
        Two (H, W) float32, NaN where no ray leads.
    """
    fx, fy, cx, cy = matrix
    spacing = max(1.0, math.sqrt(width * height / NODES))
    columns, rows = _nodes(width, spacing), _nodes(height, spacing)
    x, y = distortion.unbend(*np.meshgrid((columns - cx) / fx, (rows - cy) / fy))  # (h, w)
    # Unit rays are smooth up to the side, where slopes have a pole.
    length = np.sqrt(1 + x * x + y * y)
    right, down = (_between_nodes(part / length, width, height) for part in (x, y))  # (H, W)
    with np.errstate(invalid="ignore"):
        forward = 1 - right * right - down * down
        forward[forward < 1 / (1 + MAX_SLOPE**2)] = np.nan
    np.sqrt(forward, out=forward)
    right /= forward
    down /= forward
    return right, down


def _through(homography: Numbers, x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    a, b, c = np.tensordot(homography, np.stack([x, y, np.ones_like(x)]), axes=1)
    return a / c, b / c


def _nodes(size: int, spacing: float) -> Numbers:
    """Positions of the grid's nodes along an axis of so many pixels, at least four for a cubic."""
    return np.linspace(0, max(size - 1, 3), max(4, math.ceil((size - 1) / spacing) + 1))


def _between_nodes(values: Numbers, width: int, height: int) -> Slopes:
    """Values (h, w) on the grid's nodes, at every pixel (H, W), by cubic polynomials through four nodes."""
    first, weights = _cubic(height, values.shape[0])
    tall = sum(weights[i][:, None] * values[first + i] for i in range(4))  # (H, w)
    first, weights = _cubic(width, values.shape[1])
    narrow, light = np.asarray(tall, dtype=np.float32), weights.astype(np.float32)
    dense = np.zeros((height, width), dtype=np.float32)
    for i in range(4):
        dense += light[i] * np.take(narrow, first + i, axis=1)
    return dense


def _cubic(size: int, count: int) -> tuple[NDArray[np.intp], Numbers]:
    """The first of the four nodes for every pixel (N,), and the weights (4, N) of all four."""
    position = np.arange(size) * ((count - 1) / max(size - 1, 3))
    first = np.clip(position.astype(np.intp) - 1, 0, count - 4)
    t = position - first
    a, b, c = t - 1, t - 2, t - 3
    return first, np.stack([-a * b * c / 6, t * b * c / 2, -t * a * c / 2, t * a * b / 6])
