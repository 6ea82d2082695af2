"""The shell of a room: walls with doors, windows and pictures, floor, ceiling, and what is seen through openings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..parts.builder import Hole, MeshBuilder, facing, panel, placement
from ..parts.layout import SceneLayout
from ..parts.random_materials import Palette
from ..parts.scene import Material
from .furniture import chair, curtain, pendant, pile, shelf
from .plants import potted, tree
from .street_things import building


@dataclass(frozen=True)
class Wall:
    """One wall: it starts at (x, y), runs along a unit direction, and its normal points into the room."""

    x: float
    y: float
    along: tuple[float, float]
    length: float
    holes: tuple[Hole, ...]

    @property
    def normal(self) -> tuple[float, float]:
        """Unit ground direction into the room."""
        return -self.along[1], self.along[0]

    def point(self, distance: float, out: float = 0.0) -> tuple[float, float]:
        """Ground point at a distance from the start, `out` metres into the room."""
        nx, ny = self.normal
        return self.x + self.along[0] * distance + nx * out, self.y + self.along[1] * distance + ny * out

    def clear(self, start: float, end: float, doors_only: bool = False) -> bool:
        """Whether no opening lies between two distances."""
        return not any(hole[0] < end and start < hole[1] and (not doors_only or hole[2] < 0.1) for hole in self.holes)


@dataclass(frozen=True)
class RoomSize:
    """Inner measures of a room in metres."""

    width: float
    depth: float
    height: float
    style: str


def _openings(pal: Palette, length: float, height: float, windows: bool) -> tuple[Hole, ...]:
    holes: list[Hole] = []
    if pal.chance(0.55):  # a door
        start = pal.uniform(0.2, max(0.21, length - 1.3))
        holes.append((start, start + pal.uniform(0.8, 1.1), 0.0, min(height - 0.1, 2.05)))
    if windows:
        low, high = pal.pick((0.05, 0.9, pal.uniform(0.5, 1.2))), min(height - 0.15, pal.uniform(1.9, 2.6))
        wide, gap = pal.uniform(0.7, 2.4), pal.uniform(0.3, 1.2)
        x = pal.uniform(0.3, 1.0)
        while x + wide < length - 0.2:
            if not any(hole[0] - 0.15 < x + wide and x < hole[1] + 0.15 for hole in holes):
                holes.append((x, x + wide, low, high))
            x += wide + gap
    return tuple(holes)


def _walls(pal: Palette, size: RoomSize) -> list[Wall]:
    x, y = size.width / 2, size.depth / 2
    rows = (
        (-x, -y, (1.0, 0.0), size.width),
        (x, -y, (0.0, 1.0), size.depth),
        (x, y, (-1.0, 0.0), size.width),
        (-x, y, (0.0, -1.0), size.depth),
    )
    return [
        Wall(sx, sy, along, length, _openings(pal, length, size.height, pal.chance(0.4)))
        for sx, sy, along, length in rows
    ]


def _wall_fittings(layout: SceneLayout, mb: MeshBuilder, wall: Wall, size: RoomSize, trim: Material) -> None:
    """Frames, doors, window bars, curtains, skirting and pictures of one wall, in the wall's own frame."""
    pal = layout.pal
    skirting = pal.chance(0.7) and not any(hole[2] < 0.1 for hole in wall.holes)
    yaw = facing(wall.normal)
    with mb.at(placement(wall.x, wall.y, 0, math.atan2(wall.along[1], wall.along[0]))):
        if skirting:
            mb.box((wall.length / 2, 0.01, 0.05), (wall.length, 0.02, 0.1), trim)
        for start, end, low, high in wall.holes:
            middle, wide, door = (start + end) / 2, end - start, low == 0.0
            mb.boxes([(start, 0, (low + high) / 2), (end, 0, (low + high) / 2)], (0.07, 0.14, high - low), trim)
            mb.box((middle, 0, high), (wide + 0.07, 0.14, 0.07), trim)
            if door:
                _door(mb, pal, start, wide, high)
                continue
            mb.box((middle, 0.02, low), (wide + 0.15, 0.24, 0.05), trim)
            bars = pal.count(0, 2)
            mb.boxes(
                [(start + wide * (i + 1) / (bars + 1), -0.02, (low + high) / 2) for i in range(bars)],
                (0.05, 0.06, high - low),
                trim,
            )
            if pal.chance(0.3):
                mb.box((middle, -0.02, (low + high) / 2), (wide, 0.06, 0.05), trim)
            if pal.chance(0.2):
                mb.box((middle, -0.03, (low + high) / 2), (wide, 0.008, high - low), pal.glass())
            if pal.chance(0.35):
                for edge in (start - 0.1, end + 0.1):
                    with mb.at(placement(edge, 0.14)):
                        curtain(mb, pal, pal.uniform(0.3, 0.7), min(size.height - 0.05, high + 0.15))
            elif pal.chance(0.15):  # blind
                mb.boxes(
                    [(middle, 0.03, z) for z in np.arange(low + (high - low) * pal.uniform(0, 0.6), high, 0.06)],
                    (wide, 0.05, 0.006),
                    pal.plain("white"),
                )
    for _ in range(pal.count(0, max(1, int(wall.length)))):
        _picture(layout, wall, size, yaw)


