"""Triangles made ready for rays by embree, and the depth of what rays from a camera meet."""

from __future__ import annotations

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene as RayTree
from numpy.typing import NDArray

from .scene import Camera

Array = NDArray[np.float32]


def ray_tree(vertices: Array, faces: NDArray[np.int32]) -> RayTree:
    """Triangles, faces (F, 3) of vertices (V, 3), as a tree that finds which one a ray meets."""
    tree = RayTree()
    TriangleMesh(tree, np.ascontiguousarray(vertices), np.ascontiguousarray(faces))
    return tree


def first_met(tree: RayTree, camera: Camera, step: Array) -> tuple[Array, NDArray[np.integer]]:
    """z-depth (N,) of what rays from the camera meet first, +inf for nothing, and its triangle, -1 for none.

    step: directions (N, 3) as `view.pixel_directions` gives them.
    """
    length = np.linalg.norm(step, axis=1)
    found = tree.run(from_point(camera.position, len(step)), step / length[:, None], output=1)
    triangle = found["primID"]
    return np.where(triangle >= 0, found["tfar"] / length, np.inf).astype(np.float32), triangle


def from_point(position: tuple[float, float, float], count: int) -> Array:
    """Origins (count, 3) of rays that all begin at one place."""
    return np.tile(np.asarray(position, np.float32), (count, 1))
