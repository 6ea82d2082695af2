"""A PRO refiner for any Ψ: it sees the picture and the two disparity maps, but none of Ψ's features.

The residual head is that of `pro.ProRefiner`; what it decodes is the pyramid of its own input encoder. As nothing in it
depends on what kind of network Ψ is, one set of weights serves all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pro_engine.models.contract import Refiner, RefinerInput
from pro_engine.models.fusion import LEVELS, InputEncoder
from pro_engine.models.refiner_published import MapStart, ResidualHead

CHANNELS = (96, 64, 48, 32, 24, 12)
"""Width of the weights that come with the package, deepest level first."""


class MapRefiner(Refiner):
    """The refiner of the module docstring, with `channels` maps per level, deepest first."""

    sharpens = True
    feature_levels = 0

    def __init__(self, channels: Sequence[int] = CHANNELS) -> None:
        super().__init__()
        if len(channels) != LEVELS:
            raise ValueError(f"channels is {tuple(channels)}; give {LEVELS} counts, deepest level first")
        self.channels = tuple(channels)
        self.start = MapStart("snapped")
        self.encoder = InputEncoder(channels)
        self.head = ResidualHead(channels)

    def forward(self, patches: RefinerInput) -> Tensor:
        """See `Refiner.forward`; the feature maps of `patches` are not looked at and may be empty."""
        start, x = self.start(patches)
        return start + self.residual(x)

    def residual(self, x: Tensor) -> Tensor:
        """All that is learnt: input channels (P, 6, h, w) -> (P, 1, h, w)."""
        return self.head(self.encoder(x))
