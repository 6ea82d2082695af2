"""Where the patches lie: pure functions from an image size and a Ψ spec to a `Plan`, and the resizing a plan asks for.

Two ways to go between image and canvas (the plane of all patches side by side, each at Ψ's input size):

- Ours (`published` False): the picture is resized once to the canvas, low-passed where it shrinks, and cut there.
  Cells of the canvas are equal by construction, so a box is exactly (column / columns, row / rows) whatever the image
  size: nothing must divide and nothing is stretched, because the canvas is resized back by the inverse of that map.
- Published (`published` True): every patch is cut from the image at whole pixels and resized bilinearly with aligned
  corners; the canvas is resized to the image with aligned corners. Where the grid does not divide the image, cuts lie
  at round(k * W / columns), boxes hold these true borders (so that features are sampled where the patch really is), and
  a border lands less than a pixel beside its cut when the canvas of equal cells is resized back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import InputError
from pro_engine.inference.resize import resized
from pro_engine.models.contract import PsiSpec
from pro_engine.options import InferenceOptions, field_of
from pro_engine.types import BoolMap, FloatMap, ImageArray

MIN_SIDE_PX = 32
_PATCH_AREA_PX = 960 * 540  # 3840x2160 becomes 4x4, as published
_ONE_PATCH_UP_TO = 1.3  # times Ψ's input: hardly anything is lost when the picture is seen in one piece
_FULL_SIZE_PATCHES = 16  # as long as these suffice, patches are about as large as Ψ's input and no pixel is lost
_MAX_PATCHES = 64
_MAX_PER_AXIS: int = field_of(InferenceOptions, "tiles").metadata["maximum"]  # reached by panoramas alone
_MAX_PATCH_ASPECT = 2.0


@dataclass(frozen=True)
class Plan:
    """One image's grid.

    Sizes are (height, width) in pixels: `image` of the picture, `coarse` of Ψ's input for the whole picture, `patch` of
    its input for each patch. `boxes` are (x0, y0, x1, y1) per patch as shares of the picture's width and height, row by
    row; `cuts` the same borders in whole image pixels, used by the published arithmetic only. `offset` is what a
    shifted plan moves the patches by, down and right in pixels of the canvas.
    """

    image: tuple[int, int]
    grid: tuple[int, int]
    coarse: tuple[int, int]
    patch: tuple[int, int]
    published: bool
    boxes: tuple[tuple[float, float, float, float], ...]
    cuts: tuple[tuple[int, int, int, int], ...]
    offset: tuple[int, int] = (0, 0)

    @property
    def laid(self) -> tuple[int, int]:
        """Rows and columns of patches: the grid, less one along a side on which a shift moves the last one out."""
        rows, cols = (count - (offset > 0) for count, offset in zip(self.grid, self.offset, strict=True))
        return rows, cols

    @property
    def patches(self) -> int:
        """How many patches there are."""
        return self.laid[0] * self.laid[1]

    @property
    def covered(self) -> tuple[slice, slice]:
        """Rows and columns of the canvas that the patches fill together: all of them, but for a shifted plan."""
        (top, left), (rows, cols), (h, w) = self.offset, self.laid, self.patch
        return slice(top, top + rows * h), slice(left, left + cols * w)

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of all patches of the grid side by side."""
        return self.grid[0] * self.patch[0], self.grid[1] * self.patch[1]

    def cell(self, index: int) -> tuple[slice, slice]:
        """Rows and columns of the canvas that patch `index` fills."""
        row, col = divmod(index, self.laid[1])
        (top, left), (h, w) = self.offset, self.patch
        return slice(top + row * h, top + (row + 1) * h), slice(left + col * w, left + (col + 1) * w)


