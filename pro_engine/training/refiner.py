"""Training the PRO refiner of a frozen Ψ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from pro_engine.errors import InputError
from pro_engine.io.weights import bundled_weights, fetch_weights
from pro_engine.models.base import DepthBase, RefinerInput
from pro_engine.models.checkpoint import load_strict
from pro_engine.models.presets import PRESETS, build_psi, load_psi
from pro_engine.models.pro import ProRefiner, center_and_spread, sample_roi
from pro_engine.training.base import initial_weights
from pro_engine.training.bfm import BoolMap, nearest_cells
from pro_engine.training.bfm_cache import MaskCache
from pro_engine.training.data import (
    MAX_DRAWS,
    View,
    list_views,
    nothing_to_learn,
    photograph,
    to_tensor,
    views_hash,
)
from pro_engine.training.gpct import CONSISTENCY_WEIGHT, Group, consistency_loss, cut, merge, plan_group
from pro_engine.training.loop import Progress, train
from pro_engine.training.losses import data_loss
from pro_engine.training.options import RefinerConfig
from pro_engine.training.pictures import map_picture, photo_picture
from pro_engine.training.processes import launch
from pro_engine.training.provenance import file_hash, module_hash

GRIDS = (2, 3, 4, 4, 4, 5, 6)
"""Patches per side that a sample pretends; a patch covers 1 / grid of the picture."""
LABEL_LIMIT = 8.0
"""Normalised labels are clipped here: a wire before the lens must not outweigh the scene."""


class RegionSample(NamedTuple):
    """K regions of a picture, and the whole picture small.

    whole (3, h, w) and region (K, 3, H, W) RGB in [0, 1]; label (K, H, W) disparity normalised by the whole picture's
    median and mean absolute deviation; mask (K, H, W) bool, the pixels that count; box (K, 4) x0 y0 x1 y1 of the
    regions in [0, 1].
    """

    whole: Tensor
    region: Tensor
    label: Tensor
    mask: Tensor
    box: Tensor


class RegionSamples(Dataset[RegionSample]):
    """2 x 2 patch regions at random places of pictures; sample i depends on the seed and i alone.

    regions: how many of one picture make a sample. masks: of Bias Free Masking, or None to count every known pixel.
    """

    def __init__(
        self,
        views: list[View],
        seed: int,
        count: int,
        group: Group,
        *,
        regions: int = 1,
        masks: MaskCache | None = None,
    ) -> None:
        self.views, self.seed, self.count, self.group = views, seed, count, group
        self.regions, self.masks = regions, masks

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
        return RegionSample(to_tensor(whole), *(torch.stack(column) for column in zip(*parts, strict=True)))

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


class RefinerTask:
    """The residual network on top of a frozen Ψ.

    gpct: judge the four patches of a region as one merged map and ask them to agree; else each is judged on its own.
    """

    kind = "refiner"

    def __init__(
        self,
        psi: DepthBase,
        refiner: nn.Module,
        samples: RegionSamples,
        *,
        gpct: bool = True,
        identity: Mapping[str, str] | None = None,
    ) -> None:
        self.psi = psi.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model: nn.Module = refiner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.samples, self.gpct, self.identity = samples, gpct, identity or {}

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """All refiner parameters at one rate."""
        return [{"params": list(self.model.parameters()), "lr": learning_rate}]

    def prepare(self, fabric: Fabric, progress: Progress) -> None:
        """Move Ψ to the device and make the masks that are missing, each process a share of them."""
        self.psi.to(fabric.device)
        if self.samples.masks is None:
            return
        mine = range(fabric.global_rank, len(self.samples.views), fabric.world_size)
        self.samples.masks.build(self.psi, mine, lambda done, total: progress(done, total, "masks"))
        fabric.barrier()

    def train_mode(self) -> None:
        """Refiner in training mode; Ψ stays frozen in evaluation mode."""
        self.model.train()

    def patches(self, sample: RegionSample) -> RefinerInput:
        """Run Ψ once on the whole picture and on the 4 K patches of its regions, and sample the former over the latter.

        Patches come region by region, in the order of `Group.corners`.
        """
        group = self.samples.group
        with torch.no_grad():
            coarse = self.psi(sample.whole[None].contiguous(memory_format=torch.channels_last))
            center, spread = center_and_spread(coarse.disparity)
            images = cut(group, sample.region).transpose(0, 1).flatten(0, 1)  # (4 K, 3, h, w)
            images = images.contiguous(memory_format=torch.channels_last)
            fine = self.psi(images)
            boxes = torch.tensor([box for region in sample.box.tolist() for box in _patch_boxes(group, region)])
            sampled = [
                sample_roi(m, boxes, (f.shape[-2], f.shape[-1]))
                for m, f in zip(coarse.features, fine.features, strict=True)
            ]
            roi = sample_roi(coarse.disparity, boxes, group.patch)
        return RefinerInput(images, roi, fine.disparity, tuple(sampled), fine.features, center, spread)

    def loss(self, batch: RegionSample) -> tuple[Tensor, dict[str, float]]:
        """Data losses on the mask, averaged over the batch's regions: of the merged map plus weighted consistency, or
        without GPCT of each patch."""
        group = self.samples.group
        inputs = [self.patches(RegionSample(*(t[i] for t in batch))) for i in range(batch.whole.shape[0])]
        refined = self.model(_join(inputs))[:, 0].float()  # (4 K B, h, w)
        labels, masks = batch.label.flatten(0, 1), batch.mask.flatten(0, 1)  # (K B, H, W)
        total = refined.new_zeros(())
        parts: dict[str, float] = {}
        for patches, label, mask in zip(refined.split(4), labels, masks, strict=True):
            if self.gpct:
                data, values = data_loss(merge(group, patches)[None], label[None], mask[None])
                consistency = consistency_loss(group, patches)
                total = total + data + CONSISTENCY_WEIGHT * consistency
                values["consistency"] = consistency.item()
            else:
                data, values = data_loss(patches, cut(group, label), cut(group, mask))
                total = total + data
            for name, value in values.items():
                parts[name] = parts.get(name, 0.0) + value / len(labels)
        return total / len(labels), parts

    def pictures(self, model: nn.Module, batch: RegionSample) -> dict[str, Tensor]:
        """Photo, label with masked pixels in black, and the merged coarse and refined maps of the first region, all in
        the label's range of colours."""
        group = self.samples.group
        sample = RegionSample(*(t[0] for t in batch))
        patches = self.patches(RegionSample(sample.whole, *(t[:1] for t in sample[1:])))
        coarse = (patches.coarse - patches.center) / patches.spread  # (4, 1, h, w)
        label = sample.label[0]
        limits = (label.min().item(), label.max().item())
        return {
            "photo": photo_picture(sample.region[0]),
            "label": map_picture(label, sample.mask[0], limits),
            "coarse": map_picture(merge(group, coarse[:, 0]), limits=limits),
            "refined": map_picture(merge(group, model(patches)[:, 0]), limits=limits),
        }


