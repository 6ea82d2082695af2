# SPDX-License-Identifier: GPL-3.0-or-later
"""From depth map and photo to a rig in the scene: a surface and the camera that took the photo.

A render through the camera is the photo if `frame_scene` set the render size and pixel aspect, the material is
"emission", and the scene's view transform is Standard with no look, exposure 0 and gamma 1. The view transform is the
user's and stays as it is; with AgX or Filmic the geometry still matches, the colours do not.

Three kinds of surface, all of which look the same from the camera:

- mesh: the surface itself, baked.
- live: the same vertices and faces on a flat plane, moved by a Displace modifier. Its strength flattens the surface
  (0) or exaggerates it, and every point stays on its ray, so the photo still lines up.
- adaptive: one quad that Cycles divides while it renders. It does not tear between two surfaces unless pixels are
  eroded, and shows flat in the viewport.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import bpy
import numpy as np

from .blocks import cell_corners
from .datablocks import (
    MATERIAL_CHOICES,
    UV_NAME,
    Made,
    load_photo,
    new_float_image,
    new_material,
    new_mesh,
)
from .errors import UserError
from .geometry import (
    BoolMap,
    Estimate,
    FloatMap,
    MeshOptions,
    Pinhole,
    camera_of,
    check_size,
    depth_to_mesh,
    estimate,
    open_cells,
    plane_mesh,
    position_map,
)

KIND_CHOICES = ("mesh", "live", "adaptive")
FRAME_KEY = "pro_frame"  # on the camera object: width, height, pixel aspect x and y
DEPTH_KEY, SOURCE_KEY = "pro_depth", "pro_source"  # on the rig: the images
NAME_LENGTH = 48  # Blender cuts names after 63 bytes, endings included
CLIP_SLACK = 10.0  # room in front of the nearest and behind the farthest point


@dataclass(frozen=True)
class BuildOptions:
    """What is built. UserError: an unknown kind or material."""

    kind: str = field(default="mesh", metadata={"help": "How the surface gets its shape", "choices": KIND_CHOICES})
    material: str = field(
        default="emission",
        metadata={"help": "The photo as light or as a surface to be lit", "choices": MATERIAL_CHOICES},
    )
    mesh: MeshOptions = field(default_factory=MeshOptions)

    def __post_init__(self) -> None:
        for value, choices in ((self.kind, KIND_CHOICES), (self.material, MATERIAL_CHOICES)):
            if value not in choices:
                raise UserError(f"{value!r} is unknown; give {', '.join(choices)}.")


class Built(NamedTuple):
    """What a build left in the scene; `source` is the engine's map as it came, to build again from."""

    collection: bpy.types.Collection
    rig: bpy.types.Object
    camera: bpy.types.Object
    surface: bpy.types.Object
    depth: bpy.types.Image
    source: bpy.types.Image | None


def build(
    scene: bpy.types.Scene,
    *,
    name: str,
    photo: Path,
    depth: FloatMap,
    pinhole: Pinhole,
    options: BuildOptions | None = None,
    keep: BoolMap | None = None,
    source: FloatMap | None = None,
) -> Built:
    """A collection with rig, camera and surface, in the scene given; either all of it or, after an error, nothing.

    The rig is an empty at the origin from which the camera looks along +y. It is scaled so that a metre is a metre in
    the units of the scene. Neither the scene's camera nor its render settings change, but one: below Blender 5.0 the
    kind "adaptive" needs, and sets, the experimental feature set of Cycles.

    Args:
        scene: where it goes.
        name: of the collection and all in it.
        photo: an upright picture of the size of the depth map.
        depth: (H, W) metres, NaN where there is nothing.
        pinhole: of the same size.
        options: kind, material and mesh.
        keep: (H, W), the pixels to use.
        source: (H, W) the engine's own numbers, kept beside the depth.

    Raises:
        UserError: photo, depth and camera do not fit together, the photo cannot be read, or no face is left.
    """
    options = options or BuildOptions()
    check_size(depth, pinhole)
    name = name[:NAME_LENGTH]
    with Made() as made:
        collection = made.add(bpy.data.collections.new(name))
        picture = load_photo(made, photo, pinhole.width, pinhole.height)
        surface = _new_surface(made, name, picture, depth, pinhole, options, keep)
        rig = made.add(bpy.data.objects.new(name, None))
        rig.rotation_euler.x = math.pi / 2
        scale = 1.0 if scene.unit_settings.system == "NONE" else 1 / scene.unit_settings.scale_length
        rig.scale = (scale, scale, scale)
        camera = _new_camera(made, name, depth, pinhole, scale)
        for child in (camera, surface):
            child.parent = rig
        depth_image = new_float_image(made, f"{name} depth", depth)
        source_image = None if source is None else new_float_image(made, f"{name} source", source)
        rig[DEPTH_KEY] = depth_image  # a user: what nothing uses is not saved
        if source_image is not None:
            rig[SOURCE_KEY] = source_image
        for thing in (rig, camera, surface):
            collection.objects.link(thing)
        scene.collection.children.link(collection)
        if options.kind == "adaptive" and bpy.app.version < (5, 0):
            scene.cycles.feature_set = "EXPERIMENTAL"
    return Built(collection, rig, camera, surface, depth_image, source_image)


