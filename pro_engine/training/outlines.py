"""Training the network that says where outlines are (`models/outline_net.py`), on renders and what a model makes of
them.

A map is made of each picture once and kept in the run's folder; samples are crops of it. Over most pictures flat
shapes, letters and lines are painted before, as maps have slopes where a surface has a pattern and renders have too few
of these. Labels:

- An outline is near by within 6 pixels of two neighbours whose depths differ by more than a ratio of 1.05. Between 5
  and 8 pixels nothing is judged, and smaller steps, from 1.02 on, count less.
- A pixel is on the near side if its disparity is above the middle of the range within 10 pixels; where map and label
  vary in opposite directions around, sides are the map's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.inference.resize import resized
from pro_engine.inference.sides import patterns
from pro_engine.io.atomic import atomic_path
from pro_engine.io.weights import bundled_weights, read_weights
from pro_engine.models.checkpoint import load_strict
from pro_engine.models.outline_net import COARSE_CELL, OutlineNet
from pro_engine.options import InferenceOptions
from pro_engine.training.data import LabelledView, list_views, photograph, to_tensor, views_hash
from pro_engine.training.loop import Progress, train
from pro_engine.training.options import OutlinesConfig
from pro_engine.training.pictures import map_picture, photo_picture
from pro_engine.training.prints import printed
from pro_engine.training.processes import launch
from pro_engine.types import BoolMap, FloatMap

CROP = (256, 320)
EDGE_RATIO, SMALL_RATIO = 1.05, 1.02
NEAR_PX, SURE_PX, AWAY_PX = 6, 5, 8
SIDE_PX, SIDE_REACH_PX = 10, 12
SMALL_WEIGHT = 0.4
_TINY = 1e-9
_FRONT_BLOCKS = 11


class OutlineBatch(NamedTuple):
    """image (B, 3, h, w) RGB in [0, 1]; what `patterns` gives of both maps; labels and their weights (B, h, w)."""

    image: Tensor
    refined: Tensor
    coarse: Tensor
    near_by: Tensor
    near_by_weight: Tensor
    near_side: Tensor
    near_side_weight: Tensor


class OutlineSamples(Dataset[OutlineBatch]):
    """Crops; sample i and map n depend on the seed and their number alone."""

    def __init__(self, views: list[LabelledView], config: OutlinesConfig, models: list[DepthPredictor]) -> None:
        self.views, self.config, self.models = views, config, models

    def __len__(self) -> int:
        return self.config.steps * self.config.batch

    def __getitem__(self, index: int) -> OutlineBatch:
        rng = np.random.default_rng((self.config.seed, index))
        kept = self._map(int(rng.integers(self.config.maps)))
        limits = [tuple(np.percentile(kept[name][::8, ::8], (1, 99))) for name in ("refined", "coarse")]
        cut = _crop(kept, rng)
        soft = resized(cut["coarse"], (CROP[0] // COARSE_CELL, CROP[1] // COARSE_CELL))
        refined, coarse = patterns(cut["refined"], *limits[0]), patterns(soft, *limits[1])
        sides = labels(cut["disparity"], cut["valid"] > 0, cut["refined"])
        near_by_weight = sides[1] * (0.1 + 0.9 * np.clip((refined[1] + 0.5) * np.exp(4 * refined[2] - 2) / 0.04, 0, 1))
        image = to_tensor(photograph(rng, cut["image"]))
        arrays = (refined, coarse, sides[0], near_by_weight, sides[2], sides[3])
        return OutlineBatch(image, *(torch.from_numpy(np.asarray(each, np.float32)) for each in arrays))

    def _map(self, number: int) -> Mapping[str, NDArray[Any]]:
        """Picture, refined and coarse map, label and where it is known, of map `number`; made when it is missing."""
        path = self.config.out / "maps" / f"{number:05d}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as new, new.open("wb") as file:
                made: dict[str, Any] = self._made(np.random.default_rng((self.config.seed, 1 << 32, number)))
                np.savez(file, **made)
        with np.load(path) as archive:
            return {name: archive[name].astype(np.float32) if name != "image" else archive[name] for name in archive}

    def _made(self, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        picture = self.views[int(rng.integers(len(self.views)))].read()
        model = self.models[int(rng.integers(len(self.models)))]
        height, width = picture.disparity.shape
        share = rng.uniform(0.4, 1) if width > 2 * CROP[1] else 1.0
        size = (round(height * share), round(width * share))
        image = resized(picture.image, size)
        if rng.random() < self.config.prints:
            other = self.views[int(rng.integers(len(self.views)))].read().image
            image = printed(image, other, rng)
        layout = model.plan(*size, "auto")
        image = resized(image, layout.canvas)  # of the size of the canvas, so that nothing is enlarged
        result = model.infer(image, options=InferenceOptions(tiles=layout.grid, keep_coarse=True))
        assert result.coarse is not None
        width_and_height = layout.canvas[::-1]
        way = cv2.INTER_NEAREST
        return {
            "image": image,
            "refined": result.disparity.astype(np.float16),
            "coarse": result.coarse.astype(np.float16),
            "disparity": cv2.resize(picture.disparity, width_and_height, interpolation=way),
            "valid": cv2.resize(picture.valid.astype(np.uint8), width_and_height, interpolation=way),
        }


def _crop(kept: Mapping[str, NDArray[Any]], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """A crop of each array at `CROP`, half of them enlarged or shrunk a little, half of them mirrored."""
    scale = math.exp(rng.uniform(-0.35, 0.25)) if rng.random() < 0.5 else 1.0
    height, width = kept["refined"].shape
    h, w = min(int(CROP[0] * scale), height), min(int(CROP[1] * scale), width)
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    mirrored = rng.random() < 0.5
    cut = {}
    for name, array in kept.items():
        smooth = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
        way = cv2.INTER_NEAREST if name in ("disparity", "valid") else smooth
        part = cv2.resize(array[top : top + h, left : left + w], CROP[::-1], interpolation=way)
        cut[name] = np.ascontiguousarray(part[:, ::-1] if mirrored else part)
    return cut


def labels(disparity: FloatMap, known: BoolMap, values: FloatMap) -> tuple[NDArray[Any], ...]:
    """Whether an outline is near by and how much that counts, whether a pixel is on the near side and how much that
    counts, (h, w) each, as the module docstring says; values (h, w): the map."""
    away, small = (_distance(_steps(disparity, known, ratio)) for ratio in (EDGE_RATIO, SMALL_RATIO))
    counts = ((away <= SURE_PX) | (away > AWAY_PX)) & known
    weight = counts * np.where((small <= NEAR_PX) & (away > AWAY_PX), SMALL_WEIGHT, 1)
    window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * SIDE_PX + 1,) * 2)
    low, high = cv2.erode(disparity, window), cv2.dilate(disparity, window)
    place = (disparity - low) / (high - low + _TINY)
    true = disparity / max(float(disparity.max()), _TINY)
    common = _mean(true * values) - _mean(true) * _mean(values)
    near = (place > 0.5) ^ (common < 0)
    near_weight = np.clip((SIDE_REACH_PX - away) / 6, 0, 1) * np.abs(2 * place - 1) * known
    return away <= NEAR_PX, weight, near, near_weight


def _steps(disparity: FloatMap, known: BoolMap, ratio: float) -> BoolMap:
    """Both pixels of every step above a ratio between known neighbours."""
    found = np.zeros_like(known)
    for one, other in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        a, b = disparity[one], disparity[other]
        step = (np.maximum(a, b) > ratio * np.minimum(a, b)) & known[one] & known[other]
        found[one] |= step
        found[other] |= step
    return found


def _distance(steps: BoolMap) -> FloatMap:
    return np.asarray(cv2.distanceTransform((~steps).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def _mean(values: FloatMap) -> FloatMap:
    return np.asarray(cv2.blur(values, (25, 25)), np.float32)


class OutlineTask:
    """The network but for its trunk, which stays as it is in `compact`."""

    kind = "outlines"
    about: Mapping[str, str] = {}

    def __init__(self, config: OutlinesConfig) -> None:
        torch.manual_seed(config.seed)
        network = OutlineNet()
        prefix = "psi.encoder."
        encoder = read_weights(bundled_weights("compact.safetensors"))
        wanted = {prefix + key for key in network.trunk.state_dict()}
        load_strict(network.trunk, {k[len(prefix) :]: v for k, v in encoder.items() if k in wanted}, what="trunk")
        network.trunk.requires_grad_(False)
        network.trunk.freeze_front(_FRONT_BLOCKS)
        self._network = network
        self.model: nn.Module = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        models = [load_model(name, device="cpu") for name in config.models]
        self.samples = OutlineSamples(list_views(list(config.data)), config, models)

    @property
    def identity(self) -> Mapping[str, str]:
        """Hash of the pictures, and the models' marks."""
        marks = " ".join(model.mark for model in self.samples.models)
        return {"data": views_hash(self.samples.views), "models": marks}

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """All that is trained at one rate."""
        return [{"params": [p for p in self.model.parameters() if p.requires_grad], "lr": learning_rate}]

    def prepare(self, fabric: Fabric, progress: Progress) -> None:
        """Fix the trunk once more, now that it is where it is to run."""
        self._network.trunk.freeze_front(_FRONT_BLOCKS)

    def train_mode(self) -> None:
        """The frozen trunk has its norms folded, so all of it may be in training mode."""
        self.model.train()

    def loss(self, batch: OutlineBatch) -> tuple[Tensor, dict[str, float]]:
        """Cross entropy of both answers."""
        batch = OutlineBatch(*batch)
        said = self.model(batch.image, batch.refined, batch.coarse)
        near_by = _cross_entropy(said.near_by, batch.near_by, batch.near_by_weight)
        near_side = _cross_entropy(said.near_side, batch.near_side, batch.near_side_weight)
        return near_by + near_side, {"near_by": near_by.item(), "near_side": near_side.item()}

    def pictures(self, model: nn.Module, batch: OutlineBatch) -> dict[str, Tensor]:
        """Photo, label and both answers of the batch's first sample."""
        batch = OutlineBatch(*(part[:1] for part in batch))
        said = model(batch.image, batch.refined, batch.coarse)
        answers = {"outlines": said.near_by[0].sigmoid(), "near side": said.near_side[0].sigmoid()}
        return {"photo": photo_picture(batch.image[0]), "label": map_picture(batch.near_by[0])} | {
            name: map_picture(values, limits=(0, 1)) for name, values in answers.items()
        }


def _cross_entropy(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    each = F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="none")
    return (each * weight).sum() / weight.sum().clamp_min(1)


def run_outlines(config: OutlinesConfig, progress: Progress = lambda *_: None) -> None:
    """Train as configured; see `loop.train` for what it leaves and raises."""
    train(OutlineTask(config), config, Path(config.out), fabric=launch(config), progress=progress)
