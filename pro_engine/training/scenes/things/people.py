"""People and animals, standing at the local origin and looking to -y."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..parts.builder import MeshBuilder, ellipsoid, made, placement, rotation
from ..parts.random_materials import Palette
from ..parts.scene import Material, SceneMesh

_BLACK = Material(color=(0.01, 0.01, 0.012), reflectance=0.04)

# Bumps of a face 0.23 m high: x (mirrored when not 0), z, spread, push towards the front.
_FACE = (
    (0.0, -0.018, 0.012, 0.022),
    (0.0, 0.012, 0.01, 0.012),
    (0.032, 0.018, 0.014, -0.012),
    (0.03, 0.04, 0.018, 0.005),
    (0.04, -0.03, 0.022, 0.006),
    (0.0, -0.058, 0.014, 0.008),
    (0.0, -0.095, 0.02, 0.014),
)


def limb(
    mb: MeshBuilder, points: Sequence[ArrayLike], radii: Sequence[float], material: Material, sides: int = 10
) -> None:
    """Rounded tube with a ball at each inner joint, so bends stay closed."""
    for index in range(len(points) - 1):
        first, last = np.asarray(points[index], float), np.asarray(points[index + 1], float)
        steps = np.linspace(0, 1, 5)
        swell = 1 + 0.12 * np.sin(math.pi * np.minimum(1, steps * 1.4))
        path = first + (last - first) * steps[:, None]
        mb.tube(path, (radii[index] + (radii[index + 1] - radii[index]) * steps) * swell, material, sides=sides)
        mb.sphere(first, radii[index] * 1.02, material, sides=sides)


def head(mb: MeshBuilder, pal: Palette, skin: Material, detail: int = 20) -> None:
    """Head about the local origin, 0.23 m high, with face, ears and hair."""
    shape = ellipsoid(detail)
    points = shape * (pal.uniform(0.07, 0.08), pal.uniform(0.088, 0.1), pal.uniform(0.11, 0.122))
    points[..., 0] *= 1 - 0.25 * np.clip(-shape[..., 2], 0, 1) ** 1.5
    front = np.clip(-shape[..., 1] * 2, 0, 1)
    if detail >= 32:
        for x, z, spread, push in _FACE:
            for side in (-1, 1) if x else (1,):
                far = (points[..., 0] - side * x) ** 2 + (points[..., 2] - z) ** 2
                points[..., 1] -= front * push * pal.uniform(0.7, 1.2) * np.exp(-far / (2 * spread**2))
    mb.loft(points, skin)
    if detail < 32:
        mb.cylinder((0, -0.085, 0.01), (0, -0.108, -0.015), 0.012, skin, end_radius=0.016, sides=6)
    dark, white = pal.hair(), Material(color=(0.75, 0.73, 0.7), reflectance=0.04)
    for side in (-1, 1):
        mb.sphere((side * 0.076, 0.005, 0.0), (0.012, 0.022, 0.032), skin, sides=10)
        mb.sphere((side * 0.031, -0.073, 0.018), (0.014, 0.0115, 0.008), white, sides=10)
        mb.sphere((side * 0.031, -0.08, 0.018), 0.0062, _BLACK, sides=8)
        mb.tube(
            [(side * 0.015, -0.091, 0.04), (side * 0.035, -0.088, 0.046), (side * 0.052, -0.07, 0.04)],
            0.004,
            dark,
            sides=5,
        )
    mb.sphere(
        (0, -0.088, -0.058), (0.024, 0.012, 0.007), pal.material("solid", pal.shade((0.45, 0.13, 0.11), 0.5, 1.2))
    )
    _hair(mb, pal, detail)


def _hair(mb: MeshBuilder, pal: Palette, detail: int) -> None:
    style, hair = pal.uniform(0, 1), pal.hair()
    if style < 0.08:
        return
    shape = ellipsoid(max(16, detail))
    y, z = shape[..., 1], shape[..., 2]
    points = shape * (0.087, 0.108, 0.13) * (1 + 0.05 * pal.rng.normal(size=shape.shape[:2]))[..., None]
    points[..., 1] += 0.008
    fringe, low = pal.uniform(0.3, 0.7), pal.uniform(-0.75, -0.2)
    face = (y < -0.2) & (z < fringe)
    points[face | (z < low)] *= 0.75
    if style > 0.55:  # long hair falls behind the shoulders
        drop = pal.uniform(0.05, 0.3) * np.clip((y + 0.2) * 1.5, 0, 1) * np.clip(0.2 - z, 0, 1)
        back = (y > -0.2) & (z < 0.2)
        points[..., 2] -= np.where(back, drop, 0)
        points[..., :2] = np.where(back[..., None], shape[..., :2] * (0.09, 0.11), points[..., :2])
    mb.loft(points, hair)
    if style > 0.9:
        hat = pal.cloth()
        brim = pal.pick((0.0, 0.05, 0.1))
        mb.lathe([(0.1 + brim, 0.055), (0.1, 0.06), (0.098, 0.1), (0.075, 0.14), (0, 0.155)], hat, centre=(0, 0.01, 0))


def _torso(mb: MeshBuilder, cloth: Material, hip: float, stout: float, sides: int) -> None:
    """Trunk from the hips at height `hip` to the neck."""
    rows = (
        (-0.08, 0.15, 0.11, 0.0),
        (0.0, 0.17, 0.12, 0.0),
        (0.12, 0.15, 0.11, 0.0),
        (0.22, 0.15, 0.11, -0.005),
        (0.34, 0.18, 0.125, -0.01),
        (0.44, 0.195, 0.115, 0.0),
        (0.5, 0.175, 0.09, 0.01),
        (0.535, 0.12, 0.07, 0.012),
        (0.56, 0.06, 0.055, 0.01),
    )
    angles = np.arange(sides) * 2 * math.pi / sides
    bend = np.stack([np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** 0.8, np.sin(angles)], 1)
    rings = [
        np.c_[bend * (wide * (0.5 + 0.5 * stout), deep * stout) + (0, shift), np.full(sides, hip + up)]
        for up, wide, deep, shift in rows
    ]
    mb.loft(np.array(rings), cloth)


def _arm(
    mb: MeshBuilder, pal: Palette, side: int, shoulder: ArrayLike, sleeve: Material, skin: Material, sides: int
) -> None:
    swing, bend, out = pal.uniform(-0.6, 0.9), pal.uniform(0, 1.3), pal.uniform(0.05, 0.35)
    if pal.chance(0.12):  # raised arm
        swing, out = pal.uniform(1.5, 2.9), pal.uniform(0.1, 0.6)
    upper = np.array([side * math.sin(out), -math.sin(swing) * math.cos(out), -math.cos(swing) * math.cos(out)]) * 0.29
    elbow = np.asarray(shoulder) + upper
    lower = np.array([-side * pal.uniform(0, 0.3), -math.sin(swing + bend), -math.cos(swing + bend)])
    wrist = elbow + lower * 0.26 / np.linalg.norm(lower)
    limb(mb, [shoulder, elbow], (0.058, 0.045), sleeve, sides)
    limb(mb, [elbow, wrist], (0.044, 0.03), pal.pick((sleeve, skin)), sides)
    mb.sphere(wrist + lower / np.linalg.norm(lower) * 0.06, (0.035, 0.04, 0.075), skin, sides=sides)
    if pal.chance(0.1):
        mb.box(wrist + np.array((0, 0, -0.25)), (0.1, 0.3, 0.3), pal.any())


def person(mb: MeshBuilder, pal: Palette, *, close: bool = False, sitting: bool = False) -> None:
    """A person of 1.1 to 1.95 m; `close` adds the detail that portraits need."""
    height = pal.uniform(1.5, 1.95) if pal.chance(0.85) else pal.uniform(1.1, 1.5)
    sides, stout = (20 if close else 10), pal.uniform(0.9, 1.3)
    skin, top, trousers, shoe = pal.skin(), pal.cloth(), pal.cloth(), pal.plain("dark")
    hip = 0.48 if sitting else 0.92
    with mb.at(placement(scale=height / 1.75)):
        _torso(mb, top, hip, stout, sides)
        stride = pal.pick((0.0, pal.uniform(-0.5, 0.5)))
        for side in (-1, 1):
            start = (side * 0.09, 0, hip - 0.02)
            if sitting:
                knee, foot = (side * 0.14, -0.44, hip), (side * 0.15, -0.45 + pal.normal(0, 0.05), 0.07)
            else:
                swing = side * stride
                knee = (side * 0.1, -math.sin(max(swing, -0.2)) * 0.43, 0.92 - 0.43 * math.cos(swing))
                foot = (side * 0.11, -math.sin(swing) * 0.75, 0.08 + 0.12 * max(0, -swing))
            limb(mb, [start, knee, foot], (0.09 * stout, 0.062 * stout, 0.042), trousers, sides)
            mb.sphere((foot[0], foot[1] - 0.06, foot[2] - 0.03), (0.048, 0.13, 0.05), shoe, sides=12, exponent=0.7)
            _arm(mb, pal, side, (side * (0.14 + 0.045 * stout), 0.0, hip + 0.475), top, skin, sides)
        if not sitting and pal.chance(0.2):
            mb.lathe(
                [(0.16 * stout, hip + 0.1), (0.2, hip - 0.1), (pal.uniform(0.22, 0.38), pal.uniform(0.2, 0.6))],
                pal.cloth(),
            )
        mb.cylinder((0, 0.01, hip + 0.5), (0, -0.005, hip + 0.64), 0.056, skin, sides=sides, caps=False)
        turn = placement(0, -0.015, hip + 0.73, pal.normal(0, 0.35)) @ rotation("x", pal.normal(0, 0.12))
        with mb.at(turn):
            head(mb, pal, skin, 64 if close else 18)
        if pal.chance(0.15):
            mb.sphere((0, 0.2, hip + 0.32), (0.15, 0.1, 0.22), pal.any(), exponent=0.5)


def person_mesh(pal: Palette, *, close: bool = False, sitting: bool = False) -> SceneMesh:
    """A person as a mesh."""
    return made(person, pal, close=close, sitting=sitting)


def animal(pal: Palette, *, size: float | None = None, sides: int = 16) -> SceneMesh:
    """Four-legged animal, from cat to horse and giraffe by its proportions."""
    mb = MeshBuilder()
    high = size or pal.log_uniform(0.25, 1.5)  # height of the shoulders
    long, thick = high * pal.uniform(0.55, 1.0), high * pal.uniform(0.15, 0.28)
    neck, lift = high * pal.pick((0.3, 0.45, 0.6, 1.2)), pal.uniform(0.3, 1.3)
    fur = pal.material(
        pal.pick(("solid", "noise", "flakes", "image")),
        pal.color(pal.pick(("natural", "grey", "dark", "white"))),
        scale=pal.uniform(2, 6) / high,
        matt=True,
    )
    along = np.linspace(-0.5, 0.5, 9)
    belly = thick * (0.55 + 0.45 * np.sqrt(np.clip(1 - (along * 2) ** 2, 0, 1)) + 0.08 * np.cos(along * 9))
    around = np.arange(sides) * 2 * math.pi / sides
    rings = np.stack(
        [
            np.cos(around) * belly[:, None] * 0.85,
            np.repeat(along[:, None] * long * 1.2, sides, 1),
            high * 0.82 + np.sin(around) * belly[:, None],
        ],
        -1,
    )
    mb.loft(rings, fur)
    for y in (-0.55, 0.55):
        mb.sphere((0, y * long, high * 0.82), (thick * 0.55, thick * 0.7, thick * 0.65), fur, sides=sides)
    for x in (-1, 1):
        for y in (-1, 1):
            top = (x * thick * 0.45, y * long * 0.45, high * 0.75)
            knee = (x * thick * 0.45, top[1] + pal.normal(0, 0.08) * high + 0.03 * high, high * 0.38)
            foot = (x * thick * 0.45, knee[1] + pal.normal(0, 0.05) * high, high * 0.03)
            limb(mb, [top, knee, foot], (thick * 0.42, thick * 0.24, thick * 0.17), fur, 10)
            mb.sphere(foot, (thick * 0.2, thick * 0.28, high * 0.04), fur, sides=8)
    start = np.array([0, -long * 0.55, high * 0.88])
    tip = start + np.array([0, -math.cos(lift), math.sin(lift)]) * neck
    limb(mb, [start, tip], (thick * 0.6, thick * 0.42), fur, sides)
    _animal_head(mb, pal, tip, thick, fur)
    rump = np.array([0, long * 0.6, high * 0.9])
    tail = rump + np.array([pal.normal(0, 0.1), pal.uniform(0.1, 0.4), pal.uniform(-0.5, 0.4)]) * high
    mb.tube(
        [rump, (rump + tail) / 2 + (0, 0.05 * high, 0), tail], [thick * 0.2, thick * 0.15, thick * 0.1], fur, sides=8
    )
    return mb.build()


def _animal_head(mb: MeshBuilder, pal: Palette, tip: NDArray[np.float64], thick: float, fur: Material) -> None:
    size, snout = thick * pal.uniform(0.55, 0.75), thick * pal.uniform(0.5, 1.1)
    with mb.at(placement(tip[0], tip[1], tip[2], pal.normal(0, 0.5)) @ rotation("x", pal.uniform(0.0, 0.5))):
        mb.sphere((0, -size * 0.3, 0), (size * 0.8, size, size * 0.85), fur, sides=18)
        mb.tube(
            [(0, -size * 0.6, -size * 0.15), (0, -size * 0.8 - snout, -size * 0.3)],
            [size * 0.62, size * 0.38],
            fur,
            sides=12,
        )
        mb.sphere((0, -size * 0.8 - snout, -size * 0.3), size * 0.39, fur, sides=12)
        mb.sphere((0, -size * 1.15 - snout, -size * 0.22), size * 0.14, _BLACK, sides=8)
        ear = size * pal.uniform(0.4, 1.1)
        for side in (-1, 1):
            mb.sphere((side * size * 0.62, -size * 0.75, size * 0.25), size * 0.12, _BLACK, sides=8)
            mb.cylinder(
                (side * size * 0.5, 0, size * 0.5),
                (side * size * 0.75, 0, size * 0.6 + ear),
                size * 0.25,
                fur,
                end_radius=0.01,
                sides=7,
            )
            if pal.chance(0.15):
                mb.tube(
                    [(side * size * 0.3, 0, size * 0.6), (side * size * 0.9, 0, size), (side * size, 0, size * 1.7)],
                    [size * 0.15, size * 0.1, size * 0.03],
                    pal.plain("natural"),
                    sides=7,
                )


def bird(pal: Palette, size: float | None = None) -> SceneMesh:
    """Standing bird, `size` metres long."""
    mb, length = MeshBuilder(), size or pal.log_uniform(0.15, 0.8)
    plume, beak = pal.material(pal.pick(("solid", "noise", "flakes")), scale=5 / length), pal.plain("natural")
    neck = pal.pick((0.25, 0.3, 0.6))
    leg = length * pal.pick((0.3, 0.4, 0.8))
    mb.sphere((0, 0, leg + length * 0.2), (length * 0.2, length * 0.36, length * 0.22), plume, sides=18)
    crown = (0, -length * 0.35, leg + length * (0.2 + neck))
    limb(mb, [(0, -length * 0.22, leg + length * 0.25), crown], (length * 0.13, length * 0.08), plume)
    mb.sphere(crown, length * 0.11, plume, sides=14)
    mb.cylinder(
        (0, -length * 0.43, crown[2]),
        (0, -length * pal.uniform(0.55, 0.75), crown[2] - length * 0.03),
        length * 0.04,
        beak,
        end_radius=0.001,
        sides=8,
    )
    for side in (-1, 1):
        mb.sphere((side * length * 0.09, -length * 0.4, crown[2] + length * 0.03), length * 0.02, _BLACK, sides=6)
        mb.sphere(
            (side * length * 0.19, length * 0.08, leg + length * 0.22),
            (length * 0.05, length * 0.35, length * 0.15),
            pal.any(),
        )
        mb.tube(
            [(side * length * 0.08, 0, leg + length * 0.05), (side * length * 0.08, 0.02 * length, 0)],
            length * 0.02,
            beak,
        )
    mb.extrude(
        [
            (-0.1 * length, 0.3 * length),
            (0.1 * length, 0.3 * length),
            (0.15 * length, 0.7 * length),
            (-0.15 * length, 0.7 * length),
        ],
        leg + length * 0.18,
        leg + length * 0.22,
        plume,
    )
    return mb.build()
