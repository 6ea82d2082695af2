"""Runs inside Blender, see `blenders`: shots as one rig, their frames seen again, and runs over them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from blender_addon.maths.lens import LensOptions
from blender_addon.maths.mesh import MeshOptions
from blender_addon.maths.scale import Anchors, DepthScale
from blender_addon.rig.compositor import set_up
from blender_addon.rig.place import Recipe, ScaleChoice, Source
from blender_addon.rig.plate import project, show_behind
from blender_addon.rig.shot import build_shot, rebuild_shot
from blender_addon.rig.shot_cache import Placement, PointFile, ShotCache
from blender_addon.rig.shown_depth import depth_of
from blender_addon.rig.surface_kinds import BuildOptions
from tests.blender.addon import called, installed, part, photo_of, said
from tests.blender.inside_build import card, compared, load_png, main, render, save_png
from tests.blender.inside_plate import quad

WIDTH, HEIGHT, COUNT, FIRST = 160, 120, 8, 101
LENS = (150.0, 150.0, 79.5, 59.5)  # of a model
RECIPE = Recipe(
    lens=LensOptions(source="FOV", fov_deg=50),
    scale=ScaleChoice(near_m=2.0, far_m=8.0, sky="keep"),
    build=BuildOptions(mesh=MeshOptions(edge_rtol=0.5)),
)


def picture(k):
    """Frame k: the card, moved."""
    return np.roll(card(WIDTH, HEIGHT), 5 * k, axis=1)


def disparity(k):
    """Frame k: a ground, and a block that walks before it."""
    y, _ = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    found = 1 + y / HEIGHT
    found[40:80, 20 + 8 * k : 50 + 8 * k] = 4.0
    return found


def source(k):
    return Source(disparity(k), None, dict(zip(Anchors._fields, (4.0, 1.0, 1.0), strict=True)), None)


def frames(folder):
    """The pictures on disk."""
    folder.mkdir(exist_ok=True)
    return [save_png(picture(k), folder / f"plate.{FIRST + k:04d}.png") for k in range(COUNT)]


def cached(folder, vertices=0, left_out=()):
    files, cache = frames(folder / "plates"), ShotCache(folder / "plate.shot")
    for k, path in enumerate(files):
        if k not in left_out:
            cache.add(path, FIRST + k, source(k), vertices)
    return cache


def shape(surface, k):
    """(N, 3) of a surface at frame k, as Blender shows it."""
    bpy.context.scene.frame_set(FIRST + k)
    mesh = surface.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    values = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", values)
    return values.reshape(-1, 3)


def seen(result, folder, k):
    bpy.context.scene.frame_set(FIRST + k)
    return compared(render(result, folder / "render.png"), load_png(folder / "plates" / f"plate.{FIRST + k:04d}.png"))


def check_frames(folder):
    """Frames are their photos again, before and after the file is opened again and moved."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))
    cache = cached(folder, left_out=(5,))
    built = build_shot(bpy.context.scene, cache, RECIPE).built
    placement = Placement.of_recipe(cache.shot, RECIPE)
    expected = [placement.points(source(k)).reshape(-1, 3) for k in range(COUNT)]
    found = {"shape": [float(np.abs(shape(built.surface, k) - expected[k]).max()) for k in (0, 3, 7, 1, 4)]}
    found["left out"] = float(np.abs(shape(built.surface, 5) - expected[6]).max())
    found["match"] = {k: seen(built, folder, k) for k in (0, 3, 7)}
    depth = depth_of(built.rig, FIRST + 3)
    found["depth"] = float(np.abs(depth.ravel() + expected[3][:, 2]).max())
    set_up(bpy.context.scene, built, None, placement.lens)
    built.surface.hide_render = True
    found["composed"] = {k: seen(built, folder, k) for k in (0, 7)}
    built.surface.hide_render = bpy.context.scene.render.film_transparent = False
    bpy.context.scene.render.use_compositing = False
    built.camera.location.x = 0.6
    bpy.context.scene.frame_set(FIRST + 3)
    found["aside"] = float((render(built, folder / "aside.png") < 0.01).all(-1).mean())
    built.camera.location.x = 0
    wall = quad([(-9, 2, -9), (9, 9, -9), (9, 9, 9), (-9, 2, 9)])
    project(built, [wall], "emission")
    show_behind(built)
    built.surface.hide_render = True
    found["projected"] = seen(built, folder, 6)
    user = built.camera.data.background_images[0].image_user
    found["background"] = [user.frame_start, user.frame_offset, user.frame_duration, user.use_auto_refresh]
    built.surface.hide_render, wall.hide_render = False, True
    moved = replace(RECIPE, scale=ScaleChoice(near_m=1.0, far_m=4.0, sky="keep"))
    rebuild_shot(built.rig, moved)
    found["rebuilt"] = float(np.abs(shape(built.surface, 3) - expected[3] / 2).max())
    rebuild_shot(built.rig, RECIPE)
    bpy.ops.wm.save_mainfile()
    blend = folder / "shot.blend"
    found["blend"] = blend.stat().st_size
    found["paths"] = [built.rig["pro_shot"], built.surface.modifiers[0].filepath, built.rig["pro_photo"].filepath]
    found["materials"] = len(bpy.data.materials)
    moved_to = folder / "moved"
    moved_to.mkdir()
    for name in ("shot.blend", "plates", "plate.shot"):
        (folder / name).rename(moved_to / name)
    bpy.ops.wm.open_mainfile(filepath=str(moved_to / "shot.blend"))
    rig = bpy.data.objects["plate"]
    surface = next(child for child in rig.children if child.type == "MESH")
    found["again"] = float(np.abs(shape(surface, 3) - expected[3]).max())
    (moved_to / "render.png").unlink(missing_ok=True)
    camera = next(child for child in rig.children if child.type == "CAMERA")
    found["match again"] = seen(built._replace(rig=rig, camera=camera, surface=surface), moved_to, 7)
    return found


