"""A distorted image made straight: the picture as the projection matrix P of its camera info sees it.

As in sensor_msgs/CameraInfo: a ray of the camera is turned by R into the rectified frame, and seen there by P. The
header's frame stays the camera's, as in image_proc.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ros2_pro.faults import MessageError
from ros2_pro.messages.camera_info import CameraModel, lens_from_info
from ros2_pro.messages.distortion import Distortion, Numbers

Remap = tuple[NDArray[np.int16], NDArray[np.uint16]]
_BAND = 64  # rows whose rays are bent at a time


@dataclass(frozen=True, eq=False)
class Rectification:
    """From an image as it arrives to the rectified one, of the same size.

    lens: of the rectified image. remap: as cv2.remap takes it. seen (H, W) bool: where the image has a pixel, None if
    everywhere.
    """

    lens: CameraModel
    bent: CameraModel
    turn: Numbers
    remap: Remap
    seen: NDArray[np.bool_] | None

    def picture(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The rectified picture (H, W, 3) uint8; its border goes on where the image has no pixel."""
        return np.asarray(cv2.remap(image, *self.remap, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)

    def move(
        self, columns: NDArray[np.float32], rows: NDArray[np.float32], depth: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Pixels of the image as it arrives, and depths along its axis in metres, in the rectified image; those that it
        does not show are left out. All (N,)."""
        k, distortion = self.bent.intrinsics, self.bent.distortion
        assert distortion is not None
        x, y = distortion.unbend((columns.astype(np.float64) - k.cx) / k.fx, (rows.astype(np.float64) - k.cy) / k.fy)
        with np.errstate(invalid="ignore", divide="ignore"):
            x, y, z = np.tensordot(self.turn, np.stack([x, y, np.ones_like(x)]), axes=1)
            x, y = self.lens.pixels(x / z, y / z)
            k = self.lens.intrinsics
            inside = (z > 0) & (x > -0.5) & (x < k.width - 0.5) & (y > -0.5) & (y < k.height - 0.5)
        found = (x[inside], y[inside], (depth * z)[inside])
        return tuple(np.asarray(values, np.float32) for values in found)  # type: ignore[return-value]


def rectification_of(info: Any, bent: CameraModel) -> Rectification | None:
    """How an image of a distorted lens is rectified; None where its lens is straight, or P does not see the image.

    P is used with R; where P is zero K, and no turn.
    """
    k, distortion = bent.intrinsics, bent.distortion
    if distortion is None:
        return None
    try:
        lens = lens_from_info(info, k.width, k.height, rectified=True)
    except MessageError:  # of P: the image stays as it is
        return None
    turn = np.array(info.r, np.float64).reshape(3, 3)
    if not info.p[0] or not _is_rotation(turn):
        turn = np.eye(3)
    to = lens.intrinsics
    remap, seen = _remap(
        (to.fx, to.fy, to.cx, to.cy), (k.fx, k.fy, k.cx, k.cy), k.width, k.height, distortion, tuple(turn.ravel())
    )
    if seen is not None and not seen.any():  # P looks elsewhere
        return None
    notes = (*(note for note in bent.notes if note != "distorted"), "rectified_here")
    return Rectification(replace(lens, notes=notes), bent, turn, remap, seen)


def _is_rotation(turn: Numbers) -> bool:
    with np.errstate(all="ignore"):  # any numbers may be there
        return np.allclose(turn @ turn.T, np.eye(3), atol=1e-3)


@lru_cache(maxsize=2)
def _remap(
    to: tuple[float, ...],
    of: tuple[float, ...],
    width: int,
    height: int,
    distortion: Distortion,
    turn: tuple[float, ...],
) -> tuple[Remap, NDArray[np.bool_] | None]:
    """Where each pixel of the rectified image is in the image; a second of work at 4K, hence kept."""
    back = np.array(turn).reshape(3, 3).T
    whole, part = np.empty((height, width, 2), np.int16), np.empty((height, width), np.uint16)
    seen = np.empty((height, width), np.bool_)
    across = (np.arange(width) - to[2]) / to[0]
    for first in range(0, height, _BAND):
        band = slice(first, min(first + _BAND, height))
        down = (np.arange(band.start, band.stop) - to[3]) / to[1]
        x, y = np.meshgrid(across, down)
        x, y, z = np.tensordot(back, np.stack([x, y, np.ones_like(x)]), axes=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            x, y = distortion.bend(x / z, y / z)
            columns, rows = x * of[0] + of[2], y * of[1] + of[3]
            columns[~(z > 0)] = np.nan
            seen[band] = (columns > -0.5) & (columns < width - 0.5) & (rows > -0.5) & (rows < height - 0.5)
        limit = float(np.iinfo(np.int16).max - 1)
        columns, rows = (np.clip(np.nan_to_num(one, nan=-1.0), -1.0, limit) for one in (columns, rows))
        whole[band], part[band] = cv2.convertMaps(columns.astype(np.float32), rows.astype(np.float32), cv2.CV_16SC2)
    for kept in (whole, part, seen):
        kept.setflags(write=False)
    return (whole, part), (None if seen.all() else seen)
