"""The kinds of scene and their shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from pro_engine.errors import InputError

from .parts.random_materials import AssetSource, Palette
from .parts.scene import Scene
from .places import close, driving, indoor, nature, office, outdoor, overhead, prints, special, storage, yard

KINDS: dict[str, float] = {
    "room": 0.18,
    "street": 0.12,
    "nature": 0.11,
    "closeup": 0.11,
    "portrait": 0.06,
    "thin": 0.04,
    "glass": 0.03,
    "prints": 0.03,
    "upward": 0.03,
    "office": 0.07,
    "driving": 0.08,
    "overhead": 0.07,
    "yard": 0.03,
    "storage": 0.04,
}
"""Kind of scene and its share of a data set."""

_BUILDERS: dict[str, Callable[[Palette], Scene]] = {
    "room": indoor.room,
    "street": outdoor.street,
    "nature": nature.nature,
    "closeup": close.closeup,
    "portrait": special.portrait,
    "thin": special.thin,
    "glass": special.glass,
    "prints": prints.prints,
    "upward": special.upward,
    "office": office.office,
    "driving": driving.driving,
    "overhead": overhead.overhead,
    "yard": yard.yard,
    "storage": storage.storage,
}


def shares(factors: Sequence[str] = ()) -> dict[str, float]:
    """The shares of a data set in which some kinds are more or less frequent than usual; together 1.

    Args:
        factors: such as "office=3": this kind three times as often against the others, before they are made 1 again.

    Raises:
        InputError: an unknown kind, a factor that is no number from 0, or nothing left.
    """
    weights = dict(KINDS)
    for text in factors:
        kind, _, factor = text.partition("=")
        if kind not in weights:
            raise InputError(f"{kind!r} is no kind of scene; give one of {', '.join(KINDS)}.")
        try:
            number = float(factor)
        except ValueError:
            number = -1.0
        if not 0 <= number < math.inf:
            raise InputError(f"kinds is {text!r}; give NAME=FACTOR with a factor from 0, such as office=3.")
        weights[kind] = KINDS[kind] * number
    whole = sum(weights.values())
    if whole == 0:
        raise InputError("kinds leaves no kind of scene; give one of them a factor above 0.")
    return {kind: weight / whole for kind, weight in weights.items()}


def build_scene(kind: str, rng: np.random.Generator, assets: AssetSource | None = None) -> Scene:
    """A random scene of a kind of `KINDS`. The same generator state and assets give the same scene.

    Raises ValueError for an unknown kind.
    """
    if kind not in _BUILDERS:
        raise ValueError(f"unknown kind of scene {kind!r}; expected one of {', '.join(_BUILDERS)}")
    return _BUILDERS[kind](Palette(rng, assets))
