"""Streets as seen from cars and pavements, and open country."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .builder import MeshBuilder, fractal
from .city import bicycle, building, car, fence, lorry, pole, street_thing, wires
from .figures import animal, bird, person_mesh
from .furniture import made, table
from .layout import EXTERIOR, PEOPLE, VEHICLES, Layout, look, usual_roll
from .palette import Palette
from .plants import bush, flower, grass, tree
from .sampling import Dice
from .scene import Camera, Material, Mesh, Scene


@dataclass(frozen=True)
class _Road:
    """A road along +y from -length to length that bends by `curve` (1 / radius in metres)."""

    length: float
    half: float
    walk: float
    curve: float

    def at(self, along: float, aside: float) -> tuple[float, float, float]:
        """Place (x, y) and heading turn at a distance along the road and aside from its middle."""
        turn = -2 * self.curve * along
        return (self.curve * along**2 + aside * math.cos(turn), along + aside * math.sin(turn), turn)

    def strip(self, left: float, right: float, z: float, start: float | None = None, end: float | None = None,
              steps: int = 40) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Two polylines that bound a lane of the road."""
        along = np.linspace(-self.length if start is None else start, self.length if end is None else end, steps)
        edges = [np.array([(*self.at(s, aside)[:2], z) for s in along]) for aside in (left, right)]
        return edges[0], edges[1]


def _road_surface(layout: Layout, road: _Road, rural: bool) -> None:
    pal, mb = layout.pal, MeshBuilder()
    ground = pal.ground()
    mb.plane((8000, 8000), -0.06, ground)
    mb.ribbon(*road.strip(-road.half, road.half, 0.0), pal.road(), smooth=False)
    if not rural:
        paving = pal.road() if pal.chance(0.5) else pal.floor()
        kerb = Material(color=pal.color("grey"))
        for side in (-1, 1):
            inner, outer = side * road.half, side * (road.half + road.walk)
            mb.ribbon(*road.strip(inner, outer, 0.12), paving, smooth=False)
            low, high = road.strip(inner, inner, 0.0)[0], road.strip(inner, inner, 0.121)[0]
            mb.ribbon(low, high, kerb, smooth=False)
    if pal.chance(0.75):
        paint = Material(color=pal.pick(((0.75, 0.75, 0.72), (0.7, 0.7, 0.7), (0.7, 0.5, 0.06))))
        for middle in (0.0,) if road.half < 5 else (0.0, -road.half / 2, road.half / 2):
            for start in np.arange(-road.length, road.length, 8.0):
                mb.ribbon(*road.strip(middle - 0.07, middle + 0.07, 0.006, start, start + 3.5, 3), paint, smooth=False)
        for side in (-1, 1) if pal.chance(0.6) else ():
            mb.ribbon(*road.strip(side * (road.half - 0.35), side * (road.half - 0.22), 0.006), paint, smooth=False)
    for _ in range(pal.count(0, 2)):  # crossings
        start = pal.uniform(-0.6, 0.6) * road.length
        for aside in np.arange(-road.half + 0.5, road.half - 0.5, 1.0):
            stripe = road.strip(aside, aside + 0.5, 0.007, start, start + 3.0, 2)
            mb.ribbon(*stripe, Material(color=(0.75, 0.75, 0.72)), smooth=False)
    layout.put_builder(mb)


def _blocks(layout: Layout, road: _Road, dense: float) -> None:
    """Houses, gardens, trees and fences along both sides."""
    pal = layout.pal
    heights, gap = pal.uniform(4, 22), pal.pick((0.0, pal.uniform(1, 8)))
    setback = 0.0 if dense > 0.8 else pal.uniform(0, 10)
    stock = [tree(pal, detail=0.6) for _ in range(3)]
    shrub = bush(pal)
    edge = road.half + road.walk
    for side in (-1, 1):
        along = -road.length
        while along < road.length:
            wide, deep = pal.uniform(6, 18), pal.uniform(6, 12)
            middle = along + wide / 2
            if pal.chance(dense):
                x, y, turn = road.at(middle, side * (edge + setback + deep / 2 + 0.2))
                high = max(3.0, heights * pal.uniform(0.6, 1.4))
                layout.put(building(pal, wide, deep, high), x, y, 0, turn + side * math.pi / 2 + math.pi)
            else:
                for _ in range(pal.count(0, 3)):
                    x, y, _turn = road.at(middle + pal.normal(0, 4), side * (edge + 1 + abs(pal.normal(2, 8))))
                    layout.put(pal.pick([*stock, shrub]), x, y, -0.05, pal.angle(), pal.uniform(0.6, 1.4))
            if pal.chance(0.25):
                mb = MeshBuilder()
                fence(mb, pal, wide * 0.95)
                x, y, turn = road.at(middle, side * (edge + 0.12))
                layout.put(mb.build(), x, y, 0, turn + math.pi / 2)
            along += wide + gap


