"""Furniture: each maker adds one piece at the local origin, base at z = 0, front to -y, sizes in metres."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..parts.builder import MeshBuilder, placement, translation
from ..parts.random_materials import Palette
from ..parts.scene import SceneMesh
from .small_things import small_object

Maker = Callable[[MeshBuilder, Palette], None]


def clutter(
    mb: MeshBuilder, pal: Palette, width: float, depth: float, z: float, most: int, size: tuple[float, float]
) -> None:
    """Scatter up to `most` small things over a rectangle at height z."""
    for _ in range(pal.count(0, most)):
        with mb.at(translation(pal.uniform(-0.43, 0.43) * width, pal.uniform(-0.4, 0.4) * depth, z)):
            small_object(mb, pal, pal.uniform(*size))


def table(
    mb: MeshBuilder,
    pal: Palette,
    width: float | None = None,
    depth: float | None = None,
    height: float | None = None,
    most: int = 8,
) -> None:
    """Table, coffee table or counter with things on it."""
    width, depth = width or pal.uniform(0.6, 1.9), depth or pal.uniform(0.5, 1.0)
    height = height or pal.pick((0.42, 0.74, 0.75, 0.75, 0.92))
    thick, leg = pal.uniform(0.02, 0.06), pal.uniform(0.015, 0.045)
    top, frame = pal.wood(), pal.pick((pal.wood(), pal.metal()))
    round_top = pal.chance(0.15)
    if round_top:
        mb.cylinder((0, 0, height - thick), (0, 0, height), depth / 2, top, sides=32)
        width = depth
    else:
        mb.box((0, 0, height - thick / 2), (width, depth, thick), pal.glass() if pal.chance(0.05) else top)
    if round_top or pal.chance(0.15):
        mb.cylinder((0, 0, 0), (0, 0, height - thick), 0.045, frame)
        mb.cylinder((0, 0, 0), (0, 0, 0.03), depth * 0.35, frame, sides=18)
    else:
        corners = [(x * (width / 2 - 0.06), y * (depth / 2 - 0.06)) for x in (-1, 1) for y in (-1, 1)]
        if pal.chance(0.5):
            mb.boxes([(x, y, (height - thick) / 2) for x, y in corners], (2 * leg, 2 * leg, height - thick), frame)
        else:
            for x, y in corners:
                mb.cylinder((x, y, 0), (x, y, height - thick), leg * 0.6, frame, end_radius=leg, sides=8, caps=False)
    with_most = round(most * min(1.5, width))
    share = 0.7 if round_top else 1.0
    clutter(mb, pal, width * share, depth * share, height, with_most, (0.07, 0.3))


def draw_up(
    mb: MeshBuilder, pal: Palette, seat: SceneMesh, x: float, edge: float, gap: tuple[float, float], askew: float
) -> None:
    """Put a chair before the edge of a table at y = `edge`, off by `gap` metres and turned about so far askew."""
    side = math.copysign(1, edge)
    with mb.at(placement(x, edge + side * pal.uniform(*gap), 0, (0 if side > 0 else math.pi) + pal.normal(0, askew))):
        mb.merge(seat)


def desk(mb: MeshBuilder, pal: Palette) -> None:
    """Desk with drawers and a chair."""
    width = pal.uniform(1.0, 1.7)
    table(mb, pal, width, 0.65, 0.74, 10)
    if pal.chance(0.6):
        mb.box((width * 0.33, 0, 0.35), (0.38, 0.55, 0.7), pal.wood())
    with mb.at(placement(pal.normal(0, 0.15), -0.55, 0, math.pi + pal.normal(0, 0.4))):
        pal.pick((chair, office_chair))(mb, pal)


def chair(mb: MeshBuilder, pal: Palette) -> None:
    """Chair or stool."""
    seat, frame = pal.any(), pal.pick((pal.wood(), pal.metal()))
    width, seat_z = pal.uniform(0.38, 0.5), pal.uniform(0.42, 0.5)
    back_z, leg = pal.uniform(0.8, 1.1), pal.uniform(0.012, 0.025)
    mb.box((0, 0, seat_z), (width, width, pal.uniform(0.03, 0.1)), seat)
    lean = pal.uniform(0.0, 0.1)
    stool = pal.chance(0.12)
    for side in (-1, 1):
        x = side * width * 0.45
        mb.cylinder((x, -width * 0.45, 0), (x * 0.95, -width * 0.43, seat_z), leg, frame, sides=6)
        mb.cylinder((x, width * 0.45, 0), (x * 0.95, width * 0.45, seat_z), leg, frame, sides=6)
        if not stool:
            mb.cylinder((x, width * 0.45, seat_z), (x, width * 0.47 + lean, back_z), leg, frame, sides=6)
    if stool:
        return
    if pal.chance(0.5):
        middle = (seat_z + back_z) / 2 + 0.1
        mb.box((0, width * 0.47 + lean * 0.6, middle), (width, 0.03, (back_z - seat_z) * 0.6), seat)
    else:
        bars = pal.count(2, 6)
        heights = seat_z + 0.12 + (back_z - seat_z - 0.12) * np.arange(1, bars + 1) / bars
        mb.boxes(
            [(0, width * 0.47 + lean * (z - seat_z) / (back_z - seat_z), z - 0.03) for z in heights],
            (width * 0.9, 0.02, 0.04),
            frame,
        )


def office_chair(mb: MeshBuilder, pal: Palette) -> None:
    """Swivel chair."""
    cover, frame = pal.cloth(), pal.plain("dark")
    for index in range(5):
        angle = index * 2 * math.pi / 5
        mb.cylinder((0, 0, 0.12), (0.3 * math.cos(angle), 0.3 * math.sin(angle), 0.05), 0.025, frame, sides=6)
    mb.cylinder((0, 0, 0.1), (0, 0, 0.45), 0.03, frame)
    mb.sphere((0, 0, 0.49), (0.25, 0.25, 0.06), cover, exponent=0.5)
    mb.sphere((0, 0.25, 0.85), (0.23, 0.05, 0.28), cover, exponent=0.5)
    if pal.chance(0.6):
        mb.boxes([(-0.28, 0, 0.68), (0.28, 0, 0.68)], (0.06, 0.28, 0.03), frame)
        mb.boxes([(-0.28, 0.05, 0.58), (0.28, 0.05, 0.58)], (0.03, 0.04, 0.2), frame)


def shelf(mb: MeshBuilder, pal: Palette) -> None:
    """Open shelf with books and things."""
    wood = pal.wood()
    width, height, depth = pal.uniform(0.5, 2.0), pal.uniform(0.7, 2.3), pal.uniform(0.22, 0.45)
    boards, thick = pal.count(2, 6), 0.025
    mb.boxes([(-width / 2, 0, height / 2), (width / 2, 0, height / 2)], (thick, depth, height), wood)
    if pal.chance(0.75):
        mb.box((0, depth / 2, height / 2), (width, 0.01, height), wood)
    levels = thick / 2 + (height - thick) * np.arange(boards + 1) / boards
    mb.boxes([(0, 0, z) for z in levels], (width, depth, thick), wood)
    gap = (height / boards - thick) * 0.9
    for z in levels[:-1] + thick / 2:
        _shelf_row(mb, pal, width, depth, z, gap)
    if pal.chance(0.5):
        clutter(mb, pal, width, depth, height, 4, (0.1, 0.3))


def _shelf_row(mb: MeshBuilder, pal: Palette, width: float, depth: float, z: float, gap: float) -> None:
    x = -width / 2 + 0.03
    while x < width / 2 - 0.1:
        kind = pal.uniform(0, 1)
        if kind < 0.6:
            count = min(pal.count(3, 14), int((width / 2 - x) / 0.05))
            thick = pal.rng.uniform(0.015, 0.05, count)
            high = min(gap, 0.36) * pal.rng.uniform(0.6, 0.95, count)
            deep = depth * pal.rng.uniform(0.55, 0.8, count)
            centres = np.stack([x + np.cumsum(thick) - thick / 2, deep / 2 - depth * 0.35, z + high / 2], 1)
            centres[:, 1] = depth * 0.45 - deep / 2
            sizes = np.stack([thick * 0.95, deep, high], 1)
            covers = [pal.any() for _ in range(4)]
            for index, cover in enumerate(covers):
                mb.boxes(centres[index::4], sizes[index::4], cover)
            x += float(thick.sum()) + 0.01
        elif kind < 0.85:
            with mb.at(translation(x + 0.08, 0, z)):
                small_object(mb, pal, min(0.18, gap * 0.55), simple=True)
            x += 0.2
        else:
            x += pal.uniform(0.05, 0.3)


def sofa(mb: MeshBuilder, pal: Palette) -> None:
    """Sofa or armchair with cushions."""
    cover = pal.cloth()
    width, depth, seat = pal.pick((0.7, pal.uniform(1.2, 2.4))), pal.uniform(0.75, 1.0), pal.uniform(0.38, 0.45)
    mb.box((0, 0, seat * 0.45), (width, depth, seat * 0.6), cover)
    places = max(1, round(width / 0.7))
    for index in range(places):
        x = width * ((index + 0.5) / places - 0.5)
        mb.sphere((x, -0.08, seat * 0.85), (width / places / 2, depth * 0.42, 0.1), cover, exponent=0.3)
        mb.sphere((x, depth * 0.3, seat + 0.25), (width / places / 2, 0.12, 0.28), cover, exponent=0.4)
    mb.box((0, depth * 0.45, seat * 0.95), (width, depth * 0.14, seat * 1.5), cover)
    for side in (-1, 1):
        mb.sphere((side * (width / 2 + 0.08), 0, 0.31), (0.1, depth / 2, 0.32), cover, exponent=0.3)
    for _ in range(pal.count(0, 4)):
        mb.sphere(
            (pal.uniform(-0.45, 0.45) * width, depth * 0.1, seat + 0.25), (0.21, 0.09, 0.2), pal.any(), exponent=0.5
        )


def bed(mb: MeshBuilder, pal: Palette) -> None:
    """Bed with its head to +y."""
    width, wood, sheet = pal.uniform(0.9, 1.9), pal.wood(), pal.cloth()
    mb.box((0, 0, 0.17), (width, 2.0, 0.24), wood)
    mb.sphere((0, 0, 0.38), (width / 2, 1.0, 0.16), pal.plain("white"), sides=20, exponent=0.2)
    cover = ((0, -0.25, 0.42), (width / 2 + 0.03, 0.76, 0.16))
    mb.sphere(*cover, sheet, sides=24, exponent=0.25, noise=0.04, rng=pal.rng)
    mb.box((0, 1.02, 0.5), (width, 0.06, pal.uniform(0.6, 1.2)), wood)
    for x in (-0.25, 0.25) if width > 1.3 else (0.0,):
        mb.sphere((x * width, 0.72, 0.58), (0.3, 0.2, 0.1), pal.pick((sheet, pal.any())), exponent=0.5)


def cabinet(mb: MeshBuilder, pal: Palette) -> None:
    """Cupboard, chest of drawers, wardrobe, fridge."""
    width, height, depth = pal.uniform(0.4, 1.8), pal.uniform(0.5, 2.2), pal.uniform(0.35, 0.65)
    body, knob = pal.wood(), pal.metal()
    front = pal.pick((body, pal.wood()))
    mb.box((0, 0, height / 2), (width, depth, height), body)
    columns, rows = max(1, round(width / pal.uniform(0.35, 0.7))), pal.count(1, 4)
    xs = width * ((np.arange(columns) + 0.5) / columns - 0.5)
    zs = height * (np.arange(rows) + 0.5) / rows
    centres = np.array([(x, -depth / 2 - 0.008, z) for x in xs for z in zs])
    mb.boxes(centres, (width / columns - 0.02, 0.02, height / rows - 0.02), front)
    mb.boxes(centres - (0, 0.022, 0), pal.pick(((0.1, 0.02, 0.015), (0.03, 0.03, 0.03), (0.015, 0.02, 0.12))), knob)
    if height < 1.5:
        clutter(mb, pal, width, depth, height, 6, (0.1, 0.35))


def kitchen(mb: MeshBuilder, pal: Palette) -> None:
    """Row of base units with worktop and wall units."""
    width, front, top = pal.uniform(1.2, 3.0), pal.wood(), pal.any()
    units = max(2, round(width / 0.6))
    xs = width * ((np.arange(units) + 0.5) / units - 0.5)
    mb.box((0, 0.02, 0.45), (width, 0.56, 0.8), pal.plain("white"))
    mb.boxes([(x, -0.27, 0.47) for x in xs], (width / units - 0.01, 0.02, 0.74), front)
    mb.box((0, 0, 0.88), (width + 0.02, 0.62, 0.04), top)
    mb.boxes([(x, -0.29, 0.78) for x in xs], (0.12, 0.02, 0.015), pal.metal())
    clutter(mb, pal, width, 0.5, 0.9, 10, (0.1, 0.35))
    if pal.chance(0.7):
        mb.boxes([(x, 0.12, 1.75) for x in xs if pal.chance(0.85)], (width / units - 0.008, 0.35, 0.7), front)


def floor_lamp(mb: MeshBuilder, pal: Palette) -> None:
    """Standing lamp."""
    height, metal, radius = pal.uniform(1.0, 1.8), pal.metal(), pal.uniform(0.12, 0.25)
    mb.cylinder((0, 0, 0), (0, 0, 0.03), 0.14, metal, sides=18)
    mb.cylinder((0, 0, 0), (0, 0, height), 0.012, metal, sides=6)
    shade = pal.lamp() if pal.chance(0.5) else pal.any()
    mb.lathe([(radius, height - 0.15), (radius * pal.uniform(0.4, 0.9), height + 0.12)], shade)


def pendant(mb: MeshBuilder, pal: Palette) -> None:
    """Lamp hanging from the local origin."""
    drop, radius = pal.uniform(0.2, 0.9), pal.uniform(0.12, 0.35)
    mb.cylinder((0, 0, -drop), (0, 0, 0), 0.008, pal.metal(), sides=5)
    mb.lathe([(0.02, 0.05), (radius, -radius * pal.uniform(0.2, 0.9))], pal.any(), centre=(0, 0, -drop))
    mb.sphere((0, 0, -drop - 0.03), 0.05, pal.lamp(), sides=10)


def rug(mb: MeshBuilder, pal: Palette) -> None:
    """Carpet lying flat."""
    size = (pal.uniform(0.8, 2.6), pal.uniform(0.8, 2.0), 0.014)
    mb.box((0, 0, 0.007), size, pal.material(pal.pick(("image", "checker", "flakes", "waves", "solid")), matt=True))


def pile(mb: MeshBuilder, pal: Palette) -> None:
    """Things and boxes on the floor."""
    for _ in range(pal.count(2, 8)):
        with mb.at(translation(pal.normal(0, 0.4), pal.normal(0, 0.4), 0)):
            small_object(mb, pal, pal.log_uniform(0.12, 0.6), simple=True)


def curtain(mb: MeshBuilder, pal: Palette, width: float, height: float) -> None:
    """Wavy cloth hanging in the plane y = 0 from `height` to near the floor, about the local x = 0."""
    x = np.linspace(-width / 2, width / 2, 25)
    fold = 0.05 * np.sin(x * pal.uniform(25, 60) + pal.angle())
    top = np.stack([x * 0.9, fold * 0.6, np.full(25, height)], 1)
    bottom = np.stack([x, fold, np.full(25, pal.uniform(0.02, 0.1))], 1)
    mb.ribbon(bottom, top, pal.cloth())


FURNITURE: tuple[tuple[Maker, float], ...] = (
    (cabinet, 0.35),
    (cabinet, 0.35),
    (shelf, 0.25),
    (shelf, 0.25),
    (sofa, 0.55),
    (bed, 1.1),
    (desk, 0.4),
    (kitchen, 0.36),
    (floor_lamp, 0.3),
    (chair, 0.35),
)
"""Makers for pieces along walls, with the distance of their origin from the wall."""
