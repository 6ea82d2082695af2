"""Cameras that are mounted turned: the picture upright for the model, its maps back in the camera's frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

import pro_engine as pro

Array = TypeVar("Array", bound=NDArray[Any])


def turned(values: Array, quarter_turns: int) -> Array:
    """An array (H, W, ...) turned clockwise by so many times 90 degrees."""
    return np.ascontiguousarray(np.rot90(values, -quarter_turns)) if quarter_turns % 4 else values  # type: ignore[return-value]


def turned_lens(lens: pro.Intrinsics, quarter_turns: int) -> pro.Intrinsics:
    """The lens of the turned picture."""
    for _ in range(quarter_turns % 4):
        lens = pro.Intrinsics(lens.fy, lens.fx, lens.height - 1 - lens.cy, lens.cx, lens.height, lens.width)
    return lens


def turned_back(result: pro.DepthResult, quarter_turns: int) -> pro.DepthResult:
    """The result for the picture as it was before it was turned; maps that the node does not use are left out."""
    if not quarter_turns % 4:
        return result
    lens = None if result.intrinsics is None else turned_lens(result.intrinsics, -quarter_turns)
    return replace(
        result,
        disparity=turned(result.disparity, -quarter_turns),
        valid=turned(result.valid, -quarter_turns),
        sky=None if result.sky is None else turned(result.sky, -quarter_turns),
        intrinsics=lens,
        depth=None,
        coarse=None,
        normals=None,
    )
