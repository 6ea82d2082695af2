"""Plants: trees of several types, bushes, grass, flowers and potted plants, standing at the local origin."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..parts.builder import MeshBuilder, made
from ..parts.random_materials import Palette
from ..parts.scene import Material, SceneMesh

Array = NDArray[np.float64]


def cloud(pal: Palette, count: int, centre: tuple[float, float, float], radius: float, flat: float = 1.0) -> Array:
    """Points (count, 3) in a ball, denser near its surface."""
    points = pal.rng.normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points *= np.sqrt(pal.rng.uniform(0.35, 1, (count, 1))) * radius
    return points * (1, 1, flat) + np.asarray(centre)


def branches(
    mb: MeshBuilder, pal: Palette, height: float, bark: Material, depth: int = 4, spread: float = 0.55
) -> Array:
    """Add a trunk that forks `depth` times; returns the ends of its twigs (N, 3)."""
    starts, directions = np.zeros((1, 3)), np.array([[pal.normal(0, 0.08), pal.normal(0, 0.08), 1.0]])
    lengths, radii = np.array([height * pal.uniform(0.2, 0.4)]), np.array([height * pal.uniform(0.015, 0.035)])
    tips = []
    for level in range(depth):
        ends = starts + directions * lengths[:, None]
        mb.cylinders(starts, ends, radii, radii * 0.65, bark, sides=9 if level == 0 else 5 if level < 3 else 3)
        if level > 0:
            tips.append(ends)
        forks = pal.count(3, 4) if level < 2 else pal.count(2, 3)
        turned = np.repeat(directions, forks, 0) + pal.rng.normal(size=(len(ends) * forks, 3)) * spread
        turned[:, 2] = np.abs(turned[:, 2]) * 0.8 + 0.05
        directions = turned / np.linalg.norm(turned, axis=1, keepdims=True)
        starts, radii = np.repeat(ends, forks, 0), np.repeat(radii * 0.62, forks)
        lengths = np.repeat(lengths, forks) * pal.rng.uniform(0.5, 0.9, len(starts))
    return np.concatenate(tips)


def broadleaf(mb: MeshBuilder, pal: Palette, height: float, leaves: int = 1300) -> None:
    """Tree with leaf cards about its twigs."""
    tips = branches(mb, pal, height, pal.bark(), 4)
    count = round(leaves * pal.uniform(0.5, 1.3))
    leaf, size = pal.leaf(), height * pal.uniform(0.03, 0.07) * math.sqrt(1300 / leaves)
    centres = tips[pal.rng.integers(0, len(tips), count)]
    centres += pal.rng.normal(size=(count, 3)) * height * pal.uniform(0.04, 0.08)
    mb.cards(centres, size, leaf, pal.rng, 0.6)
    if pal.chance(0.5):
        mb.cards(centres[: count // 3] + pal.rng.normal(size=(count // 3, 3)) * 0.1, size, pal.leaf(), pal.rng, 0.6)


def bare(mb: MeshBuilder, pal: Palette, height: float, leaves: int = 0) -> None:
    """Leafless tree."""
    branches(mb, pal, height, pal.bark(), 6 if pal.chance(0.4) else 5, pal.uniform(0.4, 0.7))


def blob_tree(mb: MeshBuilder, pal: Palette, height: float, leaves: int = 700) -> None:
    """Trunk with dense round crowns, as clipped or far trees look."""
    mb.cylinder((0, 0, 0), (0, 0, height * 0.6), height * 0.03, pal.bark(), end_radius=height * 0.02, caps=False)
    leaf = pal.leaf()
    for _ in range(pal.count(1, 5)):
        radius = height * pal.uniform(0.15, 0.28)
        centre = (pal.normal(0, height * 0.1), pal.normal(0, height * 0.1), height * pal.uniform(0.55, 0.85))
        mb.sphere(centre, (radius, radius, radius * pal.uniform(0.7, 1.4)), leaf, sides=16, noise=0.2, rng=pal.rng)
        mb.cards(cloud(pal, leaves // 4, centre, radius * 1.12), height * 0.04, leaf, pal.rng, 0.6)


def conifer(mb: MeshBuilder, pal: Palette, height: float, leaves: int = 900) -> None:
    """Fir: whorls of ragged skirts."""
    leaf, tiers, wide = pal.leaf(), pal.count(7, 15), pal.uniform(0.15, 0.28)
    mb.cylinder((0, 0, 0), (0, 0, height), 0.018 * height, pal.bark(), end_radius=0.01, sides=8, caps=False)
    sides = 18
    angles = np.arange(sides) * 2 * math.pi / sides
    for tier in range(tiers):
        up = tier / tiers
        z, radius = height * (0.12 + 0.86 * up), height * wide * (1 - up) + 0.1
        reach = radius * pal.rng.uniform(0.65, 1.25, sides)
        edge = np.stack([reach * np.cos(angles), reach * np.sin(angles), z - reach * pal.uniform(0.15, 0.35)], 1)
        top = np.broadcast_to((0, 0, z + height * 0.12), edge.shape)
        mb.loft(np.stack([top, edge]), leaf, smooth=False)
    ups = pal.rng.uniform(0, 1, leaves)
    reach = (height * wide * (1 - ups) + 0.1) * pal.rng.uniform(0.6, 1.1, leaves)
    around = pal.rng.uniform(0, 2 * math.pi, leaves)
    points = np.stack([reach * np.cos(around), reach * np.sin(around), height * (0.1 + 0.86 * ups)], 1)
    mb.cards(points, height * 0.04, leaf, pal.rng)


def palm(mb: MeshBuilder, pal: Palette, height: float, leaves: int = 0) -> None:
    """Palm with a bent trunk and hanging fronds."""
    bend, leaf = pal.normal(0, 0.08) * height, pal.leaf()
    steps = np.linspace(0, 1, 7)
    mb.tube(np.stack([bend * steps**2, 0 * steps, height * steps], 1), 0.17 - 0.07 * steps, pal.bark(), sides=9)
    for _ in range(pal.count(11, 22)):
        angle, length, lift = pal.angle(), height * pal.uniform(0.22, 0.4), pal.uniform(-0.5, 0.9)
        out = length * steps
        rise = height + length * (lift * steps - 1.1 * steps**2)
        spine = np.stack([bend + out * math.cos(angle), out * math.sin(angle), rise], 1)
        half = 0.05 * height * np.sin(math.pi * np.minimum(1, steps * 0.9 + 0.12))[:, None]
        side = np.array([-math.sin(angle), math.cos(angle), 0.0]) * half
        hang = np.array([0, 0, -0.4]) * half
        mb.ribbon(spine - side + hang, spine, leaf)
        mb.ribbon(spine, spine + side + hang, leaf)


def crowned(mb: MeshBuilder, pal: Palette, height: float, leaves: int = 300) -> None:
    """Tree whose foliage lets no light through and reaches far down, as those at the edge of a wood."""
    mb.cylinder((0, 0, 0), (0, 0, height * 0.7), height * 0.025, pal.bark(), end_radius=height * 0.01, caps=False)
    leaf, puffs = pal.leaf(), pal.count(6, 11)
    wide, low = height * pal.uniform(0.18, 0.36), pal.uniform(0.05, 0.35)
    for up in np.linspace(low, 0.88, puffs) + pal.rng.normal(0, 0.03, puffs):
        belly = math.sin(math.pi * min(0.95, max(0.12, (up - low * 0.5) / (1 - low * 0.5)))) ** 0.6
        radius = wide * belly * pal.uniform(0.55, 0.8)
        turn, away = pal.angle(), wide * belly * pal.uniform(0.2, 0.5)
        centre = (away * math.cos(turn), away * math.sin(turn), height * up)
        inner = radius * 0.85
        mb.sphere(centre, (inner, inner, inner * 0.9), leaf, sides=10, noise=0.25, rng=pal.rng)
        mb.cards(cloud(pal, leaves // puffs, centre, radius * 1.1), height * 0.045, leaf, pal.rng, 0.6)


TREES = (broadleaf, broadleaf, broadleaf, blob_tree, conifer, bare, palm)


def tree(pal: Palette, *, detail: float = 1.0, height: float | None = None) -> SceneMesh:
    """A tree 3 to 12 m tall; `detail` scales its number of leaves."""
    maker = pal.pick(TREES)
    leaves = max(200, round({blob_tree: 700, conifer: 700}.get(maker, 1300) * detail))
    return made(maker, pal, height or pal.uniform(3, 12), leaves)


def bush(pal: Palette) -> SceneMesh:
    """Bush 0.5 to 2.5 m wide."""
    mb, radius, leaf = MeshBuilder(), pal.uniform(0.3, 1.2), pal.leaf()
    mb.cards(
        cloud(pal, pal.count(250, 700), (0, 0, radius * 0.7), radius, 0.8),
        radius * pal.uniform(0.12, 0.25),
        leaf,
        pal.rng,
    )
    if pal.chance(0.6):
        mb.sphere(
            (0, 0, radius * 0.55), (radius * 0.75, radius * 0.75, radius * 0.6), leaf, sides=12, noise=0.2, rng=pal.rng
        )
    return mb.build()


def hedge(mb: MeshBuilder, pal: Palette, length: float) -> None:
    """Clipped hedge along x."""
    height, thick, leaf = pal.uniform(0.6, 2.2), pal.uniform(0.4, 0.9), pal.leaf()
    mb.box((0, 0, height / 2), (length, thick, height), leaf)
    count = min(1500, round(length * height * 60))
    points = pal.rng.uniform(-0.5, 0.5, (count, 3)) * (length, thick * 1.15, height * 1.05) + (0, 0, height * 0.53)
    face = pal.rng.random(count) < 0.6
    points[face, 1] = np.sign(points[face, 1]) * thick * 0.55
    mb.cards(points, 0.16, leaf, pal.rng)


def grass(pal: Palette, blades: int = 60, height: float | None = None) -> SceneMesh:
    """Tuft of blades half a metre wide."""
    mb, rng = MeshBuilder(), pal.rng
    tall = (height or pal.uniform(0.1, 0.5)) * rng.uniform(0.5, 1.3, blades)
    foot = np.stack([rng.uniform(-0.25, 0.25, blades), rng.uniform(-0.25, 0.25, blades), np.zeros(blades)], 1)
    angle, bend = rng.uniform(0, 2 * math.pi, blades), rng.uniform(0, 0.6, blades) * tall
    lean = np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1) * bend[:, None]
    side = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], 1) * 0.006
    up = np.array([0, 0, 1.0]) * tall[:, None]
    points = np.stack(
        [
            foot - side,
            foot + side,
            foot + lean * 0.4 + up * 0.6 + side,
            foot + lean * 0.4 + up * 0.6 - side,
            foot + lean + up,
        ],
        1,
    )
    base = np.arange(blades)[:, None] * 5
    triangles = (base[:, None] + np.array([(0, 1, 2), (0, 2, 3), (3, 2, 4)])).reshape(-1, 3)
    mb.add(points.reshape(-1, 3), triangles, pal.leaf())
    return mb.build()


def flower(pal: Palette) -> SceneMesh:
    """Single flower with leaves at its stem."""
    mb, height, green = MeshBuilder(), pal.uniform(0.15, 0.6), pal.leaf()
    petal, count, size, lift = pal.plain("saturated"), pal.count(5, 16), pal.uniform(0.03, 0.1), pal.uniform(-0.3, 0.9)
    head = np.array([pal.normal(0, 0.03), pal.normal(0, 0.03), height])
    mb.tube(np.stack([np.zeros(3), head]), 0.004, green, sides=5)
    angles = np.arange(count) * 2 * math.pi / count
    along = np.stack([np.cos(angles), np.sin(angles), np.full(count, lift)], 1) * size
    side = np.stack([-np.sin(angles), np.cos(angles), 0 * angles], 1) * size * 0.3
    corners = np.stack([head + 0 * along, head + along * 0.6 + side, head + along, head + along * 0.6 - side], 1)
    mb.add(corners.reshape(-1, 3), np.arange(4 * count).reshape(-1, 4), petal)
    mb.sphere(head, (size * 0.25, size * 0.25, size * 0.15), pal.plain("natural"), sides=10)
    spots = np.array([0, 0, height]) * pal.rng.uniform(0.1, 0.7, (4, 1)) + pal.rng.normal(size=(4, 3)) * 0.02
    mb.cards(spots, 0.1, green, pal.rng)
    return mb.build()


def potted(mb: MeshBuilder, pal: Palette, height: float | None = None) -> None:
    """House plant in a pot; small ones stand on tables."""
    tall = height or pal.uniform(0.3, 1.7)
    radius, leaf = min(0.25, tall * pal.uniform(0.14, 0.3)), pal.leaf()
    pot = pal.any()
    mb.lathe(
        [
            (0, 0),
            (radius * 0.7, 0),
            (radius, radius * 1.6),
            (radius * 0.88, radius * 1.6),
            (radius * 0.85, radius * 1.4),
            (0, radius * 1.4),
        ],
        pot,
    )
    style = pal.pick(("cards", "cards", "blades", "crown", "cactus"))
    if style == "cactus":
        for _ in range(pal.count(1, 3)):
            mb.sphere(
                (pal.normal(0, radius * 0.3), 0, radius * 1.4 + tall * 0.25),
                (radius * 0.5, radius * 0.5, tall * 0.35),
                leaf,
            )
        return
    if style == "crown":
        mb.cylinder((0, 0, radius), (0, 0, tall * 0.7), 0.015, pal.bark(), sides=6)
        mb.cards(cloud(pal, 250, (0, 0, tall * 0.8), tall * 0.25), tall * 0.1, leaf, pal.rng, 0.6)
        return
    steps = np.linspace(0, 1, 6)
    for _ in range(pal.count(6, 16)):
        angle, length, bow = pal.angle(), tall * pal.uniform(0.4, 0.9), pal.uniform(0.1, 0.7)
        out = bow * steps * length
        stem = np.stack(
            [out * math.cos(angle), out * math.sin(angle), radius * 1.5 + length * steps * (1 - 0.4 * bow * steps)], 1
        )
        if style == "cards":
            mb.tube(stem, 0.005, leaf, sides=4)
            spots = stem[2 + pal.rng.integers(0, 4, 14)] + pal.rng.normal(size=(14, 3)) * tall * 0.05
            mb.cards(spots, tall * 0.12, leaf, pal.rng)
        else:
            half = tall * pal.uniform(0.02, 0.06) * np.sin(math.pi * (steps * 0.85 + 0.12))[:, None]
            side = np.array([-math.sin(angle), math.cos(angle), 0.0]) * half
            mb.ribbon(stem - side, stem + side, leaf)
