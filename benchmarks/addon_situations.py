"""Situations in which users of other add-ons were disappointed, tried with this one and the real engine.

    python benchmarks/addon_situations.py --engine ENGINE --table PHOTO --close PHOTO [--pictures FOLDER] [names]

For a Python that has Blender as a module; ENGINE is a Python that has the engine. The photo of --table shows a table or
a ground from above, that of --close things near by. Each row says what was done, what came of it, and what would be
right. `addon_front.py`, `addon_shot.py` and `addon_files.py` have the front view, shots and sizes of files.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from addon_front import pixels_of, psnr, rendered
from addon_session import ROOT, begin, bpy, done, leave, part, rig, said
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

SMALL = 720  # pixels across: most rows do not depend on the size
ops: Any = bpy.ops.pro_depth


class Given(NamedTuple):
    """What the rows work with."""

    engine: str
    folder: Path
    table: Path
    close: Path


def small(photo: Path, folder: Path, width: int = SMALL, *, tall: bool = False, file: str = "") -> Path:
    """A copy of that width as PNG, cut to a portrait on request."""
    image = bpy.data.images.load(str(photo))
    image.scale(width, round(image.size[1] * width / image.size[0]))
    values = part("rig.datablocks").read_float_image(image)
    values = values[:, : values.shape[0] * 2 // 3] if tall else values
    saved = bpy.data.images.new("x", values.shape[1], values.shape[0])
    saved.pixels.foreach_set(np.ascontiguousarray(values[::-1]).ravel())
    path = folder / (file or f"{photo.stem}.png")
    path.parent.mkdir(exist_ok=True, parents=True)
    saved.filepath_raw, saved.file_format = str(path), "PNG"
    saved.save()
    for one in (image, saved):
        bpy.data.images.remove(one)
    return path


def estimated(given: Given, photo: Path, *, empty: bool = True, **settings: Any) -> Any:
    """A rig of a photo, with the panel's defaults but for some."""
    chosen = begin(given.engine, empty=empty)
    chosen.photo = str(small(photo, given.folder))
    for name, value in settings.items():
        setattr(chosen, name, value)
    told = done(ops.estimate)
    if rig() is None:
        raise SystemExit(told)
    return rig()


def parts(of: Any) -> Any:
    """Camera and surface of a rig."""
    return part("rig.build").parts_of(of)


def leaning(of: Any) -> float:
    """Degrees between the largest plane of a rig and the level."""
    shown, maths = part("rig.shown_depth"), part("maths.planes")
    plane = maths.ground_in(part("rig.space").points_of(shown.depth_of(of), shown.lens_of(of)))
    bpy.context.view_layer.update()
    up = parts(of).camera.matrix_world.to_3x3() @ Vector(plane.normal.tolist())
    return math.degrees(up.normalized().angle(Vector((0, 0, 1))))


def row_relief(given: Given) -> str:
    """A close-up at the defaults: depth of the scene over its width, and a picture from aside."""
    found = estimated(given, given.close)
    camera = parts(found).camera
    depth = part("rig.shown_depth").depth_of(found)
    there = depth[np.isfinite(depth)]
    near, far = (float(np.quantile(there, q)) for q in (0.02, 0.98))
    middle = float(np.median(there))
    width = middle * camera.data.sensor_width / camera.data.lens
    ops.show_photo()
    camera.location, camera.rotation_euler = (middle * 0.9, 0, -middle * 0.35), (0, math.radians(50), 0)
    rendered(given.folder / "relief.png", (100, 4))
    return f"2 to 98 % lie {near:.2f} to {far:.2f} m away, {(far - near) / width:.2f} of the width; {said()}"


def row_first_run(given: Given) -> str:
    """A new file with its cube, Estimate and Show photo: what is active, and what is in front of the photo."""
    found = estimated(given, given.close, empty=False)
    active, chosen = bpy.context.active_object.name, len(bpy.context.selected_objects)
    told = done(ops.show_photo)
    image = rendered(given.folder / "first.png", (100, 4))
    path = given.folder / "first.photo.png"
    path.write_bytes(found["pro_photo"].packed_file.data)
    return f"active {active}, {chosen} selected, render {psnr(image, pixels_of(path)):.1f} dB; {told}"


