"""Where the patches lie: pure functions from an image size and a Ψ spec to a `Plan`, and the resizing a plan asks for.

Two ways to go between image and canvas (the plane of all patches side by side, each at Ψ's input size):

- Ours (`published` False): the picture is resized once to the canvas, low-passed where it shrinks, and cut there.
  Cells of the canvas are equal by construction, so a box is exactly (column / columns, row / rows) whatever the image
  size: nothing must divide and nothing is stretched, because the canvas is resized back by the inverse of that map.
- Published (`published` True): every patch is cut from the image at whole pixels and resized bilinearly with aligned
  corners; the canvas is resized to the image with aligned corners. An image that the grid does not divide is enlarged
  to the next multiples before, bicubically with aligned corners, and the finished map goes back bilinearly. All this is
  what the research code does, rounding to 8 bits apart: there is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import InputError
from pro_engine.inference.aligned import enlarged_rows, plain_rows, sample_aligned
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
    row; `cuts` are the same borders in whole pixels of the `enlarged` picture, for the published arithmetic alone.
    `offset` is what a shifted plan moves the patches by, down and right in pixels of the canvas.
    """

    image: tuple[int, int]
    grid: tuple[int, int]
    coarse: tuple[int, int]
    patch: tuple[int, int]
    published: bool
    boxes: tuple[tuple[float, float, float, float], ...]
    cuts: tuple[tuple[int, int, int, int], ...] = ()
    enlarged: tuple[int, int] = (0, 0)
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
    shifted: bool | tuple[bool, bool] = False,
) -> Plan:
    """The plan for a picture of `height` x `width` pixels; `fine` describes the Ψ of the patches where it is another.

    A shifted plan moves the patches by half a patch, down and right or as the two values say, along each side that has
    more than one; those that would leave the picture are left out, so half a patch at each end of that side has none.

    Raises:
        InputError: a side under 32 pixels.
    """
    if min(height, width) < MIN_SIDE_PX:
        raise InputError(f"The image is {width}x{height} pixels; give one with at least {MIN_SIDE_PX} pixels a side.")
    of_patches = fine or spec
    published = spec.published_resize and fine is None
    rows, cols = auto_grid(height, width, of_patches.input_area) if tiles == "auto" else tiles
    patch = input_size(height / rows, width / cols, of_patches)
    down, right = shifted if isinstance(shifted, tuple) else (shifted, shifted)
    offset = (patch[0] // 2 if down and rows > 1 else 0, patch[1] // 2 if right and cols > 1 else 0)
    common = Plan((height, width), (rows, cols), input_size(height, width, spec), patch, published, (), offset=offset)
    if not published:
        tops, lefts = _starts(rows, offset[0] / patch[0]), _starts(cols, offset[1] / patch[1])
        return replace(common, boxes=tuple(_box(x, y, 1, 1, (rows, cols)) for y in tops for x in lefts))
    h, w = math.ceil(height / rows), math.ceil(width / cols)  # of a patch, in pixels of the enlarged picture
    ys = [k * h + (h // 2 if offset[0] else 0) for k in range(rows - (offset[0] > 0))]
    xs = [k * w + (w // 2 if offset[1] else 0) for k in range(cols - (offset[1] > 0))]
    return replace(
        common,
        boxes=tuple(_box(x, y, w, h, (rows * h, cols * w)) for y in ys for x in xs),
        cuts=tuple((x, y, x + w, y + h) for y in ys for x in xs),
        enlarged=(rows * h, cols * w),
    )


def _box(x: float, y: float, width: float, height: float, whole: tuple[int, int]) -> tuple[float, float, float, float]:
    return x / whole[1], y / whole[0], (x + width) / whole[1], (y + height) / whole[0]


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
    if not layout.published:
        return resized(image, layout.coarse)
    h, w = layout.enlarged
    return sample_aligned(enlarged_rows(image, layout.enlarged), (0, 0, w, h), layout.coarse)


def patch_source(image: ImageArray, layout: Plan) -> ImageArray:
    """What `patch_input` cuts from: the picture itself (published) or the picture resized to the canvas (ours)."""
    return image if layout.published else resized(image, layout.canvas)


def patch_input(source: ImageArray, layout: Plan, index: int) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Patch `index` as Ψ sees it: (h, w, 3) in 0..255, from what `patch_source` returned."""
    if layout.published:
        return sample_aligned(enlarged_rows(source, layout.enlarged), layout.cuts[index], layout.patch)
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
    if not layout.published:
        return resized(values, (h, w))
    for size in (layout.enlarged, layout.image):
        if values.shape != size:
            rows, columns = values.shape
            values = sample_aligned(plain_rows(values[..., None]), (0, 0, columns, rows), size)[..., 0]
    return values
