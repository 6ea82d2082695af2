"""Portraits, thin structures, glass, and views up or down."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..parts.builder import MeshBuilder, made, placement
from ..parts.dice import Dice
from ..parts.layout import PEOPLE, SceneLayout, look, usual_roll
from ..parts.random_materials import Palette
from ..parts.scene import Scene, SceneCamera
from ..things.furniture import FURNITURE
from ..things.people import animal, person_mesh
from ..things.plants import bare, bush, grass, tree
from ..things.small_things import small_mesh
from ..things.street_things import building, fence, net, pole, wires
from . import close, indoor, nature, outdoor


def _background(layout: SceneLayout, *, indoor_share: float = 0.4) -> bool:
    """Something behind the main thing, at y of 1 to 60 m; tells whether it is indoors."""
    pal, mb = layout.pal, MeshBuilder()
    if pal.chance(indoor_share):
        depth = pal.uniform(0.8, 6)
        mb.plane((12, 2 * depth + 10), 0, pal.floor())
        mb.wall((-6, depth, 0), (1, 0, 0), 12, 3, (), pal.wall())
        if pal.chance(0.5):
            mb.wall((pal.sign() * pal.uniform(1.5, 5), -5, 0), (0, 1, 0), depth + 5, 3, (), pal.wall())
        layout.put_builder(mb)
        for _ in range(pal.count(0, 4)):
            maker, out = pal.pick(FURNITURE)
            layout.put(made(maker, pal), pal.uniform(-3, 3), depth - out, 0)
        close.lamps(layout, 2.0, 2.7)
        return True
    mb.plane((3000, 3000), 0, pal.pick((pal.ground(), pal.road())))
    layout.put_builder(mb)
    stock = [tree(pal, detail=0.6) for _ in range(2)] + [bush(pal)]
    for _ in range(pal.count(0, 14)):
        layout.put(pal.pick(stock), pal.normal(0, 12), pal.log_uniform(4, 60), 0, pal.angle(), pal.uniform(0.6, 1.4))
    for _ in range(pal.count(0, 4)):
        layout.put(
            building(pal, pal.uniform(6, 15), 8, pal.uniform(4, 18)),
            pal.normal(0, 15),
            pal.uniform(15, 70),
            0,
            pal.normal(0, 0.5),
        )
    layout.outdoors()
    return False


def portrait(pal: Palette) -> Scene:
    """One to three persons or animals near the camera."""
    layout = SceneLayout("portrait", pal)
    inside = _background(layout)
    beasts, tops = pal.chance(0.25), []
    for index in range(pal.pick((1, 1, 1, 2, 2, 3))):
        x, y = index * pal.uniform(0.5, 0.9) * pal.sign(), -pal.uniform(0, 0.5) * (index > 0)
        yaw = pal.normal(0, 0.5) if pal.chance(0.8) else pal.angle()
        if beasts:
            mesh = animal(pal, size=pal.uniform(0.3, 1.2), sides=24)
        else:
            found = pal.model(PEOPLE) if pal.chance(0.25) else None
            sitting = found is None and pal.chance(0.25)
            mesh = found[0] if found is not None else person_mesh(pal, close=True, sitting=sitting)
            if sitting:
                mb = MeshBuilder()
                mb.box((0, 0.05, 0.18), (0.6, 0.45, 0.36), pal.any())
                layout.put(mb.build(), x, y, 0, yaw)
        layout.put(mesh, x, y, 0, yaw, radius=0.4)
        tops.append(float(mesh.vertices[:, 2].max()))
    for _ in range(pal.count(0, 3)):
        layout.put(person_mesh(pal), pal.normal(0, 2), pal.uniform(1.0, 2.5 if inside else 10), 0, pal.angle())
    return layout.finish(lambda rng: _portrait_camera(Dice(rng), tops[0], beasts))


def _portrait_camera(dice: Dice, top: float, beast: bool) -> SceneCamera:
    whole = dice.chance(0.3) or beast
    away = top * dice.uniform(1.0, 1.8) if whole else dice.uniform(0.5, 1.2)
    aim = top * (dice.uniform(0.45, 0.7) if whole else dice.uniform(0.82, 0.96))
    turn = dice.normal(-math.pi / 2, 0.35)
    position = (away * math.cos(turn), away * math.sin(turn), max(0.15, aim + dice.normal(0, 0.12)))
    blur = dice.uniform(1, 7) if dice.chance(0.5) else 0.0
    return look(
        position,
        (0, 0, aim),
        fov=dice.uniform(32, 60),
        roll=usual_roll(dice),
        turn=dice.normal(0, 0.12),
        tilt=dice.normal(0, 0.04),
        min_distance=0.2,
        blur=blur,
    )


def thin(pal: Palette) -> Scene:
    """Fences, nets, branches, wires and strands in front of something farther."""
    layout, mb = SceneLayout("thin", pal), MeshBuilder()
    _background(layout, indoor_share=0.25)
    mode = pal.pick(("fence", "net", "branches", "wires", "strands", "stand"))
    if mode == "fence":
        fence(mb, pal, 10, pal.uniform(1.0, 2.2), pal.pick(("pickets", "rails", "bars", "mesh")))
    elif mode == "net":
        net(mb, 5, 2.4, pal.uniform(0.06, 0.2), pal.uniform(0.002, 0.008), pal.any())
    elif mode == "branches":
        for _ in range(pal.count(1, 3)):
            with mb.at(placement(pal.normal(0, 0.8), pal.uniform(0, 1.5), pal.uniform(-1.0, 0.3), pal.angle())):
                bare(mb, pal, pal.uniform(2.0, 4.0))
    elif mode == "wires":
        for _ in range(pal.count(3, 9)):
            high = pal.uniform(0.8, 2.4)
            wires(
                mb,
                pal,
                (-4, pal.uniform(-0.2, 2), high),
                (4, pal.uniform(-0.2, 2), high + pal.normal(0, 0.5)),
                pal.uniform(0.004, 0.03),
            )
    elif mode == "strands":
        tuft = grass(pal, 120, pal.uniform(0.8, 1.8))
        for _ in range(pal.count(4, 14)):
            layout.put(tuft, pal.normal(0, 0.7), pal.uniform(0, 1.2), 0, pal.angle(), pal.uniform(0.7, 1.2))
    else:
        for _ in range(pal.count(2, 7)):  # tripods, canes, stalks
            x, y, top = pal.normal(0, 0.7), pal.uniform(0, 1.5), pal.uniform(1.0, 2.0)
            feet = [(x + 0.35 * math.cos(a), y + 0.35 * math.sin(a), 0) for a in np.arange(3) * 2.1 + pal.angle()]
            mb.cylinders(feet, [(x, y, top * 0.7)] * 3, 0.012, 0.01, pal.metal(), 6)
            mb.cylinder((x, y, top * 0.65), (x, y, top), 0.01, pal.metal(), sides=6)
            with mb.at(placement(x, y, top)):
                mb.merge(small_mesh(pal, 0.2))
    layout.put_builder(mb)
    return layout.finish(
        lambda rng: _front_camera(Dice(rng), (0.5, 3.0), 0.5, (0.5, 1.9), 0.4, (0.6, 1.7), (35, 75), 0.15)
    )


Bounds = tuple[float, float]


def _front_camera(
    dice: Dice, away: Bounds, spread: float, high: Bounds, aside: float, aim: Bounds, fov: Bounds, min_distance: float
) -> SceneCamera:
    """From the front, `spread` radians to the sides, at something about the middle: `aside` and `aim` are its place."""
    far, turn = dice.log_uniform(*away), dice.normal(-math.pi / 2, spread)
    position = (far * math.cos(turn), far * math.sin(turn), dice.uniform(*high))
    return look(
        position,
        (dice.normal(0, aside), 0.3, dice.uniform(*aim)),
        fov=dice.uniform(*fov),
        roll=usual_roll(dice),
        min_distance=min_distance,
    )


def glass(pal: Palette) -> Scene:
    """Bottles and glasses, or panes and mirrors."""
    if pal.chance(0.5):
        return _glassware(pal)
    layout, mb = SceneLayout("glass", pal), MeshBuilder()
    _background(layout, indoor_share=0.5)
    pane = pal.glass() if pal.chance(0.6) else pal.mirror()
    wide, high, frame = pal.uniform(0.6, 2.5), pal.uniform(0.8, 2.2), pal.any()
    base = pal.pick((0.02, pal.uniform(0.2, 0.8)))
    with mb.at(placement(0, 0, base, pal.normal(0, 0.4))):
        panes = pal.count(1, 3)
        for index in range(panes):
            x = (index - (panes - 1) / 2) * wide
            mb.box((x, 0, high / 2), (wide - 0.04, 0.006, high), pane)
            mb.boxes([(x - wide / 2, 0, high / 2), (x + wide / 2, 0, high / 2)], (0.05, 0.06, high), frame)
            mb.boxes([(x, 0, 0), (x, 0, high)], (wide, 0.06, 0.05), frame)
        if base > 0.1:
            mb.boxes([(side * (wide * panes / 2), 0, -base / 2) for side in (-1, 1)], (0.06, 0.06, base), frame)
    layout.put_builder(mb)
    for _ in range(pal.count(1, 5)):
        layout.put(
            small_mesh(pal, pal.uniform(0.2, 0.6)),
            pal.normal(0, 0.8),
            pal.sign() * pal.uniform(0.4, 1.5),
            0,
            pal.angle(),
        )
    if pal.chance(0.4):
        layout.put(person_mesh(pal), pal.normal(0, 0.6), pal.uniform(0.5, 2), 0, pal.angle())
    return layout.finish(
        lambda rng: _front_camera(Dice(rng), (1.3, 5.0), 0.6, (0.7, 1.8), 1.0, (0.5, 1.5), (45, 80), 0.25)
    )


def _glassware(pal: Palette) -> Scene:
    """A table scatter whose things are mostly of glass."""
    scene = close.closeup(pal, garden=False)
    clear = [pal.glass() for _ in range(2)] + [replace(pal.glass(), color=(0.2, 0.5, 0.25))]
    backdrop = 2
    for index, item in enumerate(scene.instances[backdrop:], backdrop):
        if pal.chance(0.5) and len(item.mesh.faces) < 6000 and item.mesh.uv is None:
            scene.instances[index] = replace(item, materials=(pal.pick(clear),) * len(item.mesh.materials))
    scene.kind = "glass"
    return scene


def upward(pal: Palette) -> Scene:
    """Views up at houses, trees and ceilings, and steeply down, where the top of a picture is not the farthest part."""
    mode = pal.pick(("room", "room", "street", "court", "grove", "nature", "table"))
    if mode in ("court", "grove"):
        return _court(pal, grove=mode == "grove")
    builders = {
        "room": indoor.room,
        "street": outdoor.street,
        "nature": nature.nature,
    }
    scene = close.closeup(pal, garden=False) if mode == "table" else builders[mode](pal)
    usual, low, high = scene.propose, *((-1.5, -0.7) if mode == "table" else (0.2, 1.0))

    def propose(rng: np.random.Generator) -> SceneCamera:
        camera, dice = usual(rng), Dice(rng)
        if mode == "table":
            x, y = dice.normal(0, 0.12), dice.normal(0, 0.12)
            return look(
                (x, y, dice.uniform(0.5, 1.4)),
                (x + dice.normal(0, 0.1), y + dice.uniform(0.02, 0.4), 0),
                fov=dice.uniform(35, 65),
                roll=dice.normal(0, 0.5),
                min_distance=0.12,
            )
        if dice.chance(0.3):
            low_view = -dice.uniform(0.5, 1.2)
            return replace(camera, pitch=low_view, roll=dice.normal(0, 0.25))
        return replace(camera, pitch=dice.uniform(low, high), roll=dice.normal(0, 0.15))

    scene.kind, scene.propose = "upward", propose
    return scene


def _court(pal: Palette, *, grove: bool) -> Scene:
    """A court with houses on three or four sides, or a group of high trees."""
    layout, mb = SceneLayout("upward", pal), MeshBuilder()
    side = pal.uniform(8, 25)
    mb.plane((300, 300), 0, pal.road())
    layout.put_builder(mb)
    for turn in range(0 if grove else pal.count(3, 4)):
        angle = turn * math.pi / 2
        away = side / 2 + 5
        layout.put(
            building(pal, side + 12, 10, pal.uniform(6, 28)),
            away * math.cos(angle),
            away * math.sin(angle),
            0,
            angle - math.pi / 2,
        )
    for _ in range(pal.count(6, 16) if grove else pal.count(0, 4)):
        x, y = pal.uniform(-0.4, 0.4) * side, pal.uniform(-0.4, 0.4) * side
        thing = tree(pal, height=pal.uniform(6, 16)) if grove or pal.chance(0.6) else pole(pal)
        layout.put(thing, x, y, 0, pal.angle(), radius=0.6)
    layout.outdoors()

    def propose(rng: np.random.Generator) -> SceneCamera:
        dice = Dice(rng)
        position = (dice.uniform(-0.4, 0.4) * side, dice.uniform(-0.4, 0.4) * side, 1.6)
        return SceneCamera(
            position, dice.angle(), dice.uniform(0.2, 1.3), dice.normal(0, 0.1), math.radians(dice.uniform(45, 95)), 0.7
        )

    return layout.finish(propose)
