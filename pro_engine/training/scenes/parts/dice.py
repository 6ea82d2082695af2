"""Short names for the random draws the scene builders make all the time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


class Dice:
    """Random draws from one generator; plain Python numbers come out."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def uniform(self, low: float, high: float) -> float:
        """Evenly between two bounds."""
        return low + (high - low) * self.rng.random()

    def log_uniform(self, low: float, high: float) -> float:
        """Evenly in the logarithm: every octave between the bounds is equally likely."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def normal(self, mean: float, spread: float) -> float:
        """Gaussian."""
        return mean + spread * self.rng.standard_normal()

    def count(self, low: int, high: int) -> int:
        """Whole number, both bounds included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        """True in `share` of the calls."""
        return self.rng.random() < share

    def pick(self, items: Sequence[Item]) -> Item:
        """One of the items; repeat an item to make it likelier."""
        return items[int(self.rng.integers(len(items)))]

    def sign(self) -> int:
        """-1 or 1."""
        return 1 if self.chance(0.5) else -1

    def angle(self) -> float:
        """Any heading, in radians."""
        return self.uniform(0.0, 2.0 * math.pi)
