# SPDX-License-Identifier: GPL-3.0-or-later
"""From what the engine found and what the user asked for to a rig in the scene, and again from what a rig keeps.

A `Recipe` holds plain values only: taken when a run starts, it stays what it is whatever happens in Blender meanwhile.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import bpy
import mathutils
import numpy as np

from ..engine.run import MAX_PIXELS, EngineOptions, PhotoDepth
from ..errors import UserError
from ..maths.lens import LensOptions
from ..maths.mesh import Estimate, Intrinsics, MeshOptions, estimate_of, open_cells
from ..maths.scale import Anchors
from ..maths.simplify import FloatMap, cell_corners
from ..maths.sphere import Sphere
from .build import FRAME_KEY, PHOTO_KEY, Built, build, parts_of
from .build import rebuild as build_again
from .datablocks import bits_of_picture, has
from .source import (
    ANCHORS_KEY,
    ESTIMATE_KEY,
    EXIF_KEY,
    METRIC_KEY,
    SOURCES_KEY,
    SPHERE_KEY,
    ScaleChoice,
    Source,
)
from .surface_kinds import BuildOptions

BUILT_KEY = "pro_built"  # the lens in pixels and the metres of what is built, as JSON
RANGE = "range_m"  # in it: distances of the nearest and of the farthest surface, null for metres of the model
TOLD_KEY = "pro_told"  # where lens and metres of what is built came from, for the panel
PLATES = (".exr", ".hdr")  # files that hold more than a screen shows, and are never turned
BANDS, BAND_ROWS = 16, 24  # of a map of which the vertices are counted by samples


@dataclass(frozen=True)
class Recipe:
    """All that a run and its result depend on."""

    engine: EngineOptions = field(default_factory=EngineOptions)
    build: BuildOptions = field(default_factory=BuildOptions)
    lens: LensOptions = field(default_factory=LensOptions)
    scale: ScaleChoice = field(default_factory=ScaleChoice)


class Placed(NamedTuple):
    """A rig, what it was made of, and a sentence about what had to be guessed ("" if nothing)."""

    built: Built
    source: Source
    note: str


def place(scene: bpy.types.Scene, result: PhotoDepth, recipe: Recipe, plate: bpy.types.Image | None = None) -> Placed:
    """A new rig of a photo in a scene, named after its file; either all of it or, after an error, nothing.

    Args:
        scene: where it goes.
        result: of the engine.
        recipe: of the run.
        plate: the image of the .blend that the photo was written from, if it was.

    Raises:
        UserError: files are gone, the distances or the lens do not fit the photo, or no face is left.
    """
    if scene.library is not None:
        raise UserError(f"The scene {scene.name} comes from another file; make it local, or choose another scene.")
    source = Source.of_result(result)
    choice, (intrinsics, note) = source.settled(recipe.scale), _lens(source, recipe)
    built = build(
        scene,
        name=result.photo.stem,
        photo=result.picture,
        depth=source.depth(choice, source.scale(choice), intrinsics),
        intrinsics=intrinsics,
        options=recipe.build,
        sensor_mm=recipe.lens.sensor_width_mm(result.width, result.height),
        source=source.kept(),
        plate=result.photo if plate is None and result.photo.suffix.lower() in PLATES else plate,
    )
    if source.anchors is not None:
        built.rig[ANCHORS_KEY] = [source.anchors[key] for key in Anchors._fields]
    if source.metres is not None:
        built.rig[METRIC_KEY] = True if source.own is None else list(source.own)
    if source.exif is not None:
        built.rig[EXIF_KEY] = list(source.exif)
    if source.sphere:
        built.rig[SPHERE_KEY] = True
    if source.estimate is not None:
        built.rig[ESTIMATE_KEY] = list(source.estimate)
    built.rig[SOURCES_KEY] = f"{source.lens_source}|{source.scale_source}"
    _note_built(built.rig, recipe, source, intrinsics)
    note = f"{note} {source.doubts(recipe, intrinsics)}".strip()
    stand_at(built.rig, recipe.lens)
    note = f"{note} {_depth_told(result.photo, built.rig[PHOTO_KEY], plate)}".strip()
    if result.reduced:
        note = f"{note} It was reduced to {result.width}x{result.height}: Blender keeps no larger map.".lstrip()
    return Placed(built, source, note)


def _depth_told(photo: Path, shown: bpy.types.Image, plate: bpy.types.Image | None) -> str:
    """What of a file of more than 8 bits a colour its surface does not show; "" if nothing."""
    if shown.is_float:
        return ""
    if photo.suffix.lower() in PLATES:
        return f"The surface shows {photo.name} in 8 bits a colour: Blender's materials take no EXR of several layers."
    if plate is None and bits_of_picture(photo) > 8:
        return f"The surface shows {photo.name} in 8 bits a colour; save it as EXR to keep all of them."
    return ""


def rebuild(scene: bpy.types.Scene, rig: bpy.types.Object, recipe: Recipe) -> Placed:
    """A rig anew from what it keeps, without the engine; either all of it or, after an error, nothing.

    Raises:
        UserError: something that the rig keeps is gone, the distances or the lens do not fit the photo, or no face is
            left.
    """
    parts_of(rig)
    source = Source.of_rig(rig)
    height, width = source.disparity.shape
    choice, (intrinsics, note) = source.settled(recipe.scale), _lens(source, recipe)
    depth = source.depth(choice, source.scale(choice), intrinsics)
    sensor_mm = recipe.lens.sensor_width_mm(width, height)
    built = build_again(scene, rig, depth=depth, intrinsics=intrinsics, options=recipe.build, sensor_mm=sensor_mm)
    _note_built(rig, recipe, source, intrinsics)
    stand_at(rig, recipe.lens)
    return Placed(built, source, f"{note} {source.doubts(recipe, intrinsics)}".strip())


def _lens(source: Source, recipe: Recipe) -> tuple[Intrinsics | Sphere, str]:
    """The lens of a photo or a panorama, and a sentence where it had to be guessed."""
    height, width = source.disparity.shape
    if source.sphere:
        return Sphere(width, height), ""
    return recipe.lens.intrinsics(width, height, source.exif)


def _note_built(rig: bpy.types.Object, recipe: Recipe, source: Source, lens: Intrinsics | Sphere) -> None:
    """Note on a rig what it was built with."""
    rig[TOLD_KEY] = source.told(recipe)
    choice = source.settled(recipe.scale)
    scale = source.scale(choice)
    ends = None if scale is None or source.sphere else source.ends(choice, scale)
    rig[BUILT_KEY] = json.dumps({"lens": asdict(lens), "scale": asdict(choice), RANGE: ends})


def built_with(rig: bpy.types.Object) -> tuple[Intrinsics | Sphere, ScaleChoice]:
    """The lens and the metres with which a rig was built last. UserError: it does not tell."""
    if not has(rig, BUILT_KEY):
        raise UserError(f"{rig.name} does not tell its lens and metres, as older ones; press Rebuild.")
    told = json.loads(rig[BUILT_KEY])
    lens = Sphere(**told["lens"]) if has(rig, SPHERE_KEY) else Intrinsics(**told["lens"])
    return lens, ScaleChoice(**{**told["scale"], "point": tuple(told["scale"]["point"])})


def depth_of(rig: bpy.types.Object) -> FloatMap:
    """(H, W) metres of a photo's rig, NaN where there is nothing. UserError: it lacks the engine's map."""
    lens, choice = built_with(rig)
    source = Source.of_rig(rig)
    return source.depth(choice, source.scale(choice), lens)


def stand_at(rig: bpy.types.Object, lens: LensOptions) -> None:
    """Put the rig where the camera is from which the lens was taken, so that both see the same."""
    if lens.source == "CAMERA" and lens.camera is not None:
        numbers = lens.camera.world_from_camera
        world_from_camera = mathutils.Matrix([numbers[k : k + 4] for k in range(0, 16, 4)])
        place, turn, _ = world_from_camera.decompose()
        rig.matrix_world = mathutils.Matrix.LocRotScale(place, turn, rig.scale)


def rig_of(thing: bpy.types.Object | None) -> bpy.types.Object | None:
    """The rig that an object is or belongs to, if any."""
    while thing is not None and not has(thing, PHOTO_KEY):
        thing = thing.parent
    return thing


def camera_of_rig(rig: bpy.types.Object) -> bpy.types.Object | None:
    """Its camera, if it is still there."""
    return next((child for child in rig.children if has(child, FRAME_KEY) and child.type == "CAMERA"), None)


def pixel_of(rig: bpy.types.Object, place: mathutils.Vector) -> tuple[int, int]:
    """The pixel of the photo, column and row, at which a rig's camera sees a place in the world.

    Raises:
        UserError: the camera is gone, or does not see the place.
    """
    camera = camera_of_rig(rig)
    if camera is None:
        raise UserError(f"The camera of {rig.name} is gone; press Estimate again.")
    x, y, z = (camera.matrix_world.inverted_safe() @ place).to_tuple()
    width, height, aspect_x, aspect_y = camera[FRAME_KEY]
    if has(rig, SPHERE_KEY):
        return Sphere(int(width), int(height)).pixel(x, y, z)
    data, ratio = camera.data, aspect_y / aspect_x
    focal_px = data.lens / data.sensor_width * width
    if z >= 0:
        raise UserError("The 3D cursor is behind the camera; put it on the surface (Shift + right mouse button).")
    column = width * (0.5 - data.shift_x) - focal_px * x / z
    row = height * 0.5 + (data.shift_y * width + focal_px * y / z) / ratio
    if not (0 <= column < width and 0 <= row < height):
        raise UserError("The camera does not see the 3D cursor; put it on the surface (Shift + right mouse button).")
    return int(column), int(row)


def estimate_before(width: int, height: int, options: BuildOptions) -> Estimate:
    """What a photo of this size takes at most: nobody knows yet what is sky or torn. With layers the vertices along
    outlines come on top.
    """
    pixels = min(width * height, MAX_PIXELS)
    vertices = 4 if options.kind == "adaptive" else min(options.mesh.vertices or pixels, pixels)
    return estimate_of(vertices, pixels, extra_maps=1 + (options.kind != "mesh"), layers=options.has_layers)


def estimate_again(source: Source, recipe: Recipe) -> Estimate:
    """What `rebuild` will take. Of large maps the vertices are counted in bands of rows.

    Raises:
        UserError: the distances do not fit the photo.
    """
    height, width = source.disparity.shape
    options = recipe.build
    if options.kind == "adaptive" or options.has_layers:
        return estimate_before(width, height, options)
    choice = source.settled(recipe.scale)
    scale = source.scale(choice)
    seen = used = 0
    for rows, inner in _bands(height, options.mesh):
        depth = source.rows(rows).depth(choice, scale)
        corners = cell_corners(open_cells(depth, options.mesh))[inner]
        seen, used = seen + len(corners), used + int(np.count_nonzero(corners))
    whole = round(used * height / seen)
    return estimate_of(
        min(options.mesh.vertices or whole, whole), width * height, extra_maps=1 + (options.kind != "mesh")
    )


def _bands(height: int, options: MeshOptions) -> list[tuple[slice, slice]]:
    """Rows to look at, and which of those to count: away from the edges, where erosion is not whole."""
    margin = options.erode_px + 1
    step = height / BANDS
    if step <= BAND_ROWS + 2 * margin:
        return [(slice(0, height), slice(0, height))]
    bands = []
    for k in range(BANDS):
        first = round((k + 0.5) * step - BAND_ROWS / 2)
        start, stop = max(0, first - margin), min(height, first + BAND_ROWS + margin)
        bands.append((slice(start, stop), slice(first - start, first - start + BAND_ROWS)))
    return bands
