"""Open country: meadows, woods, shores and mountains, with people, animals and houses in it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..parts.builder import MeshBuilder, fractal, made
from ..parts.dice import Dice
from ..parts.layout import EXTERIOR, PEOPLE, VEHICLES, SceneLayout, look, usual_roll
from ..parts.random_materials import Palette
from ..parts.scene import Material, Scene, SceneCamera, SceneMesh
from ..things.furniture import table
from ..things.people import animal, bird, person_mesh
from ..things.plants import bush, flower, grass, tree
from ..things.street_things import bicycle, building, car, fence, pole, street_thing


def hills(layout: SceneLayout, reach: float) -> None:
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
        self.water = -math.inf
        """Height of the water; below the ground where there is none."""
        self.heights = fractal(points, 6, pal.rng, 2, pal.uniform(0.35, 0.55)) * amplitude

    def dry(self, x: float, y: float) -> float:
        """Height of the ground or of the water on it."""
        return max(self.z(x, y), self.water)

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


def _wild(layout: SceneLayout, land: _Terrain) -> None:
    """Trees, bushes and rocks all over."""
    pal, half = layout.pal, land.size * 0.47
    number = pal.pick((10, 30, 60, 120, 180))
    detail = 1.0 if number <= 20 else 0.5
    stock: list[SceneMesh] = [tree(pal, detail=detail) for _ in range(pal.count(1, 4))] + [bush(pal) for _ in range(2)]
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


def _spots(layout: SceneLayout, land: _Terrain) -> list[tuple[float, float, float]]:
    """Places with something to look at; cameras aim at them."""
    pal = layout.pal
    spots: list[tuple[float, float, float]] = []
    reach = min(land.size, 80.0) * 0.3
    shrubs = [bush(pal), bush(pal), tree(pal, detail=0.7)]

    def house() -> SceneMesh:
        mb, wide, deep = MeshBuilder(), pal.uniform(5, 10), pal.uniform(5, 9)
        mb.box((0, 0, -2.0), (wide + 0.3, deep + 0.3, 4.2), pal.facade())  # the foundation evens out slopes
        mb.merge(building(pal, wide, deep, pal.uniform(3, 7)))
        layout.take(*spots[-1][:2], max(wide, deep) * 0.7)
        return mb.build()

    makers: tuple[tuple[Callable[[], SceneMesh], int, float], ...] = (
        (lambda: person_mesh(pal), 3, 1.2),
        (lambda: person_mesh(pal), 3, 1.2),
        (lambda: animal(pal), 4, 2.0),
        (lambda: animal(pal), 3, 2.0),
        (lambda: bird(pal), 5, 0.8),
        (lambda: made(fence, pal, pal.uniform(6, 16)), 1, 0.0),
        (lambda: pole(pal), 2, 6.0),
        (lambda: car(pal), 1, 0.0),
        (house, 1, 0.0),
        (lambda: bush(pal), 5, 1.5),
        (lambda: street_thing(pal), 2, 2.0),
        (lambda: bicycle(pal), 2, 1.0),
        (lambda: made(table, pal, 1.6, 0.8, 0.75), 1, 0.0),
    )
    for _ in range(pal.count(6, 15)):
        x, y = pal.uniform(-reach, reach), pal.uniform(-reach, reach)
        z = land.dry(x, y)
        spots.append((x, y, z))
        if pal.chance(0.3) and layout.put_model(pal.pick((VEHICLES, PEOPLE, EXTERIOR)), x, y, z, pal.angle()):
            continue
        maker, most, spread = pal.pick(makers)
        for _ in range(pal.count(1, most)):
            px, py = x + pal.normal(0, spread), y + pal.normal(0, spread)
            layout.put(maker(), px, py, land.z(px, py) - 0.03, pal.angle())
        for _ in range(pal.count(0, 3)):
            turn, away = pal.angle(), pal.uniform(2.5, 12)
            px, py = x + away * math.cos(turn), y + away * math.sin(turn)
            layout.put(pal.pick(shrubs), px, py, land.z(px, py) - 0.05, pal.angle(), pal.uniform(0.5, 1.3))
    return spots


def _meadow(layout: SceneLayout, land: _Terrain, spots: list[tuple[float, float, float]]) -> None:
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
    layout, land = SceneLayout("nature", pal), _Terrain(pal)
    mb = MeshBuilder()
    soil = pal.ground()
    mb.height_field(land.heights, (land.size, land.size), soil)
    low = float(land.heights.min())
    mb.plane((8000, 8000), low - 0.3, soil if pal.chance(0.5) else pal.ground())
    if pal.chance(0.3):
        water = Material(
            "noise", (0.02, 0.06, 0.08), (0.03, 0.08, 0.09), scale=0.6, reflectance=0.04, bump=0.15, bump_scale=2.0
        )
        land.water = float(np.quantile(land.heights, pal.uniform(0.1, 0.5)))
        mb.plane((6000, 6000), land.water, water)
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
        hills(layout, land.size * pal.uniform(2, 8))
    _wild(layout, land)
    spots = _spots(layout, land)
    if pal.chance(0.5):
        _meadow(layout, land, spots)
    layout.outdoors()
    return layout.finish(lambda rng: nature_camera(Dice(rng), layout, land, spots))


def nature_camera(
    dice: Dice, layout: SceneLayout, land: _Terrain, spots: list[tuple[float, float, float]]
) -> SceneCamera:
    """Mostly a view of one of the spots from a few metres, else anywhere."""
    high = dice.pick((dice.uniform(0.3, 1), 1.6, 1.6, dice.uniform(1, 2.5), dice.uniform(2, 15)))
    if dice.chance(0.85):
        x, y, z = dice.pick(spots)
        for _ in range(8):  # not inside a house
            turn, away = dice.angle(), dice.log_uniform(1.5, 15)
            px, py = x + away * math.cos(turn), y + away * math.sin(turn)
            if layout.free(px, py, 0.5):
                break
        target = (x, y, z + dice.uniform(0.3, 1.8))
        return look(
            (px, py, land.dry(px, py) + high),
            target,
            fov=dice.uniform(30, 85),
            roll=usual_roll(dice),
            turn=dice.normal(0, 0.2),
            tilt=dice.normal(0.02, 0.08),
            min_distance=0.4,
        )
    px, py = dice.uniform(-0.4, 0.4) * land.size, dice.uniform(-0.4, 0.4) * land.size
    yaw, pitch = dice.angle(), dice.normal(-0.03 - 0.02 * min(high, 8), 0.1)
    position = (px, py, land.dry(px, py) + high)
    return SceneCamera(position, yaw, pitch, usual_roll(dice), math.radians(dice.uniform(30, 85)), 0.4)
