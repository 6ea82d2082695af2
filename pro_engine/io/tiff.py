"""TIFF pictures: which of the pictures in the file is meant, and the kinds of samples that Pillow does not take.

Pillow reads up to 8 bits a sample. All else is decoded here: whatever the samples are, Pillow is given their bytes as
an 8-bit grey picture, so that libtiff undoes the compression; predictor, byte order, planes and packed bits are undone
after it. Tags as in TIFF 6.0 and its Technical Notes 1 to 3 (Adobe).
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pro_engine.errors import FileError
from pro_engine.io import exif, pictures
from pro_engine.io.bits import used_bits
from pro_engine.io.linear import expose
from pro_engine.io.paths import check_bytes, check_size, decoding
from pro_engine.types import LoadedPhoto

_WAYS_OUT = "export it again as PNG or JPEG"
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _LAB = 0, 1, 2, 3, 5, 8
_RAW_KINDS = (32803, 34892)  # colour filter array, linear raw
_UINT, _INT, _FLOAT = 1, 2, 3
_BYTEWISE = (1, 5, 8, 32773, 32946, 34925, 50000)  # none, LZW, Deflate, PackBits, Deflate, LZMA, Zstandard
_PREDICTED = tuple(code for code in _BYTEWISE if code not in (1, 32773))
_MOST_PAGES = 32
_MOST_SAMPLES = 32
_SAME_SHAPE = 0.02
_MUCH_LARGER = 1.5


def read_tiff(path: Path, max_pixels: int) -> LoadedPhoto | None:
    """Read the full picture of a TIFF file, never a thumbnail of it; None where it is a camera raw file.

    The first page that is not marked as reduced is the full picture, unless another of its shape is larger. Float
    values count as scene-linear, whole numbers as finished sRGB; whole numbers that use the low bits alone, as cameras
    of 10 to 14 bits write them, are stretched.

    Raises:
        FileError: too large, truncated, damaged, or of a kind that is not known.
    """
    import tifffile

    with decoding(path, "TIFF file", _WAYS_OUT), tifffile.TiffFile(path) as file:
        pages = list(_pages(file))
        if any(_tag(page, 262) in _RAW_KINDS for page in pages):
            return None
        page, notes = _full_picture(pages)
        check_page(path, page, max_pixels)
        if page.bitspersample <= 8 and _tag(page, 339) != _INT:
            photo = _by_pillow(path, max_pixels, 0 if page is pages[0] else page.offset)
            if photo is not None:
                return _with_notes(photo, notes)
        tags = exif.of_tiff(path)
        picture, more = _decoded(path, page)
    return _with_notes(pictures.finished(picture, tags, int(_tag(page, 274) or exif.orientation(tags))), notes + more)


def check_page(path: Path, page: Any, max_pixels: int) -> None:
    """Refuse a page by its size in pixels and in bytes, before one of them is read.

    Raises:
        FileError: too large, a volume, or of too many samples a pixel.
    """
    check_size(path, page.imagewidth, page.imagelength, max_pixels)
    samples = page.imagedepth * page.samplesperpixel
    if page.imagedepth > 1 or samples > _MOST_SAMPLES:
        raise FileError(f"{path} holds {samples} values a pixel, not one picture or map; export a single one.")
    check_bytes(path, page.imagewidth * page.imagelength * samples * math.ceil(page.bitspersample / 8), max_pixels)


def _with_notes(photo: LoadedPhoto, notes: tuple[str, ...]) -> LoadedPhoto:
    return replace(photo, notes=notes + photo.notes)


def _tag(page: Any, code: int) -> Any:
    """The value of a tag, the first of several; None where it is missing."""
    tag = page.tags.get(code)
    value = None if tag is None else tag.value
    return value[0] if isinstance(value, tuple) and value else value


def _pages(file: Any) -> Iterator[Any]:
    """The pictures of a file: each page, then the pictures that belong to it."""
    for number in range(_MOST_PAGES):
        try:
            page = file.pages[number]
        except IndexError:
            return
        if not hasattr(page, "tags"):  # tifffile keeps less of pages that look like the first
            page = page.aspage()
        yield page
        if page.subifds:
            yield from page.pages


def _full_picture(pages: Sequence[Any]) -> tuple[Any, tuple[str, ...]]:
    """The picture that is meant, and a note where there was a choice."""
    # NewSubfileType: 1 reduced, 4 mask; the older SubfileType: 2 reduced
    full = [page for page in pages if not (int(_tag(page, 254) or 0) & 5 or _tag(page, 255) == 2)] or list(pages)
    first = full[0]
    ratio = first.imagewidth / max(1, first.imagelength)
    alike = [p for p in full if abs(math.log(p.imagewidth / max(1, p.imagelength) / ratio)) < _SAME_SHAPE]
    largest = max(alike, key=_area)
    taken = largest if _area(largest) > _MUCH_LARGER * _area(first) else first
    if len(full) == 1 and taken is pages[0]:
        return taken, ()
    where = "the first" if taken is first and first is pages[0] else "the full one"
    return taken, (f"Of its {len(pages)} pictures {where}, {taken.imagewidth} x {taken.imagelength}, was taken.",)


def _area(page: Any) -> int:
    return int(page.imagewidth * page.imagelength)


def _by_pillow(path: Path, max_pixels: int, offset: int) -> LoadedPhoto | None:
    """The picture through Pillow, or None where it does not know the kind.

    Args:
        path: the file.
        max_pixels: as elsewhere.
        offset: of the picture's directory, or 0 for the first, which needs no copy of the file.
    """
    source: io.BytesIO | None = None
    if offset:
        data = bytearray(path.read_bytes())
        order = "<" if data.startswith(b"II") else ">"
        if bytes(data[2:4]) in (b"+\0", b"\0+"):
            struct.pack_into(order + "Q", data, 8, offset)
        else:
            struct.pack_into(order + "I", data, 4, offset)
        source = io.BytesIO(data)
    try:
        return pictures.read_picture(
            path, max_pixels, ("TIFF",), source=source, of_file=exif.of_tiff(path) if offset else None
        )
    except FileError as error:
        if not isinstance(error.__cause__, UnidentifiedImageError):
            raise
        return None


def _decoded(path: Path, page: Any) -> tuple[Image.Image | NDArray[np.uint8], tuple[str, ...]]:
    """A picture of any kind of samples as 8 bits: an image in a mode of Pillow, or RGB that is finished."""
    kind, bits = int(_tag(page, 262) or 0), int(page.bitspersample)
    extra = _extra(page)
    colours = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _PALETTE: 1, _RGB: 3, _CMYK: 4, _LAB: 3}.get(kind)
    if colours is None or page.samplesperpixel < colours:
        raise FileError(f"{path} is a TIFF of colour kind {kind}, which is not known here; {_WAYS_OUT}.")
    alpha = extra[0] if extra and extra[0] in (1, 2) and kind in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB) else 0
    samples = samples_of(path, page, colours + (alpha > 0))
    if samples.dtype.kind == "f":
        return _of_floats(path, samples, kind, alpha)
    if kind == _PALETTE:
        table = np.asarray(page.colormap)  # (3, 2^bits) uint16
        return np.ascontiguousarray((table[:, samples[..., 0]] >> 8).astype(np.uint8).transpose(1, 2, 0)), ()
    if kind == _LAB:
        samples = np.stack([samples[..., 0], *(samples[..., 1:3] ^ (1 << (bits - 1))).transpose(2, 0, 1)], axis=-1)
        return Image.merge("LAB", _bands(samples >> (bits - 8))), ()
    if _tag(page, 339) == _INT:
        samples, bits = np.maximum(samples, 0).astype(f"u{samples.dtype.itemsize}"), bits - 1
    used, notes = used_bits(int(samples[..., :colours].max()), bits)
    low = np.minimum(samples >> (used - 8) if used >= 8 else samples << (8 - used), 255).astype(np.uint8)
    if alpha:
        low[..., colours] = (samples[..., colours] >> max(0, bits - 8)).astype(np.uint8)
    if kind == _WHITE_IS_ZERO:
        low[..., 0] = 255 - low[..., 0]
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[colours] if not alpha else {1: "LA", 3: "RGBA"}[colours]
    bands = _bands(low)
    if alpha == 1:
        mode, bands = "RGBa", bands if colours == 3 else (*bands[:1] * 3, bands[1])
    picture = Image.merge(mode, bands) if len(bands) > 1 else bands[0]
    picture.info["icc_profile"] = _profile(page)
    return picture, notes


def _bands(samples: NDArray[Any]) -> tuple[Image.Image, ...]:
    return tuple(Image.fromarray(np.ascontiguousarray(band, np.uint8)) for band in np.moveaxis(samples, 2, 0))


def _profile(page: Any) -> bytes | None:
    tag = page.tags.get(34675)
    return bytes(tag.value) if tag is not None and isinstance(tag.value, bytes) else None


def _extra(page: Any) -> tuple[int, ...]:
    """What the samples beside the colours are: 0 unknown, 1 alpha multiplied into the colours, 2 alpha of its own."""
    tag = page.tags.get(338)
    value = () if tag is None else tag.value
    return tuple(int(item) for item in (value if isinstance(value, tuple) else (value,)))


def _of_floats(path: Path, samples: NDArray[Any], kind: int, alpha: int) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    if kind not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        raise FileError(f"{path} holds floats of colour kind {kind}; export it again as float RGB or as PNG.")
    if kind == _WHITE_IS_ZERO:
        finite = samples[..., 0][np.isfinite(samples[..., 0])]
        samples[..., 0] = max(1.0, float(finite.max(initial=0))) - samples[..., 0]
    if alpha == 2 and np.nan_to_num(samples[..., -1]).any():
        samples[..., :-1] *= samples[..., -1:]
    if samples.shape[2] < 3:  # grey, with or without alpha
        samples = np.concatenate([np.repeat(samples[..., :1], 3, axis=2), samples[..., 1:]], axis=2)
    return expose(samples)


@dataclass(frozen=True)
class _Grid:
    """How the samples of a picture are cut up: pieces of `width` x `height` pixels, `across` beside each other."""

    width: int
    height: int
    across: int
    down: int


def samples_of(path: Path, page: Any, wanted: int) -> NDArray[Any]:
    """The first `wanted` samples of every pixel, (H, W, wanted), in the machine's byte order."""
    width, height, bits = int(page.imagewidth), int(page.imagelength), int(page.bitspersample)
    if int(page.compression) not in _BYTEWISE:
        raise FileError(
            f"{path} is a TIFF of {bits} bits with compression {int(page.compression)}, not known here; {_WAYS_OUT}."
        )
    if page.is_tiled:
        piece = int(page.tilewidth), int(page.tilelength)
    else:
        piece = width, min(height, int(page.rowsperstrip or height))
    grid = _Grid(*piece, math.ceil(width / piece[0]), math.ceil(height / piece[1]))
    planes = int(page.planarconfig) == 2
    each = 1 if planes else int(page.samplesperpixel)
    count = grid.across * grid.down
    result: NDArray[Any] | None = None
    for plane in range(wanted if planes else 1):
        offsets = page.dataoffsets[plane * count : (plane + 1) * count]
        sizes = page.databytecounts[plane * count : (plane + 1) * count]
        values = _plane(path, page, grid, each, list(zip(offsets, sizes, strict=True)))[:height, :width]
        if result is None:
            result = np.empty((height, width, wanted), values.dtype)
        if planes:
            result[..., plane] = values[..., 0]
        else:
            result[...] = values[..., :wanted]
    assert result is not None
    return result


