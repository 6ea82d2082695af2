"""Rendered scenes as training samples: reading, cropping and the augmentation that brings renders closer to photos.

A sample is an RGB picture in [0, 1] and its disparity 1 / depth in 1 / metres, 0 for sky. Sample `i` of a run depends
on the seed and `i` alone, so that a resumed run sees what the unbroken one would have seen.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from pro_engine.evaluation.datasets.scenes import RenderedImage, list_rendered, read_rendered

__all__ = [
    "BaseSamples", "RenderedImage", "crop_matrix", "is_useful", "list_rendered", "photograph", "read_rendered", "shrink_to",
]


def crop_matrix(
    rng: np.random.Generator, source: tuple[int, int], target: tuple[int, int]
) -> NDArray[np.float64]:
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
    """False for a crop without depth to learn from: all sky, or one flat wall seen head-on."""
    high = float(np.percentile(disparity, 95))
    return high > 0 and float(disparity.std()) > 0.05 * float(disparity.mean())


def shrink_to(
    image: NDArray[np.uint8], disparity: NDArray[np.float32], target: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Both at a whole fraction of their size, chosen so that a crop of `target` pixels is not undersampled: the picture
    averaged, the disparity picked (an average across an edge would be a depth that is nowhere)."""
    height, width = disparity.shape
    step = round(min(height / target[0], width / target[1]) * 0.6)
    if step <= 1:
        return image, disparity
    h, w = height // step, width // step
    image = cv2.resize(image[: h * step, : w * step], (w, h), interpolation=cv2.INTER_AREA).astype(np.uint8)
    return image, np.ascontiguousarray(disparity[step // 2 :: step, step // 2 :: step][:h, :w])


class BaseSamples(Dataset[tuple[Tensor, Tensor]]):
    """Samples for the base model: image (3, h, w) float32 in [0, 1], disparity (h, w) float32 scaled so that its 95th
    percentile is 1 and clipped at 8.

    `sizes` gives (h, w) per step: sample i belongs to step i // batch, and all samples of a step share one size.
    """

    def __init__(
        self, views: list[RenderedImage], seed: int, batch: int, sizes: list[tuple[int, int]], steps: int
    ) -> None:
        self.views, self.seed, self.batch, self.sizes, self.steps = views, seed, batch, sizes, steps

    def __len__(self) -> int:
        return self.steps * self.batch

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        size_rng = np.random.default_rng((self.seed, 1 << 32, index // self.batch))
        h, w = self.sizes[int(size_rng.integers(len(self.sizes)))]
        while True:
            image, disparity, _ = read_rendered(self.views[int(rng.integers(len(self.views)))])
            image, disparity = shrink_to(image, disparity, (h, w))
            matrix = crop_matrix(rng, disparity.shape, (h, w))
            flags = cv2.WARP_INVERSE_MAP
            disparity = cv2.warpAffine(
                disparity, matrix, (w, h), flags=flags | cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101
            ).astype(np.float32)
            if is_useful(disparity):
                break
        image = cv2.warpAffine(
            image, matrix, (w, h), flags=flags | cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        ).astype(np.uint8)
        image = photograph(rng, image)
        scaled = np.minimum(disparity / np.percentile(disparity, 95), 8.0).astype(np.float32)
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255
        return tensor, torch.from_numpy(scaled)
