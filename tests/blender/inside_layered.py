"""Runs inside Blender: `python inside_layered.py opened FOLDER FILE` imports the engine's file, and prints facts."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.blender.inside_build import main

STEP = 7  # every so many corners are looked at


def check_opened(_folder, file, width, height):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    if file.endswith(".glb"):
        bpy.ops.import_scene.gltf(filepath=file)
    else:
        bpy.ops.wm.usd_import(filepath=file)
    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = int(width), int(height)
    bpy.context.view_layer.update()
    (camera,) = (thing for thing in bpy.data.objects if thing.type == "CAMERA")
    surfaces = {thing.name: thing for thing in bpy.data.objects if thing.type == "MESH"}
    return {
        "surfaces": {name: facts_of(thing, camera, scene) for name, thing in surfaces.items()},
        "angle": camera.data.angle,
        "shift": [camera.data.shift_x, camera.data.shift_y],
    }


def facts_of(thing, camera, scene):
    """Size of a mesh, its texture, and how far from its place on the photo a corner is seen at most, in pixels."""
    mesh = thing.data
    (material,) = mesh.materials
    (image,) = {node.image for node in material.node_tree.nodes if node.type == "TEX_IMAGE"}
    uv = mesh.uv_layers[0].data
    off = 0.0
    for loop in list(mesh.loops)[::STEP]:
        seen = world_to_camera_view(scene, camera, thing.matrix_world @ mesh.vertices[loop.vertex_index].co)
        there = np.array(uv[loop.index].uv)
        if (there > 0).all() and (there < 1).all():
            off = max(
                off, np.abs((np.array(seen[:2]) - there) * (scene.render.resolution_x, scene.render.resolution_y)).max()
            )
    return {"vertices": len(mesh.vertices), "texture": list(image.size), "off": float(off)}


if __name__ == "__main__":
    main(globals(), *sys.argv[1:])
