"""Runs inside a Blender window: plays one scene with the add-on's own buttons and leaves what it saw as SCENE.json.

`blender --enable-event-simulate --python window_driver.py -- SCENE FOLDER`; FOLDER holds addon.zip, two photos,
the engines that the scene wants, and this file with its companion.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import bpy
from mathutils import Euler, Vector

sys.path.insert(0, str(Path(__file__).parent))
from window_hands import Hands, Shown, Steps, Stopwatch, children, shown_in, until

REPOSITORY, TAB = "user_default", "PRO"
MODULE = f"bl_ext.{REPOSITORY}.pro_depth"
ESTIMATE, CANCEL = "pro_depth.estimate", "pro_depth.cancel"
ENGINE_LIMIT_S = 600.0
WATCHED_S = 4.0
TICK_S = 0.1  # of the add-on
DRAWN_S = 1.5  # until the panels have moved to where they belong
COUNTED = ("objects", "meshes", "images", "materials", "cameras", "textures", "collections")
VERTICES = 100_000
FINE, FINEST = (8, 8), (16, 16)
FOV_DEG, NEAR_M, FAR_M = 40.0, 1.2, 2.6  # of the tutorial
BESIDE = (math.radians(-6), math.radians(-13), 0.0)  # of the view, turned against the camera


class Scene:
    """A scene of the play: an add-on at work in a window, and `facts` of it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.facts: dict[str, Any] = {}
        self.hands = Hands(folder)
        self.facts["before"] = counts()

    @property
    def addon(self) -> Path:
        """The folder of the add-on."""
        return Path(sys.modules[MODULE].__file__).parent

    @property
    def session(self) -> Any:
        """The add-on's own module of that name: what runs now."""
        return sys.modules[f"{MODULE}.work.current"]

    def prepare(self, engine: str) -> Steps:
        """Open the tab, choose photo and engine as a user would have done, and watch the window while it is idle."""
        system = bpy.context.preferences.system
        system.viewport_aa, system.use_region_overlap = "OFF", False  # less to draw in software
        yield from self.hands.open_tab(TAB)
        self.use(engine)
        self.choose(photo=str(self.folder / "photo.jpg"), vertices=VERTICES)
        bpy.ops.ed.undo_push(message="Settings")
        yield DRAWN_S
        with Stopwatch(self.addon) as watch:
            for _ in range(int(WATCHED_S / TICK_S)):
                self.hands.sidebar.tag_redraw()
                yield TICK_S
        self.facts["idle"] = watch.facts()

    def choose(self, **settings: Any) -> None:
        """Set what the panel shows."""
        for name, value in settings.items():
            setattr(bpy.context.scene.pro_depth, name, value)

    def use(self, engine: str) -> None:
        """Choose a program of the folder as the engine."""
        bpy.context.preferences.addons[MODULE].preferences.engine = str(self.folder / engine)

    def shown(self) -> Shown:
        """What the tab shows."""
        return shown_in(self.hands, TAB)

    def picture(self, what: str) -> None:
        """Keep what the screen shows."""
        self.hands.picture(f"{self.name}-{what}")

    def press(self, operator: str) -> Steps:
        """Find a button and click it."""
        place = yield from self.hands.find(operator)
        yield from self.hands.click(place)

    def at_work(self) -> Steps:
        """Wait until the engine has told of progress."""
        yield from until(lambda: self.session.busy(), what="the start")
        yield from until(lambda: self.session.job.progress > 0, ENGINE_LIMIT_S, "the first progress")

    def to_the_end(self) -> Steps:
        """Wait until nothing runs."""
        yield from until(lambda: not self.session.busy(), ENGINE_LIMIT_S, "the run")

    def leave(self) -> None:
        """Write the facts."""
        (self.folder / f"{self.name}.json").write_text(json.dumps(self.facts))


def counts() -> dict[str, int]:
    """How many datablocks there are."""
    return {kind: len(getattr(bpy.data, kind)) for kind in COUNTED}


def vertices() -> list[int]:
    """Of each mesh."""
    return sorted(len(mesh.vertices) for mesh in bpy.data.meshes)


