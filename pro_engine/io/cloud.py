"""Point clouds in files, for Open3D, CloudCompare, PCL and their like: .ply by trimesh, .pcd by the few lines here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import InputError
from pro_engine.io.atomic import atomic_path
from pro_engine.io.paths import PathLike, as_path, checked_metadata, writer_for
from pro_engine.types import PointCloud

if TYPE_CHECKING:
    import trimesh

__all__ = ["CLOUD_SUFFIXES", "save_cloud"]

_FRAME = "camera frame: x right, y down, z forward; metres"


def save_cloud(path: PathLike, cloud: PointCloud, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a point cloud atomically, as .ply or .pcd by suffix, both binary.

    Points stay in the camera frame (x right, y down, z forward, metres) and in their order. In a .pcd the colour is the
    field `rgb`, packed into a float as PCL does; in a .ply it has an alpha of 255. `metadata` goes into a comment.

    Two million coloured points take 0.1 s and 0.15 GB of memory beyond their own as .ply, 0.05 s and 0.07 GB as .pcd.

    Args:
        path: .ply or .pcd.
        cloud: xyz (N, 3) float32 metres, rgb (N, 3) uint8 or None; N is at least 1.
        metadata: further facts to store, plain JSON.

    Raises:
        FileError: an unknown suffix, or the system refuses.
        InputError: arrays of another shape or type, no points, or points that are not finite.
    """
    target = as_path(path)
    writer = _WRITERS[writer_for(target, _WRITERS, "a point cloud")]
    _check_cloud(cloud)
    facts = checked_metadata(metadata)
    with atomic_path(target) as temporary:
        writer(temporary, cloud, facts)


def _check_cloud(cloud: PointCloud) -> None:
    if not isinstance(cloud, PointCloud):
        raise InputError(f"The cloud is a {type(cloud).__name__}; give a PointCloud, such as depth_to_cloud returns.")
    xyz, rgb = cloud.xyz, cloud.rgb
    check_points(xyz, "The cloud's xyz")
    if len(xyz) == 0:
        raise InputError("The cloud has no points; check that the depth map has known values within the range.")
    if rgb is not None and (not isinstance(rgb, np.ndarray) or rgb.shape != xyz.shape or rgb.dtype != np.uint8):
        found = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
        raise InputError(f"The cloud's rgb is {found}; give uint8 of shape {xyz.shape}, one colour a point.")


def check_points(points: object, name: str) -> None:
    """Raise InputError unless `points` is an (N, 3) float array of finite numbers."""
    if not isinstance(points, np.ndarray) or points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind != "f":
        found = f"{points.dtype} {points.shape}" if isinstance(points, np.ndarray) else type(points).__name__
        raise InputError(f"{name} is {found}; give a float32 array of shape (N, 3) in metres.")
    if points.size and not np.isfinite([points.min(), points.max()]).all():
        raise InputError(f"{name}: some values are NaN or infinite; leave unknown and endless depth out.")


def with_alpha(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 4) from (N, 3), opaque; trimesh would go over float64 to the same result."""
    return np.concatenate([rgb, np.full((len(rgb), 1), 255, dtype=np.uint8)], axis=1)


def write_ply(path: Path, shape: trimesh.Trimesh | trimesh.PointCloud, metadata: dict[str, Any]) -> None:
    """Write `shape` as binary PLY, with comments that tell the camera frame and, where there is any, the metadata."""
    from trimesh.exchange.ply import export_ply

    comments = [_FRAME, *([f"pro_engine {json.dumps(metadata)}"] if metadata else [])]
    data = export_ply(shape, vertex_normal=False, include_attributes=True)
    end_of_comments = data.index(b"element ")
    with open(path, "wb") as file:
        file.write(data[:end_of_comments])
        file.write("".join(f"comment {text}\n" for text in comments).encode("ascii"))
        file.write(memoryview(data)[end_of_comments:])


def _write_ply(path: Path, cloud: PointCloud, metadata: dict[str, Any]) -> None:
    import trimesh

    colours = None if cloud.rgb is None else with_alpha(cloud.rgb)
    write_ply(path, trimesh.PointCloud(cloud.xyz, colours), metadata)


def _write_pcd(path: Path, cloud: PointCloud, metadata: dict[str, Any]) -> None:
    """PCD 0.7 (Point Cloud Library, "The PCD file format")."""
    coloured = cloud.rgb is not None
    fields = 4 if coloured else 3
    count = len(cloud.xyz)
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        f"# {_FRAME}",
        *([f"# pro_engine {json.dumps(metadata)}"] if metadata else []),
        "VERSION 0.7",
        "FIELDS x y z" + (" rgb" if coloured else ""),
        "SIZE" + " 4" * fields,
        "TYPE" + " F" * fields,
        "COUNT" + " 1" * fields,
        f"WIDTH {count}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {count}",
        "DATA binary",
        "",
    ]
    points = np.empty((count, fields), dtype="<f4")
    points[:, :3] = cloud.xyz
    if cloud.rgb is not None:
        red, green, blue = cloud.rgb.T.astype("<u4")
        points.view("<u4")[:, 3] = red << 16 | green << 8 | blue
    with open(path, "wb") as file:
        file.write("\n".join(header).encode("ascii"))
        points.tofile(file)


_WRITERS: dict[str, Callable[[Path, PointCloud, dict[str, Any]], None]] = {".ply": _write_ply, ".pcd": _write_pcd}

CLOUD_SUFFIXES = frozenset(_WRITERS)
"""Suffixes, in lower case, of the files that `save_cloud` writes."""
