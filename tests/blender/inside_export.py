"""Runs inside Blender: `python inside_export.py CHECK FOLDER` exports, imports again, and prints facts as JSON."""

from __future__ import annotations

import json
import struct
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from blender_addon.errors import UserError
from blender_addon.maths.mesh import Intrinsics, MeshOptions
from blender_addon.rig.build import FRAME_KEY
from blender_addon.rig.datablocks import UV_NAME
from blender_addon.rig.export_scene import CROP_KEY
from blender_addon.ui import export
from blender_addon.ui.export import FORMATS, export_rig
from tests.blender.inside_build import COUNTED, UNTORN, built, load_png, main, photo_of

CENTRED = Intrinsics.from_fov(60, 60, 40)
OFF = Intrinsics(52.5, 52.5, 29.5 + 7.3, 19.5 - 4.6, 60, 40)
TALL = Intrinsics(52.5, 40.0, 19.5 - 6, 29.5 + 5, 40, 60)


def start(**options):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return built(**options)


def import_file(path, format):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    if format == "GLB":
        bpy.ops.import_scene.gltf(filepath=str(path))
    elif format == "USD":
        bpy.ops.wm.usd_import(filepath=str(path))
    else:
        bpy.ops.wm.alembic_import(filepath=str(path), as_background_job=False)
    bpy.context.view_layer.update()
    (camera,) = (thing for thing in bpy.data.objects if thing.type == "CAMERA")
    if format == "ABC":
        camera.data.sensor_fit = "HORIZONTAL"  # which Blender's importer leaves at AUTO
    surfaces = [thing for thing in bpy.data.objects if thing.type == "MESH"]
    return camera, surfaces


# ---- what a camera sees of a mesh


def evaluated(surface):
    """(N, 3) places in the world, and (L,) vertices and (L, 2) UV of the corners."""
    thing = surface.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = thing.data
    places = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", places)
    corners = np.empty(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", corners)
    uv = np.empty(len(corners) * 2, np.float32)
    (mesh.uv_layers.get(UV_NAME) or mesh.uv_layers[0]).uv.foreach_get("vector", uv)
    matrix = np.array(thing.matrix_world, np.float64)
    return places.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3], corners, uv.reshape(-1, 2)


def view(camera, frame):
    """Lower left and upper right corner of what a camera sees at a distance of 1. Frame: width, height, aspects."""
    render = bpy.context.scene.render
    render.resolution_x, render.resolution_y = int(frame[0]), int(frame[1])
    render.pixel_aspect_x, render.pixel_aspect_y = frame[2:]
    corners = np.array(camera.data.view_frame(scene=bpy.context.scene), np.float64)
    corners = corners[:, :2] / -corners[:, 2:]
    return corners.min(axis=0), corners.max(axis=0)


def lens(camera, frame):
    """Degrees that a camera would see across and upwards without shift, and the shifts in widths."""
    low, high = view(camera, frame)
    size, middle = high - low, (low + high) / 2
    return [*np.degrees(2 * np.arctan(size / 2)).tolist(), *(middle / size[0]).tolist()]


def pixels(camera, places, frame):
    """(N, 2) pixels, right and down from the corner of the frame, of places in the world."""
    low, high = view(camera, frame)
    matrix = np.array(camera.matrix_world, np.float64)
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    local = (places - matrix[:3, 3]) @ axes
    share = (local[:, :2] / -local[:, 2:] - low) / (high - low)
    return np.stack([share[:, 0] * frame[0], (1 - share[:, 1]) * frame[1]], axis=1)


def off_by(camera, surface, size, frame, crop=(0, 0)):
    """The most by which a place is seen off its UV in the photo, in pixels."""
    places, corners, uv = evaluated(surface)
    at = np.empty((len(places), 2))
    at[corners] = np.stack([uv[:, 0] * size[0], (1 - uv[:, 1]) * size[1]], axis=1)
    return float(np.abs(pixels(camera, places, frame) - crop[:2] - at).max())


