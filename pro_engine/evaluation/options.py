"""How to evaluate. Flags are built from these fields; their help and limits live here alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pro_engine.errors import InputError


def _option(default: Any, text: str, **limits: Any) -> Any:
    """A field that carries its own help text and limits."""
    return field(default=default, metadata={"help": text, **limits})


@dataclass(frozen=True)
class EvalOptions:
    """What to measure, on how many items, and what to keep of it.

    Raises:
        InputError: a value outside its limits, or options that contradict each other.
    """

    items: int | None = _option(None, "How many items of each dataset, evenly spread; all by default", minimum=1)
    ce: bool = _option(False, "Also measure the consistency error: infers every picture twice")
    predictions: Path | None = field(
        default=None,
        metadata={"help": "Score the maps in this folder, one named like each item, instead of running a model"},
    )
    save_maps: bool = _option(False, "Also write every map to OUT/maps as NAME.npy")
    pictures: int = _option(60, "How many items the page shows with pictures, evenly spread over all", minimum=0)

    def __post_init__(self) -> None:
        for name, least in (("items", 1), ("pictures", 0)):
            value = getattr(self, name)
            if value is None and name == "items":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} is {value!r}; give a whole number from {least}.")
        for name in ("ce", "save_maps"):
            if self.predictions is not None and getattr(self, name):
                raise InputError(f"Both predictions and {name} are given; {name} needs a model to run.")
