"""Offices: rows of desks, single rooms, meeting rooms and the corridors between them."""

from __future__ import annotations

import math

import numpy as np

from ..parts.builder import MeshBuilder, facing, made, placement
from ..parts.dice import Dice
from ..parts.layout import PEOPLE, SceneLayout, usual_roll
from ..parts.random_materials import Palette
from ..parts.scene import Material, Scene, SceneCamera
from ..parts.stacking import Heap
from ..things.furniture import cabinet, draw_up, office_chair, shelf
from ..things.people import person_mesh
from ..things.plants import potted
from ..things.room_shell import RoomSize, Wall, daylight, shell
from ..things.workplaces import DESK_HEIGHT, strew, workplace
from .indoor import room_camera


def _blinds(layout: SceneLayout, walls: list[Wall]) -> None:
    """Horizontal slats or vertical strips before the windows, drawn more or less."""
    pal, mb = layout.pal, MeshBuilder()
    cloth, upright = pal.plain(pal.pick(("white", "white", "grey", "natural"))), pal.chance(0.3)
    tilt = pal.uniform(0.2, 1.3)
    for wall in walls:
        for start, end, low, high in wall.holes:
            if low < 0.02 or pal.chance(0.3):
                continue
            drawn = pal.uniform(0.15, 1.0)
            with mb.at(placement(wall.x, wall.y, 0, math.atan2(wall.along[1], wall.along[0]))):
                if upright:
                    for x in np.arange(start, start + (end - start) * drawn, 0.11):
                        mb.box((x, 0.1, (low + high) / 2), (0.105, 0.002, high - low + 0.1), cloth, tilt)
                else:
                    levels = np.arange(high - (high - low) * drawn, high, 0.05)
                    lean = 0.045 * np.array((math.cos(tilt), math.sin(tilt)))
                    for z in levels:
                        mb.ribbon(
                            [(start, 0.1, z), (end, 0.1, z)],
                            [(start, 0.1 + lean[0], z + lean[1]), (end, 0.1 + lean[0], z + lean[1])],
                            cloth,
                            smooth=False,
                        )
                    mb.box(((start + end) / 2, 0.11, high + 0.03), (end - start + 0.06, 0.06, 0.06), cloth)
    layout.put_builder(mb)


def _whiteboard(layout: SceneLayout, wall: Wall) -> None:
    """White or pin board with writing, strokes and notes, or a dark screen."""
    pal = layout.pal
    wide, high = pal.uniform(1.0, min(3.0, max(1.1, wall.length * 0.5))), pal.uniform(0.8, 1.2)
    along = pal.uniform(wide / 2 + 0.1, max(wide / 2 + 0.11, wall.length - wide / 2 - 0.1))
    if along + wide / 2 > wall.length or not wall.clear(along - wide / 2 - 0.1, along + wide / 2 + 0.1):
        return
    kind = pal.pick(("white", "white", "white", "cork", "screen"))
    mb, base = MeshBuilder(), pal.uniform(0.8, 1.1)
    faces = {
        "white": Material(color=(0.85, 0.86, 0.87), reflectance=0.04),
        "cork": pal.material("noise", (0.4, 0.24, 0.12), scale=30.0, matt=True, contrast=0.5),
        "screen": Material(color=(0.02, 0.02, 0.025), reflectance=0.05),
    }
    mb.box((0, -0.012, high / 2), (wide, 0.024, high), pal.metal())
    mb.box((0, -0.0255, high / 2), (wide - 0.05, 0.003, high - 0.05), faces[kind])
    if kind == "white":
        ink = [Material(color=tone) for tone in ((0.02, 0.02, 0.03), (0.03, 0.05, 0.4), (0.5, 0.03, 0.03))]
        for _ in range(pal.count(0, 14)):
            x, z, reach = pal.uniform(-0.4, 0.2) * wide, pal.uniform(0.15, 0.9) * high, pal.uniform(0.05, 0.3) * wide
            steps = np.linspace(0, 1, 14)
            stroke = z + 0.02 * np.sin(steps * pal.uniform(5, 60)) + pal.normal(0, 0.06) * steps
            path = np.stack([x + reach * steps, np.full(14, -0.028), np.clip(stroke, 0.05, high - 0.05)], 1)
            mb.ribbon(path, path + np.array((0, 0, 0.009)), pal.pick(ink), smooth=False)
    if kind != "screen":
        for _ in range(pal.count(0, 10)):
            side = pal.pick((0.076, 0.1, 0.21))
            spot = (pal.uniform(-0.42, 0.42) * wide, -0.0285, pal.uniform(0.15, 0.85) * high)
            mb.box(
                spot, (side, 0.001, side * pal.pick((1.0, 1.41))), pal.plain(pal.pick(("white", "saturated", "white")))
            )
    layout.put(mb.build(), *wall.point(along, 0.003), base, facing(wall.normal))