def _plane(path: Path, page: Any, grid: _Grid, each: int, pieces: list[tuple[int, int]]) -> NDArray[Any]:
    """Samples of one plane, (rows, columns, each); rows and columns up to the end of the last piece."""
    bits = int(page.bitspersample)
    piece_bytes = math.ceil(grid.width * each * bits / 8)
    rows = _bytes(path, page, grid, piece_bytes, pieces).reshape(-1, grid.across, piece_bytes)
    order = page.parent.byteorder
    predictor = int(page.predictor) if int(page.compression) in _PREDICTED else 1
    if predictor == 3:
        return _without_float_predictor(rows, grid.width, each, bits).reshape(len(rows), -1, each)
    if bits % 8 or bits == 24:
        if _tag(page, 339) == _FLOAT:
            raise FileError(f"{path} holds floats of {bits} bits; export it again with 16 or 32 bits.")
        values = _unpacked(rows, grid.width * each, bits, order)
    else:
        letter = {_INT: "i", _FLOAT: "f"}.get(int(_tag(page, 339) or _UINT), "u")
        values = rows.view(f"{order}{letter}{bits // 8}").astype(f"={letter}{bits // 8}")
    values = values.reshape(len(rows), grid.across, grid.width, each)
    if predictor == 2:
        values = np.cumsum(values, axis=2, dtype=values.dtype)
    return values.reshape(len(rows), -1, each)


