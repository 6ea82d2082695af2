"""Writing PLY (binary little endian) in chunks; clouds and meshes share it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 19

_POINT = np.dtype([("xyz", "<f4", 3)])
_COLOURED_POINT = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
_FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])

FRAME = "camera frame: x right, y down, z forward; metres"


def chunks(count: int) -> Iterator[slice]:
    """Slices of at most `CHUNK` rows that cover `count` rows."""
    for start in range(0, count, CHUNK):
        yield slice(start, min(start + CHUNK, count))


def write_ply(
    path: Path,
    xyz: NDArray[np.float32],
    colours: Iterator[NDArray[np.uint8]] | None,
    faces: NDArray[np.int32] | None,
    metadata: Mapping[str, Any],
) -> None:
    """Write points and, where given, triangles, in the frame and order of the arrays.

    Args:
        path: the file to write, whole.
        xyz: (N, 3) metres.
        colours: (n, 3) uint8 RGB for each slice of `chunks(N)` in turn, or None.
        faces: (F, 3) indices into `xyz`, or None.
        metadata: plain JSON, kept in a comment.
    """
    header = ["ply", "format binary_little_endian 1.0", f"comment {FRAME}"]
    if metadata:
        header.append(f"comment pro_engine {json.dumps(dict(metadata))}")
    header += [f"element vertex {len(xyz)}", *(f"property float {axis}" for axis in "xyz")]
    if colours is not None:
        header += [f"property uchar {name}" for name in ("red", "green", "blue")]
    if faces is not None:
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    with open(path, "wb") as file:
        file.write("\n".join([*header, "end_header", ""]).encode("ascii"))
        for rows in chunks(len(xyz)):
            points = np.empty(rows.stop - rows.start, dtype=_POINT if colours is None else _COLOURED_POINT)
            points["xyz"] = xyz[rows]
            if colours is not None:
                points["rgb"] = next(colours)
            points.tofile(file)
        for rows in chunks(0 if faces is None else len(faces)):
            triangles = np.empty(rows.stop - rows.start, dtype=_FACE)
            triangles["count"] = 3
            triangles["corners"] = faces[rows] if faces is not None else 0
            triangles.tofile(file)
