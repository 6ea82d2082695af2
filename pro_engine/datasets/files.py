"""Which files of a dataset are there and whole, what is wrong with the others, and how those of every dataset are read.

A published picture is read as its pixels are stored, since the truth lies on the stored grid: not turned by EXIF, and
an alpha channel dropped rather than laid over white.
"""

from __future__ import annotations

import re
import stat
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import FileError, InputError
from pro_engine.io import pictures
from pro_engine.io.depth import load_depth
from pro_engine.io.paths import MAX_PIXELS, decoding
from pro_engine.types import BoolMap, FloatMap, ImageArray, Intrinsics

ANY_SIZE = -1
_LISTED = 20
_TAIL = 1024
_SIGNATURES = {
    ".png": (b"\x89PNG\r\n\x1a\n", "PNG picture"),
    ".jpg": (b"\xff\xd8\xff", "JPEG picture"),
    ".jpeg": (b"\xff\xd8\xff", "JPEG picture"),
}
_PNG_END = b"IEND\xaeB`\x82"
_PFM_HEAD = re.compile(rb"P[Ff]\s+(\d{1,9})\s+(\d{1,9})\s+[-+]?[\d.]+(?:[eE][-+]?\d+)?\s")

Fault = tuple[Path, str]


class DatasetError(FileError):
    """Files of a dataset are missing, unreadable or of the wrong size.

    `faults` names every one of them as (path, what is wrong with it); the message lists the first 20 and their number.
    """

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Form:
    """How a kind of dataset is published: its name in `DATASETS`, its files, and the page that describes them."""

    kind: str
    tree: str
    page: str

    def next_step(self) -> str:
        """What a user does about a folder of another form."""
        return f"Copy or download them again. The published form is {self.tree}; see docs/datasets.md and {self.page}."


@dataclass
class Checklist:
    """The files that must exist below `root`, checked one by one while a dataset is listed."""

    root: Path
    form: Form
    faults: list[Fault] = field(default_factory=list)

    def need(self, path: Path, size: int | None = None) -> bool:
        """Whether the file is whole as far as `fault` sees; otherwise it goes onto the list."""
        wrong = fault(path, size)
        if wrong is not None:
            self.faults.append((path, wrong))
        return wrong is None

    def need_all(self, paths: Iterable[Path]) -> None:
        """`need` for several files."""
        for path in paths:
            self.need(path)

    def done(self, count: int) -> None:
        """Raise DatasetError if a file was at fault, or if `count`, the number of samples found, is 0."""
        if self.faults:
            lines = [f"  {_below(self.root, path)}: {wrong}" for path, wrong in self.faults[:_LISTED]]
            if len(self.faults) > _LISTED:
                lines.append(f"  ... and {len(self.faults) - _LISTED} more")
            number = "1 file is" if len(self.faults) == 1 else f"{len(self.faults)} files are"
            raise DatasetError(
                f"{self.root} is not a whole {self.form.kind} dataset; {number} at fault:\n"
                + "\n".join(lines)
                + f"\n{self.form.next_step()}",
                self.faults,
            )
        if not count:
            raise DatasetError(f"{self.root} holds no sample of {self.form.kind}. {self.form.next_step()}")


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def fault(path: Path, size: int | None = None) -> str | None:
    """What is wrong with a file, in a few words, or None.

    With `size` the file must have exactly so many bytes, or any number above 0 if it is `ANY_SIZE`, whatever its
    suffix. Without, the start of .npy and .pfm tells
    how many bytes there must be at least, .png and .npz must have their end, and .jpg its start.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return "not a file"
        if status.st_size == 0:
            return "empty (0 bytes)"
        with open(path, "rb") as file:
            if size is not None:
                return None if size in (ANY_SIZE, status.st_size) else f"{status.st_size} bytes instead of {size}"
            return _fault_inside(file, path, status.st_size)
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        return f"unreadable ({error.strerror or error})"


def _fault_inside(file: IO[bytes], path: Path, found: int) -> str | None:
    """What the content of an open file of `found` bytes shows to be wrong, by the suffix."""
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return None if zipfile.is_zipfile(file) else f"no .npz file, or cut short ({found} bytes)"
    if suffix in (".npy", ".pfm"):
        expected = _npy_bytes(file) if suffix == ".npy" else _pfm_bytes(file)
        if expected is None:
            return f"no {suffix} file ({found} bytes)"
        return None if found >= expected else f"cut short: {found} bytes instead of {expected}"
    if suffix in _SIGNATURES:
        start, name = _SIGNATURES[suffix]
        if file.read(len(start)) != start:
            return f"no {name} ({found} bytes)"
        if suffix == ".png":
            file.seek(max(0, found - _TAIL))
            if _PNG_END not in file.read():
                return f"cut short: {found} bytes without the end of a {name}"
    return None


def _npy_bytes(file: IO[bytes]) -> int | None:
    """How many bytes the header of an .npy file announces; None where it has none."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except (ValueError, EOFError, SyntaxError):
        return None
    return file.tell() + dtype.itemsize * int(np.prod(shape, dtype=np.int64))


