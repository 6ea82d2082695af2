"""Light that arrives at points of a scene: suns, lamps and surroundings, with the shadows of opaque things."""

from __future__ import annotations

import numpy as np
from embreex.rtcore_scene import EmbreeScene as RayTree
from numpy.typing import NDArray

from ..parts.scene import Light, Scene
from .antialias import Jitter
from .triangles import dot, unit

Array = NDArray[np.float32]

AMBIENT_RAYS = 2
LAMPS = 3
"""Up to this many lamps each get a shadow ray from every point; of more, `LAMP_PICKS` are drawn by their light."""
LAMP_PICKS = 2
SHARP_SUN = 0.03
"""Suns narrower than this (radians) cast shadows that the wide filter would wash out."""


class Lighting:
    """The lights of a scene."""

    def __init__(self, scene: Scene, tree: RayTree | None, material: NDArray[np.int32], bounce: Array) -> None:
        """Of what is opaque: `tree`, None for nothing, and `material` (F,) of its faces; `bounce` (materials, 3), the
        light that each material gives off to its neighbours."""
        self._scene, self._tree, self._material, self._bounce = scene, tree, material, bounce
        self.suns = [item for item in scene.lights if item.kind == "sun"]
        self.lamps = [item for item in scene.lights if item.kind != "sun"]

    def arriving(self, origin: Array, normal: Array, jitter: Jitter) -> tuple[Array, Array]:
        """Light at points (N, 3): from clear suns (N, 3), whose shadows are sharp, and all other light (N, 3)."""
        sharp, soft = np.zeros_like(origin), np.zeros_like(origin)
        for sun in self.suns:
            light = sharp if sun.size < SHARP_SUN else soft
            light += self.sunlight(sun, origin, normal, jitter)
        if self.lamps:
            soft += self.lamplight(origin, normal, jitter)
        return sharp, soft + self._ambient(origin, normal, jitter)

    def _ambient(self, origin: Array, normal: Array, jitter: Jitter) -> Array:
        """Light (N, 3) from all around: sky and ground, or whatever stands within reach."""
        total = np.zeros_like(origin)
        reach = np.full(len(origin), self._scene.ambient_reach, np.float32)
        for turn in range(AMBIENT_RAYS):
            toward = unit(normal + jitter.sphere(turn, AMBIENT_RAYS) * np.float32(0.98))
            arriving = self.surroundings(toward)
            if self._tree is not None:
                met = self._tree.run(origin, toward, dists=reach)
                struck = np.flatnonzero(met >= 0)
                arriving[struck] = self._bounce[self._material[met[struck]]]
            total += arriving
        return total / np.float32(AMBIENT_RAYS)

    def surroundings(self, direction: Array) -> Array:
        """Ambient light from a direction (N, 3): full from above, from below tinted by the ground."""
        ambient = np.asarray(self._scene.ambient, np.float32)
        ground = np.asarray(self._scene.sky.ground, np.float32) * ambient
        up = direction[:, 2:3]
        return np.where(up > 0, ambient * (0.5 + 0.5 * up), ambient * (0.5 + 0.5 * up) - ground * up)

    def sunlight(self, sun: Light, origin: Array, normal: Array, jitter: Jitter | None) -> Array:
        """Irradiance (N, 3) of a sun with its shadow; jittered over its disc when asked to."""
        toward = np.broadcast_to(unit(np.asarray(sun.vector, np.float32)[None]), origin.shape)
        if jitter is not None and sun.size > 0:
            toward = unit(toward + jitter.sphere(0, 1) * np.float32(sun.size))
        facing = np.clip(dot(normal, toward), 0, 1)
        facing *= self._visible(origin, toward, np.full(len(origin), 1e6, np.float32), facing > 1e-3)
        return facing[:, None] * (np.asarray(sun.color, np.float32) * np.float32(sun.power))

    def lamplight(self, origin: Array, normal: Array, jitter: Jitter | None) -> Array:
        """Irradiance (N, 3) of the point and area lights, each or a random few of them with shadow rays."""
        count = len(self.lamps)
        places = np.array([item.vector for item in self.lamps], np.float32)
        powers = np.array([item.power * np.asarray(item.color) for item in self.lamps], np.float32)
        sizes = np.array([item.size for item in self.lamps], np.float32)
        downward = np.array([item.kind == "area" for item in self.lamps])
        picks = LAMP_PICKS if jitter is not None else 1
        if count <= LAMPS:
            choices = [(np.full(len(origin), k), np.ones(len(origin), np.float32)) for k in range(count)]
        else:
            share = np.empty((count, len(origin)), np.float32)
            for lamp in range(count):
                away = places[lamp] - origin
                square = dot(away, away)
                facing = np.maximum(dot(away, normal), 0) / np.sqrt(square + 1e-6)
                share[lamp] = (facing + 0.02) * (powers[lamp].mean() / (square + 0.05))
                if lamp > 0:
                    share[lamp] += share[lamp - 1]
            share /= share[-1].copy()
            choices = []
            for pick in range(picks):
                draw = (pick + (np.float32(0.5) if jitter is None else jitter.share())) / picks
                chosen = np.minimum((draw > share).sum(0), count - 1)
                near = np.arange(len(origin))
                odds = share[chosen, near] - np.where(chosen > 0, share[np.maximum(chosen, 1) - 1, near], 0)
                choices.append((chosen, (1 / (picks * np.maximum(odds, 1e-4))).astype(np.float32)))
        total = np.zeros_like(origin)
        for turn, (chosen, weight) in enumerate(choices):
            target = places[chosen]
            if jitter is not None:
                target = target + jitter.sphere(turn, len(choices)) * (sizes[chosen] * 0.5)[:, None]
            away = target - origin
            reach = np.linalg.norm(away, axis=1)
            toward = away / np.maximum(reach, 1e-6)[:, None]
            strength = weight * np.clip(dot(normal, toward), 0, 1) / (reach**2 + 0.05)
            strength = np.where(downward[chosen], strength * np.clip(toward[:, 2], 0.05, 1), strength)
            strength *= self._visible(origin, toward, (reach * 0.98).astype(np.float32), strength > 1e-5)
            total += powers[chosen] * strength[:, None]
        return total

    def _visible(self, origin: Array, toward: Array, reach: Array, wanted: NDArray[np.bool_]) -> Array:
        """1 where nothing opaque stands within `reach`, else 0; only asked where `wanted`."""
        clear = np.ones(len(origin), np.float32)
        rays = np.flatnonzero(wanted)
        if len(rays) and self._tree is not None:
            met = self._tree.run(
                origin[rays], np.ascontiguousarray(toward[rays], np.float32), dists=reach[rays], query="OCCLUDED"
            )
            clear[rays[met >= 0]] = 0
        return clear
