# SPDX-License-Identifier: GPL-3.0-or-later
"""Distance, position, normal and mask of a rig as OpenEXR files of 32-bit floats, with the windows of its plate."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import bpy
import numpy as np

from ..errors import UserError
from ..maths.exr import ExrWindows, frame_of_exr, zipped_exr
from ..maths.mesh import Intrinsics
from ..maths.passes import CameraPose, passes_of
from ..maths.simplify import FloatMap
from .build import PHOTO_KEY, parts_of, unit_of

PASSES = ("z", "position", "normal", "mask")  # of `passes_of`
HEAD_BYTES = 1 << 16  # of a file, in which its header ends


def pass_files(path: Path, frame: int | None = None) -> dict[str, Path]:
    """NAME.z.exr, NAME.position.exr, NAME.normal.exr and NAME.mask.exr, by what is in them; of a frame NAME.z.0101.exr.

    `path` has NAME as its stem; an ending .exr is left out.
    """
    stem = path.with_suffix("") if path.suffix.lower() == ".exr" else path
    number = "" if frame is None else f".{frame:04d}"
    return {name: stem.with_name(f"{stem.name}.{name}{number}.exr") for name in PASSES}


def check_free(files: Iterable[Path]) -> None:
    """UserError: one of the files is there."""
    there = next((file for file in files if file.exists()), None)
    if there is not None:
        raise UserError(f"{there} is there already; choose another name, or turn on Replace.")


def write_passes(
    rig: bpy.types.Object, depth: FloatMap, lens: Intrinsics, path: Path, space: str, frame: int | None = None
) -> list[Path]:
    """Write the files of `pass_files`, in the place of those that are there; all in units of the scene.

    Args:
        rig: made by `build`.
        depth, lens: of what it shows, see `shown_depth`.
        path, frame: as of `pass_files`.
        space: "CAMERA" (x right, y up, looking along -z) or "WORLD"; z is along the axis of view in both.

    Raises:
        UserError: the rig is not whole, as of `unit_of`, or a file cannot be written.
    """
    camera = parts_of(rig).camera
    rig_scale = unit_of(camera)
    stands = np.array(camera.matrix_world, np.float32)
    pose = (
        CameraPose(stands[:3, :3], stands[:3, 3])
        if space == "WORLD"
        else CameraPose(np.eye(3, dtype=np.float32) * np.float32(rig_scale), np.zeros(3, np.float32))
    )
    windows = _windows(rig[PHOTO_KEY], depth.shape[1], depth.shape[0])
    files = pass_files(path, frame)
    for name, maps in passes_of(depth, lens, pose).items():
        _write(files[name], zipped_exr(maps, windows))
    return list(files.values())


def _windows(photo: bpy.types.Image, width: int, height: int) -> ExrWindows:
    """Where the pixels of a photo lie: an EXR may be a part of a plate, and tells where."""
    try:
        head = photo.packed_file.data[:HEAD_BYTES] if photo.packed_file else _head_of(photo)
    except OSError:
        head = b""
    frame = frame_of_exr(head)
    return frame if frame is not None and frame.size == (width, height) else ExrWindows.of_size(width, height)


def _head_of(photo: bpy.types.Image) -> bytes:
    if not photo.filepath:
        return b""
    with open(bpy.path.abspath(photo.filepath, library=photo.library), "rb") as file:
        return file.read(HEAD_BYTES)


def _write(path: Path, data: bytes) -> None:
    """A file that is whole or not there."""
    unfinished = path.with_name(f"{path.name}.part")
    try:
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    except OSError as error:
        with suppress(OSError):  # a disk that is not to be written to
            unfinished.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another folder.") from error
