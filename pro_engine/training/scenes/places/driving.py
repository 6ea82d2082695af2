"""Roads as the cameras of a car see them: traffic ahead and behind, and kerb, parked cars and facades at its sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..parts.builder import MeshBuilder, made
from ..parts.dice import Dice
from ..parts.layout import PEOPLE, VEHICLES, SceneLayout
from ..parts.random_materials import Palette
from ..parts.scene import Scene, SceneCamera, SceneMesh
from ..things.people import person_mesh
from ..things.plants import bush, conifer, crowned, grass, tree
from ..things.street_things import bicycle, car, fence, lorry, pole, street_thing
from .nature import hills
from .outdoor import Road, blocks, road_surface, roadside

_STYLES = ("city", "city", "city", "suburb", "suburb", "suburb", "rural", "highway", "wooded", "wooded")
_DENSE = {
    "city": (0.75, 1.0),
    "suburb": (0.3, 0.8),
    "rural": (0.0, 0.12),
    "highway": (0.0, 0.06),
    "wooded": (0.0, 0.2),
}
_HALF_WIDTH = {
    "city": (3.2, 7.5),
    "suburb": (2.8, 5.0),
    "rural": (2.6, 4.0),
    "highway": (5.5, 9.0),
    "wooded": (2.8, 6.0),
}
_WOODS = {"city": 0.1, "suburb": 0.5, "rural": 0.5, "highway": 0.6, "wooded": 1.0}
"""How often trees stand in closed rows behind whatever is at the road."""
_MOST_TREES = 110
"""Of one wood, about."""


class _Fleet:
    """Vehicles of one scene; a few meshes serve for many."""

    def __init__(self, layout: SceneLayout, road: Road) -> None:
        self.layout, self.road = layout, road
        self.cars = [car(layout.pal) for _ in range(5)]
        self.large = lorry(layout.pal)

    def put(self, along: float, aside: float, heading: float, *, large: float = 0.06) -> None:
        """A vehicle at a place of the road if that is free; heading 0 drives against +y."""
        layout, pal = self.layout, self.layout.pal
        x, y, turn = self.road.at(along, aside)
        if pal.chance(large):
            if layout.free(x, y, 4.5):
                layout.put(self.large, x, y, 0, turn + heading)
                for part in (-3.5, 0.0, 3.5):
                    layout.take(x - part * math.sin(turn), y + part * math.cos(turn), 1.6)
        elif layout.free(x, y, 1.7):
            if not (pal.chance(0.3) and layout.put_model(VEHICLES, x, y, 0, turn + heading)):
                layout.put(pal.pick(self.cars), x, y, 0, turn + heading)
            for part in (-1.3, 1.3):
                layout.take(x - part * math.sin(turn), y + part * math.cos(turn), 1.1)


def _lanes(half: float, parked: bool) -> list[float]:
    """Middles of the lanes on the right side of the road, from the middle outwards."""
    room = half - (2.2 if parked else 0.3)
    count = max(1, int(room / 2.9))
    return [room * (index + 0.5) / count for index in range(count)]


def _vehicles(layout: SceneLayout, road: Road, lanes: list[float], parked: bool, gaps: Sequence[float]) -> None:
    """Queues or loose traffic in the lanes, rows of parked cars along the kerbs."""
    pal, fleet = layout.pal, _Fleet(layout, road)
    if parked:
        filled, askew = pal.uniform(0.35, 0.97), pal.chance(0.12)
        for side in (-1, 1):
            for along in np.arange(-road.length, road.length, 5.9 if not askew else 3.2):
                if pal.chance(filled) and not road.crossed(along, 4):
                    turn = pal.pick((0.0, 0.0, math.pi)) if side < 0 else pal.pick((math.pi, math.pi, 0.0))
                    lean = side * 0.9 if askew else 0.0
                    fleet.put(
                        along + pal.normal(0, 0.3),
                        side * (road.half - 1.1),
                        turn + lean + pal.normal(0, 0.03),
                        large=0.0,
                    )
    gap = pal.pick(gaps)
    for lane in lanes:
        for side in (-1, 1):
            along = -road.length + pal.uniform(0, gap)
            while along < road.length:
                fleet.put(along, side * (lane + pal.normal(0, 0.12)), 0.0 if side < 0 else math.pi)
                along += max(6.5, gap * pal.uniform(0.5, 1.8))


def _verge(layout: SceneLayout, road: Road) -> None:
    """Hedges, walls, bushes, grass and trees 0.5 to 12 m beyond the pavement."""
    pal, edge = layout.pal, road.half + road.walk
    stock: list[SceneMesh] = [tree(pal, detail=0.6), tree(pal, detail=0.5), bush(pal), bush(pal), grass(pal, 50)]
    thick = pal.uniform(0.0, 1.0)
    for side in (-1, 1):
        for along in np.arange(-road.length * 0.7, road.length * 0.7, 5.0):
            if road.crossed(along, 3):
                continue
            if pal.chance(0.3 * thick):
                kind = pal.pick(("hedge", "hedge", "wall", "boards", "bars", "pickets"))
                x, y, turn = road.at(along, side * (edge + 0.35))
                layout.put(made(fence, pal, 4.9, kind=kind), x, y, 0, turn + math.pi / 2)
            for _ in range(pal.count(1, 4) if pal.chance(thick) else 0):
                x, y, _turn = road.at(along + pal.normal(0, 2), side * (edge + pal.log_uniform(0.8, 12)))
                layout.put(pal.pick(stock), x, y, 0, pal.angle(), pal.uniform(0.5, 1.3))


class _Bank:
    """Ground that rises or falls beside the road, the same all along it: the height over the distance aside."""

    def __init__(self, pal: Palette, edge: float) -> None:
        self.aside = edge + np.array([0.0, 1.5, 5.0, 12.0, 30.0, 90.0])
        slope = pal.pick((0.0, 0.05, 0.12, -0.05)) * pal.rng.uniform(0.3, 1.6, len(self.aside) - 1)
        rises = slope * np.minimum(np.diff(self.aside), 15.0)
        self.heights = np.concatenate([[0.0], np.cumsum(rises)])

    def z(self, aside: float) -> float:
        """Height at a distance from the middle of the road."""
        return float(np.interp(abs(aside), self.aside, self.heights))


def _wood(layout: SceneLayout, road: Road, side: int) -> None:
    """A lawn or field that a wood, a park or a few gardens end, 6 to 60 m from the road."""
    pal = layout.pal
    edge = road.half + road.walk
    bank, ground, mb = _Bank(pal, edge), pal.ground(), MeshBuilder()
    for part in road.stretches():
        strips = [road.strip(side * a, side * a, z, *part)[0] for a, z in zip(bank.aside, bank.heights, strict=True)]
        for near, far in pairwise(strips):
            mb.ribbon(near, far, ground)
    layout.put_builder(mb)
    stock: list[SceneMesh] = []
    for _ in range(pal.count(3, 5)):
        stock.append(made(conifer if pal.chance(0.2) else crowned, pal, pal.uniform(6, 16), 300))
    shrubs = [bush(pal), bush(pal)]
    first, ranks = edge + pal.log_uniform(6, 50), pal.count(1, 4)
    reach, open_share = road.length * 0.9, pal.pick((0.0, 0.0, 0.1, 0.4))
    pitch = max(pal.uniform(2.2, 5), 2 * reach * ranks / _MOST_TREES)
    for rank in range(ranks):
        for along in np.arange(-reach, reach, pitch * (1 + 0.3 * rank)):
            aside = side * (first + rank * 5 + abs(pal.normal(0, 2.5)))
            if road.crossed(along, 5) or pal.chance(open_share):
                continue
            x, y, _turn = road.at(along + pal.normal(0, 1.2), aside)
            layout.put(pal.pick(stock), x, y, bank.z(aside) - 0.3, pal.angle(), pal.uniform(0.7, 1.25))
    for _ in range(pal.count(0, 25)):
        aside = side * (edge + pal.uniform(2, first - edge + 3))
        x, y, _turn = road.at(pal.uniform(-0.8, 0.8) * road.length, aside)
        plant = pal.pick((*shrubs, *shrubs, stock[0]))
        layout.put(plant, x, y, bank.z(aside) - 0.05, pal.angle(), pal.uniform(0.4, 1.0))


def _people(layout: SceneLayout, road: Road) -> None:
    """Walkers on the pavements and crossing, cyclists' machines, bins and boxes at the kerb."""
    pal = layout.pal
    walkers = [person_mesh(pal) for _ in range(4)]
    for _ in range(pal.count(0, 14)):
        along = pal.normal(0, 0.35) * road.length
        aside = pal.sign() * (road.half + pal.uniform(0.2, 0.95) * road.walk)
        if pal.chance(0.15):
            aside = pal.uniform(-1, 1) * road.half
        x, y, _turn = road.at(along, aside)
        if layout.free(x, y, 0.3) and not (pal.chance(0.4) and layout.put_model(PEOPLE, x, y, 0.05, pal.angle())):
            layout.put(pal.pick(walkers), x, y, 0.12 if abs(aside) > road.half else 0.0, pal.angle(), radius=0.3)
    for _ in range(pal.count(0, 8)):
        side = pal.sign()
        x, y, turn = road.at(pal.normal(0, 0.4) * road.length, side * (road.half + pal.uniform(0.3, 1.0)))
        layout.put(pal.pick((bicycle, pole, street_thing, street_thing))(pal), x, y, 0.12, turn + side * math.pi / 2)