def plan(
    height: int,
    width: int,
    spec: PsiSpec,
    tiles: Literal["auto"] | tuple[int, int] = InferenceOptions.tiles,
    *,
    fine: PsiSpec | None = None,
    shifted: bool = False,
) -> Plan:
    """The plan for a picture of `height` x `width` pixels; `fine` describes the Ψ of the patches where it is another.

    A shifted plan moves the patches by half a patch, down and right, along each side that has more than one; those that
    would leave the picture are left out, so half a patch at each end of that side has none.

    Raises:
        InputError: a side under 32 pixels.
    """
    if min(height, width) < MIN_SIDE_PX:
        raise InputError(f"The image is {width}x{height} pixels; give one with at least {MIN_SIDE_PX} pixels a side.")
    of_patches = fine or spec
    published = spec.published_resize and fine is None
    rows, cols = auto_grid(height, width, of_patches.input_area) if tiles == "auto" else tiles
    patch = input_size(height / rows, width / cols, of_patches)
    offset = (patch[0] // 2 if shifted and rows > 1 else 0, patch[1] // 2 if shifted and cols > 1 else 0)
    tops, lefts = _starts(rows, offset[0] / patch[0]), _starts(cols, offset[1] / patch[1])
    boxes = tuple((x / cols, y / rows, (x + 1) / cols, (y + 1) / rows) for y in tops for x in lefts)
    ys = [(round(k * height / rows), round((k + 1) * height / rows)) for k in tops]
    xs = [(round(k * width / cols), round((k + 1) * width / cols)) for k in lefts]
    cuts = tuple((x0, y0, x1, y1) for y0, y1 in ys for x0, x1 in xs)
    if published:
        boxes = tuple((x0 / width, y0 / height, x1 / width, y1 / height) for x0, y0, x1, y1 in cuts)
    return Plan(
        image=(height, width),
        grid=(rows, cols),
        coarse=input_size(height, width, spec),
        patch=patch,
        published=published,
        boxes=boxes,
        cuts=cuts,
        offset=offset,
    )


def _starts(count: int, offset: float) -> list[float]:
    """Where the patches along a side begin, in patches, when they are moved by `offset` of one."""
    return [k + offset for k in range(count - (offset > 0))]


def auto_grid(height: int, width: int, input_area: int) -> tuple[int, int]:
    """Rows and columns for a picture: patches in the picture's own shape, at most 64 in all.

    Patches have about `input_area` pixels, the area of Ψ's input, as long as 16 of them do; from then on they grow to
    about 960x540, and then become more. Panoramas get more patches along their length, so that a patch stays within
    about 1:2; a picture hardly larger than Ψ's input gets one.
    """
    aspect = width / height
    limit = _MAX_PATCH_ASPECT
    is_long = not 1 / limit <= aspect <= limit
    area = height * width
    if area <= _ONE_PATCH_UP_TO * input_area and not (is_long and max(aspect, 1 / aspect) > 2 * limit):
        return 1, 1
    wanted = max(area / _PATCH_AREA_PX, min(area / input_area, _FULL_SIZE_PATCHES), 4.0)
    wanted = min(wanted, float(_MAX_PATCHES))
    wanted_aspect = min(max(aspect, 1 / limit), limit)

    def misfit(grid: tuple[int, int]) -> float:
        rows, cols = grid
        return math.log(rows * cols / wanted) ** 2 + math.log(aspect * rows / cols / wanted_aspect) ** 2

    grids = [(r, c) for r in range(1, _MAX_PER_AXIS + 1) for c in range(1, min(_MAX_PER_AXIS, _MAX_PATCHES // r) + 1)]
    return min(grids, key=misfit)


def input_size(height: float, width: float, spec: PsiSpec) -> tuple[int, int]:
    """Ψ's input (height, width) for a picture or patch of this shape: `spec.input_area` pixels, sides rounded to
    `spec.multiple` and at least twice it; a square unless the spec keeps the aspect; or `spec.fixed_size`."""
    if spec.fixed_size is not None:
        return spec.fixed_size
    step = spec.multiple

    def rounded(side: float) -> int:
        return max(2, round(side / step)) * step

    aspect = width / height if spec.keep_aspect else 1.0
    h = rounded(math.sqrt(spec.input_area / aspect))
    w = rounded(math.sqrt(spec.input_area * aspect))
    if h == 2 * step and aspect > 1:  # the floor was hit: the long side gives way, or the area would grow
        w = min(w, rounded(spec.input_area / h))
    elif w == 2 * step and aspect < 1:
        h = min(h, rounded(spec.input_area / w))
    return h, w


def coarse_input(image: ImageArray, layout: Plan) -> NDArray[np.uint8] | NDArray[np.float32]:
    """The whole picture at `layout.coarse`: (h, w, 3) in 0..255, uint8 in our arithmetic, float32 in the published."""
    h, w = layout.image
    return _sample_aligned(image, (0, 0, w, h), layout.coarse) if layout.published else resized(image, layout.coarse)


def patch_source(image: ImageArray, layout: Plan) -> ImageArray:
    """What `patch_input` cuts from: the picture itself (published) or the picture resized to the canvas (ours)."""
    return image if layout.published else resized(image, layout.canvas)


def patch_input(source: ImageArray, layout: Plan, index: int) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Patch `index` as Ψ sees it: (h, w, 3) in 0..255, from what `patch_source` returned."""
    if layout.published:
        return _sample_aligned(source, layout.cuts[index], layout.patch)
    return source[layout.cell(index)]


def covered_pixels(layout: Plan) -> BoolMap:
    """(H, W) bool: the pixels of the picture that lie in a patch throughout."""
    pixels = np.zeros(layout.image, dtype=np.bool_)
    (height, width), (canvas_h, canvas_w), (rows, columns) = layout.image, layout.canvas, layout.covered
    top, bottom = math.ceil(rows.start * height / canvas_h), rows.stop * height // canvas_h
    left, right = math.ceil(columns.start * width / canvas_w), columns.stop * width // canvas_w
    pixels[top:bottom, left:right] = True
    return pixels


def to_image(values: FloatMap, layout: Plan) -> FloatMap:
    """A float32 map of the whole picture (the canvas, or the coarse map) resized to the picture's own size."""
    h, w = layout.image
    if values.shape == (h, w):
        return values
    if layout.published:
        return _sample_aligned(values[..., None], (0, 0, values.shape[1], values.shape[0]), (h, w))[..., 0]
    return resized(values, (h, w))


def _sample_aligned(
    array: NDArray[np.uint8] | NDArray[np.float32], box: tuple[int, int, int, int], size: tuple[int, int]
) -> FloatMap:
    """`array[y0:y1, x0:x1]` (h, w, C) resized bilinearly with aligned corners to `size`, as float32.

    Row by row of the output, so that a 100-megapixel picture never becomes a float array.
    """
    x0, y0, x1, y1 = box
    (top, bottom, fy), (left, right, fx) = _taps(y1 - y0, size[0]), _taps(x1 - x0, size[1])
    crop = array[y0:y1, x0:x1]
    out = np.empty((*size, array.shape[2]), dtype=np.float32)
    fx = fx[:, None]
    for i in range(size[0]):
        # Rows first: one row of the input is a small float array, whatever the picture.
        row = crop[top[i]].astype(np.float32)
        if fy[i] > 0:
            row += fy[i] * (crop[bottom[i]] - row)
        out[i] = row[left] + fx * (row[right] - row[left])
    return out


def _taps(length: int, new_length: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """For every output sample the two input samples it lies between and the share of the second one."""
    at = np.linspace(0.0, length - 1.0, new_length) if new_length > 1 else np.zeros(1)
    low = np.minimum(at.astype(np.intp), max(length - 2, 0))
    return low, np.minimum(low + 1, length - 1), (at - low).astype(np.float32)
