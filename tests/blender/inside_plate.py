"""Runs inside Blender, see `blenders`: what is added to the photo, and maps for compositors."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from blender_addon.maths.exr import ExrWindows, frame_of_exr, zipped_exr
from blender_addon.maths.mesh import Intrinsics
from blender_addon.rig.build import BuildOptions, build, rebuild
from blender_addon.rig.compositor import set_up
from blender_addon.rig.datablocks import read_float_image
from blender_addon.rig.passes import check_free, pass_files, write_passes
from blender_addon.rig.plate import project, show_behind
from tests.blender.addon import called, installed, part, said
from tests.blender.addon import photo_of as photo
from tests.blender.inside_build import UNTORN, built, card, compared, hills, load_png, main, photo_of, positions, render

OFF = Intrinsics(210.0, 210.0, 119.5 + 23, 79.5 - 11, 240, 160)
LENSES = {
    "shifted": OFF,
    "portrait": Intrinsics(210.0, 210.0, 79.5 - 9, 119.5 + 14, 160, 240),
    "wide pixels": Intrinsics(180.0, 240.0, 119.5 + 23, 79.5 - 11, 240, 160),
}


def fresh():
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.context.scene


def quad(corners):
    """An object of one face."""
    mesh = bpy.data.meshes.new("mine")
    mesh.from_pydata(corners, [], [(0, 1, 2, 3)])
    thing = bpy.data.objects.new("mine", mesh)
    bpy.context.scene.collection.objects.link(thing)
    return thing


def check_projection(folder):
    """The photo, seen again on one slanted face that fills the view."""
    found = {}
    for name, lens in LENSES.items():
        fresh()
        parts = built(folder, lens)
        parts.surface.hide_render = True
        wall = quad([(-9, 2, -9), (9, 9, -9), (9, 9, 9), (-9, 2, 9)])
        wall.data.materials.append(bpy.data.materials.new("own"))
        names = project(parts, [wall, parts.surface, parts.camera], "emission")
        parts.rig.location = wall.location = (1, 0, 2)
        image = render(parts, folder / "render.png")
        seen = compared(image, load_png(photo_of(folder, lens.width, lens.height)))
        found[name] = {**seen, "names": names, "own": wall.data.materials[0].name}
    again = project(parts, [wall], "emission")
    found["materials"] = sorted(one.name for one in bpy.data.materials)
    found["again"] = again
    return found


def check_background(folder):
    found = {}
    for name, lens in LENSES.items():
        fresh()
        parts = built(folder, lens)
        show_behind(parts)
        show_behind(parts)
        data = parts.camera.data
        shown = data.background_images[0]
        found[name] = [len(data.background_images), data.show_background_images, shown.frame_method, shown.alpha,
                       shown.image == parts.rig["pro_photo"]]  # fmt: skip
    return found


def check_catcher(folder):
    """A cube between a sun and the surface: its shadow, and nothing of the photo."""
    scene = fresh()
    parts = built(folder, OFF, material="catcher")
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.rotation_euler = 3.0, (math.radians(60), 0, math.radians(-40))
    bpy.ops.mesh.primitive_cube_add(size=0.5, location=(0, 3.0, 0.2))
    scene.collection.objects.link(sun)
    scene.render.film_transparent = True
    scene.render.image_settings.color_mode = "RGBA"
    render(parts, folder / "render.png")
    image = bpy.data.images.load(str(folder / "render.png"))
    alpha = read_float_image(image)[..., 3]
    found = {
        "switch": parts.surface.is_shadow_catcher,
        "opaque": float((alpha > 0.99).mean()),
        "shadow": float(((alpha > 0.05) & (alpha < 0.99)).mean()),
        "nothing": float((alpha < 0.01).mean()),
    }
    numbers = {"depth": hills(240, 160), "intrinsics": OFF}
    rebuild(scene, parts.rig, options=BuildOptions(mesh=UNTORN), **numbers)
    found["switched back"] = not parts.surface.is_shadow_catcher
    parts.surface.is_shadow_catcher = True
    rebuild(scene, parts.rig, options=BuildOptions(mesh=UNTORN, material="principled"), **numbers)
    found["the user's"] = parts.surface.is_shadow_catcher
    return found


def read_exr(path):
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    values = read_float_image(image)[..., :3]
    bpy.data.images.remove(image)
    return values


def check_passes(folder):
    scene = fresh()
    scene.unit_settings.scale_length = 0.1
    depth = hills(240, 160)
    depth[:20, :30] = np.nan
    depth[100, 100] = np.inf
    plate = ExrWindows((7, -3, 246, 156), (0, 0, 299, 199), 1.0)
    colours = card(240, 160)
    path = folder / "plate.exr"
    path.write_bytes(zipped_exr(dict(zip("RGB", np.moveaxis(colours, -1, 0), strict=True)), plate))
    parts = build(scene, name="card", photo=photo_of(folder, 240, 160), depth=depth, intrinsics=OFF, plate=path,
                  options=BuildOptions(mesh=UNTORN), source=depth)  # fmt: skip
    parts.rig.location, parts.rig.rotation_euler.z = (3, -2, 1), 0.4
    bpy.context.view_layer.update()
    found = {}
    there = np.isfinite(depth)
    for space in ("CAMERA", "WORLD"):
        files = write_passes(parts.rig, depth, OFF, folder / f"{space}.exr", space)
        maps = {file.name.split(".")[1]: read_exr(file) for file in files}
        turn = np.array(parts.surface.matrix_world if space == "WORLD" else Matrix.Scale(10, 4))
        places = positions(parts.surface.data) @ turn[:3, :3].T + turn[:3, 3]
        picked = maps["position"][40::37, 50::41].reshape(-1, 3)
        off = [float(np.linalg.norm(places - one, axis=1).min()) for one in picked]
        found[space] = {
            "files": [file.name for file in files],
            "finite": all(bool(np.isfinite(values).all()) for values in maps.values()),
            "z": float(np.abs(maps["z"][..., 0][there] / depth[there] / 10 - 1).max()),
            "wall": [float(maps["z"][0, 0, 0]), float(depth[there].max()) * 100],
            "mask": bool(((maps["mask"][..., 0] == 1) == there).all() and maps["mask"].max() == 1),
            "off the surface": max(off),
            "normals": float(np.abs(np.linalg.norm(maps["normal"][there], axis=-1) - 1).max()),
            "facing": facing(maps, parts, space)[there].mean().item(),
            "frame": list(map(list, frame_of_exr(files[0].read_bytes())[:2])),
        }
    try:
        check_free(pass_files(folder / "WORLD.exr").values())
    except Exception as error:
        found["twice"] = str(error)
    return found


def facing(maps, parts, space):
    """Where normals look to the camera."""
    camera = np.array(parts.camera.matrix_world)[:3, 3] if space == "WORLD" else np.zeros(3)
    return (maps["normal"] * (camera - maps["position"])).sum(-1) > 0


def check_compositor(folder):
    """Nothing is added: the photo comes out, though Cycles shows nothing of it."""
    scene = fresh()
    parts = built(folder, OFF, material="catcher", depth=hills(240, 160))
    ours = set_up(scene, parts, hills(240, 160), OFF)
    image = render(parts, folder / "render.png")
    found = compared(image, load_png(photo_of(folder, 240, 160)))
    again = set_up(scene, parts, hills(240, 160), OFF)
    tree = scene.compositing_node_group if bpy.app.version >= (5, 0) else scene.node_tree
    labels = sorted(node.label for node in tree.nodes if node.type == "IMAGE")
    return {**found, "ours": [ours, again], "labels": labels, "film": scene.render.film_transparent}


def check_buttons(folder):
    """The buttons, on a rig of the engine."""
    installed(folder)
    scene, cube = bpy.context.scene, bpy.data.objects["Cube"]
    scene.pro_depth.photo = str(photo(folder / "photos"))
    called(bpy.ops.pro_depth.estimate)
    rig = part("work.current").rig_in(bpy.context)
    found = {"background": called(bpy.ops.pro_depth.background)}
    cube.select_set(True)
    bpy.context.view_layer.objects.active = rig
    found["project"] = [called(bpy.ops.pro_depth.project), said()[0]]
    cube.select_set(False)
    found["nothing"] = called(bpy.ops.pro_depth.project)
    found["passes"] = called(bpy.ops.pro_depth.passes, filepath=str(folder / "card.exr"), space="WORLD")
    found["twice"] = called(bpy.ops.pro_depth.passes, filepath=str(folder / "card.exr"))
    found["again"] = called(bpy.ops.pro_depth.passes, filepath=str(folder / "card.exr"), replace=True)
    found["files"] = sorted(path.name for path in folder.glob("*.exr"))
    found["compositor"] = called(bpy.ops.pro_depth.compositor)
    scene.pro_depth.material = "catcher"
    found["catcher"] = [
        called(bpy.ops.pro_depth.rebuild),
        next(c for c in rig.children if c.type == "MESH").is_shadow_catcher,
    ]
    found["textures"] = [slot.material.name for slot in cube.material_slots]
    return found


if __name__ == "__main__":
    main(globals(), *sys.argv[1:])
