"""Small files of every kind that the project reads, as bytes: what `fuzz_files.py` damages."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import OpenEXR
import tifffile
from PIL import Image

from pro_engine.io.depth import save_depth
from pro_engine.io.video import VideoWriter

WIDTH, HEIGHT = 61, 45  # no power of two, and no number that is frequent in headers


@dataclass(frozen=True)
class Seed:
    """A good file: its kind, suffix and bytes, and the bytes of files beside it by what their names add."""

    kind: str
    suffix: str
    data: bytes
    beside: dict[str, bytes] = field(default_factory=dict)


def colours() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H, W, 3): a ramp with a little noise."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ramp = np.stack([x * 4, y * 5, x + y], -1) + np.random.default_rng(0).integers(0, 12, (HEIGHT, WIDTH, 3))
    return ramp.astype(np.uint8)


def map_m() -> np.ndarray[Any, np.dtype[np.float32]]:
    """(H, W) depth in metres with unknown and infinite pixels."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    depth = np.asarray(1 + x / 10 + y / 20, np.float32)
    depth[:3, :5], depth[4, 6] = np.inf, np.nan
    return depth


def photo_seeds() -> list[Seed]:
    """A photo of every kind, and a video."""
    return [*_pillow(), *_of_png(), *_of_tiff(), *_of_exr(), *_others()]


def depth_seeds() -> list[Seed]:
    """A depth map of every kind."""
    options: dict[str, dict[str, Any]] = {
        "npz": {}, "npy": {}, "tiff": {}, "pfm": {}, "png": {}, "exr": {},
        "exr with valid": {"far_m": 1000.0, "channel": "depth.Z", "half": True},
        "png of disparity": {"quantity": "disparity"}, "npz of disparity": {"quantity": "disparity"},
    }  # fmt: skip
    return [*(_own_map(kind, more) for kind, more in options.items()), *_foreign_maps()]


def _written(suffix: str, write: Callable[[Path], object]) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        write(path)
        return path.read_bytes()


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _pillow() -> Iterator[Seed]:
    rgb = Image.fromarray(colours())
    alpha, exif = rgb.convert("RGBA"), Image.Exif()
    alpha.putalpha(rgb.convert("L"))
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif.get_ifd(0x8769).update({0xA405: 28, 0x920A: 4.5})
    yield Seed("jpeg baseline", ".jpg", _saved(rgb, "JPEG", quality=85))
    yield Seed("jpeg progressive", ".jpg", _saved(rgb, "JPEG", progressive=True, exif=exif))
    yield Seed("jpeg cmyk", ".jpg", _saved(rgb.convert("CMYK"), "JPEG"))
    yield Seed("jpeg grey, restarts", ".jpg", _saved(rgb.convert("L"), "JPEG", restart_marker_blocks=4))
    yield Seed("webp lossy", ".webp", _saved(rgb, "WEBP", quality=80, exif=exif))
    yield Seed("webp lossless", ".webp", _saved(alpha, "WEBP", lossless=True))
    yield Seed("webp animated", ".webp", _saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]))
    yield Seed("gif", ".gif", _saved(rgb.quantize(64), "GIF", save_all=True, append_images=[rgb.rotate(180)]))
    yield Seed("bmp", ".bmp", _saved(rgb, "BMP"))
    yield Seed("bmp palette", ".bmp", _saved(rgb.quantize(16), "BMP"))
    yield Seed("tga", ".tga", _saved(rgb, "TGA"))
    yield Seed("tga rle", ".tga", _saved(alpha, "TGA", compression="tga_rle"))
    yield Seed("ppm", ".ppm", _saved(rgb, "PPM"))
    yield Seed("pgm 16", ".pgm", _saved(Image.fromarray(colours()[..., 0].astype(np.uint16) * 257), "PPM"))
    yield Seed("jpeg 2000", ".jp2", _saved(rgb, "JPEG2000"))
    yield Seed("avif", ".avif", _saved(rgb, "AVIF", speed=10))


