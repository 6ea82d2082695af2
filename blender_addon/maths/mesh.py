# SPDX-License-Identifier: GPL-3.0-or-later
"""Depth map and pinhole camera to the arrays of a Blender mesh and to the Blender camera. Needs numpy only.

Pixel centres lie at integers, as in the engine. Blender's camera space has x to the right, y up and looks
along -z. The vertex of a pixel lies on the ray through its centre, and its UV is the pixel's centre in the picture,
((column + 0.5) / W, 1 - (row + 0.5) / H), so a render through `camera_of` is the photo again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..options import Checked, option, same_as
from .layers import layers_of
from .sheets import Sheet
from .simplify import BlockPyramid, BoolMap, Faces, FloatMap, Indices, cell_corners, cell_faces

if TYPE_CHECKING:
    from .sphere import Sphere

BYTES_PER_VERTEX = 108  # while a mesh is built, over what the pixels take; fitted to peaks of 0.05 to 8.3 million
BYTES_PER_PIXEL = 72  # photo, depth and what making and merging the mesh takes on the way
BYTES_PER_LAYER_PIXEL = 56  # colours as floats, and what is continued; fitted to photos of 1 and 8 megapixels
BYTES_PER_MAP_PIXEL = 32  # a float image: four channels, and once more packed
COARSEST = 0.02  # relative error from which an even coarser grid does better than larger blocks
EVEN_TRIES = 12
CLOSE_ENOUGH = 0.01
MIN_BUDGET = 100
REDUCE_CHOICES = ("flat", "even")


@dataclass(frozen=True)
class MeshOptions(Checked):
    """How the grid of pixels becomes a mesh. UserError: a value outside its limits."""

    edge_rtol: float = same_as(
        "GeometryOptions.edge_rtol",
        default=0.05,  # above the engine's: a torn mesh shows its holes in every other view, a stretched one hides them
        help="Relative step in depth between neighbouring pixels where the mesh tears",
        label="Tear",
    )
    erode_px: int = option(0, "Pixels taken away along tears and holes", label="Erode", minimum=0, maximum=64)
    vertices: int = option(
        0, "About how many vertices the mesh may have; 0 for one a pixel", label="Vertices", minimum=0
    )
    reduce: str = option(
        "flat",
        "How vertices are saved: flat merges flat regions, even takes every n-th pixel",
        label="Reduce",
        choices=REDUCE_CHOICES,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.vertices < MIN_BUDGET:
            raise UserError(f"Vertices is {self.vertices}; give {MIN_BUDGET} or more, or 0 for no limit.")


@dataclass(frozen=True)
class Intrinsics:
    """Focal lengths and principal point in pixels, pixel centres at integers. UserError: numbers that are no camera."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy, self.width, self.height)
        if not all(math.isfinite(n) for n in numbers) or min(self.fx, self.fy, self.width, self.height) <= 0:
            raise UserError(f"{self} is no camera; give a field of view instead.")

    @classmethod
    def from_fov(cls, fov_x_deg: float, width: int, height: int) -> Intrinsics:
        """Square pixels and a centred lens that sees `fov_x_deg` degrees across the width."""
        if not 0 < fov_x_deg < 180:
            raise UserError(f"The field of view is {fov_x_deg:g} degrees; give a number between 0 and 180.")
        focal_px = width / 2 / math.tan(math.radians(fov_x_deg) / 2)
        return cls(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, width, height)


class BlenderCamera(NamedTuple):
    """A Blender camera of sensor fit HORIZONTAL; the aspects belong to the render settings."""

    lens_mm: float
    sensor_mm: float
    shift_x: float
    shift_y: float
    aspect_x: float
    aspect_y: float


def camera_of(intrinsics: Intrinsics, sensor_mm: float = 36.0) -> BlenderCamera:
    """The Blender camera that sees what these intrinsics see, at a render size of the photo's or any multiple.

    Blender gives both shifts in widths, and measures from the middle of the frame, half a pixel off pixel centres. Its
    pixels are square unless the aspect says otherwise: fx = fy * aspect_y / aspect_x; neither may be below 1.
    """
    width, ratio = intrinsics.width, intrinsics.fx / intrinsics.fy
    return BlenderCamera(
        lens_mm=intrinsics.fx / width * sensor_mm,
        sensor_mm=sensor_mm,
        shift_x=-(intrinsics.cx + 0.5 - width / 2) / width,
        shift_y=(intrinsics.cy + 0.5 - intrinsics.height / 2) * ratio / width,
        aspect_x=max(1.0, 1 / ratio),
        aspect_y=max(1.0, ratio),
    )


