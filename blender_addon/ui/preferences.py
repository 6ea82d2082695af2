# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the engine is, where it computes, and where its files go.

Annotations are evaluated here: Blender makes properties of them.
"""

import contextlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import bpy
from bpy.props import StringProperty

from ..engine.run import EngineOptions
from ..errors import UserError
from ..work import current
from ..work.folders import sweep
from .panel_text import sentence
from .photos import file_of

INSTALL_COMMANDS = (
    {
        "PowerShell": r"py -m venv $HOME\pro; & $HOME\pro\Scripts\pip install '.[heif]'",
        "cmd.exe": r'py -m venv "%USERPROFILE%\pro" && "%USERPROFILE%\pro\Scripts\pip" install ".[heif]"',
    }
    if os.name == "nt"
    else {"a terminal": "python3 -m venv ~/pro && ~/pro/bin/pip install '.[heif]'"}
)
DEVICES = ("auto", "cpu", "cuda", "mps")
FOLDER = "pro_depth"
ADDON = __name__.rsplit(".", 2)[0]  # the name under which Blender knows the add-on: its top package


class Chosen(NamedTuple):
    """Engine and device as plain values."""

    engine: str
    device: str


def chosen() -> Chosen:
    """What the user chose; what goes without saying where the add-on has no preferences."""
    values = _values()
    if values is None:
        return Chosen("", EngineOptions.device)
    return Chosen(_absolute(values.engine), values.device.strip() or EngineOptions.device)


def cache_folder() -> Path:
    """Where the files of runs go. UserError: a path that means nothing yet."""
    values = _values()
    return file_of(values.cache, "cache folder") if values is not None and values.cache.strip() else default_cache()


def sweep_cache() -> None:
    """Remove what runs of Blenders that were killed have left there."""
    with contextlib.suppress(UserError):
        sweep(cache_folder())


def default_cache() -> Path:
    """The folder that Blender has for this extension; that for data of the user where it is none."""
    try:
        return Path(bpy.utils.extension_path_user(ADDON, path="maps"))
    except (ValueError, OSError):
        return Path(bpy.utils.user_resource("DATAFILES", path=FOLDER))


def _values() -> Any:
    addon: Any = bpy.context.preferences.addons.get(ADDON)
    return None if addon is None else addon.preferences


def _absolute(text: str) -> str:
    """Blender may make the path of a program relative to the .blend."""
    return bpy.path.abspath(text) if text.startswith("//") else text


def _devices(_preferences: Any, _context: bpy.types.Context, _typed: str) -> tuple[str, ...]:
    return DEVICES


class PRO_DEPTH_AP_preferences(bpy.types.AddonPreferences):  # noqa: N801 - Blender's manner
    """Engine, device and cache folder."""

    bl_idname = ADDON

    engine: StringProperty(
        name="Engine",
        description="A Python that has pro-engine, the program pro-engine, or the folder of its environment; "
        "empty for the variable PRO_ENGINE, what is on the PATH, or ~/pro",
        subtype="FILE_PATH",
    )
    device: StringProperty(
        name="Device",
        description="Where the engine computes: auto, cpu, cuda, cuda:1 or mps",
        default=EngineOptions.device,
        search=_devices,
        search_options={"SUGGESTION"},
    )
    cache: StringProperty(
        name="Cache",
        description="Folder for the files of a run; empty for the one that Blender has for extensions",
        subtype="DIR_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Show them, what the engine says of itself, and how to install it."""
        layout = self.layout
        column = layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        column.prop(self, "engine")
        column.prop(self, "device")
        column.prop(self, "cache", placeholder=str(default_cache()))
        layout.operator("pro_depth.test_engine", icon="FILE_REFRESH")
        test = current.test
        if test is not None and test.notice is not None:
            sentence(layout, context, test.notice)
        elif test is not None:
            layout.label(text=test.doing, icon="TIME")
        box = layout.box()
        box.label(text="The engine is a separate program. To install it, open a clone of the project in a terminal:")
        for where, command in INSTALL_COMMANDS.items():
            row = box.row(align=True)
            row.label(text=command)
            row.operator("pro_depth.copy_install", text=f"Copy for {where}", icon="COPYDOWN").where = where
        if not bpy.app.online_access:
            box.label(text="Online access is off: only the bundled model and those fetched before can be used.")


classes = (PRO_DEPTH_AP_preferences,)
