"""What a synthetic scene is made of: plain data, shared by the builders and the renderer.

World frame: x right, y forward, z up, metres. Rotations are right-handed, radians. Colours are linear RGB in [0, 1].
A builder (`kinds.py`) makes a `Scene`; the renderer (`render/embree.py`) turns it and a `SceneCamera` into a linear
picture and exact z-depth. Neither imports the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """How a surface looks. Patterns are mapped in object space by box projection unless the mesh has `uv`."""

    pattern: str = "solid"
    """Or one of `textures.PATTERNS`."""
    color: Color = (0.6, 0.6, 0.6)
    color2: Color = (0.4, 0.4, 0.4)
    """Second colour of two-tone patterns; mortar or joint colour of `bricks`."""
    scale: float = 1.0
    """Pattern repeats per metre, roughly."""
    angle: float = 0.0
    stretch: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)
    threshold: float = 0.5
    softness: float = 0.2
    """`threshold` and `softness` shape the ramp from `color` to `color2`."""
    joint: float = 0.03
    """Joint width of `bricks` as a share of the brick."""
    image: str | None = None
    """Path of a picture for pattern `image`; with `color` as its tint."""
    tint: bool = False
    reflectance: float = 0.0
    """Specular reflectance at normal incidence: 0 matt, 0.04 polished dielectric, above 0.5 metal or mirror."""
    transparent: bool = False
    """Clear glass: depth is that of the glass, the transparency mask is set, the picture shows what is behind."""
    bump: float = 0.0
    bump_scale: float = 1.0
    emission: float = 0.0


@dataclass(frozen=True)
class SceneMesh:
    """Triangles in object space.

    vertices (V, 3) float32; faces (F, 3) int32; face_material (F,) int32, index into `materials`; smooth (F,) bool;
    uv (F, 3, 2) float32 or None; materials is a tuple.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    face_material: NDArray[np.int32]
    smooth: NDArray[np.bool_]
    materials: tuple[Material, ...]
    uv: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Instance:
    """A mesh placed in the world by a 4x4 matrix (column vectors); `materials` replaces the mesh's own when given."""

    mesh: SceneMesh
    matrix: NDArray[np.float32]
    materials: tuple[Material, ...] | None = None


@dataclass(frozen=True)
class Light:
    """A lamp or a sun.

    `sun`: direction TO the light in `vector`, `power` irradiance, `size` angular softness in radians. `point` / `area`:
    position in `vector`, `power` in arbitrary units falling with the square of the distance, `size` in metres.
    """

    kind: str
    vector: tuple[float, float, float]
    power: float
    color: Color = (1.0, 1.0, 1.0)
    size: float = 0.1


@dataclass(frozen=True)
class Sky:
    """Environment: an HDRI file, or a gradient from `horizon` to `zenith` with optional clouds; `ground` below."""

    hdri: str | None = None
    zenith: Color = (0.2, 0.4, 0.9)
    horizon: Color = (0.8, 0.85, 0.95)
    ground: Color = (0.25, 0.25, 0.22)
    clouds: float = 0.0
    """Cloud cover, 0 clear to 1 overcast."""
    turn: float = 0.0
    strength: float = 1.0


@dataclass(frozen=True)
class SceneCamera:
    """Pinhole camera: position, yaw about z (0 looks along +x), pitch (up positive), roll, horizontal field of view in
    radians; `min_distance` is the nearest surface a picture may hold, in metres."""

    position: tuple[float, float, float]
    yaw: float
    pitch: float
    roll: float
    fov_x: float
    min_distance: float = 0.1
    blur: float = 0.0
    """Depth-of-field strength: blur radius in pixels at 416 px width for a point at infinity, 0 for none."""


@dataclass
class Scene:
    """Everything a renderer needs, and `propose`, which draws camera proposals that the generator may reject."""

    kind: str
    propose: Callable[[np.random.Generator], SceneCamera]
    instances: list[Instance] = field(default_factory=list)
    lights: list[Light] = field(default_factory=list)
    sky: Sky = field(default_factory=Sky)
    ambient: Color = (0.6, 0.6, 0.6)
    ambient_reach: float = 3.0
    """How far, in metres, surroundings darken a point (ambient occlusion radius)."""
    haze: float = 0.0
    """Distance in metres at which haze hides 63 %; 0 for clear air."""
    haze_color: Color = (0.9, 0.95, 1.0)

    def add(
        self, mesh: SceneMesh, matrix: NDArray[np.float32] | None = None, materials: tuple[Material, ...] | None = None
    ) -> None:
        """Place a mesh; no matrix means identity."""
        place = np.eye(4, dtype=np.float32) if matrix is None else np.asarray(matrix, np.float32)
        self.instances.append(Instance(mesh, place, materials))
