"""Makes the marked parts of docs/benchmarks.md again: what stands between `<!-- by COMMAND -->` and `<!-- end -->`.

    python benchmarks/page.py --data EVAL [--before OLD] [--scenes SCENES] [--only TEXT] [--list]

In a command EVAL stands for a folder that `pro-engine eval` knows, SCENES for one of rendered pictures, and OLD for a
tree of the commit named beside it. A part whose command fails, or needs a folder that is not given, stays as it is,
which is told. Parts without marks were put together by hand from what the command above them prints.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
PART = re.compile(r"(<!-- by (?P<command>[^\n]+) -->\n)(?P<printed>.*?)(\n<!-- end -->)", re.DOTALL)


def run(command: str, folders: Mapping[str, Path | None]) -> str | None:
    """What a command prints; None where it fails, with the reason on stderr. NAME=VALUE in front is its environment."""
    words = []
    for word in shlex.split(command):
        if word in folders and folders[word] is None:
            print(f"{command}: {word} was not given; this part stays.", file=sys.stderr)
            return None
        words.append(str(folders.get(word) or word))
    words = [sys.executable if word == "python" else word for word in words]
    print(command, file=sys.stderr, flush=True)
    done = subprocess.run(["env", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"{command} failed; this part stays.", file=sys.stderr)
        return None
    return done.stdout.strip()


def main(arguments: Sequence[str] | None = None) -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--scenes", type=Path)
    parser.add_argument("--only", default="", help="parts whose command has this text in it")
    parser.add_argument("--list", action="store_true", help="the commands alone")
    chosen = parser.parse_args(arguments)
    given = {"EVAL": chosen.data, "OLD": chosen.before, "SCENES": chosen.scenes}
    folders = {name: folder and folder.absolute() for name, folder in given.items()}
    for command in [part["command"] for part in PART.finditer(PAGE.read_text("utf-8"))]:
        if chosen.only not in command:
            continue
        if chosen.list:
            print(command)
        elif printed := run(command, folders):
            text = PAGE.read_text("utf-8")  # as it is now: a run may take an hour
            old = next(part for part in PART.finditer(text) if part["command"] == command)
            PAGE.write_text(text[: old.start("printed")] + printed + text[old.end("printed") :], "utf-8")


if __name__ == "__main__":
    main()
