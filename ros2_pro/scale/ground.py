"""Metres from the floor: a camera whose height is known sees depths on the ground, which serve as those of a sensor."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

import pro_engine as pro
from ros2_pro.faults import MessageError
from ros2_pro.messages.camera_info import CameraModel
from ros2_pro.scale.sensor_samples import MAX_SAMPLES, Samples, TfLookup, Vector
from ros2_pro.settings import ScaleSettings

PIXELS = 160_000  # in which the ground is looked for
LEVELLING_COLUMNS = 160  # of the map by which the ground is levelled
LEVELLINGS = 3
ON_GROUND = 0.1  # relative difference of depth from the ground's, up to which it counts as that
HORIZON = 0.03  # n . r from which on a pixel looks at the ground: about 2 degrees below the horizon
FEW = 0.05  # share of ground around a pixel, at which it is believed by half


def camera_over_ground(settings: ScaleSettings, frame_id: str, tf: TfLookup | None) -> tuple[float, Vector]:
    """The camera's height over the ground in metres, and the unit vector (3,) down to it in the optical frame.

    Of the parameters where they give a height, else of tf: the plane z = 0 of `scale.ground_frame`.

    Raises:
        MessageError: "no_ground": neither tells, or the camera is not above the ground.
    """
    if settings.camera_height_m:
        return settings.camera_height_m, pro.down_vector(settings.pitch_deg, settings.roll_deg)
    pose = tf.pose(frame_id, settings.ground_frame) if tf is not None and frame_id else None
    if pose is None:
        raise MessageError(
            "no_ground",
            f"tf does not say where {settings.ground_frame!r} is from {frame_id!r}; publish it, or set "
            "scale.camera_height_m, scale.pitch_deg and scale.roll_deg.",
        )
    down: Vector = -pose.rotation[:, 2]
    height_m = float(down @ pose.translation)
    if not height_m > 0:
        raise MessageError(
            "no_ground",
            f"By tf the camera {frame_id!r} is {height_m:.3f} m above {settings.ground_frame!r}; set "
            "scale.ground_frame to a frame on the ground.",
        )
    return height_m, down


def ground_samples(
    disparity: NDArray[np.float32],
    valid: NDArray[np.bool_],
    lens: CameraModel | None,
    height_m: float,
    down: Vector,
    stamp_s: float,
) -> Samples:
    """Depths at pixels of the ground. Maps are (H, W); the lens is that of the map, `down` as of `camera_over_ground`.

    Raises:
        MessageError: "no_ground": there is too little of it, no lens, or a distorted one.
    """
    if lens is None or not lens.is_straight:
        why = "there is no camera info" if lens is None else "the image is distorted; rectify it (input.rectify)"
        raise MessageError("no_ground", f"The ground gives no scale, as {why}.")
    step = max(1, math.ceil(math.sqrt(disparity.size / PIXELS)))
    d, k = disparity[::step, ::step], lens.intrinsics
    height, width = d.shape
    small = pro.Intrinsics(k.fx / step, k.fy / step, k.cx / step, k.cy / step, width, height)
    try:
        found = pro.ground_scale_shift(d, small, height_m, down, valid=valid[::step, ::step])
    except pro.InputError as error:
        raise MessageError("no_ground", str(error)) from error
    rows, columns = np.nonzero(found.mask)
    chosen = slice(None, None, -(-len(rows) // MAX_SAMPLES))
    rows, columns = rows[chosen], columns[chosen]
    x, y = (columns - small.cx) / small.fx, (rows - small.cy) / small.fy
    depth = height_m / (down[0] * x + down[1] * y + down[2])
    return Samples(
        (columns * step).astype(np.float32), (rows * step).astype(np.float32), depth.astype(np.float32), stamp_s
    )


def levelled(
    depth: NDArray[np.float32], lens: CameraModel | None, height_m: float, down: Vector
) -> NDArray[np.float32]:
    """Depth (H, W) in metres with the ground where it is: times a smooth factor.

    One scale and shift does not bring all of the ground to its distance, as a model errs more in one place than in
    another. The factor is the mean, over a twentieth of the picture's width, of what the ground around a pixel is off;
    it is 1 where there is none. What is smaller than that keeps its height over the ground. `down` is as of
    `camera_over_ground`.
    """
    if lens is None or not lens.is_straight:
        return depth
    (height, width), k = depth.shape, lens.intrinsics
    step = max(1, width // LEVELLING_COLUMNS)
    small = depth[::step, ::step]
    x = (np.arange(small.shape[1]) * step - k.cx) / k.fx
    y = (np.arange(small.shape[0]) * step - k.cy) / k.fy
    inverse = (down[0] * x + down[1] * y[:, None] + down[2]) / height_m  # of the ground's depth
    with np.errstate(invalid="ignore"):
        off = (small * inverse).astype(np.float32)  # 1 on the ground
    total = np.zeros_like(off)
    for _ in range(LEVELLINGS):
        with np.errstate(invalid="ignore"):
            left = off * np.exp(total)
            on_ground = (np.abs(left - 1) < ON_GROUND) & (inverse * height_m > HORIZON)
        error = np.where(on_ground, -np.log(np.where(on_ground, left, 1)), 0).astype(np.float32)
        around = [cv2.GaussianBlur(part, (0, 0), small.shape[1] / 20) for part in (error, on_ground.astype(np.float32))]
        total += around[0] / (around[1] + FEW)
    with np.errstate(invalid="ignore"):
        apart = np.abs(off * np.exp(total) - 1)
    total *= np.clip(2 - np.nan_to_num(apart, nan=2.0, posinf=2.0) / ON_GROUND, 0, 1)  # what stands there stays
    # Sample i of the small grid is the pixel i * step of the depth.
    rows, columns = (np.arange(size, dtype=np.float32) / step for size in (height, width))
    to_columns, to_rows = np.meshgrid(columns, rows)
    factor = cv2.remap(np.exp(total), to_columns, to_rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(depth * factor, dtype=np.float32)
