# SPDX-License-Identifier: GPL-3.0-or-later
"""How deep a rig is: the distance of its farthest surface as a multiple of that of its nearest, changed in place.

Every vertex stays on its ray, so the photo still lines up. `1 / depth` of the engine's map is known but for a scale and
a shift; another far distance is another such pair. What lies beyond far, the sky, moves in proportion.
"""

from __future__ import annotations

import json
from typing import Any

import bpy
import numpy as np

from .build import CLIP_SLACK, is_linked
from .datablocks import has
from .layers import BEHIND_KEY
from .place import BUILT_KEY, RANGE, camera_of_rig
from .surface_kinds import SURFACE_KEY

LEAST, MOST = 1.05, 1000.0
BEYOND = 1 + 1e-5  # times far; relative, for rounding


def range_of(rig: bpy.types.Object) -> tuple[float, float] | None:
    """Metres of the nearest and the farthest surface; None where metres are the model's, or nothing is noted."""
    told = json.loads(rig[BUILT_KEY]) if has(rig, BUILT_KEY) else {}
    near_far = told.get(RANGE)
    return None if near_far is None else (float(near_far[0]), float(near_far[1]))


def can_move(rig: bpy.types.Object) -> bool:
    """Whether its surface is a mesh that a relief can move."""
    surface = next((one for one in rig.children if has(one, SURFACE_KEY)), None)
    if is_linked(rig):
        return False
    return surface is not None and surface[SURFACE_KEY][0] == "mesh" and range_of(rig) is not None


def set_relief(rig: bpy.types.Object, relief: float) -> tuple[float, float]:
    """Put the farthest surface of a rig at `relief` times the nearest; both distances in metres."""
    ends = range_of(rig)
    assert ends is not None
    near, far = ends
    new_far = near * min(max(relief, LEAST), MOST)
    factor = (1 / near - 1 / new_far) / (1 / near - 1 / far)
    for child in rig.children:
        if child.type == "MESH" and (has(child, SURFACE_KEY) or has(child, BEHIND_KEY)) and child.mode == "OBJECT":
            _move(child.data, near, far, new_far, factor)
    camera = camera_of_rig(rig)
    if camera is not None:
        camera.data.clip_end = max(camera.data.clip_end, new_far * rig.scale.x * CLIP_SLACK)
    told = json.loads(rig[BUILT_KEY])
    told[RANGE] = [near, new_far]
    told["scale"] |= {"by": "NEAR_FAR", "near_m": near, "far_m": new_far}
    rig[BUILT_KEY] = json.dumps(told)
    return near, new_far


def _move(mesh: Any, near: float, far: float, new_far: float, factor: float) -> None:
    """Move each vertex along its ray."""
    attributes = mesh.attributes
    places = np.empty((len(mesh.vertices), 3), np.float32)
    attributes["position"].data.foreach_get("vector", places.reshape(-1))
    depth = -places[:, 2].astype(np.float64)
    inside = (depth > 0) & (depth <= far * BEYOND)
    times = np.full(len(depth), new_far / far)
    times[inside] = 1 / (factor + (1 - factor) / near * depth[inside])
    places *= times[:, None].astype(np.float32)
    attributes["position"].data.foreach_set("vector", places.reshape(-1))
    mesh.update()
