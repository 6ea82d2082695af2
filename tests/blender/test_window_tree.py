"""The tree with Blender is whole or not there, and its absence is said, never passed over."""

from __future__ import annotations

import os

import pytest

from tests.blender import window_tree
from tests.blender.window_tree import NotRun, command_in_tree, find_tree, make_tree


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PRO_BLENDER_TREE", str(tmp_path / "trees" / "tree"))
    return tmp_path / "trees" / "tree"


@pytest.fixture
def rights():
    """What needs root is skipped without it."""
    try:
        window_tree.check_rights()
    except NotRun as reason:
        pytest.skip(str(reason))


def test_the_absence_of_a_tree_is_said(folder):
    with pytest.raises(NotRun, match=r"^not run: there is no tree .*window_tree\.py`\.$"):
        find_tree()
    folder.mkdir(parents=True)  # one that is not whole is none
    with pytest.raises(NotRun, match="there is no tree"):
        find_tree()


def test_a_tree_is_made_once(folder):
    folder.mkdir(parents=True)
    (folder / window_tree.STAMP).write_text(window_tree.RECIPE)
    assert make_tree() == folder


def test_a_tree_that_cannot_be_made_leaves_nothing(folder, tmp_path, monkeypatch, rights):
    program = tmp_path / "bin" / "debootstrap"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nmkdir -p "$3/etc"; echo "E: the mirror is away" >&2; exit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(NotRun, match=r"^not run: .*the mirror is away"):
        make_tree()
    assert list(folder.parent.iterdir()) == []


def test_users_other_than_root_are_told(folder, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NotRun, match="root"):
        make_tree()
    assert not folder.exists()


def test_paths_with_spaces_reach_the_tree_whole(tmp_path):
    script = command_in_tree(tmp_path / "a b", ["true"], shared=tmp_path / "c d")
    assert any(f"tree='{tmp_path}/a b'" in part and f"shared='{tmp_path}/c d'" in part for part in script)
