"""Runs inside Blender: `python inside_package.py CHECK FOLDER ZIP` installs the zip as users do, and prints facts."""

from __future__ import annotations

import gc
import os
import resource
import sys
import threading
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.blender.inside_build import main

MODULE = "bl_ext.user_default.pro_depth"
OFTEN = 20


def install(path):
    bpy.ops.extensions.package_install_files(filepath=path, repo="user_default", enable_on_install=True)


def check_install(_, path):
    """What is there once the zip is installed, and once it is taken away."""
    install(path)
    home = Path(sys.modules[MODULE].__file__).parent
    files = (file for file in home.rglob("*") if "__pycache__" not in file.parts)
    found = {
        "enabled": MODULE in bpy.context.preferences.addons,
        "classes": ours(dir(bpy.types)),
        "files": sorted(file.relative_to(home).as_posix() for file in files),
    }
    bpy.ops.extensions.package_uninstall(repo_index=index_of("user_default"), pkg_id="pro_depth")
    return found | {
        "after": [MODULE in bpy.context.preferences.addons, ours(dir(bpy.types)), home.exists()],
    }


def index_of(repository):
    modules = [repo.module for repo in bpy.context.preferences.extensions.repos]
    return modules.index(repository)


def ours(names):
    return sorted(name for name in names if name.startswith("PRO_"))


def check_leaks(_, path):
    """What differs between disabled and disabled again after many times, and what enabling adds."""
    timers = record_timers()
    before = traces(timers)
    install(path)
    first = traces(timers)
    bpy.ops.preferences.addon_disable(module=MODULE)
    after_one = traces(timers)
    resident = []
    for _ in range(OFTEN):
        bpy.ops.preferences.addon_enable(module=MODULE)
        assert ours(dir(bpy.types))
        bpy.ops.preferences.addon_disable(module=MODULE)
        gc.collect()
        resident.append(resident_mib())
    after_all = traces(timers)
    return {
        "adds": sorted(first["classes"] - before["classes"]),
        "left by one": different(before, after_one),
        "left by all": different(before, after_all),
        "grown": resident[-1] - resident[OFTEN // 4],
    }


def resident_mib():
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def check_leak_once(_, path):
    """What a zip leaves that is enabled and disabled once."""
    timers = record_timers()
    before = traces(timers)
    install(path)
    bpy.ops.preferences.addon_disable(module=MODULE)
    return different(before, traces(timers))


def different(before, after):
    return {kind: sorted(map(str, after[kind] ^ before[kind])) for kind in before if after[kind] != before[kind]}


def opened(file):
    """What a file descriptor of this process is open for."""
    try:
        return os.readlink(f"/proc/self/fd/{file}")
    except OSError:  # that of the listing
        return ""


def record_timers():
    """All functions that are given to `bpy.app.timers.register` from now on."""
    given, register = [], bpy.app.timers.register

    def recording(function, **options):
        given.append(function)
        return register(function, **options)

    bpy.app.timers.register = recording
    return given


def traces(timers):
    """All that an add-on may leave behind, as sets."""
    types = [getattr(bpy.types, name) for name in dir(bpy.types)]
    drawn = {
        (kind.__name__, function.__module__, function.__qualname__)
        for kind in types
        for function in getattr(getattr(kind, "draw", None), "_draw_funcs", ())
        if function.__qualname__ != f"{kind.__name__}.draw"  # the menu's own, which Blender lists from then on
    }
    keys = bpy.context.window_manager.keyconfigs.addon
    return {
        "classes": set(dir(bpy.types)),
        "operators": {f"{space}.{name}" for space in dir(bpy.ops) for name in dir(getattr(bpy.ops, space))},
        "properties": {
            f"{kind.__name__}.{of_it.identifier}"
            for kind in types
            if hasattr(kind, "bl_rna")
            for of_it in kind.bl_rna.properties
        },
        "handlers": {
            (name, id(function))
            for name in dir(bpy.app.handlers)
            if isinstance(functions := getattr(bpy.app.handlers, name), list)
            for function in functions
        },
        "timers": {str(function) for function in timers if bpy.app.timers.is_registered(function)},
        "drawn": drawn,
        "keys": {item.idname for keymap in keys.keymaps for item in keymap.keymap_items} if keys else set(),
        "threads": {thread.name for thread in threading.enumerate()},
        "children": {
            child for file in Path("/proc/self/task").glob("*/children") for child in file.read_text().split()
        },
        "path": set(sys.path),
        "datablocks": {
            (kind, one.name)
            for kind in dir(bpy.data)
            if isinstance(blocks := getattr(bpy.data, kind), bpy.types.bpy_prop_collection)
            for one in blocks
        },
        "files": {link for file in os.listdir("/proc/self/fd") if (link := opened(file)).startswith("/")},
        "enabled": {addon.module for addon in bpy.context.preferences.addons},
    }


if __name__ == "__main__":
    main(globals(), *sys.argv[1:])
