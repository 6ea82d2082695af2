"""The README says what is true: its Python example runs, its commands and links exist."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import pytest
import typer

import pro_engine
from pro_engine.cli import main
from pro_engine.models.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = re.findall(r"<!-- test: example -->\n```python\n(.*?)```", README, re.DOTALL)
    photo = tmp_path / "docs/photos/dandelion.jpg"
    photo.parent.mkdir(parents=True)
    large = cv2.imread(str(ROOT / "docs/photos/dandelion.jpg"))
    assert large is not None
    cv2.imwrite(str(photo), cv2.resize(large, (480, 270), interpolation=cv2.INTER_AREA))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(source, "README.md", "exec"), names)
    disparity, info = pro_engine.load_depth("dandelion.exr")
    assert disparity.shape == (270, 480)
    assert info.quantity == "disparity"
    assert Path("dandelion.glb").stat().st_size > 10_000


def test_every_command_and_option_of_the_page_exists() -> None:
    command_line = README.partition("## On the command line")[2].partition("\n## ")[0]
    program = typer.main.get_command(main.app)
    commands = program.commands  # type: ignore[attr-defined]
    assert set(commands) == set(re.findall(r"^\| `(\w+)(?: PHOTO...)?` \|", command_line, re.MULTILINE))
    known = {option for parameter in commands["infer"].params for option in parameter.opts}
    ours = re.sub(r"pip install [^`\n]*", "", README)
    named = set(re.findall(r"(?<=[`\s/])--[a-z][a-z0-9-]+", ours))
    assert len(named) > 10
    assert named <= known


def test_the_table_of_options_says_what_the_help_says() -> None:
    (table,) = re.findall(r"\| option \| meaning \|\n\|---\|---\|\n(.*?)\n\n", README, re.DOTALL)
    infer = typer.main.get_command(main.app).commands["infer"]  # type: ignore[attr-defined]
    flags = {name: parameter for parameter in infer.params for name in parameter.opts}
    shown = re.findall(
        r"(--?[a-z0-9-]+)(?: ([^\s`]+))?(?=[ `])", " ".join(re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE))
    )
    assert len(shown) > 10
    for name, value in shown:
        words = {flags[name].metavar or "", flags[name].help.partition("  [")[0].rpartition(": ")[2].replace(", ", ",")}
        assert value.replace("\\|", "|") in words, name


def test_the_table_of_models_is_that_of_the_presets() -> None:
    rows = re.findall(
        r"^\| `([\w.-]+)`(?: \(default\))? \| [^|]+ \| [\d.]+ [MG]B \| ([\w. -]+) \| (yes|no|unclear) \| ([\w ]+) \|$",
        README.partition("## Models")[2].partition("\n## ")[0],
        re.MULTILINE,
    )
    homes = {True: "in the package", False: "fetched on first use"}
    assert rows == [
        (
            name,
            preset.weights.licence,
            {"free": "yes", "research": "no", "unclear": "unclear"}[preset.weights.use],
            homes[preset.weights.repo is None],
        )
        for name, preset in PRESETS.items()
    ]


def test_every_command_of_the_pages_has_flags_that_exist() -> None:
    known = {}
    for name, command in typer.main.get_command(main.app).commands.items():  # type: ignore[attr-defined]
        for inner, verb in getattr(command, "commands", {"": command}).items():
            known[f"{name} {inner}".strip()] = {
                flag for one in verb.params for flag in (*one.opts, *one.secondary_opts)
            }
    commands = []
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "pro_engine/weights/MODEL_CARD.md"):
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        commands += re.findall(r"pro-engine (train [a-z]+|infer|bench|export|eval)\b([^`\n]*)", text)
    assert len(commands) > 20
    for verb, rest in commands:
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z0-9-]*", rest)) - {"--help"} <= known[verb], (verb, rest)


PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "pro_engine/weights/MODEL_CARD.md",
)


def test_lines_are_short_but_for_tables() -> None:
    for page in PAGES:
        lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        long = [number for number, line in lines if len(line) > 120 and not line.lstrip().startswith("|")]
        assert not long, f"lines of more than 120 characters in {page.name}: {long}"


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made on GitHub."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")):
            if target.startswith("https://"):
                continue
            there = page.parent / target if target else page
            assert there.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in headings(there), f"{page.name}: {target}#{anchor}"


def test_every_photo_that_ships_has_its_licence() -> None:
    licences = (ROOT / "docs/photos/LICENSES.md").read_text(encoding="utf-8")
    photos = [path.name for path in (ROOT / "docs/photos").iterdir() if path.suffix != ".md"]
    assert photos
    assert all(f"`{name}`" in licences for name in photos)


@pytest.mark.parametrize("name", ["job", "tests"])
def test_ci_finds_the_command(name: str) -> None:
    assert len(re.findall(rf"<!-- ci: {name} -->\n```bash\n(.*?)```", README, re.DOTALL)) == 1
    assert f"run_command_of_readme {name}" in (ROOT / ".ci/run").read_text(encoding="utf-8")
