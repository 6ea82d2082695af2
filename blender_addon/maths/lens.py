# SPDX-License-Identifier: GPL-3.0-or-later
"""With which camera a photo was taken: as the photo tells, as typed, or as a camera of the scene. Needs no Blender."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import UserError
from ..options import Checked, option, same_as
from .mesh import Intrinsics

LENS_CHOICES = ("EXIF", "FOCAL", "FOV", "CAMERA")
FULL_FRAME_MM = 36.0  # the sensor that focal lengths are equivalent to


class BlendCamera(NamedTuple):
    """A perspective camera of Blender: `sensor_mm` is the height for the fit VERTICAL, else the width.

    `aspect` is a pixel's height over its width; `world_from_camera` the sixteen numbers of the matrix, row by row.
    """

    lens_mm: float
    sensor_mm: float
    fit: str
    shift_x: float
    shift_y: float
    aspect: float
    world_from_camera: tuple[float, ...]

    def fitted_side(self, width: int, height: int) -> float:
        """The side that the sensor fits, in pixels of a picture of this size; AUTO is the longer one."""
        tall = height * self.aspect
        return width if self.fit == "HORIZONTAL" or (self.fit == "AUTO" and width >= tall) else tall

    def intrinsics(self, width: int, height: int) -> Intrinsics:
        """What the camera sees of a picture of this size, as Blender has it: lens and shifts count in units of the
        side that the sensor fits.
        """
        side = self.fitted_side(width, height)
        focal_px = self.lens_mm / self.sensor_mm * side
        return Intrinsics(
            fx=focal_px,
            fy=focal_px / self.aspect,
            cx=(width - 1) / 2 - self.shift_x * side,
            cy=(height - 1) / 2 + self.shift_y * side / self.aspect,
            width=width,
            height=height,
        )


@dataclass(frozen=True)
class LensOptions(Checked):
    """Where focal length and principal point come from. UserError: numbers that are no lens."""

    source: str = option("EXIF", "Where the focal length comes from", label="Lens from", choices=LENS_CHOICES)
    focal_mm: float = option(
        35.0, "Focal length; with the sensor it gives the field of view", label="Focal", above=0, below=math.inf
    )
    sensor_mm: float = option(
        FULL_FRAME_MM,
        "Sensor along the longer side of the photo; 36 mm for equivalent focal lengths",
        label="Sensor",
        above=0,
        below=math.inf,
    )
    fov_deg: float = same_as(
        "GeometryOptions.fov_x_deg",
        help="Field of view across the width of the photo; also used if the photo has no lens data",
        label="FOV",
    )
    camera: BlendCamera | None = option(
        None, "Camera of the scene that matches the photo, such as one made by fSpy", label="Camera"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source == "CAMERA" and self.camera is None:
            raise UserError("No camera is chosen; choose one under Camera, or take the lens from the photo.")

    def sensor_width_mm(self, width: int, height: int) -> float:
        """The sensor across the width of an upright photo: as typed, of the camera named, or of full frame."""
        if self.source == "CAMERA" and self.camera is not None:
            return self.camera.sensor_mm * width / self.camera.fitted_side(width, height)
        return self.sensor_mm * width / max(width, height) if self.source == "FOCAL" else FULL_FRAME_MM

    def intrinsics(
        self, width: int, height: int, exif: tuple[float, float, float, float] | None
    ) -> tuple[Intrinsics, str]:
        """The camera of a photo, and a sentence where it had to be guessed ("" otherwise).

        Args:
            width, height: of the upright photo.
            exif: fx, fy, cx and cy in pixels as the photo tells, or None.
        """
        if self.source == "CAMERA" and self.camera is not None:
            return self.camera.intrinsics(width, height), ""
        if self.source == "FOCAL":
            focal_px = self.focal_mm / self.sensor_mm * max(width, height)
            return Intrinsics(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, width, height), ""
        if self.source == "EXIF" and exif is not None:
            return Intrinsics(*exif, width, height), ""
        guess = f"The photo has no lens data, {self.fov_deg:g}° are assumed; set it under Camera and Rebuild."
        return Intrinsics.from_fov(self.fov_deg, width, height), guess if self.source == "EXIF" else ""