def _screen_wall(mb: MeshBuilder, pal: Palette, width: float) -> None:
    """Partition behind a desk in the plane y = 0."""
    high = pal.uniform(1.05, 1.6)
    pane = pal.glass() if pal.chance(0.12) else pal.cloth()
    mb.box((0, 0, high / 2 + 0.02), (width, 0.03, high - 0.04), pane)
    mb.boxes(
        [(0, 0, high), (-width / 2, 0, high / 2), (width / 2, 0, high / 2)],
        [(width, 0.045, 0.03), (0.03, 0.045, high), (0.03, 0.045, high)],
        pal.metal(),
    )


def _rows(layout: SceneLayout, size: RoomSize) -> None:
    """Islands of desks that stand back to back, with partitions between them."""
    pal = layout.pal
    wide, deep = pal.uniform(1.2, 1.8), pal.uniform(0.7, 0.8)
    stock = [made(workplace, pal, wide, deep, most=6) for _ in range(3)]
    parted, sides = pal.chance(0.6), pal.pick((1, 2, 2))
    partition = made(_screen_wall, pal, wide)
    across = max(1, int((size.width - 1.2) / (wide + 0.02)))
    run = min(across, pal.count(2, 5))
    pitch = (3.2 if sides == 2 else 2.1) + 2 * deep * (sides == 2) * 0.2
    for y in np.arange(-size.depth / 2 + 1.6, size.depth / 2 - 1.5, pitch):
        first = pal.pick((-size.width / 2 + 0.6, -run * wide / 2))
        for index in range(run):
            x = first + wide * (index + 0.5)
            if x + wide / 2 > size.width / 2 - 0.3:
                break
            for side in range(sides):
                if pal.chance(0.93):
                    layout.put(
                        pal.pick(stock), x, y + (deep / 2 + 0.02) * (2 * side - 1), 0, math.pi * side, radius=wide * 0.5
                    )
            if parted:
                layout.put(partition, x, y if sides == 2 else y + deep * 0.02, 0)


def _single(layout: SceneLayout, walls: list[Wall]) -> None:
    """One to three desks along walls or free in the room."""
    pal = layout.pal
    for wall in walls:
        wide, deep = pal.uniform(1.2, 2.0), pal.uniform(0.65, 0.85)
        if wall.length < wide + 0.6 or pal.chance(0.5):
            continue
        along, against = pal.uniform(wide / 2 + 0.1, wall.length - wide / 2 - 0.1), pal.chance(0.65)
        x, y = wall.point(along, deep / 2 + 0.03 if against else pal.uniform(1.2, 1.6))
        if not layout.free(x, y, wide * 0.45) or (against and not wall.clear(along - wide / 2, along + wide / 2, True)):
            continue
        mesh = made(workplace, pal, wide, deep, most=14)
        layout.put(mesh, x, y, 0, facing(wall.normal) + (0 if against else math.pi), radius=wide * 0.5)