def _bytes(path: Path, page: Any, grid: _Grid, piece_bytes: int, pieces: list[tuple[int, int]]) -> NDArray[np.uint8]:
    """The bytes of a plane without compression, (rows, bytes of all pieces of a row)."""
    with open(path, "rb") as file:
        bodies = [_read(file, offset, size) for offset, size in pieces]
    height = grid.down * grid.height if page.is_tiled else int(page.imagelength)
    small = _grey_tiff(page, (grid.across * piece_bytes, height), (piece_bytes, grid.height), bodies)
    with Image.open(io.BytesIO(small), formats=("TIFF",)) as picture:
        return np.array(picture)


def _read(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    body = file.read(size)
    if len(body) != size or not size:
        raise ValueError("a part of the picture is missing")
    return body


def _grey_tiff(page: Any, size: tuple[int, int], piece: tuple[int, int], bodies: list[bytes]) -> bytes:
    """A TIFF file whose 8-bit grey samples are the bytes of the pieces."""
    places, place = [], 8
    for body in bodies:
        places.append(place)
        place += len(body)
    tags: list[tuple[int, list[int]]] = [
        (256, [size[0]]),
        (257, [size[1]]),
        (258, [8]),
        (259, [int(page.compression)]),
        (262, [_BLACK_IS_ZERO]),
        (266, [int(page.fillorder)]),
        (277, [1]),
    ]
    counts = [len(body) for body in bodies]
    if page.is_tiled:
        tags += [(322, [piece[0]]), (323, [piece[1]]), (324, places), (325, counts)]
    else:
        tags += [(273, places), (278, [piece[1]]), (279, counts)]
    place += place % 2
    lists = place + 2 + 12 * len(tags) + 4
    directory, behind = struct.pack("<H", len(tags)), b""
    for code, values in sorted(tags):
        data = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            data, behind = struct.pack("<I", lists + len(behind)), behind + data
        directory += struct.pack("<HHI", code, 4, len(values)) + data
    body = b"".join(bodies)
    return struct.pack("<2sHI", b"II", 42, place) + body + b"\0" * (len(body) % 2) + directory + bytes(4) + behind


def _without_float_predictor(rows: NDArray[np.uint8], width: int, each: int, bits: int) -> NDArray[Any]:
    """Floats whose bytes were stored as differences, the high bytes of a row first (Technical Note 3)."""
    count, across, _ = rows.shape
    summed = np.cumsum(rows.reshape(count, across, -1, each), axis=2, dtype=np.uint8)
    by_place = summed.reshape(count, across, bits // 8, width * each)
    return np.ascontiguousarray(np.moveaxis(by_place, 2, 3)).view(f">f{bits // 8}").astype(f"=f{bits // 8}")


def _unpacked(rows: NDArray[np.uint8], values: int, bits: int, order: str) -> NDArray[Any]:
    """Whole numbers of an odd number of bits, packed into bytes without gaps but at the end of a row."""
    if bits > 16:
        if bits != 24:
            raise FileError(f"Samples of {bits} bits are not known here; {_WAYS_OUT}.")
        parts = rows[..., : 3 * values].reshape(*rows.shape[:2], values, 3).astype(np.uint32)
        weights = np.array([1, 1 << 8, 1 << 16] if order == "<" else [1 << 16, 1 << 8, 1], np.uint32)
        return np.asarray((parts * weights).sum(axis=-1, dtype=np.uint32))
    result = np.empty((*rows.shape[:2], values), np.uint16)
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
    for row in range(len(rows)):
        single = np.unpackbits(rows[row], axis=-1)[:, : values * bits].reshape(-1, values, bits)
        result[row] = single @ weights
    return result
