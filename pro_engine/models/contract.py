"""The contract of Ψ, the frozen model that PRO refines, and of its refiner. Tensors in, tensors out.

Ψ sees RGB in [0, 1] (it normalises inside) at a size it accepts and returns relative disparity with six decoder maps:
level 0 is the deepest stage after its projection, 1 to 4 the fusion stages from deep to shallow, 5 the head's map at
full input size. The channel counts are `spec.feature_channels` in that order; sizes are whatever Ψ makes of its input.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn


@dataclass(frozen=True)
class PsiSpec:
    """What the predictor must know of a Ψ.

    input_area is the nominal number of input pixels; sides are rounded to `multiple`. With `keep_aspect` the sides
    follow the picture's shape at that area, else the input is a square. `published_resize` asks for the arithmetic
    of the published PRO: every patch cut out and resized bilinearly with aligned corners, the canvas too; otherwise
    the picture is resized once to the canvas of all patches (bicubic, anti-aliased) and cut there. `metric` marks a Ψ
    whose output is inverse metres.
    """

    feature_channels: tuple[int, int, int, int, int, int]
    input_area: int
    multiple: int
    keep_aspect: bool
    published_resize: bool = False
    metric: bool = False


class PsiOutput(NamedTuple):
    """disparity (B, 1, h, w), larger is nearer; features: six maps (B, C_l, h_l, w_l), see the module docstring."""

    disparity: Tensor
    features: tuple[Tensor, ...]


class DepthBase(nn.Module, ABC):
    """A zero-shot depth network Ψ."""

    spec: PsiSpec

    @abstractmethod
    def forward(self, image: Tensor) -> PsiOutput:
        """image: (B, 3, h, w) RGB in [0, 1], sides multiples of `spec.multiple`."""


class RefinerInput(NamedTuple):
    """One batch of patches for a refiner. All maps at the patch's Ψ input size (h, w), P patches.

    image (P, 3, h, w) RGB in [0, 1]; coarse (P, 1, h, w) the whole-image disparity sampled over each patch, raw; fine
    (P, 1, h, w) the patch's own disparity; coarse_features / fine_features: at least the maps that the refiner looks at
    (`Refiner.feature_levels`), sampled alike; center and spread: median and mean absolute deviation of the whole-image
    disparity, scalars or (P, 1, 1, 1).
    """

    image: Tensor
    coarse: Tensor
    fine: Tensor
    coarse_features: tuple[Tensor, ...]
    fine_features: tuple[Tensor, ...]
    center: Tensor
    spread: Tensor


class Refiner(nn.Module, ABC):
    """Turns coarse and fine maps of patches into refined disparity in units of (D - center) / spread.

    level_borders: whether steps that remain at the borders of patches are taken out afterwards. The published network
    lays its patches side by side and leaves it at that.
    sharpens: whether the enlarged map's outlines are snapped to those of the full-size picture at the end.
    feature_levels: how many of Ψ's six feature levels it looks at, from the deepest on; it need not be given more.
    """

    level_borders: bool = True
    sharpens: bool = False
    feature_levels: int = 6

    @abstractmethod
    def forward(self, patches: RefinerInput) -> Tensor:
        """Refined disparity (P, 1, h, w) in units of (D - center) / spread; may be negative.

        It is a start plus a residual. The start of the published network is the coarse map; ours begin with the blend
        of both maps whose outlines were snapped to the picture's (`outlines.py`).
        """
