"""Runs inside Blender, see `blenders`: a whole panorama as a sphere with the camera inside."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.blender.addon import called, installed, part, said
from tests.blender.inside_build import load_png, main, positions, save_png

WIDTH, HEIGHT = 256, 128


def panorama(path):
    """A picture that goes around without a seam."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    around, down = x * 2 * np.pi / WIDTH, y * np.pi / HEIGHT
    parts = (np.sin(3 * around) * np.sin(down), np.cos(2 * around) * np.sin(down), np.cos(3 * down))
    return save_png(0.5 + 0.4 * np.dstack(parts), path)


def surface_of(rig):
    return part("rig.build").parts_of(rig).surface


def rendered(folder):
    """What Cycles shows through the camera of the panorama, and what of it is no surface."""
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", 4
    scene.cycles.use_denoising = scene.cycles.use_adaptive_sampling = False
    scene.render.film_transparent = True
    scene.render.filepath, scene.render.image_settings.file_format = str(folder / "render.png"), "PNG"
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(scene.render.filepath)
    alpha = np.empty(WIDTH * HEIGHT * 4, np.float32)
    image.pixels.foreach_get(alpha)
    bpy.data.images.remove(image)
    return load_png(folder / "render.png"), float((alpha[3::4] < 0.5).mean())


def check_sphere(folder):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    installed(folder, torn=False)
    settings = bpy.context.scene.pro_depth
    photo = panorama(folder / "around.png")
    settings.photo, settings.projection = str(photo), "equirectangular"
    settings.near, settings.edge_rtol = 2.0, 0.05
    found = {"estimate": called(bpy.ops.pro_depth.estimate), "said": said()[0]}
    rig = part("work.current").rig_in(bpy.context)
    parts = part("rig.build").parts_of(rig)
    mesh = parts.surface.data
    camera = parts.camera.data
    found["camera"], found["told"] = [camera.type, camera.panorama_type], rig["pro_told"]
    found["relief"] = part("rig.relief").can_move(rig)
    places = positions(mesh)
    distance = np.linalg.norm(places, axis=1)
    found["distance"] = [float(distance.min()), float(distance.max())]
    inwards = [face.normal.dot(face.center) < 0 for face in mesh.polygons if face.area > 1e-6]
    found["inwards"] = [float(np.mean(inwards)), len(inwards)]
    called(bpy.ops.pro_depth.show_photo)
    image, gaps = rendered(folder)
    found["psnr"] = float(-10 * np.log10(np.mean((image - load_png(photo)) ** 2)))
    found["gaps"] = gaps
    to_world = parts.camera.matrix_world
    ways = (0, 0, -5), (5, 0, 0), (0, 5, 0)
    found["pixels"] = [part("rig.place").pixel_of(rig, to_world @ Vector(way)) for way in ways]
    settings.height = 3.2
    found["height"] = [called(bpy.ops.pro_depth.scale, by="HEIGHT"), said()[0]]
    found["refused"] = [
        called(bpy.ops.pro_depth.background),
        called(bpy.ops.pro_depth.compositor),
        called(bpy.ops.pro_depth.passes, filepath=str(folder / "z.exr")),
    ]
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "saved.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(folder / "saved.blend"))
    settings, rig = bpy.context.scene.pro_depth, bpy.data.objects["around"]
    bpy.context.view_layer.objects.active = rig
    rebuilt = called(bpy.ops.pro_depth.rebuild)
    found["rebuilt"] = [rebuilt, positions(surface_of(rig).data).tobytes() == places.tobytes()]
    settings.layers, settings.vertices, settings.sky = False, 3000, "drop"
    found["torn"] = [called(bpy.ops.pro_depth.rebuild), len(surface_of(rig).data.vertices)]
    settings.kind = "live"
    found["live"] = called(bpy.ops.pro_depth.rebuild)
    settings.kind = "mesh"
    found["export"] = called(bpy.ops.pro_depth.export, filepath=str(folder / "around.glb"), format="GLB")
    return found


if __name__ == "__main__":
    main(globals(), *sys.argv[1:])
