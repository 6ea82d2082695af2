"""The depth map of a sensor that goes with a photo."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from pro_engine.errors import InputError
from pro_engine.io.depth import load_depth
from pro_engine.jobs.options import JobOptions
from pro_engine.jobs.points import has_points, sensor_file
from pro_engine.types import FloatMap

_SHAPE_TOLERANCE = 0.02


class Sensor(NamedTuple):
    """The depth map of a sensor (p, q) in metres, 0 or NaN where it has none; its file, and whether that tells its
    unit."""

    depth: FloatMap
    path: Path
    unit_is_known: bool


def read_sensor(align: Path, name: str, job: JobOptions, shape: tuple[int, int]) -> Sensor:
    """The sensor depth of the photo `name`, of this height and width.

    Raises:
        FileError: it cannot be found or read. InputError: it is no depth, or of another shape than the photo.
    """
    path = sensor_file(align, name)
    depth, info = load_depth(path, layer=job.layer)
    if info.quantity == "disparity":
        raise InputError(f"{path} holds relative disparity, not depth in metres; the scale comes from sensor depth.")
    (h, w), (sensor_h, sensor_w) = shape, depth.shape
    if abs(math.log(w / h * sensor_h / sensor_w)) > _SHAPE_TOLERANCE:
        raise InputError(
            f"{path} is {sensor_w}x{sensor_h} but the photo {w}x{h}, another shape; register the sensor to it first."
        )
    return Sensor(depth, path, info.unit != "unknown")


def sensor_prompt(name: str, job: JobOptions, shape: tuple[int, ...]) -> FloatMap | None:
    """What a model that takes a prompt is told of the photo `name`, of this shape: the depth map of a sensor, if there
    is one; points and reconstructions are fitted to.

    Raises the errors of `read_sensor`.
    """
    if job.align is None or has_points(job.align, name):
        return None
    return read_sensor(job.align, name, job, (shape[0], shape[1])).depth
