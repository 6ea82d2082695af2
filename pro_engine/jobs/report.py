"""What is told of photos and videos: one record each for `pro-engine infer --json` and, of photos, `pro-engine serve`.

docs/json.md describes every key of it; a test holds both hosts to that page.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PhotoReport:
    """What was done with one photo. Seconds are wall time; sizes are in pixels, of the picture that the model saw.

    of_model: those of the warnings that hold for every photo of this model.
    """

    input: str
    outputs: tuple[dict[str, str], ...] = ()
    skipped: bool = False
    frame: int | None = None
    time_s: float | None = None
    width: int = 0
    height: int = 0
    reduced: bool = False
    model: str = ""
    tiles: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
    scale: dict[str, Any] | None = None
    lens: dict[str, Any] | None = None
    anchors: dict[str, float] | None = None
    estimate: dict[str, float] | None = None
    stride: int | None = None
    warnings: tuple[str, ...] = ()
    of_model: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """The record in plain values, as docs/json.md describes it."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "of_model"}


@dataclass(frozen=True)
class VideoReport:
    """What was done with one video: its frames, each of which has a report of its own, and what is of all of them.

    Attributes:
        frames: how many were read.
        outputs: files of the whole video.
        seconds: wall time.
        warnings: what was found or assumed, a sentence each.
    """

    input: str
    frames: int
    outputs: tuple[dict[str, str], ...] = ()
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The record in plain values, as docs/json.md describes it."""
        return dataclasses.asdict(self)
