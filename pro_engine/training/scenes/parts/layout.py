"""A scene under construction: what stands where, so that things do not collide, and where cameras may be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .builder import MeshBuilder, placement
from .dice import Dice
from .random_materials import Palette
from .scene import Light, Scene, SceneCamera, SceneMesh

INDOOR = ("Living room", "Bedroom", "Kitchen", "Bathroom", "Office", "Miscellaneous", "Lights")
PEOPLE = ("Characters",)
VEHICLES = ("Vehicles",)
EXTERIOR = ("Exterior",)

Propose = Callable[[np.random.Generator], SceneCamera]


class SceneLayout:
    """Collects the parts of one scene."""

    def __init__(self, kind: str, pal: Palette) -> None:
        self.kind, self.pal = kind, pal
        self.scene = Scene(kind, propose=_unset)
        self.discs: list[tuple[float, float, float]] = []
        """Taken ground: centre and radius."""

    def free(self, x: float, y: float, radius: float) -> bool:
        """Whether a disc of ground is untaken."""
        return all((x - a) ** 2 + (y - b) ** 2 > (radius + r) ** 2 for a, b, r in self.discs)

    def take(self, x: float, y: float, radius: float) -> None:
        """Mark a disc of ground as taken."""
        self.discs.append((x, y, radius))

    def put(
        self,
        mesh: SceneMesh,
        x: float = 0.0,
        y: float = 0.0,
        z: float = 0.0,
        yaw: float = 0.0,
        scale: float = 1.0,
        *,
        radius: float = 0.0,
    ) -> None:
        """Place a mesh; a `radius` above 0 takes the ground around it."""
        self.scene.add(mesh, placement(x, y, z, yaw, scale).astype(np.float32))
        if radius > 0:
            self.take(x, y, radius)

    def put_builder(self, mb: MeshBuilder) -> None:
        """Place what a builder holds, if anything, at the origin."""
        if not mb.empty:
            self.scene.add(mb.build())

    def put_model(
        self,
        categories: tuple[str, ...] | None,
        x: float,
        y: float,
        z: float = 0.0,
        yaw: float = 0.0,
        *,
        max_size: float | None = None,
        solid: bool = False,
    ) -> bool:
        """Place a real model if there is one; `solid` demands and takes free ground. Tells whether it was placed."""
        found = self.pal.model(categories, max_size)
        if found is None:
            return False
        mesh, size = found
        radius = 0.5 * math.hypot(float(size[0]), float(size[1]))
        if solid and not self.free(x, y, radius * 0.8):
            return False
        self.put(mesh, x, y, z, yaw, radius=radius * 0.8 if solid else 0.0)
        return True

    def light(self, kind: str, vector: Sequence[float], power: float, size: float = 0.1) -> None:
        """Add a lamp of a warm or cool white."""
        warm = self.pal.uniform(0, 0.4)
        color = (1.0, 1 - 0.4 * warm, 1 - warm) if self.pal.chance(0.7) else (0.85, 0.93, 1.0)
        self.scene.lights.append(
            Light(kind, (float(vector[0]), float(vector[1]), float(vector[2])), power, color, size)
        )

    def outdoors(self) -> None:
        """Daylight: sky, sun, ambient light and, in some scenes, haze."""
        pal, scene = self.pal, self.scene
        scene.sky = pal.sky(hdri_share=0.25, open_air=True)
        scene.lights.append(pal.sun(pal.uniform(0.0, 0.4) if scene.sky.clouds > 0.7 else None))
        scene.ambient = pal.ambient(0.4, 1.1)
        scene.ambient_reach = pal.uniform(3, 12)
        if pal.chance(0.35):
            scene.haze = pal.log_uniform(60, 1500)
            level = pal.uniform(0.6, 1.0)
            scene.haze_color = (level * 0.93, level * 0.97, level)

    def finish(self, propose: Propose) -> Scene:
        """The scene with its camera proposals."""
        self.scene.propose = propose
        return self.scene


def look(
    position: Sequence[float],
    target: Sequence[float],
    *,
    fov: float,
    roll: float = 0.0,
    turn: float = 0.0,
    tilt: float = 0.0,
    min_distance: float = 0.1,
    blur: float = 0.0,
) -> SceneCamera:
    """Camera at `position` looking at `target`, then turned and tilted by the given radians; `fov` in degrees."""
    dx, dy, dz = (float(target[axis]) - float(position[axis]) for axis in range(3))
    pitch = math.atan2(dz, math.hypot(dx, dy) + 1e-9) + tilt
    return SceneCamera(
        (float(position[0]), float(position[1]), float(position[2])),
        math.atan2(dy, dx) + turn,
        pitch,
        roll,
        math.radians(fov),
        min_distance,
        blur,
    )


def usual_roll(dice: Dice) -> float:
    """Mostly level, now and then held askew."""
    return dice.normal(0, 0.025) if dice.chance(0.85) else dice.normal(0, 0.2)


def _unset(rng: np.random.Generator) -> SceneCamera:
    raise RuntimeError("the scene is not finished: Layout.finish sets its cameras")
