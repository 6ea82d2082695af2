"""Writing a file so that a crash leaves the old file or the new one, never a part of it."""

from __future__ import annotations

import os
import platform
import re
import secrets
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from pro_engine.errors import FileError
from pro_engine.io.interrupts import interruptible
from pro_engine.io.paths import PathLike, as_path, writing_failed

_PART = re.compile(r"\.(?:([0-9a-f]{8})-([0-9]{1,10})-)?[0-9a-f]{16}\.part(?:\.\w+)?")
_OLD_S = 3600.0
_NOBODYS_S = 24 * _OLD_S


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, what was written there becomes `path`.

    The temporary path has the suffix of `path`, so a library that picks its format by suffix can write it. Its data is
    on the disk (fsync) before it takes the name, and it is removed when the block fails. What killed processes left in
    the folder is removed once it is old. Missing folders are created. A link is followed: the file that it points to is
    replaced. For a set of files nest the blocks, the one that names the others outermost: all contents are then written
    before the first file is replaced, and that file is replaced last. Ctrl-C in the block is not lost, see
    `interruptible`.

    Args:
        path: the file to write.

    Yields:
        The temporary path; nothing is there yet.

    Raises:
        FileError: the path is a folder or a device, or the system refuses (disk full, permission, name too long, ...).
    """
    target = _writable_target(as_path(path))
    _sweep(target.parent)
    temporary = target.with_name(f".{_machine()}-{os.getpid()}-{secrets.token_hex(8)}.part{target.suffix}")
    try:
        with interruptible():
            yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, target)
        _flush_folder(target.parent)
    except OSError as error:
        raise writing_failed(target, error) from error
    finally:
        with suppress(OSError):  # a read-only disk refuses even where nothing is there
            temporary.unlink()


@lru_cache(maxsize=64)
def _sweep(folder: Path) -> None:
    """Remove old temporary files of processes that are gone; once for each folder.

    Those of another machine, or of an owner that cannot be known, count as old after a day, others after an hour.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            part = _PART.fullmatch(entry.name)
            if part is None or not entry.is_file(follow_symlinks=False):
                continue
            is_known = part[1] == _machine() and os.name == "posix"
            if is_known and _is_alive(int(part[2])):
                continue
            age_s = time.time() - entry.stat(follow_symlinks=False).st_mtime
            if age_s > (_OLD_S if is_known else _NOBODYS_S):
                with suppress(OSError):
                    os.unlink(entry.path)


def _machine() -> str:
    """This machine, in eight letters."""
    return f"{zlib.crc32(platform.node().encode('utf-8', 'replace')):08x}"


def _is_alive(process: int) -> bool:
    """Whether there is a process of this number. Not for Windows, where the call would end it."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def _writable_target(path: Path) -> Path:
    """The file that `path` points to, its folder created; FileError where no regular file can be put."""
    try:
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        mode = target.stat().st_mode if target.exists() else None
    except FileExistsError as error:
        raise FileError(f"{path} cannot be written; choose another folder: {error.filename} is a file.") from error
    except OSError as error:
        raise writing_failed(path, error) from error
    if mode is not None and stat.S_ISDIR(mode):
        raise FileError(f"{path} is a folder; give the name of a file to write.")
    if mode is not None and not stat.S_ISREG(mode):
        raise FileError(f"{path} is not a regular file; choose another name.")
    return target


def _flush_to_disk(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system can (POSIX, and not on every network disk)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # the file is whole and in place by now; some network disks refuse this call
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