def _of_png() -> Iterator[Seed]:
    rgb = Image.fromarray(colours())
    wide = colours().astype(np.uint16) * 257
    yield Seed("png 8", ".png", _saved(rgb, "PNG"))
    yield Seed("png 16 grey", ".png", _saved(Image.fromarray(wide[..., 0]), "PNG"))
    yield Seed("png 16 rgb", ".png", cv2.imencode(".png", wide)[1].tobytes())
    yield Seed("png palette", ".png", _saved(rgb.quantize(32), "PNG", transparency=3))
    plain = _saved(rgb, "PNG")
    gamma = png_chunk(b"gAMA", struct.pack(">I", 100_000))
    yield Seed("png gamma", ".png", plain[:33] + gamma + plain[33:])
    # Adam7 (PNG 3, 8.2): of each of seven passes the first column and row, and the steps between them
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    reduced = (np.ascontiguousarray(colours()[y::by_y, x::by_x]) for x, y, by_x, by_y in passes)
    rows = b"".join(b"\0" + row.tobytes() for one in reduced for row in one)
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1))
    body = png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    yield Seed("png interlaced", ".png", plain[:8] + head + body)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _of_tiff() -> Iterator[Seed]:
    rgb, wide = colours(), colours().astype(np.uint16) * 257
    light = (colours() / 255).astype(np.float32)

    def tiff(kind: str, values: Any, **options: Any) -> Seed:
        return Seed(kind, ".tif", _written(".tif", lambda path: tifffile.imwrite(path, values, **options)))

    yield tiff("tiff strips", rgb, photometric="rgb", rowsperstrip=7)
    yield tiff("tiff 16 tiles", wide, photometric="rgb", tile=(16, 32), compression="zlib")
    yield tiff("tiff 16 planar", wide.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", byteorder=">")
    yield tiff("tiff half", light.astype(np.float16), photometric="rgb")
    yield tiff("tiff float big", light, photometric="rgb", bigtiff=True)
    yield tiff("tiff white is zero", wide[..., 0], photometric="miniswhite")
    yield tiff("tiff pages", np.stack([rgb[..., 0]] * 3), photometric="minisblack")
    yield Seed("tiff lzw", ".tif", _saved(Image.fromarray(rgb), "TIFF", compression="tiff_lzw"))
    yield Seed("tiff jpeg", ".tif", _saved(Image.fromarray(rgb), "TIFF", compression="jpeg"))
    one = (1, 1, 0, 1, 0, 1)
    tags: list[Any] = [
        (50706, "B", 4, bytes([1, 4, 0, 0])),  # DNGVersion
        (50708, "s", 0, "Tiny Camera"),  # UniqueCameraModel
        (33421, "H", 2, (2, 2)),  # CFARepeatPatternDim
        (33422, "B", 4, bytes([0, 1, 1, 2])),  # CFAPattern: red, green, green, blue
        (50721, "2i", 9, (*one, 0, 1, *one, 0, 1, *one[:2])),  # ColorMatrix1
        (50728, "2I", 3, (1, 2, 1, 1, 1, 4)),  # AsShotNeutral
    ]
    mosaic = np.random.default_rng(1).integers(2000, 40000, (46, 62), np.uint16)
    raw = _written(".dng", lambda path: tifffile.imwrite(path, mosaic, photometric=32803, extratags=tags))
    yield Seed("raw dng", ".dng", raw)


def _of_exr() -> Iterator[Seed]:
    red, green, blue = (np.ascontiguousarray(band) for band in np.moveaxis((colours() / 255).astype(np.float32), 2, 0))
    light = {"R": red, "G": green, "B": blue}
    half = {name: band.astype(np.float16) for name, band in light.items()}
    layers = {f"{layer}.{name}": band for layer in ("AO", "rgba") for name, band in half.items()}

    def exr(kind: str, *parts: dict[str, Any], **header: Any) -> Seed:
        about = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION, **header}
        files = [OpenEXR.Part(dict(about), part, f"part{number}") for number, part in enumerate(parts)]
        file = OpenEXR.File(files) if len(parts) > 1 else OpenEXR.File(about, parts[0])
        return Seed(kind, ".exr", _written(".exr", lambda path: file.write(str(path))))

    yield exr("exr", light)
    yield exr("exr piz", half, compression=OpenEXR.PIZ_COMPRESSION)
    yield exr("exr plain", light, compression=OpenEXR.NO_COMPRESSION)
    yield exr("exr layers", {**layers, "Z": red})
    yield exr("exr parts", {"Z": red}, half)
    tiles = OpenEXR.TileDescription()
    tiles.xSize, tiles.ySize = 16, 16
    yield exr("exr tiles", light, type=OpenEXR.tiledimage, tiles=tiles)
    data = exr("", light).data
    end = data.index(b"\0\0\0\0", data.index(b"screenWindowWidth")) + 3
    deep = b"type\0string\0" + struct.pack("<i", 12) + b"deepscanline"
    yield Seed("exr deep", ".exr", data[:4] + struct.pack("<i", 2 | 0x800) + data[8:end] + deep + data[end:])


