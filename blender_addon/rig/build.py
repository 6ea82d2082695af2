# SPDX-License-Identifier: GPL-3.0-or-later
"""From depth map and photo to a rig in the scene: a surface and the camera that took the photo.

A render through the camera is the photo if `frame_scene` set the render size and pixel aspect, the material is
"emission", and the scene's view transform is Standard with no look, exposure 0 and gamma 1. The view transform is the
user's and stays as it is; with AgX or Filmic the geometry still matches, the colours do not.
"""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import bpy
import numpy as np

from ..errors import UserError
from ..maths.lens import FULL_FRAME_MM
from ..maths.mesh import Intrinsics, camera_of, check_size
from ..maths.simplify import FloatMap
from ..maths.sphere import Sphere
from .datablocks import NewDatablocks, has, load_photo, load_plate, new_float_image, new_material, replace_old
from .layers import behind_of, put_behind
from .surface_kinds import SURFACE_KEY, BuildOptions, dress, keeps_material, maps_of, new_shape

FRAME_KEY = "pro_frame"  # on the camera object: width, height, pixel aspect x and y
SOURCE_KEY, PHOTO_KEY = "pro_source", "pro_photo"  # on the rig: the images
NAME_LENGTH = 48  # Blender cuts names after 63 bytes, endings included
SPHERE_FOV_DEG = 90.0  # across a panorama in the viewport, which shows no more
UNEVEN = 1e-3  # relative, between the axes
CLIP_SLACK = 10.0  # room in front of the nearest and behind the farthest point


class Built(NamedTuple):
    """What a build left in the scene; `source` is the engine's map as it came, to build again from."""

    collection: bpy.types.Collection
    rig: bpy.types.Object
    camera: bpy.types.Object
    surface: bpy.types.Object
    source: bpy.types.Image | None


def build(
    scene: bpy.types.Scene,
    *,
    name: str,
    photo: Path,
    depth: FloatMap,
    intrinsics: Intrinsics | Sphere,
    options: BuildOptions | None = None,
    source: FloatMap | None = None,
    plate: Path | bpy.types.Image | None = None,
    sensor_mm: float = FULL_FRAME_MM,
) -> Built:
    """A collection with rig, camera and surface, in the scene given; either all of it or, after an error, nothing.

    The rig is an empty at the origin from which the camera looks along +y. It is scaled so that a metre is a metre in
    the units of the scene. Neither the scene's camera nor its render settings change, but one: below Blender 5.0 the
    kind "adaptive" needs, and sets, the experimental feature set of Cycles.

    Args:
        scene: where it goes.
        name: of the collection and all in it.
        photo: an upright picture of the size of the depth map.
        depth: (H, W) metres, NaN where there is nothing; of a panorama along the rays.
        intrinsics: of the same size.
        options: kind, material and mesh.
        source: the engine's own numbers, as `new_float_image` takes them; the only map that is kept.
        plate: shown instead of the photo if it has float pixels and the same size, an EXR for example.
        sensor_mm: width of the camera's sensor, which does not change what it sees.

    Raises:
        UserError: photo, depth and camera do not fit together, the photo cannot be read, or no face is left.
    """
    options = options or BuildOptions()
    check_size(depth, intrinsics)
    name = name[:NAME_LENGTH]
    with NewDatablocks() as made:
        collection = made.add(bpy.data.collections.new(name))
        picture = _picture(made, name, photo, plate, (intrinsics.width, intrinsics.height))
        shape = new_shape(made, name, depth, intrinsics, options, picture)
        material = new_material(made, name, picture, options.material, shape.shifts, extension=_extension(intrinsics))
        shape.mesh.materials.append(material)
        surface = made.add(bpy.data.objects.new(f"{name} surface", shape.mesh))
        dress(surface, options, shape)
        rig = made.add(bpy.data.objects.new(name, None))
        scale = 1.0 if scene.unit_settings.system == "NONE" else 1 / scene.unit_settings.scale_length
        rig.rotation_euler.x, rig.scale = math.pi / 2, (scale,) * 3
        camera = made.add(bpy.data.objects.new(f"{name} camera", made.add(bpy.data.cameras.new(name))))
        aim(camera, depth, intrinsics, scale, sensor_mm)
        camera.parent = surface.parent = rig
        rig[PHOTO_KEY] = picture  # a user: what nothing uses is not saved
        source_image = None if source is None else new_float_image(made, f"{name} source", source)
        if source_image is not None:
            rig[SOURCE_KEY] = source_image
        behind = put_behind(made, f"{name} behind", rig, shape.behind, options.material)
        for thing in (rig, camera, surface, *filter(None, [behind])):
            collection.objects.link(thing)
        scene.collection.children.link(collection)
        if options.kind == "adaptive":
            _allow_adaptive(scene)
    return Built(collection, rig, camera, surface, source_image)


