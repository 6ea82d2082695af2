"""A layered mesh as 3D Gaussians, in the .ply layout of Kerbl et al. 2023 that viewers of splats read.

Each cell of four pixels is one flat Gaussian on its surface, as long and as wide as the cell is, so that neighbours
close the view.
The frame is the camera's, x right, y down and z forward, which is that of COLMAP and of the authors' files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import FileError, InputError
from pro_engine.io.atomic import atomic_path
from pro_engine.io.paths import PathLike, as_path, checked_metadata
from pro_engine.types import LayeredMesh, Mesh

SUFFIX = ".ply"
_FIELDS = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
_BAND_0 = 0.28209479177387814  # spherical harmonic of degree 0
_SIGMAS = 0.55  # standard deviation of a Gaussian, in sides of its cell: neighbours overlap and stay sharp
_FLAT = 0.05  # thickness, in its width
_OPACITY = 6.0  # logit: 99.8 %


def save_splats(path: PathLike, layers: LayeredMesh, *, metadata: Mapping[str, Any] | None = None) -> None:
    """Write one flat Gaussian for each cell of both layers, those behind first, atomically.

    Args:
        path: a .ply file.
        layers: what `depth_to_layers` returns.
        metadata: further facts, plain JSON; with the camera in pixels they go into a comment.

    Raises:
        FileError: another suffix, or the system refuses.
        InputError: it is no LayeredMesh.
    """
    target = as_path(path)
    if target.suffix.lower() != SUFFIX:
        raise FileError(f"{target} is no file of Gaussians; give a name that ends in {SUFFIX}.")
    if not isinstance(layers, LayeredMesh):
        raise InputError(f"The layers are a {type(layers).__name__}; give what depth_to_layers returns.")
    meshes = [mesh for mesh in (layers.behind, layers.front) if mesh is not None]
    rows = np.concatenate([_gaussians(mesh) for mesh in meshes])
    facts = {**checked_metadata(metadata), "camera": asdict(layers.intrinsics)}
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment camera frame: x right, y down, z forward; metres",
        f"comment pro_engine {json.dumps(facts)}",
        f"element vertex {len(rows)}",
        *(f"property float {name}" for name in _FIELDS),
        "end_header\n",
    ]
    with atomic_path(target) as temporary, open(temporary, "wb") as file:
        file.write("\n".join(header).encode("ascii"))
        rows.tofile(file)


def _gaussians(mesh: Mesh) -> NDArray[np.float32]:
    """(Q, 17) of a mesh whose triangles come as the two halves of quads, first halves first."""
    half = len(mesh.faces) // 2
    quads = np.column_stack([mesh.faces[:half, :2], mesh.faces[half:, 1:]])  # in turn around the cell
    corners = mesh.vertices[quads].astype(np.float64)  # (Q, 4, 3)
    centre = corners.mean(axis=1)
    assert mesh.uv is not None and mesh.texture is not None
    uv = mesh.uv[quads]
    uv = (uv.min(axis=1) + uv.max(axis=1)) / 2
    height, width = mesh.texture.shape[:2]
    column = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    row = np.clip((1 - uv[:, 1]) * height - 0.5, 0, height - 1)
    colour = mesh.texture[np.rint(row).astype(np.intp), np.rint(column).astype(np.intp)] / 255

    # Four corners of a square deviate by half a side along any direction. Along their main axes, and not along a plane,
    # a steep or bent cell is long in depth alone: from the photo's camera it is a pixel, and no needle.
    away = corners - centre[:, None]
    variances, axes = np.linalg.eigh(np.einsum("qci,qcj->qij", away, away) / 4)
    axes = _turned(axes.transpose(0, 2, 1)[:, ::-1])
    wide = np.maximum(2 * _SIGMAS * np.sqrt(np.maximum(variances[:, ::-1], 0)), 1e-9)
    wide[:, 2] = np.maximum(wide[:, 2], wide[:, 1] * _FLAT)
    rows = np.zeros((half, len(_FIELDS)), np.float32)
    rows[:, 0:3], rows[:, 3:6] = centre, axes[:, 2]
    rows[:, 6:9] = (colour - 0.5) / _BAND_0
    rows[:, 9] = _OPACITY
    rows[:, 10:13] = np.log(wide)
    rows[:, 13:17] = _quaternions(axes)
    return rows


def _turned(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(Q, 3, 3), rows: right-handed, with a first one to the right and a third one away from the camera."""
    first, third = (np.where(axes[:, k, at : at + 1] < 0, -axes[:, k], axes[:, k]) for k, at in ((0, 0), (2, 2)))
    return np.stack([first, np.cross(third, first), third], axis=1)


def _quaternions(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(Q, 4), w first, of rotations (Q, 3, 3) that turn x, y and z to these rows."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = axes.transpose(1, 2, 0)
    products = np.array(  # of each two parts of the quaternion, four times
        [
            [1 + xx + yy + zz, yz - zy, zx - xz, xy - yx],
            [yz - zy, 1 + xx - yy - zz, xy + yx, xz + zx],
            [zx - xz, xy + yx, 1 - xx + yy - zz, yz + zy],
            [xy - yx, xz + zx, yz + zy, 1 - xx - yy + zz],
        ]
    )
    largest = products.diagonal().argmax(axis=1)  # one of the four is half at least
    turn = products[:, largest, np.arange(len(largest))].T
    return turn / np.linalg.norm(turn, axis=1, keepdims=True)  # type: ignore[no-any-return]
