"""Runs inside Blender, see `blenders`: runs of the add-on, and what its user does meanwhile."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.blender.addon import (
    ENGINE,
    PACKAGE,
    called,
    counted_undo,
    enable,
    everything,
    follow,
    installed,
    part,
    photo_of,
    said,
    started,
)
from tests.blender.engines import is_running, program, until
from tests.blender.inside_build import census, main, positions

# ---- life and death


def ours():
    """What an enabled add-on adds to Blender."""
    names = [name for name in dir(bpy.types) if name.startswith("PRO_")]
    handlers = [len(getattr(bpy.app.handlers, name)) for name in dir(bpy.app.handlers) if name.startswith("load")]
    return [
        names,
        hasattr(bpy.types.Scene, "pro_depth"),
        "pro_depth" in dir(bpy.ops) and dir(bpy.ops.pro_depth),
        handlers,
        sorted(thread.name for thread in threading.enumerate()),
    ]


def check_life(folder):
    preferences = installed(folder)
    with_it = ours()
    engine, cache = preferences.engine, preferences.cache
    bpy.ops.preferences.addon_disable(module=PACKAGE)
    without = ours()
    for _ in range(10):
        preferences = enable()
        preferences.engine, preferences.cache = engine, cache
        bpy.context.scene.pro_depth.photo = str(photo_of(folder / "photos"))
        called(bpy.ops.pro_depth.estimate)
        bpy.ops.preferences.addon_disable(module=PACKAGE)
    after = ours()
    preferences = enable()
    preferences.engine, preferences.cache = engine, cache
    again = ours()
    job = started("slow.png", folder)
    until(lambda: job.poll() and job.progress > 0)
    pid = job.client.pid
    before = census()
    bpy.ops.preferences.addon_disable(module=PACKAGE)
    until(lambda: not is_running(pid))
    return {
        "with": with_it[1],
        "same without": without == after,
        "same with": with_it == again,
        "nothing": without[0] == [] and not without[1],
        "scene as before": before == census(),
        "files": os.listdir(folder / "cache"),
        "threads": [thread.name for thread in threading.enumerate()],
    }


# ---- one photo


def check_estimate(folder):
    installed(folder)
    scene, settings = bpy.context.scene, bpy.context.scene.pro_depth
    photo = photo_of(folder / "photos", "mein Foto ü.png")
    kept = photo.stat().st_mtime_ns, sorted(os.listdir(photo.parent))
    settings.photo = str(photo)
    with counted_undo() as steps:
        first = called(bpy.ops.pro_depth.estimate)
    rig = bpy.data.objects.get("mein Foto ü")
    surface = next(child for child in rig.children if child.type == "MESH")
    z = positions(surface.data)[:, 2]
    found = {
        "result": first,
        "said": said(),
        "steps": list(steps),
        "collection": rig.users_collection[0].name,
        "scene camera": scene.camera.name,
        "resolution": scene.render.resolution_x,
        "range": [float(-z.max()), float(-z.min())],
        "photo packed": rig["pro_photo"].packed_file is not None,
        "photo name": rig["pro_photo"].name,
        "photo kept": kept == (photo.stat().st_mtime_ns, sorted(os.listdir(photo.parent))),
        "files": len(list((folder / "cache").iterdir())),
    }
    called(bpy.ops.pro_depth.look_through)
    found["looks"] = [scene.camera.name, scene.render.resolution_x, scene.render.resolution_y]
    scene.unit_settings.scale_length = 0.01
    settings.near, settings.far = 150.0, 900.0
    photo_of(folder / "photos", photo.name, (48, 80))  # the photo changes on disk
    called(bpy.ops.pro_depth.estimate)
    second = next(one for one in scene.objects if "pro_photo" in one and one != rig)
    z2 = positions(next(child for child in second.children if child.type == "MESH").data)[:, 2]
    found["second"] = [second.name, list(second["pro_photo"].size), list(rig["pro_photo"].size)]
    found["centimetres"] = [float(-z2.max()), float(-z2.min()), second.scale.x]
    found["files later"] = len(list((folder / "cache").iterdir()))
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "saved.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(folder / "saved.blend"))
    shutil.rmtree(folder / "cache")
    bpy.context.preferences.addons[PACKAGE].preferences.engine = "/nowhere"
    rig = bpy.data.objects["mein Foto ü"]
    bpy.context.view_layer.objects.active = rig
    bpy.context.scene.unit_settings.scale_length = 1.0
    bpy.context.scene.pro_depth.near, bpy.context.scene.pro_depth.far = 1.0, 20.0
    found["rebuilt"] = called(bpy.ops.pro_depth.rebuild)
    again = positions(next(child for child in rig.children if child.type == "MESH").data)[:, 2]
    found["same again"] = bool(np.array_equal(z, again))
    return found


def check_huge(folder):
    installed(folder)
    bpy.context.scene.pro_depth.photo = str(photo_of(folder / "photos", "huge.png"))
    return [called(bpy.ops.pro_depth.estimate), *said()[:2]]


# ---- what goes wrong


def failures(folder):
    """Settings that fail, each with what is to be set."""
    photos, nowhere = folder / "photos", folder / "nowhere"
    (folder / "file").write_text("")
    named = {
        name: {"photo": str(photo_of(photos, f"{name}.png"))}
        for name in (
            "bad",
            "bug",
            "crash",
            "killed",
            "incomplete",
            "constant",
            "nan",
            "short",
            "other",
            "uneven",
            "flat",
        )
    }
    return {
        **named,
        "no photo": {"photo": " "},
        "no image": {"photo_source": "IMAGE"},
        "unsaved": {"photo": "//photo.png"},
        "no face": {"photo": str(photo_of(photos, "one.png", (1, 9)))},
        "all torn": {"photo": str(photos / "card.png"), "edge_rtol": 0.001, "vertices": 0, "far": 1e6, "near": 1.0},
        "near beyond far": {"near": 30.0},
        "no camera": {"camera_source": "CAMERA"},
        "orthographic": {"camera_source": "CAMERA", "camera": ortho()},
        "budget": {"vertices": 7},
        "wrong engine": {"engine": str(nowhere)},
        "no engine": {"engine": str(folder / "file")},
        "another program": {"engine": shutil.which("true")},
        "old engine": {"engine": str(old_engine(folder))},
        "no cache": {"cache": str(folder / "file" / "inside")},
        "unsaved cache": {"cache": "//cache"},
        "no metres": {"scale_source": "METRIC"},
        "point outside": {"scale_source": "POINT", "point": (1000, 0)},
        "point too far": {"scale_source": "POINT", "point": (5, 60), "distance": 50.0},
    }


def ortho():
    """A camera that is no intrinsics."""
    data = bpy.data.cameras.new("flat")
    data.type = "ORTHO"
    return bpy.data.objects.new("flat", data)


def old_engine(folder):
    (folder / "old engine").mkdir()
    (folder / "old engine" / "old").write_text("")
    return program(folder / "old engine", ENGINE)


def check_failures(folder):
    """Each failure by itself, next to an earlier result that must stay as it is."""
    preferences = installed(folder)
    settings = bpy.context.scene.pro_depth
    sound = {"photo": str(photo_of(folder / "photos"))}
    settings.photo = sound["photo"]
    called(bpy.ops.pro_depth.estimate)
    sound |= {name: getattr(settings, name) for name in ("near", "far", "vertices", "edge_rtol")}
    sound |= {
        "photo_source": "FILE",
        "image": None,
        "camera_source": "EXIF",
        "camera": None,
        "scale_source": "NEAR_FAR",
    }
    engine, cache = preferences.engine, preferences.cache
    found = {}
    with counted_undo() as steps:
        for name, wrong in failures(folder).items():
            for key, value in {**sound, **wrong}.items():
                if hasattr(settings, key):
                    setattr(settings, key, value)
            preferences.engine, preferences.cache = wrong.get("engine", engine), wrong.get("cache", cache)
            before = everything()
            result = called(bpy.ops.pro_depth.estimate)
            notice = said()
            found[name] = [result, notice[0], notice[1], before == everything()]
    found["steps"] = steps
    return found


def check_doubtful(folder):
    """What is odd and yet works."""
    installed(folder)
    settings = bpy.context.scene.pro_depth
    found = {}
    for name in ("holes", "garbage", "reversed", "x" * 120):
        settings.photo = str(photo_of(folder / "photos", f"{name}.png"))
        result = called(bpy.ops.pro_depth.estimate)
        rig = part("work.current").rig_in(bpy.context)
        places = positions(next(child for child in rig.children if child.type == "MESH").data)
        found[name[:10]] = [result, len(places), bool(np.isfinite(places).all()), float(places[:, 2].max())]
    settings.photo = str(photo_of(folder / "photos", "thin.png", (2, 400)))
    found["thin"] = [called(bpy.ops.pro_depth.estimate), 0, True, -1.0]
    return found


# ---- while it runs


def waited_for_object_mode(job):
    """What the bar says while the user edits, and whether the rig comes after that."""
    module, before = part("work.photo_job"), census()
    kept, module.undo_holds_objects = module.undo_holds_objects, lambda: False
    until(lambda: job.poll() and job.waiting)
    for _ in range(5):
        job.poll()
    words, untouched = job.doing, census() == before
    module.undo_holds_objects = kept
    follow(job)
    return [words, untouched, len(job.built)]


def check_meanwhile(folder):
    """What the user may do while the engine works."""
    installed(folder)
    session = part("work.current")
    scene = bpy.context.scene
    found = {}

    def begin(name="slow.png"):
        job = started(name, folder)
        until(lambda: job.poll() and job.progress > 0)
        return job

    job = begin()
    found["second press"] = [
        called(bpy.ops.pro_depth.estimate),
        called(bpy.ops.pro_depth.batch),
        called(bpy.ops.pro_depth.place),
    ]
    try:
        started("shot.png", folder)
    except part("errors").UserError as error:
        found["second run"] = str(error)
    other = bpy.data.scenes.new("other")
    scene.name, scene.pro_depth.near = "renamed", 7.0  # neither matters any more
    if bpy.context.window is not None:
        bpy.context.window.scene = other
    follow(job)
    rig = next(one for one in bpy.data.objects if "pro_photo" in one)
    depth = part("rig.place").depth_of(rig)
    found["to the scene that asked"] = [one.name for one in rig.users_scene]
    found["near as it was"] = float(np.nanmin(depth))
    scene.pro_depth.near = 1.0

    if bpy.context.window is not None:
        bpy.context.window.scene = scene
    found["waits in edit mode"] = waited_for_object_mode(begin("shot.png"))

    before, job = census(), begin()
    pid = job.client.pid
    found["cancel"] = [called(bpy.ops.pro_depth.cancel), session.busy(), said()]
    until(lambda: not is_running(pid))
    found["cancel leaves nothing"] = before == census() and not job.poll()
    found["cancel nothing"] = called(bpy.ops.pro_depth.cancel)

    rigs = set(bpy.data.objects)
    job = started(["early.png", "late.png", "hang.png"], folder)
    until(lambda: job.poll() and len(job.results) == 2)
    found["batch at work"] = [job.doing, before == census()]
    called(bpy.ops.pro_depth.cancel)
    found["batch cancelled"] = [said(), before == census()]
    found["batch placed"] = [called(bpy.ops.pro_depth.place), said()]
    found["batch shown"] = shown_of(sorted((one for one in {*bpy.data.objects} - rigs if "pro_photo" in one), key=str))

    job = begin()
    os.kill(job.client.pid, 9)
    follow(job)
    found["killed"] = said()

    job = begin()
    bpy.data.scenes.remove(scene)
    follow(job)
    found["scene gone"] = said()
    before = census()
    found["placed elsewhere"] = [called(bpy.ops.pro_depth.place), said(), census() != before]
    found["nothing left to place"] = called(bpy.ops.pro_depth.place)

    job = begin()
    for collection in list(bpy.data.collections):
        bpy.data.collections.remove(collection)
    for thing in list(bpy.data.objects):
        bpy.data.objects.remove(thing)
    follow(job)
    found["all deleted"] = said()

    job = begin()
    bpy.ops.wm.read_homefile()
    found["file opened"] = [session.busy(), said(), any("pro_photo" in one for one in bpy.data.objects)]
    found["and nothing later"] = job.poll()
    return found


# ---- many photos


def shown_of(rigs):
    return [one.name for one in rigs if one.visible_get() and not in_layer(one).exclude]


def in_layer(rig):
    """What the Outliner shows of a rig's collection."""
    return bpy.context.view_layer.layer_collection.children[rig.users_collection[0].name]