def _picture(
    made: NewDatablocks, name: str, photo: Path, plate: Path | bpy.types.Image | None, size: tuple[int, int]
) -> bpy.types.Image:
    """The plate if it can be shown, else the photo."""
    image = None if plate is None else load_plate(made, plate, *size)
    return image or load_photo(made, f"{name} photo", photo, *size)


def rebuild(
    scene: bpy.types.Scene,
    rig: bpy.types.Object,
    *,
    depth: FloatMap,
    intrinsics: Intrinsics | Sphere,
    options: BuildOptions | None = None,
    sensor_mm: float = FULL_FRAME_MM,
) -> Built:
    """Surface and camera of a rig anew, from another depth or camera; either all of it or, after an error, nothing.

    The objects stay, with their transforms and what the user added: modifiers, constraints, children. So does the
    material, unless another one is asked for or it moves the surface.

    Args:
        scene: of the rig.
        rig: made by `build`.
        depth, intrinsics, options, sensor_mm: as of `build`.

    Raises:
        UserError: it is no rig or a part of it is gone or locked, sizes differ, or no face is left.
    """
    options = options or BuildOptions()
    check_size(depth, intrinsics)
    parts = parts_of(rig)
    surface, mesh = parts.surface, parts.surface.data
    with NewDatablocks() as made:
        shape = new_shape(made, mesh.name, depth, intrinsics, options, rig[PHOTO_KEY])
        materials = list(mesh.materials) if keeps_material(surface, options) else []
        if not materials:
            picture, beyond = rig[PHOTO_KEY], _extension(intrinsics)
            materials = [new_material(made, mesh.name, picture, options.material, shape.shifts, extension=beyond)]
        for material in materials:
            shape.mesh.materials.append(material)
        was_behind = behind_of(rig)
        behind = put_behind(made, f"{rig.name} behind", rig, shape.behind, options.material)
        if behind is not None and was_behind is None:
            parts.collection.objects.link(behind)
    old = [mesh, *mesh.materials, *maps_of(surface)]
    surface.data = shape.mesh
    dress(surface, options, shape)
    aim(parts.camera, depth, intrinsics, rig.scale.x, sensor_mm)
    if options.kind == "adaptive":
        _allow_adaptive(scene)
    replace_old(old, [shape.mesh, *materials, *maps_of(surface)])
    return parts


def _extension(lens: Intrinsics | Sphere) -> str:
    """What lies beyond the border of a photo; that of a panorama goes around."""
    return "REPEAT" if isinstance(lens, Sphere) else "EXTEND"


def parts_of(rig: bpy.types.Object) -> Built:
    """What `build` left, found again. UserError: a part is gone, comes from another file, or is being edited."""
    camera, surface = ends_of(rig)
    if is_linked(rig):
        raise UserError(f"{rig.name} comes from another file; open that file, or make the rig local.")
    if surface.mode != "OBJECT":
        raise UserError(f"{surface.name} is being edited; go back to Object Mode first.")
    if not rig.users_collection:
        raise UserError(f"{rig.name} is in no collection; press Estimate again.")
    return Built(rig.users_collection[0], rig, camera, surface, rig.get(SOURCE_KEY))


def ends_of(rig: bpy.types.Object) -> tuple[bpy.types.Object, bpy.types.Object]:
    """Camera and surface of a rig, which may come from another file. UserError: one of them or the photo is gone."""
    cameras = [child for child in rig.children if has(child, FRAME_KEY) and child.type == "CAMERA"]
    surfaces = [child for child in rig.children if has(child, SURFACE_KEY) and child.type == "MESH"]
    if not (cameras and surfaces and rig.get(PHOTO_KEY)):
        raise UserError(f"{rig.name} is not whole: its camera, surface or photo is gone; press Estimate again.")
    return cameras[0], surfaces[0]


