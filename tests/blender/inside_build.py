"""Runs inside Blender: `python inside_build.py CHECK FOLDER` builds, renders or saves, and prints facts as JSON."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from blender_addon.errors import UserError
from blender_addon.maths.mesh import Intrinsics, MeshOptions, depth_to_mesh, estimate_of
from blender_addon.rig.build import BuildOptions, build, frame_scene, rebuild
from blender_addon.rig.datablocks import NewDatablocks, new_float_image, read_float_image

UNTORN = MeshOptions(edge_rtol=10.0)
BORDER = 3  # pixels; the surface ends at the centres of the outermost ones
COUNTED = ("objects", "meshes", "images", "materials", "cameras", "textures", "collections", "node_groups")


# ---- a photo and its depth


def card(width, height):
    """(H, W, 3) 0..1: a soft checker on two gradients."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    checker = np.tanh(4 * np.sin(x * np.pi / 14) * np.sin(y * np.pi / 14))
    rgb = np.dstack([0.3 + 0.4 * x / width, 0.3 + 0.4 * y / height, np.full_like(x, 0.5)])
    return (rgb + 0.27 * checker[..., None]).astype(np.float32)


def hills(width, height):
    """(H, W) metres: a slope with waves."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (1 / (0.1 + 0.2 * y / height + 0.012 * np.sin(x / 31) * np.cos(y / 23))).astype(np.float32)


def save_png(rgb, path):
    height, width = rgb.shape[:2]
    image = bpy.data.images.new("card", width, height)
    image.pixels.foreach_set(np.dstack([rgb, np.ones((height, width), np.float32)])[::-1].astype(np.float32).ravel())
    image.filepath_raw, image.file_format = str(path), "PNG"
    image.save()
    bpy.data.images.remove(image)
    return path


def load_png(path):
    image = bpy.data.images.load(str(path))
    values = read_float_image(image)[..., :3]
    bpy.data.images.remove(image)
    return values


def photo_of(folder, width, height):
    path = folder / f"card {width}x{height}.png"
    return save_png(card(width, height), path) if not path.exists() else path


def built(folder, intrinsics, scene=None, depth=None, **options):
    size = (intrinsics.width, intrinsics.height)
    return build(
        scene or bpy.context.scene,
        name="card",
        photo=photo_of(folder, *size),
        depth=hills(*size) if depth is None else depth,
        intrinsics=intrinsics,
        options=BuildOptions(**{"mesh": UNTORN, **options}),
    )


# ---- the photo again


def render(result, path):
    scene = bpy.context.scene
    frame_scene(scene, result.camera)
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", 16
    scene.cycles.use_denoising = scene.cycles.use_adaptive_sampling = False
    scene.render.threads_mode, scene.render.threads = "FIXED", 2
    scene.view_settings.view_transform = "Standard"
    scene.render.filepath, scene.render.image_settings.file_format = str(path), "PNG"
    bpy.ops.render.render(write_still=True)
    return load_png(path)


def compared(image, photo):
    """PSNR in dB, and the offset (x, y) in pixels that explains most of the difference (Lucas and Kanade 1981)."""
    inner = (slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    down, across = np.gradient(photo, axis=(0, 1))
    off = (image - photo)[inner].ravel().astype(np.float64)
    slopes = np.stack([across[inner].ravel(), down[inner].ravel()], axis=1).astype(np.float64)
    shift = np.linalg.lstsq(slopes, -off, rcond=None)[0]
    return {"psnr": float(-10 * np.log10(np.mean(off**2))), "offset": shift.tolist()}


def match(folder, intrinsics, mistake=None, **options):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    result = built(folder, intrinsics, **options)
    if mistake:
        mistake(result)
    image = render(result, folder / "render.png")
    return compared(image, load_png(photo_of(folder, intrinsics.width, intrinsics.height)))


def check_match(folder):
    off = Intrinsics(210.0, 210.0, 119.5 + 23, 79.5 - 11, 240, 160)
    sizes = {"landscape": (240, 160), "portrait": (160, 240), "square": (180, 180), "odd": (1001, 333)}
    found = {name: match(folder, Intrinsics.from_fov(60, *size)) for name, size in sizes.items()}
    found["off-centre"] = match(folder, off)
    found["wide pixels"] = match(folder, Intrinsics(180.0, 240.0, 119.5 + 23, 79.5 - 11, 240, 160))
    found["tall pixels"] = match(folder, Intrinsics(240.0, 180.0, 119.5 + 23, 79.5 - 11, 240, 160))
    found["live"] = match(folder, off, kind="live")
    found["live, half"] = match(folder, off, lambda r: setattr(r.surface.modifiers[0], "strength", 0.5), kind="live")
    found["adaptive"] = match(folder, off, kind="adaptive")
    found["merged"] = match(folder, Intrinsics.from_fov(60, 240, 160), mesh=MeshOptions(edge_rtol=10.0, vertices=6000))
    found["centimetres"] = match_in_centimetres(folder, off)
    found["second photo"] = match_beside_another(folder, off)
    found["WRONG shift"] = match(folder, off, lambda r: setattr(r.camera.data, "shift_x", -r.camera.data.shift_x))
    found["WRONG half a pixel"] = match(
        folder, off, lambda r: setattr(r.camera.data, "shift_x", r.camera.data.shift_x + 0.5 / 240)
    )
    return found


def match_in_centimetres(folder, intrinsics):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.scene.unit_settings.scale_length = 0.01
    result = built(folder, intrinsics)
    bpy.context.view_layer.update()
    widths = {"size": max(result.surface.dimensions), "far": result.camera.data.clip_end}
    image = render(result, folder / "render.png")
    return {**compared(image, load_png(photo_of(folder, 240, 160))), **widths}


def match_beside_another(folder, intrinsics):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    first = built(folder, intrinsics)
    second = built(folder, Intrinsics.from_fov(40, 160, 240))
    second.collection.hide_render = True
    frame_scene(bpy.context.scene, second.camera)
    return compared(render(first, folder / "render.png"), load_png(photo_of(folder, 240, 160)))


def check_parallax(folder):
    """From beside the camera all kinds look alike, and unlike the photo; holes stay holes."""
    intrinsics = Intrinsics.from_fov(60, 240, 160)
    depth = hills(240, 160)
    depth[60:100, 150:190] = np.nan
    views = {}
    for kind, strength in (("mesh", 1), ("live", 1), ("adaptive", 1), ("live", 0)):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        result = built(folder, intrinsics, depth=depth, kind=kind)
        result.camera.location.x = 0.2
        if kind == "live":
            result.surface.modifiers[0].strength = strength
        views[f"{kind} {strength}"] = render(result, folder / "render.png")
    baked = views.pop("mesh 1")
    return {name: compared(view, baked)["psnr"] for name, view in views.items()} | {
        "hole": [float(view[70:90, 155:170].max()) for view in (baked, views["adaptive 1"])]
    }


# ---- what is in the file


def positions(mesh):
    values = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.attributes["position"].data.foreach_get("vector", values)
    return values.reshape(-1, 3)


def check_kinds(folder):
    intrinsics = Intrinsics(210.0, 190.0, 142.5, 68.5, 240, 160)
    depth = hills(240, 160)
    depth[:40, :60] = np.nan
    depth[80:, 120:] *= 2
    found = {}
    for name, mesh_options in (
        ("whole", MeshOptions(erode_px=1)),
        ("merged", MeshOptions(vertices=5000)),
        ("even", MeshOptions(vertices=5000, reduce="even")),
    ):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        baked = built(folder, intrinsics, depth=depth, mesh=mesh_options)
        live = built(folder, intrinsics, depth=depth, mesh=mesh_options, kind="live")
        arrays = depth_to_mesh(depth, intrinsics, mesh_options)
        bpy.context.view_layer.update()
        moved = live.surface.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        there, here = positions(baked.surface.data), positions(moved)
        mesh = baked.surface.data
        normals = np.empty(len(mesh.polygons) * 3, np.float32)
        mesh.polygons.foreach_get("normal", normals)
        normals = normals.reshape(-1, 3)
        first = there[np.array([polygon.vertices[0] for polygon in mesh.polygons])]
        facing = np.einsum("ij,ij->i", normals, -first)
        found[name] = {
            "vertices": len(mesh.vertices),
            "expected": len(arrays.vertices),
            "baked": bool(np.array_equal(there, arrays.vertices)),
            "live": float((np.linalg.norm(here - there, axis=1) / np.linalg.norm(there, axis=1)).max()),
            "facing": float((facing > 0).mean()),
            "edges": len(mesh.edges),
            "invalid": mesh.validate(verbose=False),
            "sharp": "sharp_face" in mesh.attributes,
        }
    return found


def census():
    counts = {name: len(getattr(bpy.data, name)) for name in COUNTED}
    return counts | {"children": len(bpy.context.scene.collection.children)}


def settings_of(scene):
    render = scene.render
    return scene.camera, render.resolution_x, render.pixel_aspect_x, scene.view_settings.view_transform


def check_scene(folder):
    """The scene given gets the result, nothing else changes, and what fails leaves nothing."""
    bpy.ops.wm.read_factory_settings(use_empty=False)
    intrinsics = Intrinsics.from_fov(60, 60, 40)
    scene, other = bpy.context.scene, bpy.data.scenes.new("other")
    before = settings_of(scene), settings_of(other)
    result = built(folder, intrinsics, scene=other)
    found = {
        "in the scene given": result.collection.name in other.collection.children,
        "not in the other": result.collection.name not in scene.collection.children,
        "scene unchanged": before == (settings_of(scene), settings_of(other)),
        "parents": result.camera.parent == result.surface.parent == result.rig,
        "names": [result.collection.name, result.rig.name, result.camera.name],
        "photo alpha": result.surface.active_material.node_tree.nodes["Image Texture"].image.alpha_mode,
        "principled": built(folder, intrinsics, material="principled").surface.active_material.name,
    }
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    photo = photo_of(folder, 60, 40)
    depth = hills(60, 40)
    sound = {"name": "x", "photo": photo, "depth": depth, "intrinsics": intrinsics}
    failures = {
        "missing": {"photo": folder / "none.png"},
        "text": {"photo": folder / "text.jpg"},
        "empty": {"photo": folder / "empty.png"},
        "folder": {"photo": folder},
        "other size": {"photo": photo_of(folder, 40, 60)},
        "all sky": {"depth": np.full_like(depth, np.nan)},
        "all sky, live": {"depth": np.full_like(depth, np.nan), "options": BuildOptions(kind="live")},
        "all sky, adaptive": {"depth": np.full_like(depth, np.nan), "options": BuildOptions(kind="adaptive")},
        "depth of another size": {"depth": depth.T.copy()},
        "late bug": {"source": "no array", "options": BuildOptions(kind="live")},
    }
    census_before = census()
    found["failures"] = {}
    for name, wrong in failures.items():
        try:
            build(scene, **{**sound, **wrong})
            message = ""
        except UserError as error:
            message = str(error)
        except Exception as error:
            message = f"bug {type(error).__name__}"
        found["failures"][name] = [message, census() == census_before]
    try:
        frame_scene(scene, scene.camera)
    except UserError as error:
        found["foreign camera"] = str(error)
    return found


def memory(key):
    """Bytes of this process, as Linux tells: VmRSS now, VmHWM at most since it was forgotten."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def check_memory(folder):
    """The peak of a build of two megapixels against the estimate."""
    built(folder, Intrinsics.from_fov(60, 60, 40))
    intrinsics = Intrinsics.from_fov(60, 2000, 1000)
    depth, photo = hills(2000, 1000), photo_of(folder, 2000, 1000)
    options = BuildOptions(mesh=UNTORN)
    guess = estimate_of(depth.size, depth.size)
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    result = build(bpy.context.scene, name="large", photo=photo, depth=depth, intrinsics=intrinsics, options=options)
    return {
        "vertices": [guess.vertices, len(result.surface.data.vertices)],
        "bytes": [guess.bytes, memory("VmHWM") - before],
    }


