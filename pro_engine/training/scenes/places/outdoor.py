"""Streets as seen from cars and pavements: city, suburb, country road and highway."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..parts.builder import MeshBuilder, made
from ..parts.dice import Dice
from ..parts.layout import EXTERIOR, PEOPLE, VEHICLES, SceneLayout, usual_roll
from ..parts.random_materials import Palette
from ..parts.scene import Material, Scene, SceneCamera
from ..things.people import person_mesh
from ..things.plants import bush, tree
from ..things.street_things import bicycle, building, car, fence, lorry, pole, street_thing, wires
from .nature import hills


@dataclass(frozen=True)
class Road:
    """A road along +y from -length to length that bends by `curve` (1 / radius in metres)."""

    length: float
    half: float
    walk: float
    curve: float
    crossing: float | None = None
    """Distance along the road at which another road crosses it."""

    def at(self, along: float, aside: float) -> tuple[float, float, float]:
        """Place (x, y) and heading turn at a distance along the road and aside from its middle."""
        turn = -2 * self.curve * along
        return (self.curve * along**2 + aside * math.cos(turn), along + aside * math.sin(turn), turn)

    def stretches(self) -> list[tuple[float, float]]:
        """Start and end of the parts of the road that no other road crosses."""
        if self.crossing is None:
            return [(-self.length, self.length)]
        return [(-self.length, self.crossing - self.half), (self.crossing + self.half, self.length)]

    def crossed(self, along: float, reach: float) -> bool:
        """Whether the other road runs within `reach` of a place along this road."""
        return self.crossing is not None and abs(along - self.crossing) < self.half + reach

    def strip(
        self, left: float, right: float, z: float, start: float | None = None, end: float | None = None, steps: int = 40
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Two polylines that bound a lane of the road."""
        along = np.linspace(-self.length if start is None else start, self.length if end is None else end, steps)
        edges = [np.array([(*self.at(s, aside)[:2], z) for s in along]) for aside in (left, right)]
        return edges[0], edges[1]


def road_surface(layout: SceneLayout, road: Road, rural: bool) -> None:
    """Ground, carriageway with its marks, and, in towns, pavements with kerbs."""
    pal, mb = layout.pal, MeshBuilder()
    ground = pal.ground()
    mb.plane((8000, 8000), -0.06, ground)
    asphalt = pal.road()
    mb.ribbon(*road.strip(-road.half, road.half, 0.0), asphalt, smooth=False)
    if road.crossing is not None:
        ends = [road.at(road.crossing, aside) for aside in (-160.0, 160.0)]
        near, far = ([(x, y + side * road.half, -0.005) for x, y, _turn in ends] for side in (-1, 1))
        mb.ribbon(near, far, asphalt, smooth=False)
    if not rural:
        paving = pal.road() if pal.chance(0.5) else pal.floor()
        kerb = Material(color=pal.color("grey"))
        for side in (-1, 1):
            inner, outer = side * road.half, side * (road.half + road.walk)
            for part in road.stretches():
                mb.ribbon(*road.strip(inner, outer, 0.12, *part), paving, smooth=False)
                low, high = road.strip(inner, inner, 0.0, *part)[0], road.strip(inner, inner, 0.121, *part)[0]
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


def blocks(layout: SceneLayout, road: Road, dense: float) -> None:
    """Houses, gardens, trees and fences along both sides."""
    pal = layout.pal
    heights, gap = pal.uniform(4, 22), pal.pick((0.0, pal.uniform(1, 8)))
    setback = 0.0 if dense > 0.8 else pal.uniform(0, 10)
    green = pal.pick((1, 2, 4))
    stock = [tree(pal, detail=0.6 if green < 4 else 0.35) for _ in range(3)]
    shrub = bush(pal)
    edge = road.half + road.walk
    for side in (-1, 1):
        along = -road.length
        while along < road.length:
            wide, deep = pal.uniform(6, 18), pal.uniform(6, 12)
            middle = along + wide / 2
            if road.crossed(middle, wide / 2 + 1):
                along += wide
                continue
            if pal.chance(dense):
                x, y, turn = road.at(middle, side * (edge + setback + deep / 2 + 0.2))
                high = max(3.0, heights * pal.uniform(0.6, 1.4))
                layout.put(building(pal, wide, deep, high), x, y, 0, turn + side * math.pi / 2 + math.pi)
            else:
                for _ in range(pal.count(0, 1 + green)):
                    x, y, _turn = road.at(middle + pal.normal(0, 4), side * (edge + 1 + abs(pal.normal(2, 8))))
                    layout.put(pal.pick([*stock, shrub]), x, y, -0.05, pal.angle(), pal.uniform(0.6, 1.4))
            if pal.chance(0.25):
                x, y, turn = road.at(middle, side * (edge + 0.12))
                layout.put(made(fence, pal, wide * 0.95), x, y, 0, turn + math.pi / 2)
            along += wide + gap


