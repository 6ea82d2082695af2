"""A snapshot: everything about one frame, in a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import pro_engine as pro


def write_snapshot(
    parent: Path,
    name: str,
    *,
    image: NDArray[np.uint8],
    disparity: NDArray[np.float32],
    depth: NDArray[np.float32] | None,
    cloud: pro.PointCloud | None,
    info: Any,
) -> Path:
    """Write image.png, disparity.npz, depth.npz and points.ply (with metres only) and camera_info.yaml (if known).

    The folder appears under its name only when it is complete; a name that is taken gets a number.

    Raises:
        OSError, pro_engine.FileError: a folder that cannot be written, or a full disk; nothing is left behind.
    """
    parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=parent))
    try:
        encoded, data = cv2.imencode(".png", image[..., ::-1])
        assert encoded
        (part / "image.png").write_bytes(data.tobytes())
        pro.save_depth(part / "disparity.npz", disparity, quantity="disparity")
        if depth is not None:
            pro.save_depth(part / "depth.npz", depth, quantity="depth")
        if cloud is not None:
            pro.save_cloud(part / "points.ply", cloud)
        if info is not None:
            (part / "camera_info.yaml").write_text(_calibration(info), encoding="utf-8")
        part.chmod(0o777 & ~_umask())
        return _renamed(part, parent / name)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _renamed(part: Path, wanted: Path) -> Path:
    for number in range(1000):
        target = wanted if number == 0 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            part.rename(target)  # fails where a folder with something in it has the name
        except OSError:
            if not target.exists():
                raise
            continue
        return target
    raise FileExistsError(f"{wanted} and a thousand more are there already; empty the snapshot folder.")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _calibration(info: Any) -> str:
    """The layout of the camera calibration files of ROS; JSON, which every reader of YAML takes."""

    def matrix(rows: int, columns: int, values: Any) -> dict[str, Any]:
        return {"rows": rows, "cols": columns, "data": [float(value) for value in values]}

    return json.dumps(
        {
            "image_width": info.width,
            "image_height": info.height,
            "camera_name": info.header.frame_id,
            "camera_matrix": matrix(3, 3, info.k),
            "distortion_model": info.distortion_model,
            "distortion_coefficients": matrix(1, len(info.d), info.d),
            "rectification_matrix": matrix(3, 3, info.r),
            "projection_matrix": matrix(3, 4, info.p),
        },
        indent=1,
    )
