"""Panoramas: equirectangular pictures of all that is around a point, the views that a pinhole camera has of them, and
their meshes and clouds.

A panorama is twice as wide as high. Its columns go around, its middle column is straight ahead (z of the camera frame),
the columns to the right of it lie to the right (x); its rows go from straight up to straight down (y). Its maps hold
distances from that point along the ray, not z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pro_engine.errors import InputError
from pro_engine.geometry.camera import Directions, directions
from pro_engine.geometry.checks import as_map, check_image, check_positive, check_stride, usable_depth
from pro_engine.geometry.mesh import tear
from pro_engine.options import GeometryOptions
from pro_engine.types import FloatMap, ImageArray, Intrinsics, Mesh, PointCloud

_AROUND = 4  # columns of the other side, for the interpolation
_BELOW_DEG = (25.0, 65.0)  # under the horizon: where the ground shows, and no tripod
_FEW_PIXELS = 100


def is_sphere(height: int, width: int) -> bool:
    """Whether a picture has the shape of a whole panorama: twice as wide as high, to a pixel in a hundred."""
    return abs(width - 2 * height) <= max(2, width // 100)


@dataclass(frozen=True, eq=False)
class SphereView:
    """What a pinhole camera sees from the middle of a panorama: turn (3, 3), whose rows are its x, y and z axes in the
    frame of the panorama, and its intrinsics."""

    turn: NDArray[np.float32]
    intrinsics: Intrinsics

    @classmethod
    def towards(cls, yaw_deg: float, pitch_deg: float, fov_deg: float, size: int) -> SphereView:
        """A square view of `size` pixels a side, turned `yaw_deg` to the right and then `pitch_deg` up."""
        yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
        ahead = np.array([math.sin(yaw) * math.cos(pitch), -math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
        right = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
        turn = np.stack([right, np.cross(ahead, right), ahead]).astype(np.float32)
        return cls(turn, Intrinsics.from_fov(size, size, fov_x_deg=fov_deg))

    def rays(self, width: int, height: int) -> tuple[Directions, FloatMap]:
        """Of this many pixels a side (height, width, 3) directions in the frame of the panorama, and (height, width)
        how long the rays are to a depth of 1."""
        k = self.intrinsics.resized(width, height)
        x, y = np.meshgrid((np.arange(width) - k.cx) / k.fx, (np.arange(height) - k.cy) / k.fy)
        own = np.stack([x, y, np.ones_like(x)], -1).astype(np.float32)
        length = np.linalg.norm(own, axis=-1)
        return own / length[..., None] @ self.turn, length

    def picture(self, panorama: ImageArray) -> ImageArray:
        """(S, S, 3) uint8: what it sees of a panorama (H, W, 3)."""
        k = self.intrinsics
        rays = self.rays(k.width, k.height)[0]
        return np.asarray(at_rays(panorama, rays, cv2.INTER_CUBIC), np.uint8)

    def seen(self, rays: Directions) -> tuple[FloatMap, FloatMap, FloatMap]:
        """Column, row and the cosine to its axis, (...) each, of unit vectors (..., 3); the cosine is 0 where it does
        not see them."""
        own = rays @ self.turn.T
        cosine = own[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = own[..., 0] / cosine * np.float32(self.intrinsics.fx) + np.float32(self.intrinsics.cx)
            rows = own[..., 1] / cosine * np.float32(self.intrinsics.fy) + np.float32(self.intrinsics.cy)
        inside = (cosine > 0) & (np.abs(columns + 0.5 - self.intrinsics.width / 2) <= self.intrinsics.width / 2)
        inside &= np.abs(rows + 0.5 - self.intrinsics.height / 2) <= self.intrinsics.height / 2
        return columns, rows, np.where(inside, cosine, np.float32(0))


def at_rays(panorama: NDArray[Any], rays: Directions, interpolation: int) -> NDArray[Any]:
    """What a panorama (H, W) or (H, W, 3) has in directions (h, w, 3), by one of OpenCV's interpolations."""
    height, width = panorama.shape[:2]
    wide = np.concatenate([panorama[:, -_AROUND:], panorama, panorama[:, :_AROUND]], axis=1)
    columns = (np.arctan2(rays[..., 0], rays[..., 2]) / (2 * math.pi) + 0.5) * width - 0.5 + _AROUND
    rows = (np.arctan2(rays[..., 1], np.hypot(rays[..., 0], rays[..., 2])) / math.pi + 0.5) * height - 0.5
    x, y = columns.astype(np.float32), rows.astype(np.float32)
    return np.asarray(cv2.remap(wide, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE))