def _patch_boxes(group: Group, region: list[float]) -> list[list[float]]:
    """x0 y0 x1 y1 in [0, 1] of the picture for each patch of a region with such a box."""
    (h, w), (height, width) = group.patch, group.region
    x0, y0, x1, y1 = region
    span_x, span_y = (x1 - x0) / width, (y1 - y0) / height
    return [[x0 + x * span_x, y0 + y * span_y, x0 + (x + w) * span_x, y0 + (y + h) * span_y] for y, x in group.corners]


def _join(inputs: list[RefinerInput]) -> RefinerInput:
    """Several pictures' patches as one batch; center and spread become one number per patch."""
    first = inputs[0]
    per_patch = [[s.expand(len(i.image), 1, 1, 1) for s in (i.center, i.spread)] for i in inputs]
    return RefinerInput(
        torch.cat([i.image for i in inputs]),
        torch.cat([i.coarse for i in inputs]),
        torch.cat([i.fine for i in inputs]),
        tuple(torch.cat([i.coarse_features[k] for i in inputs]) for k in range(len(first.coarse_features))),
        tuple(torch.cat([i.fine_features[k] for i in inputs]) for k in range(len(first.fine_features))),
        torch.cat([c for c, _ in per_patch]),
        torch.cat([s for _, s in per_patch]),
    )


def load_psi_for_training(psi: str, architecture: str) -> DepthBase:
    """The Ψ that --psi names, on the CPU: a model's name, else a file with weights for the network of `architecture`
    (alone, or under the prefix of a bundle).

    Raises:
        InputError: neither a model nor a file.
        WeightsError: the weights cannot be read or fetched, or are of another network.
        DependencyError: the model needs a package that is not installed.
    """
    if psi in PRESETS:
        preset, file = PRESETS[psi], PRESETS[psi].weights
        path = (
            bundled_weights(file.filename)
            if file.repo is None
            else fetch_weights(
                file.repo, file.filename, licence=file.licence, commercial=file.commercial, revision=file.revision
            )
        )
    elif architecture not in PRESETS:
        raise InputError(f"architecture is {architecture!r}; give one of {', '.join(PRESETS)}.")
    elif Path(psi).is_file():
        preset, path = PRESETS[architecture], Path(psi)
    else:
        raise InputError(f"psi is {psi!r}; give a file of weights, or one of {', '.join(PRESETS)}.")
    network = build_psi(preset)
    load_psi(network, initial_weights(path, "psi."))
    return network


def refiner_task(config: RefinerConfig) -> RefinerTask:
    """Ψ, refiner and samples as configured.

    Raises:
        InputError: Ψ is not to be found, or does not take patches of this size.
        FileError, WeightsError, DependencyError: data or weights cannot be read.
    """
    psi = load_psi_for_training(config.psi, config.architecture)
    width, height = config.patch
    multiple = psi.spec.multiple
    if width % multiple or height % multiple:
        raise InputError(f"patch is {width}x{height}; {config.psi} takes sides that are multiples of {multiple}.")
    torch.manual_seed(config.seed)
    refiner = ProRefiner(psi.spec.feature_channels)
    views, psi_hash = list_views(list(config.data)), module_hash(psi)
    identity = {"data": views_hash(views), "psi weights": psi_hash}
    if config.initial is not None:
        load_strict(refiner, initial_weights(config.initial, "refiner."), what=f"refiner of {config.psi}")
        identity["initial"] = file_hash(config.initial)
    group = plan_group((height, width), config.overlap)
    masks = MaskCache(config.mask_cache or config.out / "masks", views, psi_hash, group.patch) if config.bfm else None
    count = config.steps * config.batch
    samples = RegionSamples(views, config.seed, count, group, regions=config.regions_per_image, masks=masks)
    return RefinerTask(psi, refiner, samples, gpct=config.gpct, identity=identity)


def run_refiner(config: RefinerConfig, progress: Progress = lambda *_: None) -> None:
    """Train the refiner as configured; see `loop.train` for what it leaves and raises."""
    task = refiner_task(config)
    train(task, config, config.out, fabric=launch(config), progress=progress)
