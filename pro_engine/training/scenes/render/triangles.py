"""All triangles of a scene in one soup, ready for a ray tracer; and the vector arithmetic that goes with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..parts.scene import Material, Scene, SceneMesh

Array = NDArray[np.float32]


@dataclass
class Soup:
    """All triangles of a scene in world space."""

    vertices: Array
    local: Array
    normals: Array
    faces: NDArray[np.int32]
    smooth: NDArray[np.bool_]
    face_material: NDArray[np.int32]
    face_instance: NDArray[np.int32]
    has_uv: NDArray[np.bool_]
    uv: Array | None
    materials: list[Material]


def flatten(scene: Scene) -> Soup:
    """One triangle soup of all instances; equal materials are merged."""
    parts: list[tuple] = []
    numbers: dict[Material, int] = {}
    smoothed: dict[int, Array] = {}
    start = 0
    for number, item in enumerate(scene.instances):
        mesh = item.mesh
        if not len(mesh.faces):
            continue
        if id(mesh) not in smoothed:
            smoothed[id(mesh)] = _vertex_normals(mesh)
        linear = item.matrix[:3, :3].astype(np.float32)
        vertices = mesh.vertices @ linear.T + item.matrix[:3, 3].astype(np.float32)
        to_world = np.linalg.inv(linear + np.float32(1e-9) * np.eye(3, dtype=np.float32)).astype(np.float32)
        own = mesh.materials if item.materials is None else item.materials
        table = np.array([numbers.setdefault(material, len(numbers)) for material in own], np.int32)
        material = table[np.minimum(mesh.face_material, len(table) - 1)]
        parts.append(
            (
                vertices,
                mesh.vertices,
                unit(smoothed[id(mesh)] @ to_world),
                mesh.faces + np.int32(start),
                mesh.smooth,
                material,
                np.full(len(mesh.faces), number, np.int32),
                np.full(len(mesh.faces), mesh.uv is not None),
            )
        )
        start += len(vertices)
    if not parts:
        raise ValueError(f"scene {scene.kind!r} holds no triangle")
    vertices, local, normals, faces, smooth, material, instance, has_uv = map(np.concatenate, zip(*parts, strict=True))
    uv = None
    if has_uv.any():
        uv = np.zeros((len(faces), 3, 2), np.float32)
        uv[has_uv] = np.concatenate([scene.instances[part[6][0]].mesh.uv for part in parts if part[7][0]])
    return Soup(
        vertices.astype(np.float32),
        local.astype(np.float32),
        normals.astype(np.float32),
        faces.astype(np.int32),
        smooth,
        material,
        instance,
        has_uv,
        uv,
        list(numbers),
    )


def _vertex_normals(mesh: SceneMesh) -> Array:
    """Area-weighted normals (V, 3) over the smooth faces; zero at vertices that have none."""
    normals = np.zeros_like(mesh.vertices, np.float32)
    faces = mesh.faces[mesh.smooth]
    if len(faces):
        a, b, c = (mesh.vertices[faces[:, k]] for k in range(3))
        cross = np.cross(b - a, c - a)
        for axis in range(3):
            for corner in range(3):
                normals[:, axis] += np.bincount(faces[:, corner], cross[:, axis], len(normals)).astype(np.float32)
    return unit(normals)


def unit(vectors: Array) -> Array:
    """Vectors (..., 3) scaled to length 1."""
    length = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    return vectors / np.maximum(length, 1e-12)[..., None]


def dot(first: Array, second: Array) -> Array:
    """Dot products (N,) of the rows of two (N, 3) arrays; far faster than a product and a sum."""
    return np.einsum("ij,ij->i", first, second)


def sign(values: Array) -> Array:
    """-1 below zero, else 1."""
    return np.where(values < 0, np.float32(-1), np.float32(1))
