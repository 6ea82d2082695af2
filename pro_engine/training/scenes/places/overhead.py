"""Table tops, bins and trays seen steeply from above, as by someone who stands before them or by a robot's camera."""

from __future__ import annotations

import math

import numpy as np

from ..parts.builder import Array, MeshBuilder, made, placement, rotation
from ..parts.dice import Dice
from ..parts.layout import INDOOR, SceneLayout, look
from ..parts.random_materials import Palette
from ..parts.scene import Scene, SceneCamera, SceneMesh
from ..parts.stacking import Heap
from ..things.furniture import FURNITURE, chair, draw_up, rug
from ..things.kitchens import kitchen_run
from ..things.small_things import small_mesh
from ..things.workplaces import DESK_HEIGHT, strew, workplace
from .close import lamps


def _surroundings(layout: SceneLayout, behind: float) -> None:
    """Floor, the wall behind at y = `behind`, perhaps one at the side, and furniture along them."""
    pal, mb = layout.pal, MeshBuilder()
    mb.plane((12, 12), 0, pal.floor())
    mb.wall((-6, behind, 0), (1, 0, 0), 12, 3, (), pal.wall())
    if pal.chance(0.5):
        mb.wall((pal.sign() * pal.uniform(1.6, 3.5), -5, 0), (0, 1, 0), 10, 3, (), pal.wall())
    layout.put_builder(mb)
    for _ in range(pal.count(0, 3)):
        maker, out = pal.pick(FURNITURE)
        layout.put(made(maker, pal), pal.sign() * pal.uniform(1.6, 3.0), behind - out - 0.05, 0)
    if pal.chance(0.4):
        layout.put(made(rug, pal), pal.normal(0, 0.5), -pal.uniform(0.3, 1.2), 0.001, pal.angle())
    if pal.chance(0.4):
        layout.put_model(
            INDOOR, pal.sign() * pal.uniform(1.2, 2.2), -pal.uniform(0.2, 1.5), 0, pal.angle(), max_size=1.4
        )


def _desk(layout: SceneLayout) -> tuple[float, float, float]:
    """A cluttered workplace. Returns its width, depth and height."""
    pal, mb = layout.pal, MeshBuilder()
    width, depth = pal.uniform(1.0, 1.9), pal.uniform(0.6, 0.9)
    workplace(mb, pal, width, depth, most=22, seat=pal.chance(0.6))
    layout.put_builder(mb)
    _surroundings(layout, depth / 2 + pal.pick((0.03, 0.03, pal.uniform(0.1, 2.0))))
    return width, depth, DESK_HEIGHT


def _table(layout: SceneLayout) -> tuple[float, float, float]:
    """A table laid with things, chairs around it."""
    pal, mb = layout.pal, MeshBuilder()
    width, depth, height = pal.uniform(0.8, 1.8), pal.uniform(0.7, 1.1), pal.pick((0.42, 0.74, 0.74, 0.92))
    top = pal.pick((pal.wood(), pal.wood(), pal.cloth(), pal.any()))
    mb.box((0, 0, height - 0.02), (width, depth, 0.04), top)
    mb.posts((width * 0.45, depth * 0.43, height / 2), (0.06, 0.06, height - 0.04), pal.wood())
    strew(mb, pal, Heap(pal, width - 0.04, depth - 0.04, height), pal.count(8, 34), (0.06, 0.3))
    seat = made(chair, pal)
    for side in (-1, 1):
        for x in (-0.25, 0.25):
            if height > 0.5 and pal.chance(0.6):
                draw_up(mb, pal, seat, x * width, side * depth / 2, (0.1, 0.5), 0.3)
    layout.put_builder(mb)
    _surroundings(layout, depth / 2 + pal.uniform(0.8, 3))
    return width, depth, height


def _any_turn(pal: Palette) -> Array:
    """Lying any way up."""
    return rotation("z", pal.angle()) @ rotation("x", pal.angle()) @ rotation("y", pal.angle())


