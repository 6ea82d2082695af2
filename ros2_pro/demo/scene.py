"""A moving scene with exact geometry, ray-cast with numpy: a tiled floor, wooden boxes, and balls that go round.

What stands still is cast once; for a picture only the pixels around each ball are cast, so that 4K is made several
times a second.

Everything is placed in a level frame at the camera (x right, y down, z forward, metres), from which the camera's own
frame is pitched down. A ray is t * (direction of a pixel whose z in the camera's frame is 1), so its t is the depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pro_engine as pro
from ros2_pro.demo.settings import DemoSettings

FloatArray = NDArray[np.float64]
Color = tuple[float, float, float]
Vector = tuple[float, float, float]
Axes = tuple[Any, Any, Any]  # x, y, z: numbers or arrays that fit together
Region = tuple[slice, slice]  # rows, columns

CAMERA_HEIGHT_M, PITCH = DemoSettings.camera_height_m, math.radians(DemoSettings.pitch_deg)
TILE_M = 0.5
AMBIENT = 0.35
TO_LIGHT: Vector = (-0.48, -0.8, -0.36)  # unit length, from above, behind the left shoulder
NEAR_M = 0.05  # what comes nearer is not drawn
GRAIN = 5  # grey values of noise, so that nothing is featureless
FLOOR: tuple[Color, Color] = ((205, 200, 190), (150, 150, 150))
TILES_DIFFER, JOINT_M, JOINT = 0.06, 0.006, 0.6  # tiles in brightness; joints: half width, light
SPECKLES = ((0.012, 0.05), (0.05, 0.04))  # of the floor: size in metres, difference in brightness
PLANK_M, PLANKS_DIFFER, SEAM_M, SEAM = 0.2, 0.12, 0.008, 0.55
CORNER_M, CORNER = 0.15, 0.5  # how far light is missing where a box stands on the floor, and how much
FLOOR_LIGHT = AMBIENT - (1 - AMBIENT) * TO_LIGHT[1]
CRISP_M = 12.0  # the tiles lose contrast beyond
SKY: tuple[Color, Color] = ((225, 235, 245), (90, 150, 220))  # at the horizon, above
ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Box:
    """Stands on the floor: centre (x, z), half width, height and half depth in metres, turned by `yaw` in radians."""

    x: float
    z: float
    half_width: float
    height: float
    half_depth: float
    yaw: float
    color: Color


@dataclass(frozen=True)
class Ball:
    """Goes round (x, z) at `distance` metres once in `period_s`, hopping `hop` metres high."""

    x: float
    z: float
    distance: float
    radius: float
    hop: float
    period_s: float
    color: Color

    def center(self, time_s: float, camera_height_m: float = CAMERA_HEIGHT_M) -> Vector:
        """Where it is, in the level frame of a camera of this height."""
        turn = 2 * math.pi * time_s / self.period_s
        lift = self.radius + self.hop * abs(math.sin(2 * turn))
        return (
            self.x + self.distance * math.cos(turn),
            camera_height_m - lift,
            self.z + self.distance * math.sin(turn),
        )


BOXES = (
    Box(-0.5, 1.9, 0.18, 0.3, 0.14, 0.3, (176, 130, 84)),
    Box(0.8, 2.9, 0.25, 0.45, 0.2, -0.5, (110, 130, 150)),
    Box(-1.9, 5.2, 0.5, 1.1, 0.4, 0.5, (190, 90, 70)),
    Box(1.6, 6.5, 0.6, 1.7, 0.6, -0.4, (80, 130, 90)),
    Box(-0.2, 10.0, 1.4, 1.3, 0.4, 0.15, (120, 100, 160)),
    Box(4.8, 13.0, 0.8, 3.2, 0.8, 0.7, (170, 150, 90)),
    Box(-5.5, 14.0, 1.0, 2.4, 1.0, -0.2, (100, 120, 140)),
)
BALLS = (
    Ball(0.1, 4.6, 1.1, 0.32, 0.25, 9.0, (220, 180, 60)),
    Ball(0.6, 8.3, 1.6, 0.5, 0.0, 14.0, (60, 140, 200)),
)


class DemoScene:
    """What the camera sees at any time. The camera has no distortion; it looks down by `pitch` in radians."""

    def __init__(self, camera: pro.Intrinsics, height_m: float = CAMERA_HEIGHT_M, pitch: float = PITCH) -> None:
        self._camera, self._height_m = camera, height_m
        self._cos, self._sin = math.cos(pitch), math.sin(pitch)
        columns = (np.arange(camera.width, dtype=np.float64) - camera.cx) / camera.fx
        rows = (np.arange(camera.height, dtype=np.float64) - camera.cy) / camera.fy
        # Directions of pixels in the level frame: x by column, y and z by row.
        self._x: FloatArray = columns[None, :]  # (1, W)
        self._y: FloatArray = (rows * self._cos + self._sin)[:, None]  # (H, 1)
        self._z: FloatArray = (self._cos - rows * self._sin)[:, None]  # (H, 1)
        self._floor = np.divide(height_m, self._y, out=np.full_like(self._y, np.inf), where=self._y > 1e-9)  # (H, 1)
        self._image: NDArray[np.uint8] = np.empty((camera.height, camera.width, 3), np.uint8)
        self._depth: NDArray[np.float32] = np.empty((camera.height, camera.width), np.float32)
        for start in range(0, camera.height, ROWS_AT_ONCE):
            self._draw_ground(slice(start, start + ROWS_AT_ONCE))
        for box in BOXES:
            self._draw_box_shadow(box)
        for box in BOXES:
            self._draw_box(box)
        noise = np.random.default_rng(0).integers(-GRAIN, GRAIN + 1, self._image.shape, np.int8)
        np.clip(self._image + noise, 0, 255, out=self._image, casting="unsafe")

    def render(self, time_s: float) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The picture (H, W, 3) uint8 RGB, and its depth (H, W) in metres with inf in the sky; new arrays."""
        image, depth = self._image.copy(), self._depth.copy()
        for ball in BALLS:
            self._draw_shadow(ball.center(time_s, self._height_m), ball.radius, image)
        for ball in BALLS:
            self._draw_ball(ball, ball.center(time_s, self._height_m), image, depth)
        return image, depth

    def _draw_ground(self, rows: slice) -> None:
        t = self._floor[rows]  # (h, 1)
        is_floor = np.isfinite(t)
        across = np.where(is_floor, t, 0) * self._x / TILE_M  # (h, W)
        along = np.where(is_floor, t, 0) * self._z[rows] / TILE_M
        column, row = np.floor(across), np.floor(along)
        odd = (column + row) % 2 > 0
        to_joint = TILE_M * np.minimum(0.5 - np.abs(across - column - 0.5), 0.5 - np.abs(along - row - 0.5))
        light = (1 + TILES_DIFFER * _scattered(column, row)) * np.where(to_joint < JOINT_M, JOINT, 1)
        for grain_m, differ in SPECKLES:
            at = (np.floor(along_m / grain_m) for along_m in (across * TILE_M, along * TILE_M))
            fine = np.clip(grain_m * self._camera.fx / np.where(is_floor, t, np.inf) / 4, 0, 1)  # 4 pixels and more
            light += differ * fine * _scattered(*at)
        contrast = np.clip(CRISP_M / np.where(is_floor, t, np.inf), 0, 1)  # (h, 1); far tiles are smaller than pixels
        share = (0.5 + (odd - 0.5) * contrast)[..., None]
        floor = np.asarray(FLOOR[0]) * share + np.asarray(FLOOR[1]) * (1 - share)
        floor *= (FLOOR_LIGHT * (1 + (light - 1) * contrast))[..., None]
        share = np.clip(-self._y[rows] / 0.4, 0, 1)[..., None]  # (h, 1, 1): 0 at the horizon
        sky = np.asarray(SKY[0]) * (1 - share) + np.asarray(SKY[1]) * share
        self._image[rows] = np.where(is_floor[..., None], floor, sky)
        self._depth[rows] = t

    def _draw_box(self, box: Box) -> None:
        middle = (box.x, self._height_m - box.height / 2, box.z)
        region = self._around(middle, math.hypot(box.half_width, box.height / 2, box.half_depth))
        if region is None:
            return
        x, y, z = self._rays(region)
        (enter, leave), shade = _through(box, (x, y, z), middle)
        hit = (enter < leave) & (enter > NEAR_M)
        t = np.where(hit, enter, np.inf)
        with np.errstate(invalid="ignore"):
            up = np.where(hit, self._height_m - t * y, 0)  # metres over the floor
        plank = np.floor(up / PLANK_M)
        light = 1 + PLANKS_DIFFER * _scattered(plank, np.full_like(plank, box.x))
        light *= np.where(np.abs(up - PLANK_M * np.rint(up / PLANK_M)) < SEAM_M, SEAM, 1)
        light *= 1 - CORNER * np.exp(-up / CORNER_M)
        self._paint(region, t, shade, box.color, self._image, self._depth, light)

    def _draw_box_shadow(self, box: Box) -> None:
        """Darken the floor where the box hides the light, and around its foot."""
        reach = box.height / -TO_LIGHT[1]
        middle = (box.x - TO_LIGHT[0] * reach / 2, self._height_m, box.z - TO_LIGHT[2] * reach / 2)
        region = self._around(middle, math.hypot(box.half_width, box.half_depth) + reach + 3 * CORNER_M)
        if region is None:
            return
        x, _, z = self._rays(region)
        t = np.broadcast_to(self._floor[region[0]], x.shape)
        on_floor = np.isfinite(t)
        t = np.where(on_floor, t, 0)
        # From the box's middle, as seen from the floor.
        apart = (box.x - t * x, np.full(x.shape, -box.height / 2), box.z - t * z)
        (enter, leave), _ = _through(box, TO_LIGHT, apart)
        dark = (enter < leave) & (leave > 0)
        cos, sin = math.cos(box.yaw), math.sin(box.yaw)
        aside = np.maximum(np.abs(cos * apart[0] - sin * apart[2]) - box.half_width, 0)
        before = np.maximum(np.abs(sin * apart[0] + cos * apart[2]) - box.half_depth, 0)
        light = np.where(dark, AMBIENT / FLOOR_LIGHT, 1) * (1 - CORNER * np.exp(-np.hypot(aside, before) / CORNER_M))
        pixels = self._image[region]
        pixels[on_floor] = np.rint(pixels[on_floor] * light[on_floor][:, None]).astype(np.uint8)

    def _draw_ball(self, ball: Ball, center: Vector, image: NDArray[np.uint8], depth: NDArray[np.float32]) -> None:
        region = self._around(center, ball.radius)
        if region is None:
            return
        x, y, z = self._rays(region)
        # |t * ray - center| = radius, the smaller solution
        a = x * x + y * y + z * z
        b = x * center[0] + y * center[1] + z * center[2]
        under = b * b - a * (sum(c * c for c in center) - ball.radius**2)
        with np.errstate(invalid="ignore"):
            t = np.where(under > 0, (b - np.sqrt(under)) / a, np.inf)
            shade = (t * (x * TO_LIGHT[0] + y * TO_LIGHT[1] + z * TO_LIGHT[2]) - _dot(center, TO_LIGHT)) / ball.radius
        self._paint(region, t, shade, ball.color, image, depth)

    def _draw_shadow(self, center: Vector, radius: float, image: NDArray[np.uint8]) -> None:
        """Darken the floor where the ball hides the light."""
        fall = (self._height_m - center[1]) / TO_LIGHT[1]  # negative: away from the light
        on_floor = (center[0] + fall * TO_LIGHT[0], self._height_m, center[2] + fall * TO_LIGHT[2])
        region = self._around(on_floor, radius / -TO_LIGHT[1])
        if region is None:
            return
        x, _, z = self._rays(region)
        t = self._floor[region[0]]
        t = np.where(np.isfinite(t), t, 0)
        to_center = (center[0] - t * x, center[1] - self._height_m, center[2] - t * z)
        toward = to_center[0] * TO_LIGHT[0] + to_center[1] * TO_LIGHT[1] + to_center[2] * TO_LIGHT[2]
        aside = to_center[0] ** 2 + to_center[1] ** 2 + to_center[2] ** 2 - toward**2
        dark = (aside < radius**2) & (self._depth[region] == t.astype(np.float32))  # nothing stands before the floor
        pixels = image[region]
        pixels[dark] = (pixels[dark] * (AMBIENT / FLOOR_LIGHT)).astype(np.uint8)

    def _paint(
        self,
        region: Region,
        t: FloatArray,
        shade: FloatArray,
        color: Color,
        image: NDArray[np.uint8],
        depth: NDArray[np.float32],
        texture: FloatArray | None = None,
    ) -> None:
        """Draw what is nearer than what is there; `shade` is the cosine between surface and light."""
        seen = t < depth[region]
        light = AMBIENT + (1 - AMBIENT) * np.clip(shade[seen], 0, 1)
        if texture is not None:
            light *= texture[seen]
        depth[region][seen] = t[seen]
        image[region][seen] = np.minimum(light[:, None] * np.asarray(color), 255)

    def _rays(self, region: Region) -> tuple[FloatArray, FloatArray, FloatArray]:
        rows, columns = region
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        return (
            np.broadcast_to(self._x[:, columns], shape),
            np.broadcast_to(self._y[rows], shape),
            np.broadcast_to(self._z[rows], shape),
        )

    def _around(self, center: Vector, radius: float) -> Region | None:
        """The pixels that may show a ball; None where there are none, or it reaches the camera's plane."""
        x, level_y, level_z = center
        y = level_y * self._cos - level_z * self._sin
        z = level_y * self._sin + level_z * self._cos
        if z - radius < NEAR_M:
            return None
        camera = self._camera
        rows = _span(y, z, radius, camera.fy, camera.cy, camera.height)
        columns = _span(x, z, radius, camera.fx, camera.cx, camera.width)
        return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _span(offset: float, z: float, radius: float, focal: float, middle: float, size: int) -> slice:
    """Pixels between the two tangents to a circle of `radius` at (offset, z)."""
    angle, half = math.atan2(offset, z), math.asin(radius / math.hypot(offset, z))
    low, high = (math.tan(angle + sign * half) * focal + middle for sign in (-1, 1))
    return slice(min(max(math.floor(low), 0), size), min(max(math.ceil(high) + 1, 0), size))