# ---- there and back


def moved(result):
    result.rig.location, result.rig.rotation_euler = (3, -2, 1), (1.2, 0.3, -0.7)
    parent = bpy.data.objects.new("set", None)
    bpy.context.scene.collection.objects.link(parent)
    parent.location = (10, 20, 30)
    result.rig.parent = parent


def in_centimetres(_):
    bpy.context.scene.unit_settings.scale_length = 0.01


def by_the_height(result):
    data = result.camera.data
    data.sensor_fit, data.sensor_height = "VERTICAL", data.sensor_width * OFF.height / OFF.width
    data.shift_x, data.shift_y = (shift * OFF.width / OFF.height for shift in (data.shift_x, data.shift_y))


CASES = {
    "centred": (CENTRED, {}, None),
    "off-centre": (OFF, {}, None),
    "portrait": (Intrinsics(52.5, 52.5, 19.5, 29.5, 40, 60), {}, None),
    "tall pixels": (TALL, {}, None),
    "principled": (CENTRED, {"material": "principled"}, None),
    "live": (OFF, {"kind": "live"}, None),
    "live, half": (OFF, {"kind": "live"}, lambda r: setattr(r.surface.modifiers[0], "strength", 0.5)),
    "merged": (OFF, {"mesh": MeshOptions(edge_rtol=10.0, vertices=900)}, None),
    "moved": (OFF, {}, moved),
    "vertical fit": (OFF, {}, by_the_height),
}


def check_return(folder):
    """Every case in every format: what comes back, beside what was there."""
    found = {}
    for format in FORMATS:
        for name, (intrinsics, options, change) in CASES.items():
            result = start(folder=folder, intrinsics=intrinsics, **options)
            if change:
                change(result)
            found[f"{format} {name}"] = there_and_back(folder, result, intrinsics, format)
        bpy.ops.wm.read_factory_settings(use_empty=True)
        in_centimetres(None)
        found[f"{format} centimetres"] = there_and_back(folder, built(folder, OFF), OFF, format, 0.01)
    return found


def there_and_back(folder, result, intrinsics, format, metre=1.0):
    bpy.context.view_layer.update()
    size, frame = (intrinsics.width, intrinsics.height), list(result.camera[FRAME_KEY])
    before = evaluated(result.surface)[0]
    facts = {
        "off before": off_by(result.camera, result.surface, size, frame),
        "lens": [lens(result.camera, frame)],
        "clip": [result.camera.data.clip_start * metre, result.camera.data.clip_end * metre],
        "vertices": [len(before)],
        "names": [sorted(thing.name for thing in (result.rig, result.camera, result.surface))],
    }
    exported = export_rig(result.rig, folder / f"out {time.monotonic_ns()}", format)
    camera, surfaces = import_file(exported.files[0], format)
    crop = list(camera.get(CROP_KEY, (0, 0)))
    if format == "GLB":
        frame = list(camera.get(FRAME_KEY))
    after = evaluated(surfaces[0])[0]
    facts["lens"].append(lens(camera, frame))
    facts["sensor"] = camera.data.sensor_width / camera.data.sensor_height
    facts["clip"] += [camera.data.clip_start, camera.data.clip_end]
    facts["vertices"].append(sum(len(surface.data.vertices) for surface in surfaces))
    facts["names"].append(sorted(thing.name for thing in bpy.data.objects))
    return facts | {
        "off": off_by(camera, surfaces[0], size, frame, crop),
        "box": float(np.abs(np.ptp(before * metre, axis=0) - np.ptp(after, axis=0)).max()),
        "middle": float(np.abs(before.mean(axis=0) * metre - after.mean(axis=0)).max()),
        "note": exported.note,
        "faces": max(len(polygon.vertices) for polygon in surfaces[0].data.polygons),
    }


# ---- materials and files


