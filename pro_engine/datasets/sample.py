"""What every dataset gives: one sample form, and the protocol by which samples are reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pro_engine.types import BoolMap, FloatMap, ImageArray, Intrinsics

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class EvalSample:
    """One picture with what is known about it.

    name: unique in its dataset, made of letters, digits and `/ - _ .`. group: what results are averaged over, such as
    the scene or the split. image: (H, W, 3) uint8 RGB.

    disparity: (h, w) float32, true inverse depth, larger is nearer: 1 / metres, or pixels of stereo disparity with the
    offset of the principal points added, so that it is an exact multiple of 1 / depth; 0 is infinitely far. None where
    no depth is known. It may have another size than the image; both then show the same field of view.
    valid: (h, w) bool, where the disparity is known, None with it. The disparity is 0 where it is not.

    exact_edges: whether true depth edges lie where the picture has them. transparent: (h, w) bool, surfaces one sees
    through, on the grid of the disparity, or None where the dataset does not mark them. matte: (H, W) uint8 on the grid
    of the image, 255 is foreground, or None. A sample without disparity and matte is a picture to look at.
    intrinsics: of the image, or None. real: False for rendered pictures. backdrop: (h, w) bool, infinitely far but
    maybe no sky, as houses in the panorama behind a rendered scene, or None where the dataset does not mark it.
    """

    name: str
    group: str
    image: ImageArray
    disparity: FloatMap | None = None
    valid: BoolMap | None = None
    exact_edges: bool = False
    transparent: BoolMap | None = None
    matte: NDArray[np.uint8] | None = None
    intrinsics: Intrinsics | None = None
    real: bool = True
    backdrop: BoolMap | None = None


class EvalDataset(Protocol):
    """A dataset whose folder was checked; samples are read one at a time when they are asked for."""

    @property
    def name(self) -> str:
        """The kind of dataset, a key of `DATASETS`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> EvalSample:
        """Read sample `index`; IndexError past the end, FileError where one of its files is damaged."""


@dataclass(frozen=True)
class ListedDataset(Generic[Item]):
    """The EvalDataset that all openers return: what to read (paths, not pixels) and how. It can be pickled."""

    name: str
    items: tuple[Item, ...]
    read: Callable[[Item], EvalSample]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> EvalSample:
        return self.read(self.items[index])