def _pfm_bytes(file: IO[bytes]) -> int | None:
    """How many bytes the header of a .pfm file announces; None where it has none."""
    head = file.read(256)
    match = _PFM_HEAD.match(head)
    if match is None:
        return None
    return match.end() + 4 * int(match[1]) * int(match[2]) * (3 if head.startswith(b"PF") else 1)


def require(path: Path, size: int | None = None) -> None:
    """Raise DatasetError, naming the file, unless `fault` finds nothing."""
    wrong = fault(path, size)
    if wrong is not None:
        raise damaged(path, wrong)


def damaged(path: Path, wrong: str) -> DatasetError:
    """The error for one file that was whole when the dataset was opened, or whose content is not as published."""
    return DatasetError(f"{path}: {wrong}; copy or download this file again.", [(path, wrong)])


def read_picture(path: Path) -> ImageArray:
    """The stored pixels, (H, W, 3) uint8 RGB; grey becomes three equal channels.

    Raises:
        FileError: missing, truncated or damaged.
    """
    require(path)
    with pictures.opened(path, MAX_PIXELS) as picture:
        return np.array(picture.convert("RGB"))


def read_mask(path: Path) -> NDArray[np.uint8]:
    """The stored values of a grey or palette picture, (H, W) uint8: 8 bits as they are, 1 bit as 0 and 255; of colours
    the first channel.

    Raises:
        FileError: missing, truncated, damaged, or of more than 8 bits.
    """
    require(path)
    with pictures.opened(path, MAX_PIXELS) as picture:
        values = np.array(picture.convert("L") if picture.mode == "1" else picture)
    if values.dtype != np.uint8:
        raise damaged(path, f"a picture of {values.dtype} values, not of 8 bits")
    return np.ascontiguousarray(values if values.ndim == 2 else values[..., 0])


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height as stored, from the header alone; None where the file is no picture."""
    try:
        with pictures.opened(path, MAX_PIXELS) as picture:
            return picture.size
    except FileError:
        return None


def read_map(path: Path) -> FloatMap:
    """A map of floats from .npy or .pfm, (H, W) float32, with row 0 at the top.

    Raises:
        FileError: missing, truncated or damaged.
    """
    require(path)
    return load_depth(path)[0]


def read_raw(path: Path, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """A file of bare values in row-major order.

    Raises:
        DatasetError: missing, or not of the size of the shape.
    """
    wanted = np.dtype(dtype)
    require(path, wanted.itemsize * int(np.prod(shape, dtype=np.int64)))
    with decoding(path, "file of bare values"):
        return np.fromfile(path, wanted).reshape(shape)


def read_text(path: Path) -> str:
    """A small text file.

    Raises:
        FileError: missing, or no text.
    """
    require(path)
    with decoding(path, "text file"):
        return path.read_text(encoding="utf-8")


def inverse(depth: NDArray[Any], valid: BoolMap) -> FloatMap:
    """1 / depth as (H, W) float32 where `valid`, else 0."""
    result = np.zeros(depth.shape, dtype=np.float32)
    np.divide(1.0, depth, out=result, where=valid, casting="same_kind")
    return result


def check_same_size(path: Path, values: NDArray[Any], other: NDArray[Any]) -> None:
    """Raise DatasetError unless the map read from `path` has the height and width of the image or map it belongs to."""
    if values.shape != other.shape[:2]:
        raise damaged(path, f"values of shape {values.shape} for a picture of shape {other.shape[:2]}")


def pinhole(path: Path, matrix: Any, image: ImageArray) -> Intrinsics:
    """Intrinsics of the image from a 3x3 camera matrix that was read from `path`.

    Raises:
        DatasetError: not such a matrix.
    """
    try:
        k = np.asarray(matrix, dtype=np.float64)
        return Intrinsics.from_matrix(k, image.shape[1], image.shape[0])
    except (InputError, TypeError, ValueError) as error:
        raise damaged(path, f"no camera matrix ({error})") from error
