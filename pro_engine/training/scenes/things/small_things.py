"""Small things to put on tables, shelves and floors; each maker adds one thing standing at the local origin."""

from __future__ import annotations

import math

import numpy as np

from ..parts.builder import MeshBuilder, made, placement, rotation, translation
from ..parts.random_materials import Palette
from ..parts.scene import Material, SceneMesh


def _box(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    dims = (size * pal.uniform(0.35, 1.1), size * pal.uniform(0.3, 0.9), size * pal.uniform(0.2, 1.3))
    mb.box((0, 0, dims[2] / 2), dims, material)
    if pal.chance(0.4):  # tape or label
        mb.box((0, 0, dims[2] / 2), (dims[0] * 1.004, dims[1] * pal.uniform(0.15, 0.6), dims[2] * 1.004), pal.any())


def _books(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    top, depth, width = 0.0, size * pal.uniform(0.8, 1.2), size * pal.uniform(0.6, 0.9)
    paper = pal.plain("white")
    for _ in range(pal.count(1, 6)):
        thick, scale = size * pal.uniform(0.06, 0.2), pal.uniform(0.75, 1.05)
        with mb.at(placement(pal.normal(0, 0.02 * size), 0, top + thick / 2, pal.normal(0, 0.2))):
            mb.box((0, 0, 0), (width * scale * 0.97, depth * scale * 0.97, thick * 0.8), paper)
            cover = pal.any()
            mb.boxes([(0, 0, thick * 0.45), (0, 0, -thick * 0.45)], (width * scale, depth * scale, thick * 0.1), cover)
            mb.box((-width * scale / 2, 0, 0), (thick * 0.12, depth * scale, thick), cover)
        top += thick


def _ball(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    radius = size * pal.uniform(0.2, 0.55)
    mb.sphere((0, 0, radius), radius, material, sides=22)


def _fruit(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    skin = pal.material(pal.pick(("solid", "noise")), pal.color(pal.pick(("saturated", "natural", "green"))), scale=9.0)
    for _ in range(pal.count(1, 5)):
        radius = size * pal.uniform(0.18, 0.3)
        mb.sphere(
            (pal.normal(0, size * 0.35), pal.normal(0, size * 0.35), radius * 0.92),
            (radius, radius * pal.uniform(0.8, 1.3), radius),
            skin,
            sides=16,
            noise=0.05,
            rng=pal.rng,
        )


def _stone(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    radius = size * pal.uniform(0.25, 0.6)
    mb.sphere(
        (0, 0, radius * 0.55),
        (radius, radius * pal.uniform(0.6, 1), radius * pal.uniform(0.5, 0.9)),
        material,
        sides=22,
        noise=pal.uniform(0.1, 0.35),
        rng=pal.rng,
    )


def _bowl(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    deep = size * pal.uniform(0.15, 0.5)
    profile = [
        (0, 0),
        (size * 0.28, 0),
        (size * 0.5, deep * 0.4),
        (size * 0.58, deep),
        (size * 0.55, deep),
        (size * 0.46, deep * 0.42),
        (size * 0.26, deep * 0.1),
        (0, deep * 0.1),
    ]
    mb.lathe(profile, material, sides=26)
    if pal.chance(0.3):
        with mb.at(translation(0, 0, deep * 0.1)):
            _fruit(mb, pal, size * 0.8, material)


def _plate(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    plate = pal.plain("white", 0.04) if pal.chance(0.6) else material
    rise = size * 0.08
    mb.lathe(
        [
            (0, 0),
            (size * 0.35, 0),
            (size * 0.6, rise),
            (size * 0.6, rise * 1.2),
            (size * 0.35, rise * 0.4),
            (0, rise * 0.4),
        ],
        plate,
        sides=28,
    )


def _cup(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    radius, high, flare = size * pal.uniform(0.25, 0.4), size * pal.uniform(0.6, 1.1), pal.uniform(0.6, 1.0)
    profile = [
        (0, 0),
        (radius * flare, 0),
        (radius, high),
        (radius * 0.92, high),
        (radius * 0.9 * flare, high * 0.08),
        (0, high * 0.08),
    ]
    mb.lathe(profile, material, sides=22)
    if pal.chance(0.65):
        bow = np.linspace(-math.pi / 2, math.pi / 2, 8)
        points = np.stack([radius * (0.9 + 0.75 * np.cos(bow)), 0 * bow, high * (0.52 + 0.3 * np.sin(bow))], 1)
        mb.tube(points, radius * 0.14, material, sides=7)


def _bottle(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    radius, high, neck = size * pal.uniform(0.16, 0.3), size * pal.uniform(0.9, 1.9), pal.uniform(0.3, 0.55)
    shoulder = pal.uniform(0.5, 0.75)
    mb.lathe(
        [
            (0, 0),
            (radius, 0),
            (radius, high * shoulder),
            (radius * 0.85, high * (shoulder + 0.06)),
            (radius * neck, high * (shoulder + 0.17)),
            (radius * neck, high),
            (0, high),
        ],
        material,
        sides=20,
    )
    if pal.chance(0.6):
        mb.lathe([(radius * 1.02, high * 0.12), (radius * 1.02, high * shoulder * 0.85)], pal.any(), sides=20)
    if pal.chance(0.6):
        mb.cylinder((0, 0, high * 0.97), (0, 0, high * 1.06), radius * neck * 1.2, pal.any(), sides=14)


def _can(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    radius, high = size * pal.uniform(0.2, 0.42), size * pal.uniform(0.4, 1.2)
    mb.lathe(
        [
            (0, 0),
            (radius * 0.94, 0),
            (radius, high * 0.04),
            (radius, high * 0.95),
            (radius * 0.93, high),
            (radius * 0.9, high * 0.97),
            (0, high * 0.97),
        ],
        material,
        sides=22,
    )
    if pal.chance(0.5):
        mb.lathe([(radius * 0.94, high * 0.998), (0, high * 0.998)], pal.metal(), sides=22)


def _vase(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    high, start, turn = size * pal.uniform(0.8, 2.0), pal.uniform(0, 1), pal.uniform(1.5, 4.5)
    steps = np.linspace(0, 1, 12)
    radius = size * (0.14 + 0.3 * np.abs(np.sin(start + turn * steps)))
    mb.lathe(np.stack([np.r_[0, radius, radius[-1] * 0.9, 0], high * np.r_[0, steps, 1, 0.3]], 1), material, sides=24)


def _jug(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    _vase(mb, pal, size * 0.8, material)
    bow = np.linspace(-1.4, 1.4, 8)
    mb.tube(
        np.stack([size * (0.2 + 0.25 * np.cos(bow)), 0 * bow, size * (0.5 + 0.28 * np.sin(bow))], 1),
        size * 0.04,
        material,
        sides=7,
    )


def _block(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    sides, high = pal.pick((3, 4, 5, 6, 8, 24)), size * pal.uniform(0.3, 1.4)
    mb.cylinder(
        (0, 0, 0), (0, 0, high), size * 0.35, material, end_radius=size * pal.pick((0.35, 0.35, 0.2, 0.0)), sides=sides
    )


def _ring(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    thick = size * pal.uniform(0.05, 0.16)
    mb.torus((0, 0, thick), size * 0.4, thick, material, 28)


def _tool(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    """Screwdriver, brush, spoon, marker: a lying stick with a thicker end."""
    thick, length = size * pal.uniform(0.03, 0.09), size * pal.uniform(0.6, 1.5)
    mb.cylinder((-length / 2, 0, thick), (0, 0, thick), thick, material, sides=12)
    mb.cylinder((0, 0, thick), (length / 2, 0, thick), thick * 0.4, pal.metal(), sides=8)
    if pal.chance(0.5):
        mb.sphere((length / 2, 0, thick), (thick * 2, thick * 1.2, thick * 0.6), pal.metal())


def _toy(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    """Stuffed animal sitting upright."""
    body = size * 0.32
    mb.sphere((0, 0, body), (body, body * 0.85, body * 1.05), material)
    mb.sphere((0, -body * 0.1, body * 2.5), body * 0.8, material, sides=18)
    mb.sphere((0, -body * 0.85, body * 2.4), body * 0.3, pal.any())
    for side in (-1, 1):
        mb.sphere((side * body * 0.6, 0, body * 3.2), (body * 0.3, body * 0.15, body * 0.3), material)
        mb.sphere((side * body * 0.28, -body * 0.76, body * 2.7), body * 0.09, Material(color=(0.01, 0.01, 0.01)))
        mb.sphere((side * body, -body * 0.3, body * 1.4), (body * 0.5, body * 0.3, body * 0.28), material)
        mb.sphere((side * body * 0.6, -body * 0.9, body * 0.3), (body * 0.33, body * 0.6, body * 0.3), material)


def _toy_car(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    mb.sphere((0, 0, size * 0.2), (size * 0.5, size * 0.22, size * 0.12), material, exponent=0.4)
    mb.sphere((size * 0.05, 0, size * 0.32), (size * 0.26, size * 0.18, size * 0.12), pal.pane(), exponent=0.5)
    for x in (-0.3, 0.3):
        for side in (-1, 1):
            mb.cylinder(
                (size * x, side * size * 0.17, size * 0.1),
                (size * x, side * size * 0.24, size * 0.1),
                size * 0.1,
                Material(color=(0.02, 0.02, 0.02)),
                sides=14,
            )


def _laptop(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    width, deep = 0.33, 0.23
    mb.box((0, 0, 0.009), (width, deep, 0.018), material)
    mb.box((0, -0.03, 0.0185), (width * 0.85, deep * 0.45, 0.001), pal.plain("dark"))
    with mb.at(translation(0, deep / 2, 0.015) @ rotation("x", pal.uniform(-0.5, 0.1))):
        mb.box((0, 0, deep / 2), (width, 0.008, deep), material)
        mb.box(
            (0, -0.005, deep / 2),
            (width * 0.93, 0.002, deep * 0.9),
            Material(color=pal.color(), emission=pal.pick((0.0, 0.0, 0.6))),
        )


def _monitor(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    width, high, black = pal.uniform(0.4, 0.7), pal.uniform(0.28, 0.4), pal.plain("dark")
    mb.box((0, 0, 0.01), (0.22, 0.16, 0.02), black)
    mb.cylinder((0, 0.03, 0), (0, 0.03, 0.25), 0.02, black, sides=8)
    mb.box((0, 0, 0.14 + high / 2), (width, 0.03, high), black)
    screen = pal.material(pal.pick(("solid", "image", "noise")))
    mb.box((0, -0.016, 0.14 + high / 2), (width * 0.95, 0.002, high * 0.92), screen)


def _lamp(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    high, arm = pal.uniform(0.25, 0.5), pal.metal()
    mb.cylinder((0, 0, 0), (0, 0, 0.02), 0.08, arm, sides=16)
    elbow, end = (0.1, 0, high * 0.6), (-0.05, 0, high)
    mb.tube([(0, 0, 0), elbow, end], 0.008, arm)
    mb.lathe([(0.03, 0.03), (0.09, -0.06)], pal.any(), centre=end)


def _clock(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    with mb.at(translation(0, 0, size * 0.4) @ rotation("x", math.pi / 2)):
        mb.cylinder((0, 0, -0.03), (0, 0, 0.03), size * 0.4, material, sides=26)
        mb.cylinder((0, 0, 0.03), (0, 0, 0.032), size * 0.36, pal.plain("white"), sides=26)


def _frame(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    width, high = size * pal.uniform(0.5, 0.9), size * pal.uniform(0.5, 1.0)
    with mb.at(rotation("x", -0.2)):
        mb.box((0, 0, high / 2), (width, 0.015, high), material)
        mb.box((0, -0.009, high / 2), (width * 0.84, 0.002, high * 0.84), pal.material("image", scale=1 / size))


def _basket(mb: MeshBuilder, pal: Palette, size: float, material: Material) -> None:
    width, deep, high, thin = size * 0.6, size * 0.45, size * pal.uniform(0.25, 0.6), size * 0.025
    mb.box((0, 0, thin / 2), (2 * width, 2 * deep, thin), material)
    mb.boxes([(0, deep, high / 2), (0, -deep, high / 2)], (2 * width, thin, high), material)
    mb.boxes([(width, 0, high / 2), (-width, 0, high / 2)], (thin, 2 * deep, high), material)
    for _ in range(pal.count(0, 4)):
        with mb.at(placement(pal.uniform(-0.6, 0.6) * width, pal.uniform(-0.6, 0.6) * deep, thin)):
            small_object(mb, pal, size * 0.4, simple=True)


_SIMPLE = (
    _box,
    _box,
    _box,
    _books,
    _ball,
    _fruit,
    _stone,
    _bowl,
    _plate,
    _cup,
    _cup,
    _bottle,
    _bottle,
    _can,
    _can,
    _vase,
    _jug,
    _block,
    _ring,
    _tool,
    _toy,
    _toy_car,
)
_ALL = (*_SIMPLE, _box, _box, _books, _laptop, _monitor, _lamp, _clock, _frame, _basket, _basket)


def small_object(mb: MeshBuilder, pal: Palette, size: float, *, simple: bool = False) -> None:
    """Add one thing of about `size` metres, now and then of glass; `simple` leaves out things of fixed size."""
    maker = pal.pick(_SIMPLE if simple else _ALL)
    material = pal.any() if pal.chance(0.85) else pal.material()
    if maker in (_bottle, _vase, _cup, _jug) and pal.chance(0.12):
        material = pal.glass()
    with mb.at(placement(yaw=pal.angle() if simple else pal.normal(0, 0.6))):
        maker(mb, pal, size, material)


def small_mesh(pal: Palette, size: float) -> SceneMesh:
    """One thing as a mesh of its own, at times toppled over."""
    mesh = made(small_object, pal, size, simple=True)
    if not pal.chance(0.15):
        return mesh
    vertices = mesh.vertices @ rotation("x", math.pi / 2)[:3, :3].T.astype(np.float32)
    vertices[:, 2] -= vertices[:, 2].min()
    return SceneMesh(vertices, mesh.faces, mesh.face_material, mesh.smooth, mesh.materials)