def row_sensor(given: Given) -> str:
    """35 mm on a sensor of 24.89 mm: what camera and files have."""
    found = estimated(given, given.table, camera_source="FOCAL", focal_mm=35.0, sensor_mm=24.89)
    data = parts(found).camera.data
    text = f"camera {data.lens:.3f} / {data.sensor_width:.3f} mm"
    files = {kind: part("ui.export").export_rig(found, given.folder / "sensor", kind).files for kind in ("USD", "ABC")}
    for kind, written in files.items():
        _, camera = opened(written[0])
        text += f", {kind} {camera.data.lens:.3f} / {camera.data.sensor_width:.3f}"
    return text


def row_level(given: Given) -> str:
    """A table from above, levelled to its ground."""
    found = estimated(given, given.table)
    before, told = leaning(found), done(ops.level, to="GROUND")
    return f"leans {before:.1f} degrees before, {leaning(found):.2f} after; {told}"


def row_batch(given: Given) -> str:
    """Another photo of a batch, shown by the check box of the Outliner alone."""
    settings = begin(given.engine)
    for k in range(2):
        small(given.table, given.folder / "batch", 200, file=f"{k}.png")
    settings.batch_folder, settings.quality = str(given.folder / "batch"), "DRAFT"
    told = done(ops.batch)
    layer = bpy.context.view_layer.layer_collection.children["1"]
    before = bpy.data.objects["1 surface"].visible_get()
    layer.exclude = False
    return f"shown {before}, then {bpy.data.objects['1 surface'].visible_get()}; {told}"


def plate_of(given: Given) -> Any:
    """A rig of an EXR plate, linear and four times as bright as white."""
    path = given.folder / "plate.exr"
    begin(given.engine)
    colours = pixels_of(small(given.table, given.folder))[..., :3] ** 2.2 * 4
    path.write_bytes(part("maths.exr").zipped_exr(dict(zip("RGB", np.moveaxis(colours, -1, 0), strict=True))))
    settings = begin(given.engine)
    settings.photo = str(path)
    done(ops.estimate)
    return rig()


def row_exposure(given: Given) -> str:
    """GLB of an EXR plate at exposure 0 and Standard, and at -6 and AgX; and what the file clips."""
    found, view = plate_of(given), bpy.context.scene.view_settings
    files = []
    for name, exposure, transform in (("a", 0.0, "Standard"), ("b", -6.0, "AgX")):
        view.view_transform, view.exposure = transform, exposure
        note = part("ui.export").export_rig(found, given.folder / f"{name}.glb", "GLB").note
        files.append((given.folder / f"{name}.glb").read_bytes())
    return f"the same bytes: {files[0] == files[1]}; {note}"


def row_shadow(given: Given) -> str:
    """A cube between the sun and the surface, which is a shadow catcher."""
    found = estimated(given, given.table, material="catcher")
    camera = parts(found).camera
    ops.show_photo()
    depth = part("rig.shown_depth").depth_of(found)
    middle = float(np.median(depth[np.isfinite(depth)]))
    bpy.ops.mesh.primitive_cube_add(size=middle * 0.1)
    cube = bpy.context.object
    cube.matrix_world = camera.matrix_world @ part("rig.space").mathutils.Matrix.Translation((0, 0, -0.8 * middle))
    cube.scale = (1, 1, 1)
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.rotation_euler = 3.0, (math.radians(70), 0, math.radians(20))
    bpy.context.scene.collection.objects.link(sun)
    alpha = rendered(given.folder / "shadow.png", (100, 16))[..., 3]
    grey = (alpha > 0.05) & (alpha < 0.98)
    cube_share, empty = (alpha >= 0.98).mean(), (alpha < 0.05).mean()
    return f"shadow {grey.mean():.1%} of the render, cube {cube_share:.1%}, nothing {empty:.0%}"


