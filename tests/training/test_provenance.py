"""What config.json says about where a run came from."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from pro_engine.training.provenance import file_hash, git_state, module_hash

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A package in a repository with one commit."""
    package = tmp_path / "repository" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("a = 1\n")
    git(package.parent, "init", "-q")
    git(package, "add", ".")
    git(package, "commit", "-q", "-m", "first")
    return package


def test_a_checkout_has_a_revision_and_says_whether_it_was_changed(checkout: Path) -> None:
    revision = git(checkout, "rev-parse", "HEAD").strip()
    assert git_state(checkout) == {"revision": revision, "dirty": False}
    (checkout / "notes.txt").write_text("not tracked")
    assert git_state(checkout) == {"revision": revision, "dirty": False}
    (checkout / "__init__.py").write_text("a = 2\n")
    assert git_state(checkout) == {"revision": revision, "dirty": True}


def test_there_is_none_outside_git_nor_in_an_installation_inside_a_repository(checkout: Path, tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    installed = checkout.parent / ".venv" / "package"
    shutil.copytree(checkout, installed)
    assert git_state(installed) is None


def test_hashes_follow_the_content(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    before = module_hash(module)
    assert module_hash(module) == before
    with torch.no_grad():
        module[0].weight[0, 0] += 1e-6
    assert module_hash(module) != before
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