class MeshArrays(NamedTuple):
    """A mesh in Blender's camera space, metres, faces counter-clockwise as the camera sees them."""

    vertices: FloatMap  # (N, 3)
    uv: FloatMap  # (N, 2)
    corners: Indices  # (L,) vertex of each corner, face by face
    starts: Indices  # (F,) first corner of each face

    def on_plane(self, plane_m: float) -> MeshArrays:
        """The same mesh with every vertex moved along its ray to the plane at `plane_m` metres."""
        return self._replace(vertices=self.vertices * (-np.float32(plane_m) / self.vertices[:, 2:]))


class Estimate(NamedTuple):
    """What a build will take: vertices, and bytes at its peak, over those of Blender before."""

    vertices: int
    bytes: int


def open_cells(depth: FloatMap, options: MeshOptions) -> BoolMap:
    """The cells between four pixels that are drawn.

    Not drawn are cells with a corner whose depth is NaN, infinite or not above 0, cells whose corners differ by more
    than `edge_rtol`, and all within `erode_px` of one of these. The border of the picture is not eroded.

    Args:
        depth: (H, W) metres, at least 2x2.
        options: edges and erosion.

    Returns:
        (H - 1, W - 1).

    Raises:
        UserError: a map too small.
    """
    if depth.ndim != 2 or min(depth.shape) < 2:
        raise UserError(f"The depth map has the shape {depth.shape}; a mesh needs at least 2x2 pixels.")
    z = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan))
    low, high = (combine(combine(z[:-1, :-1], z[:-1, 1:]), combine(z[1:, :-1], z[1:, 1:]))
                 for combine in (np.minimum, np.maximum))  # fmt: skip
    low *= np.float32(1 + options.edge_rtol)
    closed = ~(high <= low)  # NaN is in no relation
    for _ in range(options.erode_px):
        for side in (closed, closed.T):
            side[1:] |= side[:-1]
            side[:-1] |= side[1:]
    return ~closed


def depth_to_mesh(depth: FloatMap, intrinsics: Intrinsics, options: MeshOptions | None = None) -> MeshArrays:
    """The surfaces in view, torn where one hides another.

    With a budget the count is met within 5 %, or is that of the whole map where it has no more. A coarser grid draws a
    cell only if all cells it stands for are drawn.

    Args:
        depth: (H, W) metres.
        intrinsics: of the same size.
        options: threshold, erosion and budget.

    Raises:
        UserError: sizes that differ, or no face left.
    """
    options = options or MeshOptions()
    check_size(depth, intrinsics)
    drawn = open_cells(depth, options)
    whole = int(np.count_nonzero(cell_corners(drawn)))
    if not whole:
        raise UserError("No face is left: all is torn, masked or sky; raise Tear or keep the sky.")
    rows, columns = (np.arange(n, dtype=np.int32) for n in depth.shape)
    if not options.vertices or options.vertices >= whole:
        faces = cell_faces(drawn)
    else:
        merged = _merged(depth, drawn, options.vertices) if options.reduce == "flat" else None
        rows, columns, faces = merged or even_lines(drawn, options.vertices, whole)
    return _collect(depth, intrinsics, rows, columns, faces)


def estimate_of(vertices: int, pixels: int, *, extra_maps: int = 0, layers: bool = False) -> Estimate:
    """Memory for so many vertices of a photo of so many pixels, mostly within 10 %.

    extra_maps: float images kept beside depth: one for kinds that move a plane, one for the engine's own map. layers:
    two surfaces are built.
    """
    per_pixel = BYTES_PER_PIXEL + extra_maps * BYTES_PER_MAP_PIXEL + layers * BYTES_PER_LAYER_PIXEL
    return Estimate(vertices, vertices * BYTES_PER_VERTEX + pixels * per_pixel)


