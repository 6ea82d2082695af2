"""The add-on in a Blender, enabled as the extension that users have, and an engine whose photos tell it what to do."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import bpy
import numpy as np

from tests.blender.engines import program, until
from tests.blender.inside_build import census

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "bl_ext.user_default.pro_depth"
ENGINE = """
import shutil, struct, zlib, numpy
FOLDER = os.path.dirname(os.path.abspath(__file__))
def note(text):
    with open(os.path.join(FOLDER, "log"), "a") as file: file.write(text + chr(10))
def save(path, values, width, height):
    lacking = width * height - len(values)
    numpy.save(path, numpy.array(values + [0.0] * lacking, "f4").reshape(height, width))
    os.truncate(path, os.path.getsize(path) - 4 * lacking)
def answer(job, name):
    with open(job["photo"], "rb") as file: head = file.read(24)
    width, height = struct.unpack(">II", head[16:]) if head.startswith(b"\\x89PNG") else (8, 6)
    os.makedirs(job["folder"], exist_ok=True)
    stem = os.path.join(job["folder"], name.rsplit(".", 1)[0])
    shutil.copy(job["photo"], stem + ".picture.png")
    rows = [0.0 if y < height // 4 else 1 + 9 * y / (height - 1) for y in range(height)]
    if name.startswith("constant"): rows = [1.0] * height
    if name.startswith("reversed"): rows = [11 - row for row in rows]
    if name.startswith("nan"): rows = [float("nan")] * height
    if name.startswith("holes"): rows[30], rows[31], rows[32] = float("inf"), float("nan"), -float("inf")
    values = [row for row in rows for x in range(width)]
    if name.startswith("short"): values = values[:-7]
    if name.startswith("other"): height -= 1; values = values[width:]
    save(stem + ".disparity.npy", values, width, height)
    if name.startswith("uneven"): height -= 1
    if name.startswith("metric"):
        save(stem + ".depth.npy", [30 - 2 * value for value in values], width, height)
    anchors = {"near": 10.0, "far": 0.0, "far_before_sky": 1 + 9 * (height // 4) / (height - 1)}
    metric = stem + ".depth.npy" if name.startswith("metric") else None
    finish(job, reduced=name.startswith("huge"), depth=metric,
           disparity=stem + ".disparity.npy", picture=stem + ".picture.png", width=width,
           height=height, anchors=None if name.startswith("flat") else anchors,
           intrinsics={"fx": 50.0, "fy": 50.0, "cx": (width - 1) / 2, "cy": (height - 1) / 2})
if os.path.exists(os.path.join(FOLDER, "old")): ready(protocol=0)
ready()
loaded = False
for job in requests():
    name = os.path.basename(job.get("photo", ""))
    note(name + (" of a shot" if job.get("shot") else ""))
    if job["do"] == "info":
        say("done", id=job["id"], result={"pro_engine": "0.2.0", "device": "cpu", "python": "3", "torch": "2",
            "gpus": [], "models": [{"name": "compact", "weights": "bundled"}]})
    if job["do"] != "infer": continue
    if not loaded: work(job, "load"); note("LOAD"); loaded = True
    work(job, "read")
    for k in range(4):
        work(job, done=k + 1, total=4, seconds_left=(4 - k) * 2.0)
        if name.startswith("slow"): time.sleep(0.3)
    def fail(kind, message): say("error", id=job["id"], kind=kind, message=message)
    if name.startswith("bad"): fail("FileError", f"{name} is damaged; save it again.")
    elif name.startswith("bug"): fail("Bug", "ValueError: x; please report it.")
    elif name.startswith("crash"): os.abort()
    elif name.startswith("killed"): os.kill(os.getpid(), 9)
    elif name.startswith("garbage"): print("\\x00\\xff{{{" * 50, flush=True); answer(job, name)
    elif name.startswith("incomplete"): say("done", id=job["id"], result={})
    elif name.startswith("hang"): time.sleep(3600)
    else: answer(job, name)
"""
SIZE = 96, 64


def enable():
    bpy.ops.preferences.addon_enable(module=PACKAGE)
    return bpy.context.preferences.addons[PACKAGE].preferences


def installed(folder, *, torn=True):
    """The add-on enabled, with an engine that does as it is told and a cache of its own; its modules by name.

    torn: the surface is the one whose vertices are the pixels and whose sky is a hole, which most checks count on.
    """
    target = Path(bpy.utils.user_resource("EXTENSIONS", path="user_default", create=True)) / "pro_depth"
    if not target.exists():
        shutil.copytree(ROOT / "blender_addon", target, ignore=shutil.ignore_patterns("__pycache__"))
    preferences = enable()
    (folder / "engine").mkdir()
    preferences.engine = str(program(folder / "engine", ENGINE))
    preferences.cache = str(folder / "cache")
    bpy.context.scene.pro_depth.edge_rtol = 1.0  # the engine's slope is steep
    bpy.context.scene.pro_depth.far = 20.0
    if torn:
        bpy.context.scene.pro_depth.layers, bpy.context.scene.pro_depth.sky = False, "drop"
    return preferences


def part(name):
    return import_module(f"{PACKAGE}.{name}")


def photo_of(folder, name="card.png", size=SIZE):
    """A PNG whose name tells the engine what to do."""
    width, height = size
    image = bpy.data.images.new("x", width, height)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    rgba = np.dstack([x / width, y / height, np.full_like(x, 0.5), np.ones_like(x)])
    image.pixels.foreach_set(rgba[::-1].astype(np.float32).ravel())
    folder.mkdir(exist_ok=True)
    image.filepath_raw, image.file_format = str(folder / name), "PNG"
    image.save()
    bpy.data.images.remove(image)
    return folder / name


def called(operator, **values):
    """What an operator called by a script returns: its result, or the sentence of its error."""
    try:
        return sorted(operator(**values))[0]
    except RuntimeError as error:
        return " ".join(str(error).split())


def said():
    notice = part("work.current").said()
    return None if notice is None else [notice.text, notice.is_error, list(notice.details)]


@contextmanager
def counted_undo():
    """The undo steps that would be pushed if there were a window."""
    module, steps = part("work.photo_job"), []
    kept, module.push_undo = module.push_undo, steps.append
    yield steps
    module.push_undo = kept


def everything():
    """What a failure must leave as it is."""
    scene = bpy.context.scene
    render = scene.render
    names = {kind: sorted(one.name for one in getattr(bpy.data, kind)) for kind in ("objects", "images", "scenes")}
    settings = [str(scene.camera), render.resolution_x, render.filepath, scene.view_settings.view_transform]
    return [census(), names, settings, str(bpy.context.active_object)]


def started(name, folder):
    """A run under way, polled by the check, as the modal operator does."""
    session, scene = part("work.current"), bpy.context.scene
    photos = [photo_of(folder / "photos", one) for one in ([name] if isinstance(name, str) else name)]
    job = part("work.photo_job").RigJob(
        scene,
        photos,
        part("ui.properties").recipe_of(scene),
        part("work.folders").new_folder(folder / "cache"),
        engine=bpy.context.preferences.addons[PACKAGE].preferences.engine,
        online=False,
    )
    return session.begin(job)


def follow(job):
    until(lambda: not job.poll())
