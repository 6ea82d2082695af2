# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences in narrow panels."""

from __future__ import annotations

import textwrap
from typing import Any

import bpy

from ..engine.activity import Notice

CHARACTER_PX = 6.8  # on average, at a scale of 1
MARGIN_PX = 60  # icon and border
MAX_DETAILS = 20


def sentence(layout: bpy.types.UILayout, context: bpy.types.Context, notice: Notice) -> None:
    """A sentence over as many lines as the region is narrow, and what belongs to it."""
    box = layout.box()
    _lines(box, context, notice.text, "ERROR" if notice.is_error else "INFO")
    for line in notice.details[:MAX_DETAILS]:
        _lines(box, context, line, "DOT")
    if (more := len(notice.details) - MAX_DETAILS) > 0:
        _lines(box, context, f"and {more} more", "DOT")


def _lines(layout: bpy.types.UILayout, context: bpy.types.Context, text: str, icon: Any) -> None:
    region = context.region
    width = (region.width if region else 300) / (context.preferences.system.ui_scale or 1.0) - MARGIN_PX
    column = layout.column(align=True)
    for line in textwrap.wrap(text, max(20, int(width / CHARACTER_PX))) or [""]:
        column.label(text=line, icon=icon)
        icon = "BLANK1"


def number(value: int) -> str:
    """A count with its thousands apart."""
    return f"{value:,}".replace(",", " ")


def size(count: int) -> str:
    """Bytes in the unit that suits."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def duration(seconds: float) -> str:
    """Time left, as people say it."""
    if seconds >= 90:
        return f"{seconds / 60:.0f} min left"
    return f"{seconds:.0f} s left"
