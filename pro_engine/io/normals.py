"""Normal maps and masks as files.

In a file, x is to the right and z towards the viewer; y is upwards in the manner of OpenGL (Blender, Nuke, Unity), and
downwards in that of DirectX (Unreal). PNG holds (n + 1) / 2 in 16 bits as RGB; EXR holds n itself, from -1 to 1, in the
channels N.X, N.Y and N.Z. A pixel without a normal is the vector 0, grey in PNG. Both say the manner in their metadata.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import FileError, InputError
from pro_engine.io import exr
from pro_engine.io.atomic import atomic_path
from pro_engine.io.paths import PathLike, as_path, checked_metadata, decoding, readable_file, writer_for
from pro_engine.options import NormalY
from pro_engine.types import BoolMap, FloatMap, Plate

_MARK, _KEY = "pro_engine", "pro_engine_normals"
_HALF_RANGE = 32767.5
_AFTER_IHDR = 33  # bytes of the signature and of the first chunk of a PNG


def save_normals(
    path: PathLike,
    normals: NDArray[np.float32],
    *,
    y: NormalY = "opengl",
    metadata: Mapping[str, Any] | None = None,
    plate: Plate | None = None,
) -> None:
    """Write normals as .png (16 bits) or .exr (32-bit floats), by suffix and atomically.

    Args:
        path: .png or .exr.
        normals: (H, W, 3) float32 in the camera frame (x right, y down, z forward), as of `depth_to_normals`; NaN where
            there is none.
        y: which way the file's second component points, see the module.
        metadata: plain values to keep in the file.
        plate: where the pixels lie on the frame of an EXR.

    Raises:
        FileError: an unknown suffix, or the system refuses. InputError: not such an array, or another word for y.
        DependencyError: the package OpenEXR is not there.
    """
    target = as_path(path)
    suffix = writer_for(target, {".exr": None, ".png": None}, "normals")
    if y not in get_args(NormalY):
        raise InputError(f"y is {y!r}; give {' or '.join(get_args(NormalY))}.")
    if not isinstance(normals, np.ndarray) or normals.ndim != 3 or normals.shape[2] != 3 or normals.dtype != np.float32:
        raise InputError("normals are not (H, W, 3) float32; give what depth_to_normals returns.")
    signs = np.array([1, -1 if y == "opengl" else 1, -1], np.float32)  # from the camera frame: y down, z forward
    seen = np.nan_to_num(normals, nan=0.0) * signs
    text = json.dumps({_KEY: 1, "x": "right", "y": "up" if y == "opengl" else "down", "z": "towards the viewer",
                       "convention": y, **checked_metadata(metadata)})  # fmt: skip
    with atomic_path(target) as temporary:
        if suffix == ".png":
            _write_png(temporary, seen, text)
        else:
            _write_exr(temporary, seen, text, target, plate)


def save_mask(path: PathLike, mask: BoolMap) -> None:
    """Write a mask (H, W) as an 8-bit grey .png, atomically: 255 where it is true, else 0.

    Raises:
        FileError: another suffix, or the system refuses.
    """
    _save_grey(path, np.where(mask, np.uint8(255), np.uint8(0)), "a mask")


def load_mask(path: PathLike, shape: tuple[int, ...]) -> BoolMap:
    """Where a picture is white, (H, W) bool of `shape`; it may be of another size, but of the same proportions.

    Raises:
        FileError: it cannot be read, or has other proportions.
    """
    from PIL import Image

    source = readable_file(as_path(path))
    with decoding(source, "a mask"), Image.open(source) as picture:
        grey = picture.convert("L")
    height, width = shape[:2]
    if abs(grey.width * height - grey.height * width) > max(grey.width + grey.height, width + height):
        raise FileError(
            f"{source} is {grey.width}x{grey.height} but the photo {width}x{height}; give a mask of the photo's size."
        )
    if grey.size != (width, height):
        grey = grey.resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(grey) > 127


def save_alpha(path: PathLike, alpha: FloatMap) -> None:
    """Write shares (H, W) in [0, 1] as a 16-bit grey .png, atomically: 65535 is 1.

    Raises:
        FileError: another suffix, or the system refuses.
    """
    _save_grey(path, np.rint(alpha * np.float32(65535)).astype(np.uint16), "alpha")


def _save_grey(path: PathLike, values: NDArray[np.uint8] | NDArray[np.uint16], what: str) -> None:
    from PIL import Image

    target = as_path(path)
    writer_for(target, {".png": None}, what)
    with atomic_path(target) as temporary:
        Image.fromarray(values).save(temporary, format="PNG")


def _write_png(path: Path, seen: NDArray[np.float32], text: str) -> None:
    import cv2

    codes = np.rint((seen + 1) * np.float32(_HALF_RANGE)).astype(np.uint16)
    done, data = cv2.imencode(".png", codes[..., ::-1])
    assert done
    told = b"tEXt" + _MARK.encode() + b"\0" + text.encode("ascii")  # json escapes what is not ASCII
    chunk = struct.pack(">I", len(told) - 4) + told + struct.pack(">I", zlib.crc32(told))
    file = data.tobytes()
    path.write_bytes(file[:_AFTER_IHDR] + chunk + file[_AFTER_IHDR:])


def _write_exr(path: Path, seen: FloatMap, text: str, target: Path, plate: Plate | None) -> None:
    openexr = exr.import_openexr()
    attributes = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage, _MARK: text}
    if plate is not None:
        attributes |= {"dataWindow": (plate.data[:2], plate.data[2:])}
        attributes |= {"displayWindow": (plate.display[:2], plate.display[2:]), "pixelAspectRatio": plate.pixel_aspect}
    channels = {f"N.{axis}": np.ascontiguousarray(seen[..., i]) for i, axis in enumerate("XYZ")}
    try:
        openexr.File(attributes, channels).write(str(path))
    except (RuntimeError, ValueError) as error:
        raise FileError(f"{target} cannot be written as OpenEXR ({error}); check the disk's free space.") from error
