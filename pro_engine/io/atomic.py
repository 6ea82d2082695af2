"""Writing a file so that a crash leaves the old file or the new one, never a part of it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pro_engine.errors import FileError
from pro_engine.io.paths import PathLike, as_path, writing_failed


@contextmanager
def atomic_path(path: PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well, what was written there becomes `path`.

    The temporary path has the suffix of `path`, so a library that picks its format by suffix can write it. Its data is
    on the disk (fsync) before it takes the name, and it is removed when the block fails. Missing folders are created. A
    link is followed: the file that it points to is replaced. For a set of files nest the blocks, the one that names the
    others outermost: all contents are then written before the first file is replaced, and that file is replaced last.

    Args:
        path: the file to write.

    Yields:
        The temporary path; nothing is there yet.

    Raises:
        FileError: the path is a folder or a device, or the system refuses (disk full, permission, name too long, ...).
    """
    target = _writable_target(as_path(path))
    temporary = target.with_name(f".{secrets.token_hex(8)}.part{target.suffix}")
    try:
        yield temporary
        _flush_to_disk(temporary)
        os.replace(temporary, target)
        _flush_folder(target.parent)
    except OSError as error:
        raise writing_failed(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


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
