"""Training the PRO refiner of a frozen Ψ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pro_engine.errors import InputError
from pro_engine.inference.load import fill, preset_weights
from pro_engine.io.weights import read_weights_and_config
from pro_engine.models.checkpoint import load_strict
from pro_engine.models.contract import DepthBase, PsiOutput, Refiner, RefinerInput
from pro_engine.models.presets import PRESETS, TRAINED_ON, build_pro_refiner, build_psi
from pro_engine.models.refiner_blend import BlendRefiner
from pro_engine.models.refiner_maps import MapRefiner
from pro_engine.models.refiner_published import center_and_spread, sample_roi
from pro_engine.options import ModelOptions
from pro_engine.training.base import initial_weights
from pro_engine.training.bfm_cache import MaskCache
from pro_engine.training.data import list_views, views_hash
from pro_engine.training.gpct import CONSISTENCY_WEIGHT, Group, consistency_loss, cut, merge, plan_group
from pro_engine.training.loop import Progress, train
from pro_engine.training.losses import data_loss, outline_loss
from pro_engine.training.options import RefinerConfig
from pro_engine.training.pictures import map_picture, photo_picture
from pro_engine.training.processes import launch
from pro_engine.training.provenance import file_hash, module_hash
from pro_engine.training.regions import RegionSample, RegionSamples
from pro_engine.training.targets import WINDOW_SHARE, local_target


class RefinerTask:
    """The residual network on top of a frozen Ψ.

    gpct: judge the four patches of a region as one merged map and ask them to agree; else each is judged on its own.
    local: aim at the label with Ψ's layout (`targets.py`) instead of at the label.
    """

    kind = "refiner"

    def __init__(
        self,
        psi: DepthBase,
        refiner: Refiner,
        samples: RegionSamples,
        *,
        gpct: bool = True,
        local: bool = True,
        identity: Mapping[str, str] | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self.psi = psi.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model: nn.Module = refiner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.samples, self.gpct, self.local = samples, gpct, local
        self._levels = refiner.feature_levels
        self.identity, self.about = identity or {}, about or {}
        self._blend = BlendRefiner()

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
        """The maps of the 4 K patches of a picture's regions, from one pass of Ψ over the whole picture and one over
        the patches, or from an imagined network.

        Patches come region by region, in the order of `Group.corners`.
        """
        group = self.samples.group
        with torch.no_grad():
            images = cut(group, sample.region).transpose(0, 1).flatten(0, 1)  # (4 K, 3, h, w)
            images = images.contiguous(memory_format=torch.channels_last)
            if sample.imagined:
                coarse = PsiOutput(sample.coarse[None, None], ())
                fine = PsiOutput(sample.fine.flatten(0, 1)[:, None], ())
            else:
                coarse = self.psi(sample.whole[None].contiguous(memory_format=torch.channels_last))
                fine = self.psi(images)
            center, spread = center_and_spread(coarse.disparity)
            boxes = torch.tensor([box for region in sample.box.tolist() for box in _patch_boxes(group, region)])
            roi = sample_roi(coarse.disparity, boxes, group.patch)
            own = fine.features[: self._levels]
            sampled = tuple(
                sample_roi(m, boxes, (f.shape[-2], f.shape[-1]))
                for m, f in zip(coarse.features[: self._levels], own, strict=True)
            )
        return RefinerInput(images, roi, fine.disparity, sampled, own, center, spread)

    def loss(self, batch: RegionSample) -> tuple[Tensor, dict[str, float]]:
        """Losses on the mask, averaged over the batch's regions: of the merged map plus weighted consistency, or
        without GPCT of each patch."""
        group = self.samples.group
        inputs = _join([self.patches(RegionSample(*(t[i] for t in batch))) for i in range(batch.whole.shape[0])])
        refined = self.model(inputs)[:, 0].float()  # (4 K B, h, w)
        masks = batch.mask.flatten(0, 1)  # (K B, H, W)
        goals = self._goals(batch.label.flatten(0, 1), masks, inputs)
        judge = outline_loss if self.local else data_loss
        total = refined.new_zeros(())
        parts: dict[str, float] = {}
        for patches, goal, mask in zip(refined.split(4), goals, masks, strict=True):
            if self.gpct:
                data, values = judge(merge(group, patches)[None], goal[None], mask[None])
                consistency = consistency_loss(group, patches)
                total = total + data + CONSISTENCY_WEIGHT * consistency
                values["consistency"] = consistency.item()
            else:
                data, values = judge(patches, cut(group, goal), cut(group, mask))
                total = total + data
            for name, value in values.items():
                parts[name] = parts.get(name, 0.0) + value / len(goals)
        return total / len(goals), parts

    def _goals(self, labels: Tensor, masks: Tensor, inputs: RefinerInput) -> Tensor:
        """What the merged maps are to be, (K B, H, W): the labels, or these with the layout that Ψ gives the region."""
        if not self.local:
            return labels
        group = self.samples.group
        with torch.no_grad():
            blended = self._blend(inputs)[:, 0]  # (4 K B, h, w)
            layout = torch.stack([merge(group, patches) for patches in blended.split(4)])
            return local_target(labels, layout, round(WINDOW_SHARE * min(group.patch)), masks)

    def pictures(self, model: nn.Module, batch: RegionSample) -> dict[str, Tensor]:
        """Photo, goal with masked pixels in black, and the merged coarse and refined maps of the first region, all in
        the goal's range of colours."""
        group = self.samples.group
        sample = RegionSample(*(t[0] for t in batch))
        patches = self.patches(_first_region(sample))
        coarse = (patches.coarse - patches.center) / patches.spread  # (4, 1, h, w)
        label = self._goals(sample.label[:1], sample.mask[:1], patches)[0]
        limits = (label.min().item(), label.max().item())
        return {
            "photo": photo_picture(sample.region[0]),
            "goal": map_picture(label, sample.mask[0], limits),
            "coarse": map_picture(merge(group, coarse[:, 0]), limits=limits),
            "refined": map_picture(merge(group, model(patches)[:, 0]), limits=limits),
        }


