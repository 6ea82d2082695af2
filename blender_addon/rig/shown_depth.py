# SPDX-License-Identifier: GPL-3.0-or-later
"""Depth and lens of what a rig shows: those of its photo, or of the frame of a shot at which the scene stands.

The depth of a shot is known at the vertices of its mesh; between them it is that of the faces.
"""

from __future__ import annotations

from pathlib import Path

import bpy

from ..errors import UserError
from ..maths.mesh import Intrinsics
from ..maths.simplify import FloatMap
from ..maths.sphere import Sphere
from . import place
from .shot import SHOT_KEY, is_shot
from .shot_cache import Placement, ShotCache


def lens_of(rig: bpy.types.Object) -> Intrinsics | Sphere:
    """The lens with which a rig was built last. UserError: it does not tell."""
    return place.built_with(rig)[0]


def pinhole_of(rig: bpy.types.Object) -> Intrinsics:
    """The lens of a photo or shot. UserError: as of `lens_of`, or it is a panorama."""
    lens = lens_of(rig)
    if isinstance(lens, Sphere):
        raise UserError(f"{rig.name} is a panorama; this is for photos of a lens.")
    return lens


def depth_of(rig: bpy.types.Object, frame: int | None = None) -> FloatMap:
    """(H, W) metres of what is built, NaN where there is nothing; of a shot at a frame of the scene, its own if None.

    Raises:
        UserError: the rig lacks the engine's map, or the shot its depth cache.
    """
    if not is_shot(rig):
        return place.depth_of(rig)
    cache = cache_of(rig)
    assert cache.shot is not None
    lens, choice = place.built_with(rig)
    assert isinstance(lens, Intrinsics)
    shown = cache.frame(bpy.context.scene.frame_current if frame is None else frame)
    return Placement(cache.shot, lens, choice).depth(shown)


def frames_of(rig: bpy.types.Object) -> range:
    """The frames of the scene at which a shot lies; none of a photo. UserError: as of `depth_of`."""
    if not is_shot(rig):
        return range(0)
    shot = cache_of(rig).shot
    assert shot is not None
    first, count = shot.span
    return range(first, first + count)


def cache_told(rig: bpy.types.Object) -> str:
    """What keeps the frames of a shot from having their shape, "" if nothing, or it is a photo."""
    try:
        if is_shot(rig):
            cache_of(rig)
    except UserError as error:
        return str(error)
    return ""


def cache_of(rig: bpy.types.Object) -> ShotCache:
    """The depth cache of a shot. UserError: it is not there."""
    return ShotCache.read(Path(bpy.path.abspath(rig[SHOT_KEY], library=rig.library)))
