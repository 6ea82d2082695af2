"""Arrays handed from one program to another: a file with one line of JSON and the bare numbers behind it.

The line is padded with spaces so that the numbers begin at a multiple of 64 bytes. It has `dtype` ("<f4" or "<i4":
little-endian), `shape`, rows first, and whatever the writer tells beside. Readers need no library of ours:

    with open(path, "rb") as file:
        header = json.loads(file.readline())
        values = numpy.fromfile(file, header["dtype"]).reshape(header["shape"])
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import InputError
from pro_engine.io.atomic import atomic_path
from pro_engine.io.paths import PathLike

_ALIGNMENT = 64
_DTYPES = ("<f4", "<i4")


def save_array(path: PathLike, values: NDArray[Any], *, about: Mapping[str, Any] | None = None) -> None:
    """Write an array of float32 or int32 atomically.

    Args:
        path: the file; by custom `.array`.
        values: of any shape.
        about: more entries of the header, plain values for JSON.

    Raises:
        InputError: numbers of another type. FileError: the file cannot be written.
    """
    dtype = values.dtype.newbyteorder("<").str
    if dtype not in _DTYPES:
        raise InputError(f"The array holds {values.dtype}; give float32 or int32.")
    header = json.dumps({**(about or {}), "dtype": dtype, "shape": values.shape}, allow_nan=False).encode("ascii")
    header += b" " * (-(len(header) + 1) % _ALIGNMENT) + b"\n"
    with atomic_path(path) as part, part.open("wb") as file:
        file.write(header)
        file.write(np.ascontiguousarray(values, dtype=dtype).data)
