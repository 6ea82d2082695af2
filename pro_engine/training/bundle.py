"""Puts trained networks into the files that ship."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from pro_engine.io.weights import read_weights, save_weights
from pro_engine.models.checkpoint import load_strict
from pro_engine.models.presets import MAP_REFINER, PRESETS, build_psi, build_refiner
from pro_engine.models.refiner_maps import MapRefiner
from pro_engine.training.options import BundleConfig


def bundle(config: BundleConfig) -> None:
    """Write a base and its refiner under the prefixes of the preset `compact`, or, without a base, the refiner for any
    Ψ; convolution and matrix weights in half precision, the rest (biases, norms and their statistics) in single.

    Raises:
        WeightsError: a file that cannot be read or does not fit its network.
    """
    preset = PRESETS["compact"]
    assert preset.refiner_weights is not None
    parts: list[tuple[str, Path, nn.Module]]
    if config.base is None:
        name, parts = "maps", [(MAP_REFINER.prefix, config.refiner, MapRefiner())]
    else:
        name = preset.name
        parts = [
            (preset.weights.prefix, config.base, build_psi(preset)),
            (preset.refiner_weights.prefix, config.refiner, build_refiner(preset)),
        ]
    tensors: dict[str, Tensor] = {}
    for prefix, path, module in parts:
        weights = read_weights(path)
        load_strict(module, weights, what=f"{name} ({path.name})")
        for key, value in weights.items():
            if key.endswith("num_batches_tracked"):
                continue
            tensors[prefix + key] = value.to(torch.float16) if value.ndim >= 2 else value
    save_weights(config.out, tensors, {"format": "pt", "licence": "Apache-2.0", "model": name})
