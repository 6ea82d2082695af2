"""What holds for a photo as such, from the pass over the whole picture: its lens, its metres, its sky and normals.

It is settled outside the networks, where the lens of the photo is known, and so alike for an exported Ψ. A lens that is
given or that the photo tells goes before the model's own; one that is a guess of heads is mended by the photo's lines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pro_engine.geometry.affine_points import find_lens, find_shift
from pro_engine.geometry.vanishing import focal_from_lines
from pro_engine.inference.resize import resized
from pro_engine.inference.sharpen import sharpen
from pro_engine.inference.sky import averaged, believed, by_colours
from pro_engine.models.contract import PsiOutput, PsiSpec, WholeOutput
from pro_engine.types import BoolMap, FloatMap, ImageArray, Intrinsics, LensSource, ScaleSource

_FOV_DEG = (1.0, 170.0)  # across the width; a model's lens beyond is none
_SKY_ABOVE = 0.5
_SKY_PIXELS = 1_000_000  # at which its outline is looked for
_VALID_ABOVE = 0.5


@dataclass(frozen=True)
class Lens:
    """Intrinsics of the photo, and where they came from."""

    intrinsics: Intrinsics
    source: LensSource

    @property
    def is_known(self) -> bool:
        """Whether the model's own lens for this photo does not replace it: that of the photo, or one that the model
        gave for an earlier frame of the same shot."""
        return self.source != "assumed"


@dataclass(frozen=True)
class Whole:
    """A photo as such.

    disparity: (1, 1, h, w); surface: (1, 1, h, w) in [0, 1], what is no sky, in which the disparity is 0, or None.
    lens: None where nothing tells it; note: why the model does not, or "". metric_factor: inverse metres a unit of
    disparity, or None; `scale_source` is that of it. sky, valid: (h, w) in [0, 1] at any size, or None. normals:
    (h, w, 3) at any size, or None. span: metres of the nearest and the farthest surface as the model estimates them, or
    None. sky_estimated: it is a guess of heads on a frozen network.
    """

    disparity: Tensor
    lens: Lens | None
    metric_factor: float | None = None
    scale_source: ScaleSource = "metric"
    sky: FloatMap | None = None
    valid: FloatMap | None = None
    normals: FloatMap | None = None
    note: str = ""
    surface: Tensor | None = None
    span: tuple[float, float] | None = None
    sky_estimated: bool = False

    def sky_of(self, image: ImageArray) -> BoolMap | None:
        """(H, W), where the sky is; its outline is that of the picture (H, W, 3) at a megapixel. An estimate tells
        nothing, None, where it finds none: another rule may."""
        sky = self.sky
        if sky is None:
            return None
        if self.sky_estimated:
            sky = averaged(sky, resized(image, sky.shape))
            disparity = resized(self.disparity[0, 0].cpu().numpy(), sky.shape)
            sky = np.where(believed(sky, disparity), sky, np.minimum(sky, _SKY_ABOVE))
        if sky.max() <= _SKY_ABOVE:
            return None if self.sky_estimated else np.zeros(image.shape[:2], np.bool_)
        height, width = image.shape[:2]
        less = max(1.0, math.sqrt(height * width / _SKY_PIXELS))
        seen = resized(image, (round(height / less), round(width / less)))
        if self.sky_estimated:
            share = by_colours(sky, seen)
        else:
            share = _at_size_of(seen, sky)
            sharpen(share, seen, sky.shape)
        told = _at_size_of(image, share) > _SKY_ABOVE
        return told if told.any() or not self.sky_estimated else None

    def valid_of(self, image: ImageArray) -> BoolMap | None:
        """(H, W), where something is known."""
        return None if self.valid is None else _at_size_of(image, self.valid) >= _VALID_ABOVE

    def normals_of(self, image: ImageArray) -> FloatMap | None:
        """(H, W, 3) of unit length."""
        if self.normals is None:
            return None
        normals = _at_size_of(image, self.normals)
        normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), np.float32(1e-12))
        return normals


def is_surface(share: Tensor) -> Tensor:
    """Where `Whole.surface`, at any size, is no sky."""
    return share >= 1 - _SKY_ABOVE


def settle(output: PsiOutput, spec: PsiSpec, seen: tuple[int, int], image: ImageArray, lens: Lens | None) -> Whole:
    """What a Ψ's pass over the whole picture means.

    Args:
        output: of `DepthBase.whole`.
        spec: of that Ψ.
        seen: height and width of its input.
        image: (H, W, 3) the photo.
        lens: of the photo, as far as the caller knows it.
    """
    whole, note = output.whole, ""
    if lens is None or not lens.is_known:
        own, note = _own_lens(whole, seen, (image.shape[0], image.shape[1]))
        if own is not None and spec.gives_span:
            own = _by_lines(own, image)
        lens = own or lens
    factor, source = _metres(spec, seen, lens)
    disparity, valid = output.disparity, whole.valid
    if whole.points is not None:
        disparity, valid = _by_points(output, whole.points, lens)
    surface = None
    if whole.sky is not None and not spec.gives_span:
        # Before any statistics: what the network makes of the sky means nothing.
        share = F.interpolate(whole.sky.float(), disparity.shape[-2:], mode="bilinear", align_corners=False)
        surface = 1 - share
        disparity = torch.where(is_surface(surface), disparity, 0)
    told = {"sky": _array(whole.sky), "valid": _array(valid), "normals": _array(whole.normals)}
    span, guess = _span(whole.span), spec.gives_span
    return Whole(disparity, lens, factor, source, **told, note=note, surface=surface, span=span, sky_estimated=guess)


def _own_lens(whole: WholeOutput, seen: tuple[int, int], photo: tuple[int, int]) -> tuple[Lens | None, str]:
    """The model's own, centred, and ""; None where it gives none, or none that can be, and why if that can be said."""
    height, width = photo
    if whole.points is not None:
        found, why = find_lens(_points(whole.points), _finite(whole.sky, whole.points), photo=photo)
    elif whole.focal_px is not None:
        focal = whole.focal_px[0].double().tolist()
        fx = focal[0] * width / seen[1]
        fy = focal[1] * height / seen[0] if len(focal) > 1 else fx
        possible = all(math.isfinite(one) and one > 0 for one in (fx, fy))
        found = Intrinsics(fx, fy, (width - 1) / 2, (height - 1) / 2, width, height) if possible else None
        why = ""
    else:
        return None, ""
    low, high = _FOV_DEG
    return (Lens(found, "model"), "") if found is not None and low <= found.fov_x_deg <= high else (None, why)


