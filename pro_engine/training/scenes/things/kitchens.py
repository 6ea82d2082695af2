"""Kitchen counters with sink, hob, wall units and what stands on them."""

from __future__ import annotations

import math

import numpy as np

from ..parts.builder import MeshBuilder, made, placement, rotation
from ..parts.layout import SceneLayout
from ..parts.random_materials import Palette
from ..parts.scene import Material
from ..parts.stacking import Heap
from .furniture import cabinet
from .plants import potted
from .workplaces import mug, strew

TOP, DEEP = 0.91, 0.62
"""Height and depth of the worktop."""


def _sink(mb: MeshBuilder, pal: Palette, x: float) -> None:
    """Basin let into the worktop about x, and its tap."""
    steel = pal.pick((Material(color=(0.6, 0.6, 0.6), reflectance=0.55), pal.plain("white", 0.04), pal.plain("dark")))
    half, low, z = 0.25, 0.19, TOP - 0.18
    mb.boxes([(x - half, 0, (TOP + z) / 2), (x + half, 0, (TOP + z) / 2)], (0.012, 2 * low, TOP - z), steel)
    mb.boxes([(x, -low, (TOP + z) / 2), (x, low, (TOP + z) / 2)], (2 * half, 0.012, TOP - z), steel)
    mb.box((x, 0, z), (2 * half, 2 * low, 0.01), steel)
    rise, reach = pal.uniform(0.15, 0.35), pal.uniform(0.12, 0.2)
    bow = np.linspace(0, math.pi, 9)
    arch = [(x, 0.25 - reach / 2 + reach / 2 * math.cos(a), TOP + rise + reach / 2 * math.sin(a)) for a in bow]
    mb.tube(
        [(x, 0.25, TOP), (x, 0.25, TOP + rise * 0.8), *arch, (x, 0.25 - reach, TOP + rise - 0.05)],
        0.012,
        Material(color=(0.7, 0.7, 0.7), reflectance=0.65),
        sides=10,
    )


def _hob(mb: MeshBuilder, pal: Palette, x: float) -> None:
    """Glass hob or gas rings, often with a pot or pan on it."""
    mb.box((x, -0.01, TOP + 0.003), (0.58, 0.51, 0.006), Material(color=(0.015, 0.015, 0.017), reflectance=0.05))
    ring = pal.plain(pal.pick(("grey", "dark")))
    for dx, dy in ((-0.14, -0.12), (0.14, -0.12), (-0.14, 0.12), (0.14, 0.12)):
        spot = (x + dx, dy - 0.01, TOP + 0.007)
        if pal.chance(0.35):  # a pot
            radius, high, pot = pal.uniform(0.08, 0.12), pal.pick((0.05, 0.12, 0.18)), pal.metal()
            mb.lathe(
                [(0, 0), (radius, 0), (radius, high), (radius - 0.004, high), (radius - 0.004, 0.006), (0, 0.006)],
                pot,
                centre=spot,
                sides=26,
            )
            way = pal.angle()
            mb.cylinder(
                (spot[0] + radius * math.cos(way), spot[1] + radius * math.sin(way), spot[2] + high * 0.8),
                (spot[0] + 2.3 * radius * math.cos(way), spot[1] + 2.3 * radius * math.sin(way), spot[2] + high * 0.9),
                0.01,
                pal.plain("dark"),
                sides=8,
            )
        else:
            mb.torus(spot, 0.08, 0.004, ring)