def row_projection(given: Given) -> str:
    """The photo projected onto a wall of one's own, seen through the rig's camera; then as background by nodes."""
    found = estimated(given, given.table)
    ops.show_photo()
    camera = parts(found).camera
    corners = [Vector(one) * 3 for one in camera.data.view_frame(scene=bpy.context.scene)]
    mesh = bpy.data.meshes.new("wall")
    mesh.from_pydata([(2 * one.x, 2 * one.y, one.z * (1 + k % 2)) for k, one in enumerate(corners)], [], [(0, 1, 2, 3)])
    wall = bpy.data.objects.new("wall", mesh)
    wall.matrix_world = camera.matrix_world
    bpy.context.scene.collection.objects.link(wall)
    bpy.ops.object.select_all(action="DESELECT")
    wall.select_set(True)
    bpy.context.view_layer.objects.active = found
    told = done(ops.project)
    for child in found.children:
        child.hide_render = True
    path = given.folder / "photo.png"
    path.write_bytes(found["pro_photo"].packed_file.data)
    projected = psnr(rendered(given.folder / "projected.png", (100, 8)), pixels_of(path))
    wall.hide_render = True
    done(ops.background)
    behind = camera.data.background_images[0].image == found["pro_photo"]
    done(ops.compositor)
    composed = psnr(rendered(given.folder / "composed.png", (100, 1)), pixels_of(path))
    return f"{told} {projected:.1f} dB; background in the viewport {behind}, under an empty render {composed:.1f} dB"


def row_depth_file(given: Given) -> str:
    """Z and position as EXR where the sky was dropped, and after a blur."""
    found = estimated(given, given.table, sky="drop", near=1.0, far=4.0, layers=False)
    told = done(ops.passes, filepath=str(given.folder / "z.exr"))
    bad = []
    for name in ("z", "position", "normal"):
        image = bpy.data.images.load(str(given.folder / f"z.{name}.exr"))
        values = part("rig.datablocks").read_float_image(image)
        bad.append(f"{name} {float((~np.isfinite(values)).mean()):.1%}")
    kept = part("rig.datablocks").read_float_image(found["pro_source"])
    return f"not finite: {', '.join(bad)}, kept map {float((~np.isfinite(kept)).mean()):.1%}; {told}"


def row_panorama(given: Given) -> str:
    """A picture twice as wide as high as a whole panorama, seen again through its camera."""
    settings = begin(given.engine)
    image = bpy.data.images.load(str(given.table))
    image.scale(512, 256)
    image.filepath_raw, image.file_format = str(given.folder / "around.png"), "PNG"
    image.save()
    settings.photo, settings.projection = image.filepath_raw, "equirectangular"
    told = done(ops.estimate)
    ops.show_photo()
    seen = rendered(given.folder / "panorama.png", (100, 8))
    return f"{psnr(seen, pixels_of(given.folder / 'around.png')):.1f} dB; {told}"


def row_review(_: Given) -> str:
    """What reviewers of extensions refuse: modules that the add-on imports."""
    text = "\n".join(path.read_text("utf-8") for path in (ROOT / "blender_addon").rglob("*.py"))
    words = ("threading", "socket", "urllib", "requests", "pip ")
    return ", ".join(f"{word.strip()}: {text.count('import ' + word.strip())}" for word in words)


def row_sandbox(given: Given) -> str:
    """An environment whose Python is a link that leads nowhere, as in Flatpak."""
    folder = given.folder / "env" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to("/nowhere/python3")
    begin(str(folder / "python"))
    return done(ops.test_engine)


def row_short_path(given: Given) -> str:
    """Started from a desktop: a short PATH, the engine in the home folder."""
    home = given.folder / "home"
    (home / "pro" / "bin").mkdir(parents=True)
    engine = Path(given.engine).with_name("pro-engine")
    (home / "pro" / "bin" / "pro-engine").symlink_to(engine)
    before = {name: os.environ.get(name, "") for name in ("PATH", "HOME")}
    os.environ.update(PATH="/usr/bin:/bin:/usr/sbin:/sbin", HOME=str(home))
    begin("")
    try:
        done(ops.test_engine)
        return str(part("work.current").test.notice.text)
    finally:
        os.environ.update(before)


def row_names(given: Given) -> str:
    """Folders and photos with spaces and letters beyond ASCII."""
    settings = begin(given.engine)
    path = small(given.table, given.folder / "in" / "sp äce ß 日本", 300, file="fötö #1 (x).png")
    settings.photo, settings.quality = str(path), "DRAFT"
    return done(ops.estimate)


def opened(path: Path) -> tuple[Any, Any]:
    """The surface and the camera of an exported file, in a new file."""
    bpy.ops.wm.read_homefile(use_factory_startup=True, use_empty=True, app_template="")
    if path.suffix == ".glb":
        bpy.ops.import_scene.gltf(filepath=str(path))
    elif path.suffix == ".usdc":
        bpy.ops.wm.usd_import(filepath=str(path))
    else:
        bpy.ops.wm.alembic_import(filepath=str(path))
    surface = next(one for one in bpy.data.objects if one.type == "MESH" and "behind" not in one.name)
    return surface, next(one for one in bpy.data.objects if one.type == "CAMERA")


