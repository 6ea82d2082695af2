"""Camera raw files, developed by LibRaw through the package rawpy."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from pro_engine.errors import DependencyError, FileError
from pro_engine.io import exif
from pro_engine.io.paths import check_size, decoding
from pro_engine.types import LoadedPhoto


def read_raw(path: Path, max_pixels: int) -> LoadedPhoto:
    """Develop a raw file with the camera's white balance, upright, to sRGB; the lens is that of its EXIF data.

    Raises:
        DependencyError: the package rawpy is missing.
        FileError: too large, truncated, damaged, or of a camera that LibRaw does not know.
    """
    try:
        import rawpy
    except ImportError as error:
        raise DependencyError(
            f"{path} is a camera raw file, which needs the extra raw; run: pip install 'pro-engine[raw]', or develop "
            "it to TIFF, PNG or JPEG."
        ) from error
    with decoding(path, "camera raw file", "develop it to TIFF, PNG or JPEG"), rawpy.imread(str(path)) as raw:
        check_size(path, raw.sizes.width, raw.sizes.height, max_pixels)
        image = np.ascontiguousarray(raw.postprocess(use_camera_wb=True, output_color=rawpy.ColorSpace.sRGB))
        if image.ndim != 3 or image.shape[2] != 3:
            raise FileError(f"{path} is a raw file of {image.shape[2:]} colours; develop it to TIFF, PNG or JPEG.")
        tags = _tags(path, raw)
    height, width = image.shape[:2]
    # The turn of the pixels is done; a lens with square pixels does not care for it.
    camera = exif.camera(tags, width, height, exif.orientation(tags))
    return LoadedPhoto(image, camera.intrinsics, camera.is_sure, notes=camera.notes)


def _tags(path: Path, raw: object) -> Image.Exif:
    """The EXIF data of the file where it is built like a TIFF, else that of the preview in it."""
    tags = exif.of_tiff(path)
    if not tags:
        try:
            preview = raw.extract_thumb()  # type: ignore[attr-defined]
            with Image.open(io.BytesIO(preview.data), formats=("JPEG",)) as picture:
                tags = exif.read_exif(picture)
        except Exception:  # a preview of another kind, or none: the lens stays unknown
            return Image.Exif()
    return tags