def estimate(scene: Scene) -> Steps:
    """The real engine: progress, a result, undo and redo; cancel; the death of Blender at work."""
    hands, facts = scene.hands, scene.facts
    yield from scene.prepare("real-engine")
    scene.picture("1-panel")
    scene.choose(quality="CUSTOM", tiles=FINE)  # takes long enough for several pictures, however fast the machine is
    yield from scene.press(ESTIMATE)
    seen: list[float] = []
    while scene.session.busy():
        shown = scene.shown().progress
        if shown is not None and shown > (seen[-1] if seen else 0):
            seen.append(shown)
            yield DRAWN_S
            scene.picture(f"2-progress-{len(seen)}")
        yield TICK_S
    facts["progress"] = seen
    yield DRAWN_S
    facts["said"], facts["result"], before = scene.shown().text, counts(), vertices()
    scene.picture("3-result")
    yield from hands.press("Z", ctrl=True)
    facts["undone"] = counts()
    yield from hands.press("Z", ctrl=True, shift=True)
    facts["redone"], facts["same mesh"] = counts(), vertices() == before

    scene.choose(photo=str(scene.folder / "large.jpg"), tiles=FINEST)  # still at work when Cancel is found
    yield from scene.press(ESTIMATE)
    yield from scene.at_work()
    with Stopwatch(scene.addon) as watch:
        yield WATCHED_S
    facts["watch"] = watch.facts()
    yield from cancel(scene)
    facts["cancelled"] = counts()
    scene.picture("4-cancelled")

    yield from scene.press(ESTIMATE)
    yield from scene.at_work()
    facts["engines"] = len(children())
    scene.leave()
    os.kill(os.getpid(), signal.SIGKILL)  # window_runner.py sees what lives on


def faults(scene: Scene) -> Steps:
    """Engines that are missing, slow, killed, deaf, and one that waits while the user undoes something."""
    hands, facts = scene.hands, scene.facts
    yield from scene.prepare("no-such-engine")
    yield from scene.press(ESTIMATE)
    facts["missing"] = scene.shown().text
    yield DRAWN_S
    scene.picture("1-missing")

    scene.use("slow-engine")
    yield from scene.press(ESTIMATE)
    yield from scene.at_work()
    with Stopwatch(scene.addon) as watch:
        yield WATCHED_S
    facts["watch"], facts["at work"] = watch.facts(), scene.session.busy()
    os.kill(children()[0], signal.SIGKILL)
    facts["killed"] = yield from until(lambda: not scene.session.busy())
    facts["said of killed"] = scene.shown().text
    yield DRAWN_S
    scene.picture("2-killed")

    scene.use("deaf-engine")
    yield from scene.press(ESTIMATE)
    yield from scene.at_work()
    yield from cancel(scene)
    facts["after faults"] = counts()

    scene.use("patient-engine")
    (scene.folder / "go").touch()
    yield from scene.press(ESTIMATE)
    yield from scene.to_the_end()
    facts["result"] = counts()
    (scene.folder / "go").unlink()
    yield from scene.press(ESTIMATE)
    yield from scene.at_work()
    yield from hands.press("Z", ctrl=True)
    facts["undone at work"], facts["still at work"] = counts(), scene.session.busy()
    (scene.folder / "go").touch()  # the engine waits for it
    yield from scene.to_the_end()
    facts["result after undo"] = counts()
    yield from hands.press("Z", ctrl=True)
    facts["undone after undo"] = counts()
    scene.leave()


def cancel(scene: Scene) -> Steps:
    """Press Cancel; in how many seconds the button Estimate is back, and the engine gone."""
    place = yield from scene.hands.find(CANCEL)
    begun_s = time.monotonic()
    yield from scene.hands.press("LEFTMOUSE", place, settle_s=0)
    yield from until(lambda: not scene.session.busy())
    scene.facts["button back"] = time.monotonic() - begun_s
    yield from until(lambda: not children())
    scene.facts["engine gone"] = time.monotonic() - begun_s
    scene.facts["buttons"] = scene.shown().operators