def _units(mb: MeshBuilder, pal: Palette, width: float, sunk: float | None) -> None:
    """Base units, worktop (with a hole where the sink is), splashback and wall units."""
    front, body, handle = pal.wood(), pal.plain("white"), pal.metal()
    count = max(3, round(width / 0.6))
    xs = width * ((np.arange(count) + 0.5) / count - 0.5)
    mb.box((0, 0.04, 0.37), (width, 0.5, 0.7), body)
    mb.boxes([(x, -0.29, 0.46) for x in xs], (width / count - 0.006, 0.02, 0.72), front)
    mb.boxes([(x, -0.315, 0.76) for x in xs], (0.14, 0.02, 0.012), handle)
    top = pal.pick((pal.any(), pal.wood(), pal.material("noise", scale=20.0)))
    half = (width + 0.04) / 2
    if sunk is None:
        mb.box((0, 0, TOP - 0.02), (2 * half, DEEP, 0.04), top)
    else:
        for left, right in ((-half, sunk - 0.25), (sunk + 0.25, half)):
            mb.box(((left + right) / 2, 0, TOP - 0.02), (right - left, DEEP, 0.04), top)
        mb.boxes(
            [(sunk, side * (DEEP / 2 + 0.19) / 2, TOP - 0.02) for side in (-1, 1)], (0.5, DEEP / 2 - 0.19, 0.04), top
        )
    splash = pal.material(pal.pick(("bricks", "bricks", "checker", "solid")), scale=pal.uniform(2, 6), contrast=0.4)
    mb.box((0, DEEP / 2 + 0.004, TOP + 0.28), (2 * half, 0.008, 0.56), splash)
    if pal.chance(0.6):
        kept = [x for x in xs if pal.chance(0.85)]
        mb.boxes([(x, 0.15, 1.85) for x in kept], (width / count - 0.005, 0.33, 0.72), front)


def kitchen_run(layout: SceneLayout) -> tuple[float, float, float]:
    """A run of kitchen units along a wall at y = 0.32. Returns width, depth and height of the worktop."""
    pal, mb = layout.pal, MeshBuilder()
    width = pal.uniform(1.8, 3.6)
    spots = [-width * 0.3, width * 0.3] if pal.chance(0.5) else [width * 0.3, -width * 0.3]
    sunk = spots[0] if pal.chance(0.75) else None
    hob = spots[1] if pal.chance(0.7) else None
    _units(mb, pal, width, sunk)
    heap = Heap(pal, width, DEEP - 0.06, TOP)
    if sunk is not None:
        _sink(mb, pal, sunk)
        heap.block((sunk - 0.27, sunk + 0.27), (-0.3, 0.3))
    if hob is not None:
        _hob(mb, pal, hob)
        heap.block((hob - 0.3, hob + 0.3), (-0.3, 0.3))
    strew(mb, pal, heap, pal.count(5, 26), (0.08, 0.32))
    for _ in range(pal.count(0, 4)):
        mesh = made(mug, pal)
        where = heap.lay(mesh, rotation("z", pal.angle()), highest=TOP + 0.2)
        if where is not None:
            with mb.at(where):
                mb.merge(mesh)
    mb.plane((9, 9), 0, pal.floor())
    mb.wall((-4.5, DEEP / 2 + 0.01, 0), (1, 0, 0), 9, 2.7, (), pal.wall())
    corner = width / 2 + 0.03
    side = pal.sign()
    if pal.chance(0.5):
        mb.wall((side * corner, -4.5, 0), (0, 1, 0), 5, 2.7, (), pal.wall())
    else:
        high = made(cabinet, pal)
        layout.put(high, side * (corner + 0.55 * float(np.ptp(high.vertices[:, 0]))), 0, 0)
    if pal.chance(0.4):  # a second run or an island opposite
        y = -pal.uniform(1.3, 2.4)
        mb.box((0, y, TOP / 2), (width * 0.8, 0.6, TOP - 0.04), pal.wood())
        mb.box((0, y, TOP - 0.02), (width * 0.85, 0.7, 0.04), pal.wood())
        island = Heap(pal, width * 0.8, 0.6, TOP)
        with mb.at(placement(0, y, 0)):
            strew(mb, pal, island, pal.count(2, 10), (0.08, 0.32))
    if pal.chance(0.3):
        layout.put(made(potted, pal), -side * (corner + 0.4), 0, 0)
    layout.put_builder(mb)
    return width, DEEP, TOP