def check_batch(folder):
    installed(folder)
    scene = bpy.context.scene
    photos = folder / "photos"
    for k in range(20):
        photo_of(photos, f"{'bad' if k in (3, 11) else 'crash' if k == 7 else 'shot'}.{k}.png")
    (photos / "note.txt").write_text("no photo")
    scene.pro_depth.batch_folder = str(photos)
    with counted_undo() as steps:
        result = called(bpy.ops.pro_depth.batch)
    rigs = [one for one in scene.objects if "pro_photo" in one]
    log = (folder / "engine" / "log").read_text().split("\n")
    found = {
        "result": result,
        "said": said(),
        "rigs": len(rigs),
        "steps": len(steps),
        "shown": shown_of(rigs),
        "order": [line for line in log if line.endswith(".png")],
    }
    in_layer(rigs[5]).exclude = False  # the check box of the Outliner
    found["checked"] = [shown_of(rigs), rigs[5].name]
    bpy.context.view_layer.objects.active = rigs[5]
    found["looked at"] = [called(bpy.ops.pro_depth.look_through), shown_of(rigs), rigs[5].name]
    (folder / "engine" / "log").unlink()
    scene.pro_depth.batch_pattern = "shot.#.png"
    bpy.context.scene.pro_depth.quality = "DRAFT"
    scene.pro_depth.batch_shot = True
    found["pattern"] = [called(bpy.ops.pro_depth.batch), said()]
    log = (folder / "engine" / "log").read_text().split("\n")
    found["pattern order"] = [line for line in log if line.endswith(".png of a shot")]
    found["loads"] = log.count("LOAD")
    for pattern, where in (("*.exr", photos), ("", folder / "nowhere"), ("", folder / "cache")):
        scene.pro_depth.batch_pattern, scene.pro_depth.batch_folder = pattern, str(where)
        before = everything()
        found[f"{pattern} {where.name}"] = [called(bpy.ops.pro_depth.batch), before == everything()]
    scene.pro_depth.batch_folder, scene.pro_depth.batch_pattern = str(photos), "bad*"
    found["all bad"] = [called(bpy.ops.pro_depth.batch), said()]
    return found


if __name__ == "__main__":
    main(globals(), *sys.argv[1:])