def _meeting(layout: SceneLayout, size: RoomSize) -> None:
    """A long table with chairs all around."""
    pal, mb = layout.pal, MeshBuilder()
    wide, deep = min(size.width - 2.4, pal.uniform(1.6, 5.0)), pal.uniform(0.9, 1.5)
    wide = max(1.2, wide)
    mb.box((0, 0, DESK_HEIGHT - 0.02), (wide, deep, 0.04), pal.wood())
    mb.boxes(
        [(side * wide * 0.32, 0, DESK_HEIGHT / 2) for side in (-1, 1)], (0.08, deep * 0.5, DESK_HEIGHT), pal.metal()
    )
    strew(mb, pal, Heap(pal, wide - 0.06, deep - 0.06, DESK_HEIGHT), pal.count(0, 14))
    seat = made(office_chair, pal)
    for side in (-1, 1):
        for x in np.arange(-wide / 2 + 0.35, wide / 2 - 0.2, 0.75):
            if pal.chance(0.85):
                draw_up(mb, pal, seat, x, side * deep / 2, (0.15, 0.5), 0.25)
    layout.put(
        mb.build(),
        0,
        pal.normal(0, 0.1),
        0,
        0 if size.width > size.depth else math.pi / 2,
        radius=max(wide, deep + 1) / 2,
    )


def _along_walls(layout: SceneLayout, walls: list[Wall], size: RoomSize, share: float) -> None:
    """Cupboards, shelves and plants along what is left of the walls; boards on them."""
    pal = layout.pal
    for wall in walls:
        at = pal.uniform(0.3, 1.5)
        while at < wall.length - 0.8:
            mesh = made(pal.pick((shelf, shelf, cabinet, cabinet, potted)), pal)
            low, high = mesh.vertices.min(0), mesh.vertices.max(0)
            wide = float(high[0] - low[0])
            x, y = wall.point(at + wide / 2, float(high[1]) + 0.02)
            fits = at + wide < wall.length and wall.clear(at, at + wide, bool(high[2] < 1.2)) and high[2] < size.height
            if fits and pal.chance(share) and layout.free(x, y, min(wide, 0.6) / 2):
                layout.put(mesh, x, y, 0, facing(wall.normal), radius=wide * 0.45)
            at += wide + pal.uniform(0.1, 2.0)
        if pal.chance(0.5):
            _whiteboard(layout, wall)


def _ceiling_grid(layout: SceneLayout, size: RoomSize) -> None:
    """Square panels hung below the ceiling, some of them lamps."""
    pal, mb = layout.pal, MeshBuilder()
    z, tile = size.height - 0.02, 0.6
    tone = pal.plain("white")
    mb.plane((size.width, size.depth), z, tone)
    for axis, reach, other in ((0, size.width, size.depth), (1, size.depth, size.width)):
        lines = np.arange(-reach / 2 + tile / 2, reach / 2, tile)
        spots = np.zeros((len(lines), 3))
        spots[:, axis], spots[:, 2] = lines, z - 0.004
        mb.boxes(spots, (0.02, other, 0.006) if axis == 0 else (other, 0.02, 0.006), pal.plain("grey"))
    panel = Material(color=(1.0, 1.0, 0.97), emission=pal.pick((0.0, 2.5, 4.0)))
    step = tile * pal.count(3, 5)
    lamps = [
        (x, y, z - 0.006)
        for x in np.arange(-size.width / 2 + 0.9, size.width / 2 - 0.3, step)
        for y in np.arange(-size.depth / 2 + 0.9, size.depth / 2 - 0.3, step)
    ]
    mb.boxes(lamps, (tile, tile, 0.006) if pal.chance(0.6) else (0.3, 1.2, 0.006), panel)
    layout.put_builder(mb)


