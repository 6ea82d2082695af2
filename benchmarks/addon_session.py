"""The add-on in the Blender of this Python, enabled as the extension that users have, with a real engine.

Import it before anything imports `bpy`: Blender gets user resources of its own.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOME = Path(tempfile.mkdtemp(prefix="addon-"))
os.environ["BLENDER_USER_RESOURCES"] = str(HOME / "resources")
bpy: Any = importlib.import_module("bpy")  # whose stubs think that every part of it may be missing
PACKAGE = "bl_ext.user_default.pro_depth"


def begin(engine: str, *, tree: Path = ROOT, empty: bool = True) -> Any:
    """A new file with the add-on of a source tree enabled and the engine chosen; the settings of its scene."""
    bpy.ops.wm.read_factory_settings(use_empty=empty)
    target = Path(bpy.utils.user_resource("EXTENSIONS", path="user_default", create=True)) / "pro_depth"
    if not target.exists():
        shutil.copytree(tree / "blender_addon", target, ignore=shutil.ignore_patterns("__pycache__"))
    bpy.ops.preferences.addon_enable(module=PACKAGE)
    preferences = bpy.context.preferences.addons[PACKAGE].preferences
    preferences.engine, preferences.cache = engine, str(HOME / "cache")
    return bpy.context.scene.pro_depth


def part(name: str) -> Any:
    """A module of the add-on."""
    return importlib.import_module(f"{PACKAGE}.{name}")


def said() -> str:
    """What the panel says."""
    notice = part("work.current").said()
    return "" if notice is None else str(notice.text)


def done(operator: Any, **values: Any) -> str:
    """What the panel says after an operator, or the sentence of its error."""
    try:
        operator(**values)
    except RuntimeError as error:
        return " ".join(str(error).split())
    return said()


def rig() -> Any:
    """The rig that was built last, or that of the active object."""
    return part("work.current").rig_in(bpy.context)


def leave() -> None:
    """End the process: Blender as a module may hang or crash where an interpreter ends."""
    sys.stdout.flush()
    sys.stderr.flush()
    shutil.rmtree(HOME, ignore_errors=True)
    os._exit(0)
