"""Settings as launch arguments: what `--show-args` says of them, and their texts as values.

Launch files run in the interpreter of `ros2 launch`, so nothing heavy is imported here.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_origin

from pro_engine.options import OptionError, check, field_of, hint_of, limits_in_words, option


def interpreter() -> str:
    """Of the active virtual environment, which has PyTorch; else the one that runs this, which is that of `ros2`."""
    of_venv = Path(os.environ.get("VIRTUAL_ENV", ""), "bin", "python")
    return str(of_venv) if "VIRTUAL_ENV" in os.environ and of_venv.is_file() else sys.executable


@dataclass(frozen=True)
class RclpySettings:
    """What every node has by itself."""

    use_sim_time: bool = option(False, "Take the time from /clock")
    log_level: str = option(
        "info", "What is logged, and all above", choices=("debug", "info", "warn", "error", "fatal")
    )


def described(owner: type, name: str, *, default: str | None = None) -> str:
    """What `--show-args` says of an argument that sets the option `name` of the class `owner`.

    `default` says what holds where the argument is not given, in place of the option's own default.
    """
    known = field_of(owner, name)
    help = known.metadata["help"]
    parts = [help[0].upper() + help[1:], limits_in_words(owner, name)]
    parts.append(f"default: {shown(known.default) if default is None else default}")
    return "; ".join(filter(None, parts))


def shown(default: Any) -> str:
    """A default as it is typed in a terminal."""
    if isinstance(default, tuple):
        return f"[{', '.join(map(str, default))}]"
    return str(default).lower() if isinstance(default, bool) else str(default) or "none"


def value_of(argument: str, text: str, owner: type, name: str) -> Any:
    """The value of the option `name` of `owner` that a launch argument's text means.

    Raises:
        ValueError: another type or outside its limits; the sentence names the argument.
    """
    kind = hint_of(owner, name)
    value: Any = text
    if kind is bool:
        value = {"true": True, "false": False}.get(text.lower(), text)
    elif kind in (int, float):
        with contextlib.suppress(ValueError):  # the check says what is wanted
            value = kind(text)
    elif get_origin(kind) is tuple:  # of texts
        value = tuple(part.strip(" '\"") for part in text.strip("[] ").split(","))
    try:
        check(owner, name, value)
    except OptionError as error:
        raise ValueError(error.worded(lambda _: argument)) from None
    return value


def misspelt(given: Iterable[str], known: Sequence[str]) -> list[str]:
    """Sentences on launch arguments that are not there, but nearly; launch ignores them."""
    near = {name: get_close_matches(name, known, 1, 0.8) for name in given if name not in known}
    return [f"There is no argument {name}; {like[0]} may be meant." for name, like in near.items() if like]
