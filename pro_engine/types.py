"""The data that crosses the engine's border, and THE conventions, stated once.

- Image: uint8 RGB, shape (H, W, 3), upright (already turned by EXIF), C-contiguous.
- Maps: float32, shape (H, W), row 0 at the top.
- Camera frame: x right, y down, z forward (OpenCV; REP 103 optical). Pixel centres lie at integers, so the top left
  pixel covers [-0.5, 0.5] and the principal point of a centred lens is ((W - 1) / 2, (H - 1) / 2).
- `disparity`: relative inverse depth, no unit, larger is nearer; an affine map of 1 / depth, so it may be negative.
- `depth`: z in metres; +inf where the surface is infinitely far (sky), NaN where it is unknown (REP 117 / REP 118).
- Metres only come from a scale, and every scale and lens says where it came from (`ScaleSource`, `LensSource`).
- Flips for GLB or Blender happen at export, nowhere else.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import InputError

ImageArray = NDArray[np.uint8]
FloatMap = NDArray[np.float32]
BoolMap = NDArray[np.bool_]

LensSource = Literal["given", "exif", "model", "assumed"]
"""Of intrinsics: given by the caller, told by the photo's file, estimated by the model (and, where that
is a guess, by the lines of the photo), or an assumed usual lens."""
ScaleSource = Literal["given", "fitted", "metric", "estimated", "assumed"]
"""Of a scale: given by the caller (a range, numbers), fitted to something known (sensor depth, the ground) also by a
model that is told it, the metres of a metric model (the lens known or its own), estimated by a head for it, or by an
assumed range or lens."""


def is_finite_number(value: object) -> bool:
    """Whether a value is a real number (Python's or numpy's, no truth value) and neither NaN nor infinite."""
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of a float
        return False


def _require_positive(**pixels: float) -> None:
    for name, value in pixels.items():
        if not (is_finite_number(value) and value > 0):
            raise InputError(f"Intrinsics.{name} is {value!r}; give a finite number above 0 (pixels).")


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera: focal lengths and principal point in pixels of an image of `width` x `height` pixels.

    Raises:
        InputError: a focal length or size that is not a finite number above 0, or a principal point that is not finite.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def __post_init__(self) -> None:
        _require_positive(fx=self.fx, fy=self.fy, width=self.width, height=self.height)
        if not (is_finite_number(self.cx) and is_finite_number(self.cy)):
            raise InputError(f"The principal point is ({self.cx!r}, {self.cy!r}); give finite pixel coordinates.")

    @classmethod
    def from_fov(cls, width: int, height: int, *, fov_x_deg: float) -> Intrinsics:
        """A centred lens with square pixels and a horizontal field of view in degrees, between 0 and 180."""
        if not (is_finite_number(fov_x_deg) and 0 < fov_x_deg < 180):
            raise InputError(
                f"fov_x_deg is {fov_x_deg!r}; give the horizontal field of view between 0 and 180 degrees."
            )
        _require_positive(width=width, height=height)
        focal_px = width / (2 * math.tan(math.radians(fov_x_deg) / 2))
        return cls(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, width, height)

    @classmethod
    def from_focal_35mm(cls, width: int, height: int, *, focal_35mm: float) -> Intrinsics:
        """A centred lens from the 35 mm equivalent focal length in millimetres.

        It has the same diagonal field of view, as EXIF defines it: the 36 x 24 mm frame has a diagonal of 43.27 mm.
        """
        if not (is_finite_number(focal_35mm) and focal_35mm > 0):
            raise InputError(f"focal_35mm is {focal_35mm!r}; give millimetres above 0.")
        _require_positive(width=width, height=height)
        focal_px = focal_35mm * math.hypot(width, height) / math.hypot(36.0, 24.0)
        return cls(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, width, height)

    @classmethod
    def from_matrix(cls, matrix: NDArray[np.floating[Any]], width: int, height: int) -> Intrinsics:
        """From a 3x3 camera matrix K in pixels; skew is refused.

        Raises:
            InputError: not numbers, not 3x3, skewed, or not of the form [[fx, 0, cx], [0, fy, cy], [0, 0, 1]].
        """
        try:
            given = np.asarray(matrix)
        except ValueError as error:  # rows of different lengths
            raise InputError(f"The camera matrix cannot be read ({error}); give a 3x3 matrix K.") from error
        if given.dtype.kind not in "iuf":
            raise InputError(f"The camera matrix holds {given.dtype} instead of numbers; give a 3x3 matrix K.")
        k = given.astype(np.float64)
        if k.shape != (3, 3):
            raise InputError(f"The camera matrix has shape {k.shape}; give a 3x3 matrix K.")
        if not np.isfinite(k).all():
            raise InputError("The camera matrix holds NaN or infinity; give finite numbers.")
        if abs(k[0, 1]) > 1e-6 * max(abs(k[0, 0]), 1.0) or k[1, 0] or not np.allclose(k[2], (0, 0, 1)):
            raise InputError("The camera matrix is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; rectify the image first.")
        return cls(float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2]), width, height)

    def matrix(self) -> NDArray[np.float64]:
        """The 3x3 camera matrix K in pixels."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], dtype=np.float64)

    @property
    def fov_x_deg(self) -> float:
        """Horizontal field of view in degrees (of a centred lens of this focal length)."""
        return math.degrees(2 * math.atan(self.width / (2 * self.fx)))

    def resized(self, width: int, height: int) -> Intrinsics:
        """The same camera after its image was resized to `width` x `height` (edges map to edges)."""
        _require_positive(width=width, height=height)
        sx, sy = width / self.width, height / self.height
        return Intrinsics(
            self.fx * sx, self.fy * sy, (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5, width, height
        )


@dataclass(frozen=True)
class Plate:
    """Where the pixels of a picture lie on a larger or smaller frame, as OpenEXR's windows say.

    data, display: x and y of the first pixel, x and y of the last, of the pixels that are there and of the frame.
    pixel_aspect: width of a pixel divided by its height (2 for a squeezed anamorphic picture).
    """

    data: tuple[int, int, int, int]
    display: tuple[int, int, int, int]
    pixel_aspect: float = 1.0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pixels that are there."""
        return self.data[2] - self.data[0] + 1, self.data[3] - self.data[1] + 1

    def lens(self, of_frame: Callable[[int, int], Intrinsics]) -> Intrinsics:
        """The camera of the pixels that are there; its axis meets the middle of the frame.

        Args:
            of_frame: the camera of a frame of this width and height with square pixels.
        """
        width, height = self.display[2] - self.display[0] + 1, self.display[3] - self.display[1] + 1
        frame = of_frame(round(width * self.pixel_aspect), height).resized(width, height)
        return Intrinsics(
            fx=frame.fx,
            fy=frame.fy,
            cx=frame.cx + self.display[0] - self.data[0],
            cy=frame.cy + self.display[1] - self.data[1],
            width=self.size[0],
            height=self.size[1],
        )


@dataclass(frozen=True)
class Panorama:
    """That a picture is a panorama: the reason, and whether it is a whole equirectangular one by what its file says."""

    reason: str
    equirectangular: bool = False


@dataclass(frozen=True, eq=False)
class LoadedPhoto:
    """A photo and what its file says of it.

    image (H, W, 3) uint8 RGB, upright; intrinsics its camera in pixels, or None; lens_is_sure False where the file
    contradicts itself, so that the camera is a guess; plate where it lies on the plate, or None where it is the whole
    of it; notes sentences on what was chosen, assumed or left out; panorama what its file says of that, which no
    pinhole camera sees, or None.
    """

    image: ImageArray
    intrinsics: Intrinsics | None = None
    lens_is_sure: bool = True
    plate: Plate | None = None
    notes: tuple[str, ...] = ()
    panorama: Panorama | None = None


@dataclass(frozen=True)
class ScaleShift:
    """`1 / depth_m = scale * disparity + shift`, with what is known about the fit.

    `scale` is above 0. `inlier_share` is the share of the samples that agree within the fit's tolerance (1.0 without
    one); `source` as `ScaleSource`.
    """

    scale: float
    shift: float
    inlier_share: float = 1.0
    source: ScaleSource = "given"


@dataclass(frozen=True, eq=False)
class DepthResult:
    """What the engine returns for one image.

    disparity (H, W) float32, relative, larger is nearer; `coarse` (H, W) float32 is the unrefined map on the same
    scale, kept when asked for; valid (H, W) bool, False where nothing is known, as there was nothing to look at or the
    model says so; depth (H, W) float32 metres or None; `scale_shift` the link between the two and its source.
    alpha (H, W) float32 in [0, 1], kept when asked for and the refiner tells it: what share of a pixel the near
    side of an outline fills; 1 away from outlines.

    intrinsics of the image, or None where neither the caller nor the model gives them; `lens_source` theirs. sky (H, W)
    bool, True where the model sees no surface at any finite distance: depth is +inf there, and disparity that of
    infinity, unless the model knows none on its scale (`span_m`);
    normals (H, W, 3) float32 the model's own, of unit length in the camera frame, towards the camera, kept when asked
    for. Both are None where the model does not give them. All of these are of the photo as a whole, never of a patch.
    span_m: how far the nearest and the farthest surface are, in metres, as a model without metres estimates it, or None
    (`span_scale_shift` makes a scale of it).
    dtype: the number format of the networks, such as "bfloat16"; "" if unknown. notes: sentences on what the model
    cannot tell of this photo, or does not do as asked.
    """

    disparity: FloatMap
    valid: BoolMap
    depth: FloatMap | None = None
    intrinsics: Intrinsics | None = None
    lens_source: LensSource | None = None
    scale_shift: ScaleShift | None = None
    coarse: FloatMap | None = None
    alpha: FloatMap | None = None
    sky: BoolMap | None = None
    normals: FloatMap | None = None
    span_m: tuple[float, float] | None = None
    tiles: tuple[int, int] = (1, 1)
    model: str = ""
    dtype: str = ""
    seconds: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def with_depth(self, depth: FloatMap, scale_shift: ScaleShift) -> DepthResult:
        """A copy that also carries metres and where their scale came from."""
        return replace(self, depth=depth, scale_shift=scale_shift)


@dataclass(frozen=True, eq=False)
class PointCloud:
    """xyz (N, 3) float32 metres in the camera frame; rgb (N, 3) uint8 or None."""

    xyz: NDArray[np.float32]
    rgb: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Mesh:
    """A textured triangle mesh in the camera frame.

    vertices (V, 3) float32 metres; faces (F, 3) int32, counter-clockwise seen from the camera; uv (V, 2) float32 in
    [0, 1] with v upwards, or None; texture (H, W, 3) uint8 RGB or None; normals point towards the camera; colors (V, 3)
    uint8 RGB of the vertices where there is no texture, or None.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32] | None = None
    texture: ImageArray | None = None
    colors: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class LayeredMesh:
    """A photo as two meshes in the frame of its camera: what it shows, and what goes on behind that.

    front has the photo as its texture and fills the frame of `intrinsics`; behind, None where nothing is hidden, has a
    texture of its own, which is the photo where that shows the same surface; covered (H', W') bool of that texture's
    size, True where its colours are made up. A margin of (W' - W) / 2 pixels lies around the photo.
    """

    front: Mesh
    behind: Mesh | None
    intrinsics: Intrinsics
    covered: BoolMap