def _first_region(sample: RegionSample) -> RegionSample:
    """A picture's sample with one region instead of K."""
    parts = {name: getattr(sample, name)[:1] for name in ("region", "label", "mask", "box", "fine")}
    return sample._replace(**parts)


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


def load_psi_for_training(psi: str, architecture: str, *, any_revision: bool = ModelOptions.any_revision) -> DepthBase:
    """The Ψ that --psi names, on the CPU: a model's name, else a file with weights for the network of `architecture`
    (alone, or under the prefix of a bundle).

    Raises:
        InputError: neither a model nor a file.
        WeightsError: the weights cannot be read or fetched, or are of another network or revision.
        DependencyError: the model needs a package that is not installed.
    """
    if psi in PRESETS:
        preset, content = PRESETS[psi], preset_weights(PRESETS[psi].weights, any_revision=any_revision)
    elif architecture not in PRESETS:
        raise InputError(f"architecture is {architecture!r}; give one of {', '.join(PRESETS)}.")
    elif Path(psi).is_file():
        preset, content = PRESETS[architecture], read_weights_and_config(psi)
    else:
        raise InputError(f"psi is {psi!r}; give a file of weights, or one of {', '.join(PRESETS)}.")
    network = build_psi(preset)
    fill(network, preset, content)
    return network


def refiner_task(config: RefinerConfig) -> RefinerTask:
    """Ψ, refiner and samples as configured.

    Raises:
        InputError: Ψ is not to be found, or does not take patches of this size.
        FileError, WeightsError, DependencyError: data or weights cannot be read.
    """
    psi = load_psi_for_training(config.psi, config.architecture, any_revision=config.any_revision)
    width, height = config.patch
    multiple = psi.spec.multiple
    if width % multiple or height % multiple:
        raise InputError(f"patch is {width}x{height}; {config.psi} takes sides that are multiples of {multiple}.")
    torch.manual_seed(config.seed)
    architecture = config.psi if config.psi in PRESETS else config.architecture
    refiner = build_pro_refiner(PRESETS[architecture]) if config.features else MapRefiner()
    views, psi_hash = list_views(list(config.data)), module_hash(psi)
    identity = {"data": views_hash(views), "psi weights": psi_hash}
    if config.initial is not None:
        load_strict(refiner, initial_weights(config.initial, "refiner."), what=f"refiner of {config.psi}")
        identity["initial"] = file_hash(config.initial)
    group = plan_group((height, width), config.overlap)
    masks = MaskCache(config.mask_cache or config.out / "masks", views, psi_hash, group.patch) if config.bfm else None
    count = config.steps * config.batch
    samples = RegionSamples(
        views, config.seed, count, group, regions=config.regions_per_image, masks=masks, imagined=config.imagined
    )
    return RefinerTask(
        psi,
        refiner,
        samples,
        gpct=config.gpct,
        local=config.target == "local",
        identity=identity,
        about={TRAINED_ON: architecture} if config.features else {},
    )


def run_refiner(config: RefinerConfig, progress: Progress = lambda *_: None) -> None:
    """Train the refiner as configured; see `loop.train` for what it leaves and raises."""
    task = refiner_task(config)
    train(task, config, config.out, fabric=launch(config), progress=progress)