def _roadside(layout: Layout, road: _Road, rural: bool) -> None:
    """Rows of trees and poles, and things that stand on the pavement."""
    pal = layout.pal
    z = 0.0 if rural else 0.12
    mast, planted = pole(pal), [tree(pal, detail=0.6) for _ in range(2)]
    avenue, pitch, kerb = pal.chance(0.45), pal.uniform(7, 18), road.half + 0.4
    for along in np.arange(-road.length, road.length, pitch):
        for side in (-1, 1):
            if avenue and pal.chance(0.7):
                x, y, _turn = road.at(along + pal.normal(0, 0.5), side * (kerb + 0.5))
                layout.put(pal.pick(planted), x, y, z, pal.angle(), pal.uniform(0.5, 1.0))
            if pal.chance(0.35):
                x, y, turn = road.at(along + pitch / 2, side * kerb)
                layout.put(mast, x, y, z, turn + (0.0 if side < 0 else math.pi))
    for _ in range(pal.count(0, 8)):
        side = pal.sign()
        x, y, turn = road.at(pal.uniform(-0.6, 0.6) * road.length, side * (kerb + pal.uniform(0.2, 0.9) * road.walk))
        if pal.chance(0.35) and layout.put_model(EXTERIOR, x, y, z, pal.angle(), max_size=4.0):
            continue
        thing = pal.pick((street_thing, street_thing, pole, bicycle))
        layout.put(thing(pal), x, y, z, turn + side * math.pi / 2 + math.pi)
    if pal.chance(0.4):
        mb = MeshBuilder()
        for _ in range(pal.count(1, 5)):
            start, reach, high = pal.uniform(-0.5, 0.5) * road.length, pal.pick((0.0, 40.0)), pal.uniform(5, 8)
            ends = [road.at(start, -kerb - 1), road.at(start + reach, kerb + 1 if reach == 0 else -kerb - 1)]
            wires(mb, pal, (*ends[0][:2], high), (*ends[1][:2], high))
        layout.put_builder(mb)


def _traffic(layout: Layout, road: _Road, rural: bool) -> None:
    """Parked and moving vehicles, people."""
    pal = layout.pal
    fleet = [car(pal) for _ in range(4)]
    lane = min(road.half * 0.5, 1.9)

    def place(along: float, aside: float, heading: float) -> None:
        x, y, turn = road.at(along, aside)
        if layout.free(x, y, 2.4):
            own = turn + heading
            if pal.chance(0.3) and layout.put_model(VEHICLES, x, y, 0, own):
                layout.take(x, y, 2.6)
                return
            large = pal.chance(0.12)
            layout.put(lorry(pal) if large else pal.pick(fleet), x, y, 0, own, radius=5.0 if large else 2.6)

    for _ in range(pal.count(0, 7)):  # front to -y is heading against +y
        side = pal.sign()
        place(pal.uniform(-0.8, 0.8) * road.length, side * lane, 0.0 if side < 0 else math.pi)
    if not rural and pal.chance(0.7):
        filled = pal.uniform(0.2, 0.9)
        for side in (-1, 1):
            for along in np.arange(-road.length, road.length, 6.2):
                if pal.chance(filled):
                    place(
                        along + pal.normal(0, 0.4),
                        side * (road.half - 1.15),
                        pal.pick((0.0, math.pi)) + pal.normal(0, 0.03),
                    )
    walkers = [person_mesh(pal) for _ in range(4)]
    for _ in range(pal.count(0, 3) if rural else pal.count(0, 16)):
        aside = pal.sign() * (road.half + pal.uniform(0.1, 1) * road.walk)
        if pal.chance(0.15):
            aside = pal.uniform(-1, 1) * road.half
        x, y, _turn = road.at(pal.uniform(-0.6, 0.6) * road.length, aside)
        z = 0.12 if abs(aside) > road.half and not rural else 0.0
        if not (pal.chance(0.4) and layout.put_model(PEOPLE, x, y, z, pal.angle())):
            layout.put(pal.pick(walkers), x, y, z, pal.angle())


