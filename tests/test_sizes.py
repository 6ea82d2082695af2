"""Files have at most 400 lines and functions 60; what is longer says why in a comment `# long: REASON`. A class has a
name of its own.

The comment stands on the line of the `def` or right above it and its decorators; that of a file before its imports.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("benchmarks", "blender_addon", "launch", "pro_engine", "ros2_pro")
FILE_LINES, FUNCTION_LINES = 400, 60
REASON = re.compile(r"#\s*long: \S")


def too_long(source: str) -> list[str]:
    """`LINE: NAME has N lines` for everything that is too long and does not say why; line 1 is the file itself."""
    lines, tree = source.splitlines(), ast.parse(source)
    imports = [node.lineno for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    top = lines[: imports[0] - 1 if imports else 0]
    found = []
    if len(lines) > FILE_LINES and not any(REASON.match(line) for line in top):
        found.append(f"1: the file has {len(lines)} lines")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            beside = (lines[node.lineno - 1], *lines[max(first - 2, 0) : first - 1])
            if length > FUNCTION_LINES and not any(REASON.search(line) for line in beside):
                found.append(f"{node.lineno}: {node.name} has {length} lines")
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_and_functions_are_short_or_say_why_not(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    found = [f"{path.relative_to(ROOT)}:{fault}" for path in files for fault in too_long(path.read_text("utf-8"))]
    assert not found, f"more than {FILE_LINES} lines a file or {FUNCTION_LINES} a function: {found}"


SAME = {"Band", "Checked", "Intrinsics", "Layers", "Sheet"}  # in the add-on, too, which cannot import the engine


def test_a_class_name_stands_for_one_thing() -> None:
    homes: dict[str, list[str]] = {}
    for folder in ("blender_addon", "pro_engine", "ros2_pro"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef):
                    homes.setdefault(node.name.lstrip("_"), []).append(path.relative_to(ROOT).as_posix())
    assert {name: files for name, files in homes.items() if len(files) > 1 and name not in SAME} == {}


BODY = "    x = 1\n"
FUNCTION = "def f():\n" + FUNCTION_LINES * BODY
FILE = (FILE_LINES + 1) * "x = 1\n"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f():\n" + (FUNCTION_LINES - 1) * BODY, []),
        (FUNCTION, ["1: f has 61 lines"]),
        ("# long: one table\n" + FUNCTION, []),
        ("# long:\n" + FUNCTION, ["2: f has 61 lines"]),
        ("# long: one table\n\n" + FUNCTION, ["3: f has 61 lines"]),
        ("# long: one table\n@g\n" + FUNCTION, []),
        (FUNCTION.replace("():", "():  # long: one table"), []),
        ("class C:\n" + "".join(f"    {line}\n" for line in FUNCTION.splitlines()), ["2: f has 61 lines"]),
        (FILE_LINES * "x = 1\n", []),
        (FILE, ["1: the file has 401 lines"]),
        ("import re\n# long: one table\n" + FILE, ["1: the file has 403 lines"]),
        ('"""Data."""\n\n# long: one table\nimport re\n' + FILE, []),
    ],
)
def test_the_rule_itself(source: str, found: list[str]) -> None:
    assert too_long(source) == found
