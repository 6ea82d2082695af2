"""Puts a trained base and its refiner into the one file that ships."""

from __future__ import annotations

import torch
from torch import Tensor

from pro_engine.io.weights import read_weights, save_weights
from pro_engine.models.checkpoint import load_strict
from pro_engine.models.presets import PRESETS, build_psi, build_refiner
from pro_engine.training.options import BundleConfig


def bundle(config: BundleConfig) -> None:
    """Write both under the prefixes of the preset `compact`; convolution and matrix weights in half precision, the rest
    (biases, norms and their statistics) in single.

    Raises:
        WeightsError: a file that cannot be read or does not fit the preset's networks.
    """
    preset = PRESETS["compact"]
    tensors: dict[str, Tensor] = {}
    for prefix, path, module in (
        ("psi.", config.base, build_psi(preset)),
        ("refiner.", config.refiner, build_refiner(preset)),
    ):
        weights = read_weights(path)
        load_strict(module, weights, what=f"{preset.name} ({path.name})")
        for key, value in weights.items():
            if key.endswith("num_batches_tracked"):
                continue
            tensors[prefix + key] = value.to(torch.float16) if value.ndim >= 2 else value
    save_weights(config.out, tensors, {"format": "pt", "licence": "Apache-2.0", "model": preset.name})
