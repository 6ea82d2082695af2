"""OpenEXR files, read without surprises: layout first, then only the channels and the part that are wanted.

The module OpenEXR decodes every channel of every part of a file at once, which for a render with many passes is many
times the picture. So the layout is read here, and the module is given one strip of one part after the other, each as a
small file of its own. The layout is that of "OpenEXR File Layout" (openexr.com), version 2, flat and deep, single and
multi-part.
"""

from __future__ import annotations

import io
import math
import struct
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import DependencyError, FileError
from pro_engine.io.paths import check_size, decoding

MAGIC = b"\x76\x2f\x31\x01"

_reading = threading.Lock()

_TILED, _LONG_NAMES, _DEEP, _MULTIPART = 0x200, 0x400, 0x800, 0x1000
_PIXEL_TYPES: tuple[type[np.generic], ...] = (np.uint32, np.float16, np.float32)
# Rows in a chunk, by the number of the compression: none, RLE, ZIPS, ZIP, PIZ, PXR24, B44, B44A, DWAA, DWAB, HTJ2K256,
# HTJ2K32, LJ2K, ZSTD.
_CHUNK_ROWS = (1, 1, 1, 16, 32, 16, 32, 32, 32, 256, 256, 32, 256, 1)
_STRIP_BYTES = 1 << 25
_CHUNK_SLACK = 1 << 16
_MOST_PARTS = 10_000
_MOST_CHANNELS = 100_000

Window = tuple[int, int, int, int]
"""x and y of the first pixel, x and y of the last."""


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


@dataclass(frozen=True)
class Channel:
    """How a channel is stored: the type of its values, and every how many pixels it has one."""

    dtype: type[np.generic]
    x_sampling: int
    y_sampling: int


