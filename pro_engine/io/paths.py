"""Checks that every reader and writer makes at the door, and the sentences for what an operating system refuses."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pro_engine.errors import FileError, InputError, ProEngineError

PathLike = str | os.PathLike[str]

MAX_PIXELS = 400_000_000
"""The largest picture or map that is read unless the caller allows more: four times 100 megapixels."""

_NO_ROOM = 1 << 20
_MOST_BYTES_A_PIXEL = 16  # four channels of 32 bits

_LONGEST_REASON = 200  # decoders quote what they stumbled over, which may be half the file

_WRITE_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or write to another disk",
    errno.EDQUOT: "the disk quota is used up; free some space or write to another disk",
    errno.EFBIG: "the file system does not take files this large; write to another disk or use a smaller format",
    errno.EROFS: "the disk is read-only; choose another folder",
    errno.EACCES: "permission denied; close programs that hold the file, or choose a folder that you may write to",
    errno.EPERM: "the operation is not permitted; choose a folder that you may write to",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.ENOENT: "the folder is not there; create it first",
}


def as_path(path: PathLike) -> Path:
    """`path` as a `Path`.

    Raises:
        InputError: it is not a text path.
        FileError: it is empty, or holds what no file name can.
    """
    try:
        result = Path(path)
    except TypeError as error:
        raise InputError(f"The path is {path!r}; give a text or a pathlib.Path.") from error
    if not str(path):
        raise FileError("The path is empty; give the name of a file.")
    if "\0" in str(path):
        raise FileError(f"The path {str(path)!r} holds a null character; give the name of a file.")
    try:
        os.fsencode(result)
    except UnicodeEncodeError as error:  # half of a pair of surrogates, say from JSON
        raise FileError(f"The path {str(path)!r} holds a character that no file name has; correct it.") from error
    return result


def readable_file(path: PathLike) -> Path:
    """`path`, once it is known to be a regular file that is not empty.

    Raises:
        FileError: it is missing, a folder, not a regular file, empty, or out of reach.
    """
    source = as_path(path)
    try:
        status = source.stat()
    except OSError as error:
        raise reading_failed(source, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise FileError(f"{source} is a folder; give a file in it.")
    if not stat.S_ISREG(status.st_mode):
        raise FileError(f"{source} is not a regular file; copy its data into a file first.")
    if status.st_size == 0:
        raise FileError(f"{source} is empty (0 bytes); copy or export it again.")
    return source


def check_size(path: Path, width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture or map by its size, before a single pixel is decoded.

    Raises:
        FileError: no pixels, or more than `max_pixels`.
    """
    if width <= 0 or height <= 0:
        raise FileError(f"{path} claims a size of {width} x {height} pixels; export it again.")
    if width * height > max_pixels:
        raise FileError(
            f"{path} claims {width} x {height} pixels, more than the limit of {max_pixels / 1e6:g} megapixels; "
            "make it smaller, or raise max_pixels if you trust the file."
        )


def check_bytes(path: Path, count: float, max_pixels: int) -> None:
    """Refuse a file by the bytes that its values take, before one of them is read: 16 for each of `max_pixels` at most.

    Raises:
        FileError: it holds more.
    """
    if count > _MOST_BYTES_A_PIXEL * max_pixels:
        raise FileError(
            f"{path} holds {count / 1e9:.1f} GB of values, more than the limit of "
            f"{_MOST_BYTES_A_PIXEL * max_pixels / 1e9:g} GB; save one map or picture alone, or raise max_pixels."
        )


def check_max_pixels(max_pixels: int) -> None:
    """Raise InputError unless `max_pixels` is a whole number above 0."""
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or max_pixels <= 0:
        raise InputError(f"max_pixels is {max_pixels!r}; give a whole number above 0.")


def writer_for(path: Path, writers: Mapping[str, Any], what: str) -> str:
    """The suffix of `path` in lower case, once `writers` is known to have it.

    Raises:
        FileError: the suffix is unknown; the message lists the known ones.
    """
    suffix = path.suffix.lower()
    if suffix not in writers:
        raise FileError(f"{path} has the suffix {suffix!r}; give {what} one of {', '.join(sorted(writers))}.")
    return suffix


def checked_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """`metadata` as it comes back from a file: plain JSON with text keys; tuples turn into lists.

    Raises:
        InputError: a value or key that JSON does not hold, such as a NumPy number or NaN.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping) or not all(isinstance(key, str) for key in metadata):
        raise InputError(f"metadata is {metadata!r}; give a mapping with text keys.")
    try:
        plain = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"metadata cannot be written as JSON ({error}); use texts, finite numbers, lists and dicts, "
            "and float(), int() or str() on other values."
        ) from error
    return dict(plain)


@contextmanager
def decoding(path: Path, kind: str, advice: str = "copy or export it again") -> Iterator[None]:
    """Turn whatever a decoder raises over a damaged file into a FileError that names the file.

    Args:
        path: the file that is read in the block.
        kind: what it should be, such as "TIFF file".
        advice: the next step for the user.
    """
    try:
        yield
    except ProEngineError:
        raise
    except MemoryError as error:
        raise FileError(f"{path} does not fit into memory; make it smaller or close other programs.") from error
    except Exception as error:  # decoders of damaged data raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:
            raise reading_failed(path, error) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..."
        raise FileError(f"{path} is truncated, damaged or no {kind} ({reason}); {advice}.") from error


def reading_failed(path: Path, error: OSError) -> FileError:
    """The FileError to raise from an OSError met while reading `path`."""
    if isinstance(error, FileNotFoundError):
        return FileError(f"{path} does not exist; check the spelling and the folder.")
    if isinstance(error, PermissionError):
        return FileError(f"{path} cannot be read: permission denied; change its permissions or copy it.")
    return FileError(f"{path} cannot be read: {error.strerror or error}; check the path and the disk.")


def writing_failed(path: Path, error: Exception) -> FileError:
    """The FileError to raise from an OSError, or what a library made of one, met while writing `path`."""
    told = str(error)
    number = getattr(error, "errno", None) or next((one for one in _WRITE_ADVICE if os.strerror(one) in told), None)
    if number is None and _is_full(path):  # NumPy tells how much it has written, and not why
        number = errno.ENOSPC
    reason = getattr(error, "strerror", None) or " ".join(told.split())
    advice = _WRITE_ADVICE.get(number or 0, f"{reason}; check the free space and the disk")
    return FileError(f"{path} cannot be written: {advice}.")


def _is_full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < _NO_ROOM
    except OSError:
        return False
