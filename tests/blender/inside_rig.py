"""Runs inside Blender, see `blenders`: rigs anew, lenses, images, and the real engine."""

from __future__ import annotations

import math
import socket
import sys
import time
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.blender.addon import SIZE, called, everything, installed, part, photo_of
from tests.blender.engines import program
from tests.blender.inside_build import census, main, positions

# ---- again


def borrowed(folder, rig, *, override):
    """What a rebuild of a rig from another file says, and of one that overrides it."""
    context = bpy.context
    bpy.data.libraries.write(str(folder / "library.blend"), set(rig.users_collection))
    with bpy.data.libraries.load(str(folder / "library.blend"), link=True) as (_, into):
        into.collections = [rig.users_collection[0].name]
    collection = into.collections[0]
    context.scene.collection.children.link(collection)
    if override:
        collection = collection.override_hierarchy_create(context.scene, context.view_layer)
    there = next(one for one in collection.all_objects if "pro_photo" in one)
    context.view_layer.objects.active = there
    is_borrowed = bool(there.override_library if override else there.library)
    before = everything()
    said = called(bpy.ops.pro_depth.rebuild)
    same = before == everything()
    context.view_layer.objects.active = rig
    bpy.data.libraries.remove(into.collections[0].library)
    if override:
        bpy.data.collections.remove(collection)
        bpy.data.batch_remove([one for one in bpy.data.objects if one.override_library])
    return [is_borrowed, said, same]


def check_rebuild(folder):
    """A rig anew: what the user did to it stays, and nothing old is left."""
    installed(folder)
    scene, settings = bpy.context.scene, bpy.context.scene.pro_depth
    settings.photo = str(photo_of(folder / "photos"))
    called(bpy.ops.pro_depth.estimate)
    rig = part("work.current").rig_in(bpy.context)
    surface = next(child for child in rig.children if child.type == "MESH")
    camera = next(child for child in rig.children if child.type == "CAMERA")
    rig.location, rig.scale = (1, 2, 3), (2, 2, 2)
    surface.modifiers.new("Mine", "SOLIDIFY")
    surface.active_material.roughness = 0.123
    camera.data.dof.use_dof = True
    mine = bpy.data.objects.new("mine", None)
    scene.collection.objects.link(mine)
    mine.parent = camera
    names = {kind: sorted(one.name for one in getattr(bpy.data, kind)) for kind in ("objects", "images", "meshes")}
    found = {"kinds": {}}
    for kind in ("live", "adaptive", "mesh", "live", "live", "mesh"):
        settings.kind = kind
        result = called(bpy.ops.pro_depth.rebuild)
        if kind == "live":
            kept = surface.modifiers["Depth"].strength
            surface.modifiers["Depth"].strength = 0.7
        found["kinds"][kind] = [
            result,
            [modifier.name for modifier in surface.modifiers],
            sorted(one.name for one in bpy.data.images if one.name.startswith("card")),
            len(bpy.data.meshes) - len(names["meshes"]),
            len([one for one in bpy.data.materials if one.name.startswith("card")]),
            len(bpy.data.textures),
        ]
    found["strength kept"] = kept
    found["objects"] = names["objects"] == sorted(one.name for one in bpy.data.objects)
    found["as the user had it"] = [list(rig.location), list(rig.scale), mine.parent == camera, camera.data.dof.use_dof]
    settings.camera_source, settings.fov = "FOV", math.radians(70)
    found["lens"] = [called(bpy.ops.pro_depth.rebuild), camera.data.angle_x]
    before = everything()
    settings.near = 50.0
    found["fails"] = [called(bpy.ops.pro_depth.rebuild), before == everything()]
    settings.near = 1.0
    found["linked"] = borrowed(folder, rig, override=False)
    found["overridden"] = borrowed(folder, rig, override=True)
    bpy.data.objects.remove(camera)
    found["no camera"] = called(bpy.ops.pro_depth.rebuild)
    bpy.ops.object.select_all(action="DESELECT")
    bpy.data.objects.remove(rig)
    found["no rig"] = called(bpy.ops.pro_depth.rebuild)
    return found


# ---- metres and sky


