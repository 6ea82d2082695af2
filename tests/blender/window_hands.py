"""Hands, eyes and a stopwatch inside a Blender window, for scenes played step by step.

A scene is a generator that yields the seconds to wait; Blender lives on meanwhile. Controls are found by what they do:
Blender itself tells which operator or property is under the mouse.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from types import FrameType, MethodType
from typing import Any, NamedTuple

import bpy

FRAMEBUFFER = "/tmp/Xvfb_screen0"  # of the screen that window_runner.py starts
PATIENCE_S = 60.0  # for what comes in seconds unless something is broken
SETTLE_S = 0.3  # until a click has been taken in and drawn
HOVER_S = 0.02
STEP_PX = 7  # a third of the height of a button
LAG = 5  # steps
BEAT_S = 0.01

Steps = Generator[float, None, Any]


class Place(NamedTuple):
    """A point of the window, in pixels from its lower left."""

    x: int
    y: int


class Hands:
    """Mouse and keyboard over the sidebar of the 3D viewport; pictures go to `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.window = bpy.context.window_manager.windows[0]
        self.area = next(area for area in self.window.screen.areas if area.type == "VIEW_3D")
        self.sidebar = next(region for region in self.area.regions if region.type == "UI")
        self._found: dict[str, Place] = {}

    @property
    def middle(self) -> Place:
        """Of the viewport, beside the sidebar."""
        return Place(self.area.x + self.area.width // 3, self.area.y + self.area.height // 2)

    def open_tab(self, name: str) -> Steps:
        """Show a tab of the sidebar."""
        self.area.spaces.active.show_region_ui = True
        yield 1.0
        self.sidebar.active_panel_category = name
        self.area.tag_redraw()
        yield 1.0

    def find(self, wanted: str) -> Steps:
        """The place of the control of an operator or a property, such as "pro_depth.estimate" or ".near_m".

        LookupError: it is nowhere in the sidebar, or cannot be pressed.
        """
        region = self.sidebar
        rows = range(region.y + region.height - STEP_PX, region.y, -STEP_PX)
        places = [Place(region.x + int(region.width * part), y) for part in (0.25, 0.75) for y in rows]
        places = ([self._found[wanted]] if wanted in self._found else []) + places
        for n, place in enumerate(places):
            yield from self.move(place)
            if wanted not in self._under_mouse():
                continue
            for near in reversed(places[max(0, n - LAG) : n + 1]):  # Blender may still tell of a place before this one
                yield from self.move(near)
                yield SETTLE_S
                if wanted in self._under_mouse():
                    self._found[wanted] = near
                    return near
        raise LookupError(f"{wanted} is nowhere in the sidebar")

    def _under_mouse(self) -> str:
        """What Blender would copy for the control under the mouse."""
        manager, said = bpy.context.window_manager, []
        with bpy.context.temp_override(window=self.window, area=self.area, region=self.sidebar):
            if bpy.ops.ui.copy_python_command_button.poll():
                bpy.ops.ui.copy_python_command_button()
                said.append(manager.clipboard)
            if bpy.ops.ui.copy_data_path_button.poll():
                bpy.ops.ui.copy_data_path_button(full_path=True)
                said.append(manager.clipboard)
        return " ".join(said)

    def move(self, place: Place) -> Steps:
        """Put the mouse there."""
        self.window.event_simulate("MOUSEMOVE", "NOTHING", x=place.x, y=place.y)
        yield HOVER_S

    def click(self, place: Place) -> Steps:
        """Press and release the left button there."""
        yield from self.move(place)
        yield from self.press("LEFTMOUSE", place)

    def press(
        self,
        key: str,
        place: Place | None = None,
        *,
        ctrl: bool = False,
        shift: bool = False,
        settle_s: float = SETTLE_S,
    ) -> Steps:
        """Press and release a key or button, over the middle of the viewport unless a place is given."""
        if place is None:
            place = self.middle
            yield from self.move(place)
        for value in ("PRESS", "RELEASE"):
            self.window.event_simulate(key, value, x=place.x, y=place.y, ctrl=ctrl, shift=shift)
            yield HOVER_S
        yield settle_s

    def picture(self, name: str) -> None:
        """Keep what the screen shows."""
        shutil.copyfile(FRAMEBUFFER, self.folder / f"{name}.xwd")


def until(condition: Callable[[], Any], limit_s: float = PATIENCE_S, what: str = "it") -> Steps:
    """Wait until it holds; the seconds it took. TimeoutError: more than `limit_s`."""
    begun_s = time.monotonic()
    while not condition():
        if time.monotonic() - begun_s > limit_s:
            raise TimeoutError(f"{what} took more than {limit_s:g} s")
        yield BEAT_S
    return time.monotonic() - begun_s


def children() -> list[int]:
    """The processes that Blender has started and that are not dead."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:  # ended meanwhile
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.append(int(folder.name))
    return found


class Stopwatch:
    """How long Blender's main loop was away, and how much of that the add-on had to do with.

    A timer beats every 10 ms. A gap between two beats is all that Blender did meanwhile, and all that it waited for: a
    software renderer draws slowly, and on a busy machine everything waits. So two more times are taken, which other
    programs do not lengthen much. `cpu` is what the main thread computed in a gap, drawing that the add-on asked for
    included; compare it with a window that is idle but redrawn as often. `own` is how long a call from Blender into the
    add-on's Python took on the clock, so that waiting there shows too.
    """

    def __init__(self, addon: Path) -> None:
        self._addon = str(addon)
        self._gaps: list[float] = []
        self._cpu: list[float] = []
        self._calls: list[float] = []
        self._last = (0.0, 0.0)
        self._entered_s = 0.0
        self._own = False
        self._timer = self._beat  # a method is another object each time it is looked up

    def __enter__(self) -> Stopwatch:
        self._last = time.perf_counter(), time.thread_time()
        bpy.app.timers.register(self._timer)
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        bpy.app.timers.unregister(self._timer)

    def facts(self) -> dict[str, float]:
        """The longest of each, in seconds, and how many beats and calls there were."""
        longest = {"gap": max(self._gaps), "cpu": max(self._cpu), "own": max(self._calls, default=0.0)}
        return {**longest, "calls": len(self._calls), "beats": len(self._gaps)}

    def _beat(self) -> float:
        now = time.perf_counter(), time.thread_time()
        self._gaps.append(now[0] - self._last[0])
        self._cpu.append(now[1] - self._last[1])
        self._last = now
        return BEAT_S

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            if frame.f_back is None:
                self._entered_s, self._own = time.perf_counter(), False
            self._own = self._own or frame.f_code.co_filename.startswith(self._addon)
        elif event == "return" and frame.f_back is None and self._own:
            self._calls.append(time.perf_counter() - self._entered_s)
            self._own = False


class Shown:
    """What the panels of a tab show: `text`, `operators` to press, and `progress`, None where there is no bar."""

    def __init__(self) -> None:
        self.text = ""
        self.operators: list[str] = []
        self.progress: float | None = None


class _Paper:
    """Stands in for the layout of a panel: takes whatever is drawn on it, and notes what a user would see."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown

    def __getattr__(self, name: str) -> Callable[..., _Paper]:
        def take(*args: Any, **values: Any) -> _Paper:
            self._shown.text = f"{self._shown.text} {values.get('text', '')}".strip()
            if name == "operator":
                self._shown.operators.append(args[0])
            elif name == "progress":
                self._shown.progress = values["factor"]
            return _Paper(self._shown)

        return take


class _Sheet:
    """Stands in for a panel that is drawn on paper."""

    def __init__(self, panel: type, shown: Shown) -> None:
        self._panel, self.layout = panel, _Paper(shown)

    def __getattr__(self, name: str) -> Any:
        return MethodType(getattr(self._panel, name), self)


def shown_in(hands: Hands, tab: str) -> Shown:
    """What the panels of the tab would draw just now, whether they are folded or not."""
    shown = Shown()
    with bpy.context.temp_override(window=hands.window, area=hands.area, region=hands.sidebar):
        for panel in bpy.types.Panel.__subclasses__():
            polls = getattr(panel, "poll", lambda _: True)
            if getattr(panel, "bl_category", "") == tab and polls(bpy.context):
                panel.draw(_Sheet(panel, shown), bpy.context)
    return shown
