"""Courtyards, terraces and gardens behind houses: walls near, furniture and plants between, the sky above."""

from __future__ import annotations

import math

import numpy as np

from ..parts.builder import MeshBuilder, made, placement
from ..parts.dice import Dice
from ..parts.layout import EXTERIOR, PEOPLE, SceneLayout, look, usual_roll
from ..parts.random_materials import Palette
from ..parts.scene import Scene, SceneCamera, SceneMesh
from ..things.furniture import chair, clutter, draw_up
from ..things.people import animal, person_mesh
from ..things.plants import bush, flower, grass, potted, tree
from ..things.street_things import bicycle, building, fence, street_thing


def _seats(pal: Palette) -> SceneMesh:
    """Garden table with chairs or benches, often under a parasol."""
    mb, wood = MeshBuilder(), pal.wood()
    wide, deep = pal.uniform(0.7, 2.0), pal.uniform(0.7, 0.95)
    if pal.chance(0.3):
        mb.cylinder((0, 0, 0.71), (0, 0, 0.74), deep / 2, wood, sides=30)
        mb.cylinder((0, 0, 0), (0, 0, 0.71), 0.035, pal.metal())
        wide = deep
    else:
        slats = max(4, round(deep / 0.11))
        ys = deep * ((np.arange(slats) + 0.5) / slats - 0.5)
        mb.boxes([(0, y, 0.73) for y in ys], (wide, deep / slats - 0.008, 0.025), wood)
        mb.posts((wide * 0.42, deep * 0.4, 0.36), (0.06, 0.06, 0.72), wood)
    clutter(mb, pal, wide * 0.8, deep * 0.8, 0.745, 8, (0.08, 0.25))
    seat, bench = made(chair, pal), pal.chance(0.25)
    for side in (-1, 1):
        if bench:
            y = side * (deep / 2 + 0.3)
            mb.box((0, y, 0.43), (wide, 0.3, 0.05), wood)
            mb.boxes([(x * wide * 0.4, y, 0.21) for x in (-1, 1)], (0.06, 0.28, 0.41), wood)
            continue
        for x in np.linspace(-0.28, 0.28, 2 if wide > 1.1 else 1) * wide:
            if pal.chance(0.85):
                draw_up(mb, pal, seat, x, side * deep / 2, (0.15, 0.6), 0.3)
    if pal.chance(0.4):
        reach, high = pal.uniform(1.1, 1.8), pal.uniform(2.2, 2.7)
        mb.cylinder((0, 0, 0), (0, 0, high), 0.022, wood, sides=8)
        mb.lathe([(0, high), (reach, high - 0.45), (reach, high - 0.6)], pal.cloth(), sides=8, smooth=False)
    return mb.build()


def _pergola(pal: Palette, width: float, depth: float) -> SceneMesh:
    """Posts and beams, open to the sky or partly overgrown."""
    mb, wood, high = MeshBuilder(), pal.wood(), pal.uniform(2.2, 2.7)
    mb.posts((width / 2, depth / 2, high / 2), (0.12, 0.12, high), wood)
    mb.boxes([(0, y * depth / 2, high) for y in (-1, 1)], (width + 0.4, 0.08, 0.16), wood)
    xs = np.arange(-width / 2, width / 2 + 0.1, pal.uniform(0.3, 0.7))
    mb.boxes([(x, 0, high + 0.12) for x in xs], (0.06, depth + 0.5, 0.12), wood)
    if pal.chance(0.5):
        spots = pal.rng.uniform((-width / 2, -depth / 2, high), (width / 2, depth / 2, high + 0.35), (500, 3))
        mb.cards(spots, 0.13, pal.leaf(), pal.rng)
    return mb.build()


