"""Pictures with exact depth as training samples: reading, cropping and what brings renders closer to photos.

A sample is an RGB picture in [0, 1], its disparity in 1 / metres (or a multiple of it), 0 for sky, and where that is
known. Sample `i` of a run depends on the seed and `i` alone, so that a resumed run sees what the unbroken one would
have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pro_engine.datasets import unrealstereo4k
from pro_engine.datasets.scenes import RenderedImage, list_rendered, read_rendered
from pro_engine.errors import FileError
from pro_engine.training.provenance import names_hash

MAX_DRAWS = 1000
"""Pictures drawn in vain before a data set is said to hold nothing to learn from."""


class LabelledPicture(NamedTuple):
    """image (H, W, 3) uint8 RGB; disparity (H, W) float32, larger is nearer, 0 for sky; valid (H, W) bool, where the
    disparity is known."""

    image: NDArray[np.uint8]
    disparity: NDArray[np.float32]
    valid: NDArray[np.bool_]


@dataclass(frozen=True)
class LabelledView:
    """One picture with its label on disk: a name for hashes, its files, and how to read it."""

    name: str
    files: tuple[Path, ...]
    read: Callable[[], LabelledPicture]


def list_views(folders: list[Path]) -> list[LabelledView]:
    """The pictures of several folders, one folder after the other: rendered scenes, or UnrealStereo4K, of which the
    left views of its list `train` are taken where it has that list, else all left views.

    Raises:
        FileError: a folder without a picture that has a label, or a view of UnrealStereo4K that is not complete.
    """
    return [view for folder in folders for view in (_unreal(folder) or _scenes(folder))]


def _unreal(folder: Path) -> list[LabelledView]:
    """The views of UnrealStereo4K; none where the folder does not look like it."""
    if not unrealstereo4k.recognise(folder):
        return []
    split = "train" if (folder / "splits" / "train.txt").exists() else None
    views = unrealstereo4k.list_views(folder, split=split)
    return [LabelledView(view.name, view.files, partial(_read_unreal, view)) for view in views]


def _scenes(folder: Path) -> list[LabelledView]:
    return [
        LabelledView(
            view.picture.relative_to(folder).as_posix(), (view.picture, view.labels), partial(_read_scene, view)
        )
        for view in list_rendered([folder])
    ]


def views_hash(views: list[LabelledView]) -> str:
    """A hash of which pictures these are, in which order, and how large their files; where they lie does not count."""
    return names_hash(f"{view.name} {[file.stat().st_size for file in view.files]}" for view in views)


def _read_scene(view: RenderedImage) -> LabelledPicture:
    image, disparity, _ = read_rendered(view)
    return LabelledPicture(image, disparity, np.ones(disparity.shape, dtype=bool))


def _read_unreal(view: unrealstereo4k.UnrealView) -> LabelledPicture:
    return LabelledPicture(*unrealstereo4k.read_view(view)[:3])


def crop_matrix(rng: np.random.Generator, source: tuple[int, int], target: tuple[int, int]) -> NDArray[np.float64]:
    """A 2x3 matrix from target pixels to source pixels: a random crop, aspect change, roll and horizontal flip.

    Roll about the optical axis leaves z-depth unchanged, so the labels stay exact.
    """
    (source_h, source_w), (h, w) = source, target
    share = math.sqrt(rng.uniform(0.5, 1.0))
    aspect = w / h * math.exp(rng.uniform(-0.25, 0.25))
    crop_h = min(source_h * share, source_w * share / aspect)
    crop_w = crop_h * aspect
    roll = math.radians(rng.normal(0, 5)) if rng.random() < 0.35 else 0.0
    center_x = rng.uniform(crop_w / 2, source_w - crop_w / 2)
    center_y = rng.uniform(crop_h / 2, source_h - crop_h / 2)
    scale_x, scale_y = crop_w / w * (-1 if rng.random() < 0.5 else 1), crop_h / h
    cos, sin = math.cos(roll), math.sin(roll)
    linear = np.array([[cos * scale_x, -sin * scale_y], [sin * scale_x, cos * scale_y]])
    middle = np.array([(w - 1) / 2, (h - 1) / 2])
    offset = np.array([center_x - 0.5, center_y - 0.5]) - linear @ middle
    return np.concatenate([linear, offset[:, None]], axis=1)


def _lighting(rng: np.random.Generator, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Gamma, contrast, brightness, saturation, white balance, and a light gradient across the picture."""
    if rng.random() < 0.8:
        image = np.power(image, np.float32(math.exp(rng.uniform(-0.5, 0.5))))
        mean = image.mean()
        image = (image - mean) * np.float32(rng.uniform(0.6, 1.4)) + mean + np.float32(rng.uniform(-0.12, 0.12))
        grey = image.mean(axis=-1, keepdims=True)
        image = grey + (image - grey) * np.float32(rng.uniform(0.0, 1.8))
        image = image * rng.uniform(0.8, 1.2, (1, 1, 3)).astype(np.float32)
    pick = rng.random()
    if pick < 0.08:
        image = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1)
    elif pick < 0.13:
        image = image[..., rng.permutation(3)]
    if rng.random() < 0.15:
        h, w = image.shape[:2]
        ramp_x = np.linspace(-1, 1, w, dtype=np.float32) * np.float32(rng.uniform(-0.4, 0.4))
        ramp_y = np.linspace(-1, 1, h, dtype=np.float32)[:, None] * np.float32(rng.uniform(-0.4, 0.4))
        image = image * (1 + ramp_x + ramp_y)[..., None]
    return image


