# SPDX-License-Identifier: GPL-3.0-or-later
"""Distance, position, normal and mask of a rig as OpenEXR files of 32-bit floats, with the windows of its plate."""

from __future__ import annotations

import os
from pathlib import Path

import bpy
import numpy as np

from ..errors import UserError
from ..maths.exr import ExrWindows, frame_of_exr, zipped_exr
from ..maths.mesh import Intrinsics
from ..maths.passes import CameraPose, passes_of
from ..maths.simplify import FloatMap
from .build import PHOTO_KEY, parts_of

SPACE_CHOICES = ("CAMERA", "WORLD")
HEAD_BYTES = 1 << 16  # of a file, in which its header ends


def write_passes(
    rig: bpy.types.Object, depth: FloatMap, lens: Intrinsics, path: Path, space: str, *, replace: bool = False
) -> list[Path]:
    """Write NAME.z.exr, NAME.position.exr, NAME.normal.exr and NAME.mask.exr; all in units of the scene.

    Args:
        rig: made by `build`.
        depth, lens: of what is built, see `place`.
        path: of the files; an ending .exr is left out, and its stem is NAME.
        space: "CAMERA" (x right, y up, looking along -z) or "WORLD"; z is along the axis of view in both.
        replace: files of these names.

    Raises:
        UserError: the rig is not whole, a file is there, or one cannot be written.
    """
    camera = parts_of(rig).camera
    bpy.context.view_layer.update()  # places of what was moved just now are not known before
    rig_scale = float(np.cbrt(abs(camera.matrix_world.determinant())))
    stands = np.array(camera.matrix_world, np.float32)
    pose = (
        CameraPose(stands[:3, :3], stands[:3, 3])
        if space == "WORLD"
        else CameraPose(np.eye(3, dtype=np.float32) * np.float32(rig_scale), np.zeros(3, np.float32))
    )
    stem = path.with_suffix("") if path.suffix.lower() == ".exr" else path
    frame = _frame(rig[PHOTO_KEY], depth.shape[1], depth.shape[0])
    files = {stem.with_name(f"{stem.name}.{name}.exr"): maps for name, maps in
             passes_of(depth, lens, pose).items()}  # fmt: skip
    there = [file for file in files if file.exists()]
    if there and not replace:
        raise UserError(f"{there[0]} is there already; choose another name, or turn on Replace.")
    for file, maps in files.items():
        _write(file, zipped_exr(maps, frame))
    return list(files)


def _frame(photo: bpy.types.Image, width: int, height: int) -> ExrWindows:
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
        unfinished.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another folder.") from error