def roadside(layout: SceneLayout, road: Road, rural: bool) -> None:
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


def _traffic(layout: SceneLayout, road: Road, rural: bool) -> None:
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
    layout = SceneLayout("street", pal)
    style = pal.pick(("city", "city", "suburb", "suburb", "rural", "highway"))
    rural = style in ("rural", "highway")
    length, curve = pal.uniform(50, 110), pal.pick((0.0, 0.0, pal.normal(0, 0.0015)))
    half = {"highway": pal.uniform(6, 9), "rural": pal.uniform(2.6, 4)}.get(style, pal.uniform(2.8, 7.5))
    crossing = pal.uniform(-0.6, 0.6) * length if pal.chance(0.4) and style != "highway" else None
    road = Road(length, half, pal.uniform(1.4, 4.5), curve, crossing)
    road_surface(layout, road, rural)
    density = {"city": pal.uniform(0.8, 1), "suburb": pal.uniform(0.3, 0.75), "rural": 0.08, "highway": 0.04}
    blocks(layout, road, density[style])
    roadside(layout, road, rural)
    _traffic(layout, road, rural)
    if style == "city" and pal.chance(0.4):  # the street ends at a house across it
        x, y, turn = road.at(road.length, 0)
        layout.put(building(pal, 30, 10, pal.uniform(8, 25)), x, y + 8, 0, turn)
    elif pal.chance(0.4):
        hills(layout, pal.uniform(250, 900))
    if style == "highway" and pal.chance(0.5):
        for side in (-1, 1):
            barrier = made(fence, pal, 2 * road.length, kind="barrier")
            layout.put(barrier, side * (road.half + 0.4), 0, 0, side * math.pi / 2)
    layout.outdoors()
    return layout.finish(lambda rng: street_camera(Dice(rng), road))


def street_camera(dice: Dice, road: Road) -> SceneCamera:
    """From a car in its lane in two of three views, else from the pavement or above."""
    along = dice.uniform(-0.75, 0.35) * road.length
    if dice.chance(0.65):
        ahead = dice.sign()
        x, y, turn = road.at(along * ahead, ahead * min(road.half * 0.5, 1.9) + dice.normal(0, 0.4))
        heading = dice.pick((0.0, 0.0, 0.0, 0.0, math.pi, dice.sign() * 1.0, dice.sign() * 1.9))
        yaw = math.pi / 2 * ahead + turn + heading + dice.normal(0, 0.1)
        return SceneCamera(
            (x, y, dice.uniform(1.15, 2.1)),
            yaw,
            dice.normal(-0.02, 0.05),
            dice.normal(0, 0.012),
            math.radians(dice.uniform(45, 100)),
            1.2,
        )
    x, y, turn = road.at(along, dice.uniform(-1, 1) * (road.half + road.walk * 0.85))
    yaw = turn + dice.pick((math.pi / 2, -math.pi / 2, 0.0, math.pi, dice.angle())) + dice.normal(0, 0.35)
    high = dice.pick((1.6, 1.6, dice.uniform(0.4, 2.2), dice.uniform(2.5, 9)))
    pitch = dice.normal(-0.04 * max(0, high - 1.6), 0.12)
    return SceneCamera((x, y, high), yaw, pitch, usual_roll(dice), math.radians(dice.uniform(35, 90)), 0.7)