def same_picture(data, path):
    """Whether the bytes of a picture file show what another file shows."""
    other = path.with_name("compared.png")
    other.write_bytes(data)
    shown = [load_png(file) for file in (other, path)]
    other.unlink()
    return shown[0].shape == shown[1].shape and bool(np.array_equal(*shown))


def glb_json(path):
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    document = json.loads(data[20 : 20 + length])
    view = document["bufferViews"][document["images"][0]["bufferView"]]
    begin = 20 + length + 8 + view.get("byteOffset", 0)
    return document, data[begin : begin + view["byteLength"]]


def light_of(material):
    """The image and strength that a material emits, and the colour it has without light."""
    node = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    links = node.inputs["Emission Color"].links
    picture = links[0].from_node.image if links else None
    return {
        "image": Path(picture.filepath).name if picture else None,
        "size": list(picture.size) if picture else None,
        "strength": node.inputs["Emission Strength"].default_value,
        "base": list(node.inputs["Base Color"].default_value)[:3],
    }


def check_content(folder):
    """Only the rig is in the file, with the photo as light or as colour."""
    photo = photo_of(folder, 60, 40)
    found = {}
    for material in ("emission", "principled"):
        result = start(folder=folder, intrinsics=CENTRED, material=material)
        bpy.ops.mesh.primitive_cube_add()
        bpy.ops.object.light_add(type="POINT")
        bpy.ops.object.camera_add()
        document, picture = glb_json(export_rig(result.rig, folder / f"{material}.glb", "GLB").files[0])
        files = export_rig(result.rig, folder / f"{material}.usdc", "USD").files
        texture = same_picture(files[1].read_bytes(), photo)
        image = bpy.data.images["card photo"]
        image.pixels[:4] = (0.0, 1.0, 0.0, 1.0)
        name = image.filepath
        again = export_rig(result.rig, folder / f"{material}.usdc", "USD").files
        found[material] = {
            "nodes": sorted(node["name"] for node in document["nodes"]),
            "meshes": [mesh["name"] for mesh in document["meshes"]],
            "materials": document["materials"],
            "extensions": document.get("extensionsUsed", []),
            "image": same_picture(picture, photo),
            "usd files": [file.relative_to(folder).as_posix() for file in files],
            "usd again": again == files,
            "texture": texture,
            "painted": [image.is_dirty, image.filepath == name, load_png(files[1])[-1, 0].tolist()],
        }
        if material == "emission":
            import_file(files[0], "USD")
            found["usd light"] = light_of(bpy.data.materials["card"])
    found["left over"] = sorted(file.name for file in folder.iterdir() if file.name.startswith("."))
    return found


# ---- nothing of the user's changes


def state():
    """All that an export might touch."""

    def called(thing):
        return thing and thing.name

    scenes = {
        scene.name: [
            [scene.frame_current, scene.render.resolution_x, scene.render.resolution_y, called(scene.camera)],
            [[layer.name, called(layer.objects.active), *map(called, layer.objects.selected)]
             for layer in scene.view_layers],
            sorted(scene.keys()),
        ]
        for scene in bpy.data.scenes
    }  # fmt: skip
    objects = {
        thing.name: [thing.mode, thing.hide_viewport, thing.visible_get(), called(thing.parent), called(thing.data)]
        + [[slot.link, slot.name] for slot in thing.material_slots]
        + [list(map(list, thing.matrix_world))]
        for thing in bpy.data.objects
    }
    kinds = (*COUNTED, "scenes", "worlds", "actions", "lights")
    names = {kind: sorted((block.name, block.users) for block in getattr(bpy.data, kind)) for kind in kinds}
    if bpy.app.version < (4, 5):  # counts one user too many of an image that a copied material shows
        names["images"] = [name for name, _ in names["images"]]
    window = bpy.context.window
    shown = [bpy.context.scene.name, bpy.context.view_layer.name]
    shown += [window.scene.name, window.view_layer.name] if window else []
    return {"scenes": scenes, "objects": objects, "names": names, "shown": shown}


