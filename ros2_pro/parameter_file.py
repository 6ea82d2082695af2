"""Files of parameters as rcl reads them, for what launch files have to know and to tell before a node starts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

PARAMETERS = "ros__parameters"


def sections_of(path: str) -> dict[str, dict[str, Any]]:
    """The parameters in a file, by the names of nodes that they are for: absolute, and with wildcards * and **.

    Raises:
        ValueError: no such file, or not one of parameters; the sentence names it.
    """
    if not Path(path).is_file():
        raise ValueError(f"params_file is {path}, and there is no such file; give a YAML file of parameters.")
    try:
        content = yaml.safe_load(Path(path).read_text("utf-8"))
        return dict(_sections(content or {}, ""))
    except yaml.MarkedYAMLError as error:
        line = 1 + error.problem_mark.line if error.problem_mark else "?"
        raise ValueError(f"params_file is {path}, which is no YAML: {error.problem} in line {line}.") from None
    except (TypeError, UnicodeDecodeError, yaml.YAMLError):
        raise ValueError(
            f"params_file is {path}, which is no file of parameters; below the name of a node, such as /**, it needs "
            f"{PARAMETERS}, and below that names and values."
        ) from None


def is_for(name: str, node: str) -> bool:
    """Whether parameters for nodes of a name, maybe with wildcards, are for the node of this absolute name."""
    parts = [".*" if part == "**" else "[^/]+" if part == "*" else re.escape(part) for part in name.split("/")]
    return re.fullmatch("/".join(parts).replace("/.*", "(/.*)?"), node) is not None


def _sections(content: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(content, dict):
        raise TypeError
    for key, below in content.items():
        if key == PARAMETERS:
            if not isinstance(below, dict) or not name:
                raise TypeError
            yield name, below
        else:
            yield from _sections(below, f"{name}/{str(key).strip('/')}")
