"""Depth map to a surface without holes: the photo in front, what it hides behind it, and the sky around both."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pro_engine.errors import InputError
from pro_engine.geometry.camera import ray_slopes
from pro_engine.geometry.checks import (
    as_map,
    as_mask,
    check_image,
    check_intrinsics,
    check_positive,
    check_stride,
    usable_depth,
)
from pro_engine.geometry.depth import DEPTH_SLACK
from pro_engine.geometry.layers import layers_of, with_dome
from pro_engine.geometry.sheets import Sheet
from pro_engine.options import GeometryOptions, Sky
from pro_engine.types import BoolMap, FloatMap, ImageArray, Intrinsics, LayeredMesh, Mesh


def depth_to_layers(
    depth: ArrayLike,
    intrinsics: Intrinsics,
    *,
    image: ImageArray,
    edge_rtol: float = GeometryOptions.edge_rtol,
    reveal: float = GeometryOptions.reveal,
    extend: bool = GeometryOptions.extend,
    dropped: BoolMap | None = None,
    stride: int = 1,
) -> LayeredMesh:
    """Two meshes that show the photo from its own camera, and no gap when the camera moves by `reveal`.

    Where one surface hides another, the near one keeps its outline and the far one goes on behind it, at the depth of
    its nearest part and with colours continued smoothly. No face spans a step in depth above `edge_rtol` a pixel, the
    vertices of `front` lie at the depth of their pixels (those at outlines once more at that of the near side), and
    `behind` is nowhere in front.

    Args:
        depth: (H, W) z in metres, at least 2x2; what is not finite and above 0 is no surface, see `place_sky`.
        intrinsics: of an image of the same size.
        image: (H, W, 3) uint8 RGB of the same size, the texture of `front`.
        edge_rtol: relative step in depth between neighbouring pixels from which one side hides the other.
        reveal: how far the camera may move to any side, as a share of the median depth.
        extend: whether `behind` goes on beyond the border of the photo, as far as a moved camera sees at median depth.
        dropped: (H, W) bool, what is taken away from `front`; `behind` goes on there.
        stride: a vertex every `stride` pixels, but each pixel where an outline is.

    Returns:
        LayeredMesh; uv of pixel centres, as of `depth_to_mesh`.

    Raises:
        InputError: arrays of a wrong kind or of sizes that differ, a bad stride, tolerance or reveal, or nothing left.
    """
    z = as_map(depth, "depth")
    check_intrinsics(intrinsics, z.shape)
    check_stride(stride)
    check_positive(edge_rtol, "edge_rtol", "relative step in depth")
    check_positive(reveal, "reveal", "share of the median depth")
    if min(z.shape) < 2:
        raise InputError(f"depth has shape {z.shape}; a mesh needs at least 2x2 pixels.")
    picture = check_image(np.asarray(image), shape=z.shape)
    away = None if dropped is None else as_mask(dropped, z.shape, "dropped")
    if away is not None and not (usable_depth(z) & ~away).any():
        raise InputError("Nothing is left: the mask drops all that has a depth; check that it is not the other way.")
    usable_depth(z)
    focal_px = max(intrinsics.fx, intrinsics.fy)
    layers = layers_of(
        z,
        picture,
        focal_px=focal_px,
        edge_rtol=edge_rtol,
        reveal=reveal,
        dropped=away,
        margin=math.ceil(focal_px * reveal) if extend else 0,
        stride=stride,
    )
    front = _mesh(layers.front, intrinsics, picture, 0)
    behind = None if layers.behind is None else _mesh(layers.behind, intrinsics, layers.plate, layers.margin)
    return LayeredMesh(front, behind, intrinsics, layers.covered)


def place_sky(depth: FloatMap, intrinsics: Intrinsics, far_m: float, *, sky: Sky = GeometryOptions.sky) -> FloatMap:
    """Depth with a surface, or none, where it lies beyond the farthest.

    Args:
        depth: (H, W) metres; +inf is infinitely far, NaN unknown.
        intrinsics: of an image of the same size.
        far_m: metres of the farthest surface.
        sky: "dome", a sphere around the camera at four times `far_m`; but where what lies beyond does not reach the
            top of the picture, as the sky does, and for "card", a wall at `far_m`; "drop" for no surface, +inf.

    Returns:
        (H, W) metres, a new array.

    Raises:
        InputError: a map of a wrong kind or size, or a bad distance.
    """
    z = as_map(depth, "depth")
    check_intrinsics(intrinsics, z.shape)
    check_positive(far_m, "far_m", "metres")
    with np.errstate(invalid="ignore"):
        beyond = z > far_m * (1 + DEPTH_SLACK)
    if sky == "drop":
        return np.where(beyond, np.float32(np.inf), z)
    if sky == "card":
        return np.where(beyond, np.float32(far_m), z)
    return with_dome(z, beyond, far_m, *ray_slopes(intrinsics))


def _mesh(sheet: Sheet, intrinsics: Intrinsics, texture: ImageArray, margin: int) -> Mesh:
    """A sheet in the camera frame, each quad cut along the diagonal with the smaller step in depth."""
    height, width = texture.shape[:2]
    scale = np.array([intrinsics.fx, intrinsics.fy], np.float32)
    vertices = np.empty((len(sheet.depth), 3), np.float32)
    vertices[:, :2] = (sheet.pixels - np.array([intrinsics.cx, intrinsics.cy], np.float32)) / scale
    vertices[:, :2] *= sheet.depth[:, None]
    vertices[:, 2] = sheet.depth
    uv = (sheet.pixels + np.float32(margin + 0.5)) / np.array([width, height], np.float32)
    uv[:, 1] = 1 - uv[:, 1]
    return Mesh(vertices, triangles_of(sheet), uv.clip(0, 1), texture)


def triangles_of(sheet: Sheet) -> NDArray[np.int32]:
    """(2 Q, 3): each quad of a sheet cut along the diagonal with the smaller step in depth."""
    a, c, d, b = sheet.quads.T
    z = sheet.depth
    falling = np.abs(z[a] - z[d]) <= np.abs(z[b] - z[c])
    faces = np.empty((2, len(sheet.quads), 3), np.int32)
    faces[0] = np.stack([a, c, np.where(falling, d, b)], axis=1)
    faces[1] = np.stack([np.where(falling, a, c), d, b], axis=1)
    return faces.reshape(-1, 3)