def estimate_build(
    depth: FloatMap, options: BuildOptions, keep: BoolMap | None = None, *, with_source: bool = False
) -> Estimate:
    """What `build` with the same arguments will take; see `estimate`."""
    moved = options.kind != "mesh"
    return estimate(depth, options.mesh, keep, extra_maps=moved + with_source, plane=options.kind == "adaptive")


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


def _new_camera(made: Made, name: str, depth: FloatMap, pinhole: Pinhole, scale: float) -> bpy.types.Object:
    """The camera of the photo, in the space of the rig; `scale` is scene units a metre."""
    numbers = camera_of(pinhole)
    data = made.add(bpy.data.cameras.new(name))
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width, data.lens = numbers.sensor_mm, numbers.lens_mm
    data.shift_x, data.shift_y = numbers.shift_x, numbers.shift_y
    seen = depth[np.isfinite(depth) & (depth > 0)]
    data.clip_start = min(data.clip_start, float(seen.min()) * scale / CLIP_SLACK)
    data.clip_end = max(data.clip_end, float(seen.max()) * scale * CLIP_SLACK)
    camera = made.add(bpy.data.objects.new(f"{name} camera", data))
    camera[FRAME_KEY] = [float(n) for n in (pinhole.width, pinhole.height, numbers.aspect_x, numbers.aspect_y)]
    return camera


def _new_surface(
    made: Made,
    name: str,
    photo: bpy.types.Image,
    depth: FloatMap,
    pinhole: Pinhole,
    options: BuildOptions,
    keep: BoolMap | None,
) -> bpy.types.Object:
    """The object of the kind asked for, with its material."""
    offsets = None
    if options.kind == "mesh":
        arrays = depth_to_mesh(depth, pinhole, options.mesh, keep)
    else:
        used = cell_corners(open_cells(depth, options.mesh, keep))
        if not used.any():
            raise UserError("No face is left: all is torn, masked or sky; raise the tear threshold or keep the sky.")
        plane_m = float(np.median(depth[used]))
        moves = np.dstack([position_map(depth, pinhole, plane_m), used.astype(np.float32)])
        offsets = new_float_image(made, f"{name} offsets", moves)
        if options.kind == "live":
            arrays = depth_to_mesh(depth, pinhole, options.mesh, keep).on_plane(plane_m)
        else:
            arrays = plane_mesh(pinhole, plane_m)
    mesh = new_mesh(made, name, arrays)
    mesh.materials.append(
        new_material(made, name, photo, options.material, offsets if options.kind == "adaptive" else None)
    )
    surface = made.add(bpy.data.objects.new(f"{name} surface", mesh))
    if options.kind == "live":
        _displace(made, surface, offsets)
    elif options.kind == "adaptive":
        _subdivide(surface)
    return surface


def _displace(made: Made, surface: bpy.types.Object, offsets: bpy.types.Image) -> None:
    """Add the offsets to the vertices, each from the very pixel of its UV."""
    texture = made.add(bpy.data.textures.new(offsets.name, "IMAGE"))
    texture.image, texture.extension, texture.use_interpolation = offsets, "EXTEND", False
    modifier = surface.modifiers.new("Depth", "DISPLACE")
    modifier.texture, modifier.texture_coords, modifier.uv_layer = texture, "UV", UV_NAME
    modifier.direction, modifier.space = "RGB_TO_XYZ", "LOCAL"
    modifier.mid_level, modifier.strength = 0.0, 1.0


def _subdivide(surface: bpy.types.Object) -> None:
    """Let Cycles divide the surface to the size of a pixel; Blender 5.0 moved the switch."""
    modifier = surface.modifiers.new("Depth", "SUBSURF")
    modifier.subdivision_type = "SIMPLE"
    modifier.levels = modifier.render_levels = 0
    if bpy.app.version < (5, 0):
        surface.cycles.use_adaptive_subdivision = True
    else:
        modifier.use_adaptive_subdivision = True