def _by_lines(lens: Lens, image: ImageArray) -> Lens:
    """A lens that is a guess, with what the lines of the photo tell."""
    guess = lens.intrinsics
    side = math.sqrt(guess.width * guess.height)
    focal = focal_from_lines(image, math.sqrt(guess.fx * guess.fy) / side) * side
    return replace(lens, intrinsics=replace(guess, fx=focal, fy=focal))


def _by_points(output: PsiOutput, points: Tensor, lens: Lens | None) -> tuple[Tensor, Tensor]:
    """The disparity (1, 1, h, w) once z has the shift that brings the points to the lens, if there is one, and where it
    is in front of the camera: 1 there, else 0."""
    shift = 0.0
    if lens is not None:
        rows, columns = points.shape[-2:]
        on_grid = lens.intrinsics.resized(columns, rows)
        shift = find_shift(_points(points), on_grid, _finite(output.whole.sky, points))
    # The disparity is 1 / z: its logarithm, and not z, is what the network resized.
    in_front = 1 + shift * output.disparity > 0
    return torch.where(in_front, output.disparity / (1 + shift * output.disparity), 0), in_front.float()


def _span(span: Tensor | None) -> tuple[float, float] | None:
    if span is None:
        return None
    near, far = span[0].double().tolist()
    return (near, far) if 0 < near < far < math.inf else None


def _points(points: Tensor) -> FloatMap:
    array = _array(points)
    assert array is not None
    return array


def _finite(sky: Tensor | None, points: Tensor) -> BoolMap | None:
    """Where the points (1, 3, h, w) are those of surfaces."""
    if sky is None:
        return None
    share = F.interpolate(sky.float(), points.shape[-2:], mode="bilinear", align_corners=False)
    found: BoolMap = (share <= _SKY_ABOVE)[0, 0].cpu().numpy()
    return found


def _metres(spec: PsiSpec, seen: tuple[int, int], lens: Lens | None) -> tuple[float | None, ScaleSource]:
    """Inverse metres a unit of disparity (None where nothing tells them), and their source."""
    if spec.unit == "inverse metres":
        return 1.0, "metric"
    if spec.unit == "relative" or lens is None:
        return None, "metric"
    source: ScaleSource = "assumed" if lens.source == "assumed" else "metric"
    if spec.unit == "inverse metres by points":
        return 1.0, source
    at_input = lens.intrinsics.resized(seen[1], seen[0])
    focal_px = (at_input.fx + at_input.fy) / 2 if spec.keep_aspect else at_input.fx
    return spec.canonical_focal_px / focal_px, source


def _array(maps: Tensor | None) -> FloatMap | None:
    """(1, 1, h, w) as (h, w), (1, 3, h, w) as (h, w, 3), on the CPU."""
    if maps is None:
        return None
    array: FloatMap = maps[0].float().permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array)


def _at_size_of(image: ImageArray, values: FloatMap) -> FloatMap:
    """A map of its own at the picture's size."""
    at_size = resized(values, (image.shape[0], image.shape[1]))
    return at_size.copy() if at_size is values else at_size
