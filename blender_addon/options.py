# SPDX-License-Identifier: GPL-3.0-or-later
"""How the add-on declares its options: with default, help, limits and the label that the panel shows, each once.

The engine's own options come from options.json, which `package.py` writes from their declarations. `same_as` takes one
over, all but what is given by name. Panels and messages are made from the fields. Needs the standard library only.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import UserError

ENGINE: Mapping[str, Mapping[str, Mapping[str, Any]]] = json.loads(
    Path(__file__).with_name("options.json").read_text("utf-8")
)


def option(default: Any, help: str, *, label: str = "", choices: tuple[str, ...] = (), **limits: Any) -> Any:
    """A dataclass field that is an option; limits: minimum, maximum (included), above, below (not included)."""
    return dataclasses.field(
        default=default, metadata={"help": help, "label": label or help, "choices": tuple(choices), **limits}
    )


def same_as(name: str, **changes: Any) -> Any:
    """The engine's option `Class.field` as a field of the add-on's; `changes` replace its default, help or limits."""
    owner, _, field = name.partition(".")
    return option(**{**ENGINE[owner][field], **changes})


def of(owner: type, name: str) -> dataclasses.Field[Any]:
    """The option `name` of the class `owner`."""
    return next(field for field in dataclasses.fields(owner) if field.name == name)


class Checked:
    """A dataclass whose options are held to their choices and limits when it is made. UserError: one is outside."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if "help" in field.metadata:
                _check(getattr(self, field.name), field.metadata)


def _check(value: Any, limits: Mapping[str, Any]) -> None:
    label, choices = limits["label"], limits["choices"]
    if choices and isinstance(value, str) and value not in choices:
        raise UserError(f"{label} is {value!r}; give {', '.join(choices)}.")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, (int, float)) and not isinstance(number, bool) and not _is_within(number, limits):
            raise UserError(f"{label} is {number:g}; give a number{_range(limits)}.")


def _is_within(number: float, limits: Mapping[str, Any]) -> bool:
    low, high = limits.get("minimum", -math.inf), limits.get("maximum", math.inf)
    return bool(low <= number <= high and limits.get("above", -math.inf) < number < limits.get("below", math.inf))


def _range(limits: Mapping[str, Any]) -> str:
    words = {"minimum": "from", "above": "above", "maximum": "up to", "below": "below"}
    return " and".join(
        f" {word} {limits[key]:g}" for key, word in words.items() if math.isfinite(limits.get(key, math.inf))
    )