def row_exports(given: Given) -> str:
    """A portrait through a shifted camera: where the imported camera sees each vertex, against its UV."""
    text = ""
    for kind in ("USD", "ABC", "GLB"):
        settings = begin(given.engine)
        settings.photo, settings.quality = str(small(given.table, given.folder, 600, tall=True)), "DRAFT"
        lens = bpy.data.objects.new("shifted", bpy.data.cameras.new("shifted"))
        lens.data.lens, lens.data.shift_x, lens.data.shift_y = 40, 0.1, -0.07
        bpy.context.scene.collection.objects.link(lens)
        settings.camera_source, settings.camera = "CAMERA", lens
        done(ops.estimate)
        width, height = part("rig.build").parts_of(rig()).camera["pro_frame"][:2]
        vertices = len(parts(rig()).surface.data.vertices)
        exported = part("ui.export").export_rig(rig(), given.folder / "portrait", kind)
        surface, camera = opened(exported.files[0])
        crop = list(camera.get("pro_crop", (0, 0, width, height)))
        frame = list(camera.get("pro_frame", (width, height, 1, 1)))
        render = bpy.context.scene.render
        render.resolution_x, render.resolution_y, render.resolution_percentage = round(frame[0]), round(frame[1]), 100
        if kind == "ABC":  # as the page says
            camera.data.sensor_fit = "HORIZONTAL"
        bpy.context.view_layer.update()
        off = [
            math.hypot(
                seen.x * frame[0] - crop[0] - uv[0] * width, (1 - seen.y) * frame[1] - crop[1] - (1 - uv[1]) * height
            )
            for seen, uv in sampled(surface, camera)
        ]
        text += f"{kind}: vertices {vertices} to {len(surface.data.vertices)}, off by {max(off):.3f} px at most. "
    return text


def sampled(surface: Any, camera: Any) -> list[tuple[Any, Any]]:
    """Where a camera sees corners of a surface, and their UV."""
    data = surface.data
    corners = range(0, len(data.loops), max(1, len(data.loops) // 2000))
    places = [surface.matrix_world @ data.vertices[data.loops[k].vertex_index].co for k in corners]
    uvs = [tuple(data.uv_layers.active.uv[k].vector) for k in corners]
    return [(world_to_camera_view(bpy.context.scene, camera, at), uv) for at, uv in zip(places, uvs, strict=True)]


ROWS: dict[str, tuple[Callable[[Given], str], str]] = {
    "relief": (row_relief, "a close-up with the depth of its things, no needles"),
    "first run": (row_first_run, "the surface active, the photo seen, the cube hidden and told"),
    "sensor": (row_sensor, "35 / 24.89 everywhere"),
    "level": (row_level, "0 degrees"),
    "batch": (row_batch, "shown after the check box"),
    "exposure": (row_exposure, "the same bytes, and told what is clipped"),
    "shadow": (row_shadow, "a shadow, and nothing of the photo"),
    "projection": (row_projection, "the photo on own geometry, as background, and under a render"),
    "depth file": (row_depth_file, "no number that is not finite"),
    "panorama": (row_panorama, "the picture again"),
    "review": (row_review, "none"),
    "sandbox": (row_sandbox, "told that it is a link, and the way out"),
    "short PATH": (row_short_path, "found"),
    "names": (row_names, "done"),
    "exports": (row_exports, "the same vertices, below 0.1 px"),
}


def main() -> None:
    """Print the table, to stderr, as Blender writes to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="of rows; all if none is given")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--close", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, help="folder that keeps the renders")
    asked = parser.parse_args()
    print(f"Blender {bpy.app.version_string}\n| what | came of it | right |\n|---|---|---|", file=sys.stderr)
    with tempfile.TemporaryDirectory() as home:
        given = Given(asked.engine, asked.pictures or Path(home), asked.table.absolute(), asked.close.absolute())
        for name, (row, right) in ROWS.items():
            if not asked.names or name in asked.names:
                print(f"| {name} | {row(given)} | {right} |", file=sys.stderr, flush=True)
    leave()


if __name__ == "__main__":
    main()
