"""What made a run: revision of the source, versions, and hashes of what the files held that it began from."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import pro_engine

_GIT_TIMEOUT_S = 20.0


def provenance() -> dict[str, Any]:
    """`versions` of pro_engine, torch and Python, and `git` (see `git_state`) where the source is a checkout."""
    found: dict[str, Any] = {
        "versions": {
            "pro_engine": pro_engine.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        }
    }
    git = git_state(Path(pro_engine.__file__).parent)
    return found if git is None else {**found, "git": git}


def git_state(folder: Path) -> dict[str, Any] | None:
    """{"revision": hash, "dirty": whether tracked files differ from it}, or None unless git knows the folder's
    __init__.py: an installation inside somebody else's checkout is thereby not taken for ours.
    """
    try:
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        revision = _git(folder, "rev-parse", "HEAD").strip()
        changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):  # no git, no checkout, or a checkout without a commit
        return None
    return {"revision": revision, "dirty": bool(changes.strip())}


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=_GIT_TIMEOUT_S
    )
    return done.stdout


def module_hash(module: nn.Module) -> str:
    """SHA-256 of names, shapes and values of a module's state, in hexadecimal."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        array = value.detach().cpu().contiguous()
        digest.update(f"{name} {array.dtype} {tuple(array.shape)}\n".encode())
        digest.update(array.view(-1).view(torch.uint8).numpy().tobytes() if array.numel() else b"")
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def names_hash(names: Iterable[str]) -> str:
    """SHA-256 of a list of names in its order, in hexadecimal."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def text_of(value: Any) -> Any:
    """`value` as JSON holds it: paths as texts, tuples as lists."""
    if isinstance(value, (list, tuple)):
        return [text_of(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value