def driving(pal: Palette) -> Scene:
    """City street, suburb, country road, highway or a road by a wood with traffic, from a car's roof or mirrors."""
    layout = SceneLayout("driving", pal)
    style = pal.pick(_STYLES)
    rural = style in ("rural", "highway")
    half, length = pal.uniform(*_HALF_WIDTH[style]), pal.uniform(60, 120)
    crossing = pal.uniform(-0.4, 0.4) * length if pal.chance(0.4) and style != "highway" else None
    road = Road(length, half, pal.uniform(1.2, 4.0), pal.pick((0.0, 0.0, pal.normal(0, 0.0015))), crossing)
    road_surface(layout, road, rural)
    blocks(layout, road, pal.uniform(*_DENSE[style]))
    if pal.chance(0.7):
        roadside(layout, road, rural)
    woods = [side for side in (-1, 1) if pal.chance(_WOODS[style])]
    for side in woods:
        _wood(layout, road, side)
    if not woods and (not rural or pal.chance(0.5)):
        _verge(layout, road)
    parked = not rural and half > 3.6 and pal.chance(0.75)
    lanes = _lanes(half, parked)
    _vehicles(layout, road, lanes, parked, (25.0, 50.0, 100.0) if style == "wooded" else (7.5, 14.0, 30.0, 60.0))
    if not rural:
        _people(layout, road)
    for side in (-1, 1) if style == "highway" else ():
        barrier = made(fence, pal, 2 * length, pal.uniform(0.8, 4), pal.pick(("barrier", "barrier", "wall")))
        if road.curve == 0:
            layout.put(barrier, side * (half + 0.7), 0, 0, side * math.pi / 2)
    if pal.chance(0.35):
        hills(layout, pal.uniform(250, 900))
    layout.outdoors()
    return layout.finish(lambda rng: _car_camera(Dice(rng), layout, road, lanes))


_HEADINGS = (*(0.0,) * 5, *(math.pi,) * 2, *(1.0, 1.57, 1.57, 2.1) * 2)
"""Ahead, behind, and to the front, middle and rear of either side."""


def _car_camera(dice: Dice, layout: SceneLayout, road: Road, lanes: list[float]) -> SceneCamera:
    """A camera on a car that drives in a free place of its lane."""
    for _ in range(12):
        ahead = dice.sign()
        aside = ahead * (dice.pick(lanes) + dice.normal(0, 0.25))
        x, y, turn = road.at(-ahead * dice.uniform(-0.3, 0.7) * road.length, aside)
        if layout.free(x, y, 1.5):
            break
    heading = dice.pick(_HEADINGS) * dice.sign()
    yaw = math.pi / 2 * ahead + turn + heading + dice.normal(0, 0.06)
    aside_view = abs(math.sin(heading)) > 0.5
    fov = dice.uniform(60, 100) if aside_view else dice.uniform(42, 95)
    return SceneCamera(
        (x, y, dice.uniform(1.2, 2.0)),
        yaw,
        dice.normal(-0.05 if aside_view else -0.02, 0.04),
        dice.normal(0, 0.012),
        math.radians(fov),
        0.9,
    )