@dataclass(frozen=True)
class Part:
    """One picture of a file: its channels by name, in the order of the file, and what its header says of it."""

    name: str
    view: str
    deep: bool
    tiled: bool
    channels: dict[str, Channel]
    data: Window
    display: Window
    attributes: dict[str, tuple[str, bytes]]
    multipart: bool
    table: int
    """Where in the file the table of its chunks begins."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the data window."""
        return size_of(self.data)

    def text(self, name: str) -> str | None:
        """An attribute that is a text, or None."""
        kind, value = self.attributes.get(name, ("", b""))
        return value.decode("utf-8", "replace") if kind == "string" else None

    def texts(self, name: str) -> list[str]:
        """An attribute that is a list of texts; empty where there is none."""
        kind, value = self.attributes.get(name, ("", b""))
        found, place = [], 0
        while kind == "stringvector" and place + 4 <= len(value):
            (length,) = struct.unpack_from("<i", value, place)
            found.append(value[place + 4 : place + 4 + length].decode("utf-8", "replace"))
            place += 4 + max(0, length)
        return found

    def floats(self, name: str) -> tuple[float, ...]:
        """An attribute that is made of floats; empty where there is none."""
        value = self.attributes.get(name, ("", b""))[1]
        return struct.unpack(f"<{len(value) // 4}f", value[: len(value) // 4 * 4])


def size_of(window: Window) -> tuple[int, int]:
    """Width and height of a window."""
    return window[2] - window[0] + 1, window[3] - window[1] + 1


def is_in_layer(part: Part, channel: str, layer: str) -> bool:
    """Whether a channel lies in the layer, one within it, or the part of a name, which is in lower case."""
    prefix = channel.rpartition(".")[0].casefold()
    return part.name.casefold() == layer or f"{prefix}.".startswith(f"{layer}.")


def read_layout(path: Path) -> list[Part]:
    """The parts of an OpenEXR file, in their order. No pixel is read.

    Raises:
        FileError: damaged, or cut short within its headers.
    """
    with decoding(path, "OpenEXR file"), open(path, "rb") as file:
        magic, version = struct.unpack("<4si", file.read(8))
        if magic != MAGIC or version & 0xFF != 2:
            raise FileError(f"{path} is no OpenEXR file of version 2; export it again.")
        headers = []
        while attributes := _read_attributes(file):
            headers.append(attributes)
            if not version & _MULTIPART:
                break
            if len(headers) > _MOST_PARTS:
                raise FileError(f"{path} is a damaged OpenEXR file; copy or export it again.")
        parts, table = [], file.tell()
        for attributes in headers:
            parts.append(_part(attributes, version, table))
            table += 8 * _integer(attributes, "chunkCount") if version & _MULTIPART else 0
        if not parts:
            raise ValueError("it holds no picture")
        return parts


def _read_attributes(file: IO[bytes]) -> dict[str, tuple[str, bytes]]:
    """The attributes of one header by name, each with its type and its bytes; empty at the end of all headers."""
    attributes: dict[str, tuple[str, bytes]] = {}
    while name := _read_name(file):
        kind = _read_name(file)
        (size,) = struct.unpack("<i", file.read(4))
        value = file.read(size) if size >= 0 else b""
        if len(value) != size:
            raise ValueError("the header is cut short")
        attributes[name] = kind, value
    return attributes


def _read_name(file: IO[bytes]) -> str:
    """A name of at most 255 bytes and the zero behind it."""
    name = bytearray()
    while (byte := file.read(1)) != b"\0":
        if not byte or len(name) == 255:
            raise ValueError("the header is cut short")
        name += byte
    return name.decode("utf-8", "replace")


def _part(attributes: dict[str, tuple[str, bytes]], version: int, table: int) -> Part:
    kind = attributes.get("type", ("string", b""))[1].decode("utf-8", "replace")
    data: Window = struct.unpack("<4i", attributes["dataWindow"][1])
    display: Window = struct.unpack("<4i", attributes["displayWindow"][1])
    return Part(
        name=attributes.get("name", ("string", b""))[1].decode("utf-8", "replace"),
        view=attributes.get("view", ("string", b""))[1].decode("utf-8", "replace"),
        deep="deep" in kind or bool(version & _DEEP and not kind),
        tiled="tile" in kind if version & _MULTIPART else bool(version & _TILED),
        channels=_channels(attributes["channels"][1]),
        data=data,
        display=display if min(size_of(display)) > 0 else data,
        attributes=attributes,
        multipart=bool(version & _MULTIPART),
        table=table,
    )


def _channels(value: bytes) -> dict[str, Channel]:
    channels: dict[str, Channel] = {}
    place = 0
    while value[place] != 0:
        end = value.index(0, place)
        pixel_type, _, x_sampling, y_sampling = struct.unpack_from("<iB3x2i", value, end + 1)
        name = value[place:end].decode("utf-8", "replace")
        if not 0 <= pixel_type < len(_PIXEL_TYPES) or min(x_sampling, y_sampling) < 1 or len(channels) > _MOST_CHANNELS:
            raise ValueError(f"the channel {name} is damaged")
        channels[name] = Channel(_PIXEL_TYPES[pixel_type], x_sampling, y_sampling)
        place = end + 17
    return channels


def _integer(attributes: dict[str, tuple[str, bytes]], name: str) -> int:
    return int(struct.unpack("<i", attributes[name][1])[0])


def read_channels(
    path: Path, part: Part, names: Sequence[str], max_pixels: int, into: Mapping[str, NDArray[Any]] | None = None
) -> dict[str, NDArray[Any]]:
    """Channels of one part by name, each (H, W) as stored: float16, float32 or uint32; fewer rows where subsampled.

    Memory holds these channels and one strip of the part, whatever else the file has.

    Args:
        path: the file.
        part: one of `read_layout`.
        names: of channels of the part.
        max_pixels: the largest width x height that is read.
        into: arrays to fill, by name; those of other channels are made here.

    Raises:
        DependencyError: the package OpenEXR is missing.
        FileError: too large, deep, damaged or cut short.
    """
    openexr = import_openexr()
    width, height = part.size
    check_size(path, width, height, max_pixels)
    if part.deep:
        raise FileError(f"{path} is a deep EXR; flatten it (DeepToImage in Nuke) and export it again.")
    arrays = dict(into or {})
    for name in names:
        channel = part.channels[name]
        shape = math.ceil(height / channel.y_sampling), math.ceil(width / channel.x_sampling)
        arrays.setdefault(name, np.empty(shape, channel.dtype))
    with decoding(path, "OpenEXR file"), _quietly(), open(path, "rb") as file:
        for top, stream in _strips(path, file, part):
            with stream, openexr.File(stream, separate_channels=True) as strip:
                found = strip.channels()
                for name in names:
                    pixels = found[name].pixels
                    row = top // part.channels[name].y_sampling
                    arrays[name][row : row + len(pixels)] = pixels
    return arrays


def _strips(path: Path, file: IO[bytes], part: Part) -> Iterator[tuple[int, io.BytesIO]]:
    """A part as small files of a few megabytes, each with its first row, counted from the top of the data window."""
    width, height = part.size
    compression = part.attributes["compression"][1][0]
    if compression >= len(_CHUNK_ROWS):
        raise FileError(f"{path} has a compression that is not known here; export it again with ZIP.")
    rows, chunk_width, across = _CHUNK_ROWS[compression], width, 1
    if part.tiled:
        chunk_width, rows = struct.unpack_from("<2I", part.attributes["tiles"][1])
        across = math.ceil(width / chunk_width)
    pixel_bytes = sum(np.dtype(channel.dtype).itemsize for channel in part.channels.values())
    # a strip begins with a chunk and with a row that every channel has
    unit = math.lcm(rows, *(channel.y_sampling for channel in part.channels.values()))
    step = unit * max(1, _STRIP_BYTES // (pixel_bytes * width * unit))
    largest = 2 * pixel_bytes * chunk_width * rows + _CHUNK_SLACK
    file.seek(part.table)
    offsets = np.fromfile(file, "<u8", math.ceil(height / rows) * across).tolist()
    for top in range(0, height, step):
        bottom = min(height, top + step)
        first, last = top // rows * across, math.ceil(bottom / rows) * across
        bodies = [_chunk(file, part, offset, top // rows, largest) for offset in offsets[first:last]]
        if len(bodies) != last - first:
            raise ValueError("a part of the picture is missing")
        yield top, _small_file(part, (top, bottom), bodies)


def _chunk(file: IO[bytes], part: Part, offset: int, first_row: int, largest: int) -> bytes:
    """A chunk of a part as it stands in a file of its own; a tile counts its rows from `first_row`."""
    if offset == 0:
        raise ValueError("the file was never finished")
    file.seek(offset + 4 * part.multipart)  # the number of the part
    head = file.read(20 if part.tiled else 8)
    (size,) = struct.unpack("<i", head[-4:])
    body = file.read(size) if 0 <= size <= largest else b""
    if len(body) != size:
        raise ValueError("a part of the picture is missing")
    if part.tiled:
        x, y, level_x, level_y = struct.unpack("<4i", head[:16])
        head = struct.pack("<4i", x, y - first_row, level_x, level_y) + head[16:]
    return head + body


_NEEDED = ("channels", "compression", "lineOrder", "pixelAspectRatio", "screenWindowCenter", "screenWindowWidth")


def _small_file(part: Part, rows: tuple[int, int], chunks: Sequence[bytes]) -> io.BytesIO:
    """A file of one part with these rows of the data window."""
    x_first, y_first, x_last, _ = part.data
    window = struct.pack("<4i", x_first, y_first + rows[0], x_last, y_first + rows[1] - 1)
    attributes = {name: part.attributes[name] for name in _NEEDED}
    attributes |= {"dataWindow": ("box2i", window), "displayWindow": ("box2i", window)}
    version = 2 | _LONG_NAMES
    if part.tiled:
        version |= _TILED
        attributes["tiles"] = "tiledesc", part.attributes["tiles"][1][:8] + b"\0"  # one level
    head = MAGIC + struct.pack("<i", version)
    for name, (kind, value) in attributes.items():
        head += name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value
    head += b"\0"
    place = len(head) + 8 * len(chunks)
    table = []
    for chunk in chunks:
        table.append(place)
        place += len(chunk)
    return io.BytesIO(b"".join([head, struct.pack(f"<{len(table)}Q", *table), *chunks]))


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