def _bin(
    layout: SceneLayout, x: float, y: float, z: float, size: tuple[float, float, float], stock: list[SceneMesh]
) -> None:
    """Open box or tray, heaped with things from the stock."""
    pal, mb = layout.pal, MeshBuilder()
    width, depth, high = size
    thick, flare = 0.004 + 0.01 * pal.rng.random(), pal.pick((0.0, 0.0, 0.12)) * high
    wall = pal.plain(pal.pick(("saturated", "grey", "dark", "white"))) if pal.chance(0.6) else pal.wood()
    mb.box((0, 0, thick / 2), (width, depth, thick), wall)
    for turn, length, away in ((0, width, depth), (1, depth, width), (2, width, depth), (3, depth, width)):
        with mb.at(rotation("z", turn * math.pi / 2)):
            outline = [
                (-away / 2, 0),
                (-away / 2 + thick, 0),
                (-away / 2 + thick - flare, high),
                (-away / 2 - flare, high),
            ]
            mb.extrude(outline, -length / 2, length / 2, wall, axis="x")
    box = placement(x, y, z, pal.normal(0, 0.06))
    layout.scene.add(mb.build(), box.astype(np.float32))
    heap = Heap(pal, width - 2.5 * thick, depth - 2.5 * thick, thick)
    largest = max(float(np.ptp(mesh.vertices, axis=0).max()) for mesh in stock)
    limit = max(high * pal.uniform(0.8, 1.35), largest * pal.uniform(1.1, 2.0))
    for _ in range(pal.count(6, 55)):
        mesh = pal.pick(stock)
        lying = _any_turn(pal) if pal.chance(0.8) else rotation("z", pal.angle())
        where = heap.lay(mesh, lying, tries=8, highest=limit)
        if where is not None:
            layout.scene.add(mesh, (box @ where).astype(np.float32))


def _bins(layout: SceneLayout) -> tuple[float, float, float]:
    """Bins, crates or trays in a grid on a bench, a conveyor or the floor."""
    pal, mb = layout.pal, MeshBuilder()
    width, depth = pal.uniform(0.28, 0.62), pal.uniform(0.22, 0.45)
    high = pal.pick((pal.uniform(0.02, 0.06), pal.uniform(0.08, 0.2), pal.uniform(0.15, 0.32)))
    columns, rows = pal.pick((1, 1, 2, 3)), pal.pick((1, 1, 2))
    height = pal.pick((0.0, 0.45, 0.75, 0.9))
    reach = (columns * (width + 0.05) + pal.uniform(0.1, 0.8), rows * (depth + 0.05) + pal.uniform(0.1, 0.5))
    if height:
        mb.box((0, 0, height - 0.02), (*reach, 0.04), pal.pick((pal.wood(), pal.metal(), pal.any())))
        mb.posts((reach[0] * 0.46, reach[1] * 0.44, height / 2), (0.05, 0.05, height - 0.04), pal.metal())
        if pal.chance(0.6):
            heap = Heap(pal, *reach, height)
            heap.block(
                (-columns * (width + 0.05) / 2, columns * (width + 0.05) / 2),
                (-rows * (depth + 0.05) / 2, rows * (depth + 0.05) / 2),
            )
            strew(mb, pal, heap, pal.count(1, 8))
        layout.put_builder(mb)
    _surroundings(layout, reach[1] / 2 + pal.uniform(0.02, 2.5))
    things = min(width, depth) * pal.log_uniform(0.12, 0.4)
    for column in range(columns):
        for row in range(rows):
            stock = [small_mesh(pal, things * pal.uniform(0.6, 1.5)) for _ in range(pal.pick((1, 3, 6)))]
            spot = ((column - (columns - 1) / 2) * (width + 0.05), (row - (rows - 1) / 2) * (depth + 0.05))
            _bin(layout, *spot, height, (width, depth, high), stock)
    return columns * width, rows * depth, height


def overhead(pal: Palette) -> Scene:
    """A desk, table, kitchen counter or bins below the camera."""
    layout = SceneLayout("overhead", pal)
    place = pal.pick((_desk, _desk, _desk, _table, _table, _bins, _bins, _bins, kitchen_run, kitchen_run))
    width, depth, height = place(layout)
    lamps(layout, 1.2, pal.uniform(2.2, 2.8))
    steep = (10.0, 50.0) if place is kitchen_run else (38.0, 82.0)
    return layout.finish(lambda rng: _above(Dice(rng), width, depth, height, steep, place is _bins))


def _above(
    dice: Dice, width: float, depth: float, height: float, steep: tuple[float, float], any_side: bool
) -> SceneCamera:
    """Down at a place on the top by an angle within `steep` (degrees), mostly from the front."""
    target = (dice.normal(0, 0.2) * width, dice.normal(-0.05, 0.18) * depth, height + 0.04)
    away = dice.log_uniform(0.6, 1.9) if width > 0.7 else dice.log_uniform(0.45, 1.3)
    turn = dice.angle() if any_side and dice.chance(0.4) else dice.normal(-math.pi / 2, 0.4)
    rise = math.radians(dice.uniform(*steep))
    position = (
        target[0] + away * math.cos(rise) * math.cos(turn),
        target[1] + away * math.cos(rise) * math.sin(turn),
        target[2] + away * math.sin(rise),
    )
    return look(
        position,
        target,
        fov=dice.uniform(38, 78),
        roll=dice.normal(0, 0.06 if dice.chance(0.8) else 0.4),
        turn=dice.normal(0, 0.06),
        tilt=dice.normal(0, 0.05),
        min_distance=0.15,
        blur=dice.uniform(0.5, 3) if dice.chance(0.12) else 0.0,
    )
