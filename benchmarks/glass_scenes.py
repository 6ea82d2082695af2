"""Scenes whose labels of glass, written for what is behind it, are wrong in the way that Bias Free Masking is for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.training.options import Glass, ScenesConfig
from pro_engine.training.scenes.generate import drawn_kind, render_dataset

KINDS, PREVIEW_SIZE = ("glass", "room", "office"), (64, 48)
"""Kinds of scene that may have glass."""
GLASS_SHARE = (0.01, 0.12)
"""How much of a picture may be glass: Bias Free Masking fits Ψ to the label, so most of a label must be right."""
WRONG_BY, WRONG_SHARE = 2.0, 0.01
"""A label of glass is wrong by this factor or more on at least this share of the picture. The masks are for those: less
than a factor of two they do not see."""


def scene_numbers(first: int, previews: Path) -> Iterator[int]:
    """Numbers from `first` on of scenes whose pictures `GLASS_SHARE` and `WRONG_SHARE` ask for.

    Small pictures in the folder `previews` tell.
    """
    least, most = GLASS_SHARE
    for number in (number for number in count(first) if drawn_kind(number)[1] in KINDS):
        right = _preview(previews / "surface", number, "surface")
        if right is None or not least <= right["transparent"].mean() <= most:
            continue
        wrong = _preview(previews / "behind", number, "behind")
        if wrong is not None and (wrong["depth"] > WRONG_BY * right["depth"]).mean() >= WRONG_SHARE:
            yield number


def _preview(folder: Path, number: int, glass: Glass) -> dict[str, NDArray[Any]] | None:
    """The labels of a scene's small picture; None where it has no good view."""
    _render(folder, PREVIEW_SIZE, number, glass)
    path = folder / f"scene_{number:06d}_0.npz"
    if not path.exists():
        return None
    with np.load(path) as stored:
        return {name: stored[name] for name in ("transparent", "depth")}


def render(folder: Path, first: int, pictures: int, size: tuple[int, int], glass: Glass) -> Iterator[int]:
    """Render into `folder` a picture of each of the first so many `scene_numbers`; yields how many there are so far."""
    numbers = scene_numbers(first, folder.parent / "previews")
    for done, number in enumerate(islice(numbers, pictures), 1):
        _render(folder, size, number, glass)
        yield done


def _render(folder: Path, size: tuple[int, int], number: int, glass: Glass) -> None:
    render_dataset(ScenesConfig(out=folder, count=1, size=size, seed=number, cameras_per_scene=1, glass=glass))
