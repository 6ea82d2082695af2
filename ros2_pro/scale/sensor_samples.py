"""Sensors that know metres: their messages become samples, that is, depths at pixels of the image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ros2_pro.faults import MessageError
from ros2_pro.messages import images
from ros2_pro.messages.caches import seconds
from ros2_pro.messages.camera_info import CameraModel, lens_from_info
from ros2_pro.messages.compressed_depth import decode_compressed_depth
from ros2_pro.messages.rectification import Rectification

Vector = NDArray[np.float64]
FloatMap = NDArray[np.float32]

MAX_SAMPLES = 20_000
MAX_POINTS = 200_000  # of a cloud; larger ones are thinned first
ASPECT_SLACK = 0.02  # relative difference of two aspect ratios that still show the same view
EDGE_BEND = 0.1  # of the inverse depth: what two neighbours differ from a plane through the pixel, at an edge
NOISE_BENDS = 3.0  # times the median bend: where the sensor is noisier than that, it takes more to make an edge
DENSE = 5000  # points in the image, from which on hidden ones are looked for
POINTS_A_CELL = 12.0
SURFACE_RTOL = 0.05  # points of a cell within this of the nearest one are of the same surface

FARTHEST_M = 1000.0  # no sensor sees most of its depths beyond

_REAL_TYPES = {7: "f4", 8: "f8"}  # sensor_msgs/PointField FLOAT32, FLOAT64


@dataclass(frozen=True, eq=False)
class Samples:
    """Depths at pixels: columns, rows (N,) float32 in pixels of the image, centres at integers; depth (N,) float32, z
    in metres in the camera's optical frame; stamp in seconds; note: what was assumed of where they are from, if
    anything was."""

    columns: NDArray[np.float32]
    rows: NDArray[np.float32]
    depth: NDArray[np.float32]
    stamp: float
    note: str = ""


@dataclass(frozen=True, eq=False)
class Pose:
    """From a sensor's frame to the camera's optical frame (x right, y down, z forward): `rotation @ p + translation`.

    rotation (3, 3) and translation (3,) in metres, both float64.
    """

    rotation: Vector
    translation: Vector


class TfLookup:
    """Poses from tf. `create` gives None where the distribution at hand has no tf2_ros."""

    def __init__(self, buffer: Any, listener: Any, error: type[Exception], latest: Any) -> None:
        self._buffer, self._listener, self._error, self._latest = buffer, listener, error, latest

    @classmethod
    def create(cls, node: Any) -> TfLookup | None:
        """Listen to tf with a node."""
        try:
            import tf2_ros
            from rclpy.time import Time
        except ImportError:
            return None
        buffer = tf2_ros.Buffer()
        return cls(buffer, tf2_ros.TransformListener(buffer, node), tf2_ros.TransformException, Time())

    def close(self) -> None:
        """Stop listening. The listener would else stay subscribed until Python collects it, or for good."""
        self._listener.unregister()

    def pose(self, frame: str, sensor_frame: str) -> Pose | None:
        """The newest pose of the sensor in `frame`; None where tf does not link the two.

        Raises:
            MessageError: "bad_scale_source" where tf gives no rotation.
        """
        try:
            stamped = self._buffer.lookup_transform(frame, sensor_frame, self._latest)
        except self._error:
            return None
        return pose_from_tf(stamped.transform)


def pose_from_tf(transform: Any) -> Pose:
    """A geometry_msgs/Transform.

    Raises:
        MessageError: "bad_scale_source" for numbers that are not finite, or a quaternion of length 0.
    """
    q, t = transform.rotation, transform.translation
    quaternion = [float(v) for v in (q.x, q.y, q.z, q.w)]
    length = math.hypot(*quaternion)
    translation = np.array([t.x, t.y, t.z], dtype=np.float64)
    if not (0 < length < math.inf and np.isfinite(translation).all()):
        raise _bad(f"tf gives quaternion {tuple(quaternion)} and translation {translation.tolist()}; mend its source")
    *axis, w = np.array(quaternion) / length
    cross = np.cross(np.eye(3), axis)  # (3, 3): cross @ p is the cross product of the axis and p
    return Pose(np.eye(3) + 2 * (w * cross + cross @ cross), translation)


def pose_from_parameters(values: Sequence[float]) -> Pose:
    """From x, y, z in metres and roll, pitch, yaw in radians about the fixed axes x, y, z, in this order (REP 103)."""
    about_x, about_y, about_z = (cv2.Rodrigues(vector)[0] for vector in np.diag(values[3:]).astype(np.float64))
    return Pose(about_z @ about_y @ about_x, np.array(values[:3], dtype=np.float64))


def samples_of(
    message: Any,
    width: int,
    height: int,
    *,
    lens: CameraModel | None,
    frame_id: str,
    sensor_pose: Sequence[float],
    sensor_info: Any = None,
    tf: TfLookup | None,
    rectification: Rectification | None = None,
) -> Samples:
    """Samples of an Image or CompressedImage (depth), PointCloud2 or LaserScan.

    Args:
        message: of one of the three kinds.
        width, height: of the image in pixels.
        lens: of the camera; points and scans need it.
        frame_id: the camera's optical frame.
        sensor_pose: as in `pose_from_parameters`, for where tf does not know.
        sensor_info: the camera info of a depth image, or None.
        tf: None where there is none.
        rectification: of the image since it arrived, which a registered depth image has not seen.

    Raises:
        MessageError: "bad_scale_source".
    """
    kind = type(message).__name__
    sensor_frame = message.header.frame_id
    if kind in ("Image", "CompressedImage"):
        if not sensor_frame or not frame_id or sensor_frame == frame_id:
            return _registered(message, width, height, rectification)
        try:
            camera_from_sensor = _pose(sensor_frame, frame_id, sensor_pose, tf)
        except MessageError:
            camera_from_sensor = None
        if lens is not None and sensor_info is not None and camera_from_sensor is not None:
            return from_depth_camera(message, sensor_info, lens, camera_from_sensor)
        note = (
            f"The depth image is of frame {sensor_frame!r} and the image of {frame_id!r}; it is taken as registered. "
            "Register it, or publish its camera info on scale/camera_info and its place on tf (or scale.sensor_pose)."
        )
        return replace(_registered(message, width, height, rectification), note=note)
    if lens is None:
        raise _bad(f"A {kind} needs a camera info to be seen in the image; publish one or set input.fallback_fov_x_deg")
    readers: dict[str, Callable[[Any, CameraModel, Pose], Samples]] = {
        "PointCloud2": from_points,
        "LaserScan": from_scan,
    }
    return readers[kind](message, lens, _pose(sensor_frame, frame_id, sensor_pose, tf))


def in_metres(samples: Samples) -> Samples:
    """The samples. Raises MessageError "bad_scale_source" where they cannot be metres."""
    middle_m = float(np.median(samples.depth)) if len(samples.depth) else 0.0
    if middle_m > FARTHEST_M:
        raise _bad(
            f"The sensor's depths have a median of {middle_m:.0f} m; send metres (16UC1: millimetres), not millimetres"
        )
    return samples


def _registered(message: Any, width: int, height: int, rectification: Rectification | None) -> Samples:
    found = from_depth_image(message, width, height)
    if rectification is None:
        return found
    return Samples(*rectification.move(found.columns, found.rows, found.depth), found.stamp)


def _pose(sensor_frame: str, frame: str, sensor_pose: Sequence[float], tf: TfLookup | None) -> Pose:
    found = tf.pose(frame, sensor_frame) if tf is not None and frame and sensor_frame else None
    if found is None and sensor_frame != frame and not any(sensor_pose):
        raise _bad(
            f"Nothing says where the sensor's frame {sensor_frame!r} is in the camera's {frame!r}; publish it on tf or "
            "set scale.sensor_pose"
        )
    return pose_from_parameters(sensor_pose) if found is None else found


def from_depth_image(message: Any, width: int, height: int) -> Samples:
    """Samples of a depth image of any resolution that shows the view of an image of `width` x `height` pixels.

    Pixels at edges are left out: there a sensor sees something between two surfaces.

    Raises:
        MessageError: "bad_scale_source" for a message that is not a depth image, or of another aspect ratio.
    """
    depth = _decoded(message)
    own_height, own_width = depth.shape
    if abs(own_width * height / (own_height * width) - 1) > ASPECT_SLACK:
        raise _bad(
            f"The depth image is {own_width}x{own_height} and the image {width}x{height}, so they do not show the same "
            "view; register the depth to the camera, or send points"
        )
    rows, columns = _flat_pixels(depth, MAX_SAMPLES)
    return Samples(
        ((columns + 0.5) * (width / own_width) - 0.5).astype(np.float32),
        ((rows + 0.5) * (height / own_height) - 0.5).astype(np.float32),
        depth[rows, columns],
        seconds(message.header.stamp),
    )


def from_depth_camera(message: Any, info: Any, lens: CameraModel, camera_from_sensor: Pose) -> Samples:
    """Samples of a depth image that another camera sees: `info` is its camera info, the image rectified.

    Raises:
        MessageError: "bad_scale_source" for a message that is not a depth image, or a camera info of no camera.
    """
    depth = _decoded(message)
    height, width = depth.shape
    try:
        x_slope, y_slope = lens_from_info(info, width, height, rectified=True).slopes
    except MessageError as error:
        raise _bad(f"scale/camera_info cannot be used: {error}") from error
    rows, columns = _flat_pixels(depth, MAX_POINTS)
    z = depth[rows, columns].astype(np.float64)
    return _seen(
        np.stack([z * x_slope[columns], z * y_slope[rows], z]), lens, camera_from_sensor, seconds(message.header.stamp)
    )


def _decoded(message: Any) -> FloatMap:
    try:
        return decode_compressed_depth(message) if hasattr(message, "format") else images.decode_depth(message)
    except MessageError as error:
        raise _bad(str(error)) from error


def _flat_pixels(depth: FloatMap, limit: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of at most `limit` pixels, evenly, where a depth is known and no edge."""
    with np.errstate(invalid="ignore"):
        known = np.flatnonzero((depth > 0) & (depth < np.inf))
    chosen = _thinned(len(known), 2 * limit)  # twice as many, as edges are left out
    rows, columns = np.divmod(known[chosen], depth.shape[1])
    flat = ~_at_edge(depth, rows, columns)
    rows, columns = rows[flat], columns[flat]
    chosen = _thinned(len(rows), limit)
    return rows[chosen], columns[chosen]


