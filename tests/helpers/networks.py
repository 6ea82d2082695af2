"""Networks small enough to run many times that still obey the contract of Ψ; the fixture `tiny` hands them out."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pro_engine.inference.predictor import DepthPredictor
from pro_engine.models.contract import DepthBase, Prompt, PsiOutput, PsiSpec, Refiner, RefinerInput, Unit, WholeOutput
from pro_engine.models.refiner_published import ProRefiner

CHANNELS = (8, 8, 8, 8, 8, 4)
SPEC = PsiSpec(CHANNELS, input_area=64 * 96, multiple=32, keep_aspect=True)
PUBLISHED_SPEC = PsiSpec(CHANNELS, input_area=70 * 70, multiple=14, keep_aspect=False, published_resize=True)


class TinyPsi(DepthBase):
    """One convolution, then levels at strides 32 to 1; disparity grows towards the bottom of its input."""

    def __init__(self, spec: PsiSpec = SPEC) -> None:
        super().__init__()
        self.spec = spec
        self.mix = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, image: Tensor) -> PsiOutput:
        x = self.mix(image)  # (B, 8, h, w)
        levels = tuple(F.avg_pool2d(x, stride, ceil_mode=True) for stride in (32, 16, 8, 4, 2))
        h = image.shape[2]
        ramp = torch.linspace(0, 1, h, device=image.device)[None, None, :, None]
        disparity = 2 * ramp + x.mean(1, keepdim=True) + image.mean(1, keepdim=True)
        return PsiOutput(disparity, (*levels, self.last(x)))


class FlatPsi(TinyPsi):
    """Sees nothing: one disparity everywhere."""

    def forward(self, image: Tensor) -> PsiOutput:
        output = super().forward(image)
        return PsiOutput(torch.full_like(output.disparity, 3.0), output.features)


class CoarseOnly(Refiner):
    """Adds no residual, so that the result is the coarse map, seen patch by patch."""

    def forward(self, patches: RefinerInput) -> Tensor:
        return (patches.coarse - patches.center) / patches.spread


class LimitedRefiner(ProRefiner):
    """Runs out of memory above `limit` patches at once; `batches` tells the sizes that went through."""

    def __init__(self, limit: int) -> None:
        super().__init__(CHANNELS)
        self.limit = limit
        self.batches: list[int] = []

    def forward(self, patches: RefinerInput) -> Tensor:
        count = patches.image.shape[0]
        if count > self.limit:
            raise torch.OutOfMemoryError(f"{count} patches are too many")
        self.batches.append(count)
        return super().forward(patches)


def tiny_predictor(
    refiner: Refiner | None = None,
    *,
    psi: DepthBase | None = None,
    trained: bool = True,
    device: str = "cpu",
    dtype: str = "float32",
) -> DepthPredictor:
    """A predictor with seeded random weights; in float32, as what is compared differs by rounding only."""
    torch.manual_seed(0)
    psi = psi or TinyPsi()
    if refiner is None and trained:
        refiner = ProRefiner(CHANNELS)
    return DepthPredictor(psi, refiner, name="tiny", device=device, dtype=dtype)


class WallPsi(TinyPsi):
    """Knows a wall `distance_m` away under a sky as if it had measured it, from nothing but what it is asked.

    by_focal: says its disparity for a focal length of 100 pixels of its input. focal_px: a lens of its own, in pixels
    of its input. sky_share: of the rows, from the top. span: it has no metres, but an estimate of the nearest and the
    farthest ones.
    """

    def __init__(
        self,
        *,
        distance_m: float = 3.0,
        by_focal: bool = False,
        focal_px: float = 0.0,
        sky_share: float = 0.0,
        span: tuple[float, float] | None = None,
    ) -> None:
        unit: Unit = "inverse metres by focal" if by_focal else "inverse metres" if span is None else "relative"
        given = {"gives_lens": focal_px > 0, "gives_sky": True, "gives_normals": True, "gives_span": span is not None}
        super().__init__(replace(SPEC, unit=unit, canonical_focal_px=100.0 if by_focal else 0.0, **given))
        self.distance_m, self.focal_px, self.sky_share, self.span = distance_m, focal_px, sky_share, span

    def whole(self, image: Tensor, aspect: float) -> PsiOutput:
        output = self(image)
        empty = torch.zeros_like(image[:, :1])
        sky = ((empty + 1).cumsum(2) <= image.shape[-2] * self.sky_share).float()
        focal = self.focal_px + empty[:, 0, 0, :1] if self.focal_px else None
        normals = empty - 2 * torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
        span = None if self.span is None else torch.tensor([self.span])
        return output._replace(whole=WholeOutput(sky=sky, focal_px=focal, normals=normals, span=span))

    def forward(self, image: Tensor) -> PsiOutput:
        output = super().forward(image)
        rows = torch.ones_like(image[:, :1]).cumsum(2) / image.shape[2]
        return output._replace(disparity=1 / self.distance_m + 2e-3 * (rows - 0.5))  # an even wall has no spread


class ToldPsi(TinyPsi):
    """Knows nothing of depth but what it is told: the prompt, enlarged. `told` are the prompts so far."""

    def __init__(self) -> None:
        super().__init__(replace(SPEC, takes_prompt=True))
        self.told: list[Prompt] = []

    def prompted(self, image: Tensor, prompt: Prompt) -> PsiOutput:
        self.told.append(prompt)
        depth = F.interpolate(prompt.depth, image.shape[-2:], mode="bilinear", align_corners=False)
        return self(image)._replace(disparity=1 / depth.clamp(prompt.near, prompt.far))
