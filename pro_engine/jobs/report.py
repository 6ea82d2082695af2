"""What is told of a photo: one record for `pro-engine infer --json` and for the answers of `pro-engine serve`.

docs/json.md describes every key of it; a test holds both hosts to that page.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PhotoReport:
    """What was done with one photo. Seconds are wall time; sizes are in pixels, of the picture that the model saw."""

    input: str
    outputs: tuple[dict[str, str], ...] = ()
    skipped: bool = False
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
    stride: int | None = None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The record in plain values, as docs/json.md describes it."""
        return dataclasses.asdict(self)
