"""Where the add-on finds the engine."""

from __future__ import annotations

import sys

import pytest

from blender_addon.engine.find import engine_command
from blender_addon.errors import EngineError
from tests.blender.engines import one_sentence, program


def test_a_python_an_executable_and_a_folder_are_told_apart(tmp_path):
    scripts = tmp_path / "bin"
    scripts.mkdir()
    python, other = program(scripts, "", name="python"), program(tmp_path, "")
    assert engine_command(str(python), {}) == [str(python), "-m", "pro_engine", "serve"]
    assert engine_command(f' "{other}" ', {}) == [str(other), "serve"]
    assert engine_command(str(tmp_path), {}) == [str(python), "-m", "pro_engine", "serve"]


def test_the_preference_comes_before_the_variable_and_that_before_the_path(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    chosen, variable, path = (str(program(tmp_path / name, "")) for name in "abc")
    environment = {"PRO_ENGINE": variable, "PATH": str(tmp_path / "c")}
    assert engine_command(chosen, environment)[0] == chosen
    assert engine_command("", environment)[0] == variable
    assert engine_command("", {"PATH": environment["PATH"]})[0] == path
    assert engine_command("pro-engine", environment)[0] == path


def test_the_python_of_a_virtual_environment_stays_a_link(tmp_path):
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    assert engine_command(str(link), {})[0] == str(link)


@pytest.mark.parametrize(
    ("chosen", "environment", "words"),
    [
        ("", {"PATH": "/nowhere"}, ("No engine", "install", "preferences")),
        ("/nowhere/python", {}, ("/nowhere/python does not exist", "preferences")),
        ("", {"PRO_ENGINE": "/nowhere/python"}, ("does not exist", "PRO_ENGINE")),
        ("folder", {}, ("no Python in",)),
        ("plain", {}, ("no program",)),
    ],
)
def test_what_cannot_be_found_is_said(tmp_path, monkeypatch, chosen, environment, words):
    monkeypatch.setattr("blender_addon.engine.find.HOMES", ())
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("text")
    if chosen in ("folder", "plain"):
        chosen = str(tmp_path / chosen)
    with pytest.raises(EngineError) as error:
        engine_command(chosen, environment)
    assert all(word in one_sentence(str(error.value)) for word in words)


def test_an_engine_where_the_page_puts_it_is_found_last(tmp_path, monkeypatch):
    """A Blender that is started from the desktop of macOS has a PATH of four folders of the system."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("blender_addon.engine.find.HOMES", ("~/pro", "~/.local/bin"))
    for folder in ("pro/bin", ".local/bin"):
        (tmp_path / folder).mkdir(parents=True)
    second = program(tmp_path / ".local/bin", "", name="pro-engine")
    assert engine_command("", {"PATH": "/usr/bin:/bin"}) == [str(second), "serve"]
    first = program(tmp_path / "pro/bin", "", name="pro-engine")
    assert engine_command("", {"PATH": "/usr/bin:/bin"}) == [str(first), "serve"]


def test_the_launcher_of_windows_is_a_python(tmp_path):
    launcher = program(tmp_path, "", name="py.exe")
    assert engine_command(str(launcher), {}) == [str(launcher), "-m", "pro_engine", "serve"]


def test_a_link_that_leads_nowhere_is_told_from_nothing(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to("/usr/bin/no-python-here")
    for chosen in (tmp_path, tmp_path / "bin" / "python"):
        with pytest.raises(EngineError) as error:
            engine_command(str(chosen), {})
        said = one_sentence(str(error.value))
        assert "is a link to" in said and "Flatpak" in said and "blender.org" in said