def _corridor_doors(layout: SceneLayout, walls: list[Wall]) -> None:
    """Closed doors, signs and notices at even steps along both long walls."""
    pal = layout.pal
    leaf, frame, pitch = pal.wood(), pal.plain(pal.pick(("grey", "white", "dark"))), pal.uniform(2.4, 4.5)
    mb = MeshBuilder()
    mb.box((0, -0.02, 1.03), (0.98, 0.05, 2.07), frame)
    mb.box((0, -0.035, 1.0), (0.86, 0.04, 2.0), leaf)
    mb.box((0.34, -0.075, 1.02), (0.12, 0.05, 0.02), pal.metal())
    if pal.chance(0.5):
        mb.box((0.68, -0.006, 1.55), (0.18, 0.012, 0.12), pal.plain("white"))
    if pal.chance(0.3):
        mb.box((0.2, -0.057, 1.35), (0.18, 0.006, 0.8), pal.pane())
    door = mb.build()
    for wall in walls:
        if wall.length < 4:
            continue
        for along in np.arange(pal.uniform(0.8, 2.0), wall.length - 0.8, pitch):
            if wall.clear(along - 0.7, along + 0.7):
                layout.put(door, *wall.point(along, 0.0), 0, facing(wall.normal))


def office(pal: Palette) -> Scene:
    """Open-plan office, single office, meeting room or corridor."""
    layout = SceneLayout("office", pal)
    mode = pal.pick(("rows", "rows", "single", "single", "single", "meeting", "corridor"))
    size = {
        "rows": lambda: RoomSize(pal.uniform(5.5, 16), pal.uniform(6, 18), pal.uniform(2.6, 3.6), "hall"),
        "single": lambda: RoomSize(pal.uniform(2.6, 5.0), pal.uniform(3.0, 6.0), pal.uniform(2.4, 3.0), "room"),
        "meeting": lambda: RoomSize(pal.uniform(3.6, 8), pal.uniform(3.6, 6), pal.uniform(2.5, 3.2), "room"),
        "corridor": lambda: RoomSize(pal.uniform(1.5, 2.8), pal.uniform(9, 32), pal.uniform(2.4, 3.0), "corridor"),
    }[mode]()
    walls = shell(layout, size)
    _blinds(layout, walls)
    if pal.chance(0.6):
        _ceiling_grid(layout, size)
    if mode == "rows":
        _rows(layout, size)
    elif mode == "single":
        _single(layout, walls)
    elif mode == "meeting":
        _meeting(layout, size)
    else:
        _corridor_doors(layout, walls)
    _along_walls(layout, walls, size, pal.uniform(0.1, 0.35) if mode == "corridor" else pal.uniform(0.3, 0.9))
    for _ in range(pal.count(0, 3)):
        x, y = pal.uniform(-0.4, 0.4) * size.width, pal.uniform(-0.4, 0.4) * size.depth
        if layout.free(x, y, 0.4) and not layout.put_model(PEOPLE, x, y, 0, pal.angle(), solid=True):
            layout.put(person_mesh(pal), x, y, 0, pal.angle(), radius=0.35)
    daylight(layout, size, walls)
    return layout.finish(lambda rng: _office_camera(Dice(rng), layout, size))


def _office_camera(dice: Dice, layout: SceneLayout, size: RoomSize) -> SceneCamera:
    """As in any room, or along the corridor, or sitting or standing at a desk and looking over it."""
    if size.style == "corridor":
        ahead, x = dice.sign(), dice.uniform(-0.35, 0.35) * size.width
        position = (x, -ahead * dice.uniform(0.0, 0.48) * size.depth, dice.pick((1.6, 1.2, dice.uniform(0.3, 2.0))))
        return SceneCamera(
            position,
            ahead * math.pi / 2 + dice.normal(0, 0.25),
            dice.normal(-0.05, 0.1),
            usual_roll(dice),
            math.radians(dice.uniform(45, 95)),
            0.3,
        )
    return room_camera(dice, layout, size)
