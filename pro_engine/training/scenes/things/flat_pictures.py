"""Pictures of scenes as flat meshes: a scene is projected onto a panel, so its content is rich and its depth flat."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..parts.builder import MeshBuilder
from ..parts.scene import Material, Scene, SceneCamera, SceneMesh
from ..render.camera_view import camera_axes

Array = NDArray[np.float64]

RELIEF_M = 0.003
"""Thickness of the panel: near surfaces lie on top of far ones."""
NEAR_M = 0.25
MAX_TRIANGLES = 60_000
"""The largest ones on the panel are kept."""
SHADES = 5
"""Steps of the painted light."""


def mural(scene: Scene, camera: SceneCamera, width: float, height: float) -> SceneMesh:
    """What `camera` sees of `scene`, painted on an upright panel: in the plane y = 0, base at z = 0, front to -y."""
    corners, shade, materials, owner = _seen(scene, camera)
    spread = math.tan(camera.fov_x / 2)
    planes = np.array(
        [(0, 0, 1), (1, 0, spread), (-1, 0, spread), (0, 1, spread * height / width), (0, -1, spread * height / width)]
    )
    offsets = np.array([-NEAR_M, 0, 0, 0, 0])
    index = np.arange(len(corners))
    for normal, offset in zip(planes, offsets, strict=True):
        corners, index = _clip(corners, index, normal, float(offset))
    mb = MeshBuilder()
    _sky(mb, scene, width, height)
    if len(corners):
        inverse = 1 / corners[..., 2]
        scale = width / (2 * spread)
        flat = np.stack(
            [
                corners[..., 0] * inverse * scale,
                -RELIEF_M * (0.1 + 0.9 * inverse / inverse.max()),
                height / 2 - corners[..., 1] * inverse * scale,
            ],
            -1,
        )
        paint = owner[index] * SHADES + shade[index]
        if len(flat) > MAX_TRIANGLES:
            first, second = flat[:, 1, ::2] - flat[:, 0, ::2], flat[:, 2, ::2] - flat[:, 0, ::2]
            area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
            largest = np.argpartition(-area, MAX_TRIANGLES)[:MAX_TRIANGLES]
            flat, paint = flat[largest], paint[largest]
        for value in np.unique(paint):
            part = flat[paint == value].reshape(-1, 3)
            color = _painted(materials[value // SHADES], value % SHADES, scale)
            mb.add(part, np.arange(len(part)).reshape(-1, 3), color)
    return mb.build()


def _seen(scene: Scene, camera: SceneCamera) -> tuple[Array, NDArray[np.int64], list[Material], NDArray[np.int64]]:
    """Triangles (N, 3, 3) in the camera frame, with their light step, the materials, and which one each has."""
    axes, eye = camera_axes(camera), np.asarray(camera.position)
    light = np.array([0.4, 0.3, 0.85])
    triangles, shades, owners, numbers = [], [], [], dict[Material, int]()
    for item in scene.instances:
        if not len(item.mesh.faces):
            continue
        world = item.mesh.vertices @ item.matrix[:3, :3].T + item.matrix[:3, 3]
        corners = world[item.mesh.faces].astype(float)
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
        away = ((corners[:, 0] - eye) * normals).sum(1) > 0
        lit = (np.where(away[:, None], -normals, normals) @ light) * 0.5 + 0.5
        shades.append(np.minimum((lit * SHADES).astype(np.int64), SHADES - 1))
        table = [numbers.setdefault(material, len(numbers)) for material in item.materials or item.mesh.materials]
        owners.append(np.array(table)[np.minimum(item.mesh.face_material, len(table) - 1)])
        triangles.append((corners - eye) @ axes)
    return np.concatenate(triangles), np.concatenate(shades), list(numbers), np.concatenate(owners)


def _clip(corners: Array, index: NDArray[np.int64], normal: Array, offset: float) -> tuple[Array, NDArray[np.int64]]:
    """Cut triangles (N, 3, 3) to the side of a plane where normal . p + offset >= 0; `index` follows its triangle."""
    distance = corners @ normal + offset
    inside = (distance >= 0).sum(1)
    kept, numbers = [corners[inside == 3]], [index[inside == 3]]
    for count in (1, 2):  # turn each triangle so that its odd corner comes first
        chosen = inside == count
        odd = np.argmax((distance[chosen] >= 0) == (count == 1), axis=1)
        order = (odd[:, None] + np.arange(3)) % 3
        points = np.take_along_axis(corners[chosen], order[..., None], 1)
        away = np.take_along_axis(distance[chosen], order, 1)
        share = away[:, :1] / (away[:, :1] - away[:, 1:])
        cuts = points[:, :1] + (points[:, 1:] - points[:, :1]) * share[..., None]
        if count == 1:
            kept.append(np.concatenate([points[:, :1], cuts], 1))
            numbers.append(index[chosen])
        else:
            kept.append(np.stack([cuts[:, 0], points[:, 1], points[:, 2]], 1))
            kept.append(np.stack([cuts[:, 0], points[:, 2], cuts[:, 1]], 1))
            numbers += [index[chosen], index[chosen]]
    return np.concatenate(kept), np.concatenate(numbers)


def _painted(material: Material, step: int, scale: float) -> Material:
    """A matt, opaque material in one of the light steps; its pattern shrinks with the picture."""
    light = 0.35 + 0.75 * (step + 0.5) / SHADES
    first, second = (
        (min(1.0, color[0] * light), min(1.0, color[1] * light), min(1.0, color[2] * light))
        for color in (material.color, material.color2)
    )
    return replace(
        material,
        color=first,
        color2=second,
        tint=material.pattern == "image" or material.tint,
        scale=material.scale * max(1.0, 3.0 / scale),
        reflectance=0.0,
        transparent=False,
        bump=0.0,
        emission=0.0,
    )


def _sky(mb: MeshBuilder, scene: Scene, width: float, height: float) -> None:
    """Bands from the zenith down to the horizon behind everything."""
    bands, half = 6, width / 2
    for band in range(bands):
        share = band / (bands - 1)
        pairs = zip(scene.sky.horizon, scene.sky.zenith, strict=True)
        red, green, blue = (min(1.0, low + (high - low) * share) for low, high in pairs)
        low, high = height * band / bands, height * (band + 1) / bands
        corners = [(-half, 0, low), (half, 0, low), (half, 0, high), (-half, 0, high)]
        mb.add(corners, [(0, 1, 2, 3)], Material(color=(red, green, blue)))