def street(pal: Palette) -> Scene:
    """City street, suburb or country road."""
    layout = Layout("street", pal)
    style = pal.pick(("city", "city", "suburb", "suburb", "rural", "highway"))
    rural = style in ("rural", "highway")
    road = _Road(
        pal.uniform(50, 110),
        {"highway": pal.uniform(6, 9), "rural": pal.uniform(2.6, 4)}.get(style, pal.uniform(2.8, 7.5)),
        pal.uniform(1.4, 4.5),
        pal.pick((0.0, 0.0, pal.normal(0, 0.0015))),
    )
    _road_surface(layout, road, rural)
    density = {"city": pal.uniform(0.8, 1), "suburb": pal.uniform(0.3, 0.75), "rural": 0.08, "highway": 0.04}
    _blocks(layout, road, density[style])
    _roadside(layout, road, rural)
    _traffic(layout, road, rural)
    if style == "city" and pal.chance(0.4):  # the street ends at a house across it
        x, y, turn = road.at(road.length, 0)
        layout.put(building(pal, 30, 10, pal.uniform(8, 25)), x, y + 8, 0, turn)
    elif pal.chance(0.4):
        _hills(layout, pal.uniform(250, 900))
    if style == "highway" and pal.chance(0.5):
        for side in (-1, 1):
            mb = MeshBuilder()
            fence(mb, pal, 2 * road.length, kind="barrier")
            layout.put(mb.build(), side * (road.half + 0.4), 0, 0, side * math.pi / 2)
    layout.outdoors()
    return layout.finish(lambda rng: street_camera(Dice(rng), road))


def street_camera(dice: Dice, road: _Road) -> Camera:
    """From a car in its lane in two of three views, else from the pavement or above."""
    along = dice.uniform(-0.75, 0.35) * road.length
    if dice.chance(0.65):
        ahead = dice.sign()
        x, y, turn = road.at(along * ahead, ahead * min(road.half * 0.5, 1.9) + dice.normal(0, 0.4))
        heading = dice.pick((0.0, 0.0, 0.0, 0.0, math.pi, dice.sign() * 1.0, dice.sign() * 1.9))
        yaw = math.pi / 2 * ahead + turn + heading + dice.normal(0, 0.1)
        return Camera((x, y, dice.uniform(1.15, 2.1)), yaw, dice.normal(-0.02, 0.05), dice.normal(0, 0.012),
                      math.radians(dice.uniform(45, 100)), 1.2)
    x, y, turn = road.at(along, dice.uniform(-1, 1) * (road.half + road.walk * 0.85))
    yaw = turn + dice.pick((math.pi / 2, -math.pi / 2, 0.0, math.pi, dice.angle())) + dice.normal(0, 0.35)
    high = dice.pick((1.6, 1.6, dice.uniform(0.4, 2.2), dice.uniform(2.5, 9)))
    pitch = dice.normal(-0.04 * max(0, high - 1.6), 0.12)
    return Camera((x, y, high), yaw, pitch, usual_roll(dice), math.radians(dice.uniform(35, 90)), 0.7)


def _hills(layout: Layout, reach: float) -> None:
    """Ring of hills or mountains around the origin."""
    pal, side = layout.pal, 56
    heights = np.abs(fractal(side, 4, pal.rng, 4)) * reach * pal.uniform(0.08, 0.35)
    axis = np.linspace(-1, 1, side)
    away = np.hypot(axis[:, None], axis[None])
    mb = MeshBuilder()
    tone = pal.material(
        pal.pick(("noise", "image")),
        pal.color(pal.pick(("green", "natural", "grey"))),
        scale=pal.uniform(0.01, 0.05),
        matt=True,
    )
    ring = np.where(away > 0.3, heights * np.clip((away - 0.3) * 2.5, 0, 1) - 2, -60.0)
    mb.height_field(ring, (2 * reach, 2 * reach), tone)
    layout.put_builder(mb)


