# SPDX-License-Identifier: GPL-3.0-or-later
"""A still photo becomes a displaced mesh that matches its camera. Depth comes from PRO, which runs beside Blender.

What needs no Blender (`depth`, `geometry`) imports without one, so nothing of Blender is imported here before
`register` runs.
"""

from __future__ import annotations


def register() -> None:
    """Called by Blender when the add-on is enabled."""
    from . import registration

    registration.register()


def unregister() -> None:
    """Called by Blender when the add-on is disabled; undoes `register` in reverse order."""
    from . import registration

    registration.unregister()
