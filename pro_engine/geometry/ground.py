"""Metres from the ground: a camera whose height is known sees its scale on the floor.

Over a plane the inverse depth is linear: 1 / z = (n . r) / h, with n the unit normal from the camera down to the plane,
r = ((x - cx) / fx, (y - cy) / fy, 1) the ray of a pixel and h the camera's height. A relative disparity map is inverse
depth but for scale and shift, so the pixels of the ground lie on a line over n . r, and the line gives both. All else
that stands on the ground is nearer than the ground behind it: it lies above the line, and next to nothing below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pro_engine.errors import InputError
from pro_engine.geometry.checks import as_map, as_mask, check_intrinsics, check_positive
from pro_engine.types import BoolMap, FloatMap, Intrinsics, ScaleShift, is_finite_number

Vector = NDArray[np.float64]

MAX_PIXELS = 40_000  # looked at
TRIALS, TRIAL_PIXELS = 1500, 2500
REFITS = 12
HORIZON = 0.03  # n . r from which on a pixel looks at the ground: about 2 degrees below the horizon
RELATIVE = 0.05  # of the ground's inverse depth, up to which a pixel is of the ground
NOISE = 0.004  # of the map's range, on top
PLANE_TRIALS, PLANE_PIXELS = 600, 4000
ON_PLANE = 0.02  # of the distance, up to which a pixel is on a plane
MIN_ON_PLANE = 0.08  # of all pixels
MIN_DOWN = 0.2  # of the normal of the ground along y: cameras that look straight down see a floor as they see walls
BELOW_COSTS = 2.0  # ground pixels that one pixel below the ground outweighs
NEAREST = 0.1  # of the camera's height: nothing in view is nearer to it, but for 1 % of the pixels
MIN_SHARE, MAX_BELOW = 0.12, 0.15  # of the pixels below the horizon
MIN_SIGMAS = 5.0  # that the ground's disparity must change by, in deviations of its pixels from the line
MAX_TURN_DEG = 20.0  # between the direction in which the ground comes nearer and the one in which it should


@dataclass(frozen=True, eq=False)
class GroundFit:
    """Scale and shift from the ground.

    scale_shift: with source "fitted"; its `inlier_share` is that of the pixels below the horizon that are ground.
    normal: (3,) float64, unit, in the camera frame (x right, y down, z forward), from the camera down to the ground.
    height_m: of the camera over the ground, as given.
    mask: (H, W) bool, the pixels that lie on the ground.
    """

    scale_shift: ScaleShift
    normal: Vector
    height_m: float
    mask: BoolMap

    @property
    def pitch_deg(self) -> float:
        """Degrees that the camera looks down."""
        return math.degrees(math.asin(float(np.clip(self.normal[2], -1, 1))))

    @property
    def roll_deg(self) -> float:
        """Degrees that the camera is turned clockwise about its axis, seen from behind."""
        return math.degrees(math.atan2(self.normal[0], self.normal[1]))


def down_vector(pitch_deg: float, roll_deg: float) -> Vector:
    """The unit vector (3,) that points down, in the frame of a camera (x right, y down, z forward).

    Args:
        pitch_deg: degrees that the camera looks down, from -90 to 90.
        roll_deg: degrees that it is turned clockwise about its axis, seen from behind.

    Raises:
        InputError: angles that are no numbers, or a pitch outside its range.
    """
    if not (is_finite_number(pitch_deg) and -90 <= pitch_deg <= 90 and is_finite_number(roll_deg)):
        raise InputError(f"Pitch and roll are {pitch_deg!r} and {roll_deg!r}; give degrees, the pitch from -90 to 90.")
    pitch, roll = math.radians(pitch_deg), math.radians(roll_deg)
    return np.array([math.sin(roll) * math.cos(pitch), math.cos(roll) * math.cos(pitch), math.sin(pitch)])


@dataclass(frozen=True, eq=False)
class GroundPlane:
    """The ground in a depth map.

    normal: (3,) float64, unit, in the camera frame (x right, y down, z forward), from the camera down to the ground.
    height: of the camera over it, in the unit of the depth. mask: (H, W) bool, the pixels that lie on it.
    """

    normal: Vector
    height: float
    mask: BoolMap


def ground_plane(depth: ArrayLike, intrinsics: Intrinsics, *, valid: ArrayLike | None = None) -> GroundPlane:
    """The plane that much of a depth map lies on and next to nothing below, to level what was made of it.

    Draws are seeded, so the same input gives the same answer.

    Args:
        depth: (H, W) z in any unit; what is not above 0 and finite is not used.
        intrinsics: of the map.
        valid: (H, W) bool, the pixels to look at.

    Raises:
        InputError: sizes that differ, or no such plane, such as in a view of walls alone.
    """
    z_map = as_map(depth, "depth")
    check_intrinsics(intrinsics, z_map.shape)
    usable = as_mask(valid, z_map.shape) & np.isfinite(z_map) & (z_map > 0)
    rows, columns = np.nonzero(usable)
    chosen = np.random.default_rng(0).permutation(len(rows))[:PLANE_PIXELS]
    z = z_map[rows[chosen], columns[chosen]].astype(np.float64)
    x, y = (columns[chosen] - intrinsics.cx) / intrinsics.fx, (rows[chosen] - intrinsics.cy) / intrinsics.fy
    points = np.stack([x * z, y * z, z], axis=1)
    slope = _best_plane(points)
    height = 1 / float(np.linalg.norm(slope))
    mask = np.zeros(z_map.shape, dtype=np.bool_)
    across = slope[0] * (np.arange(z_map.shape[1]) - intrinsics.cx) / intrinsics.fx + slope[2]
    for row in range(z_map.shape[0]):
        law = across + slope[1] * (row - intrinsics.cy) / intrinsics.fy
        with np.errstate(invalid="ignore"):
            mask[row] = usable[row] & (np.abs(law * z_map[row] - 1) <= ON_PLANE)
    return GroundPlane(slope * height, height, mask)


def _best_plane(points: Vector) -> Vector:
    """Of planes slope . point = 1 through three of the points (N, 3), that with the most, less those below it."""
    if len(points) < 100:
        raise _no_plane("too few pixels are known")
    trials = points[np.random.default_rng(1).integers(0, len(points), (PLANE_TRIALS, 3))]  # (T, 3, 3)
    spans = np.abs(np.linalg.det(trials / np.linalg.norm(trials, axis=2, keepdims=True)))
    slopes = np.linalg.solve(trials[spans > 1e-6], np.ones((int((spans > 1e-6).sum()), 3, 1)))[..., 0]
    slopes = slopes[slopes[:, 1] > MIN_DOWN * np.linalg.norm(slopes, axis=1)]
    if not len(slopes):
        raise _no_plane("no plane in view looks up")
    apart = slopes @ points.T - 1  # (T, N), 0 on the plane and above 0 below it
    score = (np.abs(apart) <= ON_PLANE).sum(axis=1) - BELOW_COSTS * (apart > ON_PLANE).sum(axis=1)
    slope: Vector = slopes[int(np.argmax(score))]
    for _ in range(REFITS):
        inside = np.abs(points @ slope - 1) <= ON_PLANE
        if inside.mean() < MIN_ON_PLANE:
            raise _no_plane(f"only {inside.mean():.0%} of the pixels are on one plane with nothing below")
        slope = np.asarray(np.linalg.lstsq(points[inside], np.ones(int(inside.sum())), rcond=None)[0], np.float64)
    if slope[1] <= MIN_DOWN * np.linalg.norm(slope) or (points @ slope - 1 > ON_PLANE).mean() > MAX_BELOW:
        raise _no_plane("no plane has much of the pixels on it and next to nothing below")
    return slope


def ground_scale_shift(
    disparity: ArrayLike,
    intrinsics: Intrinsics,
    camera_height_m: float,
    normal: ArrayLike,
    *,
    valid: ArrayLike | None = None,
) -> GroundFit:
    """The scale and shift that put the ground at its distance from a camera of known height.

    The ground is found without labels: of the surfaces that follow the law of a plane, the one that nearly nothing lies
    below. Draws are seeded, so the same input gives the same answer.

    Args:
        disparity: (H, W) relative inverse depth, larger is nearer.
        intrinsics: of the map.
        camera_height_m: metres over the ground, above 0.
        normal: (3,) where down is in the camera frame, of any length; see `down_vector`.
        valid: (H, W) bool, the pixels to look at.

    Raises:
        InputError: sizes that differ, bad numbers, or too little ground in view.
    """
    check_positive(camera_height_m, "camera_height_m", "metres")
    d_map = as_map(disparity, "disparity")
    check_intrinsics(intrinsics, d_map.shape)
    usable = as_mask(valid, d_map.shape) & np.isfinite(d_map)
    step = max(1, math.ceil(math.sqrt(d_map.size / MAX_PIXELS)))
    rows, columns = np.nonzero(usable[::step, ::step])
    if len(rows) < 100:
        raise InputError("Too few pixels of the disparity are finite and valid to find the ground; check the map.")
    d = d_map[::step, ::step][rows, columns].astype(np.float64)
    x: Vector = (columns * np.float64(step) - intrinsics.cx) / intrinsics.fx
    y: Vector = (rows * np.float64(step) - intrinsics.cy) / intrinsics.fy
    noise = NOISE * float(np.subtract(*np.percentile(d, (99, 1))))
    down = _unit(normal)
    alpha, beta = _fit(d, x, y, noise, down)
    scale = 1 / (alpha * camera_height_m)
    mask, below = _ground(d_map, usable, intrinsics, down, (alpha, beta), noise)
    link = ScaleShift(scale, -beta * scale, inlier_share=float(mask.sum() / below), source="fitted")
    return GroundFit(link, down, float(camera_height_m), mask)


def _unit(normal: ArrayLike) -> Vector:
    vector = np.asarray(normal, dtype=np.float64)
    length = float(np.linalg.norm(vector)) if vector.shape == (3,) else math.nan
    if not (math.isfinite(length) and length > 0):
        raise InputError(f"normal is {normal!r}; give the three numbers of a direction, see down_vector.")
    unit: Vector = vector / length
    return unit


def _fit(d: Vector, x: Vector, y: Vector, noise: float, down: Vector) -> tuple[float, float]:
    """Slope and offset of the ground's disparity over n . r. InputError: there is too little ground."""
    q = down[0] * x + down[1] * y + down[2]
    below = q > HORIZON
    if np.count_nonzero(below) < 100:
        raise _no_ground("hardly any pixel looks below the horizon")
    ends = np.percentile(d, (1, 99))
    d, q, x, y = d[below], q[below], x[below], y[below]
    alpha, beta = _best_line(d, q, noise, float(ends[1]))
    inside = np.zeros(len(d), dtype=np.bool_)
    for _ in range(REFITS):
        apart = np.abs(d - alpha * q - beta)
        near = apart <= RELATIVE * alpha * q + noise
        if np.count_nonzero(near) < 3:
            break
        # What touches the ground, such as the foot of a wall, is near it, too: only the middle of them counts.
        before, inside = inside, near & (apart / q <= 2.5 * 1.4826 * np.median(apart[near] / q[near]) + 1e-9 * alpha)
        if np.array_equal(before, inside):
            break
        slope, offset = np.polyfit(q[inside], d[inside], 1, w=1 / q[inside])
        if not slope > 0:
            break
        alpha, beta = float(slope), float(offset)
    residual = d - alpha * q - beta
    inside = np.abs(residual) <= RELATIVE * alpha * q + noise
    _check_ground(inside, residual, q, x, y, d, (alpha, noise), down)
    return alpha, beta