def sphere_to_mesh(
    distance: ArrayLike,
    *,
    image: ImageArray | None = None,
    edge_rtol: float = GeometryOptions.edge_rtol,
    stride: int = 1,
) -> Mesh:
    """The surfaces around the middle of a panorama as one closed sheet, seen from within; torn as `depth_to_mesh`.

    Args:
        distance: (H, W) metres along the rays, W = 2 H; what is not finite and above 0 is no surface.
        image: (H, W, 3) uint8 RGB of the same size, becomes the texture.
        edge_rtol: relative step in distance between neighbouring pixels from which the mesh is torn.
        stride: a vertex every `stride` pixels.

    Returns:
        Mesh in the camera frame: normals point inwards; uv of pixel centres, u is beyond 1 where the last column meets
        the first (textures repeat).

    Raises:
        InputError: arrays of a wrong kind or of sizes that differ, a bad stride or tolerance, or no face left.
    """
    r = _as_sphere(distance)
    check_stride(stride)
    check_positive(edge_rtol, "edge_rtol", "relative step in depth")
    height, width = r.shape
    texture = None if image is None else check_image(np.asarray(image), shape=r.shape)
    closed = np.empty((height + 2, width + 1), np.float32)  # with the poles, and the first column again
    closed[1:-1, :-1], closed[1:-1, -1] = r, r[:, 0]
    with np.errstate(invalid="ignore"):
        closed[0], closed[-1] = np.median(r[0]), np.median(r[-1])
    torn = tear(closed, edge_rtol=edge_rtol, stride=stride)
    rows = np.clip(torn.rows - 1.0, -0.5, height - 0.5)
    vertices = directions(rows, torn.columns, height, width)[torn.used]
    vertices *= torn.grid[torn.used][:, None]
    uv = torn.uv(rows.clip(0, height - 1), torn.columns, r.shape)
    pole = torn.of_rows(((rows < 0) | (rows > height - 1)).astype(np.float32)) > 0
    faces = torn.faces[pole[torn.faces].sum(axis=1) < 2]  # all points of a pole are one
    return Mesh(vertices, faces, uv, texture)


def sphere_to_cloud(distance: ArrayLike, *, image: ImageArray | None = None, stride: int = 1) -> PointCloud:
    """One point for every `stride`-th row and column of a panorama that has a finite distance above 0, in row order.

    Args:
        distance: (H, W) metres along the rays, W = 2 H.
        image: (H, W, 3) uint8 RGB of the same size, for the colours.
        stride: 1 keeps every pixel.

    Returns:
        PointCloud in the camera frame; `rgb` is None without an image.

    Raises:
        InputError: arrays of a wrong kind or of sizes that differ, a bad stride, or no pixel left.
    """
    r = _as_sphere(distance)
    check_stride(stride)
    colours = None if image is None else check_image(np.asarray(image), shape=r.shape)[::stride, ::stride]
    rows, columns = (np.arange(0, length, stride) for length in r.shape)
    rays, r = directions(rows, columns, *r.shape), r[::stride, ::stride]
    usable = usable_depth(r)
    return PointCloud(rays[usable] * r[usable][:, None], None if colours is None else colours[usable])


def height_above_ground(disparity: ArrayLike, valid: ArrayLike | None = None) -> float:
    """How high an upright panorama was taken over flat ground, in the unit of its distances.

    The ground is at 1 / disparity = height / sin(angle below the horizon), so its pixels agree on one height. The one
    found is the median between 25 and 65 degrees below the horizon.

    Args:
        disparity: (H, W) inverse distance along the rays, W = 2 H. valid: (H, W) bool, the pixels to look at.

    Raises:
        InputError: a map of a wrong kind, or nothing below the horizon.
    """
    d = _as_sphere(disparity)
    height, width = d.shape
    first, last = (round(height * (0.5 + angle / 180)) for angle in _BELOW_DEG)
    step = max(1, height // 512)
    down = directions(np.arange(first, last, step), np.zeros(1), height, width)[..., 1]
    below = d[first:last:step, ::step]
    known = np.isfinite(below) & (below > 0)
    if valid is not None:
        known &= np.asarray(valid)[first:last:step, ::step]
    if np.count_nonzero(known) < _FEW_PIXELS:
        raise InputError("The panorama shows no ground below the horizon; give a distance or a range instead.")
    return float(np.median((np.broadcast_to(down, below.shape) / np.where(known, below, 1))[known]))


def _as_sphere(values: ArrayLike) -> FloatMap:
    found = as_map(values, "the panorama's map")
    if not is_sphere(*found.shape):
        height, width = found.shape
        raise InputError(f"The map is {width}x{height} pixels; a whole panorama is twice as wide as high.")
    return found
