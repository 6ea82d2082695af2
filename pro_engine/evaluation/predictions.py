"""Maps that another program wrote, to be scored like our own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pro_engine.errors import FileError
from pro_engine.io.depth import DEPTH_SUFFIXES, load_depth
from pro_engine.io.paths import PathLike, as_path
from pro_engine.types import FloatMap

_KINDS = (".disparity", "", ".depth")  # NAME.disparity.npz and NAME.depth.npz are what `pro-engine infer` writes


@dataclass(frozen=True, eq=False)
class Prediction:
    """disparity (H, W) float32, larger is nearer; tiles: the patch grid where the file tells it."""

    disparity: FloatMap
    tiles: tuple[int, int] | None


def check_folder(folder: PathLike) -> Path:
    """The folder of predictions.

    Raises:
        FileError: it is no folder, or holds no map, not even in folders below.
    """
    path = as_path(folder)
    if not path.is_dir():
        raise FileError(f"{path} is not a folder; give the folder that holds the predicted maps.")
    if not any(file.suffix.lower() in DEPTH_SUFFIXES for file in path.rglob("*")):
        raise FileError(f"{path} holds no map; known suffixes are {', '.join(sorted(DEPTH_SUFFIXES))}.")
    return path


def load_prediction(folder: Path, name: str) -> Prediction:
    """The map named `name` (which may hold slashes): NAME, NAME.disparity or NAME.depth with a suffix of a map.

    A file that says it is depth is inverted (an infinite depth becomes 0); any other is taken as disparity.

    Raises:
        FileError: there is none, there are several, or it cannot be read.
    """
    for kind in _KINDS:
        paths = [folder / f"{name}{kind}{suffix}" for suffix in sorted(DEPTH_SUFFIXES)]
        found = [path for path in paths if path.is_file()]
        if len(found) > 1:
            raise FileError(f"{name} has several predictions, {found[0].name} and {found[1].name}; keep one of them.")
        if found:
            return _read(found[0])
    raise FileError(f"{name} has no prediction; put {name}.npy (or .npz, .exr, .pfm, ...) into {folder}.")


def _read(path: Path) -> Prediction:
    values, info = load_depth(path)
    if info.quantity == "depth":
        with np.errstate(divide="ignore"):
            values = np.where(values > 0, 1 / values, np.nan).astype(np.float32)
    tiles = info.metadata.get("tiles")
    grid = (tiles[0], tiles[1]) if isinstance(tiles, list) and len(tiles) == 2 else None
    return Prediction(values, grid)
