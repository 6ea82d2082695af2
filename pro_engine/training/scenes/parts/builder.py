"""Meshes out of simple parts: a `MeshBuilder` collects them and merges them into one `SceneMesh`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .scene import Material, SceneMesh

Array = NDArray[np.float64]
Hole = tuple[float, float, float, float]
"""Opening in a wall: start and end along the wall, bottom and top."""

_BOX_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
_BOX_QUADS = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])


def placement(
    x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0, scale: float | ArrayLike = 1.0
) -> Array:
    """4x4 matrix: scale, then turn about z, then move."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation("z", yaw)[:3, :3] * np.broadcast_to(np.asarray(scale, float), 3)
    matrix[:3, 3] = x, y, z
    return matrix


def rotation(axis: str, angle: float) -> Array:
    """4x4 right-handed rotation about the axis "x", "y" or "z"."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(4)
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[first, second], matrix[second, first] = -math.sin(angle), math.sin(angle)
    return matrix


def translation(x: float, y: float, z: float) -> Array:
    """4x4 matrix of a move."""
    return placement(x, y, z)


def facing(normal: Sequence[float]) -> float:
    """Yaw that turns an object's front (-y) along a horizontal direction."""
    return math.atan2(normal[0], -normal[1])


def panel(width: float, height: float, material: Material) -> SceneMesh:
    """Upright rectangle in the plane y = 0, base at z = 0, front to -y, with texture coordinates over all of it."""
    half = width / 2
    vertices = np.array([[-half, 0, 0], [half, 0, 0], [half, 0, height], [-half, 0, height]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    return SceneMesh(vertices, faces, np.zeros(2, np.int32), np.zeros(2, bool), (material,), corners[faces])


def _frames(directions: Array) -> tuple[Array, Array]:
    """Two unit vectors across each direction (N, 3)."""
    unit = directions / (np.linalg.norm(directions, axis=-1, keepdims=True) + 1e-12)
    helper = np.where(np.abs(unit[..., :1]) < 0.8, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    across = np.cross(unit, helper)
    across /= np.linalg.norm(across, axis=-1, keepdims=True) + 1e-12
    return across, np.cross(unit, across)


def _circle(sides: int) -> tuple[Array, Array]:
    angles = np.arange(sides) * (2 * math.pi / sides)
    return np.cos(angles), np.sin(angles)


class MeshBuilder:
    """Collects parts, each with its material and smooth flag, in the frame set by `at`."""

    def __init__(self) -> None:
        self._vertices: list[Array] = []
        self._faces: list[NDArray[np.int64]] = []
        self._indices: list[tuple[int, int, bool]] = []
        self._materials: dict[Material, int] = {}
        self._total = 0
        self._matrix: Array | None = None

    @contextmanager
    def at(self, matrix: Array) -> Iterator[MeshBuilder]:
        """Place all parts added inside the `with` block by a 4x4 matrix; nests."""
        outer = self._matrix
        self._matrix = matrix if outer is None else outer @ matrix
        yield self
        self._matrix = outer

    @property
    def empty(self) -> bool:
        """Whether nothing has been added yet."""
        return not self._vertices

    def add(self, vertices: ArrayLike, faces: ArrayLike, material: Material, smooth: bool = False) -> None:
        """Add vertices (V, 3) and triangles or quads (F, 3 or 4)."""
        points = np.asarray(vertices, float)
        polygons = np.asarray(faces, np.int64)
        if polygons.shape[1] == 4:
            polygons = polygons[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
        if self._matrix is not None:
            points = points @ self._matrix[:3, :3].T + self._matrix[:3, 3]
        index = self._materials.setdefault(material, len(self._materials))
        self._vertices.append(points)
        self._faces.append(polygons + self._total)
        self._indices.append((len(polygons), index, smooth))
        self._total += len(points)

    def build(self) -> SceneMesh:
        """The parts as one mesh; it needs at least one part."""
        counts = [count for count, _, _ in self._indices]
        return SceneMesh(
            vertices=np.concatenate(self._vertices).astype(np.float32),
            faces=np.concatenate(self._faces).astype(np.int32),
            face_material=np.repeat(np.array([index for _, index, _ in self._indices], np.int32), counts),
            smooth=np.repeat(np.array([smooth for _, _, smooth in self._indices], bool), counts),
            materials=tuple(self._materials),
        )

    def merge(self, mesh: SceneMesh) -> None:
        """Add a finished mesh (its texture coordinates are dropped)."""
        for index, material in enumerate(mesh.materials):
            for smooth in (False, True):
                chosen = (mesh.face_material == index) & (mesh.smooth == smooth)
                if chosen.any():
                    used, faces = np.unique(mesh.faces[chosen], return_inverse=True)
                    self.add(mesh.vertices[used], faces.reshape(-1, 3), material, smooth)

    def box(self, centre: ArrayLike, size: Sequence[float], material: Material, yaw: float = 0.0) -> None:
        """Box about its centre, turned about z."""
        corners = _BOX_CORNERS * np.asarray(size, float)
        if yaw:
            corners = corners @ rotation("z", yaw)[:3, :3].T
        self.add(corners + np.asarray(centre, float), _BOX_QUADS, material)

    def boxes(self, centres: ArrayLike, sizes: ArrayLike, material: Material) -> None:
        """Many upright boxes of one material: centres (N, 3), sizes (N, 3) or (3,)."""
        middle = np.asarray(centres, float).reshape(-1, 3)
        if not len(middle):
            return
        corners = middle[:, None] + _BOX_CORNERS * np.broadcast_to(np.asarray(sizes, float), middle.shape)[:, None]
        quads = _BOX_QUADS + np.arange(len(middle))[:, None, None] * 8
        self.add(corners.reshape(-1, 3), quads.reshape(-1, 4), material)

    def posts(self, centre: tuple[float, float, float], size: Sequence[float], material: Material) -> None:
        """Four upright boxes at the corners of a rectangle, such as the legs of a table; `centre` is that of one."""
        x, y, z = centre
        self.boxes([(side * x, end * y, z) for side in (-1, 1) for end in (-1, 1)], size, material)

    def plane(self, size: tuple[float, float], z: float, material: Material) -> None:
        """Horizontal rectangle centred on the z axis."""
        x, y = size[0] / 2, size[1] / 2
        self.add([(-x, -y, z), (x, -y, z), (x, y, z), (-x, y, z)], [(0, 1, 2, 3)], material)

    def loft(
        self, rings: ArrayLike, material: Material, smooth: bool = True, caps: bool = False, closed: bool = True
    ) -> None:
        """Skin over rings (M, K, 3) of equally many points; `closed` joins the last point of a ring to its first."""
        points = np.asarray(rings, float)
        count, sides = points.shape[:2]
        here = np.arange(sides if closed else sides - 1)
        there = (here + 1) % sides
        rows = np.arange(count - 1)[:, None] * sides
        quads = np.stack([rows + here, rows + there, rows + sides + there, rows + sides + here], -1).reshape(-1, 4)
        self.add(points.reshape(-1, 3), quads, material, smooth)
        if caps:
            fan = np.stack([np.full(sides - 2, 0), np.arange(1, sides - 1), np.arange(2, sides)], 1)
            self.add(points[0], fan[:, ::-1], material)
            self.add(points[-1], fan, material)

    def cylinder(
        self,
        start: Sequence[float],
        end: Sequence[float],
        radius: float,
        material: Material,
        *,
        end_radius: float | None = None,
        sides: int = 10,
        caps: bool = True,
    ) -> None:
        """Cylinder or cone between two points."""
        self.tube(
            [start, end], [radius, radius if end_radius is None else end_radius], material, sides=sides, caps=caps
        )

    def cylinders(
        self,
        starts: ArrayLike,
        ends: ArrayLike,
        radii: ArrayLike,
        end_radii: ArrayLike,
        material: Material,
        sides: int = 5,
    ) -> None:
        """Many open cones at once: starts and ends (N, 3), radii (N,)."""
        first, last = np.asarray(starts, float), np.asarray(ends, float)
        if not len(first):
            return
        across, other = _frames(last - first)
        cos, sin = _circle(sides)
        ring = across[:, None] * cos[:, None] + other[:, None] * sin[:, None]
        reach = [np.broadcast_to(np.asarray(radius, float), len(first))[:, None, None] for radius in (radii, end_radii)]
        points = np.stack([first[:, None] + ring * reach[0], last[:, None] + ring * reach[1]], 1)
        here = np.arange(sides)
        there = (here + 1) % sides
        quads = np.stack([here, there, sides + there, sides + here], -1)
        offsets = np.arange(len(first))[:, None, None] * (2 * sides)
        self.add(points.reshape(-1, 3), (quads + offsets).reshape(-1, 4), material, True)

    def tube(
        self, points: ArrayLike, radii: float | ArrayLike, material: Material, *, sides: int = 6, caps: bool = False
    ) -> None:
        """Round tube along a polyline (M, 3); `radii` is one number or one per point."""
        path = np.asarray(points, float)
        across, other = _frames(np.gradient(path, axis=0))
        for index in range(1, len(path)):  # keep the frames from flipping where the helper axis changes
            if across[index] @ across[index - 1] < 0.3:
                forward = np.cross(across[index], other[index])
                across[index] = across[index - 1] - forward * (across[index - 1] @ forward)
                across[index] /= np.linalg.norm(across[index]) + 1e-12
                other[index] = np.cross(forward, across[index])
        cos, sin = _circle(sides)
        reach = np.broadcast_to(np.asarray(radii, float), len(path))[:, None, None]
        rings = path[:, None] + (across[:, None] * cos[:, None] + other[:, None] * sin[:, None]) * reach
        self.loft(rings, material, smooth=sides > 6, caps=caps)

    def lathe(
        self,
        profile: ArrayLike,
        material: Material,
        *,
        centre: Sequence[float] = (0.0, 0.0, 0.0),
        sides: int = 18,
        smooth: bool = True,
    ) -> None:
        """Turn a profile of (radius, height) pairs about the vertical axis through `centre`."""
        radius, height = np.asarray(profile, float).T
        cos, sin = _circle(sides)
        rings = np.stack([radius[:, None] * cos, radius[:, None] * sin, np.repeat(height[:, None], sides, 1)], -1)
        self.loft(rings + np.asarray(centre, float), material, smooth)

    def sphere(
        self,
        centre: ArrayLike,
        radii: float | Sequence[float],
        material: Material,
        *,
        sides: int = 14,
        exponent: float = 1.0,
        noise: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Superellipsoid: exponent 1 is round, towards 0 a cushioned box; `noise` dents it (needs `rng`)."""
        shape = ellipsoid(sides, exponent)
        if noise and rng is not None:
            waves = rng.normal(size=(6, 3)) * 2.2
            dents = np.sin(shape @ waves.T + rng.uniform(0, 6, 6)).sum(-1, keepdims=True)
            shape = shape * (1 + noise / 3 * dents)
        self.loft(shape * np.broadcast_to(np.asarray(radii, float), 3) + np.asarray(centre, float), material)

    def torus(
        self, centre: Sequence[float], radius: float, thickness: float, material: Material, sides: int = 20
    ) -> None:
        """Lying ring."""
        cos, sin = _circle(sides)
        small_cos, small_sin = _circle(8)
        reach = radius + thickness * small_cos
        rings = np.stack([cos[:, None] * reach, sin[:, None] * reach, np.tile(thickness * small_sin, (sides, 1))], -1)
        self.loft(np.concatenate([rings, rings[:1]]) + np.asarray(centre, float), material)

    def cards(
        self, centres: ArrayLike, length: float, material: Material, rng: np.random.Generator, width: float = 0.45
    ) -> None:
        """Leaves: one diamond of random direction at each centre (N, 3), `width` as a share of its length."""
        middle = np.asarray(centres, float)
        count = len(middle)
        along = rng.normal(size=(count, 3))
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        across = np.cross(along, rng.normal(size=(count, 3)))
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        size = length / 2 * rng.uniform(0.6, 1.4, (count, 1))
        along, across = along * size, across * size * width
        corners = np.stack([middle - along, middle - across, middle + along, middle + across], 1)
        self.add(corners.reshape(-1, 3), np.arange(4 * count).reshape(-1, 4), material)

    def ribbon(self, left: ArrayLike, right: ArrayLike, material: Material, smooth: bool = True) -> None:
        """Strip between two polylines of equally many points."""
        self.loft(np.stack([np.asarray(left, float), np.asarray(right, float)], 1), material, smooth, closed=False)

    def extrude(self, outline: ArrayLike, start: float, end: float, material: Material, axis: str = "z") -> None:
        """Prism over a star-shaped outline (K, 2): in (x, y) along "z", in (x, z) along "y", in (y, z) along "x"."""
        flat = np.asarray(outline, float)
        place = {"z": (0, 1, 2), "y": (0, 2, 1), "x": (1, 2, 0)}[axis]
        rings = np.empty((2, len(flat), 3))
        rings[..., place[0]], rings[..., place[1]] = flat[:, 0], flat[:, 1]
        rings[0, :, place[2]], rings[1, :, place[2]] = start, end
        self.loft(rings, material, smooth=False)
        here = np.arange(len(flat))
        fan = np.stack([np.full(len(flat), len(flat)), here, (here + 1) % len(flat)], 1)
        for ring in rings:
            self.add(np.concatenate([ring, ring.mean(0, keepdims=True)]), fan, material)

    def wall(
        self,
        origin: Sequence[float],
        direction: Sequence[float],
        length: float,
        height: float,
        holes: Sequence[Hole],
        material: Material,
    ) -> None:
        """Upright rectangle from `origin` along a unit direction, with rectangular openings."""
        xs = sorted({0.0, length} | {edge for hole in holes for edge in hole[:2]})
        zs = sorted({0.0, height} | {edge for hole in holes for edge in hole[2:]})
        start, along = np.asarray(origin, float), np.asarray(direction, float)
        grid = start + np.array([[along * x + (0, 0, z) for z in zs] for x in xs])
        quads = []
        for column in range(len(xs) - 1):
            for row in range(len(zs) - 1):
                x, z = (xs[column] + xs[column + 1]) / 2, (zs[row] + zs[row + 1]) / 2
                if not any(hole[0] < x < hole[1] and hole[2] < z < hole[3] for hole in holes):
                    corner = column * len(zs) + row
                    quads.append((corner, corner + len(zs), corner + len(zs) + 1, corner + 1))
        if quads:
            self.add(grid.reshape(-1, 3), quads, material)

    def height_field(self, heights: Array, size: tuple[float, float], material: Material) -> None:
        """Ground over a rectangle centred on the z axis: heights (X, Y) on an even grid."""
        x = np.linspace(-size[0] / 2, size[0] / 2, heights.shape[0])
        y = np.linspace(-size[1] / 2, size[1] / 2, heights.shape[1])
        self.loft(np.stack([*np.meshgrid(x, y, indexing="ij"), heights], -1), material, closed=False)


def made(maker: Callable[..., None], *arguments: Any, **more: Any) -> SceneMesh:
    """What a maker adds to a builder, its first argument, as a mesh."""
    mb = MeshBuilder()
    maker(mb, *arguments, **more)
    return mb.build()


def ellipsoid(sides: int, exponent: float = 1.0) -> Array:
    """Unit superellipsoid as rings (sides // 2 + 1, sides, 3) from top to bottom."""
    polar = np.linspace(0, math.pi, sides // 2 + 1)[:, None]
    around = (np.arange(sides) * (2 * math.pi / sides))[None]

    def bend(values: Array) -> Array:
        return np.sign(values) * np.abs(values) ** exponent

    flat = bend(np.sin(polar))
    return np.stack(
        [
            flat * bend(np.cos(around)),
            flat * bend(np.sin(around)),
            np.broadcast_to(bend(np.cos(polar)), (len(polar), sides)),
        ],
        -1,
    )


def fractal(size: int, octaves: int, rng: np.random.Generator, start: int = 2, persistence: float = 0.5) -> Array:
    """Smooth random heights (size, size) with about unit spread, the sum of ever finer value noise."""
    total = np.zeros((size, size))
    for octave in range(octaves):
        cells = start * 2**octave + 1
        if cells >= size:
            break
        knots = rng.normal(size=(cells + 2, cells + 2))
        position = np.linspace(0, cells, size)
        index = position.astype(int)
        blend = position - index
        blend = blend * blend * (3 - 2 * blend)
        rows = knots[index] * (1 - blend)[:, None] + knots[index + 1] * blend[:, None]
        total += (rows[:, index] * (1 - blend) + rows[:, index + 1] * blend) * persistence**octave
    return total