def _best_line(d: Vector, q: Vector, noise: float, nearest: float) -> tuple[float, float]:
    """Of lines through random pairs of pixels, the one with the most pixels on it, less those below it."""
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(d))[:TRIAL_PIXELS]
    d, q = d[chosen], q[chosen]
    a, b = rng.integers(0, len(d), (2, TRIALS))
    run = q[b] - q[a]
    apart = np.abs(run) > 0.02
    a, b, run = a[apart], b[apart], run[apart]
    slopes = (d[b] - d[a]) / run
    offsets = d[a] - slopes * q[a]
    possible = (slopes > 0) & (nearest - offsets < slopes / NEAREST)
    if not possible.any():
        raise _no_ground("nothing in view comes nearer towards the bottom as a floor does")
    slopes, offsets = slopes[possible, None], offsets[possible, None]
    residual = d - slopes * q - offsets
    tolerance = RELATIVE * slopes * q + noise
    score = (np.abs(residual) <= tolerance).sum(axis=1) - BELOW_COSTS * (residual < -tolerance).sum(axis=1)
    best = int(np.argmax(score))
    return float(slopes[best, 0]), float(offsets[best, 0])


def _check_ground(
    inside: BoolMap, residual: Vector, q: Vector, x: Vector, y: Vector, d: Vector, line: tuple[float, float],
    down: Vector,
) -> None:  # fmt: skip
    """Raises `InputError` where what was found is no ground."""
    alpha, noise = line
    share, low = inside.mean(), (residual < -(RELATIVE * alpha * q + noise)).mean()
    if share < MIN_SHARE:
        raise _no_ground(f"only {share:.0%} of the pixels below the horizon follow the law of a plane")
    if low > MAX_BELOW:
        raise _no_ground(f"{low:.0%} of the pixels below the horizon would lie under it")
    spread = 1.4826 * float(np.median(np.abs(residual[inside]))) + 1e-12
    if alpha * float(np.subtract(*np.percentile(q[inside], (95, 5)))) < MIN_SIGMAS * spread:
        raise _no_ground("what lies there hardly comes nearer towards the bottom, as a wall does not")
    level = float(np.hypot(down[0], down[1]))
    if level > 0.2:  # else the camera looks straight down, and the ground comes nearer nowhere
        slopes = np.linalg.lstsq(np.stack([x[inside], y[inside], np.ones(inside.sum())], 1), d[inside], rcond=None)[0]
        turn = math.degrees(
            math.acos(np.clip((slopes[:2] @ down[:2]) / (np.hypot(*slopes[:2]) * level + 1e-12), -1, 1))
        )
        if turn > MAX_TURN_DEG:
            raise _no_ground(
                f"what lies there comes nearer in a direction that is {turn:.0f} degrees off; check the roll"
            )


def _ground(
    d: FloatMap, usable: BoolMap, intrinsics: Intrinsics, down: Vector, line: tuple[float, float], noise: float
) -> tuple[BoolMap, int]:
    """(H, W) where the map lies on the ground, and how many pixels look below the horizon; row by row."""
    alpha, beta = line
    mask, below = np.zeros(d.shape, dtype=np.bool_), 0
    across = down[0] * (np.arange(d.shape[1]) - intrinsics.cx) / intrinsics.fx + down[2]
    for row in range(d.shape[0]):
        q = across + down[1] * (row - intrinsics.cy) / intrinsics.fy
        looks = usable[row] & (q > HORIZON)
        below += int(np.count_nonzero(looks))
        with np.errstate(invalid="ignore"):
            mask[row] = looks & (np.abs(d[row] - alpha * q - beta) <= RELATIVE * alpha * q + noise)
    return mask, max(below, 1)


def _no_ground(why: str) -> InputError:
    return InputError(
        f"The ground cannot be found: {why}; check the camera's pitch and roll, or give the scale another way."
    )


def _no_plane(why: str) -> InputError:
    return InputError(f"No ground is in view: {why}; take a picture that shows more of it.")
