"""More points for a view: its picture matched with those of its neighbours, whose poses are known."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pro_engine.errors import ProEngineError
from pro_engine.geometry.sparse import MorePoints
from pro_engine.geometry.sweep import Picture, match_depth
from pro_engine.io.image import read_photo
from pro_engine.io.reconstruction import Reconstruction, View
from pro_engine.jobs.straight import straightened
from pro_engine.types import FloatMap, ImageArray

SIDE = 480  # pixels of the longer side at which pictures are matched
PARTNERS = 5
SHARED = 8  # points that partners have in common
ANGLE = 6.0  # degrees between the rays of partners to a point, at which depth is found well and windows look alike
TURNED = 0.01  # of the shape, by which a picture may differ from its camera


def match_view(
    source: Reconstruction, photo_of: Callable[[str], Path | None], view: View, image: ImageArray, depth: FloatMap
) -> MorePoints:
    """Measure points of a view.

    Args:
        source: the reconstruction. photo_of: the picture of the view of a name, None where there is none.
        view: without distortion, of the size of its picture `image` (H, W, 3).
        depth: (H, W) of about what it shows, in the unit of the reconstruction.
    """
    small, seen = _shrunk(image, view)
    height, width = small.shape[:2]
    columns = ((np.arange(width) + 0.5) * (image.shape[1] / width)).astype(int)
    rows = ((np.arange(height) + 0.5) * (image.shape[0] / height)).astype(int)
    others = [
        other
        for partner in partners(source, view.name)
        if (path := photo_of(partner.name)) is not None and (other := _picture(path, partner)) is not None
    ]
    if not others:
        return MorePoints(np.empty((0, 2)), np.empty(0))
    picture = Picture(_grey(small), seen.lens.pinhole, view.pose)
    pixels, measured = match_depth(picture, np.ascontiguousarray(depth[np.ix_(rows, columns)]), others)
    factors = np.array([image.shape[1] / width, image.shape[0] / height])
    return MorePoints((pixels + 0.5) * factors - 0.5, measured)


def partners(source: Reconstruction, name: str) -> list[View]:
    """The views that a view is best matched with: they share many points, which they see from another side."""
    view = next(one for one in source.views if one.name == name)
    found = []
    for other in source.views:
        shared = np.intersect1d(view.points, other.points)
        if other is view or len(shared) < SHARED:
            continue
        here, there = source.xyz[shared] - view.center, source.xyz[shared] - other.center
        lengths = np.linalg.norm(here, axis=1) * np.linalg.norm(there, axis=1)
        cosine = float(np.median((here * there).sum(1) / np.maximum(lengths, 1e-12)))
        angle = max(float(np.degrees(np.arccos(np.clip(cosine, -1, 1)))), 1e-3)
        found.append((len(shared) * min(angle / ANGLE, 1) ** 2 * min(2 * ANGLE / angle, 1), other))
    return [other for _, other in sorted(found, key=lambda one: -one[0])[:PARTNERS]]


def has_other_shape(image: ImageArray, view: View) -> bool:
    """Whether a picture was turned or cut since its view was placed."""
    height, width = image.shape[:2]
    return bool(abs(width / height * view.lens.height / view.lens.width - 1) > TURNED)


@lru_cache(maxsize=64)
def _picture(path: Path, view: View) -> Picture | None:
    """A partner's picture, small and straight; None where it cannot be read, which is told when it has its turn."""
    try:
        image = read_photo(path).image
    except ProEngineError:
        return None
    if has_other_shape(image, view):
        return None
    small, seen = straightened(*_shrunk(image, view))
    return Picture(_grey(small), seen.lens.pinhole, view.pose)


def _shrunk(image: ImageArray, view: View) -> tuple[ImageArray, View]:
    height, width = image.shape[:2]
    by = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * by)), max(1, round(height * by))
    small: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small, view.resized(*size)


def _grey(image: ImageArray) -> FloatMap:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.float32)
