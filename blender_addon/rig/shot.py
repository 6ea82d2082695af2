# SPDX-License-Identifier: GPL-3.0-or-later
"""A shot as one rig: its frames are the texture, and a Mesh Cache modifier moves one mesh as its depth cache says.

The numbers of the frames are those of the scene. Where the mesh is stretched from a near thing to a far one, it is
drawn for its own camera alone, as a material tells; so no frame has a gap in front.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import bpy
import numpy as np

from ..errors import UserError
from .build import NAME_LENGTH, PHOTO_KEY, Built, aim, parts_of
from .datablocks import NewDatablocks, catch_shadows, has, new_material, new_mesh, replace_old
from .nodes import Nodes
from .place import BUILT_KEY, RANGE, TOLD_KEY, Recipe, stand_at
from .shot_cache import POINTS, Placement, Shot, ShotCache, grid_mesh, write_points
from .source import Source
from .surface_kinds import SURFACE_KEY

SHOT_KEY = "pro_shot"  # on the rig: the folder of its depth cache
MODIFIER = "Depth of the shot"
SEEN_ALONG = 0.99999  # cosine: what is seen along a ray of the camera, within a quarter of a degree


class PlacedShot(NamedTuple):
    """A rig, its frames, and a sentence about what had to be guessed ("" if nothing)."""

    built: Built
    shot: Shot
    note: str


def build_shot(scene: bpy.types.Scene, cache: ShotCache, recipe: Recipe, *, has_points: bool = False) -> PlacedShot:
    """A new rig of a depth cache; either all of it or, after an error, nothing.

    Args:
        scene: where it goes.
        cache: with at least one frame.
        recipe: of the run.
        has_points: the point cache is that of the recipe already.

    Raises:
        UserError: files are gone or of another size, or the distances fit no scale.
    """
    shot = cache.shot
    if shot is None or not shot.numbers:
        raise UserError("No frame has depth; estimate the shot again.")
    placement = Placement.of_recipe(shot, recipe)
    if not has_points:
        write_points(cache, placement)
    name = cache.folder.stem[:NAME_LENGTH]
    with NewDatablocks() as made:
        photo = _photo(made, name, shot)
        first = cache.frame(shot.numbers[0])
        points = placement.points(first)
        mesh = new_mesh(made, name, grid_mesh(shot, points))
        mesh.materials.append(_material(made, name, photo, shot, placement, recipe))
        surface = made.add(bpy.data.objects.new(f"{name} surface", mesh))
        rig = made.add(bpy.data.objects.new(name, None))
        scale = 1.0 if scene.unit_settings.system == "NONE" else 1 / scene.unit_settings.scale_length
        rig.rotation_euler.x, rig.scale = math.pi / 2, (scale,) * 3
        camera = made.add(bpy.data.objects.new(f"{name} camera", made.add(bpy.data.cameras.new(name))))
        camera.parent = surface.parent = rig
        rig[PHOTO_KEY], rig[SHOT_KEY] = photo, _relative(cache.folder)
        _move(surface, cache)
        collection = made.add(bpy.data.collections.new(name))
        for thing in (rig, camera, surface):
            collection.objects.link(thing)
        built = Built(collection, rig, camera, surface, None)
        note = _finish(built, shot, placement, first, recipe)
        scene.collection.children.link(collection)
    return PlacedShot(built, shot, note)


def rebuild_shot(rig: bpy.types.Object, recipe: Recipe) -> PlacedShot:
    """Depth, camera and material of a shot anew, from its cache. UserError as of `build_shot`; the rig is as it was."""
    parts = parts_of(rig)
    cache = ShotCache.read(Path(bpy.path.abspath(rig[SHOT_KEY])))
    shot = cache.shot
    assert shot is not None
    placement = Placement.of_recipe(shot, recipe)
    write_points(cache, placement)
    mesh = parts.surface.data
    old = list(mesh.materials)
    with NewDatablocks() as made:
        material = _material(made, mesh.name, rig[PHOTO_KEY], shot, placement, recipe)
    mesh.materials.clear()
    mesh.materials.append(material)
    replace_old(old, [material])
    _move(parts.surface, cache)
    note = _finish(parts, shot, placement, cache.frame(shot.numbers[0]), recipe)
    return PlacedShot(parts, shot, note)


def is_shot(rig: bpy.types.Object) -> bool:
    """Whether a rig is one of a shot."""
    return has(rig, SHOT_KEY)


def load_frames(path: Path) -> tuple[bpy.types.Image, tuple[int, int]]:
    """A movie, or the files of a sequence with this one in it, and their size. UserError: Blender cannot read it."""
    try:
        photo = bpy.data.images.load(str(path))
    except RuntimeError as error:
        raise UserError(f"{path} cannot be read; check that the frames are still there.") from error
    if 0 in photo.size:
        bpy.data.images.remove(photo)
        raise UserError(f"Blender cannot read {path}; give a movie that it plays, or PNG, JPEG, TIFF or EXR.")
    size = (photo.size[0], photo.size[1])  # that of a sequence is not known where the scene stands at no frame of it
    if photo.source != "MOVIE":
        photo.source = "SEQUENCE"
    return photo, size


def _photo(made: NewDatablocks, name: str, shot: Shot) -> bpy.types.Image:
    path = Path(shot.photo)
    photo, size = load_frames(path)
    made.add(photo)
    if size != (shot.width, shot.height):
        raise UserError(
            f"Blender shows {path.name} with {size[0]}x{size[1]} pixels, the depth has "
            f"{shot.width}x{shot.height}; convert the frames, so that they are upright and have square pixels."
        )
    photo.name, photo.alpha_mode = f"{name} photo", "NONE"
    if bpy.data.filepath:
        photo.filepath = _relative(path)
    return photo


def _relative(path: Path) -> str:
    """As the .blend names it; as it is where it lies on another drive."""
    try:
        return bpy.path.relpath(str(path))
    except ValueError:
        return str(path)


def _move(surface: bpy.types.Object, cache: ShotCache) -> None:
    """Let a surface read where its vertices are."""
    assert cache.shot is not None
    modifier: Any = surface.modifiers.get(MODIFIER) or surface.modifiers.new(MODIFIER, "MESH_CACHE")
    modifier.cache_format, modifier.filepath = "PC2", _relative(cache.folder / POINTS)
    modifier.interpolation, modifier.deform_mode = "NONE", "OVERWRITE"
    modifier.frame_start = cache.shot.span[0]


def _finish(parts: Built, shot: Shot, placement: Placement, first: Source, recipe: Recipe) -> str:
    """What a rig has beside its mesh; what had to be guessed, of the first frame, whose scale all keep."""
    depth = np.append(-placement.points(first)[..., 2], 2 * placement.far_m).astype(np.float32)
    sensor_mm = recipe.lens.sensor_width_mm(shot.width, shot.height)
    aim(parts.camera, depth, placement.lens, parts.rig.scale.x, sensor_mm)
    catch_shadows(parts.surface, recipe.build.material)
    parts.surface[SURFACE_KEY] = ["shot", recipe.build.material]
    stand_at(parts.rig, recipe.lens)
    parts.rig[BUILT_KEY] = json.dumps({"lens": asdict(placement.lens), "scale": asdict(recipe.scale), RANGE: None})
    parts.rig[TOLD_KEY] = first.told(recipe)
    _, guess = recipe.lens.intrinsics(shot.width, shot.height, first.exif)
    kind = "" if recipe.build.kind == "mesh" else "A shot is a mesh; Live and Adaptive are for photos."
    return " ".join(filter(None, [guess, first.doubts(recipe, placement.lens), kind]))


def _material(
    made: NewDatablocks, name: str, photo: bpy.types.Image, shot: Shot, placement: Placement, recipe: Recipe
) -> bpy.types.Material:
    """The frames as of `new_material`, with nothing drawn where the mesh is stretched or shows the sky."""
    material = new_material(made, name, photo, recipe.build.material)
    nodes = Nodes(material.node_tree)
    by_type: dict[str, Any] = {node.type: node for node in nodes.tree.nodes}
    picture, output = by_type["TEX_IMAGE"], by_type["OUTPUT_MATERIAL"]
    show_frames(picture.image_user, photo, shot)
    hidden = _hidden(nodes, shot, placement, recipe.build.mesh.edge_rtol)
    shader = output.inputs["Surface"].links[0].from_socket
    mix = nodes.new("ShaderNodeMixShader")
    nodes.join(hidden, mix.inputs[0])
    nodes.join(shader, mix.inputs[1])
    nodes.join(nodes.new("ShaderNodeBsdfTransparent").outputs[0], mix.inputs[2])
    nodes.join(mix.outputs[0], output.inputs["Surface"])
    return material


def show_frames(user: Any, photo: bpy.types.Image, shot: Shot) -> None:
    """Show the frame whose number is that of the scene."""
    first, count = shot.span
    user.frame_start, user.frame_offset, user.frame_duration = first, first - 1, count
    user.use_auto_refresh, user.use_cyclic = True, False


def _hidden(nodes: Nodes, shot: Shot, placement: Placement, edge_rtol: float) -> Any:
    """1 where a face is steeper to its ray than a step of `edge_rtol` between two vertices, but for who looks along
    the ray; and 1 behind the far distance.
    """
    spacing = (shot.columns[-1] - shot.columns[0]) / (len(shot.columns) - 1) / placement.lens.fx
    where = nodes.new("ShaderNodeTexCoord").outputs["Object"]
    geometry = nodes.new("ShaderNodeNewGeometry")
    ray = _normalised(nodes, where)
    across = _in_object(nodes, geometry.outputs["True Normal"], "NORMAL")
    to_eye = _in_object(nodes, geometry.outputs["Incoming"], "VECTOR")
    steep = nodes.maths("ABSOLUTE", _dot(nodes, ray, across))
    steep = nodes.maths("LESS_THAN", steep, spacing / math.hypot(spacing, edge_rtol))
    aside = nodes.maths("LESS_THAN", nodes.maths("ABSOLUTE", _dot(nodes, ray, to_eye)), SEEN_ALONG)
    apart = nodes.new("ShaderNodeSeparateXYZ")
    nodes.join(where, apart.inputs[0])
    far_m = min(placement.hides_from_m, 3e38)
    return nodes.maths(
        "MAXIMUM", nodes.maths("MULTIPLY", steep, aside), nodes.maths("LESS_THAN", apart.outputs[2], -far_m)
    )


def _in_object(nodes: Nodes, vector: Any, kind: str) -> Any:
    """A vector of the world in the space of the surface, of length 1."""
    turn = nodes.new("ShaderNodeVectorTransform", vector_type=kind, convert_from="WORLD", convert_to="OBJECT")
    nodes.join(vector, turn.inputs[0])
    return _normalised(nodes, turn.outputs[0])


def _normalised(nodes: Nodes, vector: Any) -> Any:
    node = nodes.new("ShaderNodeVectorMath", operation="NORMALIZE")
    nodes.join(vector, node.inputs[0])
    return node.outputs["Vector"]


def _dot(nodes: Nodes, first: Any, second: Any) -> Any:
    node = nodes.new("ShaderNodeVectorMath", operation="DOT_PRODUCT")
    nodes.join(first, node.inputs[0])
    nodes.join(second, node.inputs[1])
    return node.outputs["Value"]
