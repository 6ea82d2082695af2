"""The maps of Bias Free Masking on disk: Ψ sees every picture once before training, not once per sample.

A file's name is a hash of Ψ's weights, of the settings, of the grid and of the picture's files (name, size, time), so
nothing stale is ever found. A file that is damaged or cut short is made again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from pro_engine.errors import FileError
from pro_engine.io.atomic import atomic_path
from pro_engine.models.contract import DepthBase
from pro_engine.training.bfm import BfmMaps, BfmSettings, BoolMap, bfm_maps, draw_mask
from pro_engine.training.data import LabelledView, to_tensor


class MaskCache:
    """Masks of `views` under `folder`, for one Ψ and a grid of (h, w) cells."""

    def __init__(
        self,
        folder: Path,
        views: Sequence[LabelledView],
        psi_hash: str,
        grid: tuple[int, int],
        settings: BfmSettings = BfmSettings(),  # noqa: B008  it is frozen
    ) -> None:
        self.settings, self.grid, self._views = settings, grid, views
        shared = json.dumps([psi_hash, grid, dataclasses.asdict(settings)])
        self._files = [folder / f"{_key(view, shared)}.npz" for view in views]

    def build(self, psi: DepthBase, indices: Sequence[int], progress: Callable[[int, int], None]) -> int:
        """Make what is missing or damaged for the views of these indices; progress(done, total). Returns how many.

        Raises:
            FileError: a picture cannot be read, or a file cannot be written.
        """
        made = 0
        for done, index in enumerate(indices):
            if self._load(index) is None:
                self._make(psi, index)
                made += 1
            progress(done + 1, len(indices))
        return made

    def mask(self, index: int, rng: np.random.Generator) -> BoolMap:
        """A drawn mask (h, w) of view `index`.

        Raises:
            FileError: its file is missing or damaged.
        """
        maps = self._load(index)
        if maps is None:
            raise FileError(
                f"The masks in {self._files[index]} are missing or damaged; give the same command again to remake them."
            )
        return draw_mask(maps, self.settings, rng)

    def _make(self, psi: DepthBase, index: int) -> None:
        image, label, valid = self._views[index].read()
        h, w = self.grid
        small = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA).astype(np.uint8)
        device = next(psi.parameters()).device
        with torch.no_grad():
            disparity = psi(to_tensor(small)[None].to(device)).disparity[0, 0].float().cpu().numpy()
        maps = bfm_maps(disparity, label, valid, self.settings)
        with atomic_path(self._files[index]) as temporary, open(temporary, "wb") as file:
            packed: dict[str, Any] = {name: np.packbits(value) for name, value in maps._asdict().items()}
            np.savez(file, **packed)

    def _load(self, index: int) -> BfmMaps | None:
        """The maps of a view; None where the file is missing or not as it was written."""
        h, w = self.grid
        try:
            with self._files[index].open("rb") as file, np.load(file) as stored:  # numpy leaves a damaged file open
                packed = [stored[name] for name in BfmMaps._fields]
            if any(part.shape != ((h * w + 7) // 8,) for part in packed):
                return None
            return BfmMaps(*(np.unpackbits(part, count=h * w).reshape(h, w).astype(bool) for part in packed))
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile):
            return None


def _key(view: LabelledView, shared: str) -> str:
    stamps = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in view.files]
    return hashlib.sha256(json.dumps([shared, stamps]).encode()).hexdigest()[:32]