def is_whole(rig: bpy.types.Object) -> bool:
    """Whether camera, surface and photo of a rig are there."""
    with suppress(UserError):
        return bool(ends_of(rig))
    return False


def is_linked(rig: bpy.types.Object) -> bool:
    """Whether a part of a rig comes from another file, where changes of it are not saved."""
    things = [rig, *(thing for child in rig.children for thing in (child, child.data))]
    return any(thing is not None and (thing.library or thing.override_library) for thing in things)


def unit_of(camera: bpy.types.Object) -> float:
    """Units of the scene that a metre before the camera of a rig is long.

    Raises:
        UserError: the rig or a parent of it is mirrored, or scaled unevenly or to nothing.
    """
    bpy.context.view_layer.update()  # places of what was moved just now are not known before
    turn = np.array(camera.matrix_world.to_3x3(), np.float64)
    unit = float(np.cbrt(np.linalg.det(turn)))
    if not unit > 0 or np.abs(turn.T @ turn / unit**2 - np.eye(3)).max() > UNEVEN:
        raise UserError(
            f"{camera.parent.name if camera.parent else camera.name} or a parent of it is mirrored, or scaled unevenly "
            "or to nothing, so the photo does not line up; clear that scale (Alt S)."
        )
    return unit


def lines_up_told(camera: bpy.types.Object) -> str:
    """What keeps the photo of a rig from lining up, "" if nothing."""
    try:
        unit_of(camera)
    except UserError as error:
        return str(error)
    return ""


def frame_scene(scene: bpy.types.Scene, camera: bpy.types.Object) -> None:
    """Look through the camera of a rig: make it the scene's, with the size and pixel aspect of its photo.

    Raises:
        UserError: it is no camera of a rig.
    """
    frame = camera.get(FRAME_KEY) if camera.type == "CAMERA" else None
    if frame is None:
        raise UserError(f"{camera.name} is no camera of a photo; select the camera of a rig.")
    render, (width, height, aspect_x, aspect_y) = scene.render, frame
    render.resolution_x, render.resolution_y, render.resolution_percentage = int(width), int(height), 100
    render.pixel_aspect_x, render.pixel_aspect_y = aspect_x, aspect_y
    scene.camera = camera


def aim(
    camera: bpy.types.Object, depth: FloatMap, intrinsics: Intrinsics | Sphere, scale: float, sensor_mm: float
) -> None:
    """Make a camera that of the photo, in the space of the rig; `scale` is scene units a metre. That of a panorama sees
    all around in Cycles, and 90 degrees in the viewport.
    """
    data: Any = camera.data
    if isinstance(intrinsics, Sphere):
        data.type, data.panorama_type = "PANO", "EQUIRECTANGULAR"
        intrinsics = Intrinsics.from_fov(SPHERE_FOV_DEG, intrinsics.width, intrinsics.height)
    numbers = camera_of(intrinsics, sensor_mm)
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width, data.lens = numbers.sensor_mm, numbers.lens_mm
    tall = intrinsics.height * numbers.aspect_y / numbers.aspect_x
    data.sensor_height = numbers.sensor_mm * tall / intrinsics.width
    data.shift_x, data.shift_y = numbers.shift_x, numbers.shift_y
    seen = depth[np.isfinite(depth) & (depth > 0)]
    data.clip_start = min(data.clip_start, float(seen.min()) * scale / CLIP_SLACK)
    data.clip_end = max(data.clip_end, float(seen.max()) * scale * CLIP_SLACK)
    camera[FRAME_KEY] = [float(n) for n in (intrinsics.width, intrinsics.height, numbers.aspect_x, numbers.aspect_y)]


def _allow_adaptive(scene: bpy.types.Scene) -> None:
    """Dividing while rendering is an experimental feature of Cycles before Blender 5.0."""
    if bpy.app.version < (5, 0):
        scene.cycles.feature_set = "EXPERIMENTAL"
