"""Where the demo camera's pictures come from: a synthetic scene, a photo, a folder of photos, or a video."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

import pro_engine as pro
from ros2_pro.demo.scene import DemoScene
from ros2_pro.demo.settings import DemoSettings

SYNTHETIC = "synthetic"
SYNTHETIC_SIZE = (3840, 2160)  # pixels
DEFAULT_FOV_X_DEG = 60.0  # where neither the user nor EXIF says more
PHOTOS = {".bmp", ".heic", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm"}


class DemoPicture(NamedTuple):
    """An RGB image (H, W, 3), the camera it is of, and its depth (H, W) in metres where that is known exactly."""

    image: NDArray[np.uint8]
    camera: pro.Intrinsics
    depth: NDArray[np.float32] | None = None


def fit(image: NDArray[np.uint8], camera: pro.Intrinsics | None, wish: DemoSettings) -> DemoPicture:
    """The picture in the size and with the field of view that are wished; one side alone keeps the shape."""
    height, width = image.shape[:2]
    wide = wish.width or (max(1, round(width * wish.height / height)) if wish.height else width)
    high = wish.height or max(1, round(height * wide / width))
    if (wide, high) != (width, height):
        how = cv2.INTER_AREA if wide < width else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, (wide, high), interpolation=how), dtype=np.uint8)
    if camera is None or wish.fov_x_deg:
        fov_x_deg = wish.fov_x_deg or DEFAULT_FOV_X_DEG
        return DemoPicture(image, pro.Intrinsics.from_fov(wide, high, fov_x_deg=fov_x_deg))
    return DemoPicture(image, camera.resized(wide, high))


def open_source(wish: DemoSettings) -> Iterator[DemoPicture]:
    """The pictures of `wish.source`, in order; without end if `wish.loop`, which a scene does in any case.

    Raises:
        ValueError: nothing readable there; also later, at a file that cannot be read.
    """
    source = wish.source
    if source == SYNTHETIC:
        return _scene(wish)
    path = Path(source).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in PHOTOS)
        if not files:
            raise ValueError(f"source is {source}, a folder without photos; give one with {', '.join(sorted(PHOTOS))}.")
        return _photos(files, wish)
    if not path.is_file():
        raise ValueError(f"source is {source}, which is not there; give {SYNTHETIC}, a photo, a folder or a video.")
    if path.suffix.lower() in VIDEOS:
        return _video(path, wish)
    return _photos([path], wish)


def _scene(wish: DemoSettings) -> Iterator[DemoPicture]:
    width, height = wish.width or SYNTHETIC_SIZE[0], wish.height or SYNTHETIC_SIZE[1]
    camera = pro.Intrinsics.from_fov(width, height, fov_x_deg=wish.fov_x_deg or DEFAULT_FOV_X_DEG)
    scene = DemoScene(camera, wish.camera_height_m, math.radians(wish.pitch_deg))

    def pictures() -> Iterator[DemoPicture]:
        count = 0
        while True:
            image, depth = scene.render(count / wish.rate_hz)
            yield DemoPicture(image, camera, depth)
            count += 1

    return pictures()


def _photos(files: list[Path], wish: DemoSettings) -> Iterator[DemoPicture]:
    picture = _photo(files[0], wish)  # now, so that a wrong file is told at once

    def pictures() -> Iterator[DemoPicture]:
        yield picture
        yield from (_photo(file, wish) for file in files[1:])
        while wish.loop:
            yield from (_photo(file, wish) for file in files) if len(files) > 1 else (picture,)

    return pictures()


def _photo(file: Path, wish: DemoSettings) -> DemoPicture:
    try:
        return fit(*pro.load_image(file), wish)
    except pro.ProEngineError as error:
        raise ValueError(str(error)) from error


def _video(file: Path, wish: DemoSettings) -> Iterator[DemoPicture]:
    def once() -> Iterator[DemoPicture]:
        capture = cv2.VideoCapture(str(file))
        try:
            while True:
                there, frame = capture.read()
                if not there:
                    return
                yield fit(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), dtype=np.uint8), None, wish)
        finally:
            capture.release()

    def pictures() -> Iterator[DemoPicture]:
        yield from once()
        while wish.loop:
            yield from once()

    if next(once(), None) is None:
        raise ValueError(f"source is {file}, which OpenCV cannot play; give another video, for example MP4 with H.264.")
    return pictures()
