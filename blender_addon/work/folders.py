# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders for the files of runs. One whose Blender was killed is found by the next one and removed.

In each folder is a file that its Blender holds: locked where the system has locks of files that end with the process;
on Windows an open file cannot be removed. A folder without that file is none of ours and is never touched.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import IO

from ..errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PREFIX = "run-"
HELD = ".pro_depth"  # the file that is held

_held: dict[Path, IO[bytes]] = {}


def new_folder(cache: Path) -> Path:
    """A folder of its own for the files of a run. UserError: the cache folder cannot be written to."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=cache))
        file = (folder / HELD).open("wb")
    except OSError as error:
        raise UserError(
            f"{cache} cannot be written to ({error.strerror}); choose another cache folder in the preferences."
        ) from error
    _lock(file)
    _held[folder] = file
    return folder


def drop_folder(folder: Path) -> None:
    """Remove the folder of a run."""
    if folder in _held:
        _held.pop(folder).close()
    shutil.rmtree(folder, ignore_errors=True)


def sweep(cache: Path) -> None:
    """Remove the folders of Blenders that are no more."""
    for file in cache.glob(f"{PREFIX}*/{HELD}"):
        if file.parent not in _held and _is_left(file):
            shutil.rmtree(file.parent, ignore_errors=True)


def release() -> None:
    """Hold no folder any more."""
    for file in _held.values():
        file.close()
    _held.clear()


def _lock(file: IO[bytes]) -> bool:
    """Whether the file is ours now; True as well where there are no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody holds it, or the disk knows no locks
        return False
    return True


def _is_left(file: Path) -> bool:
    """Whether nobody holds it."""
    if fcntl is None:
        with contextlib.suppress(OSError):
            file.unlink()
            return True
        return False
    try:
        with file.open("rb+") as there:
            return _lock(there)
    except OSError:
        return False
