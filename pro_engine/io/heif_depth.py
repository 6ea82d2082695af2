"""The depth of portrait photos in HEIC files, as a source for the scale of a map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import FileError
from pro_engine.io import pictures
from pro_engine.io.heif import register_heif
from pro_engine.io.paths import check_size

_INVERSE_Z, _DISPARITY, _Z = 0, 1, 2  # depth_representation_type of ITU-T H.265, table G.2


def read_heif_depth(path: Path, max_pixels: int) -> tuple[NDArray[np.float32], None]:
    """The depth map of the main picture in metres; nothing in the file says that they are.

    Raises:
        DependencyError: the extra heif is missing.
        FileError: no depth map, or one without a range, which gives no metres.
    """
    register_heif(path)
    with pictures.opened(path, max_pixels, ("HEIF",), "give another depth file") as picture:
        maps = [found for found in picture.info.get("depth_images", ()) if found is not None]
        if not maps:
            raise FileError(f"{path} holds no depth map, as portrait photos have one; give another depth file.")
        width, height = maps[0].size
        check_size(path, width, height, max_pixels)
        values = np.asarray(maps[0].to_pillow())
        about = maps[0].info.get("metadata") or {}
    share = values.astype(np.float32) / np.iinfo(values.dtype).max
    kind = about.get("representation_type")
    ends = _ends(about, *(("d_min", "d_max") if kind == _DISPARITY else ("z_near", "z_far")))
    if kind not in (_INVERSE_Z, _DISPARITY, _Z) or ends is None:
        raise FileError(f"The depth map of {path} says no range, so that it has no metres; give another depth file.")
    if kind == _Z:
        return np.asarray(ends[0] + share * (ends[1] - ends[0]), dtype=np.float32), None
    low, high = ends if kind == _DISPARITY else (1 / ends[1], 1 / ends[0])
    with np.errstate(divide="ignore"):
        return np.asarray(1 / (low + share * (high - low)), dtype=np.float32), None


def _ends(about: dict[str, Any], low: str, high: str) -> tuple[float, float] | None:
    """The two ends of the range, or None where one is missing or they make no sense."""
    first, last = about.get(low), about.get(high)
    if first is None or last is None or not 0 <= first < last or (low == "z_near" and first == 0):
        return None
    return float(first), float(last)