def tutorial(scene: Scene) -> Steps:
    """The pictures of the tutorial, of a photo called drum.jpg: the panel, the mesh from beside, a render."""
    hands, space = scene.hands, scene.hands.area.spaces.active
    bpy.data.batch_remove(list(bpy.data.objects))
    yield from hands.open_tab(TAB)
    scene.use("real-engine")
    scene.choose(photo=str(scene.folder / "drum.jpg"), camera_source="FOV", fov=math.radians(FOV_DEG))
    scene.choose(near=NEAR_M, far=FAR_M, sky="keep")
    space.shading.light, space.shading.color_type = "FLAT", "TEXTURE"
    for _ in range(3):  # panels move to where they belong while something happens
        yield from hands.move(hands.middle)
        hands.area.tag_redraw()
        yield DRAWN_S
    scene.picture("ready")
    yield from scene.press(ESTIMATE)
    yield from until(lambda: scene.session.job.progress > 0.5, ENGINE_LIMIT_S, "half of the run")
    yield DRAWN_S
    scene.picture("at-work")
    yield from scene.to_the_end()
    yield from hands.move(hands.middle)
    yield DRAWN_S
    scene.picture("done")
    yield from scene.press("pro_depth.look_through")
    render = bpy.context.scene.render
    render.engine, render.resolution_percentage, render.filepath = "CYCLES", 25, str(scene.folder / "render.png")
    bpy.context.scene.cycles.samples, bpy.context.scene.cycles.use_denoising = 16, False
    bpy.context.scene.view_settings.view_transform = "Standard"
    bpy.ops.render.render(write_still=True)
    scene.choose(edge_rtol=0.02, erode_px=2)
    yield from scene.press("pro_depth.rebuild")
    yield from hands.move(hands.middle)
    camera, view = bpy.context.scene.camera, space.region_3d
    view.view_perspective, space.overlay.show_overlays = "PERSP", False
    view.view_location = camera.matrix_world @ Vector((0, 0, -(NEAR_M + FAR_M) / 2))
    view.view_distance = 1.2 * FAR_M
    view.view_rotation = camera.matrix_world.to_quaternion() @ Euler(BESIDE).to_quaternion()
    yield DRAWN_S
    scene.picture("beside")
    scene.leave()


def first(scene: Scene) -> Steps:
    """A new file with its cube, and somebody who presses Estimate, and later undoes it and presses Show photo."""
    hands, facts, space = scene.hands, scene.facts, scene.hands.area.spaces.active
    yield from hands.open_tab(TAB)
    scene.use("real-engine")
    scene.choose(photo=str(scene.folder / "photo.jpg"), quality="DRAFT")
    yield from scene.press(ESTIMATE)
    yield from scene.at_work()
    yield DRAWN_S
    scene.picture("1-status")
    yield from scene.to_the_end()
    yield from hands.move(hands.middle)
    yield DRAWN_S
    facts["active"], facts["selected"] = bpy.context.active_object.name, len(bpy.context.selected_objects)
    facts["said"] = scene.shown().text
    facts["shown"], facts["cube"] = seen_of(space), bpy.data.objects["Cube"].hide_get()
    scene.picture("2-done")
    yield from scene.press("pro_depth.show_hidden")
    facts["cube again"] = bpy.data.objects["Cube"].hide_get()
    for _ in range(2):
        yield from hands.press("Z", ctrl=True)
    facts["undone"] = [bpy.context.scene.camera.name, bpy.context.scene.view_settings.view_transform]
    for _ in range(2):
        yield from hands.press("Z", ctrl=True, shift=True)
    space.shading.light, space.region_3d.view_perspective = "STUDIO", "PERSP"
    yield from scene.press("ops.pro_depth.show_photo")  # and not the checkbox of this name
    yield from hands.move(hands.middle)
    yield DRAWN_S
    facts["shown by the button"], facts["said of the photo"] = seen_of(space), scene.shown().text
    scene.picture("3-photo")
    scene.leave()


def seen_of(space: bpy.types.SpaceView3D) -> list[str]:
    """How a viewport shows the scene, and through what."""
    shading, scene = space.shading, bpy.context.scene
    seen = [shading.type, shading.light, shading.color_type, space.region_3d.view_perspective]
    return [*seen, scene.camera.name, scene.view_settings.view_transform]


SCENES = {"estimate": estimate, "faults": faults, "first": first, "tutorial": tutorial}


def main(name: str, folder: Path) -> None:
    """Install the add-on and play the scene; Blender ends with it."""
    bpy.context.preferences.view.show_splash = False  # before the window is drawn
    bpy.ops.extensions.package_install_files(
        filepath=str(folder / "addon.zip"), repo=REPOSITORY, enable_on_install=True
    )
    scene = Scene(name, folder)
    steps = SCENES[name](scene)

    def go_on() -> float:
        try:
            return next(steps)
        except StopIteration:
            code = 0
        except Exception:
            traceback.print_exc()
            scene.picture("failed")
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    bpy.app.timers.register(go_on, first_interval=1.0)


main(sys.argv[-2], Path(sys.argv[-1]))
