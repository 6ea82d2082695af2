"""Things of streets: buildings, vehicles, fences, poles and street furniture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..parts.builder import MeshBuilder, placement, rotation, translation
from ..parts.random_materials import Palette
from ..parts.scene import Material, SceneMesh
from .plants import hedge

_RUBBER = Material(color=(0.015, 0.015, 0.016))


def building(pal: Palette, width: float, depth: float, height: float) -> SceneMesh:
    """House or block with windows on all sides, centred, front to -y."""
    mb = MeshBuilder()
    walls, trim = pal.facade(), pal.any()
    mb.box((0, 0, height / 2), (width, depth, height), walls)
    floor = min(height, pal.uniform(2.7, 3.7))
    _windows(mb, pal, width, depth, height, floor, trim)
    if pal.chance(0.4):  # ground floor of another make, with shop windows
        mb.box((0, 0, floor / 2), (width + 0.04, depth + 0.04, floor), pal.any())
        count = max(1, int(width / 4))
        xs = width * ((np.arange(count) + 0.5) / count - 0.5)
        mb.boxes([(x, -depth / 2, floor * 0.48) for x in xs], (width / count * 0.8, 0.12, floor * 0.72), pal.pane())
        mb.box((0, -depth / 2 - 0.06, floor * 0.92), (width * 0.95, 0.12, floor * 0.13), pal.any())
        if pal.chance(0.4):
            mb.box(
                (pal.uniform(-0.2, 0.2) * width, -depth / 2 - 0.6, floor * 0.84), (width * 0.4, 1.2, 0.06), pal.any()
            )
    else:
        mb.box((pal.uniform(-0.3, 0.3) * width, -depth / 2, 1.05), (1.0, 0.14, 2.1), pal.any())
    _roof(mb, pal, width, depth, height, trim)
    return mb.build()


def _windows(
    mb: MeshBuilder, pal: Palette, width: float, depth: float, height: float, floor: float, trim: Material
) -> None:
    pane = pal.pane()
    wide, tall = pal.uniform(0.8, 2.0), floor * pal.uniform(0.4, 0.75)
    pitch, rows = wide * pal.uniform(1.3, 2.4), max(1, int(height / floor))
    balcony, bars, rail = pal.chance(0.25), pal.chance(0.6), pal.any()
    zs = floor * (np.arange(rows) + 0.55)
    for turn, length, reach in ((0, width, depth), (1, depth, width), (2, width, depth), (3, depth, width)):
        columns = max(1, int((length - 0.6) / pitch))
        if columns * rows > 220:
            continue
        xs = ((np.arange(columns) + 0.5) / columns - 0.5) * length
        spots = np.array([(x, -reach / 2, z) for x in xs for z in zs])
        with mb.at(rotation("z", turn * math.pi / 2)):
            mb.boxes(spots, (wide, 0.06, tall), pane)
            mb.boxes(spots - (0, 0.05, tall / 2 + 0.04), (wide + 0.2, 0.16, 0.08), trim)
            if bars:
                mb.boxes(spots - (0, 0.03, 0), (0.05, 0.05, tall), trim)
                edges = [spot + np.array((side * wide / 2, -0.03, 0)) for spot in spots for side in (-1, 1)]
                mb.boxes(edges, (0.08, 0.08, tall), trim)
            if balcony and turn % 2 == 0:
                upper = spots[spots[:, 2] > floor]
                mb.boxes(upper - (0, 0.5, tall / 2 + 0.15), (wide + 0.6, 1.0, 0.12), trim)
                mb.boxes(upper - (0, 1.0, tall / 2 - 0.35), (wide + 0.6, 0.04, 0.9), rail)


def _roof(mb: MeshBuilder, pal: Palette, width: float, depth: float, height: float, trim: Material) -> None:
    if height > 14 or pal.chance(0.35):
        mb.box((0, 0, height + 0.15), (width + 0.3, depth + 0.3, 0.3), trim)
        if pal.chance(0.4):
            mb.box((0, pal.uniform(-0.2, 0.2) * depth, height + 1.2), (width * 0.3, depth * 0.3, 2.4), pal.any())
        return
    rise, over = pal.uniform(0.25, 0.9) * width / 2, 0.4
    tiles = pal.material(
        pal.pick(("bricks", "noise", "solid", "image")),
        pal.color(pal.pick(("natural", "dark", "grey"))),
        scale=pal.uniform(1, 4),
        matt=True,
    )
    hip = pal.pick((0.0, 0.0, min(width, depth) * 0.45))
    x, y = width / 2 + over, depth / 2 + over
    corners = [
        (-x, -y, height),
        (x, -y, height),
        (x, y, height),
        (-x, y, height),
        (0, hip - y, height + rise),
        (0, y - hip, height + rise),
    ]
    mb.add(corners, [(1, 2, 5, 4), (3, 0, 4, 5)], tiles)
    mb.add(corners, [(0, 1, 4), (2, 3, 5)], tiles if hip else pal.facade())
    if pal.chance(0.5):
        mb.box((width * 0.2, 0, height + rise * 0.8), (0.6, 0.6, 1.6), trim)


def _sections(
    stations: Sequence[tuple[float, float, float, float]], sides: int = 16, exponent: float = 0.4
) -> NDArray[np.float64]:
    """Rounded boxes along y: each station is (y, bottom, top, half width)."""
    angles = (np.arange(sides) + 0.5) * 2 * math.pi / sides
    x = np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** exponent
    z = np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** exponent
    return np.stack(
        [
            np.stack([x * wide, np.full(sides, y), (low + high) / 2 + z * (high - low) / 2], 1)
            for y, low, high, wide in stations
        ]
    )


def _wheel(mb: MeshBuilder, x: float, y: float, radius: float, side: int, rim: Material) -> None:
    mb.cylinder((x, y, radius), (x - side * 0.2, y, radius), radius, _RUBBER, sides=18)
    mb.cylinder((x + side * 0.01, y, radius), (x - side * 0.02, y, radius), radius * 0.62, rim, sides=14)


def car(pal: Palette) -> SceneMesh:
    """Saloon, hatchback, estate or van by its proportions."""
    mb = MeshBuilder()
    paint = Material(
        color=pal.color(pal.pick(("saturated", "saturated", "any", "grey", "grey", "dark", "white"))),
        reflectance=pal.pick((0.0, 0.04, 0.06)),
    )
    glass, rim = Material(color=(0.02, 0.022, 0.025), reflectance=0.05), pal.metal()
    shape = pal.pick(("saloon", "hatch", "hatch", "estate", "suv", "van"))
    length = pal.uniform(3.6, 4.2) if shape == "hatch" else pal.uniform(4.3, 5.2)
    half, high = pal.uniform(0.84, 0.95), pal.uniform(1.4, 1.55) + {"suv": 0.25, "van": 0.5}.get(shape, 0.0)
    belt = high * 0.62
    nose, wheel = length * (0.12 if shape == "van" else pal.uniform(0.24, 0.3)), 0.33 + (0.05 if shape == "suv" else 0)
    tail = {"saloon": 0.16, "van": 0.02, "suv": 0.03, "estate": 0.04}.get(shape, 0.05) * length
    front, back = -length / 2, length / 2
    hull = [
        (front, 0.35, 0.55, half * 0.8),
        (front + 0.08, 0.22, belt * 0.72, half * 0.94),
        (front + 0.4, 0.2, belt * 0.85, half),
        (front + nose, 0.2, belt, half),
        (back - tail - 0.3, 0.2, belt, half),
        (back - 0.12, 0.22, belt * 0.97, half * 0.97),
        (back, 0.35, belt * 0.85, half * 0.88),
    ]
    mb.loft(_sections(hull), paint, caps=True)
    rake = 0.35 if shape == "van" else pal.uniform(0.5, 0.8)
    slope = 0.12 if shape == "van" else pal.uniform(0.2, 0.7)
    cabin = [
        (front + nose - 0.05, belt - 0.15, belt, half * 0.9),
        (front + nose + rake, belt - 0.15, high - 0.03, half * 0.8),
        (front + nose + rake + 0.4, belt - 0.15, high, half * 0.8),
        (back - tail - slope - 0.2, belt - 0.15, high - 0.02, half * 0.8),
        (back - tail, belt - 0.15, belt, half * 0.86),
    ]
    mb.loft(_sections(cabin, exponent=0.3), glass, caps=True)
    roof = [(y, high - 0.09, top + 0.012, wide * 0.97) for y, _, top, wide in cabin[1:4]]
    mb.loft(_sections(roof, exponent=0.3), paint, caps=True)
    for side in (-1, 1):
        for y in (front + nose + rake * 0.5, front + nose + rake + 0.85, back - tail - slope * 0.5):
            mb.box((side * half * 0.83, y, (belt + high) / 2 - 0.03), (0.05, 0.09, (high - belt) * 0.85), paint)
        for y in (front + length * 0.19, back - length * 0.2):
            _wheel(mb, side * (half + 0.01), y, wheel, side, rim)
        mb.sphere(
            (side * half * 0.68, front + 0.06, belt * 0.62),
            (0.16, 0.08, 0.08),
            Material(color=(0.8, 0.8, 0.8), reflectance=0.04),
        )
        mb.sphere(
            (side * half * 0.75, back - 0.03, belt * 0.75),
            (0.12, 0.06, 0.1),
            Material(color=(0.5, 0.01, 0.01), reflectance=0.04),
        )
        mb.box((side * (half + 0.08), front + nose + 0.35, belt + 0.05), (0.18, 0.08, 0.12), paint)
    mb.boxes([(0, front - 0.005, 0.42), (0, back + 0.005, 0.6)], (0.5, 0.02, 0.12), Material(color=(0.75, 0.75, 0.7)))
    mb.box((0, front + 0.05, 0.38), (half * 1.1, 0.08, 0.2), _RUBBER)
    return mb.build()


def lorry(pal: Palette) -> SceneMesh:
    """Bus, tram, box van or lorry."""
    mb = MeshBuilder()
    paint = pal.plain(pal.pick(("saturated", "white", "any")), 0.04)
    glass = Material(color=(0.02, 0.022, 0.025), reflectance=0.05)
    length, half, high = pal.uniform(6, 13), pal.uniform(1.1, 1.27), pal.uniform(2.6, 3.8)
    front, back = -length / 2, length / 2
    if pal.chance(0.5):  # bus
        mb.loft(
            _sections([(front, 0.4, high, half), (back, 0.4, high, half)], exponent=0.15),
            paint,
            smooth=False,
            caps=True,
        )
        mb.box((0, 0.2, high * 0.62), (2 * half + 0.03, length * 0.93, high * 0.3), glass)
        mb.box((0, front, high * 0.58), (half * 1.8, 0.08, high * 0.45), glass)
        mb.boxes(
            [(0, y, high * 0.62) for y in np.arange(front + 1.4, back, 1.5)], (2 * half + 0.05, 0.1, high * 0.3), paint
        )
        mb.box((0, back, high * 0.65), (half * 1.5, 0.06, high * 0.25), glass)
    else:
        cab = pal.uniform(1.6, 2.2)
        mb.loft(
            _sections(
                [
                    (front, 0.5, 1.5, half * 0.95),
                    (front + 0.4, 0.45, high * 0.8, half),
                    (front + cab, 0.45, high * 0.82, half),
                ],
                exponent=0.25,
            ),
            paint,
            caps=True,
        )
        mb.box((0, front + 0.25, high * 0.58), (half * 1.7, 0.25, high * 0.2), glass)
        mb.box((0, front + cab * 0.55, high * 0.58), (2 * half + 0.03, cab * 0.5, high * 0.2), glass)
        mb.box(
            (0, (front + cab + back) / 2 + 0.1, 0.7 + (high - 0.7) / 2),
            (2 * half, length - cab - 0.1, high - 0.7),
            pal.any(),
        )
        mb.box((0, (front + cab + back) / 2, 0.6), (half, length - cab, 0.2), _RUBBER)
    for side in (-1, 1):
        for y in (front + 1.4, back - 1.4, back - 2.6):
            _wheel(mb, side * half, y, 0.48, side, pal.metal())
        mb.box((side * half * 0.8, back + 0.01, 0.9), (0.2, 0.05, 0.2), Material(color=(0.5, 0.01, 0.01)))
    return mb.build()


def bicycle(pal: Palette) -> SceneMesh:
    """Bicycle, front to -y."""
    mb, frame = MeshBuilder(), pal.metal()
    for y in (-0.52, 0.5):
        with mb.at(translation(0, y, 0.34) @ rotation("y", math.pi / 2)):
            mb.torus((0, 0, 0), 0.32, 0.018, _RUBBER, 24)
            angles = np.arange(12) * math.pi / 6
            rim = np.stack([0.31 * np.cos(angles), 0.31 * np.sin(angles), 0 * angles], 1)
            mb.cylinders(np.zeros((12, 3)), rim, 0.003, 0.003, frame, 3)
    joints = [(0, 0.5, 0.34), (0, 0.05, 0.3), (0, -0.4, 0.75), (0, 0.15, 0.8), (0, 0.05, 0.3)]
    mb.tube([joints[0], joints[1]], 0.014, frame)
    for start, end in (
        (joints[1], joints[2]),
        (joints[2], joints[3]),
        (joints[3], joints[1]),
        (joints[3], joints[0]),
        (joints[2], (0, -0.52, 0.34)),
        (joints[2], (0, -0.36, 0.98)),
        (joints[3], (0, 0.2, 0.95)),
    ):
        mb.tube([start, end], 0.016, frame)
    mb.tube([(-0.28, -0.28, 1.0), (-0.1, -0.36, 0.98), (0.1, -0.36, 0.98), (0.28, -0.28, 1.0)], 0.014, _RUBBER)
    mb.sphere((0, 0.22, 0.97), (0.08, 0.14, 0.04), _RUBBER)
    return mb.build()


def fence(mb: MeshBuilder, pal: Palette, length: float, height: float | None = None, kind: str | None = None) -> None:
    """Fence along x, centred: pickets, rails, bars, wire mesh, boards, wall, hedge or crash barrier."""
    material, high = pal.pick((pal.wood(), pal.metal(), pal.any())), height or pal.uniform(0.7, 2.0)
    kind = kind or pal.pick(("pickets", "rails", "bars", "mesh", "boards", "wall", "hedge", "barrier"))
    left, right = -length / 2, length / 2
    posts = np.linspace(left, right, max(2, round(length / 2.2)) + 1)
    if kind == "hedge":
        hedge(mb, pal, length)
    elif kind == "wall":
        mb.box((0, 0, high / 2), (length, 0.25, high), pal.facade())
        mb.box((0, 0, high), (length, 0.35, 0.08), material)
    elif kind in ("pickets", "boards"):
        pitch = pal.uniform(0.12, 0.25) if kind == "pickets" else 0.15
        xs = np.arange(left, right, pitch)
        size = (pitch * (0.55 if kind == "pickets" else 0.96), 0.02, high)
        mb.boxes([(x, 0, high / 2) for x in xs], size, material)
        mb.boxes([(0, 0.025, high * level) for level in (0.25, 0.8)], (length, 0.03, 0.07), material)
    elif kind == "rails":
        mb.cylinders([(x, 0, 0) for x in posts], [(x, 0, high) for x in posts], 0.05, 0.05, material, 6)
        levels = high * np.linspace(0.3, 0.95, pal.count(2, 4))
        mb.cylinders([(left, 0, z) for z in levels], [(right, 0, z) for z in levels], 0.03, 0.03, material, 6)
    elif kind == "bars":
        xs = np.arange(left, right, pal.uniform(0.1, 0.2))
        mb.cylinders([(x, 0, 0) for x in xs], [(x, 0, high) for x in xs], 0.012, 0.012, material, 5)
        mb.boxes([(0, 0, high * level) for level in (0.1, 0.92)], (length, 0.03, 0.04), material)
    elif kind == "barrier":
        mb.boxes([(x, 0.1, 0.35) for x in posts], (0.08, 0.12, 0.7), pal.metal())
        profile = np.array([(0, 0.45), (-0.07, 0.52), (0, 0.59), (-0.07, 0.68), (0, 0.75)])
        mb.loft([[(x, y, z) for y, z in profile] for x in (left, right)], pal.plain("grey"), closed=False)
    else:
        net(mb, length, high, pal.uniform(0.08, 0.2), pal.uniform(0.002, 0.006), material)
        mb.cylinders([(x, 0, 0) for x in posts], [(x, 0, high) for x in posts], 0.03, 0.03, material, 6)


def net(mb: MeshBuilder, width: float, height: float, pitch: float, radius: float, material: Material) -> None:
    """Diamond wire mesh in the plane y = 0, base at z = 0, centred in x."""
    pitch = max(pitch, width * height / 900)
    xs = np.arange(-width / 2 - height, width / 2, pitch * math.sqrt(2))
    for lean in (1, -1):
        start = np.stack([lean * xs, 0 * xs, 0 * xs], 1)
        end = start + np.array([lean * height, 0, height])
        low = np.clip((-width / 2 - lean * start[:, 0]) / height, 0, 1)[:, None]
        top = np.clip((width / 2 - lean * start[:, 0]) / height, 0, 1)[:, None]
        mb.cylinders(start + (end - start) * low, start + (end - start) * top, radius, radius, material, 4)


def pole(pal: Palette) -> SceneMesh:
    """Street lamp, sign, traffic light or bare mast, arms to +x."""
    mb, metal = MeshBuilder(), pal.pick((pal.metal(), pal.bark()))
    kind = pal.pick(("lamp", "lamp", "sign", "sign", "light", "ball", "bare"))
    heights = {"lamp": pal.uniform(4, 9), "bare": pal.uniform(4, 10), "ball": pal.uniform(2.5, 4)}
    high = heights.get(kind, pal.uniform(2.2, 3.6))
    mb.cylinder(
        (0, 0, 0),
        (0, 0, high),
        pal.uniform(0.04, 0.12),
        metal,
        end_radius=pal.uniform(0.03, 0.06),
        sides=10,
        caps=False,
    )
    if kind == "lamp":
        reach = pal.uniform(0.5, 2.0)
        mb.tube([(0, 0, high - 0.1), (reach * 0.4, 0, high + 0.25), (reach, 0, high + 0.3)], 0.035, metal)
        mb.box((reach + 0.2, 0, high + 0.3), (0.6, 0.2, 0.1), pal.any())
    elif kind == "sign":
        face, sides = pal.any(), pal.pick((3, 4, 8, 24))
        if pal.chance(0.5):
            mb.box((0, -0.08, high * 0.9), (pal.uniform(0.4, 1.4), 0.02, pal.uniform(0.3, 0.9)), face)
        else:
            mb.cylinder((0, -0.09, high * 0.9), (0, -0.07, high * 0.9), 0.35, face, sides=sides)
    elif kind == "light":
        mb.box((0, -0.15, high), (0.3, 0.25, 0.9), pal.plain("dark"))
        for index, tone in enumerate(((0.8, 0.05, 0.03), (0.8, 0.5, 0.02), (0.05, 0.7, 0.2))):
            mb.sphere(
                (0, -0.28, high + 0.28 - 0.28 * index),
                (0.1, 0.03, 0.1),
                Material(color=tone, emission=pal.pick((0.0, 2.0))),
            )
    elif kind == "ball":
        mb.sphere((0, 0, high + 0.2), 0.25, pal.plain("white"), sides=16)
    return mb.build()


def wires(mb: MeshBuilder, pal: Palette, start: Sequence[float], end: Sequence[float], radius: float = 0.02) -> None:
    """Sagging cable between two points."""
    steps = np.linspace(0, 1, 13)[:, None]
    path = np.asarray(start) + (np.asarray(end) - np.asarray(start)) * steps
    path[:, 2] -= 4 * pal.uniform(0.2, 1.2) * (steps * (1 - steps))[:, 0]
    mb.tube(path, radius, pal.plain("dark"), sides=4)


def street_thing(pal: Palette) -> SceneMesh:
    """Bench, bin, box, bollard, hydrant, kiosk or advertising pillar, front to -y."""
    mb, body, frame = MeshBuilder(), pal.any(), pal.metal()
    kind = pal.pick(("bench", "bench", "bin", "box", "bollard", "pillar", "bins", "cones"))
    if kind == "bench":
        mb.boxes([(0, -0.2 + 0.1 * index, 0.45) for index in range(5)], (1.6, 0.08, 0.03), body)
        mb.boxes([(0, 0.25, 0.6 + 0.12 * index) for index in range(3)], (1.6, 0.03, 0.09), body)
        mb.boxes([(-0.7, 0.02, 0.22), (0.7, 0.02, 0.22)], (0.06, 0.5, 0.44), frame)
        mb.boxes([(-0.7, 0.27, 0.6), (0.7, 0.27, 0.6)], (0.05, 0.03, 0.6), frame)
    elif kind == "bin":
        mb.lathe([(0, 0), (0.25, 0), (0.3, 0.9), (0.2, 1.0), (0, 1.0)], body)
    elif kind == "box":
        mb.box((0, 0, 0.6), (pal.uniform(0.4, 1.4), 0.5, 1.2), body)
    elif kind == "pillar":
        mb.cylinder((0, 0, 0), (0, 0, 2.6), 0.65, pal.material("image", scale=0.6), sides=28)
        mb.lathe([(0.75, 2.6), (0.7, 2.8), (0, 3.1)], body)
    elif kind == "bins":
        for index in range(pal.count(1, 4)):
            with mb.at(placement(0.65 * index, 0, 0, pal.normal(0, 0.1))):
                mb.box((0, 0, 0.52), (0.55, 0.65, 1.0), pal.any())
                mb.box((0, 0.02, 1.05), (0.6, 0.72, 0.06), body)
    else:
        for index in range(pal.count(2, 5)):
            profile = (
                [(0.06, 0), (0.06, 0.95), (0, 1.0)]
                if kind == "bollard"
                else [(0.22, 0), (0.17, 0.03), (0.03, 0.7), (0, 0.7)]
            )
            mb.lathe(profile, body, centre=(1.4 * index, 0, 0), sides=14)
    return mb.build()
