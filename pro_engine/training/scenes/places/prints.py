"""Flat pictures, posters, screens and murals at an angle: rich in content, flat in depth."""

from __future__ import annotations

import math

from ..parts.builder import MeshBuilder, made, panel
from ..parts.dice import Dice
from ..parts.layout import INDOOR, SceneLayout, look, usual_roll
from ..parts.random_materials import Palette
from ..parts.scene import Scene, SceneCamera, SceneMesh
from ..things.flat_pictures import mural
from ..things.furniture import chair
from ..things.plants import potted
from .close import closeup, lamps
from .indoor import room
from .nature import nature
from .outdoor import street


def _picture(pal: Palette, width: float, height: float) -> SceneMesh:
    """Mostly a painted scene, else a pattern or photo stretched over the panel."""
    if pal.chance(0.25):
        return panel(width, height, pal.picture())
    scene = pal.pick((closeup, closeup, room, room, street, nature))(pal)
    return mural(scene, scene.propose(pal.rng), width, height)


def prints(pal: Palette) -> Scene:
    """One large picture on a wall or house, perhaps smaller ones beside it, and a few real things in front."""
    layout = SceneLayout("prints", pal)
    outside = pal.chance(0.35)
    wide, high = pal.log_uniform(0.5, 5.0 if outside else 2.5), pal.log_uniform(0.5, 3.0 if outside else 2.0)
    base = pal.uniform(0.0, 1.4) if high < 1.5 else pal.uniform(0, 0.4)
    top = max(base + high + 0.4, pal.uniform(2.5, 7))
    mb = MeshBuilder()
    mb.plane((400, 400) if outside else (9, 9), 0, pal.road() if outside else pal.floor())
    mb.wall((-12, 0.03, 0), (1, 0, 0), 24, top, (), pal.facade() if outside else pal.wall())
    frame = pal.pick((0.0, 0.06, 0.12))
    mb.box((0, 0.017, base + high / 2), (wide + frame, 0.03, high + frame), pal.any())
    layout.put_builder(mb)
    layout.put(_picture(pal, wide, high), 0, -0.002, base)
    small = [_picture(pal, 1.0, pal.uniform(0.6, 1.5)) for _ in range(pal.count(0, 2))]
    for _ in range(pal.count(0, 5) if small else 0):
        x = pal.sign() * (wide / 2 + pal.uniform(0.7, 3))
        layout.put(pal.pick(small), x, 0.02, pal.uniform(0.5, 1.6), 0, pal.log_uniform(0.2, 1.0))
    for _ in range(pal.count(0, 3)):
        x, y = pal.uniform(-2, 2), -pal.uniform(0.3, 2.0)
        if not layout.put_model(INDOOR, x, y, 0, pal.angle(), max_size=1.6):
            layout.put(made(pal.pick((chair, potted)), pal), x, y, 0, pal.angle())
    if outside:
        layout.outdoors()
    else:
        lamps(layout, 2.0, 2.6)
    return layout.finish(lambda rng: _print_camera(Dice(rng), wide, base + high / 2, max(wide, high)))


def _print_camera(dice: Dice, wide: float, middle: float, span: float) -> SceneCamera:
    away, turn = span * dice.uniform(0.5, 1.6), dice.normal(-math.pi / 2, 0.55)
    position = (away * math.cos(turn), min(-0.25, away * math.sin(turn)), max(0.3, middle + dice.normal(0, 0.3)))
    return look(
        position,
        (dice.normal(0, 0.15) * wide, 0, middle),
        fov=dice.uniform(40, 75),
        roll=usual_roll(dice),
        tilt=dice.normal(0, 0.08),
        min_distance=0.2,
    )
