"""Training the PRO refiner of a frozen Ψ: `python -m pro_engine.training.refiner --data DIR --base FILE --out RUN`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from pro_engine.io.weights import read_weights
from pro_engine.models.base import DepthBase, RefinerInput
from pro_engine.models.presets import PRESETS, build_psi, build_refiner
from pro_engine.models.pro import center_and_spread, sample_roi
from pro_engine.training.data import RenderedImage, list_rendered, photograph, read_rendered
from pro_engine.training.gpct import (
    CONSISTENCY_WEIGHT,
    PUBLISHED_OVERLAP,
    Group,
    consistency_loss,
    cut,
    merge,
    plan_group,
)
from pro_engine.training.loop import LoopConfig, train
from pro_engine.training.losses import data_loss

GRIDS = (2, 3, 4, 4, 4, 5, 6)
"""Patches per side that a sample pretends; a patch covers 1 / grid of the picture."""
LABEL_LIMIT = 8.0
"""Normalised labels are clipped here: a wire before the lens must not outweigh the scene."""


class RegionSample(NamedTuple):
    """A region of a picture, and the whole picture small.

    whole (3, h, w) and region (3, H, W) RGB in [0, 1]; label (H, W) disparity normalised by the whole picture's median
    and mean absolute deviation; box (4,) x0 y0 x1 y1 of the region in [0, 1].
    """

    whole: Tensor
    region: Tensor
    label: Tensor
    box: Tensor


def _tensor(image: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


class RegionSamples(Dataset[RegionSample]):
    """2 x 2 patch regions at random places of rendered pictures; sample i depends on the seed and i alone."""

    def __init__(self, views: list[RenderedImage], seed: int, count: int, group: Group) -> None:
        self.views, self.seed, self.count, self.group = views, seed, count, group

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> RegionSample:
        rng = np.random.default_rng((self.seed, index))
        while True:
            image, disparity, _ = read_rendered(self.views[int(rng.integers(len(self.views)))])
            center = float(np.median(disparity))
            spread = float(np.abs(disparity - center).mean())
            if spread > 0.02 * max(center, 1e-3):
                break
        if rng.random() < 0.5:
            image, disparity = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(disparity[:, ::-1])
        image = photograph(rng, image)
        h, w = disparity.shape
        left, top, right, bottom = (round(v * n) for v, n in zip(self._draw_box(rng), (w, h, w, h), strict=True))
        region_h, region_w = self.group.region
        region = cv2.resize(image[top:bottom, left:right], (region_w, region_h), interpolation=cv2.INTER_AREA)
        label = cv2.resize(
            disparity[top:bottom, left:right], (region_w, region_h), interpolation=cv2.INTER_NEAREST_EXACT
        )
        patch_h, patch_w = self.group.patch
        whole = cv2.resize(image, (patch_w, patch_h), interpolation=cv2.INTER_AREA).astype(np.uint8)
        goal = np.clip((label - center) / spread, -LABEL_LIMIT, LABEL_LIMIT).astype(np.float32)
        box = torch.tensor([left / w, top / h, right / w, bottom / h], dtype=torch.float32)
        return RegionSample(_tensor(whole), _tensor(region.astype(np.uint8)), torch.from_numpy(goal), box)

    def _draw_box(self, rng: np.random.Generator) -> tuple[float, float, float, float]:
        grid = GRIDS[int(rng.integers(len(GRIDS)))]
        share_y = self.group.region[0] / self.group.patch[0] / grid
        share_x = self.group.region[1] / self.group.patch[1] / grid
        x0, y0 = rng.uniform(0, 1 - share_x), rng.uniform(0, 1 - share_y)
        return x0, y0, x0 + share_x, y0 + share_y


class RefinerTask:
    """The residual network on top of a frozen Ψ."""

    def __init__(self, psi: DepthBase, refiner: nn.Module, samples: RegionSamples) -> None:
        self.psi = psi.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model: nn.Module = refiner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.samples = samples

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """All refiner parameters at one rate."""
        return [{"params": list(self.model.parameters()), "lr": learning_rate}]

    def train_mode(self) -> None:
        """Refiner in training mode; Ψ stays frozen in evaluation mode."""
        self.model.train()

    def patches(self, sample: RegionSample) -> RefinerInput:
        """Run Ψ on the whole picture and on the four patches, and sample the former over the latter."""
        group = self.samples.group
        height, width = group.region
        x0, y0, x1, y1 = sample.box.tolist()
        with torch.no_grad():
            coarse = self.psi(sample.whole[None].contiguous(memory_format=torch.channels_last))
            center, spread = center_and_spread(coarse.disparity)
            images = cut(group, sample.region).contiguous(memory_format=torch.channels_last)  # (4, 3, h, w)
            fine = self.psi(images)
            span_x, span_y = (x1 - x0) / width, (y1 - y0) / height
            h, w = group.patch
            boxes = torch.tensor(
                [
                    [x0 + x * span_x, y0 + y * span_y, x0 + (x + w) * span_x, y0 + (y + h) * span_y]
                    for y, x in group.corners
                ]
            )
            sampled = [
                sample_roi(m, boxes, (f.shape[-2], f.shape[-1]))
                for m, f in zip(coarse.features, fine.features, strict=True)
            ]
            roi = sample_roi(coarse.disparity, boxes, group.patch)
        return RefinerInput(images, roi, fine.disparity, tuple(sampled), fine.features, center, spread)

    def loss(self, batch: RegionSample) -> tuple[Tensor, dict[str, float]]:
        """Data losses on the merged map plus weighted consistency, averaged over the batch's regions."""
        group = self.samples.group
        inputs = [self.patches(RegionSample(*(t[i] for t in batch))) for i in range(batch.whole.shape[0])]
        joined = _join(inputs)
        refined = self.model(joined)[:, 0]  # (4 B, h, w)
        total = refined.new_zeros(())
        parts: dict[str, float] = {}
        for i, patches in enumerate(refined.split(4)):
            label = batch.label[i][None]
            data, values = data_loss(merge(group, patches)[None], label, torch.ones_like(label, dtype=torch.bool))
            consistency = consistency_loss(group, patches)
            total = total + data + CONSISTENCY_WEIGHT * consistency
            for name, value in {**values, "consistency": consistency.item()}.items():
                parts[name] = parts.get(name, 0.0) + value / len(inputs)
        return total / len(inputs), parts