def photograph(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What cameras and files do to a picture: blur, lost resolution, lighting, noise, JPEG blocks. Shape is kept."""
    h, w = image.shape[:2]
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.6)).astype(np.uint8)
    if rng.random() < 0.1:
        factor = rng.uniform(0.3, 0.7)
        small = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    bright = _lighting(rng, image.astype(np.float32) / np.float32(255))
    if rng.random() < 0.4:
        channels = 1 if rng.random() < 0.5 else 3
        bright = bright + rng.normal(0, rng.uniform(0.005, 0.06), (h, w, channels)).astype(np.float32)
    image = np.clip(np.nan_to_num(bright) * 255 + 0.5, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        ok, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 91))])
        decoded = cv2.imdecode(code, cv2.IMREAD_COLOR) if ok else None
        if decoded is not None:
            image = decoded.astype(np.uint8)
    return image


def is_useful(disparity: NDArray[np.float32]) -> bool:
    """False for a crop without depth to learn from: nothing known, all sky, or one flat wall seen head-on.

    disparity: of the known pixels, any shape.
    """
    if disparity.size == 0:
        return False
    high = float(np.percentile(disparity, 95))
    return high > 0 and float(disparity.std()) > 0.05 * float(disparity.mean())


def shrink_to(picture: LabelledPicture, target: tuple[int, int]) -> LabelledPicture:
    """The picture at a whole fraction of its size, chosen so that a crop of `target` pixels is not undersampled: the
    image averaged, the label picked (an average across an edge would be a depth that is nowhere)."""
    height, width = picture.disparity.shape
    step = round(min(height / target[0], width / target[1]) * 0.6)
    if step <= 1:
        return picture
    h, w = height // step, width // step
    image = cv2.resize(picture.image[: h * step, : w * step], (w, h), interpolation=cv2.INTER_AREA).astype(np.uint8)
    every = np.s_[step // 2 :: step, step // 2 :: step]
    return LabelledPicture(
        image,
        np.ascontiguousarray(picture.disparity[every][:h, :w]),
        np.ascontiguousarray(picture.valid[every][:h, :w]),
    )


def nothing_to_learn() -> FileError:
    """For a data set in which no picture with depth was found."""
    return FileError(
        f"{MAX_DRAWS} pictures in a row show nothing but sky or one flat wall; give a folder with other pictures."
    )


class BaseSamples(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Samples for the base model: image (3, h, w) float32 in [0, 1], disparity (h, w) float32 scaled so that its 95th
    percentile is 1 and clipped at 8, valid (h, w) bool.

    `sizes` gives (h, w) per step: sample i belongs to step i // batch, and all samples of a step share one size.
    """

    def __init__(
        self, views: list[LabelledView], seed: int, batch: int, sizes: list[tuple[int, int]], steps: int
    ) -> None:
        self.views, self.seed, self.batch, self.sizes, self.steps = views, seed, batch, sizes, steps

    def __len__(self) -> int:
        return self.steps * self.batch

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        size_rng = np.random.default_rng((self.seed, 1 << 32, index // self.batch))
        h, w = self.sizes[int(size_rng.integers(len(self.sizes)))]
        for _ in range(MAX_DRAWS):
            picture = shrink_to(self.views[int(rng.integers(len(self.views)))].read(), (h, w))
            matrix = crop_matrix(rng, picture.disparity.shape, (h, w))
            disparity, valid = (_crop(part, matrix, (h, w)) for part in (picture.disparity, picture.valid))
            known = disparity[valid > 0]
            if is_useful(known):
                break
        else:
            raise nothing_to_learn()
        image = cv2.warpAffine(
            picture.image,
            matrix,
            (w, h),
            flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        ).astype(np.uint8)
        scaled = np.minimum(disparity / np.percentile(known, 95), 8.0).astype(np.float32)
        return to_tensor(photograph(rng, image)), torch.from_numpy(scaled), torch.from_numpy(valid > 0)


def _crop(label: NDArray, matrix: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """A map at the pixels that `matrix` names, picked and not averaged."""
    h, w = size
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_NEAREST
    values = label.astype(np.float32)
    return cv2.warpAffine(values, matrix, (w, h), flags=flags, borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)


def to_tensor(image: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255
