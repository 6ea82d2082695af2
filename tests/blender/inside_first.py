"""Runs inside Blender, see `blenders`: what a first run leaves, and seeing the photo."""

from __future__ import annotations

import sys
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.blender.addon import SIZE, called, installed, part, photo_of, said
from tests.blender.inside_build import main, positions


def factory(folder, **settings):
    """The add-on in a new file, with its cube, and a rig built by the panel."""
    bpy.ops.wm.read_factory_settings()
    installed(folder, torn=False)
    for name, value in {"photo": str(photo_of(folder / "photos")), **settings}.items():
        setattr(bpy.context.scene.pro_depth, name, value)
    return called(bpy.ops.pro_depth.estimate)


def surface_of(rig):
    return part("rig.build").parts_of(rig).surface


def check_first(folder):
    found = {"estimate": factory(folder)}
    scene, cube = bpy.context.scene, bpy.data.objects["Cube"]
    rig = part("work.current").rig_in(bpy.context)
    found["selected"] = sorted(one.name for one in bpy.context.selected_objects)
    found["active"] = bpy.context.active_object.name
    aside = bpy.data.objects.new("Aside", cube.data)  # before a corner of the photo only
    aside.location, aside.scale = (0.3, 0.5, 0.2), (0.02, 0.02, 0.02)
    scene.collection.objects.link(aside)
    scene.view_settings.view_transform = "AgX"
    found["photo"] = [called(bpy.ops.pro_depth.show_photo), said()[0]]
    view = scene.view_settings
    found["view"] = [view.view_transform, view.look, view.exposure, view.gamma, scene.camera.parent == rig]
    hidden = [[one.hide_get(), one.hide_render] for one in (cube, aside, surface_of(rig))]
    found["hidden"] = [hidden, called(bpy.ops.pro_depth.look_through), cube.hide_get()]
    found["again"] = [called(bpy.ops.pro_depth.show_hidden), cube.hide_get(), cube.hide_render, "pro_hidden" in cube]
    found["nothing hidden"] = bpy.ops.pro_depth.show_hidden.poll()
    cube.location.y = 60  # behind everything
    called(bpy.ops.pro_depth.look_through)
    found["behind"] = cube.hide_get()
    cube.location.y, cube.scale = 0, (1e5, 1e5, 1e5)  # around everything
    called(bpy.ops.pro_depth.look_through)
    found["around"] = [cube.hide_get(), said()[0]]
    return found


def check_relief(folder):
    factory(folder, sky="card")
    settings = bpy.context.scene.pro_depth
    rig = part("work.current").rig_in(bpy.context)
    before = positions(surface_of(rig).data)
    found = {"begins": rig.pro_depth_relief, "of": settings.far / settings.near}
    rig.pro_depth_relief = 5.0
    moved = positions(surface_of(rig).data)
    found["set"] = [rig.pro_depth_relief, settings.near, settings.far, settings.scale_source]
    found["rays"] = float(np.abs(moved[:, :2] / moved[:, 2:] - before[:, :2] / before[:, 2:]).max())
    found["ends"] = [float(-moved[:, 2].max()), float(-moved[:, 2].min())]
    found["depth"] = float(np.nanmax(part("rig.place").depth_of(rig)))
    called(bpy.ops.pro_depth.rebuild)
    again = positions(surface_of(rig).data)
    found["rebuilt"] = [again.shape == moved.shape, float(np.abs(again / moved - 1)[:, 2].max())]
    settings.kind = "live"
    called(bpy.ops.pro_depth.rebuild)
    flat = positions(surface_of(rig).data)
    rig.pro_depth_relief = 9.0
    found["live"] = bool((positions(surface_of(rig).data) == flat).all())
    found["cube"] = bpy.data.objects["Cube"].pro_depth_relief
    return found


def check_metres(folder):
    """The model's metres, where it gives none and where nobody knows."""
    factory(folder)
    settings = bpy.context.scene.pro_depth
    settings.scale_source = "METRIC"
    log = folder / "engine" / "log"
    before = log.read_text()
    found = {"refused": called(bpy.ops.pro_depth.estimate), "asked": log.read_text() != before}
    settings.model = "mine.safetensors"
    found["unknown"] = called(bpy.ops.pro_depth.estimate)
    return found


def metric(folder):
    """What the engine gives of a photo with a metric model: its metres, and a record of the files."""
    bpy.ops.wm.read_factory_settings()
    installed(folder)
    run, (width, height) = part("engine.run"), SIZE
    disparity = np.random.default_rng(0).uniform(0.1, 1, (height, width)).astype(np.float32)
    own = part("maths.scale").DepthScale(0.31, 0.017)
    metres = own.depth(disparity)
    metres[:8] = np.inf  # the model's sky
    disparity[20, 30] = metres[20, 30] = np.nan
    for name, values in (("disparity", disparity), ("depth", metres)):
        np.save(folder / f"{name}.npy", values)
    picture = photo_of(folder / "photos")
    given = run.PhotoDepth(
        photo=picture, disparity=folder / "disparity.npy", depth=folder / "depth.npy", picture=picture, width=width,
        height=height, anchors=None, intrinsics=None, model="m", seconds=1.0, scale_source="metric", scale=tuple(own),
    )  # fmt: skip
    return disparity, metres, given


