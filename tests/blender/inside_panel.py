"""Runs inside Blender, see `blenders`: what the panel shows and promises."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.blender.addon import PACKAGE, called, follow, installed, part, photo_of, started
from tests.blender.engines import until
from tests.blender.inside_build import main, memory


def check_promises(folder):
    """The count of vertices before and after a build."""
    installed(folder)
    rigging, properties = part("rig.place"), part("ui.properties")
    scene, settings = bpy.context.scene, bpy.context.scene.pro_depth
    found = {}
    photo = photo_of(folder / "photos", "large.png", (1200, 900))
    settings.photo, settings.vertices = str(photo), 50_000
    settings.fov = 1.0
    found["size"] = part("ui.picture_size").picture_size(photo)
    before = rigging.estimate_before(1200, 900, properties.recipe_of(scene).build)
    Path("/proc/self/clear_refs").write_text("5")
    base = memory("VmRSS")
    called(bpy.ops.pro_depth.estimate)
    rig = part("work.current").rig_in(bpy.context)
    surface = next(child for child in rig.children if child.type == "MESH")
    found["before"] = [before.vertices, len(surface.data.vertices)]
    found["bytes"] = [before.bytes, memory("VmHWM") - base]
    source = rigging.Source.of_rig(rig)
    for name, values in {
        "whole": {"vertices": 0},
        "eroded": {"vertices": 0, "erode_px": 8},
        "torn": {"vertices": 0, "erode_px": 0, "edge_rtol": 0.004, "sky": "card"},
        "budget": {"vertices": 20_000, "edge_rtol": 0.05},
        "live": {"kind": "live"},
        "adaptive": {"kind": "adaptive"},
    }.items():
        for key, value in values.items():
            setattr(settings, key, value)
        guess = rigging.estimate_again(source, properties.recipe_of(scene))
        result = called(bpy.ops.pro_depth.rebuild)
        found[name] = [guess.vertices, len(surface.data.vertices), result]
    return found


def classes(kind):
    """All of a kind that the add-on registers."""
    modules = import_module(PACKAGE)._with_classes()
    return [cls for module in modules for cls in module.classes if issubclass(cls, kind)]


def check_labels(folder):
    """Names and tooltips of all that is shown, with units."""
    installed(folder).cache = ""
    kinds = [part("ui.properties").PRO_DEPTH_PG_settings, part("ui.preferences").PRO_DEPTH_AP_preferences]
    shown, enums = {}, {}
    for kind in kinds:
        for name, prop in kind.bl_rna.properties.items():
            if name in ("rna_type", "name", "bl_idname"):
                continue
            shown[name] = [prop.name, prop.description, prop.type, prop.subtype, getattr(prop, "unit", "NONE")]
            if prop.type == "ENUM":
                enums[name] = [[item.name, item.description] for item in prop.enum_items]
    operators = {
        name: [cls.bl_label, getattr(bpy.ops.pro_depth, name).get_rna_type().description]
        for cls in classes(bpy.types.Operator)
        if (name := cls.bl_idname.split(".")[1])
    }
    panels = {
        cls.__name__: [cls.bl_label, cls.bl_space_type, cls.bl_region_type, cls.bl_category]
        for cls in classes(bpy.types.Panel)
    }
    run = [name for name in dir(bpy.context.scene.pro_depth) if name in ("progress", "state", "running", "message")]
    cache = part("ui.preferences").cache_folder().relative_to(bpy.utils.user_resource("EXTENSIONS"))
    return {
        "cache": cache.as_posix(),
        "shown": shown,
        "enums": enums,
        "operators": operators,
        "panels": panels,
        "run state on the scene": run,
    }


class Layout:
    """What a panel draws, as lines of text."""

    def __init__(self, lines):
        self.lines = lines

    def __getattr__(self, kind):
        def draw(*arguments, text="", **options):
            assert set(options) <= set(bpy.types.UILayout.bl_rna.functions[kind].parameters.keys()), options
            if kind == "prop":
                assert arguments[1] in arguments[0].bl_rna.properties, arguments[1]
            names = [one for one in arguments if isinstance(one, str)]
            if kind in ("label", "prop", "operator", "progress", "template_ID"):
                self.lines.append(" ".join([kind, *names, text]).strip())
            return Layout(self.lines)

        return draw


def drawn():
    """All lines of the sidebar and of the preferences."""
    lines, panel = [], part("ui.panel")
    for cls in classes(bpy.types.Panel):
        if not getattr(cls, "poll", lambda _: True)(bpy.context):
            continue
        fake = SimpleNamespace(layout=Layout(lines))
        fake.columns = lambda fake=fake: panel.PanelBase.columns(fake)
        cls.draw(fake, bpy.context)
    preferences = part("ui.preferences").PRO_DEPTH_AP_preferences
    preferences.draw(SimpleNamespace(layout=Layout(lines), bl_rna=preferences.bl_rna), bpy.context)
    return lines


def check_drawn(folder):
    """What is shown before, while and after it runs, and where the settings are wrong."""
    installed(folder, torn=False)
    settings = bpy.context.scene.pro_depth
    found = {"empty": drawn()}
    settings.photo = str(photo_of(folder / "photos", "slow.png"))
    found["chosen"] = drawn()
    job = started("slow.png", folder)
    until(lambda: job.poll() and job.progress > 0)
    found["at work"] = drawn()
    follow(job)
    found["done"] = drawn()
    for name, value in (("camera_source", "CAMERA"), ("vertices", 3), ("near", 100.0), ("scale_source", "POINT"),
                        ("photo_source", "IMAGE"), ("kind", "adaptive"), ("quality", "CUSTOM")):  # fmt: skip
        before = getattr(settings, name)
        setattr(settings, name, value)
        found[name] = drawn()
        setattr(settings, name, before)
    called(bpy.ops.pro_depth.test_engine)
    found["tested"] = drawn()
    return found


if __name__ == "__main__":
    main(globals(), *sys.argv[1:])
