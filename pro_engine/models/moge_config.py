"""The `model_config` that lies beside the weights in a published MoGe file: what the names and shapes of tensors do not
tell, as which blocks of the trunk are tapped, is compared with the network that is to take them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from pro_engine.errors import WeightsError
from pro_engine.models.moge import DEFAULT_TOKENS, MogeShape

_TRUNKS = {384: "dinov2_vits14", 768: "dinov2_vitb14", 1024: "dinov2_vitl14"}


def published_config(shape: MogeShape) -> dict[str, Any]:
    """The `model_config` of a published file for a network of this shape."""
    levels, width = list(shape.levels), shape.width
    heads = {"points_head": 3, "mask_head": 1} | ({"normal_head": 3} if shape.normals else {})
    return {
        "encoder": {
            "backbone": _TRUNKS.get(width, "another"),
            "intermediate_layers": [block - 1 for block in shape.taps],
            "dim_out": width,
        },
        "neck": _stack([width + 2, 2, 2, 2, 2], levels, shape.neck_blocks, None),
        **{name: _stack(levels, levels, shape.head_blocks, channels) for name, channels in heads.items()},
        "scale_head": {"dims": [width, width, width, 1]},
        "remap_output": "exp",
        "num_tokens_range": [1200, DEFAULT_TOKENS],
    }


def check_config(shape: MogeShape, config: Mapping[str, Any]) -> None:
    """Refuses weights of another network; entries that nobody here knows are named in the log and left aside.

    Raises:
        WeightsError: an entry says something else than `published_config`.
    """
    known = dict(_entries(published_config(shape)))
    for name, value in _entries(config):
        if name not in known:
            logging.getLogger(__name__).warning("Unknown entry %s of the weights' model_config is left aside.", name)
            continue
        wanted = known[name]
        if isinstance(wanted, list) and not isinstance(value, list | tuple):
            value = [value] * len(wanted)  # one for all levels
        if (list(value) if isinstance(wanted, list) else value) != wanted:
            raise WeightsError(
                f"These weights do not fit the MoGe-2 of this size: {name} is {value}, not {wanted}; use the weights "
                "that belong to this model."
            )


def _stack(inputs: list[int], widths: list[int], blocks: int, channels: int | None) -> dict[str, Any]:
    return {
        "dim_in": inputs,
        "dim_out": [None, None, None, None, channels],
        "dim_res_blocks": widths,
        "num_res_blocks": [0, blocks, blocks, blocks, 0],
        "dim_times_res_block_hidden": 1,
        "res_block_in_norm": "none",
        "res_block_hidden_norm": "none",
        "activation": "relu",
        "resamplers": ["conv_transpose", "conv_transpose", "conv_transpose", "bilinear"],
    }


def _entries(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name with dots and value of all entries that are no mapping themselves."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _entries(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
