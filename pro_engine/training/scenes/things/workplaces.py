"""Workplaces and what lies on them; makers as in `furniture.py`: base at z = 0, front to -y, metres."""

from __future__ import annotations

import math

import numpy as np

from ..parts.builder import MeshBuilder, made, placement, rotation, translation
from ..parts.random_materials import Palette
from ..parts.scene import Material
from ..parts.stacking import Heap
from .furniture import office_chair
from .small_things import small_object

DESK_HEIGHT = 0.73


def monitor(mb: MeshBuilder, pal: Palette) -> None:
    """Screen on a stand or arm, lit or dark."""
    wide = pal.pick((0.45, 0.54, 0.6, 0.71))
    high, case = wide * pal.pick((0.6, 0.57, 0.42)), pal.plain(pal.pick(("dark", "dark", "grey", "white")))
    rise = pal.uniform(0.08, 0.18)
    mb.box((0, 0.05, 0.008), (0.24, 0.18, 0.016), case)
    mb.box((0, 0.07, rise * 0.5 + 0.08), (0.06, 0.03, rise + 0.16), case)
    with mb.at(translation(0, 0.03, rise) @ rotation("x", pal.normal(-0.05, 0.06))):
        mb.box((0, 0.012, high / 2), (wide, 0.03, high), case)
        content = pal.material(pal.pick(("solid", "image", "image", "noise", "checker")), scale=1 / wide)
        lit = Material(
            content.pattern,
            content.color,
            content.color2,
            scale=content.scale,
            image=content.image,
            reflectance=0.04,
            emission=pal.pick((0.0, 0.5, 0.9)),
        )
        mb.box((0, -0.004, high / 2), (wide - 0.02, 0.004, high - 0.02), lit)


def keyboard(mb: MeshBuilder, pal: Palette) -> None:
    """Keyboard and mouse, with or without a pad."""
    body = pal.plain(pal.pick(("dark", "dark", "white", "grey")))
    caps = body if pal.chance(0.4) else pal.plain(pal.pick(("dark", "white", "grey")))
    keys = pal.pick((14, 14, 18))
    wide = keys * 0.019 + 0.02
    mb.box((0, 0, 0.008), (wide, 0.13, 0.016), body)
    spots = [((x - (keys - 1) / 2) * 0.019, (y - 2) * 0.021, 0.019) for x in range(keys) for y in range(5)]
    mb.boxes(spots, (0.0155, 0.0165, 0.008), caps)
    x = wide / 2 + pal.uniform(0.08, 0.16)
    if pal.chance(0.4):
        mb.box((x, 0, 0.001), (0.22, 0.2, 0.002), pal.cloth())
    mb.sphere((x, pal.normal(0, 0.02), 0.012), (0.032, 0.055, 0.024), body, sides=14)


def papers(mb: MeshBuilder, pal: Palette) -> None:
    """Sheets, notebooks or magazines on a slovenly stack."""
    width, depth = pal.pick(((0.21, 0.297), (0.21, 0.297), (0.148, 0.21), (0.19, 0.25)))
    z, sheet = 0.0, pal.plain("white")
    for _ in range(pal.count(1, 5)):
        thick = pal.pick((0.0008, 0.003, 0.012))
        face = pal.material("image", scale=1 / depth) if pal.chance(0.35) else pal.pick((sheet, sheet, pal.any()))
        mb.box(
            (pal.normal(0, 0.012), pal.normal(0, 0.012), z + thick / 2),
            (width, depth, thick),
            face,
            pal.normal(0, 0.12),
        )
        z += thick


def mug(mb: MeshBuilder, pal: Palette) -> None:
    """Mug with a handle and something in it."""
    radius, high = pal.uniform(0.036, 0.046), pal.uniform(0.08, 0.11)
    china = pal.plain(pal.pick(("white", "any", "saturated", "dark")), 0.04)
    mb.lathe(
        [(0, 0), (radius * 0.92, 0), (radius, high), (radius - 0.004, high), (radius * 0.88, 0.008), (0, 0.008)],
        china,
        sides=22,
    )
    bow = np.linspace(-math.pi / 2, math.pi / 2, 8)
    mb.tube(np.stack([radius * 0.95 + 0.026 * np.cos(bow), 0 * bow, high * 0.5 + 0.028 * np.sin(bow)], 1), 0.005, china)
    drink = Material(color=pal.pick(((0.03, 0.012, 0.005), (0.2, 0.09, 0.03), (0.3, 0.13, 0.02))), reflectance=0.04)
    level = high * pal.uniform(0.5, 0.85)
    mb.lathe([(radius * 0.94, level), (0, level)], drink, sides=22)