def _bed(mb: MeshBuilder, pal: Palette, layout: SceneLayout, x: float, y: float, size: tuple[float, float]) -> None:
    """Raised or flat planting bed with shrubs and flowers."""
    rim = pal.pick((0.05, pal.uniform(0.2, 0.6)))
    mb.box((x, y, rim / 2), (*size, rim), pal.facade())
    mb.box((x, y, rim / 2 + 0.01), (size[0] - 0.16, size[1] - 0.16, rim + 0.01), pal.ground())
    stock = [flower(pal), bush(pal), grass(pal, 40)]
    for _ in range(pal.count(3, 14)):
        layout.put(
            pal.pick(stock),
            x + pal.uniform(-0.42, 0.42) * size[0],
            y + pal.uniform(-0.4, 0.4) * size[1],
            rim,
            pal.angle(),
            pal.uniform(0.35, 0.9),
        )


def _steps(mb: MeshBuilder, pal: Palette, x: float, y: float, turn: float) -> None:
    """A flight of steps up to a landing, with or without a rail."""
    count, stone, wide = pal.count(2, 6), pal.road(), pal.uniform(1.0, 2.4)
    with mb.at(placement(x, y, 0, turn)):
        for index in range(count):
            mb.box((0, -0.3 * (count - index), 0.08 * (index + 1)), (wide, 0.31, 0.16 * (index + 1)), stone)
        mb.box((0, 0.5, 0.08 * (count + 1)), (wide + 0.4, 1.3, 0.16 * (count + 1)), stone)
        if pal.chance(0.5):
            rail = pal.metal()
            for side in (-wide / 2, wide / 2):
                mb.tube([(side, -0.3 * count, 0.9), (side, 0, 0.9 + 0.16 * count)], 0.02, rail)
                mb.cylinders(
                    [(side, -0.3 * count, 0), (side, 0, 0)],
                    [(side, -0.3 * count, 0.9), (side, 0, 0.9 + 0.16 * count)],
                    0.015,
                    0.015,
                    rail,
                )


def _borders(layout: SceneLayout, width: float, depth: float, houses: int) -> None:
    """Houses on some sides of the yard, fences, walls or hedges on the others."""
    pal = layout.pal
    for turn in range(4):
        angle, long, away = turn * math.pi / 2, *((width, depth) if turn % 2 == 0 else (depth, width))
        out = (math.sin(angle), -math.cos(angle))  # the side of the yard that the object's back is turned to
        if turn < houses:
            deep = pal.uniform(6, 10)
            reach = away / 2 + deep / 2
            house = building(pal, long + 2, deep, pal.uniform(3, 14))
            layout.put(house, -out[0] * reach, -out[1] * reach, 0, angle)
        elif pal.chance(0.85):
            layout.put(made(fence, pal, long, pal.uniform(0.8, 2.2)), -out[0] * away / 2, -out[1] * away / 2, 0, angle)
    crowns = [tree(pal, detail=0.6) for _ in range(2)] + [bush(pal)]
    for _ in range(pal.count(0, 12)):
        bearing, far = pal.angle(), pal.uniform(1.1, 4.0) * max(width, depth) / 2 + 2
        x, y = far * math.cos(bearing), far * math.sin(bearing)
        if abs(x) > width / 2 + 11 or abs(y) > depth / 2 + 11 or houses == 0:
            layout.put(pal.pick(crowns), x, y, 0, pal.angle(), pal.uniform(0.6, 1.3))


def yard(pal: Palette) -> Scene:
    """A paved or grown yard of 5 to 18 m."""
    layout, mb = SceneLayout("yard", pal), MeshBuilder()
    width, depth = pal.uniform(5, 18), pal.uniform(5, 14)
    mb.plane((900, 900), -0.02, pal.ground())
    mb.plane((width, depth), 0, pal.pick((pal.floor(), pal.road(), pal.wood())))
    if pal.chance(0.4):
        lawn = (width * pal.uniform(0.3, 0.7), depth * pal.uniform(0.3, 0.7), 0.02)
        mb.box((pal.uniform(-0.2, 0.2) * width, pal.uniform(-0.2, 0.2) * depth, 0.01), lawn, pal.ground())
    houses = pal.pick((1, 1, 2, 2, 3, 4))
    _borders(layout, width, depth, houses)
    for _ in range(pal.count(0, 3)):
        size = (pal.uniform(0.6, 2.5), pal.uniform(0.5, 1.2))
        x, y = pal.sign() * (width / 2 - size[0] / 2 - 0.1), pal.uniform(-0.4, 0.4) * depth
        if layout.free(x, y, max(size) / 2):
            _bed(mb, pal, layout, x, y, size)
            layout.take(x, y, max(size) / 2)
    if pal.chance(0.35):
        x = pal.uniform(-0.3, 0.3) * width
        _steps(mb, pal, x, depth / 2 - 1.1, 0)
        layout.take(x, depth / 2 - 1.1, 2.0)
    layout.put_builder(mb)
    if pal.chance(0.35):
        layout.put(
            _pergola(pal, pal.uniform(2.2, 4), pal.uniform(2, 3)),
            pal.uniform(-0.2, 0.2) * width,
            pal.uniform(-0.2, 0.2) * depth,
            0,
            pal.pick((0.0, math.pi / 2)),
        )
    _things(layout, width, depth)
    layout.outdoors()
    return layout.finish(lambda rng: _yard_camera(Dice(rng), layout, width, depth))


