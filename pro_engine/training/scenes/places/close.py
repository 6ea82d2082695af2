"""Near views: things on tables, floors and boards, and patches of garden."""

from __future__ import annotations

import math

from ..parts.builder import MeshBuilder, made, placement, rotation
from ..parts.dice import Dice
from ..parts.layout import INDOOR, SceneLayout, look, usual_roll
from ..parts.random_materials import Palette
from ..parts.scene import Scene, SceneCamera, SceneMesh
from ..things.furniture import cabinet, chair, shelf
from ..things.plants import bush, flower, grass, potted
from ..things.small_things import small_mesh


def lamps(layout: SceneLayout, reach: float, height: float) -> None:
    """Ceiling light and perhaps a window, for a place about `reach` metres wide at height 0."""
    pal, scene = layout.pal, layout.scene
    scene.ambient = pal.ambient(0.25, 0.9)
    scene.ambient_reach = pal.uniform(0.3, 2.0)
    scene.sky = pal.sky(hdri_share=0.7)
    for _ in range(pal.count(1, 2)):
        at = (pal.normal(0, reach), pal.normal(0, reach), height * pal.uniform(0.7, 1.2))
        layout.light("area", at, pal.uniform(0.3, 1.5) * height**2, pal.uniform(0.1, 1.2))
    if pal.chance(0.3):
        scene.lights.append(pal.sun(pal.uniform(0.3, 2.5)))


def _backdrop(layout: SceneLayout, depth: float, floor: float) -> None:
    """What stands behind the table: boards, walls, shelves, a room."""
    pal, mb = layout.pal, MeshBuilder()
    mb.plane((14, 14), floor, pal.floor())
    paint = pal.wall() if pal.chance(0.5) else pal.material()
    turn = pal.normal(0, 0.15)
    with mb.at(rotation("z", turn)):
        mb.wall((-7, depth + pal.pick((0.0, 0.0, 2.5)), floor), (1, 0, 0), 14, 4, (), paint)
        if pal.chance(0.5):
            mb.wall((pal.sign() * pal.uniform(1, 3.5), -5, floor), (0, 1, 0), 12, 4, (), pal.wall())
        mb.wall((-7, -6, floor), (1, 0, 0), 14, 4, (), pal.wall())
        for _ in range(pal.count(0, 4)):  # boards that stand behind the things
            wide, high = pal.uniform(0.2, 1.0), pal.uniform(0.2, 0.8)
            with mb.at(
                placement(
                    pal.normal(0, 0.5),
                    depth * pal.uniform(0.4, 0.95),
                    floor if pal.chance(0.2) else 0,
                    pal.normal(0, 0.5),
                )
                @ rotation("x", -pal.uniform(0, 0.2))
            ):
                mb.box((0, 0, high / 2), (wide, 0.01, high), pal.material("image" if pal.chance(0.6) else None))
    layout.put_builder(mb)
    for _ in range(pal.count(0, 2)):
        x = pal.uniform(-2, 2)
        if not (pal.chance(0.5) and layout.put_model(INDOOR, x, depth - 0.4, floor, pal.normal(0, 0.5), max_size=2.0)):
            layout.put(made(pal.pick((shelf, cabinet, chair, potted)), pal), x, depth - 0.25, floor, pal.normal(0, 0.3))


def _near_thing(pal: Palette, size: float) -> SceneMesh:
    """A small thing, a small plant or a real model made small."""
    kind = pal.uniform(0, 1)
    if kind < 0.12:
        return made(potted, pal, size * pal.uniform(0.8, 2.0))
    return small_mesh(pal, size)


def _scatter(layout: SceneLayout, number: int, size: float, wide: float, deep: float) -> None:
    """Things on the table plane z = 0 that do not run into each other, some leaning or stacked."""
    pal = layout.pal
    for _ in range(number):
        own = size * pal.log_uniform(0.4, 1.8)
        for _try in range(8):
            x, y = pal.normal(0, 0.32) * wide, pal.normal(0, 0.32) * deep
            if abs(x) < wide * 0.48 and abs(y) < deep * 0.48 and layout.free(x, y, own * 0.28):
                break
        else:
            continue
        found = pal.model(None, 3.0) if pal.chance(0.3) else None
        if found is not None:
            mesh, extent = found
            layout.put(mesh, x, y, 0, pal.angle(), own / float(max(extent)) * 1.3, radius=own * 0.4)
            continue
        mesh = _near_thing(pal, own)
        layout.put(mesh, x, y, 0, pal.angle(), radius=own * 0.3)
        top = float(mesh.vertices[:, 2].max())
        if pal.chance(0.1) and top < size:
            layout.put(small_mesh(pal, own * 0.6), x, y, top, pal.angle())


