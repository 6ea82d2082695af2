# SPDX-License-Identifier: GPL-3.0-or-later
"""Photos for the engine: files, images of the .blend written out as files, and all photos of a folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import bpy

from ..errors import UserError

SUFFIXES = frozenset(
    {".avif", ".bmp", ".exr", ".gif", ".hdr", ".heic", ".heif", ".hif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".jxl", ".mpo", ".pgm", ".png", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)  # those of the engine
VIDEOS = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts"}
    | {".webm", ".wmv"}
)
PLAIN_SPACES = frozenset({"sRGB", "Linear Rec.709", "Non-Color"})  # what the engine takes a file for
UNFIT = re.compile(r'[<>:"/\\|?*\x00-\x1f]')  # not allowed in file names somewhere


def file_of(text: str, what: str = "photo") -> Path:
    """The absolute path that a field of the panel means.

    Raises:
        UserError: nothing is chosen, or a path is relative to a .blend that has not been saved.
    """
    text = text.strip().strip("\"'")
    if not text:
        raise UserError(f"No {what} is chosen; choose one.")
    if text.startswith("//") and not bpy.data.filepath:
        raise UserError(
            f"{text} is relative to a file that is not saved yet; save the file, or choose the {what} again."
        )
    return Path(bpy.path.abspath(text)).absolute()


def photo_file(text: str) -> Path:
    """The path of the photo that a field of the panel means.

    Raises:
        UserError: as of `file_of`, it is not there, or it is a folder or a video.
    """
    path = file_of(text)
    if path.suffix.lower() in VIDEOS:
        raise UserError(f"{path.name} is a video, not a photo; choose it under Shot.")
    if path.is_dir():
        raise UserError(f"{path} is a folder; choose a photo in it, or the folder under Batch.")
    if not path.exists():
        raise UserError(f"{path} is not there; choose the photo again.")
    return path


def image_file(image: bpy.types.Image, folder: Path) -> Path:
    """A file of what an image shows; the image stays as it is.

    A file on disk, or packed as it was on disk, is taken as it is, with all that it tells of its camera. Anything
    else, such as painted, generated or log-encoded images, is written as a PNG as the view transform Standard shows it.

    Args:
        image: of the .blend.
        folder: to write to, if need be.

    Raises:
        UserError: it has no pixels, or is several pictures.
    """
    if image.source not in ("FILE", "GENERATED", "VIEWER"):
        raise UserError(f"{image.name} is a {image.source.lower()}; choose a single picture, or use Batch.")
    as_on_disk = image.source == "FILE" and not image.is_dirty and image.colorspace_settings.name in PLAIN_SPACES
    if as_on_disk and not image.packed_file and image.filepath:
        return file_of(bpy.path.abspath(image.filepath, library=image.library))
    stem = UNFIT.sub("_", Path(image.name).stem) or "image"
    try:
        if as_on_disk and image.packed_file:
            path = folder / f"{stem}{Path(image.filepath).suffix}"
            path.write_bytes(image.packed_file.data)
            return path
        if not (image.has_data or image.source == "GENERATED") or 0 in image.size:
            raise UserError(f"{image.name} has no pixels; choose another image, or render it first.")
        path = folder / f"{stem}.png"
        _save_as_shown(image, path)
    except OSError as error:
        raise UserError(f"{image.name} cannot be written ({error.strerror}); check the cache folder.") from error
    return path


def _save_as_shown(image: bpy.types.Image, path: Path) -> None:
    """Write a PNG through a scene made for it, whose settings are no user's."""
    scene = bpy.data.scenes.new("PRO")
    try:
        view: Any = scene.view_settings
        view.view_transform = "Standard"
        written: Any = scene.render.image_settings
        if bpy.app.version >= (5, 0):
            written.media_type = "IMAGE"
        written.file_format, written.color_mode = "PNG", "RGB"
        image.save_render(str(path), scene=scene)
    except RuntimeError as error:
        raise UserError(f"{image.name} cannot be written to {path.parent}; check the cache folder.") from error
    finally:
        bpy.data.scenes.remove(scene)
    if not path.is_file():
        raise UserError(f"{image.name} cannot be written to {path.parent}; check the cache folder.")


def photos_in(folder: Path, pattern: str = "") -> list[Path]:
    """The photos of a folder in the order of their names, numbers by value.

    Args:
        folder: not searched deeper.
        pattern: of names: `*` and `?` as in a shell, `#` for digits as in `plate.####.exr`; "" for all pictures.

    Raises:
        UserError: no such folder, or nothing in it.
    """
    try:
        files = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    except OSError as error:
        raise UserError(f"The folder {folder} cannot be read ({error.strerror}); choose another.") from error
    wanted = re.compile(_expression(pattern), re.IGNORECASE) if pattern.strip() else None
    found = [path for path in files if (wanted.fullmatch(path.name) if wanted else path.suffix.lower() in SUFFIXES)]
    if not found:
        raise UserError(f"There is no photo in {folder}" + (f" like {pattern}" if wanted else "") + "; choose another.")
    return sorted(found, key=lambda path: [(not p.isdigit(), int(p) if p.isdigit() else 0, p.lower())
                                           for p in re.split(r"(\d+)", path.name)])  # fmt: skip


def _expression(pattern: str) -> str:
    """A pattern of names as a regular expression; a run of `#` is as many digits, or more."""
    parts = re.split(r"(#+|\*|\?)", pattern.strip())
    known = {"*": ".*", "?": "."}
    return "".join(rf"\d{{{len(p)},}}" if p.startswith("#") else known.get(p) or re.escape(p) for p in parts)
