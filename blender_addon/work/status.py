# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs, in Blender's status bar: it is seen where the sidebar is closed."""

from __future__ import annotations

import bpy

from ..engine.activity import Activity
from ..engine.run import EngineRun

_told = False


def show_status(activity: Activity) -> None:
    """Show what is being done, and how far it is."""
    text = f"PRO: {activity.doing}"
    if isinstance(activity, EngineRun):
        text += f", {activity.progress:.0%}"
        if activity.seconds_left is not None and activity.seconds_left >= 1:
            text += f", {activity.seconds_left:.0f} s left"
    _set(text)


def clear_status() -> None:
    """Give the status bar back."""
    if _told:
        _set(None)


def _set(text: str | None) -> None:
    global _told
    _told = text is not None
    for workspace in bpy.data.workspaces:
        workspace.status_text_set(text)
