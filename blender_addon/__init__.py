# SPDX-License-Identifier: GPL-3.0-or-later
"""A still photo becomes a displaced mesh that matches its camera. Depth comes from PRO, which runs beside Blender.

What needs no Blender (`engine`, `maths`) imports without one, so nothing of Blender is imported here before `register`
runs.
"""

from __future__ import annotations

from types import ModuleType


def register() -> None:
    """Called by Blender when the add-on is enabled. Settings first: panels read them."""
    import bpy

    from .ui import look, open, preferences, properties
    from .work import current

    properties.register()
    for module in _with_classes():
        for cls in module.classes:
            bpy.utils.register_class(cls)
    look.register()
    open.register()
    current.register()
    preferences.sweep_cache()


def unregister() -> None:
    """Called by Blender when the add-on is disabled; undoes `register` in reverse order, and ends what runs."""
    import bpy

    from .ui import look, open, properties
    from .work import current

    current.unregister()
    open.unregister()
    look.unregister()
    for module in reversed(_with_classes()):
        for cls in reversed(module.classes):
            bpy.utils.unregister_class(cls)
    properties.unregister()


def _with_classes() -> tuple[ModuleType, ...]:
    from .ui import export, look, open, operators, panel, plate, preferences, shot, space

    return (preferences, operators, look, open, export, panel, space, plate, shot)
