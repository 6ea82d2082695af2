"""Runs inside Blender, see `blenders`: rigs made level, scaled and moved by the buttons."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.blender.addon import called, installed, part, photo_of, said
from tests.blender.inside_build import main, positions


def placed(surface):
    """(N, 3) of a surface in the world."""
    bpy.context.view_layer.update()
    turn = np.array(surface.matrix_world)
    return positions(surface.data) @ turn[:3, :3].T + turn[:3, 3]


def pick(place):
    bpy.context.scene.cursor.location = Vector(place)
    return called(bpy.ops.pro_depth.pick)


def check_space(folder):
    """The engine's surface is a plane that leans; what is level is measured on its vertices."""
    installed(folder)
    scene, settings = bpy.context.scene, bpy.context.scene.pro_depth
    scene.unit_settings.scale_length = 0.1
    settings.near, settings.far = 20.0, 80.0  # decimetres
    settings.photo = str(photo_of(folder / "photos"))
    called(bpy.ops.pro_depth.estimate)
    rig = part("work.current").rig_in(bpy.context)
    surface = next(child for child in rig.children if child.type == "MESH")
    camera = next(child for child in rig.children if child.type == "CAMERA")
    leaning = float(np.ptp(placed(surface)[:, 2]))
    start = rig.matrix_world.copy()
    found = {"leaning": leaning}
    for way in ("GROUND", "CURSOR", "POINTS"):
        rig.matrix_world = start
        points = placed(surface)[[5, 60, -40]]
        if way == "CURSOR":
            scene.cursor.location = Vector(placed(surface)[3000])
        elif way == "POINTS":
            for place in points:
                pick(place)
        result = called(bpy.ops.pro_depth.level, to=way)
        heights = placed(surface)[:, 2]
        found[way] = [result, float(np.abs(heights).max()), said()[0], camera.matrix_world.translation.z]
    found["picks"] = part("rig.space").picks_of(rig)
    called(bpy.ops.pro_depth.unpick)
    found["too few"] = called(bpy.ops.pro_depth.level, to="POINTS")
    found["no picks"] = called(bpy.ops.pro_depth.scale, by="LENGTH")
    vertices = surface.data.vertices
    vertices.foreach_set("select", np.isin(np.arange(len(vertices)), (5, 4000)))
    settings.length = 7.0
    found["by vertices"] = called(bpy.ops.pro_depth.scale, by="LENGTH")
    ends = placed(surface)[[5, 4000]]
    found["length"] = float(np.linalg.norm(ends[1] - ends[0]))
    settings.height = 16.0
    found["by height"] = called(bpy.ops.pro_depth.scale, by="HEIGHT")
    bpy.context.view_layer.update()
    found["height"] = float(camera.matrix_world.translation.z - placed(surface)[:, 2].mean())
    scene.cursor.location = (1, 2, 3)
    found["at cursor"] = [called(bpy.ops.pro_depth.to_cursor), list(camera.matrix_world.translation)]
    bpy.context.view_layer.update()
    found["at cursor"][1] = list(camera.matrix_world.translation)
    for k in (5, 4000):
        vertices[k].select = False
    for x in (-3.0, 4.0):  # of a horizon that is tilted in the picture, beyond all that is built
        pick(camera.matrix_world @ Vector((x, 0.1 * x + 0.5, -9.0)))
    found["horizon"] = called(bpy.ops.pro_depth.level, to="HORIZON")
    bpy.context.view_layer.update()
    seen = [(camera.matrix_world.to_3x3() @ Vector((x, 0.1 * x + 0.5, -9.0))).normalized().z for x in (-3.0, 4.0)]
    found["level"] = max(map(abs, seen))
    found["upright"] = (camera.matrix_world.to_3x3() @ Vector((0, 1, 0))).z
    found["rebuilt"] = called(bpy.ops.pro_depth.rebuild)
    return found


if __name__ == "__main__":
    main(globals(), *sys.argv[1:])