def check_reach(folder):
    """Metres of a model go as far as they go, unless a far distance is typed."""
    _, metres, given = metric(folder)
    settings, place = bpy.context.scene.pro_depth, part("rig.place")
    settings.property_unset("cuts")
    settings.scale_source = "METRIC"
    found = {"farthest": float(metres[np.isfinite(metres)].max())}
    for name in ("whole", "cut"):
        placed = place.place(bpy.context.scene, given, part("ui.properties").recipe_of(bpy.context.scene))
        depth = place.depth_of(placed.built.rig)
        found[name] = [placed.note, float(np.nanmax(depth)), bool(np.isnan(depth[:8]).all())]
        settings.far = 4.0
    return found


def check_kept(folder):
    """What a rig of a metric model keeps: metres that follow from the disparity are one channel, others are not."""
    disparity, metres, given = metric(folder)
    place = part("rig.place")
    mesh = part("rig.surface_kinds").BuildOptions(mesh=part("maths.mesh").MeshOptions(edge_rtol=10.0))
    recipe = place.Recipe(scale=place.ScaleChoice(by="METRIC", far_m=50.0), build=mesh)
    found = {}
    for name, scale in (("follows", given.scale), ("does not", (0.5, 0.5))):
        rig = place.place(bpy.context.scene, given._replace(scale=scale), recipe).built.rig
        rig.name = name
        bpy.ops.wm.save_as_mainfile(filepath=str(folder / "saved.blend"))
        bpy.ops.wm.open_mainfile(filepath=str(folder / "saved.blend"))
        rig = bpy.data.objects[name]
        source = place.Source.of_rig(rig)
        found[name] = [
            np.array_equal(source.metres, metres, equal_nan=True),
            np.array_equal(source.disparity, disparity, equal_nan=True),
            source.scale_source,
            rig["pro_source"].packed_file.size,
            bool(np.isfinite(part("rig.datablocks").read_float_image(rig["pro_source"])[..., (0, 3)]).all()),
        ]
    return found


def check_estimate(folder):
    """Near and far as the model estimates them, until a distance is typed."""
    bpy.ops.wm.read_factory_settings()
    installed(folder)
    place, run, (width, height) = part("rig.place"), part("engine.run"), SIZE
    disparity = np.linspace(0, 1, width * height, dtype=np.float32).reshape(height, width)
    np.save(folder / "disparity.npy", disparity)
    picture = photo_of(folder / "photos")
    given = run.PhotoDepth(
        photo=picture, disparity=folder / "disparity.npy", depth=None, picture=picture, width=width, height=height,
        anchors={"near": 1.0, "far": 0.0, "far_before_sky": 0.0}, intrinsics=None, model="m", seconds=1.0,
        estimate=(2.0, 9.0),
    )  # fmt: skip
    recipe = place.Recipe(
        build=part("rig.surface_kinds").BuildOptions(mesh=part("maths.mesh").MeshOptions(edge_rtol=9.0))
    )
    ends = part("rig.relief").range_of
    placed = place.place(bpy.context.scene, given, recipe)
    found = {"ends": ends(placed.built.rig), "note": placed.note, "told": placed.built.rig["pro_told"]}
    again = place.rebuild(bpy.context.scene, placed.built.rig, recipe)
    found["again"] = ends(again.built.rig), again.source.estimate
    without = place.place(bpy.context.scene, given._replace(estimate=None), recipe)
    found["without"] = ends(without.built.rig), without.built.rig["pro_told"]
    settings = bpy.context.scene.pro_depth
    found["chosen"] = [settings.bl_rna.properties["scale_source"].default]
    settings.scale_source = "ESTIMATE"
    settings.far = 5.0
    found["chosen"].append(settings.scale_source)
    return found


def check_open(folder):
    """A photo from the menu or dropped."""
    bpy.ops.wm.read_factory_settings()
    installed(folder)
    path = photo_of(folder / "photos", "dropped.png")
    found = {"open": called(bpy.ops.pro_depth.open, filepath=str(path))}
    found["rigs"] = [one.name for one in bpy.data.objects if "pro_photo" in one]
    handler = part("ui.open").PRO_DEPTH_FH_photo
    for name in ("clip.mp4", "gone.png", "bad.png"):
        path = photo_of(folder / "photos", name) if name == "bad.png" else folder / name
        found[name] = called(bpy.ops.pro_depth.open, filepath=str(path))
    found["endings"] = handler.bl_file_extensions
    found["operator"] = handler.bl_import_operator
    return found


def check_exports(folder):
    """What a file that clips says of it, and a video that was chosen as a photo."""
    bpy.ops.wm.read_factory_settings()
    installed(folder, torn=False)
    plate = bpy.data.images.new("plate", 96, 64, float_buffer=True)
    plate.pixels.foreach_set(np.tile(np.linspace(0, 4, 96 * 64, dtype=np.float32)[:, None], (1, 4)).ravel())
    settings = bpy.context.scene.pro_depth
    settings.photo_source, settings.image = "IMAGE", plate
    called(bpy.ops.pro_depth.estimate)
    rig = part("work.current").rig_in(bpy.context)
    export = part("ui.export")
    found = {key: export.export_rig(rig, folder / "plate", key).note for key in ("GLB", "USD")}
    settings.photo_source, settings.photo = "FILE", str(folder / "clip.MP4")
    found["video"] = called(bpy.ops.pro_depth.estimate)
    return found


if __name__ == "__main__":
    main(globals(), *sys.argv[1:])
