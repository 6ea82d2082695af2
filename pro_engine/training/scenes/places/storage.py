"""Rooms full of things: cellars, garages, workshops, attics, and living rooms with hardly a free spot."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..parts.builder import MeshBuilder, facing, placement
from ..parts.dice import Dice
from ..parts.layout import INDOOR, SceneLayout, look, usual_roll
from ..parts.random_materials import Palette
from ..parts.scene import Scene, SceneCamera
from ..parts.stacking import Heap
from ..things.furniture import FURNITURE, cabinet, chair, curtain, pile, shelf, table
from ..things.room_shell import RoomSize, Wall, daylight, shell
from ..things.workplaces import strew
from .indoor import standpoint

_PASSAGE_M = 0.55
"""Free ground kept around the middle of the room, to walk and to look from."""


def _cartons(pal: Palette) -> MeshBuilder:
    """Boxes on one another, each a little out of line."""
    mb, z, side = MeshBuilder(), 0.0, pal.uniform(0.3, 0.7)
    card = pal.pick((pal.plain("natural"), pal.any()))
    for _ in range(pal.count(1, 5)):
        high = side * pal.uniform(0.4, 0.9)
        size = (side * pal.uniform(0.75, 1.1), side * pal.uniform(0.6, 1.0), high)
        mb.box(
            (pal.normal(0, 0.03), pal.normal(0, 0.03), z + high / 2),
            size,
            card if pal.chance(0.6) else pal.any(),
            pal.normal(0, 0.15),
        )
        z += high
    return mb


def _leaning(pal: Palette) -> MeshBuilder:
    """Planks, panels, a ladder or pipes that lean on the wall behind (+y)."""
    mb, lean = MeshBuilder(), pal.uniform(0.08, 0.35)
    kind, count = pal.pick(("planks", "panel", "ladder", "poles")), pal.count(1, 5)
    high = pal.uniform(0.8, 2.1)
    foot, top = -high * math.sin(lean), high * math.cos(lean)
    material = pal.pick((pal.wood(), pal.metal(), pal.any()))
    if kind == "poles":
        for _ in range(count):
            x = pal.normal(0, 0.15)
            mb.cylinder(
                (x, foot * pal.uniform(0.6, 1), 0),
                (x + pal.normal(0, 0.1), 0, top * pal.uniform(0.7, 1)),
                pal.log_uniform(0.008, 0.05),
                material,
                sides=8,
            )
        return mb
    if kind == "ladder":
        for x in (-0.2, 0.2):
            mb.cylinder((x, foot, 0), (x, 0, top), 0.02, material, sides=6)
        for share in np.arange(0.1, 1.0, 0.28 / high):
            y, z = foot * (1 - share), top * share
            mb.cylinder((-0.2, y, z), (0.2, y, z), 0.014, material, sides=6)
        return mb
    wide = pal.uniform(0.08, 0.25) if kind == "planks" else pal.uniform(0.5, 1.4)
    for index in range(count if kind == "planks" else 1):
        x = (index - count / 2) * wide * 1.2 if kind == "planks" else 0.0
        near, up = np.array([(x - wide / 2, foot, 0), (x + wide / 2, foot, 0)]), (0.0, -foot, top * pal.uniform(0.8, 1))
        corners = np.concatenate([near, near[::-1] + up])
        mb.add(
            np.concatenate([corners, corners + np.array((0, 0.02, 0))]),
            [(0, 1, 2, 3), (7, 6, 5, 4), (0, 4, 5, 1), (1, 5, 6, 2), (2, 6, 7, 3), (3, 7, 4, 0)],
            material,
        )
    return mb


def _bench(pal: Palette) -> MeshBuilder:
    """A table that is heaped with things."""
    mb = MeshBuilder()
    wide, deep, high = pal.uniform(0.8, 2.2), pal.uniform(0.5, 0.85), pal.uniform(0.6, 0.95)
    table(mb, pal, wide, deep, high, 0)
    strew(mb, pal, Heap(pal, wide - 0.06, deep - 0.06, high), pal.count(6, 22), (0.06, 0.4))
    return mb


def _barrel(pal: Palette) -> MeshBuilder:
    """Barrel, boiler, bin or bucket."""
    mb, radius, high = MeshBuilder(), pal.uniform(0.12, 0.35), pal.log_uniform(0.25, 1.7)
    mb.cylinder((0, 0, 0), (0, 0, high), radius * pal.uniform(0.7, 1.0), pal.any(), end_radius=radius, sides=24)
    if pal.chance(0.4):
        mb.cylinder((0, 0, high), (0, 0, high + pal.uniform(0.3, 1.5)), pal.uniform(0.02, 0.1), pal.metal(), sides=10)
    return mb


def _clothes(pal: Palette) -> MeshBuilder:
    """A rail with cloth hanging from it."""
    mb, wide, high = MeshBuilder(), pal.uniform(0.6, 1.6), pal.uniform(1.2, 1.9)
    for x in (-wide / 2, wide / 2):
        mb.cylinder((x, 0, 0), (x, 0, high), 0.015, pal.metal(), sides=8)
    mb.cylinder((-wide / 2, 0, high), (wide / 2, 0, high), 0.015, pal.metal(), sides=8)
    for _ in range(pal.count(1, 6)):
        with mb.at(placement(pal.uniform(-0.4, 0.4) * wide, 0, high * pal.uniform(0.0, 0.45), pal.uniform(-1.2, 1.2))):
            curtain(mb, pal, pal.uniform(0.25, 0.6), high * 0.55)
    return mb


_BY_WALLS = (
    "shelf",
    "shelf",
    "cartons",
    "cartons",
    "leaning",
    "bench",
    "bench",
    "barrel",
    "cabinet",
    "furniture",
    "model",
    "model",
    "clothes",
)
_MAKERS = {"cartons": _cartons, "leaning": _leaning, "bench": _bench, "barrel": _barrel, "clothes": _clothes}


def _thing(pal: Palette, kind: str) -> MeshBuilder:
    if kind in _MAKERS:
        return _MAKERS[kind](pal)
    mb = MeshBuilder()
    {"shelf": shelf, "cabinet": cabinet, "pile": pile, "chair": chair}.get(kind, pal.pick(FURNITURE)[0])(mb, pal)
    return mb


def _fill_wall(layout: SceneLayout, wall: Wall, size: RoomSize) -> None:
    """Things side by side along a wall, with smaller ones before them."""
    pal, yaw, at = layout.pal, facing(wall.normal), _gap(layout.pal)
    while at < wall.length - 0.2:
        kind = pal.pick(_BY_WALLS)
        found = pal.model(INDOOR, min(2.2, size.height)) if kind == "model" else None
        mesh = found[0] if found is not None else _thing(pal, kind).build()
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        wide, deep = float(high[0] - low[0]), float(high[1] - low[1])
        x, y = wall.point(at + wide / 2, float(high[1]) + 0.03)
        fits = at + wide < wall.length and high[2] < size.height and deep < min(size.width, size.depth) * 0.45
        fits = fits and wall.clear(at, at + wide, bool(high[2] < 1.2)) and math.hypot(x, y) > _PASSAGE_M + deep / 2
        if fits and layout.free(x, y, min(wide, deep) * 0.3):
            layout.put(mesh, x, y, 0, yaw, radius=min(wide, deep) / 2)
            if pal.chance(0.4):
                spot = wall.point(at + wide * pal.uniform(0, 1), deep + pal.uniform(0.2, 0.5))
                layout.put(
                    _thing(pal, pal.pick(("cartons", "barrel", "pile"))).build(),
                    *spot,
                    0,
                    pal.angle(),
                    scale=pal.uniform(0.4, 0.9),
                    radius=0.25,
                )
        at += wide + _gap(pal) if fits else 0.3


def _gap(pal: Palette) -> float:
    """Metres of free wall between two things."""
    return pal.uniform(0.0, 0.25) if pal.chance(0.8) else pal.uniform(0.3, 1.0)


def _pipes(layout: SceneLayout, size: RoomSize) -> None:
    """Posts that hold the ceiling, and pipes and ducts under it."""
    pal, mb = layout.pal, MeshBuilder()
    for _ in range(pal.count(0, 3)):
        x, y = pal.uniform(-0.4, 0.4) * size.width, pal.uniform(-0.4, 0.4) * size.depth
        radius = pal.uniform(0.04, 0.2)
        if layout.free(x, y, radius):
            mb.cylinder((x, y, 0), (x, y, size.height), radius, pal.any(), sides=pal.pick((4, 20)), caps=False)
            layout.take(x, y, radius)
    for _ in range(pal.count(0, 6)):
        z, radius = size.height - pal.uniform(0.06, 0.4), pal.log_uniform(0.015, 0.15)
        if pal.chance(0.5):
            y = pal.uniform(-0.48, 0.48) * size.depth
            ends = (-size.width / 2, y, z), (size.width / 2, y, z)
        else:
            x = pal.uniform(-0.48, 0.48) * size.width
            ends = (x, -size.depth / 2, z), (x, size.depth / 2, z)
        mb.cylinder(*ends, radius, pal.metal() if pal.chance(0.6) else pal.any(), sides=14, caps=False)
    layout.put_builder(mb)


def storage(pal: Palette) -> Scene:
    """A room with things along all walls and on much of its floor, often dim."""
    layout = SceneLayout("storage", pal)
    size = RoomSize(pal.uniform(2.4, 6.0), pal.uniform(2.8, 8.0), pal.uniform(2.0, 3.0), "room")
    walls = shell(layout, size)
    for wall in walls:
        _fill_wall(layout, wall, size)
    _pipes(layout, size)
    for _ in range(pal.count(3, 6 + int(size.width * size.depth / 2))):
        x, y = pal.uniform(-0.42, 0.42) * size.width, pal.uniform(-0.42, 0.42) * size.depth
        if math.hypot(x, y) > _PASSAGE_M and layout.free(x, y, 0.3):
            thing = _thing(pal, pal.pick(("cartons", "pile", "chair", "barrel", "bench", "furniture", "clothes")))
            layout.put(thing.build(), x, y, 0, pal.angle(), scale=pal.uniform(0.6, 1.0), radius=0.35)
    daylight(layout, size, walls)
    if pal.chance(0.5):  # one bulb, and corners that it hardly reaches
        scene, level = layout.scene, pal.log_uniform(0.15, 0.6)
        red, green, blue = scene.ambient
        scene.ambient = (level * red, level * green, level * blue)
        scene.lights = [replace(lamp, power=lamp.power * pal.log_uniform(0.2, 1.2)) for lamp in scene.lights]
    return layout.finish(lambda rng: past_something(Dice(rng), layout, size))


def past_something(dice: Dice, layout: SceneLayout, size: RoomSize) -> SceneCamera:
    """A view through a room past a thing that is near and cut off by the picture's edge, in half of the cases."""
    x, y = standpoint(dice, layout, size)
    z = min(size.height - 0.25, max(0.3, dice.pick((dice.normal(1.5, 0.2), dice.normal(1.2, 0.3)))))
    fov = dice.uniform(45, 85)
    near = sorted(layout.discs, key=lambda disc: math.hypot(disc[0] - x, disc[1] - y))[:4]
    if near and dice.chance(0.5):
        spot = dice.pick(near)
        aside = dice.sign() * math.radians(fov) * dice.uniform(0.3, 0.6)
        yaw = math.atan2(spot[1] - y, spot[0] - x) + aside
    else:
        yaw = math.atan2(-y, -x) + dice.normal(0, 0.4)
    target = (x + math.cos(yaw), y + math.sin(yaw), z)
    return look((x, y, z), target, fov=fov, roll=usual_roll(dice), tilt=dice.normal(-0.15, 0.2), min_distance=0.3)
