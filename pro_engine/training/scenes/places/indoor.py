"""Furnished rooms: living rooms, offices, kitchens, halls and corridors."""

from __future__ import annotations

import math

import numpy as np

from ..parts.builder import MeshBuilder, facing, made
from ..parts.dice import Dice
from ..parts.layout import INDOOR, PEOPLE, SceneLayout, look, usual_roll
from ..parts.random_materials import Palette
from ..parts.scene import Scene, SceneCamera
from ..things.furniture import FURNITURE, chair, desk, draw_up, pile, rug, shelf, table
from ..things.people import animal, person_mesh
from ..things.plants import potted
from ..things.room_shell import RoomSize, Wall, daylight, shell


def _room_size(pal: Palette) -> RoomSize:
    style = pal.pick(("room",) * 6 + ("small", "corridor", "hall"))
    if style == "corridor":
        return RoomSize(pal.uniform(1.4, 3.2), pal.uniform(8, 28), pal.uniform(2.3, 3.5), style)
    if style == "hall":
        return RoomSize(pal.uniform(8, 22), pal.uniform(8, 26), pal.uniform(3, 8), style)
    if style == "small":
        return RoomSize(pal.uniform(1.8, 3.2), pal.uniform(2.0, 3.6), pal.uniform(2.3, 2.8), style)
    return RoomSize(pal.uniform(3.2, 7), pal.uniform(3.2, 8), pal.uniform(2.3, 3.2), style)


def _furnish_wall(layout: SceneLayout, wall: Wall, size: RoomSize, density: float) -> None:
    pal, yaw = layout.pal, facing(wall.normal)
    at = 0.5
    while at < wall.length - 0.5:
        if not pal.chance(density):
            at += pal.uniform(0.4, 1.2)
            continue
        if size.style != "corridor" and pal.chance(0.45):
            found = pal.model(INDOOR, min(3.2, size.height))
            if found is not None:
                mesh, extent = found
                wide, deep = float(extent[0]), float(extent[1])
                at += wide / 2
                x, y = wall.point(at, deep / 2 + 0.03)
                fits = at + wide / 2 < wall.length and wall.clear(at - wide / 2, at + wide / 2, True)
                if fits and layout.free(x, y, deep / 2):
                    turn = pal.pick((0.0, 0.0, pal.normal(0, 0.3)))
                    layout.put(mesh, x, y, 0, yaw + turn, radius=max(wide, deep) / 2)
                at += wide / 2 + pal.uniform(0.05, 0.6)
                continue
        maker, out = pal.pick(FURNITURE)
        if size.width < 2.5 and out > 0.4:
            maker, out = shelf, 0.25
        mesh = made(maker, pal) if pal.chance(0.85) else made(potted, pal)
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        wide = float(high[0] - low[0])
        at += wide / 2
        x, y = wall.point(at, float(high[1]) + 0.02)
        shallow = float(high[1] - low[1]) < min(size.width, size.depth) * 0.6
        fits = at + wide / 2 < wall.length and high[2] < size.height and shallow
        fits = fits and wall.clear(at - wide / 2, at + wide / 2, bool(high[2] < 1.2))
        if fits and layout.free(x, y, min(wide, 0.6) / 2):
            layout.put(mesh, x, y, 0, yaw, radius=max(wide * 0.5, out))
        at += wide / 2 + pal.uniform(0.05, 0.6)


def _dining(layout: SceneLayout, x: float, y: float) -> None:
    """Table with chairs around."""
    pal, yaw = layout.pal, layout.pal.angle()
    wide, deep = pal.uniform(0.7, 1.9), pal.uniform(0.6, 1.0)
    mb = MeshBuilder()
    table(mb, pal, wide, deep, pal.pick((0.42, 0.74, 0.75)))
    seat = made(chair, pal)
    for side in (-1, 1):
        for offset in np.linspace(-0.3, 0.3, pal.count(1, 2)) * wide:
            if pal.chance(0.75):
                draw_up(mb, pal, seat, offset, side * deep / 2, (0.05, 0.4), 0.2)
    layout.put(mb.build(), x, y, 0, yaw, radius=max(wide, deep + 0.8) / 2)


_ON_FLOORS = (
    *("dining", "dining", "model", "model", "model", "chair", "desk", "person", "person"),
    *("rug", "pile", "pile", "animal", "column", "plant"),
)