def handset(mb: MeshBuilder, pal: Palette) -> None:
    """Desk telephone, or a mobile lying flat."""
    if pal.chance(0.5):
        mb.box((0, 0, 0.004), (0.072, 0.15, 0.008), pal.plain("dark"))
        mb.box((0, 0, 0.0084), (0.066, 0.14, 0.0008), Material(color=(0.02, 0.02, 0.025), reflectance=0.05))
        return
    body = pal.plain(pal.pick(("dark", "grey", "white")))
    with mb.at(rotation("x", 0.25)):
        mb.box((0, 0, 0.02), (0.18, 0.2, 0.04), body)
        mb.sphere((-0.06, 0, 0.055), (0.026, 0.1, 0.02), body, exponent=0.5)
        mb.boxes(
            [(0.02 + 0.022 * i, -0.06 + 0.022 * j, 0.042) for i in range(3) for j in range(4)],
            (0.015, 0.012, 0.006),
            pal.plain("grey"),
        )
        mb.box((0.04, 0.06, 0.041), (0.08, 0.05, 0.003), Material(color=(0.05, 0.07, 0.05), reflectance=0.04))


def organiser(mb: MeshBuilder, pal: Palette) -> None:
    """Pen cup with pens, or a letter tray."""
    body = pal.any()
    if pal.chance(0.5):
        mb.lathe([(0, 0), (0.04, 0), (0.04, 0.1), (0.036, 0.1), (0.036, 0.01), (0, 0.01)], body, sides=18)
        for _ in range(pal.count(2, 7)):
            lean = (pal.normal(0, 0.018), pal.normal(0, 0.018))
            mb.cylinder(
                (lean[0] * 0.5, lean[1] * 0.5, 0.01),
                (lean[0] * 1.8, lean[1] * 1.8, pal.uniform(0.13, 0.19)),
                0.004,
                pal.plain("saturated"),
                sides=6,
            )
        return
    for z in 0.008 + 0.07 * np.arange(pal.count(1, 3)):
        mb.box((0, 0, z), (0.25, 0.33, 0.004), body)
        mb.boxes([(-0.125, 0, z + 0.03), (0.125, 0, z + 0.03)], (0.004, 0.33, 0.06), body)
        with mb.at(translation(0, 0, z + 0.003)):
            papers(mb, pal)


DESK_THINGS = (papers, papers, mug, mug, handset, organiser)


def strew(mb: MeshBuilder, pal: Palette, heap: Heap, number: int, size: tuple[float, float] = (0.05, 0.2)) -> None:
    """Lay things of a desk and other small ones on a heap, upright, beside or upon one another."""
    for _ in range(number):
        if pal.chance(0.5):
            mesh = made(pal.pick(DESK_THINGS), pal)
        else:
            mesh = made(small_object, pal, pal.log_uniform(*size), simple=True)
        where = heap.lay(mesh, rotation("z", pal.angle()), tries=6)
        if where is not None:
            with mb.at(where):
                mb.merge(mesh)


def workplace(mb: MeshBuilder, pal: Palette, width: float, depth: float, *, most: int = 8, seat: bool = True) -> None:
    """Desk with screens, keyboard, things about them, drawers, and a chair before it."""
    thick = pal.uniform(0.018, 0.035)
    top, frame = pal.wood(), pal.pick((pal.metal(), pal.wood()))
    under = DESK_HEIGHT - thick
    mb.box((0, 0, DESK_HEIGHT - thick / 2), (width, depth, thick), top)
    if pal.chance(0.5):
        mb.boxes([(side * (width / 2 - 0.03), 0, under / 2) for side in (-1, 1)], (0.03, depth * 0.9, under), frame)
    else:
        for side in (-1, 1):
            x = side * (width / 2 - 0.12)
            mb.boxes([(x, 0, under / 2), (x, 0, 0.02)], [(0.07, 0.05, under), (0.07, depth * 0.85, 0.04)], frame)
    if pal.chance(0.6):
        x = pal.sign() * (width / 2 - 0.28)
        mb.box((x, 0.02, 0.31), (0.42, depth * 0.8, 0.58), pal.pick((top, frame)))
        mb.boxes([(x, 0.02 - depth * 0.41, z) for z in (0.12, 0.31, 0.5)], (0.4, 0.02, 0.17), pal.pick((top, frame)))
    heap = Heap(pal, width - 0.04, depth - 0.04, DESK_HEIGHT)
    screens, laptop = pal.pick((0, 1, 1, 1, 2, 2)) if width > 1.3 else pal.pick((0, 1, 1)), pal.chance(0.2)
    centre = pal.normal(0, 0.06) * width
    for index in range(screens):
        aside = index - (screens - 1) / 2
        x = centre + aside * 0.64
        with mb.at(placement(x, depth * 0.22, DESK_HEIGHT, -aside * pal.uniform(0.1, 0.5) + pal.normal(0, 0.06))):
            monitor(mb, pal)
        heap.block((x - 0.3, x + 0.3), (depth * 0.22 - 0.1, depth / 2))
    if screens and not laptop:
        with mb.at(placement(centre + pal.normal(0, 0.05), -depth * 0.22, DESK_HEIGHT, pal.normal(0, 0.08))):
            keyboard(mb, pal)
        heap.block((centre - 0.26, centre + 0.42), (-depth * 0.5, -depth * 0.02))
    strew(mb, pal, heap, pal.count(most // 3, most))
    if seat:
        with mb.at(
            placement(
                centre + pal.normal(0, 0.15), -depth / 2 - pal.uniform(0.05, 0.5), 0, math.pi + pal.normal(0, 0.5)
            )
        ):
            office_chair(mb, pal)
