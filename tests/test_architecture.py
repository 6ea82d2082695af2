"""ARCHITECTURE.md names every module, once, and nothing that is not there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("pro_engine", "ros2_pro", "blender_addon")


def has_code(path: Path) -> bool:
    """Whether there is more in a file than its docstring; the `__init__.py` of most folders has no more."""
    return len(ast.parse(path.read_text("utf-8")).body) > 1


def named(page: str) -> list[str]:
    """The paths that the page lists: `- NAME: ...` under the heading of its folder."""
    found = []
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        folder = section.partition("\n")[0]
        found += [folder + name for name in re.findall(r"^- `(\w+\.py)`: \S", section, re.MULTILINE)]
    return found


def test_every_module_is_named_once() -> None:
    modules = sorted(
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" or has_code(path)
    )
    listed = named((ROOT / "ARCHITECTURE.md").read_text("utf-8"))
    assert len(modules) > 100
    assert sorted(set(modules) - set(listed)) == [], "modules that ARCHITECTURE.md does not name"
    assert sorted(set(listed) - set(modules)) == [], "files that ARCHITECTURE.md names and that are not there"
    assert sorted(name for name in listed if listed.count(name) > 1) == [], "named twice"


def test_every_path_of_the_page_exists() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    guide = page.partition("\n## pro_engine/")[0]
    paths = re.findall(r"(?:pro_engine|ros2_pro|blender_addon|tests|launch|config|docs)/[\w./]+", guide)
    assert len(paths) > 30
    assert [path for path in paths if not (ROOT / path.rstrip(".,")).exists()] == []
