"""The sample file of parameters, made from the settings: `python -m ros2_pro.sample >config/pro.yaml`."""

from __future__ import annotations

import json
import textwrap

from ros2_pro.settings import options

_HEAD = """\
# Every setting of the node with its default; `ros2 param describe` shows the limits. Keep what you change.
/**:  # any name and namespace of the node
  ros__parameters:"""
_WIDTH = 120


def sample() -> str:
    """The text of the file."""
    lines, group = [_HEAD], ""
    for name, option in sorted(options(), key=lambda item: "." in item[0]):  # those without a group first
        before, _, own = name.rpartition(".")
        if before != group:
            lines.append(f"    {before}:")
            group = before
        indent = " " * (6 if group else 4)
        lines.append(
            textwrap.fill(
                option.metadata["help"], _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
            )
        )
        lines.append(f"{indent}{own}: {json.dumps(option.default)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(sample(), end="")