def _at_edge(depth: FloatMap, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether the depth jumps next to pixels (N,).

    The inverse depth of a plane is straight across the image, however slanted and coarsely sampled it is, so an edge is
    where it bends. Unknown neighbours make no edge.
    """
    height, width = depth.shape

    def inverse(down: int, right: int) -> Vector:
        row, column = rows + down, columns + right
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        beside = depth[np.where(inside, row, 0), np.where(inside, column, 0)].astype(np.float64)
        return 1 / np.where(inside & (beside > 0), beside, np.nan)

    with np.errstate(invalid="ignore"):
        here = inverse(0, 0)
        across = np.abs(inverse(0, -1) + inverse(0, 1) - 2 * here)
        down = np.abs(inverse(-1, 0) + inverse(1, 0) - 2 * here)
    bends = np.fmax(np.nan_to_num(across), np.nan_to_num(down)) / here
    edge: NDArray[np.bool_] = bends > max(EDGE_BEND, NOISE_BENDS * float(np.median(bends)) if len(bends) else 0.0)
    return edge


def from_points(message: Any, lens: CameraModel, camera_from_sensor: Pose) -> Samples:
    """Samples of a PointCloud2 with x, y, z in metres as float32 or float64; other fields do not matter.

    Points that are not finite, at the sensor itself, behind the camera or out of the image are left out, and in a dense
    cloud those that show through in front of which there is something.

    Raises:
        MessageError: "bad_scale_source" for fields or sizes that make no points.
    """
    height, width, step = message.height, message.width, message.point_step
    if height < 1 or width < 1:
        raise _bad(f"The cloud is {width}x{height} points; send at least one")
    row_step = message.row_step if height > 1 else width * step
    data = np.frombuffer(message.data, dtype=np.uint8)
    if row_step < width * step or len(data) < row_step * (height - 1) + width * step:
        raise _bad(
            f"The cloud has {len(data)} bytes in rows of {message.row_step}, too few for {width}x{height} points of "
            f"{step} bytes; mend its source"
        )
    every = math.ceil(height * width / MAX_POINTS)
    with np.errstate(invalid="ignore"):  # any bytes may be there
        xyz = np.stack(
            [
                np.ndarray((height, width), kind, data, at, (row_step, step)).reshape(-1)[::every].astype(np.float64)
                for kind, at in _coordinates(message)
            ]
        )
    return _seen(xyz, lens, camera_from_sensor, seconds(message.header.stamp))


def _coordinates(message: Any) -> list[tuple[np.dtype[Any], int]]:
    """Number format and offset in bytes of x, y and z."""
    fields = {field.name: field for field in message.fields}
    order = ">" if message.is_bigendian else "<"
    found = []
    for name in "xyz":
        field = fields.get(name)
        if field is None:
            raise _bad(f"The cloud has the fields {sorted(fields)}, and x, y, z are needed")
        if field.datatype not in _REAL_TYPES:
            raise _bad(f"Field {name} of the cloud has datatype {field.datatype}; send 7 (float32) or 8 (float64)")
        kind = np.dtype(order + _REAL_TYPES[field.datatype])
        if field.offset + kind.itemsize > message.point_step:
            raise _bad(
                f"Field {name} of the cloud starts at byte {field.offset} of points of {message.point_step} bytes, "
                "which ends outside; mend its source"
            )
        found.append((kind, int(field.offset)))
    return found


def from_scan(message: Any, lens: CameraModel, camera_from_sensor: Pose) -> Samples:
    """Samples of a LaserScan, whose own frame has x forward and z up (REP 117: ranges that are not finite are none).

    Raises:
        MessageError: "bad_scale_source" for angles or limits that are not those of a scan.
    """
    ranges = np.asarray(message.ranges, dtype=np.float64)
    first, step = float(message.angle_min), float(message.angle_increment)
    nearest, farthest = float(message.range_min), float(message.range_max)
    if not len(ranges):
        raise _bad("The scan has no ranges; send at least one")
    if not (math.isfinite(first) and math.isfinite(step)) or (step == 0 and len(ranges) > 1):
        raise _bad(f"The scan starts at angle {first:g} in steps of {step:g}; both must be finite, the step not 0")
    if not 0 <= nearest < farthest:
        raise _bad(f"The scan has ranges from {nearest:g} to {farthest:g} m; the first must be smaller and not below 0")
    angles = first + step * np.arange(len(ranges))
    with np.errstate(invalid="ignore"):
        use = np.isfinite(ranges) & (ranges >= nearest) & (ranges <= farthest)
    ranges, angles = ranges[use], angles[use]
    xyz = np.stack([ranges * np.cos(angles), ranges * np.sin(angles), np.zeros(len(ranges))])
    return _seen(xyz, lens, camera_from_sensor, seconds(message.header.stamp))


def _seen(xyz: Vector, lens: CameraModel, camera_from_sensor: Pose, stamp_s: float) -> Samples:
    """Points (3, N) in the sensor's frame as the camera sees them."""
    with np.errstate(all="ignore"):
        xyz = xyz[:, np.isfinite(xyz).all(axis=0) & xyz.any(axis=0)]
        # Row by row instead of a matrix product, whose threads would wait for those of the model.
        x, y, z = (
            row[0] * xyz[0] + row[1] * xyz[1] + row[2] * xyz[2] + shift
            for row, shift in zip(camera_from_sensor.rotation, camera_from_sensor.translation, strict=True)
        )
        ahead = (z > 0) & (z < np.finfo(np.float32).max)
        x, y, z = x[ahead], y[ahead], z[ahead]
        columns, rows = lens.pixels(x / z, y / z)
        width, height = lens.intrinsics.width, lens.intrinsics.height
        inside = (columns > -0.5) & (columns < width - 0.5) & (rows > -0.5) & (rows < height - 0.5)
    columns, rows, z = columns[inside], rows[inside], z[inside]
    if len(z) > DENSE:
        front = _in_front(columns, rows, z, math.sqrt(POINTS_A_CELL * width * height / len(z)))
        columns, rows, z = columns[front], rows[front], z[front]
    chosen = _thinned(len(z), MAX_SAMPLES)
    return Samples(
        columns[chosen].astype(np.float32), rows[chosen].astype(np.float32), z[chosen].astype(np.float32), stamp_s
    )


def _in_front(columns: Vector, rows: Vector, depth: Vector, cell_px: float) -> NDArray[np.bool_]:
    """Which points (N,) are of the nearest surface in their cell of the image."""
    across = ((columns + 0.5) / cell_px).astype(np.intp)
    cell = ((rows + 0.5) / cell_px).astype(np.intp) * (int(across.max()) + 1) + across
    nearest = np.full(int(cell.max()) + 1, np.inf)
    np.minimum.at(nearest, cell, depth)
    front: NDArray[np.bool_] = depth <= nearest[cell] * (1 + SURFACE_RTOL)
    return front


def _thinned(count: int, limit: int) -> slice | NDArray[np.intp]:
    """An index that takes at most `limit` of `count` items, evenly."""
    return slice(None) if count <= limit else np.linspace(0, count - 1, limit).astype(np.intp)


def _bad(what: str) -> MessageError:
    return MessageError("bad_scale_source", f"{what}.")
