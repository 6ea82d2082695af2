"""Puts trained networks into the files that ship."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from pro_engine.io.weights import read_weights, save_weights
from pro_engine.models.checkpoint import load_strict, part_or_all
from pro_engine.models.contract import DepthBase
from pro_engine.models.outline_net import OutlineNet
from pro_engine.models.photo_heads import without_heads
from pro_engine.models.presets import MAP_REFINER, PRESETS, build_psi, build_refiner, load_psi
from pro_engine.models.refiner_maps import MapRefiner
from pro_engine.options import OptionError
from pro_engine.training.options import BundleConfig


def bundle(config: BundleConfig) -> None:
    """Write a base and its refiner under the prefixes of the preset `compact`; a base alone, with the heads that were
    trained on it, under that of `hybrid`; a refiner alone, the one for any Ψ; or the network for outlines. Convolution
    and matrix weights are in half precision, the rest (biases, norms and their statistics) in single.

    Raises:
        WeightsError: a file that cannot be read or does not fit its network.
        OptionError: none of them is given, or the network for outlines with another.
    """
    parts: list[tuple[str, Path, nn.Module]] = []
    preset = PRESETS["hybrid" if config.refiner is None else "compact"]
    name = preset.name if config.base is not None else "maps"
    if config.heads and name != "hybrid":
        raise OptionError("{0} are of the base of hybrid; give that as {1} and no {2}.", "heads", "base", "refiner")
    if config.base is not None:
        parts.append((preset.weights.prefix, config.base, build_psi(preset)))
    if config.refiner is not None:
        refiner = build_refiner(preset) if config.base is not None else MapRefiner()
        parts.append((MAP_REFINER.prefix, config.refiner, refiner))
    if config.outlines is not None:
        if parts:
            raise OptionError("{0} is a file of its own; leave out {1} and {2}.", "outlines", "base", "refiner")
        name = "outlines"
        parts.append(("", config.outlines, OutlineNet()))
    if not parts:
        raise OptionError("Give {0}, {1}, or both; or {2}.", "base", "refiner", "outlines")
    tensors: dict[str, Tensor] = {}
    for prefix, path, module in parts:
        weights = part_or_all(read_weights(path), prefix)
        if config.heads:
            weights = without_heads(weights)
            for heads in config.heads:
                weights.update(read_weights(heads))
        if isinstance(module, DepthBase):
            load_psi(module, weights)
        else:
            load_strict(module, weights, what=f"{name} ({path.name})")
        for key, value in weights.items():
            if key.endswith("num_batches_tracked"):
                continue
            tensors[prefix + key] = value.to(torch.float16) if value.ndim >= 2 else value
    save_weights(config.out, tensors, {"format": "pt", "licence": "Apache-2.0", "model": name})