def check_coarse(folder):
    """A mesh of fewer vertices, and a sky that is dropped."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    cache = cached(folder, vertices=2000)
    dropped = replace(RECIPE, scale=ScaleChoice(near_m=2.0, far_m=8.0))
    built = build_shot(bpy.context.scene, cache, dropped).built
    return {"vertices": len(built.surface.data.vertices), "finite": bool(np.isfinite(shape(built.surface, 2)).all())}


def check_estimate(folder):
    """Near and far as the model estimates them for the first frame hold for all; a cut begins anew, farther away."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    files, cache = frames(folder / "plates"), ShotCache(folder / "plate.shot")
    for k, path in enumerate(files):
        ends = (2.0, 8.0) if k < 4 else (3.0, 30.0)
        cache.add(path, FIRST + k, source(k)._replace(estimate=ends, exif=LENS, lens_source="model"), 3000)
    told = replace(RECIPE, lens=LensOptions(source="EXIF"), scale=ScaleChoice(sky="drop"))
    placed = build_shot(bpy.context.scene, ShotCache.read(cache.folder), told)
    rig, surface = placed.built.rig, placed.built.surface
    reach = [[float(-side(shape(surface, k)[:, 2])) for side in (np.max, np.min)] for k in (0, 3, 4, 7)]
    camera = placed.built.camera.data
    found = {"ends": reach, "note": placed.note, "told": rig["pro_told"], "lens": camera.lens / camera.sensor_width}
    hidden = [node for node in surface.data.materials[0].node_tree.nodes if node.type == "MATH"]
    found["hides from"] = max(-socket.default_value for node in hidden for socket in node.inputs)
    depths = {k: depth_of(rig, FIRST + k) for k in (3, 5)}
    exact = {k: 1 / DepthScale.through((4.0, near), (1.0, far)).depth(disparity(k))
             for k, near, far in ((3, 2.0, 8.0), (5, 3.0, 30.0))}  # fmt: skip
    off = {k: np.abs(1 / depths[k] - exact[k]) < 1e-3 for k in depths}
    found["between vertices"] = [float(one.mean()) for one in off.values()]
    found["size"] = list(depths[3].shape)
    return found


