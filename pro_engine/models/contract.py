"""The contract of Ψ, the frozen model that PRO refines, and of its refiner. Tensors in, tensors out.

Ψ sees RGB in [0, 1] (it normalises inside) at a size it accepts and returns disparity with six decoder maps: level 0 is
the deepest stage after its projection, 1 to 4 the fusion stages from deep to shallow, 5 the head's map at full input
size. The channel counts are `spec.feature_channels` in that order; sizes are whatever Ψ makes of its input. A Ψ that
only refiners without features may follow (`Refiner.feature_levels` 0) has none: `feature_channels` is () then.

The whole picture is seen once (`DepthBase.whole`), its patches after it (`DepthBase.forward`). What holds for a photo
as such, its lens, metres, sky and normals, comes from the pass over the whole alone. What is said there is settled
outside the network, in `pro_engine.inference.whole`, where the lens of the photo is known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Unit = Literal["relative", "inverse metres", "inverse metres by focal", "inverse metres by points"]


@dataclass(frozen=True)
class PsiSpec:
    """What the predictor must know of a Ψ.

    feature_channels: of the six levels, or () for a Ψ without features.
    input_area: nominal number of input pixels; sides are rounded to `multiple`. With `keep_aspect` the sides follow the
        picture's shape at that area, else the input is a square.
    fixed_size: height and width of every input, in place of the three above; `input_area` is their product then.
    published_resize: asks for the arithmetic of the published PRO: every patch cut out and resized bilinearly with
        aligned corners, the canvas too; otherwise the picture is resized once to the canvas of all patches (bicubic,
        anti-aliased) and cut there.
    unit: of the disparity of the whole picture, as it is once `inference.whole.settle` has done its work: "relative";
        "inverse metres"; or "inverse metres by focal": times `canonical_focal_px` / f it is in inverse metres, f being
        the photo's focal length in pixels of the input; or "inverse metres by points": it is 1 / z of
        `WholeOutput.points`, from which the shift that z lacks follows. Disparity of patches is relative in any case.
    canonical_focal_px: above 0 where the unit is by focal. f is the mean of both axes, or of an input that does not
        keep the aspect that along the width.
    affine_depth: whether of a patch its depth, 1 / disparity, and not its disparity is right but for a scale and a
        shift.
    gives_lens, gives_sky, gives_valid, gives_normals: whether `WholeOutput` has them, or its points tell them.
    gives_span: whether it has the range of distances, which is an estimate and makes nothing metric. The disparity of
        such a Ψ knows no infinity: the sky is told, and in the end gets the level of what is farthest.
    takes_prompt: whether it can be told depth, by `DepthBase.prompted`.
    """

    feature_channels: tuple[int, ...]
    input_area: int
    multiple: int
    keep_aspect: bool
    published_resize: bool = False
    fixed_size: tuple[int, int] | None = None
    unit: Unit = "relative"
    canonical_focal_px: float = 0.0
    affine_depth: bool = False
    gives_lens: bool = False
    gives_sky: bool = False
    gives_valid: bool = False
    gives_normals: bool = False
    gives_span: bool = False
    takes_prompt: bool = False

    def __post_init__(self) -> None:
        assert (self.canonical_focal_px > 0) == (self.unit == "inverse metres by focal"), self
        assert self.fixed_size is None or self.fixed_size[0] * self.fixed_size[1] == self.input_area, self

    @property
    def metric(self) -> bool:
        """Whether metres come with it, if need be once the lens is known."""
        return self.unit != "relative"


class Prompt(NamedTuple):
    """Depth that a Ψ is told: depth (B, 1, p, q) metres without holes, at any size, over the same part of the photo as
    the image; near and far (B, 1, 1, 1): the least and the greatest depth of the *whole* prompt. Patches of one photo
    get the same two, else each has a scale of its own."""

    depth: Tensor
    near: Tensor
    far: Tensor

    @classmethod
    def whole(cls, depth: Tensor) -> Prompt:
        """A prompt for a whole picture; depth (B, 1, p, q)."""
        return cls(depth, depth.amin((1, 2, 3), keepdim=True), depth.amax((1, 2, 3), keepdim=True))


class WholeOutput(NamedTuple):
    """What Ψ says of the whole picture beside its disparity; None where it does not. Maps are of any size.

    sky: (B, 1, h, w) in [0, 1]; above 0.5 there is no surface at any finite distance. Of a network that was trained to
        tell finite from infinite depth it is what the mask leaves.
    valid: (B, 1, h, w) in [0, 1]; below 0.5 nothing is known.
    normals: (B, 3, h, w) in the camera's frame (x right, y down, z forward), towards the camera, of any length.
    focal_px: (B, 1) fx of a photo of square pixels, or (B, 2) fx and fy; in pixels of the input.
    points: (B, 3, h, w) x, y and z in the camera's frame on a grid over the whole photo, in metres but for a shift
        along z that all have in common.
    span: (B, 2) metres, an estimate of how far the nearest and the farthest surface are, at the 98th and the 2nd
        percentile of the disparity of all that is no sky.
    """

    sky: Tensor | None = None
    valid: Tensor | None = None
    normals: Tensor | None = None
    focal_px: Tensor | None = None
    points: Tensor | None = None
    span: Tensor | None = None


class PsiOutput(NamedTuple):
    """disparity (B, 1, h, w), larger is nearer; features: six maps (B, C_l, h_l, w_l), see the module docstring; whole:
    what `DepthBase.whole` adds."""

    disparity: Tensor
    features: tuple[Tensor, ...]
    whole: WholeOutput = WholeOutput()


class DepthBase(nn.Module, ABC):
    """A zero-shot depth network Ψ.

    same_in_bfloat16: whether it is measured that accuracy and outlines are the same in bfloat16, its own parts that
    stay in float32 included (docs/benchmarks.md has the table).
    """

    spec: PsiSpec
    same_in_bfloat16: bool = False

    @abstractmethod
    def forward(self, image: Tensor) -> PsiOutput:
        """Patches. image: (B, 3, h, w) RGB in [0, 1], sides multiples of `spec.multiple`."""

    def whole(self, image: Tensor, aspect: float) -> PsiOutput:
        """The pass over whole pictures, image (B, 3, h, w), with all that `spec` says it gives.

        aspect: width / height of the photo, which the input's sides meet within rounding only.
        """
        return self(image)

    def prompted(self, image: Tensor, prompt: Prompt) -> PsiOutput:
        """`forward`, or `whole` without an aspect, of a Ψ that `takes_prompt`."""
        raise NotImplementedError


def float32_where_inferring(module: nn.Module, maps: Tensor) -> AbstractContextManager[object]:
    """The context in which a part of a network in eval mode computes in float32 whatever autocast says for the device
    of its maps. Training keeps the format that it is given."""
    kind = maps.device.type
    if module.training or torch.compiler.is_exporting() or not torch.is_autocast_enabled(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)


class RefinerInput(NamedTuple):
    """One batch of patches for a refiner. All maps at the patch's Ψ input size (h, w), P patches.

    image (P, 3, h, w) RGB in [0, 1]; coarse (P, 1, h, w) the whole-image disparity sampled over each patch, raw; fine
    (P, 1, h, w) the patch's own disparity, maybe of another Ψ; coarse_features / fine_features: at least the maps that
    the refiner looks at (`Refiner.feature_levels`), sampled alike; center and spread: median and mean absolute
    deviation of the whole-image disparity, scalars or (P, 1, 1, 1).
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
    gains_in_int8: whether its convolutions are many enough for 8-bit integers to be faster than bfloat16.
    """

    level_borders: bool = True
    sharpens: bool = False
    feature_levels: int = 6
    gains_in_int8: bool = False

    @abstractmethod
    def forward(self, patches: RefinerInput) -> Tensor:
        """Refined disparity (P, 1, h, w) in units of (D - center) / spread; may be negative.

        It is a start plus a residual. The start of the published network is the coarse map; ours begin with the blend
        of both maps whose outlines were snapped to the picture's (`outlines.py`).
        """