class _Terrain:
    """Rolling ground on an even grid."""

    def __init__(self, pal: Palette, points: int = 140) -> None:
        self.size = pal.pick((60.0, 120.0, 240.0))
        amplitude = pal.pick((0.0, 0.3, 1.0, 3.0, 7.0)) * pal.uniform(0.5, 1.2) * self.size / 120
        self.heights = fractal(points, 6, pal.rng, 2, pal.uniform(0.35, 0.55)) * amplitude

    def z(self, x: float, y: float) -> float:
        """Height of the ground, between the grid points as on the mesh roughly."""
        last = self.heights.shape[0] - 1
        u = min(max((x / self.size + 0.5) * last, 0.0), last - 1e-6)
        v = min(max((y / self.size + 0.5) * last, 0.0), last - 1e-6)
        i, j = int(u), int(v)
        cell, s, t = self.heights[i : i + 2, j : j + 2], u - i, v - j
        return float(
            cell[0, 0] * (1 - s) * (1 - t) + cell[1, 0] * s * (1 - t) + cell[0, 1] * (1 - s) * t + cell[1, 1] * s * t
        )


def _wild(layout: Layout, land: _Terrain) -> None:
    """Trees, bushes and rocks all over."""
    pal, half = layout.pal, land.size * 0.47
    number = pal.pick((4, 20, 60, 120, 180))
    detail = 1.0 if number <= 20 else 0.5
    stock: list[Mesh] = [tree(pal, detail=detail) for _ in range(pal.count(1, 4))] + [bush(pal) for _ in range(2)]
    for _ in range(number):
        x, y = pal.uniform(-half, half), pal.uniform(-half, half)
        layout.put(pal.pick(stock), x, y, land.z(x, y) - 0.1, pal.angle(), pal.uniform(0.6, 1.5))
    rocks = []
    for _ in range(3):
        mb = MeshBuilder()
        mb.sphere(
            (0, 0, 0),
            (1, pal.uniform(0.6, 1), pal.uniform(0.4, 0.9)),
            pal.rock(),
            sides=20,
            noise=pal.uniform(0.15, 0.4),
            rng=pal.rng,
        )
        rocks.append(mb.build())
    for _ in range(pal.pick((0, 6, 40))):
        x, y = pal.uniform(-0.6, 0.6) * half, pal.uniform(-0.6, 0.6) * half
        layout.put(pal.pick(rocks), x, y, land.z(x, y), pal.angle(), pal.log_uniform(0.1, 2.0))


def _picnic(mb: MeshBuilder, pal: Palette) -> None:
    table(mb, pal, 1.6, 0.8, 0.75)


def _spots(layout: Layout, land: _Terrain) -> list[tuple[float, float, float]]:
    """Places with something to look at; cameras aim at them."""
    pal, spots = layout.pal, []
    reach = min(land.size, 80.0) * 0.3

    def house() -> Mesh:
        return building(pal, pal.uniform(5, 10), pal.uniform(5, 9), pal.uniform(3, 7))

    def fenced() -> Mesh:
        mb = MeshBuilder()
        fence(mb, pal, pal.uniform(6, 16))
        return mb.build()

    makers: tuple[tuple[Callable[[], Mesh], int, float], ...] = (
        (lambda: person_mesh(pal), 3, 1.2), (lambda: person_mesh(pal), 3, 1.2), (lambda: animal(pal), 4, 2.0),
        (lambda: animal(pal), 3, 2.0), (lambda: bird(pal), 5, 0.8), (fenced, 1, 0.0), (lambda: pole(pal), 2, 6.0),
        (lambda: car(pal), 1, 0.0), (house, 1, 0.0), (lambda: bush(pal), 5, 1.5), (lambda: street_thing(pal), 2, 2.0),
        (lambda: bicycle(pal), 2, 1.0), (lambda: made(_picnic, pal), 1, 0.0))
    for _ in range(pal.count(6, 15)):
        x, y = pal.uniform(-reach, reach), pal.uniform(-reach, reach)
        spots.append((x, y, land.z(x, y)))
        z = spots[-1][2]
        if pal.chance(0.3) and layout.put_model(pal.pick((VEHICLES, PEOPLE, EXTERIOR)), x, y, z, pal.angle()):
            continue
        maker, most, spread = pal.pick(makers)
        for _ in range(pal.count(1, most)):
            px, py = x + pal.normal(0, spread), y + pal.normal(0, spread)
            layout.put(maker(), px, py, land.z(px, py) - 0.03, pal.angle())
    return spots