def _join(inputs: list[RefinerInput]) -> RefinerInput:
    """Several groups as one batch; center and spread become one number per patch."""
    first = inputs[0]
    per_patch = [(i.center.expand(4, 1, 1, 1), i.spread.expand(4, 1, 1, 1)) for i in inputs]
    return RefinerInput(
        torch.cat([i.image for i in inputs]),
        torch.cat([i.coarse for i in inputs]),
        torch.cat([i.fine for i in inputs]),
        tuple(torch.cat([i.coarse_features[k] for i in inputs]) for k in range(len(first.coarse_features))),
        tuple(torch.cat([i.fine_features[k] for i in inputs]) for k in range(len(first.fine_features))),
        torch.cat([c for c, _ in per_patch]),
        torch.cat([s for _, s in per_patch]),
    )


def main() -> None:
    """Command line of the refiner run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="folders of rendered scenes, 1280 px or wider"
    )
    parser.add_argument("--base", type=Path, required=True, help="weights of the frozen Ψ")
    parser.add_argument("--preset", default="compact", help="which Ψ the weights are of")
    parser.add_argument("--out", type=Path, required=True, help="run folder; an unfinished run in it is resumed")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=2, help="regions of four patches per step")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--patch", default="192x256", help="HxW of a patch as Ψ sees it")
    parser.add_argument("--overlap", type=float, default=PUBLISHED_OVERLAP)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    a = parser.parse_args()
    height, width = (int(n) for n in a.patch.split("x"))
    preset = PRESETS[a.preset]
    psi = build_psi(preset)
    psi.load_state_dict(read_weights(a.base))
    loop = LoopConfig(
        a.steps, a.batch, a.learning_rate, weight_decay=1e-3, clip_norm=1.0, seed=a.seed, workers=a.workers
    )
    samples = RegionSamples(
        list_rendered(a.data), a.seed, loop.steps * loop.batch, plan_group((height, width), a.overlap)
    )
    train(RefinerTask(psi, build_refiner(preset), samples), loop, a.out)


if __name__ == "__main__":
    main()
