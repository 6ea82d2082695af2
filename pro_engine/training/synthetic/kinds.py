"""The kinds of scene and their shares."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import (
    scenes_close,
    scenes_driving,
    scenes_indoor,
    scenes_nature,
    scenes_office,
    scenes_outdoor,
    scenes_overhead,
    scenes_prints,
    scenes_special,
    scenes_yard,
)
from .palette import Assets, Palette
from .scene import Scene

KINDS: dict[str, float] = {
    "room": 0.22, "street": 0.12, "nature": 0.11, "closeup": 0.11, "portrait": 0.06, "thin": 0.04, "glass": 0.03,
    "prints": 0.03, "upward": 0.03, "office": 0.07, "driving": 0.08, "overhead": 0.07, "yard": 0.03,
}
"""Kind of scene and its share of a data set."""

_BUILDERS: dict[str, Callable[[Palette], Scene]] = {
    "room": scenes_indoor.room, "street": scenes_outdoor.street, "nature": scenes_nature.nature,
    "closeup": scenes_close.closeup, "portrait": scenes_special.portrait, "thin": scenes_special.thin,
    "glass": scenes_special.glass, "prints": scenes_prints.prints, "upward": scenes_special.upward,
    "office": scenes_office.office, "driving": scenes_driving.driving, "overhead": scenes_overhead.overhead,
    "yard": scenes_yard.yard,
}


def build_scene(kind: str, rng: np.random.Generator, assets: Assets | None = None) -> Scene:
    """A random scene of a kind of `KINDS`. The same generator state and assets give the same scene.

    Raises ValueError for an unknown kind.
    """
    if kind not in _BUILDERS:
        raise ValueError(f"unknown kind of scene {kind!r}; expected one of {', '.join(_BUILDERS)}")
    return _BUILDERS[kind](Palette(rng, assets))
