"""Lenses with distortion, as COLMAP describes them, through pycolmap; without distortion nothing else is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import DependencyError, InputError
from pro_engine.types import Intrinsics

PINHOLES = ("SIMPLE_PINHOLE", "PINHOLE")


@dataclass(frozen=True)
class ColmapLens:
    """A camera as COLMAP describes it: model, parameters in pixels, and the size of its pictures in pixels.

    Pixels of `parameters` count from the corner of the picture. `pinhole` is the lens without its distortion.
    """

    model: str
    parameters: tuple[float, ...]
    width: int
    height: int

    @property
    def is_pinhole(self) -> bool:
        """Whether the lens has no distortion."""
        return self.model in PINHOLES

    @property
    def pinhole(self) -> Intrinsics:
        """Focal lengths and principal point of the lens, in our pixels."""
        simple = "SIMPLE" in self.model or self.model in ("RADIAL", "RADIAL_FISHEYE")
        fx, *rest = self.parameters
        fy, cx, cy = (fx, *rest[:2]) if simple else rest[:3]
        return Intrinsics(fx, fy, cx - 0.5, cy - 0.5, self.width, self.height)

    def resized(self, width: int, height: int) -> ColmapLens:
        """The same lens for pictures of another size; distortion is in units of the focal length and stays."""
        sx, sy = width / self.width, height / self.height
        count = 3 if "SIMPLE" in self.model or self.model in ("RADIAL", "RADIAL_FISHEYE") else 4
        if count == 3 and abs(sx / sy - 1) > 1e-3:
            raise InputError(f"Pictures of {width}x{height} have another shape than {self.width}x{self.height}.")
        factors = (sx, sx, sy) if count == 3 else (sx, sy, sx, sy)
        scaled = tuple(value * factor for value, factor in zip(self.parameters, factors, strict=False))
        return ColmapLens(self.model, scaled + self.parameters[count:], width, height)

    def summary(self) -> dict[str, Any]:
        """Plain values for the metadata of files."""
        return {"model": self.model, "parameters": list(self.parameters), "size": [self.width, self.height]}


def lens_pixels(lens: ColmapLens, xyz: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where points (N, 3) of the camera frame land: pixels (N, 2), NaN behind the camera, and z (N,).

    Raises:
        DependencyError: a distorted lens without the package pycolmap.
    """
    depth = xyz[:, 2]
    front = depth > 0
    pixels = np.full((len(xyz), 2), np.nan)
    slopes = xyz[front, :2] / depth[front, None]
    pixels[front] = distorted(lens, slopes)
    return pixels, depth


def distorted(lens: ColmapLens, slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels (N, 2), centres at integers, of directions x / z and y / z (N, 2). Raises as `lens_pixels`."""
    if lens.is_pinhole:
        k = lens.pinhole
        return slopes * (k.fx, k.fy) + (k.cx, k.cy)
    rays = np.concatenate([slopes, np.ones((len(slopes), 1))], axis=1)
    return np.asarray(_camera(lens).img_from_cam(rays), dtype=np.float64).reshape(-1, 2) - 0.5


def undistorted(lens: ColmapLens, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Directions x / z and y / z (N, 2) that pixels (N, 2), centres at integers, see. Raises as `lens_pixels`."""
    if lens.is_pinhole:
        k = lens.pinhole
        return (pixels - (k.cx, k.cy)) / (k.fx, k.fy)
    return np.asarray(_camera(lens).cam_from_img(pixels + 0.5), dtype=np.float64).reshape(-1, 2)


def undistorted_camera(lens: ColmapLens) -> Intrinsics:
    """The pinhole camera of COLMAP's `image_undistorter`: no black border, at the size that leaves. Raises likewise."""
    if lens.is_pinhole:
        return lens.pinhole
    import pycolmap

    camera = pycolmap.undistort_camera(pycolmap.UndistortCameraOptions(), _camera(lens))
    return ColmapLens(camera.model.name, tuple(map(float, camera.params)), camera.width, camera.height).pinhole


def _camera(lens: ColmapLens) -> Any:
    try:
        import pycolmap
    except ImportError as error:
        raise DependencyError(
            f"Lenses with distortion ({lens.model}) need the extra `photogrammetry`; run: pip install "
            "'pro-engine[photogrammetry]'."
        ) from error
    return pycolmap.Camera(model=lens.model, width=lens.width, height=lens.height, params=list(lens.parameters))
