"""The kinds of scene and their shares."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import scenes_close, scenes_indoor, scenes_nature, scenes_outdoor, scenes_prints, scenes_special
from .palette import Assets, Palette
from .scene import Scene

KINDS: dict[str, float] = {
    "room": 0.30, "street": 0.17, "nature": 0.13, "closeup": 0.17, "portrait": 0.07, "thin": 0.05, "glass": 0.04,
    "prints": 0.03, "upward": 0.04,
}
"""Kind of scene and its share of a data set."""

_BUILDERS: dict[str, Callable[[Palette], Scene]] = {
    "room": scenes_indoor.room, "street": scenes_outdoor.street, "nature": scenes_nature.nature,
    "closeup": scenes_close.closeup, "portrait": scenes_special.portrait, "thin": scenes_special.thin,
    "glass": scenes_special.glass, "prints": scenes_prints.prints, "upward": scenes_special.upward,
}


def build_scene(kind: str, rng: np.random.Generator, assets: Assets | None = None) -> Scene:
    """A random scene of a kind of `KINDS`. The same generator state and assets give the same scene.

    Raises ValueError for an unknown kind.
    """
    if kind not in _BUILDERS:
        raise ValueError(f"unknown kind of scene {kind!r}; expected one of {', '.join(_BUILDERS)}")
    return _BUILDERS[kind](Palette(rng, assets))
