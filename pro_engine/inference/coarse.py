"""What the pass over the whole picture leaves for its patches, and for the map at the picture's size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pro_engine.geometry.depth import disparity_to_depth
from pro_engine.inference.patch_scale import on_coarse_scale
from pro_engine.inference.resize import filled, resized
from pro_engine.inference.sky import level_sky
from pro_engine.inference.tiling import Plan, to_image
from pro_engine.inference.whole import Whole, is_surface
from pro_engine.models.contract import Prompt, PsiOutput, PsiSpec, RefinerInput
from pro_engine.models.refiner_published import center_and_spread, sample_roi
from pro_engine.types import BoolMap, FloatMap, ScaleShift

NEAR_SKY = "Some of it, which looked near, is taken for sky, and is far in the map; that is an estimate."


@dataclass(frozen=True)
class Coarse:
    """Ψ's output, what it says of the photo as such, center and spread of the disparity (scalars on the device; the sky
    counts with its disparity of 0, as it does in training), and what Ψ was told.

    surfaces: the disparity (1, 1, h, w) as if the nearest surface went on in the sky, so that enlarging it does not mix
    the two.
    """

    output: PsiOutput
    whole: Whole
    center: Tensor
    spread: Tensor
    surfaces: Tensor
    prompt: Prompt | None = None

    @classmethod
    def of(cls, output: PsiOutput, whole: Whole, prompt: Prompt | None) -> Coarse:
        """From what Ψ gave and what was settled of it."""
        output = output._replace(disparity=whole.disparity)
        center, spread = center_and_spread(whole.disparity)
        # A featureless picture may have no spread at all: keep the division meaningful.
        spread = spread.clamp_min(1e-12 + 1e-6 * float(center.abs()))
        surfaces = whole.disparity
        if whole.surface is not None:
            known = is_surface(whole.surface)[0, 0].cpu().numpy()
            continued = filled(surfaces[0, 0].cpu().numpy(), known)
            surfaces = torch.from_numpy(continued)[None, None].to(surfaces.device)
        return cls(output, whole, center, spread, surfaces, prompt)

    @property
    def normalised(self) -> FloatMap:
        """The disparity (h, w) in units of (D - center) / spread, on the CPU."""
        return self._normalised(self.output.disparity)

    @property
    def zero(self) -> float:
        """A disparity of 0 in the same units."""
        return -float(self.center) / float(self.spread)

    def on_canvas(self, size: tuple[int, int]) -> FloatMap:
        """The normalised map at another size, in memory of its own; as in the patches, the sky ends at once."""
        canvas = resized(self._normalised(self.surfaces), size).copy()
        if self.whole.surface is not None:
            canvas[~self._surface_at(size)] = self.zero
        return canvas

    def on_picture(self, layout: Plan, sky: BoolMap | None, *, keep: bool) -> FloatMap:
        """The normalised map at the size of the picture; for its sky (H, W) see `set_sky`."""
        values = to_image(self.normalised, layout)
        self.set_sky(values, None if sky is None else sky.copy(), keep=keep)
        return values

    def set_sky(self, disparity: FloatMap, sky: BoolMap | None, *, keep: bool = False) -> str:
        """Give the sky (H, W), if there is any, one level in a normalised map (H, W).

        That is a disparity of 0 or, of an estimate, see `level_sky`, which also takes things out of it. keep: leave an
        estimated one. Gives what users should know of it, or "".
        """
        if sky is None:
            return ""
        if self.whole.surface is not None:
            disparity[sky] = self.zero
            return ""
        return "" if keep or not level_sky(disparity, sky) else NEAR_SKY

    def continued(self, values: FloatMap, sky: BoolMap | None) -> FloatMap:
        """A map (h, w) of the whole picture in which surfaces go on in the sky (H, W), if there is any, as enlarging it
        would mix them."""
        if sky is None:
            return values
        size = values.shape[0], values.shape[1]
        return filled(values, self._surface_at(size) & (resized(sky.astype(np.float32), size) == 0))

    def metres(self, disparity: FloatMap, sky: BoolMap | None) -> tuple[FloatMap | None, ScaleShift | None]:
        """Depth of a normalised map (H, W) where Ψ tells metres: the normalisation undone."""
        factor = self.whole.metric_factor
        if factor is None:
            return None, None
        source = self.whole.scale_source
        scale_shift = ScaleShift(factor * float(self.spread), factor * float(self.center), source=source)
        return disparity_to_depth(disparity, scale_shift, sky=sky), scale_shift

    def refiner_input(self, rgb: Tensor, output: PsiOutput, spec: PsiSpec, boxes: Tensor, levels: int) -> RefinerInput:
        """The coarse maps, the first `levels` of the features among them, sampled over `boxes` (P, 4) to the sizes that
        the maps of the patches have, `output` of a Ψ with `spec` for rgb (P, 3, h, w)."""
        size, fine = output.disparity.shape[-2:], output.disparity
        surfaces = coarse = sample_roi(self.surfaces, boxes, size)
        surface = torch.ones_like(surfaces)
        if self.whole.surface is not None:
            surface = is_surface(sample_roi(self.whole.surface, boxes, size)).float()
            coarse = surfaces * surface
        if spec.affine_depth:
            fine = on_coarse_scale(fine, surfaces, surface)
        if spec.gives_sky:  # what it makes of the sky means nothing
            fine = torch.where(surface > 0, fine, 0)
        return RefinerInput(
            image=rgb,
            coarse=coarse,
            fine=fine,
            coarse_features=tuple(
                sample_roi(whole, boxes, own.shape[-2:])
                for whole, own in zip(self.output.features[:levels], output.features[:levels], strict=True)
            ),
            fine_features=output.features[:levels],
            center=self.center,
            spread=self.spread,
        )

    def _normalised(self, disparity: Tensor) -> FloatMap:
        values: FloatMap = ((disparity - self.center) / self.spread)[0, 0].cpu().numpy()
        return values

    def _surface_at(self, size: tuple[int, int]) -> BoolMap:
        """Where a map (h, w) of the whole picture is no sky."""
        assert self.whole.surface is not None
        share = F.interpolate(self.whole.surface, size, mode="bilinear", align_corners=False)
        found: BoolMap = is_surface(share)[0, 0].cpu().numpy()
        return found
