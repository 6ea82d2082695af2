"""Pictures and views of a reconstruction without distortion, as COLMAP's image_undistorter makes them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from pro_engine.io.lens import ColmapLens, distorted, undistorted, undistorted_camera
from pro_engine.io.reconstruction import View
from pro_engine.types import ImageArray, Intrinsics


def straight_view(view: View) -> View:
    """A view without distortion, as COLMAP's image_undistorter makes it."""
    if view.lens.is_pinhole:
        return view
    k = undistorted_camera(view.lens)
    pixels = undistorted(view.lens, view.pixels) * (k.fx, k.fy) + (k.cx, k.cy)
    lens = ColmapLens("PINHOLE", (k.fx, k.fy, k.cx + 0.5, k.cy + 0.5), k.width, k.height)
    return View(view.name, lens, view.pose, pixels, view.depth, view.points)


def straightened(image: ImageArray, view: View) -> tuple[ImageArray, View]:
    """A picture and its view without distortion."""
    made = straight_view(view)
    if made is view:
        return image, view
    x, y = _sources(view.lens, made.lens.pinhole)
    straight: Any = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return straight, made


def _sources(lens: ColmapLens, k: Intrinsics) -> tuple[Any, Any]:
    """(H, W) float32: column and row of the distorted picture that each pixel of the straight one shows."""
    column, row = np.meshgrid(np.arange(k.width), np.arange(k.height))
    slopes = np.stack([(column.ravel() - k.cx) / k.fx, (row.ravel() - k.cy) / k.fy], axis=1)
    places = distorted(lens, slopes).astype(np.float32).reshape(k.height, k.width, 2)
    return np.ascontiguousarray(places[..., 0]), np.ascontiguousarray(places[..., 1])
