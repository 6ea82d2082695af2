"""Training what a vision transformer tells of a photo as such (`models/photo_heads.py`) on rendered scenes, whose
cameras and sizes are known. The network itself is frozen, so it sees every picture once, before the first step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from pro_engine.datasets.scenes import RenderedImage, list_rendered, read_rendered, read_rendered_lens
from pro_engine.geometry.depth import SPAN_PERCENTILES
from pro_engine.io.weights import read_weights, save_weights
from pro_engine.models.contract import PsiOutput
from pro_engine.models.photo_heads import lens_and_range, sky_maps, summed_up, without_heads
from pro_engine.models.vit import PATCH, VIT_HEADS_SPEC, VitDepth
from pro_engine.training.base import initial_weights
from pro_engine.training.data import photograph, to_tensor
from pro_engine.training.loop import Progress, train
from pro_engine.training.options import HeadsConfig
from pro_engine.training.processes import launch
from pro_engine.training.provenance import file_hash, names_hash
from pro_engine.training.run_folder import TrainingError
from pro_engine.training.skies import composed
from pro_engine.types import ImageArray

POINTS, SKY_POINTS = 400, 128
"""Pixels of a picture that its metres are judged at, and its sky."""
ASPECTS = (4 / 3, 3 / 2, 16 / 9, 3 / 4, 1.0, 2.4)
TOKENS = (300, 300, 440, 588)
NEAREST_M, FARTHEST_M = 0.05, 1000.0
SKY_BAND_PX = 9
SKY_SHARE = 0.03
"""From here on a picture counts as one with a sky."""
WITH_SKY = 0.6
"""At least this share of the pictures for the sky have one."""
PER_FILE = 200
METRES_WEIGHT = 0.5
WORST = 3.0
"""Errors of the logarithm of depth count up to here, so that what the map has wrong does not rule."""


class LensSample(NamedTuple):
    """A picture as the frozen network sees it: sums, see `summed_up`; focal, the logarithm of the focal length as a
    share of the square root of the picture's area; place (POINTS), where the map lies between its farthest (0) and its
    nearest surface (1), and metres there, the logarithm or NaN."""

    sums: Tensor
    focal: Tensor
    place: Tensor
    metres: Tensor


class SkySample(NamedTuple):
    """Pixels of a picture as the frozen network sees them: tokens and fine (SKY_POINTS, C), see `sky_maps`, and the sky
    (SKY_POINTS)."""

    tokens: Tensor
    fine: Tensor
    sky: Tensor


class _Crop(NamedTuple):
    """A part of a render as a photo: image (h, w, 3), depth (h, w) metres with inf for sky, focal length in pixels."""

    image: NDArray[np.uint8]
    depth: NDArray[np.float32]
    focal_px: float


Sample = TypeVar("Sample", LensSample, SkySample)


class HeadSamples(Dataset[Sample], Generic[Sample]):
    """Pictures as a frozen network sees them; sample i of a run is one of them, each once before any comes again. What
    was seen is kept in files of `PER_FILE` pictures, which a run that goes on reads again."""

    def __init__(self, config: HeadsConfig, kind: type[Sample], total: int) -> None:
        self._folder, self._seed, self._total = config.out / "seen", config.seed, total
        self._kind: type[Sample] = kind
        self._length = config.steps * config.batch
        self._seen: Sample | None = None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Sample:
        assert self._seen is not None, "build comes first"
        order = np.random.default_rng((self._seed, 1, index // self._total)).permutation(self._total)
        row = int(order[index % self._total])
        return self._kind(*(part[row] for part in self._seen))

    def build(self, see: Callable[[int], Sample], mark: str, progress: Progress) -> None:
        """See what no file holds yet. mark: hash of what the files depend on."""
        parts, kind = [], self._kind
        for start in range(0, self._total, PER_FILE):
            path = self._folder / f"{mark[:12]}-{start:06d}.safetensors"
            if not path.exists():
                stop = min(start + PER_FILE, self._total)
                joined = kind(*(torch.stack(part) for part in zip(*map(see, range(start, stop)), strict=True)))
                save_weights(path, joined._asdict(), {"format": "pt"})
            parts.append(read_weights(path))
            progress(min(start + PER_FILE, self._total), self._total, "pictures seen")
        self._seen = kind(*(torch.cat([part[name] for part in parts]) for name in kind._fields))


def _cut(rng: np.random.Generator, view: RenderedImage) -> _Crop:
    """A part of a render, in most cases around its middle, as a photo of any usual shape and some lens."""
    image, disparity, _ = read_rendered(view)
    source_h, source_w = disparity.shape
    aspect = float(rng.choice(ASPECTS)) * math.exp(rng.uniform(-0.1, 0.1))
    share = rng.uniform(0.5, 1.0) if rng.random() < 0.6 else 1.0
    crop_h = min(source_h, source_w / aspect) * share
    crop_w = crop_h * aspect
    reach = 0.1 if rng.random() < 0.7 else 1.0
    center_x = source_w / 2 + rng.uniform(-reach, reach) * (source_w - crop_w) / 2
    center_y = source_h / 2 + rng.uniform(-reach, reach) * (source_h - crop_h) / 2
    tokens = int(rng.choice(TOKENS))
    h, w = (PATCH * max(1, round(math.sqrt(tokens * ratio))) for ratio in (1 / aspect, aspect))
    across, down = crop_w / w, crop_h / h
    turned = -1 if rng.random() < 0.5 else 1
    matrix = np.array(
        [
            [turned * across, 0, center_x - 0.5 - turned * across * (w - 1) / 2],
            [0, down, center_y - 0.5 - down * (h - 1) / 2],
        ]
    )
    border, back = cv2.BORDER_REFLECT_101, cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(image, matrix, (w, h), flags=back | cv2.INTER_CUBIC, borderMode=border)
    inverse = cv2.warpAffine(disparity, matrix, (w, h), flags=back | cv2.INTER_NEAREST, borderMode=border)
    with np.errstate(divide="ignore"):
        depth = np.where(inverse > 0, 1 / inverse, np.inf).astype(np.float32)
    fx, fy, _, _ = read_rendered_lens(view)
    return _Crop(seen.astype(np.uint8), depth, math.sqrt(fx / across * fy / down))


def _sky_points(rng: np.random.Generator, sky: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of `SKY_POINTS` pixels, half of them near the sky's outline if it has one."""
    height, width = sky.shape
    y, x = rng.integers(0, height, SKY_POINTS), rng.integers(0, width, SKY_POINTS)
    band = cv2.morphologyEx(sky.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((SKY_BAND_PX, SKY_BAND_PX), np.uint8))
    near_y, near_x = np.nonzero(band)
    if len(near_y):
        chosen = rng.integers(0, len(near_y), SKY_POINTS // 2)
        y[: len(chosen)], x[: len(chosen)] = near_y[chosen], near_x[chosen]
    return y, x


class _OneHead(nn.Module):
    """A part of `PhotoHeads` alone, under its key there."""

    def __init__(self, name: str, head: nn.Module) -> None:
        super().__init__()
        self.heads, self._name = nn.ModuleDict({name: head}), name

    def forward(self, *seen: Tensor) -> Tensor:
        """What that part makes of it."""
        told: Tensor = self.heads[self._name](*seen)
        return told


class _HeadTask:
    """A head of a frozen network; it alone is in the weights file."""

    kind = "heads"
    about: Mapping[str, str] = {}
    samples: HeadSamples[Any]

    def __init__(self, config: HeadsConfig, name: str) -> None:
        torch.manual_seed(config.seed)
        network = VitDepth(VIT_HEADS_SPEC)
        assert network.heads is not None
        self.model: nn.Module = _OneHead(name, getattr(network.heads, name))
        network.load_published(without_heads(initial_weights(config.base, "psi.")))
        self._network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._views, self._seed = list_rendered(list(config.data)), config.seed
        names = names_hash(f"{view.picture.name} {view.picture.stat().st_size}" for view in self._views)
        self.identity: Mapping[str, str] = {"data": names, "base": file_hash(config.base)}
        self._mark = names_hash([*self.identity.values(), str(config.seed)])

    def groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Everything at one rate."""
        return [{"params": list(self.model.parameters()), "lr": learning_rate}]

    def prepare(self, fabric: Fabric, progress: Progress) -> None:
        """Let the network see the pictures; the first process does, the others read what it leaves."""
        if fabric.is_global_zero:
            self.samples.build(self.see, self._mark, progress)
        fabric.barrier()
        if not fabric.is_global_zero:
            self.samples.build(self.see, self._mark, lambda *_: None)

    def see(self, index: int) -> Any:
        """Sample `index` of those that are seen."""
        raise NotImplementedError

    def train_mode(self) -> None:
        """All of it."""
        self.model.train()

    def pictures(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """None: what is learnt are numbers."""
        return {}

    def _shown(self, image: ImageArray) -> tuple[PsiOutput, list[Tensor]]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            return self._network.with_taps(to_tensor(image)[None])


class LensTask(_HeadTask):
    """Lens and range, from every picture `crops` times."""

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__(config, "photo")
        self.samples = HeadSamples(config, LensSample, len(self._views) * config.crops)

    def see(self, index: int) -> LensSample:
        """See the class."""
        rng = np.random.default_rng((self._seed, 0, index))
        crop = _cut(rng, self._views[index % len(self._views)])
        output, taps = self._shown(photograph(rng, crop.image))
        sums = summed_up(taps, *output.features[0].shape[-2:])[0]
        disparity = output.disparity[0, 0].float().numpy()
        height, width = crop.depth.shape
        y, x = rng.integers(0, height, POINTS), rng.integers(0, width, POINTS)
        finite = np.isfinite(crop.depth)
        place, metres = np.zeros(POINTS, np.float32), np.full(POINTS, np.nan, np.float32)
        if finite.any():
            far, near = np.percentile(disparity[finite], SPAN_PERCENTILES)
            place = ((disparity[y, x] - far) / max(near - far, 1e-3)).astype(np.float32)
            depth = np.clip(crop.depth[y, x], NEAREST_M, FARTHEST_M)
            metres = np.where(finite[y, x], np.log(depth), np.nan).astype(np.float32)
        focal = torch.tensor(math.log(crop.focal_px / math.sqrt(height * width)))
        return LensSample(sums.half(), focal, torch.from_numpy(place), torch.from_numpy(metres))

    def loss(self, batch: LensSample) -> tuple[Tensor, dict[str, float]]:
        """Mean errors of the logarithms of the focal length and of depth."""
        focal, span = lens_and_range(self.model(batch.sums.float()))
        lens = (focal[:, 0].log() - batch.focal).abs().mean()
        far, near = 1 / span[:, 1:], 1 / span[:, :1]
        depth = -(far + batch.place.clamp(0, 1.2) * (near - far)).log()
        known = batch.metres.isfinite()
        errors = torch.where(known, depth - batch.metres.nan_to_num(), 0).abs().clamp(max=WORST)
        metres = errors.sum() / known.sum().clamp_min(1)
        return lens + METRES_WEIGHT * metres, {"lens": lens.item(), "metres": metres.item()}


class SkyTask(_HeadTask):
    """The sky, from pictures composed of two renders (`training/skies.py`)."""

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__(config, "sky")
        shares = np.array([np.mean(read_rendered(view)[1] == 0) for view in self._views])
        self._with_sky, self._without = np.nonzero(shares > SKY_SHARE)[0], np.nonzero(shares == 0)[0]
        if not (len(self._with_sky) and len(self._without)):
            raise TrainingError("The sky is learnt from pictures with and without one; give more scenes as data.")
        self.samples = HeadSamples(config, SkySample, config.composed)

    def see(self, index: int) -> SkySample:
        """See the class."""
        rng = np.random.default_rng((self._seed, index))
        chosen = rng.choice(self._with_sky) if rng.random() < WITH_SKY else rng.integers(len(self._views))
        crop = _cut(rng, self._views[int(chosen)])
        other = _cut(rng, self._views[int(rng.choice(self._without))]).image
        height, width = crop.depth.shape
        other = cv2.resize(other, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
        image, sky = composed(rng, crop.image, crop.depth, other)
        output, taps = self._shown(photograph(rng, image))
        y, x = _sky_points(rng, sky)
        at = np.stack(((x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1), -1).astype(np.float32)
        grid = torch.from_numpy(at)[None, None]
        maps = sky_maps(taps, output.features)
        picked = (F.grid_sample(one, grid, padding_mode="border", align_corners=False)[0, :, 0].T for one in maps)
        tokens, fine = (one.half().contiguous() for one in picked)
        return SkySample(tokens, fine, torch.from_numpy(sky[y, x].astype(np.float32)))

    def loss(self, batch: SkySample) -> tuple[Tensor, dict[str, float]]:
        """Cross entropy."""
        found = self.model(*(part.float().transpose(1, 2)[..., None] for part in batch[:2]))  # (B, 1, P, 1)
        entropy = F.binary_cross_entropy_with_logits(found[:, 0, :, 0].float(), batch.sky)
        return entropy, {"sky": entropy.item()}


def run_heads(config: HeadsConfig, progress: Progress = lambda *_: None) -> None:
    """Train the heads as configured; see `loop.train` for what it leaves and raises."""
    task = LensTask(config) if config.part == "lens" else SkyTask(config)
    train(task, config, config.out, fabric=launch(config), progress=progress)