def _fill_floor(layout: SceneLayout, size: RoomSize) -> None:
    pal = layout.pal
    for _ in range(pal.count(1, 4 + int(min(130, size.width * size.depth) / 4))):
        x, y = pal.uniform(-0.42, 0.42) * size.width, pal.uniform(-0.42, 0.42) * size.depth
        kind = pal.pick(_ON_FLOORS)
        if kind == "rug":
            layout.put(made(rug, pal), x, y, pal.uniform(0, 0.004), pal.angle())
        elif kind == "model":
            largest = min(size.width, size.depth, size.height) * 0.8
            layout.put_model(INDOOR, x, y, 0, pal.angle(), max_size=largest, solid=True)
        elif not layout.free(x, y, 0.9 if kind in ("dining", "desk") else 0.4):
            continue
        elif kind == "dining" and min(size.width, size.depth) > 2.4:
            _dining(layout, x, y)
        elif kind == "desk" and min(size.width, size.depth) > 2.4:
            layout.put(made(desk, pal), x, y, 0, pal.angle(), radius=0.9)
        elif kind == "person":
            if not (pal.chance(0.5) and layout.put_model(PEOPLE, x, y, 0, pal.angle(), solid=True)):
                layout.put(person_mesh(pal), x, y, 0, pal.angle(), radius=0.35)
        elif kind == "animal" and pal.chance(0.4):
            layout.put(animal(pal, size=pal.uniform(0.2, 0.6)), x, y, 0, pal.angle(), radius=0.4)
        elif kind == "column" and size.style == "hall":
            mb = MeshBuilder()
            thick = pal.uniform(0.25, 0.8)
            mb.cylinder((0, 0, 0), (0, 0, size.height), thick / 2, pal.wall(), sides=pal.pick((4, 20)), caps=False)
            layout.put(mb.build(), x, y, 0, math.pi / 4, radius=thick * 0.7)
        else:
            maker = {"chair": chair, "plant": potted}.get(kind, pile)
            layout.put(made(maker, pal), x, y, 0, pal.angle(), radius=0.4)


def room(pal: Palette) -> Scene:
    """A furnished room, seen from inside across its length."""
    layout, size = SceneLayout("room", pal), _room_size(pal)
    walls = shell(layout, size)
    density = pal.uniform(0.2, 0.6) if size.style == "corridor" else pal.uniform(0.6, 1.0)
    for wall in walls:
        if size.style != "corridor" or wall.length > 4:
            _furnish_wall(layout, wall, size, density)
    _fill_floor(layout, size)
    daylight(layout, size, walls)
    return layout.finish(lambda rng: room_camera(Dice(rng), layout, size))


def standpoint(dice: Dice, layout: SceneLayout, size: RoomSize) -> tuple[float, float]:
    """Where someone can stand in a room, or, where it is too full for that, anywhere."""
    for _ in range(12):
        x, y = dice.uniform(-0.46, 0.46) * size.width, dice.uniform(-0.46, 0.46) * size.depth
        if layout.free(x, y, 0.15):
            break
    return x, y


def room_camera(dice: Dice, layout: SceneLayout, size: RoomSize) -> SceneCamera:
    """A view across the room from head, hand or robot height, at times down onto something near."""
    x, y = standpoint(dice, layout, size)
    z = dice.pick((dice.normal(1.5, 0.2), dice.normal(1.5, 0.2), dice.normal(1.1, 0.3), dice.uniform(0.25, 0.8)))
    z = min(size.height - 0.25, max(0.2, z))
    if layout.discs and dice.chance(0.45):
        spot = dice.pick(layout.discs)
        target = (spot[0], spot[1], dice.uniform(0.2, 1.2))
        if dice.chance(0.6):  # near it, on the side of the room's middle, as someone who works there
            away, turn = spot[2] + dice.uniform(0.4, 1.5), math.atan2(-spot[1], -spot[0]) + dice.normal(0, 0.7)
            x, y = spot[0] + away * math.cos(turn), spot[1] + away * math.sin(turn)
            x, y = (min(max(value, -0.47 * side), 0.47 * side) for value, side in ((x, size.width), (y, size.depth)))
            z = min(size.height - 0.25, dice.uniform(0.8, 1.8))
        return look(
            (x, y, z),
            target,
            fov=dice.uniform(45, 80),
            roll=usual_roll(dice),
            turn=dice.normal(0, 0.12),
            tilt=dice.normal(0, 0.08),
            min_distance=0.3,
        )
    across = (-x * dice.uniform(0.3, 1), -y * dice.uniform(0.3, 1.0))
    yaw = math.atan2(across[1] - y, across[0] - x) + dice.normal(0, 0.3)
    return SceneCamera(
        (x, y, z), yaw, dice.normal(-0.12, 0.18), usual_roll(dice), math.radians(dice.uniform(45, 95)), 0.3
    )