def check_untouched(folder):
    """The state before and after exports, from a scene whose second view layer is shown, the surface being edited."""
    bpy.ops.wm.read_factory_settings(use_empty=False)
    scene, other = bpy.context.scene, bpy.data.scenes.new("other")
    result = built(folder, OFF)
    bpy.ops.mesh.primitive_cube_add()
    if bpy.context.window:
        bpy.context.window.view_layer = scene.view_layers.new("second")
    bpy.data.objects["Cube"].select_set(True)
    result.camera.hide_viewport = True
    scene.frame_current, other.frame_current = 17, 23
    bpy.context.view_layer.objects.active = result.surface
    bpy.context.view_layer.update()
    found = {"window": bpy.context.window is not None}
    for mode in ("OBJECT", "EDIT"):
        bpy.ops.object.mode_set(mode=mode)
        before = state()
        for format in FORMATS:
            path = export_rig(result.rig, folder / f"{mode}", format).files[0]
            after = state()
            found[f"{mode} {format}"] = [part for part in before if before[part] != after[part]]
            found[f"{mode} {format} size"] = path.stat().st_size
    bpy.ops.object.mode_set(mode="OBJECT")
    twin = result.surface.copy()  # of the same mesh
    result.collection.objects.link(twin)
    bpy.context.view_layer.update()
    bpy.ops.object.mode_set(mode="EDIT")
    before = state()
    export_rig(result.rig, folder / "twins", "GLB")
    after = state()
    found["twins"] = [part for part in before if before[part] != after[part]]
    found["edited"] = result.surface.mode == "EDIT" and bool(result.surface.data.is_editmode)
    return found


# ---- failures


@contextmanager
def replaced(name, value):
    kept = getattr(export, name)
    setattr(export, name, value)
    try:
        yield
    finally:
        setattr(export, name, kept)


class Exporter:
    """In the place of an exporter: writes half a file, then fails; or writes nothing."""

    def __init__(self, error=None):
        self.error = error

    def get_rna_type(self):
        return bpy.ops.wm.usd_export.get_rna_type()

    def __call__(self, _, *, filepath, **options):
        if self.error is not None:
            Path(filepath).write_text("half a file")
            raise self.error
        return {"CANCELLED"}


def lose(folder):
    """An image whose file is gone."""
    image = bpy.data.images.load(str(photo_of(folder, 8, 6)))
    Path(image.filepath).unlink()
    return image


