"""A layered mesh as 3D Gaussians, in the .ply layout of Kerbl et al. 2023 that viewers of splats read.

Each cell of four pixels is one flat Gaussian on its surface, as wide as the cell is, so that neighbours close the view.
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
    first, second = (mesh.vertices[faces] for faces in (mesh.faces[:half], mesh.faces[half:]))
    corners = np.concatenate([first, second], axis=1).astype(np.float64)  # (Q, 6, 3): two of four count twice
    low, high = corners.min(axis=1), corners.max(axis=1)
    centre = (low + high) / 2
    assert mesh.uv is not None and mesh.texture is not None
    uv = mesh.uv[np.concatenate([mesh.faces[:half], mesh.faces[half:]], axis=1)]
    uv = (uv.min(axis=1) + uv.max(axis=1)) / 2
    height, width = mesh.texture.shape[:2]
    column = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    row = np.clip((1 - uv[:, 1]) * height - 0.5, 0, height - 1)
    colour = mesh.texture[np.rint(row).astype(np.intp), np.rint(column).astype(np.intp)] / 255

    normal = np.cross(first[:, 1] - first[:, 0], first[:, 2] - first[:, 0]).astype(np.float64)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20)
    # The narrow axis turned from z to the normal: quaternion (1 + n.z, z x n), normalised.
    turn = np.stack([1 - normal[:, 2], normal[:, 1], -normal[:, 0], np.zeros(len(normal))], axis=1)
    turn /= np.maximum(np.linalg.norm(turn, axis=1, keepdims=True), 1e-20)
    side = np.linalg.norm(high - low, axis=1) / np.sqrt(2)
    wide = np.maximum(side * _SIGMAS, 1e-9)
    rows = np.zeros((half, len(_FIELDS)), np.float32)
    rows[:, 0:3], rows[:, 3:6] = centre, normal
    rows[:, 6:9] = (colour - 0.5) / _BAND_0
    rows[:, 9] = _OPACITY
    rows[:, 10:12], rows[:, 12] = np.log(wide)[:, None], np.log(wide * _FLAT)
    rows[:, 13:17] = turn
    return rows
