"""Random materials and skies. A `Palette` makes all random choices of one scene, so its objects share materials."""

from __future__ import annotations

import colorsys
import math
from pathlib import PurePath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .dice import Dice
from .scene import Color, Light, Material, SceneMesh, Sky

_HSV = {  # bounds of hue, saturation and value
    "natural": ((0.03, 0.16), (0.1, 0.6), (0.15, 0.8)),
    "any": ((0.0, 1.0), (0.1, 0.7), (0.1, 0.8)),
    "grey": ((0.0, 1.0), (0.0, 0.08), (0.1, 0.85)),
    "saturated": ((0.0, 1.0), (0.6, 1.0), (0.3, 0.9)),
    "dark": ((0.0, 1.0), (0.0, 0.5), (0.01, 0.12)),
    "white": ((0.05, 0.18), (0.0, 0.12), (0.75, 0.92)),
    "green": ((0.18, 0.36), (0.3, 0.8), (0.06, 0.4)),
    "skin": ((0.04, 0.09), (0.3, 0.6), (0.15, 0.8)),
}


_ROOFED_HDRIS = (
    "apartment",
    "bridge",
    "esplanade",
    "hall",
    "indoor",
    "interior",
    "lab",
    "lobby",
    "room",
    "studio",
    "warehouse",
    "workshop",
)


class AssetSource(Protocol):
    """Optional files that make scenes more real; a builder also works with none."""

    textures: list[str]
    hdris: list[str]

    def random_model(
        self, rng: np.random.Generator, categories: tuple[str, ...] | None = None, max_size: float | None = None
    ) -> tuple[SceneMesh, NDArray[np.float32], str] | None:
        """A model with its size in metres and its category: base at z = 0, centred, front to -y."""