def _through(box: Box, ray: Axes, middle: Axes) -> tuple[tuple[FloatArray, FloatArray], FloatArray]:
    """Where rays t * `ray` enter and leave a box around `middle`: t, and the cosine between the light and the face that
    is entered. Rays through slabs (Kay and Kajiya 1986), in the box's own axes."""
    cos, sin = math.cos(box.yaw), math.sin(box.yaw)
    rays, centers, lights = (
        (cos * vector[0] - sin * vector[2], vector[1], sin * vector[0] + cos * vector[2])
        for vector in (ray, middle, TO_LIGHT)
    )
    halves = (box.half_width, box.height / 2, box.half_depth)
    shape = np.broadcast_shapes(*(np.shape(part) for part in (*ray, *middle)))
    enter, leave, shade = np.full(shape, -np.inf), np.full(shape, np.inf), np.zeros(shape)
    for along, center, light, half in zip(rays, centers, lights, halves, strict=True):
        with np.errstate(divide="ignore"):
            low, high = (center - half) / along, (center + half) / along
        first = np.minimum(low, high)
        shade = np.where(first > enter, -np.sign(along) * light, shade)  # the face that is entered last
        enter, leave = np.maximum(enter, first), np.minimum(leave, np.maximum(low, high))
    return (enter, leave), shade


def _scattered(a: FloatArray, b: FloatArray) -> FloatArray:
    """Numbers from -1 to 1 without order, the same for the same a and b."""
    wave = np.sin(12.9898 * a + 78.233 * b) * 43758.5453
    scattered: FloatArray = 2 * (wave - np.floor(wave)) - 1
    return scattered


def _dot(a: Vector, b: Vector) -> float:
    return sum(one * other for one, other in zip(a, b, strict=True))