def position_map(depth: FloatMap, intrinsics: Intrinsics, plane_m: float = 0.0) -> FloatMap:
    """Where each pixel lies, less where its ray meets the plane at `plane_m`: Blender's camera space, metres.

    A surface that starts on that plane and is moved by any share of the map keeps every point on its ray.

    Args:
        depth: (H, W) metres; pixels that are not finite or not above 0 get 0.
        intrinsics: of the same size.
        plane_m: distance of the plane in front of the camera; 0 for bare positions.

    Returns:
        (H, W, 3).
    """
    check_size(depth, intrinsics)
    far = np.where(np.isfinite(depth) & (depth > 0), depth - np.float32(plane_m), np.float32(0))
    x, y = ray_slopes(intrinsics, *(np.arange(n) for n in depth.shape))
    positions = np.empty((*depth.shape, 3), np.float32)
    positions[..., 0] = far * x
    positions[..., 1] = far * y[:, None]
    positions[..., 2] = -far
    return positions


def layered_meshes(
    depth: FloatMap,
    colours: FloatMap,
    intrinsics: Intrinsics,
    options: MeshOptions,
    *,
    reveal: float,
    extend: bool,
) -> tuple[MeshArrays, MeshArrays | None, FloatMap]:
    """The photo in front without a gap, what it hides behind it (None where nothing is), and the texture of that.

    A budget of vertices is kept by a coarser grid where there is no outline; those at outlines come on top.

    Args:
        depth: (H, W) metres.
        colours: (H, W, 3) of the photo.
        intrinsics: of the same size.
        options: threshold and budget.
        reveal, extend: as of the engine's options.

    Raises:
        UserError: sizes that differ, or no face left.
    """
    check_size(depth, intrinsics)
    if depth.ndim != 2 or min(depth.shape) < 2:
        raise UserError(f"The depth map has the shape {depth.shape}; a mesh needs at least 2x2 pixels.")
    focal_px = max(intrinsics.fx, intrinsics.fy)
    try:
        layers = layers_of(
            depth,
            colours,
            focal_px=focal_px,
            edge_rtol=options.edge_rtol,
            reveal=reveal,
            margin=math.ceil(focal_px * reveal) if extend else 0,
            stride=math.ceil(math.sqrt(depth.size / options.vertices)) if options.vertices else 1,
        )
    except ValueError as error:
        raise UserError("No face is left: all is masked or sky; keep the sky.") from error
    front = _of_sheet(layers.front, intrinsics, 0)
    behind = None if layers.behind is None else _of_sheet(layers.behind, intrinsics, layers.margin)
    return front, behind, layers.plate


def _of_sheet(sheet: Sheet, intrinsics: Intrinsics, margin: int) -> MeshArrays:
    """A sheet in Blender's camera space, with UV of a texture that has a margin around the photo."""
    size = np.array([intrinsics.width + 2 * margin, intrinsics.height + 2 * margin], np.float32)
    vertices = np.empty((len(sheet.depth), 3), np.float32)
    vertices[:, 0] = (sheet.pixels[:, 0] - np.float32(intrinsics.cx)) / np.float32(intrinsics.fx)
    vertices[:, 1] = (np.float32(intrinsics.cy) - sheet.pixels[:, 1]) / np.float32(intrinsics.fy)
    vertices[:, 2] = -1
    vertices *= sheet.depth[:, None]
    uv = (sheet.pixels + np.float32(margin + 0.5)) / size
    uv[:, 1] = 1 - uv[:, 1]
    return MeshArrays(vertices, uv, sheet.quads.reshape(-1), np.arange(0, sheet.quads.size, 4, dtype=np.int32))


def plane_mesh(intrinsics: Intrinsics, plane_m: float) -> MeshArrays:
    """One quad at `plane_m` metres, from the centre of the first pixel to that of the last."""
    ends = (np.array([0, intrinsics.height - 1]), np.array([0, intrinsics.width - 1]))
    return _collect(np.full((2, 2), plane_m, np.float32), intrinsics, *ends, cell_faces(np.ones((1, 1), np.bool_)))


def check_size(depth: FloatMap, intrinsics: Intrinsics | Sphere) -> None:
    """UserError: depth map and camera are of different sizes."""
    if depth.shape != (intrinsics.height, intrinsics.width):
        raise UserError(
            f"The depth map is {'x'.join(map(str, reversed(depth.shape)))} but the photo "
            f"{intrinsics.width}x{intrinsics.height}; run the engine again."
        )


