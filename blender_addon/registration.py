# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the add-on known to Blender, and takes it away again."""

from __future__ import annotations

import bpy

from . import export, forecast, operators, panel, preferences, properties, session

MODULES = (preferences, operators, export, panel)


def register() -> None:
    """Settings first: panels read them."""
    properties.register()
    for module in MODULES:
        for cls in module.classes:
            bpy.utils.register_class(cls)
    session.register()


def unregister() -> None:
    """In reverse order; what runs is ended."""
    session.unregister()
    forecast.forget()
    for module in reversed(MODULES):
        for cls in reversed(module.classes):
            bpy.utils.unregister_class(cls)
    properties.unregister()