def _others() -> Iterator[Seed]:
    yield Seed("hdr", ".hdr", cv2.imencode(".hdr", (colours() / 255).astype(np.float32))[1].tobytes())
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        heic = pillow_heif.from_pillow(Image.fromarray(colours()))
        yield Seed("heic", ".heic", _written(".heic", lambda path: heic.save(path)))
    try:
        import av  # noqa: F401
    except ImportError:
        return

    def video(path: Path) -> None:
        with VideoWriter(path) as writer:
            for number in range(4):
                writer.write(np.roll(colours(), number, 1), number / 25)

    yield Seed("mp4", ".mp4", _written(".mp4", video))


def _own_map(kind: str, options: dict[str, Any]) -> Seed:
    suffix = f".{kind.split()[0]}"
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        save_depth(path, map_m(), metadata={"model": "tiny", "tiles": [1, 2]}, **options)
        beside = {file.name.removeprefix(path.name): file.read_bytes() for file in Path(folder).iterdir()}
        return Seed(kind, suffix, beside.pop(""), beside)


def _foreign_maps() -> Iterator[Seed]:
    depth = map_m()
    millimetres = np.nan_to_num(depth * 1000, posinf=0).astype(np.uint16)
    yield Seed("npy plain", ".npy", _written(".npy", lambda path: np.save(path, depth.astype(np.float64))))
    yield Seed("npy columns", ".npy", _written(".npy", lambda path: np.save(path, np.asfortranarray(millimetres))))
    yield Seed("npz deflated", ".npz", _written(".npz", lambda path: np.savez_compressed(path, depth)))
    yield Seed("png plain", ".png", _saved(Image.fromarray(millimetres), "PNG"))
    yield Seed("tiff plain", ".tif", _written(".tif", lambda path: tifffile.imwrite(path, millimetres)))
    tiled: dict[str, Any] = {"tile": (16, 16), "compression": "zlib", "byteorder": ">"}
    yield Seed("tiff tiles", ".tif", _written(".tif", lambda path: tifffile.imwrite(path, depth, **tiled)))
    yield Seed("pfm plain", ".pfm", b"Pf\n%d %d\n1.0\n" % (WIDTH, HEIGHT) + depth.astype(">f4").tobytes())
    other = {name: np.zeros_like(depth) for name in ("ViewLayer.R", "ViewLayer.G", "ViewLayer.B", "ViewLayer.Mist")}
    header = {"type": OpenEXR.scanlineimage}
    file = OpenEXR.File(header, {**other, "ViewLayer.Depth.Z": depth})
    yield Seed("exr layers", ".exr", _written(".exr", lambda path: file.write(str(path))))
    parts = OpenEXR.File([OpenEXR.Part(header, other, "a"), OpenEXR.Part(dict(header), {"Z": depth}, "b")])
    yield Seed("exr parts", ".exr", _written(".exr", lambda path: parts.write(str(path))))