def check_failures(folder):
    """Message, whether nothing was left in the file or on the disk, by case."""
    bpy.ops.wm.read_factory_settings(use_empty=False)
    result = built(folder, CENTRED)
    flat = built(folder, CENTRED, kind="adaptive")
    blind = built(folder, CENTRED)
    bpy.data.objects.remove(blind.camera)
    nowhere = built(folder, CENTRED)
    bpy.data.collections.remove(nowhere.collection)
    wide = built(folder, CENTRED)
    wide.camera.data.type = "ORTHO"
    (folder / "taken").mkdir()
    (folder / "taken.glb").mkdir()
    (folder / "no room").mkdir()
    (folder / "no room" / "textures").write_bytes(b"a file of the user")
    lost = built(folder, CENTRED, material="principled")
    lost.surface.active_material.node_tree.nodes["Image Texture"].image = lose(folder)
    bpy.context.view_layer.update()
    (folder / "file").write_text("no folder")
    kept = folder / "kept.glb"
    kept.write_text("an earlier result")
    full = Exporter(RuntimeError("Error: No space left on device\n"))
    only_glb = {"_exporter": lambda format_: bpy.ops.export_scene.gltf if format_.label == "GLB" else None}
    cases = {
        "no such folder": (result.rig, folder / "none" / "a.glb", "GLB", {}),
        "a file as folder": (result.rig, folder / "file" / "a.glb", "GLB", {}),
        "a folder as file": (result.rig, folder / "taken.glb", "GLB", {}),
        "unknown format": (result.rig, folder / "a.obj", "OBJ", {}),
        "adaptive": (flat.rig, folder / "a.glb", "GLB", {}),
        "no camera": (blind.rig, folder / "a.glb", "GLB", {}),
        "orthographic": (wide.rig, folder / "a.glb", "GLB", {}),
        "in no scene": (nowhere.rig, folder / "a.glb", "GLB", {}),
        "no folder for textures": (result.rig, folder / "no room" / "a.usdc", "USD", {}),
        "an image without file": (lost.rig, folder / "a.usdc", "USD", {}),
        "no exporter": (result.rig, folder / "a.usdc", "USD", only_glb),
        "no exporter at all": (result.rig, folder / "a.glb", "GLB", {"_exporter": lambda _: None}),
        "half a file": (result.rig, kept, "GLB", {"_exporter": lambda _: full}),
        "no file": (result.rig, folder / "a.usdc", "USD", {"_exporter": lambda _: Exporter()}),
    }
    found = {}
    for name, (rig, path, format, patches) in cases.items():
        before = state(), sorted(map(str, folder.rglob("*")))
        message = failure_of(rig, path, format, patches)
        after = state(), sorted(map(str, folder.rglob("*")))
        found[name] = [message, before == after]
    found["kept"] = kept.read_text() == "an earlier result"
    return found


def failure_of(rig, path, format, patches):
    try:
        for name, value in patches.items():
            with replaced(name, value):
                export_rig(rig, path, format)
                return ""
        export_rig(rig, path, format)
    except UserError as error:
        return str(error)
    except Exception as error:
        return f"bug {type(error).__name__}: {error}"
    return ""


# ---- the operator


def check_operator(folder):
    """By the name of the operator, as scripts and the file browser call it."""
    for cls in export.classes:
        bpy.utils.register_class(cls)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    for cls in export.classes:
        if not hasattr(bpy.types, cls.__name__):
            bpy.utils.register_class(cls)
    found = {"without a rig": bpy.ops.pro_depth.export.poll()}
    result = built(folder, OFF)
    layer = bpy.context.view_layer
    for thing in (result.rig, result.camera, result.surface):
        layer.objects.active = thing
        path = folder / f"{thing.type}.glb"
        found[thing.type] = [sorted(bpy.ops.pro_depth.export("EXEC_DEFAULT", filepath=str(path))), path.is_file()]
    bpy.ops.pro_depth.export(filepath=str(folder / "usd"), format="USD")
    found["usd"] = (folder / "usd.usdc").is_file()
    for name, path in (("missing folder", folder / "none" / "a.glb"), ("no name", ""), ("unsaved", "//a.glb")):
        try:
            bpy.ops.pro_depth.export(filepath=str(path))
            found[name] = ""
        except RuntimeError as error:
            found[name] = str(error).strip()
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "saved.blend"))
    bpy.ops.pro_depth.export(filepath="//beside.glb")
    found["beside"] = (folder / "beside.glb").is_file()
    for cls in reversed(export.classes):
        bpy.utils.unregister_class(cls)
    return found


# ---- large meshes


def check_size(folder):
    """Seconds of the processor and bytes for a million vertices, by format."""
    intrinsics = Intrinsics.from_fov(60, 1250, 800)
    result = start(folder=folder, intrinsics=intrinsics, mesh=UNTORN)
    found = {"vertices": len(result.surface.data.vertices)}
    for format in FORMATS:
        begun_s = time.process_time()
        path = export_rig(result.rig, folder / "large", format).files[0]
        found[format] = [time.process_time() - begun_s, path.stat().st_size]
    return found


if __name__ == "__main__":
    main(globals(), *sys.argv[1:])
