"""The lens of a frame: of its camera info, rectified or not, or the fallback's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ros2_pro.faults import MessageError
from ros2_pro.frames.model import SeenLens
from ros2_pro.messages import camera_info
from ros2_pro.messages.rectification import Rectification, rectification_of
from ros2_pro.settings import InputSettings

Found = camera_info.CameraModel | MessageError | None
"""A lens, what is wrong with the camera info, or None where there is no camera info."""


def find_lens(
    info: Any, image: NDArray[np.uint8], given: InputSettings, topic: str
) -> tuple[Found, Rectification | None]:
    """The lens of the picture that the model is to see, and how the picture is rectified first, if it is.

    info: the camera's, or None. topic: of the image.
    """
    if info is None:
        return None, None
    height, width = image.shape[:2]
    rectified = camera_info.is_rectified(topic, given.rectified)
    try:
        lens = camera_info.lens_from_info(info, width, height, rectified=rectified)
    except MessageError as error:
        return error, None
    rectification = rectification_of(info, lens) if given.rectify else None
    return (lens if rectification is None else rectification.lens), rectification


def seen_lens(found: Found, image: NDArray[np.uint8], given: InputSettings) -> SeenLens | None:
    """The lens that the model is told; what is wrong with it is said elsewhere."""
    if isinstance(found, camera_info.CameraModel):
        return SeenLens(found.intrinsics, "given")
    fallback = fallback_lens(image, given)
    return None if fallback is None else SeenLens(fallback.intrinsics, "assumed")


def fallback_lens(image: NDArray[np.uint8], given: InputSettings) -> camera_info.CameraModel | None:
    """The lens that is assumed where no camera info tells one; None where none is to be."""
    (height, width), fov = image.shape[:2], given.fallback_fov_x_deg
    return camera_info.guessed_lens(width, height, fov) if fov else None


def without_lens(what: str, fallback: camera_info.CameraModel | None) -> str:
    """What is missing, and what is done without it."""
    if fallback is not None:
        return f"{what}; input.fallback_fov_x_deg is assumed."
    return f"{what}; there are no points without one (or set input.fallback_fov_x_deg)."
