"""Training samples of the refiner: regions of 2 x 2 patches out of whole pictures."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pro_engine.training.bfm import BoolMap, nearest_cells
from pro_engine.training.bfm_cache import MaskCache
from pro_engine.training.data import MAX_DRAWS, LabelledView, nothing_to_learn, photograph, to_tensor
from pro_engine.training.degrade import Style, degrade, draw_style
from pro_engine.training.gpct import Group

GRIDS = (2, 3, 4, 4, 4, 5, 6)
"""Patches per side that a sample pretends; a patch covers 1 / grid of the picture."""
LABEL_LIMIT = 8.0
"""Normalised labels are clipped here: a wire before the lens must not outweigh the scene."""


class RegionSample(NamedTuple):
    """K regions of a picture, and the whole picture small.

    whole (3, h, w) and region (K, 3, H, W) RGB in [0, 1]; label (K, H, W) disparity normalised by the whole picture's
    median and mean absolute deviation; mask (K, H, W) bool, the pixels that count; box (K, 4) x0 y0 x1 y1 of the
    regions in [0, 1]. imagined () bool: whether coarse (h, w) and fine (K, 4, h, w) hold the maps of an imagined
    network, to be used instead of Ψ's; else both are empty of content.
    """

    whole: Tensor
    region: Tensor
    label: Tensor
    mask: Tensor
    box: Tensor
    imagined: Tensor
    coarse: Tensor
    fine: Tensor


class RegionSamples(Dataset[RegionSample]):
    """2 x 2 patch regions at random places of pictures; sample i depends on the seed and i alone.

    regions: how many of one picture make a sample. masks: of Bias Free Masking, or None to count every known pixel.
    imagined: share of the pictures with maps of imagined networks (`degrade.py`).
    """

    def __init__(
        self,
        views: list[LabelledView],
        seed: int,
        count: int,
        group: Group,
        *,
        regions: int = 1,
        masks: MaskCache | None = None,
        imagined: float = 0.0,
    ) -> None:
        self.views, self.seed, self.count, self.group = views, seed, count, group
        self.regions, self.masks, self.imagined = regions, masks, imagined

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> RegionSample:
        rng = np.random.default_rng((self.seed, index))
        for _ in range(MAX_DRAWS):
            view = int(rng.integers(len(self.views)))
            image, disparity, valid = self.views[view].read()
            known = disparity[valid]
            center = float(np.median(known)) if known.size else 0.0
            spread = float(np.abs(known - center).mean()) if known.size else 0.0
            if spread > 0.02 * max(center, 1e-3):
                break
        else:
            raise nothing_to_learn()
        mask = np.ones(self.group.patch, dtype=bool) if self.masks is None else self.masks.mask(view, rng)
        if rng.random() < 0.5:
            image, disparity, valid, mask = (
                np.ascontiguousarray(part[:, ::-1]) for part in (image, disparity, valid, mask)
            )
        image = photograph(rng, image)
        goal = np.clip((disparity - center) / spread, -LABEL_LIMIT, LABEL_LIMIT).astype(np.float32)
        patch_h, patch_w = self.group.patch
        whole = cv2.resize(image, (patch_w, patch_h), interpolation=cv2.INTER_AREA).astype(np.uint8)
        parts = [self._region(rng, image, goal, valid, mask) for _ in range(self.regions)]
        style = draw_style(rng) if rng.random() < self.imagined else None
        near = np.minimum(disparity, center + LABEL_LIMIT * spread)
        coarse = cv2.resize(near, (patch_w, patch_h), interpolation=cv2.INTER_AREA).astype(np.float32)
        region, label, counts, box = (torch.stack(column) for column in zip(*parts, strict=True))
        labels = (center + spread * label.numpy()).astype(np.float32)
        maps = self._imagine(rng, style, (coarse, whole), labels, region)
        return RegionSample(to_tensor(whole), region, label, counts, box, torch.tensor(style is not None), *maps)

    def _imagine(
        self,
        rng: np.random.Generator,
        style: Style | None,
        whole: tuple[NDArray[np.float32], NDArray[np.uint8]],
        labels: NDArray[np.float32],
        regions: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """coarse (h, w) and fine (K, 4, h, w) as the network of `style` sees them; zeros without one.

        whole: disparity (h, w) and picture (h, w, 3) of all; labels (K, H, W) disparity, regions (K, 3, H, W) RGB.
        """
        if style is None:
            h, w = self.group.patch
            return torch.zeros(h, w), torch.zeros(len(labels), 4, h, w)
        coarse = degrade(whole[0], whole[1].mean(-1, dtype=np.float32) / 255, style, rng)
        brightness = regions.mean(1).numpy()
        fine = [
            [degrade(np.maximum(label[window], 0), grey[window], style, rng) for window in self.group.windows()]
            for label, grey in zip(labels, brightness, strict=True)
        ]
        return torch.from_numpy(coarse), torch.from_numpy(np.array(fine))

    def _region(
        self, rng: np.random.Generator, image: NDArray[np.uint8], goal: NDArray, valid: BoolMap, mask: BoolMap
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """region (3, H, W), label (H, W), mask (H, W) and box (4,) of one region. `mask` is on a grid of its own."""
        h, w = goal.shape
        left, top, right, bottom = (round(v * n) for v, n in zip(self._draw_box(rng), (w, h, w, h), strict=True))
        region_h, region_w = self.group.region
        region = cv2.resize(image[top:bottom, left:right], (region_w, region_h), interpolation=cv2.INTER_AREA)
        label, known = (
            cv2.resize(
                part[top:bottom, left:right].astype(np.float32),
                (region_w, region_h),
                interpolation=cv2.INTER_NEAREST_EXACT,
            )
            for part in (goal, valid)
        )
        box = (left / w, top / h, right / w, bottom / h)
        rows = nearest_cells(box[1], box[3], region_h, mask.shape[0])
        columns = nearest_cells(box[0], box[2], region_w, mask.shape[1])
        counts = (known > 0) & mask[np.ix_(rows, columns)]
        return (
            to_tensor(region.astype(np.uint8)),
            torch.from_numpy(label),
            torch.from_numpy(counts),
            torch.tensor(box, dtype=torch.float32),
        )

    def _draw_box(self, rng: np.random.Generator) -> tuple[float, float, float, float]:
        grid = GRIDS[int(rng.integers(len(GRIDS)))]
        share_y = self.group.region[0] / self.group.patch[0] / grid
        share_x = self.group.region[1] / self.group.patch[1] / grid
        x0, y0 = rng.uniform(0, 1 - share_x), rng.uniform(0, 1 - share_y)
        return x0, y0, x0 + share_x, y0 + share_y