def check_metric(folder):
    """Metres of the model are cut by no distance that nobody typed; its sky is gone."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    files, cache = frames(folder / "plates"), ShotCache(folder / "plate.shot")
    for k, path in enumerate(files[:3]):
        metres = (100.0 + 10 * k) / disparity(k)
        metres[:30] = np.inf
        cache.add(path, FIRST + k, source(k)._replace(metres=metres), 0)
    metric = replace(RECIPE, scale=ScaleChoice(by="METRIC", sky="drop"))
    cut = replace(metric, scale=replace(metric.scale, cuts=True, far_m=40.0))
    found = {}
    for name, recipe in (("whole", metric), ("cut", cut)):
        rig = build_shot(bpy.context.scene, cache, recipe).built.rig
        depth = depth_of(rig, FIRST + 2)
        found[name] = [float(np.nanmax(depth)), float(np.isnan(depth).mean())]
    return found


# ---- runs


def check_runs(folder):
    installed(folder)
    scene, settings = bpy.context.scene, bpy.context.scene.pro_depth
    photos = folder / "photos"
    for k in (1, 2, 3, 5):
        photo_of(photos, f"plate.{k:04d}.png")
    photo_of(photos, "plate.00004.png")
    settings.shot = str(photos / "plate.0002.png")
    found = {"unsaved": called(bpy.ops.pro_depth.shot)}
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))
    scene, settings = bpy.context.scene, bpy.context.scene.pro_depth
    found["run"] = [called(bpy.ops.pro_depth.shot), said()]
    rig = part("work.current").rig_in(bpy.context)
    table = json.loads((folder / "plate.shot" / "shot.json").read_text())
    log = (folder / "engine" / "log").read_text().split("\n")
    found["numbers"], found["rig"] = table["numbers"], rig.name
    found["active"] = bpy.context.active_object.name
    found["asked"] = [line for line in log if line.endswith(".png of a shot")]
    found["left"] = sorted(path.name for path in (folder / "cache").rglob("*.npy"))
    found["rebuilt"] = [called(bpy.ops.pro_depth.rebuild), said()[0]]
    found["looks"] = called(bpy.ops.pro_depth.look_through)
    found["rigs"] = len([one for one in scene.objects if "pro_shot" in one])
    found["exported"] = called(bpy.ops.pro_depth.export, filepath=str(folder / "shot.glb"), format="GLB")
    scene.frame_set(3)
    found["passes"] = called(bpy.ops.pro_depth.passes, filepath=str(folder / "shot.exr"))
    found["all"] = [called(bpy.ops.pro_depth.passes, filepath=str(folder / "shot.exr"), frames="ALL", replace=True),
                    scene.frame_current, said()[0]]  # fmt: skip
    found["again"] = called(bpy.ops.pro_depth.passes, filepath=str(folder / "shot.exr"))
    found["files"] = sorted(path.name for path in folder.glob("shot.z.*.exr"))
    found["level"] = [called(bpy.ops.pro_depth.level, to="GROUND"), said()[0]]
    found["compositor"] = [called(bpy.ops.pro_depth.compositor), said()[0]]
    found["loaded"] = called(bpy.ops.pro_depth.load_shot, directory=str(folder / "plate.shot"))
    (folder / "plate.shot").rename(folder / "away")
    found["looks without"] = [called(bpy.ops.pro_depth.look_through), said()[0]]
    (folder / "away").rename(folder / "plate.shot")
    found["no cache"] = called(bpy.ops.pro_depth.load_shot, directory=str(photos))
    settings.shot_first, settings.shot_last = 7, 9
    found["no frame"] = called(bpy.ops.pro_depth.shot)
    settings.shot_first = settings.shot_last = 0
    settings.shot = str(photo_of(photos, "bad 0001.png"))
    found["bad"] = [called(bpy.ops.pro_depth.shot), (folder / "bad.shot").exists()]
    settings.shot = str(photo_of(photos, "single.png"))
    found["no number"] = called(bpy.ops.pro_depth.shot)
    return found


def check_cancelled(folder):
    """After two of four frames the user has enough."""
    installed(folder)
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))
    scene = bpy.context.scene
    scene.pro_depth.edge_rtol = 1.0
    for k in range(1, 5):
        photo_of(folder / "photos", f"slow.{k}.png")
    shot, current = part("ui.shot"), part("work.current")
    path = folder / "photos" / "slow.1.png"
    listed, size = shot.frames_of(path, 0, 0)
    job = current.begin(
        part("work.shot_job").ShotJob(
            scene,
            listed,
            part("ui.properties").recipe_of(scene),
            part("work.folders").new_folder(folder / "cache"),
            cache=shot.new_cache(path),
            vertices=1000,
            size=size,
            engine=bpy.context.preferences.addons["bl_ext.user_default.pro_depth"].preferences.engine,
            online=False,
        )
    )
    while job.poll() and len(job.results) < 2:
        pass
    bpy.ops.pro_depth.cancel()
    while job.poll():
        pass
    rig = current.rig_in(bpy.context)
    surface = next(child for child in rig.children if child.type == "MESH")
    head = part("rig.shot_cache").PC2_HEAD.unpack((folder / "slow.shot" / "points.pc2").read_bytes()[:32])
    return {"said": said(), "numbers": ShotCache.read(folder / "slow.shot").shot.numbers, "head": list(head[1:]),
            "vertices": len(surface.data.vertices)}  # fmt: skip


def check_memory(folder):
    """Peak memory over that before, of 40 frames of 640x480 and of the first 10 of them."""
    import resource

    peaks = []
    for count in (10, 40):
        cache = ShotCache(folder / f"{count}.shot")
        points = None
        for k in range(count):
            values = np.random.default_rng(k).random((480, 640), np.float32) + 1
            kept = cache.add(folder / "x.png", 1 + k, Source(values, None, source(0).anchors, None), 0)
            placement = Placement.of_recipe(cache.shot, RECIPE)
            points = points or PointFile(cache.folder / "points.pc2", cache.shot.vertices)
            points.add(1 + k, placement.points(kept))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return {"grown": peaks[1] - peaks[0], "file": (folder / "40.shot" / "points.pc2").stat().st_size}


if __name__ == "__main__":
    main(globals(), *sys.argv[1:])