def _meadow(layout: Layout, land: _Terrain, spots: list[tuple[float, float, float]]) -> None:
    pal = layout.pal
    tufts = [grass(pal, 40) for _ in range(2)]
    blooms = [flower(pal) for _ in range(3)] if pal.chance(0.5) else []
    for x, y, _z in spots[:4]:
        for _ in range(90):
            px, py = x + pal.normal(0, 3), y + pal.normal(0, 3)
            plant = pal.pick(blooms if blooms and pal.chance(0.25) else tufts)
            layout.put(plant, px, py, land.z(px, py), pal.angle(), pal.uniform(0.5, 1.4))


def nature(pal: Palette) -> Scene:
    """Open country: meadow, wood, park, shore or mountains."""
    layout, land = Layout("nature", pal), _Terrain(pal)
    mb = MeshBuilder()
    soil = pal.ground()
    mb.height_field(land.heights, (land.size, land.size), soil)
    low = float(land.heights.min())
    mb.plane((8000, 8000), low - 0.3, soil if pal.chance(0.5) else pal.ground())
    if pal.chance(0.3):
        water = Material(
            "noise", (0.02, 0.06, 0.08), (0.03, 0.08, 0.09), scale=0.6, reflectance=0.04, bump=0.15, bump_scale=2.0
        )
        mb.plane((6000, 6000), float(np.quantile(land.heights, pal.uniform(0.1, 0.5))), water)
    if pal.chance(0.35):  # a path
        steps = np.linspace(-0.5, 0.5, 80) * land.size
        wide, bend = pal.uniform(0.6, 2.5), pal.uniform(1, 12)
        xs = bend * np.sin(steps * pal.uniform(0.03, 0.12))
        left, right = (
            [(x, y, land.z(x, y) + 0.04) for x, y in zip(xs + side * wide, steps, strict=True)] for side in (-1, 1)
        )
        mb.ribbon(left, right, pal.material("noise", pal.color("natural"), scale=1.0, matt=True))
    layout.put_builder(mb)
    if pal.chance(0.6):
        _hills(layout, land.size * pal.uniform(2, 8))
    _wild(layout, land)
    spots = _spots(layout, land)
    if pal.chance(0.5):
        _meadow(layout, land, spots)
    layout.outdoors()
    return layout.finish(lambda rng: nature_camera(Dice(rng), land, spots))


def nature_camera(dice: Dice, land: _Terrain, spots: list[tuple[float, float, float]]) -> Camera:
    """Mostly a view of one of the spots from a few metres, else anywhere."""
    high = dice.pick((dice.uniform(0.3, 1), 1.6, 1.6, dice.uniform(1, 2.5), dice.uniform(2, 15)))
    if dice.chance(0.85):
        x, y, z = dice.pick(spots)
        turn, away = dice.angle(), dice.log_uniform(1.5, 15)
        px, py = x + away * math.cos(turn), y + away * math.sin(turn)
        target = (x, y, z + dice.uniform(0.3, 1.8))
        return look(
            (px, py, land.z(px, py) + high),
            target,
            fov=dice.uniform(30, 85),
            roll=usual_roll(dice),
            turn=dice.normal(0, 0.2),
            tilt=dice.normal(0.02, 0.08),
            min_distance=0.4,
        )
    px, py = dice.uniform(-0.4, 0.4) * land.size, dice.uniform(-0.4, 0.4) * land.size
    yaw, pitch = dice.angle(), dice.normal(-0.03 - 0.02 * min(high, 8), 0.1)
    position = (px, py, land.z(px, py) + high)
    return Camera(position, yaw, pitch, usual_roll(dice), math.radians(dice.uniform(30, 85)), 0.4)