class Palette(Dice):
    """Materials of one scene. `any` draws from a small pool, as rooms and streets repeat their materials."""

    def __init__(self, rng: np.random.Generator, assets: AssetSource | None = None, pool: int = 14) -> None:
        super().__init__(rng)
        self.assets = assets
        self.textures = list(assets.textures) if assets is not None else []
        self.pool = [self.material() for _ in range(pool)]

    def any(self) -> Material:
        """One of the scene's own materials."""
        return self.pick(self.pool)

    def color(self, kind: str | None = None) -> Color:
        """Linear colour of a kind: natural, any, grey, saturated, dark, white, green or skin."""
        bounds = _HSV[kind or self.pick(("natural", "natural", "any", "grey", "saturated", "dark", "white"))]
        return colorsys.hsv_to_rgb(*(self.uniform(*bound) for bound in bounds))

    def shade(self, color: Color, low: float = 0.6, high: float = 1.3) -> Color:
        """The same hue, lighter or darker."""
        factor = self.uniform(low, high)
        return tuple(min(1.0, part * factor) for part in color)  # type: ignore[return-value]

    def material(
        self,
        pattern: str | None = None,
        color: Color | None = None,
        *,
        scale: float | None = None,
        matt: bool = False,
        contrast: float = 1.0,
    ) -> Material:
        """Any material, or one of the given pattern or colour; `contrast` pulls the second colour to the first."""
        if pattern is None:
            pattern = self.pick(
                ("solid",) * 4
                + ("noise", "noise", "cells", "flakes", "bricks", "checker", "wood", "waves")
                + ("image",) * 7
            )
        if pattern == "image" and not self.textures:
            pattern = self.pick(("noise", "flakes", "wood", "solid"))
        first = color or self.color("natural" if pattern == "wood" else None)
        second = self.color() if color is None and self.chance(0.3) else self.shade(first, 0.45, 1.5)
        if contrast < 1:
            second = _mix(first, second, contrast)
        image, tint = None, False
        if pattern == "image":
            image, tint = self.pick(self.textures), self.chance(0.6 if color else 0.3)
            first = _mix((1.0, 1.0, 1.0), first, 0.75) if tint else first
        elif pattern == "bricks":
            second = self.color("grey") if self.chance(0.5) else second
        gloss = 0.0 if matt or self.chance(0.7) else self.pick((0.04, 0.04, 0.04, 0.6))
        return Material(
            pattern=pattern,
            color=first,
            color2=second,
            scale=scale or self.log_uniform(0.5, 8.0),
            angle=self.pick((0.0, 0.0, math.pi / 2, self.angle())),
            stretch=1.0 if self.chance(0.7) else self.uniform(0.4, 2.5),
            offset=(self.uniform(0, 9), self.uniform(0, 9)),
            threshold=self.uniform(0.3, 0.6),
            softness=self.log_uniform(0.02, 0.5),
            joint=self.uniform(0.01, 0.08),
            image=image,
            tint=tint,
            reflectance=gloss,
            bump=self.uniform(0.1, 0.8) if self.chance(0.3) else 0.0,
            bump_scale=self.log_uniform(2.0, 40.0),
        )

    def plain(self, kind: str | None = None, gloss: float = 0.0) -> Material:
        """One colour."""
        return Material(color=self.color(kind), reflectance=gloss)

    def wood(self) -> Material:
        """Planks, veneer or painted board."""
        tone = self.color(self.pick(("natural", "natural", "white", "dark")))
        return self.material(
            self.pick(("wood", "wood", "solid", "image")), tone, scale=self.log_uniform(1.0, 6.0), contrast=0.6
        )

    def metal(self) -> Material:
        """Steel, brass, black or painted metal."""
        tone = self.color(self.pick(("grey", "grey", "dark", "natural", "any")))
        return Material(color=tone, reflectance=self.pick((0.0, 0.04, 0.04, 0.55, 0.75)))

    def cloth(self) -> Material:
        """Clothes, cushions, curtains."""
        return self.material(
            self.pick(("solid", "solid", "solid", "noise", "image", "checker", "waves")),
            scale=self.log_uniform(3.0, 25.0),
            matt=True,
        )

    def leaf(self) -> Material:
        """Foliage, now and then in autumn colours."""
        tone = self.color("green") if self.chance(0.85) else self.color("natural")
        return Material("noise", tone, self.shade(tone, 0.5, 1.6), scale=self.uniform(0.5, 4.0), softness=0.5)

    def bark(self) -> Material:
        """Trunks and branches."""
        return self.material(
            self.pick(("noise", "noise", "wood", "image")), self.color("natural"), scale=self.uniform(2, 9), matt=True
        )

    def skin(self) -> Material:
        """Human skin."""
        return self.material("noise", self.color("skin"), scale=12.0, matt=True, contrast=0.25)

    def hair(self) -> Material:
        """Hair of a natural colour."""
        return self.material(
            "noise", self.color(self.pick(("dark", "dark", "natural"))), scale=30.0, matt=True, contrast=0.6
        )

    def glass(self) -> Material:
        """Clear glass, lightly tinted."""
        return Material(
            color=(self.uniform(0.75, 1), self.uniform(0.8, 1), self.uniform(0.8, 1)),
            reflectance=0.04,
            transparent=True,
        )

    def mirror(self) -> Material:
        """A mirror; its depth is that of the glass."""
        return Material(color=(0.88, 0.89, 0.9), reflectance=0.9)

    def pane(self) -> Material:
        """Window of a building seen from outside: dark and glossy."""
        return Material(color=self.shade((0.09, 0.1, 0.12), 0.2, 2.5), reflectance=self.pick((0.0, 0.04, 0.08, 0.3)))

    def lamp(self) -> Material:
        """A shining shade."""
        return Material(color=(1.0, self.uniform(0.85, 1), self.uniform(0.65, 1)), emission=self.uniform(1, 5))

    def wall(self) -> Material:
        """Indoor wall: mostly plain paint, also paper, brick, tiles, panels."""
        tone = self.color(self.pick(("white", "white", "white", "natural", "grey", "any")))
        pattern = self.pick(
            ("solid",) * 5 + ("noise", "noise", "bricks", "wood", "image", "image", "image", "waves", "checker")
        )
        return self.material(pattern, tone, scale=self.log_uniform(0.5, 5.0), matt=self.chance(0.9), contrast=0.5)

    def floor(self) -> Material:
        """Wood, tiles, carpet, stone."""
        pattern = self.pick(
            ("wood", "wood", "bricks", "checker", "image", "image", "image", "noise", "solid", "flakes")
        )
        tone = self.color(self.pick(("natural", "natural", "grey", "white", "dark", "any")))
        return self.material(pattern, tone, scale=self.log_uniform(0.6, 4.0), contrast=0.7)

    def ground(self) -> Material:
        """Grass, earth, sand, snow."""
        tone = self.color(self.pick(("green", "green", "green", "green", "natural", "natural", "grey", "white")))
        return self.material(
            self.pick(("noise", "noise", "noise", "noise", "image", "flakes")),
            tone,
            scale=self.log_uniform(0.15, 3.0),
            matt=True,
            contrast=0.6,
        )

    def rock(self) -> Material:
        """Stone and far mountains (scale it down for those)."""
        tone = self.color(self.pick(("grey", "grey", "natural")))
        return self.material(self.pick(("noise", "noise", "image", "cells")), tone, matt=True)

    def road(self) -> Material:
        """Asphalt, concrete, cobbles."""
        tone = self.shade(self.color("grey"), 0.3, 0.9)
        pattern = self.pick(("noise", "noise", "noise", "solid", "solid", "image", "flakes", "bricks"))
        return self.material(pattern, tone, scale=self.log_uniform(0.5, 4.0), matt=self.chance(0.9), contrast=0.35)

    def facade(self) -> Material:
        """Outer wall of a building."""
        tone = self.color(self.pick(("natural", "natural", "white", "grey", "any")))
        return self.material(
            self.pick(("solid", "solid", "bricks", "bricks", "noise", "image", "image")),
            tone,
            scale=self.log_uniform(0.4, 3.0),
            matt=True,
            contrast=0.6,
        )

    def picture(self) -> Material:
        """Something to hang in a frame; stretched over its panel once."""
        if self.textures:
            return Material("image", image=self.pick(self.textures), color=(1.0, 1.0, 1.0), scale=1.0)
        return self.material(
            self.pick(("noise", "cells", "flakes", "checker", "waves")), scale=self.log_uniform(1.0, 6.0)
        )

    def model(
        self, categories: tuple[str, ...] | None = None, max_size: float | None = None
    ) -> tuple[SceneMesh, NDArray[np.float32]] | None:
        """A real model and its size, or None where there is none."""
        found = self.assets.random_model(self.rng, categories, max_size) if self.assets is not None else None
        return None if found is None else (found[0], found[1])

    def sky(self, *, hdri_share: float = 0.5, strength: float = 1.0, open_air: bool = False) -> Sky:
        """An HDRI in `hdri_share` of the scenes, else clear, cloudy, overcast or a sunset.

        `open_air` leaves out the HDRIs taken under a roof, told by their names.
        """
        hdris = self.assets.hdris if self.assets is not None else []
        if open_air:
            hdris = [path for path in hdris if not any(word in PurePath(path).stem.lower() for word in _ROOFED_HDRIS)]
        if hdris and self.chance(hdri_share):
            return Sky(hdri=self.pick(hdris), turn=self.angle(), strength=strength)
        clouds = self.pick((0.0, 0.0, self.uniform(0.1, 0.9), self.uniform(0.1, 0.9), 1.0))
        tone = self.uniform(0.45, 0.95)
        zenith: Color = (0.12 + 0.3 * self.rng.random(), 0.3 + 0.3 * self.rng.random(), 0.6 + 0.35 * self.rng.random())
        horizon: Color = (tone, tone * self.uniform(0.95, 1.08), tone * self.uniform(0.95, 1.25))
        if self.chance(0.15):
            horizon = (0.95, self.uniform(0.45, 0.75), self.uniform(0.25, 0.6))
        if clouds == 1.0:
            zenith = (tone, tone, tone * 1.03)
            horizon = (tone * self.uniform(0.85, 1.1),) * 3
        return Sky(
            zenith=zenith,
            horizon=horizon,
            ground=self.shade((0.3, 0.29, 0.26), 0.5, 1.5),
            clouds=clouds,
            turn=self.angle(),
            strength=strength,
        )

    def sun(self, power: float | None = None) -> Light:
        """Sun at a random height; weak and wide behind clouds."""
        height, turn = self.uniform(0.15, 1.3), self.angle()
        vector = (math.cos(height) * math.cos(turn), math.cos(height) * math.sin(turn), math.sin(height))
        warm = max(0.0, 0.5 - height)
        color = (1.0, 1.0 - 0.35 * warm, 1.0 - 0.8 * warm)
        return Light(
            "sun", vector, self.uniform(0.1, 3.0) if power is None else power, color, self.log_uniform(0.005, 0.15)
        )

    def ambient(self, low: float, high: float, warmth: float = 0.3) -> Color:
        """Even light from all around."""
        level, tint = self.uniform(low, high), self.uniform(0, warmth)
        return (
            (level, level * (1 - tint * 0.4), level * (1 - tint))
            if self.chance(0.5)
            else (level * (1 - tint), level * (1 - tint * 0.4), level)
        )


def _mix(first: Color, second: Color, share: float) -> Color:
    """The first colour with `share` of the second."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue
