"""What a photo is aligned to: a file of sensor depth or of sparse points, or the points of a reconstruction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import FileError, InputError
from pro_engine.geometry.sparse import MorePoints, SparseFit, fit_points
from pro_engine.io.lens import ColmapLens, lens_pixels
from pro_engine.io.reconstruction import View, is_reconstruction, load_points, load_reconstruction, reconstruction_files
from pro_engine.types import FloatMap, Intrinsics

POINT_SUFFIXES = (".xyz", ".txt")
"""Suffixes of files of points: x, y and z of the camera frame (x right, y down, z forward) in metres on each line."""

__all__ = [
    "POINT_SUFFIXES",
    "file_of_photo",
    "fit_to_points",
    "fit_to_view",
    "has_points",
    "is_reconstruction",
    "reconstruction_files",
    "sensor_file",
    "view_of",
]


def sensor_file(align: Path, name: str) -> Path:
    """The sensor depth of the photo `name`, see `file_of_photo`."""
    return file_of_photo(align, name, "depth files", "depth")


def file_of_photo(given: Path, name: str, what: str, ending: str) -> Path:
    """What belongs to the photo `name`: `given` itself, or the one file NAME.* or NAME.ending.* in the folder `given`.

    A name with folders is looked for in the same folders below `given`, or in `given` where those are not there.

    Raises:
        FileError: there is none, or more than one; `what` they are, in words.
    """
    if not given.is_dir():
        return given
    folder, stem = given / Path(name).parent, Path(name).name
    places = (folder if folder.is_dir() else given).iterdir()
    found = sorted(path for path in places if path.is_file() and path.stem in (stem, f"{stem}.{ending}"))
    if len(found) != 1:
        raise FileError(f"The folder {given} has {len(found)} {what} named {name}.*; it needs exactly one.")
    return found[0]


def has_points(align: Path, name: str) -> bool:
    """Whether the scale of the photo `name` comes from sparse points. Raises FileError: there is no file of it."""
    return is_reconstruction(align) or sensor_file(align, name).suffix.lower() in POINT_SUFFIXES


def view_of(align: Path, photo: Path, width: int, height: int) -> View:
    """The view of a photo in a reconstruction, at the photo's size. Raises FileError: there is none."""
    view = load_reconstruction(align).view_of(photo)
    try:
        return view.resized(width, height)
    except InputError as error:
        raise FileError(f"{photo} is {width}x{height} but another shape in {align}; was it turned or cut?") from error


def fit_to_view(disparity: FloatMap, view: View, more: MorePoints | None = None, *, correct: bool = True) -> SparseFit:
    """Fit a map to the points that a view shows, and to more. Raises InputError: too few of the view's."""
    try:
        return fit_points(disparity, view.pixels, view.depth, correct=correct, more=more)
    except InputError as error:
        raise InputError(f"{view.name} cannot be aligned to the reconstruction: {error}") from error


def fit_to_file(disparity: FloatMap, path: Path, intrinsics: Intrinsics) -> SparseFit:
    """Fit a map to the points of a file. Raises InputError: too few of them."""
    points = load_points(path)
    pixels, depth = _seen(points, intrinsics)
    try:
        return fit_points(disparity, pixels, depth)
    except InputError as error:
        raise InputError(f"The map cannot be aligned to {path}: {error}") from error


def _seen(points: NDArray[np.float64], k: Intrinsics) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    front = points[points[:, 2] > 0]
    lens = ColmapLens("PINHOLE", (k.fx, k.fy, k.cx + 0.5, k.cy + 0.5), k.width, k.height)
    return lens_pixels(lens, front)


def fit_to_points(disparity: FloatMap, align: Path, name: str, intrinsics: Intrinsics, photo: Path) -> SparseFit:
    """Fit the map of a photo to a reconstruction that shows it, or to its file of points. Raises as these."""
    if is_reconstruction(align):
        height, width = disparity.shape
        return fit_to_view(disparity, view_of(align, photo, width, height))
    return fit_to_file(disparity, sensor_file(align, name), intrinsics)