def check_reload(folder):
    """The engine's map and offsets after the file is saved and opened again, bit for bit."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    intrinsics = Intrinsics.from_fov(60, 60, 40)
    depth = hills(60, 40)
    depth[3:9, 5:7] = np.nan
    source = np.random.default_rng(0).normal(0, 1e3, (40, 60)).astype(np.float32)
    source[0, 0], source[1, 1], source[2, 2] = 1e-30, 3e38, np.float32(1) / 3
    mask = np.ones_like(source)
    mask[5:9, 3:7] = 0.5
    maps = {"grey": source, "mask": np.dstack([source, mask]), "colours": np.dstack([source, 1 / source, -source])}
    with NewDatablocks() as made:
        images = {name: new_float_image(made, name, values) for name, values in maps.items()}
    for image in images.values():
        image.use_fake_user = True
    result = built(folder, intrinsics, depth=depth, kind="live")
    offsets = read_float_image(result.surface.modifiers[0].texture.image)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "saved.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(folder / "saved.blend"))
    rig = bpy.data.objects["card"]
    surface = next(child for child in rig.children if child.type == "MESH")
    again = {name: bpy.data.images[name] for name in maps} | {"offsets": surface.modifiers[0].texture.image}
    read = {name: read_float_image(image) for name, image in again.items()}

    def same(name, channel, values):
        return np.ascontiguousarray(read[name][..., channel]).tobytes() == np.ascontiguousarray(values).tobytes()

    return {
        "same": [
            *(same("grey", k, source) for k in range(3)),
            *(same("mask", k, values) for k, values in ((0, source), (3, mask))),
            *(same("colours", k, maps["colours"][..., k]) for k in range(3)),
        ],
        "offsets": same("offsets", slice(None), offsets),
        "not black": bool(np.abs(offsets).max() > 0),
        "spaces": [image.colorspace_settings.name for image in again.values()],
        "packed": [image.packed_file.size for image in again.values()],
        "paths": [image.filepath for image in bpy.data.images]
        + [one.filepath for image in bpy.data.images for one in image.packed_files],
        "holes": float(read["offsets"][3:9, 5:7, 3].max()),
    }


def check_save(folder, home):
    """Leave a file with a rig in `home`, and beside it the numbers that went in and the mesh that came out."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    depth = hills(60, 40)
    depth[3:9, 5:7] = np.nan
    result = build(
        bpy.context.scene,
        name="card",
        photo=photo_of(folder, 60, 40),
        depth=depth,
        intrinsics=Intrinsics.from_fov(60, 60, 40),
        options=BuildOptions(mesh=UNTORN),
        source=np.nan_to_num(depth),
    )
    np.savez(Path(home) / "numbers.npz", depth=depth, places=positions(result.surface.data))
    bpy.ops.wm.save_as_mainfile(filepath=str(Path(home) / "saved.blend"))
    return True


def check_open(_, home):
    """The file of `check_save`, opened by another process, and its surface built again without the engine."""
    numbers = np.load(Path(home) / "numbers.npz")
    bpy.ops.wm.open_mainfile(filepath=str(Path(home) / "saved.blend"))
    rig = bpy.data.objects["card"]
    depth = np.ascontiguousarray(read_float_image(rig["pro_source"])[..., 0])
    depth[depth == 0] = np.nan
    intrinsics = Intrinsics.from_fov(60, 60, 40)
    again = rebuild(bpy.context.scene, rig, depth=depth, intrinsics=intrinsics, options=BuildOptions(mesh=UNTORN))
    return {
        "same": depth.tobytes() == numbers["depth"].tobytes(),
        "space": rig["pro_source"].colorspace_settings.name,
        "rebuilt": positions(again.surface.data).tobytes() == numbers["places"].tobytes(),
    }


def main(checks, check, folder, *arguments):
    """Print what `check_CHECK` of `checks` says, as the last that this process does."""
    code = 1
    try:
        print(json.dumps(checks[f"check_{check}"](Path(folder), *arguments)))
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # Blender as a module may hang or crash where an interpreter ends


if __name__ == "__main__":
    main(globals(), *sys.argv[1:])