def _door(mb: MeshBuilder, pal: Palette, start: float, wide: float, high: float) -> None:
    if pal.chance(0.25):
        return
    swing = 0.0 if pal.chance(0.6) else pal.uniform(0.3, 1.9)
    leaf = pal.wood()
    with mb.at(placement(start, -0.03, 0, swing if pal.chance(0.5) else -swing)):
        mb.box((wide / 2, 0, high / 2), (wide, 0.04, high), leaf)
        if pal.chance(0.6):
            mb.boxes(
                [(wide / 2, 0, high * 0.28), (wide / 2, 0, high * 0.7)],
                (wide * 0.65, 0.055, high * 0.33),
                pal.pick((leaf, pal.wood())),
            )
        mb.boxes([(wide * 0.9, 0.05, 1.0), (wide * 0.9, -0.05, 1.0)], (0.12, 0.05, 0.02), pal.metal())


def _picture(layout: SceneLayout, wall: Wall, size: RoomSize, yaw: float) -> None:
    pal = layout.pal
    wide, high = pal.log_uniform(0.15, 1.3), pal.log_uniform(0.15, 1.1)
    along = pal.uniform(0.2, max(0.21, wall.length - 0.2))
    if wide > wall.length * 0.6 or not wall.clear(along - wide / 2 - 0.1, along + wide / 2 + 0.1):
        return
    base = min(pal.normal(1.5, 0.25) - high / 2, size.height - high - 0.1)
    x, y = wall.point(along, 0.006)
    frame = MeshBuilder()
    frame.boxes([(0, -0.01, high / 2)], (wide, 0.02, high), layout.pal.any())
    layout.put(frame.build(), x, y, base, yaw)
    face = pal.mirror() if pal.chance(0.12) else pal.picture()
    inset = pal.pick((0.0, 0.03, 0.06)) * min(1.0, wide)
    x, y = wall.point(along, 0.028)
    layout.put(panel(wide - 2 * inset, high - 2 * inset, face), x, y, base + inset, yaw)


def _neighbour(mb: MeshBuilder, pal: Palette, wall: Wall, hole: Hole, height: float) -> None:
    """The room seen through an open door: a plain box with something in it."""
    deep, left, right = pal.uniform(1.2, 6), pal.uniform(0.3, 2.5), pal.uniform(0.3, 2.5)
    paint = pal.wall()
    x0, x1 = hole[0] - left, hole[1] + right
    with mb.at(placement(wall.x, wall.y, 0, math.atan2(wall.along[1], wall.along[0]))):
        for origin, direction, length in (
            ((x0, -0.05, 0), (0, -1, 0), deep),
            ((x1, -0.05, 0), (0, -1, 0), deep),
            ((x0, -deep - 0.05, 0), (1, 0, 0), x1 - x0),
        ):
            mb.wall(origin, direction, length, height, (), paint)
        mb.wall((x0, -0.05, 0), (1, 0, 0), x1 - x0, height, ((left, left + hole[1] - hole[0], 0.0, hole[3]),), paint)
        corners = np.array([(x0, -0.05, 0), (x1, -0.05, 0), (x1, -deep - 0.05, 0), (x0, -deep - 0.05, 0)])
        mb.add(corners, [(0, 1, 2, 3)], pal.floor())
        mb.add(corners + np.array((0, 0, height)), [(0, 1, 2, 3)], pal.plain("white"))
        for _ in range(pal.count(0, 3)):
            with mb.at(placement(pal.uniform(x0 + 0.3, x1 - 0.3), -deep + pal.uniform(0.2, 0.6), 0, pal.angle())):
                pal.pick((shelf, chair, pile, potted))(mb, pal)


