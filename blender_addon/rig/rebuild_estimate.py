# SPDX-License-Identifier: GPL-3.0-or-later
"""What Rebuild would take, remembered: panels ask at every redraw. Of the rig that was built or rebuilt last the
engine's map is kept in memory; of another one nothing is told, as drawing never waits for a map to be read.
"""

from __future__ import annotations

import bpy

from ..errors import UserError
from ..maths.mesh import Estimate
from .build import SOURCE_KEY
from .place import Recipe, estimate_again
from .source import Source

_uid = 0  # `session_uid` of the image that a rig keeps
_source: Source | None = None
_recipe: Recipe | None = None
_answer: Estimate | None = None


def remember(rig: bpy.types.Object, source: Source) -> None:
    """Keep what was read or built just now, so that it need not be read again."""
    global _uid, _source, _recipe
    _uid, _source, _recipe = rig[SOURCE_KEY].session_uid, source, None


def forecast(rig: bpy.types.Object, recipe: Recipe) -> Estimate | None:
    """Vertices and memory of a rebuild; None where it would fail, or the map is not in memory."""
    global _recipe, _answer
    image = rig.get(SOURCE_KEY)
    try:
        if image is None or _source is None or image.session_uid != _uid:
            return None
        if recipe != _recipe:
            _recipe, _answer = recipe, None
            _answer = estimate_again(_source, recipe)
    except UserError:
        return None  # the button will say why
    return _answer


def forget() -> None:
    """Let the memory go."""
    global _uid, _source, _recipe, _answer
    _uid, _source, _recipe, _answer = 0, None, None, None
