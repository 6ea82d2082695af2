"""Depth to sensor_msgs/PointCloud2: x, y, z and rgb as float32, 16 bytes a point, as PCL and rviz read them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField

import pro_engine as pro
from ros2_pro.messages.camera_info import CameraModel
from ros2_pro.messages.images import fill
from ros2_pro.settings import PointsSettings

POINT_STEP = 16
FIELDS = ("x", "y", "z", "rgb")
EDGE_RADIUS_PX = 5  # at full resolution
EDGE_STRIDES = (3, 2, 1)  # outlines are looked for at the first that divides the cloud's: wider ones lose them


@dataclass(frozen=True, eq=False)
class Cloud:
    """points (H, W, 4) float32 organised, or (1, N, 4) dense: x, y, z in metres and rgb as 0x00RRGGBB in the bits of a
    float; NaN where there is no point."""

    points: NDArray[np.float32]
    is_dense: bool


def build_cloud(
    depth: NDArray[np.float32], image: NDArray[np.uint8], lens: CameraModel, settings: PointsSettings
) -> Cloud:
    """Coloured points of a depth image (H, W) in metres and its picture (H, W, 3) uint8 RGB.

    The stride grows until `max_points` is held. Points are where the depth is finite, above 0 and within the limits,
    and where it does not hang between two surfaces (`edge_filter`).
    """
    x, y, width, height = settings.roi
    box = slice(y, y + height if height else None), slice(x, x + width if width else None)
    rows, columns = depth[box].shape
    step = max(settings.stride, math.ceil(math.sqrt(rows * columns / settings.max_points)))
    while -(-rows // step) * -(-columns // step) > settings.max_points:
        step += 1
    part = slice(box[0].start, box[0].stop, step), slice(box[1].start, box[1].stop, step)
    z = np.ascontiguousarray(depth[part])
    points = np.empty((*z.shape, 4), dtype=np.float32)
    if z.size:
        points[..., 2] = z
        x_slope, y_slope = lens.slopes
        bent = x_slope.ndim == 2
        x_slope, y_slope = (x_slope[part], y_slope[part]) if bent else (x_slope[part[1]], y_slope[part[0]][:, None])
        bad = _unusable(z, settings)
        if bent:
            bad |= np.isnan(x_slope)
        if settings.edge_filter and not bad.all():
            bad |= _flying(depth[box], step, settings.edge_rtol)
        points[..., 2][bad] = np.nan
        np.multiply(points[..., 2], x_slope, out=points[..., 0])
        np.multiply(points[..., 2], y_slope, out=points[..., 1])
        points.view(np.uint32)[..., 3] = _packed(image[part])
    if settings.organized:
        return Cloud(points, False)
    return Cloud(points[~np.isnan(points[..., 0])][None], True)


def cloud_message(cloud: Cloud, header: Any, *, reuse: Any = None) -> PointCloud2:
    """The message of a cloud; `reuse` is an earlier one that nobody needs any more, to be filled anew."""
    height, width = cloud.points.shape[:2]
    message = PointCloud2() if reuse is None else reuse
    message.header, message.height, message.width, message.is_dense = header, height, width, cloud.is_dense
    message.fields = [
        PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, name in enumerate(FIELDS)
    ]
    message.is_bigendian = False
    message.point_step, message.row_step = POINT_STEP, POINT_STEP * width
    fill(message.data, cloud.points)
    return message


def points_of(cloud: Cloud) -> pro.PointCloud | None:
    """The points alone, without gaps, to be saved; None where there is none."""
    points = cloud.points.reshape(-1, 4)
    points = points[~np.isnan(points[:, 0])]
    if not len(points):
        return None
    packed = np.ascontiguousarray(points[:, 3]).view(np.uint32)
    rgb = np.stack([(packed >> shift).astype(np.uint8) for shift in (16, 8, 0)], axis=-1)
    return pro.PointCloud(np.ascontiguousarray(points[:, :3]), rgb)


def _unusable(z: NDArray[np.float32], settings: PointsSettings) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        usable = (z >= settings.min_depth_m) & (z > 0)
        usable &= z <= settings.max_depth_m if settings.max_depth_m else z < np.inf
    return ~usable


def _flying(depth: NDArray[np.float32], step: int, rtol: float) -> NDArray[np.bool_]:
    """Where points of every `step`-th row and column of a depth image fly."""
    fine = next(stride for stride in EDGE_STRIDES if step % stride == 0)
    radius_px = -(-EDGE_RADIUS_PX // fine)
    return pro.flying_points(depth[::fine, ::fine], rtol=rtol, radius_px=radius_px)[:: step // fine, :: step // fine]


def _packed(rgb: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """0x00RRGGBB of every pixel."""
    packed = rgb[..., 0].astype(np.uint32)
    packed <<= 8
    packed |= rgb[..., 1]
    packed <<= 8
    packed |= rgb[..., 2]
    return packed