def ray_slopes(intrinsics: Intrinsics, rows: NDArray[Any], columns: NDArray[Any]) -> tuple[FloatMap, FloatMap]:
    """x of columns and y of rows at a distance of 1, in Blender's camera space."""
    x, y = (columns - intrinsics.cx) / intrinsics.fx, (intrinsics.cy - rows) / intrinsics.fy
    return x.astype(np.float32), y.astype(np.float32)


def _coarse(drawn: BoolMap, rows: Indices, columns: Indices) -> BoolMap:
    """The cells between chosen lines, the first and last among them, of which every part is drawn."""
    strips = np.logical_and.reduceat(drawn, rows[:-1], axis=0)
    return np.logical_and.reduceat(strips, columns[:-1], axis=1)


def even_lines(drawn: BoolMap, vertices: int, whole: int) -> tuple[Indices, Indices, Faces]:
    """Lines spread evenly over the picture so that about as many vertices are used."""
    share = math.sqrt(vertices / whole)
    best: tuple[float, Indices, Indices, BoolMap] | None = None
    for _ in range(EVEN_TRIES):
        rows, columns = (_lines(n + 1, share) for n in drawn.shape)
        cells = _coarse(drawn, rows, columns)
        count = int(np.count_nonzero(cell_corners(cells)))
        miss = abs(count - vertices) / vertices
        if best is None or miss < best[0]:
            best = (miss, rows, columns, cells)
        if miss <= CLOSE_ENOUGH:
            break
        share = min(1.0, share * math.sqrt(vertices / max(count, 1)))
    assert best is not None
    _, rows, columns, cells = best
    if not cells.any():
        raise UserError(f"No face is left with {vertices} vertices: the cells are too large; raise the budget.")
    return rows, columns, cell_faces(cells)


def _lines(length: int, share: float) -> Indices:
    """About `share` of 0 ... length - 1, evenly spread, with both ends."""
    return np.unique(np.rint(np.linspace(0, length - 1, max(2, round(length * share))))).astype(np.int32)


def _merged(depth: FloatMap, drawn: BoolMap, vertices: int) -> tuple[Indices, Indices, Faces] | None:
    """The finest grid whose flat regions merge into about as many vertices; None if an even grid does better."""
    stride = 1
    while True:
        rows, columns = (np.append(np.arange(0, n - 1, stride), n - 1).astype(np.int32) for n in depth.shape)
        cells = _coarse(drawn, rows, columns)
        if np.count_nonzero(cell_corners(cells)) <= vertices:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = np.float32(1) / depth[np.ix_(rows, columns)]
        pyramid = BlockPyramid.of(inverse, cells, rows, columns)
        tolerance = pyramid.tolerance_for(vertices)
        if tolerance is not None and tolerance <= COARSEST:
            return rows, columns, pyramid.faces(tolerance)
        stride *= 2


def _collect(depth: FloatMap, intrinsics: Intrinsics, rows: Indices, columns: Indices, faces: Faces) -> MeshArrays:
    """Vertices, UV and faces of a grid. `depth` is of the picture, or of the grid's vertices alone."""
    grid = depth if depth.shape == (len(rows), len(columns)) else depth[np.ix_(rows, columns)]

    def of_lines(row_values: NDArray[Any], column_values: NDArray[Any]) -> list[FloatMap]:
        lines = (row_values.astype(np.float32)[:, None], column_values.astype(np.float32))
        return [np.broadcast_to(values, grid.shape)[faces.used] for values in lines]

    x, y = ray_slopes(intrinsics, rows, columns)
    z = grid[faces.used]
    vertices, uv = np.empty((len(z), 3), np.float32), np.empty((len(z), 2), np.float32)
    for axis, slopes in enumerate(of_lines(y, x)[::-1]):
        np.multiply(slopes, z, out=vertices[:, axis])
    np.negative(z, out=vertices[:, 2])
    uv[:, 1], uv[:, 0] = of_lines(1 - (rows + 0.5) / intrinsics.height, (columns + 0.5) / intrinsics.width)
    corners = np.concatenate([faces.quads.reshape(-1), faces.triangles.reshape(-1)])
    quads = faces.quads.size
    starts = (np.arange(0, quads, 4, dtype=np.int32), np.arange(quads, len(corners), 3, dtype=np.int32))
    return MeshArrays(vertices, uv, corners, np.concatenate(starts))
