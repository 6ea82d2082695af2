"""OpenEXR files, read without surprises: size checked first, damage told, nothing on the standard output."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import DependencyError, FileError
from pro_engine.io.paths import check_size, decoding

_reading = threading.Lock()


def import_openexr() -> Any:
    """The OpenEXR module, imported only when an EXR file is read or written.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        import OpenEXR
    except ImportError as error:
        raise DependencyError("OpenEXR files need the package OpenEXR; run: pip install OpenEXR") from error
    return OpenEXR


def read_channels(path: Path, max_pixels: int) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The channels of the first part of an OpenEXR file by name, colours grouped as (H, W, 3 or 4), and its header.

    Raises:
        DependencyError: the package OpenEXR is missing.
        FileError: too large or damaged.
    """
    openexr = import_openexr()
    with decoding(path, "OpenEXR file"), _quietly():
        with openexr.File(str(path), header_only=True) as file:
            parts = len(file.parts)
            low, high = file.header()["dataWindow"]
        width, height = (np.asarray(high, np.int64) - np.asarray(low, np.int64) + 1).tolist()
        check_size(path, width, height, max_pixels)
        with openexr.File(str(path)) as file:
            if len(file.parts) != parts:  # the module leaves damaged parts out, and would count the next as the first
                raise FileError(f"{path} is a damaged OpenEXR file; copy or export it again.")
            channels = {name: np.asarray(channel.pixels) for name, channel in file.channels().items()}
            return channels, dict(file.header())


class _ThreadChatter(io.TextIOBase):
    """Stands in for the standard output: what one thread prints goes to the standard error, all else goes on."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._thread = threading.get_ident()

    def write(self, text: str) -> int:
        """Write `text` to the stream that is right for this thread."""
        return (sys.stderr if threading.get_ident() == self._thread else self._output).write(text)

    def flush(self) -> None:
        """Flush the standard output."""
        self._output.flush()


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the module's warnings off the standard output, on which a host may be reading JSON."""
    with _reading, redirect_stdout(_ThreadChatter(sys.stdout)):
        yield