def sky_of(choice):
    """Depth of the upper rows and of the row below them, after a rebuild."""
    bpy.context.scene.pro_depth.sky = choice
    result = called(bpy.ops.pro_depth.rebuild)
    rig = part("work.current").rig_in(bpy.context)
    depth = part("rig.place").depth_of(rig)
    return [result, float(depth[0, 0]), float(depth[SIZE[1] // 4, 0]), float(depth[-1, 0])]


def check_scale(folder):
    installed(folder)
    settings = bpy.context.scene.pro_depth
    settings.photo = str(photo_of(folder / "photos"))
    called(bpy.ops.pro_depth.estimate)
    found = {choice: sky_of(choice) for choice in ("drop", "card", "keep")}
    settings.scale_source, settings.point = "POINT", (10, 40)
    for kept, distance in (("FAR", 4.0), ("NEAR", 1.4)):
        settings.point_keeps, settings.distance = kept, distance
        result = sky_of("drop")
        depth = part("rig.place").depth_of(part("work.current").rig_in(bpy.context))
        found[f"point, {kept}"] = [*result, float(depth[40, 10])]
    settings.point = (500, 3)
    found["outside"] = called(bpy.ops.pro_depth.rebuild)
    settings.scale_source = "METRIC"
    found["metric"] = called(bpy.ops.pro_depth.rebuild)
    settings.photo = str(photo_of(folder / "photos", "metric.png"))
    settings.model = "mine"  # of compact it is known before
    metric = [
        called(bpy.ops.pro_depth.estimate),
        "pro_metric" in bpy.data.objects["metric"],
        *sky_of("keep"),
        *sky_of("card"),
    ]
    settings.scale_source = "NEAR_FAR"
    found["metres"] = [*metric, *sky_of("card")]
    rig = part("work.current").rig_in(bpy.context)
    depth = part("rig.place").depth_of(rig)
    intrinsics = part("maths.mesh").Intrinsics(50.0, 50.0, (SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2, *SIZE)
    rig.location, rig.rotation_euler.z = (1, 2, 3), 0.5
    bpy.context.view_layer.update()
    where = np.array([*(part("maths.mesh").position_map(depth, intrinsics)[50, 70])])
    bpy.context.scene.cursor.location = rig.matrix_world @ part("rig.place").mathutils.Vector(where.tolist())
    found["cursor"] = [called(bpy.ops.pro_depth.point_from_cursor), list(settings.point)]
    bpy.context.scene.cursor.location = rig.matrix_world @ part("rig.place").mathutils.Vector((0, 0, 5))
    found["behind"] = called(bpy.ops.pro_depth.point_from_cursor)
    return found


def check_wall(folder):
    """A wall 3 m away as a metric model tells it: where it stands, and what the panel says of lens and metres."""
    installed(folder)
    settings, (width, height) = bpy.context.scene.pro_depth, SIZE
    settings.scale_source, settings.fov = "METRIC", 1.0
    picture, depth = photo_of(folder / "photos"), np.full((height, width), 3.0, np.float32)
    np.save(folder / "disparity.npy", 1 / depth + np.linspace(0, 1e-3, width, dtype=np.float32))
    np.save(folder / "depth.npy", depth)
    given = part("engine.run").PhotoDepth(
        photo=picture, disparity=folder / "disparity.npy", depth=folder / "depth.npy", picture=picture, width=width,
        height=height, anchors={"near": 0.334, "far": 0.333, "far_before_sky": 0.333},
        intrinsics=(80.0, 80.0, (width - 1) / 2, (height - 1) / 2), model="m", seconds=1.0, scale_source="metric",
    )  # fmt: skip
    found = {}
    for name, camera_source, focal_px in (
        ("exif", "EXIF", 80.0), ("model", "EXIF", 80.0), ("given", "FOV", width / 2 / math.tan(0.5)),
    ):  # fmt: skip
        settings.camera_source = camera_source
        recipe = part("ui.properties").recipe_of(bpy.context.scene)
        placed = part("rig.place").place(
            bpy.context.scene, given._replace(lens_source="exif" if name == "given" else name), recipe
        )
        points = positions(placed.built.surface.data)
        across = 3.0 * width / focal_px
        found[name] = [
            placed.built.rig["pro_told"],
            placed.note,
            *np.ptp(points, 0).tolist(),
            across,
            *points.mean(0).tolist(),
        ]
    return found


# ---- lenses


def check_cameras(folder):
    """A camera of the scene as a intrinsics against what Blender itself says that it sees."""
    from bpy_extras.object_utils import world_to_camera_view

    installed(folder)
    scene = bpy.context.scene
    properties, vector = part("ui.properties"), part("rig.place").mathutils.Vector
    places = [vector((x, y, -2.0 - x)) for x in (-0.3, 0.1, 0.4) for y in (-0.4, 0.2)]
    found = {}
    for fit in ("AUTO", "HORIZONTAL", "VERTICAL"):
        for width, height in ((96, 64), (64, 96), (80, 80)):
            data = bpy.data.cameras.new("fSpy")
            data.sensor_fit, data.sensor_width, data.sensor_height, data.lens = fit, 30.0, 20.0, 28.0
            data.shift_x, data.shift_y = 0.11, -0.07
            camera = bpy.data.objects.new("fSpy", data)
            scene.collection.objects.link(camera)
            camera.location, camera.rotation_euler = (3, -2, 1), (1.2, 0.1, 0.7)
            scene.render.resolution_x, scene.render.resolution_y = width, height
            bpy.context.view_layer.update()
            intrinsics = properties.camera_numbers(camera).intrinsics(width, height)
            off = 0.0
            for place in places:
                seen = world_to_camera_view(scene, camera, camera.matrix_world @ place)
                column = intrinsics.cx + intrinsics.fx * place.x / -place.z
                row = intrinsics.cy - intrinsics.fy * place.y / -place.z
                off = max(off, abs(seen.x * width - 0.5 - column), abs((1 - seen.y) * height - 0.5 - row))
            found[f"{fit} {width}x{height}"] = off
    settings = scene.pro_depth
    settings.photo, settings.camera_source, settings.camera = str(photo_of(folder / "photos")), "CAMERA", camera
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    called(bpy.ops.pro_depth.estimate)
    bpy.context.view_layer.update()
    rig = part("work.current").rig_in(bpy.context)
    own = next(child for child in rig.children if child.type == "CAMERA")
    off = 0.0
    for place in places:
        there = camera.matrix_world @ place
        first, second = (world_to_camera_view(scene, one, there) for one in (camera, own))
        off = max(off, abs(first.x - second.x) * SIZE[0], abs(first.y - second.y) * SIZE[1])
    found |= {"own camera": off, "another one": own != camera}
    sensors = {"camera": [own.data.lens, own.data.sensor_width]}
    settings.camera_source, settings.focal_mm, settings.sensor_mm = "FOCAL", 35.0, 24.89
    for size in ((96, 64), (64, 96)):
        settings.photo = str(photo_of(folder / "photos", f"{size}.png", size))
        called(bpy.ops.pro_depth.estimate)
        data = part("rig.place").camera_of_rig(part("work.current").rig_in(bpy.context)).data
        sensors[str(size)] = [data.lens, data.sensor_width, data.sensor_height, data.angle_x]
    return {"off": found, "sensors": sensors}


# ---- images of the .blend


def check_images(folder):
    """Images become files for the engine, and stay as they are."""
    preferences = installed(folder)
    photos = part("ui.photos")
    width, height = 8, 6
    colours = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.float32) / 255
    rgba = np.dstack([colours, np.ones((height, width), np.float32)]).astype(np.float32)

    def new(name, float_buffer=False, space=None):
        image = bpy.data.images.new(name, width, height, float_buffer=float_buffer)
        if space:
            image.colorspace_settings.name = space
        image.pixels.foreach_set(rgba[::-1].ravel())
        image.update()
        return image

    def written(image):
        before = [image.name, image.source, image.filepath, image.is_dirty, tuple(image.pixels[:8]), image.users]
        counts = census()
        out = folder / f"out {image.name}"
        out.mkdir(exist_ok=True)
        path = photos.image_file(image, out)
        after = [image.name, image.source, image.filepath, image.is_dirty, tuple(image.pixels[:8]), image.users]
        same = before == after and counts == census()
        again = bpy.data.images.load(str(path))
        values = np.array(again.pixels[:]).reshape(height, width, 4)[::-1, :, :3]
        bpy.data.images.remove(again)
        return path, values, same

    def encoded(linear):
        return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * np.power(linear, 1 / 2.4) - 0.055)

    found = {}
    generated = new("painted")
    path, values, same = written(generated)
    found["painted"] = [float(np.abs(values - colours).max()), same]
    path, values, same = written(new("linear", float_buffer=True))
    found["float"] = [float(np.abs(values - encoded(colours)).max()), same]
    disk = photo_of(folder / "photos", "disk.png", (width, height))
    loaded = bpy.data.images.load(str(disk))
    path, _, same = written(loaded)
    found["file"] = [path == disk, same]
    loaded.pack()
    disk.unlink()
    path, values, same = written(loaded)
    found["packed"] = [path.parent != disk.parent and path.suffix == ".png" and bool(values.max() > 0.8), same]
    log = new("log", float_buffer=True, space="Filmic Log")
    path, values, same = written(log)
    found["log"] = [bool(np.abs(values - colours).max() > 0.05), same]
    sequence = new("frames")
    sequence.source = "SEQUENCE"
    try:
        photos.image_file(sequence, folder)
    except Exception as error:
        found["sequence"] = str(error)
    missing = bpy.data.images.new("gone", 8, 8)
    missing.source, missing.filepath = "FILE", str(folder / "gone.png")
    settings = bpy.context.scene.pro_depth
    settings.photo_source = "IMAGE"
    preferences.engine = preferences.engine
    settings.image = generated
    found["estimate"] = [
        called(bpy.ops.pro_depth.estimate),
        [one.name for one in bpy.data.objects if "pro_photo" in one],
    ]
    settings.image = new("bright", float_buffer=True)
    found["own plate"] = [called(bpy.ops.pro_depth.estimate), bpy.data.objects["bright"]["pro_photo"].name]
    found["own plate"].append(len([one for one in bpy.data.images if one.name.startswith("bright")]))
    exr = new("plate", float_buffer=True)
    exr.filepath_raw, exr.file_format = str(folder / "plate.exr"), "OPEN_EXR"
    exr.save()
    bpy.data.images.remove(exr)
    settings.photo_source, settings.photo = "FILE", str(folder / "plate.exr")
    result, image = called(bpy.ops.pro_depth.estimate), bpy.data.objects["plate"]["pro_photo"]
    found["plate"] = [result, image.is_float, image.name, called(bpy.ops.pro_depth.rebuild)]
    settings.photo_source = "IMAGE"
    settings.image = missing
    found["gone"] = called(bpy.ops.pro_depth.estimate)
    return found


# ---- the engine itself


def check_real(folder, engine, photos):
    """The real engine over good, odd and bad photos, in a Blender and with an engine that may open no socket."""
    preferences = installed(folder)
    (folder / "guarded").mkdir()
    preferences.engine = str(program(folder / "guarded", GUARDED, head="", python=engine))
    preferences.device = "cpu"
    opened = []

    class Guarded(socket.socket):
        def __init__(self, *arguments, **options):
            opened.append(arguments)
            raise OSError("no socket is to be opened")

    socket.socket = Guarded
    tested = [called(bpy.ops.pro_depth.test_engine), part("work.current").test.notice.text]
    settings = bpy.context.scene.pro_depth
    settings.quality, settings.vertices, settings.batch_folder = "CUSTOM", 2000, photos
    settings.tiles = 1, 1
    before = census()
    session, properties = part("work.current"), part("ui.properties")
    scene = bpy.context.scene
    found = [*part("ui.photos").photos_in(Path(photos), "*"), Path(photos) / "missing.jpg", Path(photos)]
    job = part("work.photo_job").RigJob(
        scene, found, properties.recipe_of(scene, "cpu"), part("work.folders").new_folder(folder / "cache"),
        engine=preferences.engine, online=bpy.app.online_access,
    )  # fmt: skip
    session.begin(job)
    progress = []
    while job.poll():
        progress.append(job.progress)
        time.sleep(0.05)
    rigs = [one for one in scene.objects if "pro_photo" in one]
    pictures = {}
    for rig in rigs:
        image = rig["pro_photo"]
        width, height = image.size
        pixels = np.array(image.pixels[:]).reshape(height, width, 4)[::-1]
        corners = [pixels[y, x, :3].round(1).tolist() for y in (2, -3) for x in (2, -3)]
        camera = next(child for child in rig.children if child.type == "CAMERA")
        pictures[rig.name] = [width, height, corners, camera.data.lens]
    settings.model, settings.photo = "depth-anything-v2-small", str(found[0])
    return {
        "weights": called(bpy.ops.pro_depth.estimate),
        "tested": tested,
        "said": [job.notice.text, list(job.notice.details)],
        "loads": job.loads,
        "steps": len(set(progress)),
        "polls": len(progress),
        "pictures": pictures,
        "added": {name: count - before[name] for name, count in census().items()},
        "sockets": [len(opened), (folder / "guarded" / "sockets").exists()],
    }


GUARDED = """
import os, runpy, socket, sys
class Guarded(socket.socket):
    def __init__(self, *arguments, **options):
        open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "sockets"), "a").write(str(arguments))
        raise OSError("no socket is to be opened")
socket.socket = Guarded
runpy.run_module("pro_engine", run_name="__main__", alter_sys=True)
"""


def check_full_disk(folder, engine, photo, cache):
    """The real engine where the disk of the cache has no room for its maps."""
    preferences = installed(folder)
    (folder / "real").mkdir()
    preferences.engine = str(program(folder / "real", GUARDED, head="", python=engine))
    preferences.device, preferences.cache = "cpu", cache
    settings = bpy.context.scene.pro_depth
    settings.quality, settings.tiles, settings.photo = "CUSTOM", (1, 1), photo
    before = everything()
    said = called(bpy.ops.pro_depth.estimate)
    return [said, before == everything(), [path.name for path in Path(cache).rglob("*.npy")]]


if __name__ == "__main__":
    main(globals(), *sys.argv[1:])