def _hung(layout: SceneLayout, depth: float) -> None:
    """Things fixed to the board behind: tools, toys, cards, small boxes."""
    pal = layout.pal
    for _ in range(pal.count(2, 12)):
        mesh = small_mesh(pal, pal.uniform(0.08, 0.35))
        tilt = placement(pal.normal(0, 0.5), depth - 0.06, pal.uniform(0.05, 0.8), pal.normal(0, 0.2)) @ rotation(
            "y", pal.angle()
        )
        layout.scene.add(mesh, (tilt @ rotation("x", math.pi / 2)).astype("float32"))


def closeup(pal: Palette, *, garden: bool = True) -> Scene:
    """Cluttered table top, seen obliquely from 0.4 to 1.5 m; now and then, if allowed, a patch of garden."""
    layout = SceneLayout("closeup", pal)
    mode = pal.pick(("table",) * 5 + ("board", "board", "floor", "garden"))
    if mode == "garden" and garden:
        return _garden(layout)
    wide, deep = pal.uniform(0.7, 1.8), pal.uniform(0.6, 1.2)
    floor = 0.0 if mode == "floor" else -pal.uniform(0.6, 0.95)
    depth = deep / 2 + pal.pick((0.02, 0.05, pal.uniform(0.1, 0.8), pal.uniform(0.8, 4)))
    _backdrop(layout, depth, floor - 0.002)
    if mode != "floor":
        mb = MeshBuilder()
        mb.box((0, 0, -0.02), (wide, deep, 0.04), pal.pick((pal.wood(), pal.cloth(), pal.floor(), pal.material())))
        mb.posts((wide * 0.45, deep * 0.45, floor / 2), (0.05, 0.05, -floor), pal.metal())
        layout.put_builder(mb)
    size = pal.log_uniform(0.07, 0.3)
    crowd = 0.5 * wide * deep / size**2  # things that the table top has room for
    _scatter(layout, pal.count(4, max(8, min(60, round(crowd)))), size, wide, deep)
    if mode == "board":
        _hung(layout, depth)
    lamps(layout, 1.0, pal.uniform(1.2, 2.5))
    return layout.finish(lambda rng: table_camera(Dice(rng), layout, size))


def table_camera(dice: Dice, layout: SceneLayout, size: float) -> SceneCamera:
    """From the front edge, looking across or down at the things."""
    target = (0.0, 0.0, size * 0.4)
    if layout.discs and dice.chance(0.5):
        spot = dice.pick(layout.discs)
        target = (spot[0], spot[1], size * 0.4)
    away, turn = dice.uniform(0.4, 1.5), dice.normal(-math.pi / 2, 0.5)
    rise = dice.pick((dice.uniform(0.12, 0.5), dice.uniform(0.3, 0.9), dice.uniform(0.6, 1.35)))
    position = (
        target[0] + away * math.cos(rise) * math.cos(turn),
        target[1] + away * math.cos(rise) * math.sin(turn),
        max(0.06, target[2] + away * math.sin(rise)),
    )
    blur = dice.uniform(0.5, 5) if dice.chance(0.25) else 0.0
    return look(
        position,
        target,
        fov=dice.uniform(28, 68),
        roll=usual_roll(dice),
        turn=dice.normal(0, 0.08),
        tilt=dice.normal(0.02, 0.06),
        min_distance=0.12,
        blur=blur,
    )


def _garden(layout: SceneLayout) -> Scene:
    """Flowers and grass seen from near."""
    pal, mb = layout.pal, MeshBuilder()
    mb.plane((400, 400), 0, pal.ground())
    layout.put_builder(mb)
    stock = [flower(pal) for _ in range(4)] + [grass(pal, 40, 0.3)]
    for _ in range(pal.count(20, 90)):
        layout.put(pal.pick(stock), pal.normal(0, 0.4), pal.normal(0, 0.4), 0, pal.angle(), pal.uniform(0.6, 1.5))
    shrub = bush(pal)
    for _ in range(pal.count(0, 8)):
        turn, away = pal.angle(), pal.uniform(2, 12)
        layout.put(shrub, away * math.cos(turn), away * math.sin(turn), 0, pal.angle(), pal.uniform(0.5, 1.5))
    layout.outdoors()
    return layout.finish(lambda rng: _garden_camera(Dice(rng)))


def _garden_camera(dice: Dice) -> SceneCamera:
    turn, away = dice.angle(), dice.uniform(0.5, 1.6)
    position = (away * math.cos(turn), away * math.sin(turn), dice.uniform(0.1, 0.9))
    return look(
        position,
        (dice.normal(0, 0.1), dice.normal(0, 0.1), 0.3),
        fov=dice.uniform(30, 65),
        roll=usual_roll(dice),
        tilt=dice.normal(0, 0.08),
        min_distance=0.12,
        blur=dice.uniform(1, 6) if dice.chance(0.5) else 0.0,
    )
