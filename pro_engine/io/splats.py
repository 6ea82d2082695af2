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

    normal = _unit(np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]))
    axes = _axes(normal, centre)
    # Four corners of a square deviate by half a side along any direction; steep cells are long in depth alone.
    away = np.einsum("qck,qak->qca", corners - centre[:, None], axes[:, :2])
    wide = np.maximum(2 * away.std(axis=1) * _SIGMAS, 1e-9)
    rows = np.zeros((half, len(_FIELDS)), np.float32)
    rows[:, 0:3], rows[:, 3:6] = centre, normal
    rows[:, 6:9] = (colour - 0.5) / _BAND_0
    rows[:, 9] = _OPACITY
    rows[:, 10:12], rows[:, 12] = np.log(wide), np.log(wide.min(axis=1) * _FLAT)
    rows[:, 13:17] = _quaternions(axes)
    return rows


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(Q, 3) of length 1, or 0."""
    unit: NDArray[np.float64] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-20)
    return unit


def _axes(normal: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """(Q, 3, 3), rows: along the surface in the direction of view, across it, and the normal that points away."""
    away = np.where(normal[:, 2:] < 0, -normal, normal)
    along = _unit(centre)
    along = np.where(np.abs((along * away).sum(axis=1, keepdims=True)) < 0.999, along, (1.0, 0.0, 0.0))
    along = _unit(along - (along * away).sum(axis=1, keepdims=True) * away)
    along = np.where(along[:, :1] < 0, -along, along)
    return np.stack([along, np.cross(away, along), away], axis=1)


def _quaternions(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(Q, 4), w first, of rotations (Q, 3, 3) that turn x, y and z to these rows, by less than half a turn."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = axes.transpose(1, 2, 0)
    squares = np.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], axis=1)
    turn: NDArray[np.float64] = np.sqrt(np.maximum(squares, 0)) / 2
    turn[:, 1:] = np.copysign(turn[:, 1:], np.stack([yz - zy, zx - xz, xy - yx], axis=1))
    return _unit(turn)
