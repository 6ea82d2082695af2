"""Runs inside Blender, see `blenders`: what the buttons do where a scene is not as they left it."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.blender.addon import PACKAGE, SIZE, called, installed, part, photo_of, said
from tests.blender.inside_build import main


def estimated(folder, name):
    """A new rig."""
    bpy.context.scene.pro_depth.photo = str(photo_of(folder / "photos", f"{name}.png"))
    called(bpy.ops.pro_depth.estimate)
    return part("work.current").rig_in(bpy.context)


def begin(folder):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    folder.mkdir(exist_ok=True)
    installed(folder, torn=False)
    return estimated(folder, "card")


def shown(rig):
    surface = part("rig.build").ends_of(rig)[1]
    return surface.visible_get() and not any(one.hide_render for one in (surface, *surface.users_collection))


def check_hidden(folder):
    """A rig that is hidden in one of the ways that Blender has."""
    rig = begin(folder)
    collection = rig.users_collection[0]
    layer = bpy.context.view_layer.layer_collection.children[collection.name]
    surface = part("rig.build").ends_of(rig)[1]
    found = {}
    for thing, name in (
        (layer, "hide_viewport"), (collection, "hide_viewport"), (collection, "hide_render"), (layer, "exclude"),
        (surface, "hide_viewport"), (surface, "hide_render"),
    ):  # fmt: skip
        bpy.context.view_layer.objects.active = rig
        setattr(thing, name, True)
        found[f"{type(thing).__name__}.{name}"] = [called(bpy.ops.pro_depth.look_through), shown(rig), said()[0]]
        setattr(thing, name, False)
    return found


def check_second(folder):
    """Another photo, and then the first one again; and one that stands elsewhere."""
    first = begin(folder)
    second = estimated(folder, "second")
    found = {"before": [shown(first), shown(second)]}
    found["second"] = [called(bpy.ops.pro_depth.show_photo), shown(first), shown(second), said()[0]]
    third = estimated(folder, "third")
    second.location.x = 50
    bpy.context.view_layer.update()
    bpy.context.view_layer.objects.active = third
    found["elsewhere"] = [called(bpy.ops.pro_depth.show_photo), shown(second), shown(third)]
    return found


def check_uneven(folder):
    """A parent that is scaled unevenly, mirrored, to nothing, and evenly."""
    rig = begin(folder)
    parent = bpy.data.objects.new("parent", None)
    bpy.context.scene.collection.objects.link(parent)
    rig.parent = parent
    found = {}
    for name, scale in (("uneven", (10, 5, 1)), ("mirrored", (-1, 1, 1)), ("nothing", (0, 0, 0)), ("even", (3, 3, 3))):
        parent.scale = scale
        found[name] = [called(bpy.ops.pro_depth.look_through), said()[0]]
        found[name] += [called(bpy.ops.pro_depth.level, to="GROUND"), called(bpy.ops.pro_depth.scale, by="HEIGHT")]
        found[name] += [called(bpy.ops.pro_depth.passes, filepath=str(folder / "z.exr"), replace=True)]
        if name == "uneven":
            exported = part("ui.export").export_rig(rig, folder / "uneven", "GLB")
            found["exported"] = exported.note
    return found


def check_gone(folder):
    """A part is gone."""
    whole, found = begin(folder), {}
    whole.location.x = 50
    for name in ("surface", "photo", "pixels"):
        rig = estimated(folder, name)
        surface = part("rig.build").ends_of(rig)[1]
        if name == "surface":
            bpy.data.objects.remove(surface)
        elif name == "photo":
            bpy.data.images.remove(rig["pro_photo"])
        else:
            rig["pro_photo"].unpack(method="REMOVE")
        bpy.context.view_layer.objects.active = rig
        found[name] = [called(bpy.ops.pro_depth.look_through)]
        found[name] += [called(bpy.ops.pro_depth.export, filepath=str(folder / "gone.glb"), format="GLB")]
    bpy.context.view_layer.objects.active = whole
    found["whole"] = called(bpy.ops.pro_depth.look_through)
    found["file"] = (folder / "gone.glb").exists()
    return found


def check_names(folder):
    """Names of files that are none, or beside a file that was never saved."""
    begin(folder)
    before = set(Path.cwd().iterdir())
    found = {
        name: called(bpy.ops.pro_depth.passes, filepath=path)
        for name, path in (("unsaved", "//z.exr"), ("none", " "), ("folder", f"{folder}/"), ("nowhere", "/none/z.exr"))
    }
    found["shot"] = called(bpy.ops.pro_depth.load_shot, directory="//plate.shot")
    found["left"] = sorted(map(str, set(Path.cwd().iterdir()) - before))
    return found


def check_linked(folder):
    """A rig of another file."""
    begin(folder)
    path = folder / "library.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.preferences.addon_enable(module=PACKAGE)
    with bpy.data.libraries.load(str(path), link=True) as (_, wanted):
        wanted.collections = ["card"]
    bpy.context.scene.collection.children.link(bpy.data.collections["card"])
    rig = bpy.data.objects["card"]
    bpy.context.view_layer.objects.active = rig
    found = {name: called(getattr(bpy.ops.pro_depth, name)) for name in ("look_through", "rebuild", "background")}
    return found | {"relief": part("rig.relief").can_move(rig)}


KINDS = {
    "layers": {},
    "layers, catcher": {"material": "catcher", "extend": True},
    "torn": {"layers": False, "sky": "drop"},
    "live": {"kind": "live"},
    "adaptive": {"kind": "adaptive"},
    "sphere": {"projection": "equirectangular", "photo": "around.png"},
    "metres": {"photo": "metric.png", "model": "mine", "scale_source": "METRIC", "cuts": False},
    "point": {"scale_source": "POINT", "point": (10, 40), "distance": 4.0},
}


def content(rig):
    """Every vertex of a rig, where modifiers have it, and every pixel that its materials and textures show."""
    found = {}
    graph = bpy.context.evaluated_depsgraph_get()
    for child in (one for one in rig.children if one.type == "MESH"):
        mesh = child.evaluated_get(graph).data
        places = np.empty(len(mesh.vertices) * 3, np.float32)
        mesh.vertices.foreach_get("co", places)
        found[child.name] = places.tobytes()
        shown = [node.image for one in child.data.materials for node in one.node_tree.nodes if node.type == "TEX_IMAGE"]
        shown += [one.texture.image for one in child.modifiers if one.type == "DISPLACE"]
        for image in shown:
            pixels = np.empty(len(image.pixels), np.float32)
            image.pixels.foreach_get(pixels)
            found[f"{child.name}, {'map' if image.is_float else 'picture'}"] = pixels.tobytes()
    return found


def check_reopened(folder):
    """Saved, opened again and rebuilt: what differs from what was built, by kind."""
    found = {}
    for name, values in KINDS.items():
        begin(folder / name)
        settings = bpy.context.scene.pro_depth
        size = (128, 64) if name == "sphere" else SIZE
        for key, value in values.items():
            setattr(settings, key, str(photo_of(folder / name / "photos", value, size)) if key == "photo" else value)
        bpy.context.view_layer.objects.active = None
        called(bpy.ops.pro_depth.estimate)
        rig = part("work.current").rig_in(bpy.context)
        rig_name, before = rig.name, content(rig)
        bpy.ops.wm.save_as_mainfile(filepath=str(folder / f"{name}.blend"))
        bpy.ops.wm.open_mainfile(filepath=str(folder / f"{name}.blend"))
        rig = bpy.data.objects[rig_name]
        opened = content(rig)
        bpy.context.view_layer.objects.active = rig
        result = called(bpy.ops.pro_depth.rebuild)
        after = content(rig)
        found[name] = [result, len(before), *(
            sorted(key for key in before.keys() | other.keys() if before.get(key) != other.get(key))
            for other in (opened, after)
        )]  # fmt: skip
    return found


if __name__ == "__main__":
    main(globals(), *sys.argv[1:])