def _ceiling(layout: SceneLayout, mb: MeshBuilder, size: RoomSize) -> None:
    pal = layout.pal
    mb.plane((size.width, size.depth), size.height, pal.plain("white") if pal.chance(0.7) else pal.wall())
    if pal.chance(0.3):  # beams
        beam, count = pal.wood(), pal.count(2, 6)
        ys = size.depth * ((np.arange(count) + 0.5) / count - 0.5)
        mb.boxes([(0, y, size.height - 0.09) for y in ys], (size.width, pal.uniform(0.08, 0.3), 0.18), beam)
    rows = max(1, round(size.depth / 3)) if size.style in ("corridor", "hall") else 1
    strips = pal.chance(0.5)
    for row in range(rows):
        if rows > 1:
            y, x = size.depth * ((row + 0.5) / rows - 0.5), 0.0
        else:
            y, x = pal.uniform(-0.2, 0.2) * size.depth, pal.uniform(-0.2, 0.2) * size.width
        if strips:
            tube = Material(color=(1, 1, 1), emission=3.0)
            mb.box((x, y, size.height - 0.03), (pal.uniform(0.15, 0.6), 1.2, 0.06), tube)
        elif pal.chance(0.7):
            with mb.at(placement(x, y, size.height)):
                pendant(mb, pal)


def _light_room(layout: SceneLayout, size: RoomSize, windows: bool) -> None:
    pal, scene = layout.pal, layout.scene
    scene.ambient = pal.ambient(0.25, 0.75, 0.35)
    scene.ambient_reach = pal.uniform(1.2, 4.0)
    scene.sky = pal.sky(hdri_share=0.7, strength=pal.uniform(0.6, 2.5))
    drop = size.height - 0.15
    if not windows or pal.chance(0.75):
        rows = min(4, max(1, round(size.depth / 5)))
        for row in range(rows):
            y = size.depth * ((row + 0.5) / rows - 0.5) + (pal.uniform(-0.2, 0.2) * size.depth if rows == 1 else 0)
            place = (pal.uniform(-0.2, 0.2) * size.width, y, drop)
            layout.light("area", place, pal.uniform(0.3, 1.6) * size.height**2, pal.uniform(0.2, 1.0))
    if windows and pal.chance(0.6):
        scene.lights.append(pal.sun(pal.uniform(0.5, 4)))
    if pal.chance(0.35):
        spot = (
            pal.uniform(-0.4, 0.4) * size.width,
            pal.uniform(-0.4, 0.4) * size.depth,
            pal.uniform(0.9, size.height - 0.3),
        )
        layout.light("point", spot, pal.uniform(0.2, 2.0), 0.1)


def _outside(layout: SceneLayout) -> None:
    """What windows show: ground, houses and trees."""
    pal = layout.pal
    ground = -pal.pick((0.1, 0.3, pal.uniform(2, 15)))
    mb = MeshBuilder()
    mb.plane((600, 600), ground, pal.ground())
    layout.put_builder(mb)
    for _ in range(pal.count(3, 8)):
        turn, reach = pal.angle(), pal.uniform(30, 70)
        x, y = reach * math.cos(turn), reach * math.sin(turn)
        if pal.chance(0.55):
            house = building(pal, pal.uniform(6, 14), pal.uniform(6, 12), pal.uniform(5, 22))
            layout.put(house, x, y, ground, pal.angle())
        else:
            layout.put(tree(pal, detail=0.5), x * 0.6, y * 0.6, ground, scale=pal.uniform(0.8, 1.5))


def shell(layout: SceneLayout, size: RoomSize) -> list[Wall]:
    """Floor, walls with their openings and fittings, ceiling and the rooms behind open doors. Returns the walls."""
    pal = layout.pal
    walls, mb, trim, paint = _walls(pal, size), MeshBuilder(), pal.pick((pal.plain("white"), pal.wood())), pal.wall()
    mb.plane((size.width, size.depth), 0.0, pal.floor())
    accent = pal.wall()
    for index, wall in enumerate(walls):
        color = accent if index == 0 else paint
        mb.wall((wall.x, wall.y, 0), (*wall.along, 0), wall.length, size.height, wall.holes, color)
        _wall_fittings(layout, mb, wall, size, trim)
        for hole in wall.holes:
            if hole[2] == 0.0 and pal.chance(0.7):
                _neighbour(mb, pal, wall, hole, size.height)
    _ceiling(layout, mb, size)
    layout.put_builder(mb)
    return walls


def daylight(layout: SceneLayout, size: RoomSize, walls: list[Wall]) -> None:
    """Lamps, and what the windows let in and show."""
    windows = any(hole[2] > 0 for wall in walls for hole in wall.holes)
    if windows and layout.pal.chance(0.7):
        _outside(layout)
    _light_room(layout, size, windows)