def _things(layout: SceneLayout, width: float, depth: float) -> None:
    """Seats, pots, trees, bicycles, people and whatever else stands about."""
    pal, pots = layout.pal, [made(potted, layout.pal) for _ in range(3)]
    kinds = ("seats", "seats", "pot", "pot", "pot", "tree", "bicycle", "thing", "model", "person", "animal", "chair")
    for _ in range(pal.count(4, 8 + int(width * depth / 7))):
        x, y = pal.uniform(-0.46, 0.46) * width, pal.uniform(-0.46, 0.46) * depth
        kind, turn = pal.pick(kinds), pal.angle()
        reach = {"seats": 1.3, "tree": 0.5, "thing": 1.0, "model": 0.8, "bicycle": 0.6}.get(kind, 0.4)
        if not layout.free(x, y, reach):
            continue
        if kind == "seats":
            layout.put(_seats(pal), x, y, 0, turn, radius=1.2)
        elif kind == "tree":
            layout.put(tree(pal, height=pal.uniform(2.5, 7), detail=0.7), x, y, 0, turn, radius=0.5)
        elif kind == "model":
            layout.put_model(EXTERIOR, x, y, 0, turn, max_size=3.0, solid=True)
        elif kind == "person":
            if not (pal.chance(0.5) and layout.put_model(PEOPLE, x, y, 0, turn, solid=True)):
                layout.put(person_mesh(pal), x, y, 0, turn, radius=0.35)
        elif kind == "animal":
            layout.put(animal(pal, size=pal.uniform(0.2, 0.6)), x, y, 0, turn, radius=0.35)
        elif kind in ("bicycle", "thing"):
            layout.put(bicycle(pal) if kind == "bicycle" else street_thing(pal), x, y, 0, turn, radius=reach * 0.8)
        elif kind == "chair":
            layout.put(made(chair, pal), x, y, 0, turn, radius=0.35)
        else:
            layout.put(pal.pick(pots), x, y, 0, turn, pal.uniform(0.6, 1.4), radius=0.35)


def _yard_camera(dice: Dice, layout: SceneLayout, width: float, depth: float) -> SceneCamera:
    """From a free place in the yard across it, or at something near, at times from a window above."""
    for _ in range(12):
        x, y = dice.uniform(-0.47, 0.47) * width, dice.uniform(-0.47, 0.47) * depth
        if layout.free(x, y, 0.3):
            break
    z = dice.pick((dice.normal(1.55, 0.15), dice.normal(1.55, 0.15), dice.uniform(0.4, 1.2), dice.uniform(2.2, 5)))
    spot = (-x * dice.uniform(0.2, 1), -y * dice.uniform(0.2, 1), dice.uniform(0.3, 1.8))
    if layout.discs and dice.chance(0.4):
        near = dice.pick(layout.discs)
        spot = (near[0], near[1], dice.uniform(0.3, 1.2))
    return look(
        (x, y, z),
        spot,
        fov=dice.uniform(45, 90),
        roll=usual_roll(dice),
        turn=dice.normal(0, 0.2),
        tilt=dice.normal(0, 0.08),
        min_distance=0.4,
    )
