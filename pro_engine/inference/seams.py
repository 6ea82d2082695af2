"""How visible patch borders are in a map."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pro_engine.types import FloatMap


class SeamJumps(NamedTuple):
    """Mean absolute difference between neighbouring pixels: across the borders of patches, and across their middles."""

    border: float
    middle: float

    @property
    def ratio(self) -> float:
        """border / middle; 1 means that borders look like any other place, nan that the map has no borders."""
        return self.border / self.middle if self.middle > 0 else float("nan")


def seam_jumps(values: FloatMap, tiles: tuple[int, int]) -> SeamJumps:
    """Jumps of `values` (H, W) across the borders of a (rows, columns) grid and across the same lines shifted by half a
    patch. nan where the grid is 1x1 and so has no borders."""
    border, middle = [], []
    for axis, count in enumerate(tiles):
        lines = np.moveaxis(values, axis, 0)
        length = lines.shape[0]
        for k in range(1, count):
            border.append(_jumps(lines, round(k * length / count)))
            middle += [_jumps(lines, round((k + half) * length / count)) for half in (-0.5, 0.5)]
    if not border:
        return SeamJumps(float("nan"), float("nan"))
    return SeamJumps(float(np.mean(np.concatenate(border))), float(np.mean(np.concatenate(middle))))


def _jumps(lines: FloatMap, at: int) -> FloatMap:
    return np.abs(lines[at] - lines[at - 1])
