# SPDX-License-Identifier: GPL-3.0-or-later
"""The two surfaces of a photo in the scene: the photo in front, and an object of its own for what it hides."""

from __future__ import annotations

from typing import Any, NamedTuple

import bpy
import numpy as np
from numpy.typing import NDArray

from ..maths.mesh import Intrinsics, MeshOptions, layered_meshes
from ..maths.simplify import FloatMap
from .datablocks import NewDatablocks, catch_shadows, has, new_material, new_mesh, read_float_image, replace_old

BEHIND_KEY = "pro_behind"  # on the object of what is hidden: its material


class LayerOptions(NamedTuple):
    """As of `BuildOptions`: share of the median depth that a camera may move, and whether the border is crossed."""

    reveal: float
    extend: bool


class Behind(NamedTuple):
    """A mesh of what is hidden, and its texture."""

    mesh: bpy.types.Mesh
    plate: bpy.types.Image


def new_layers(
    made: NewDatablocks,
    name: str,
    depth: FloatMap,
    intrinsics: Intrinsics,
    picture: bpy.types.Image,
    mesh: MeshOptions,
    options: LayerOptions,
) -> tuple[bpy.types.Mesh, Behind | None]:
    """The mesh in front, and what is behind it, None where nothing is.

    Args:
        made: remembers what is made.
        name: of the mesh.
        depth, intrinsics, mesh: as of `build.build`.
        picture: the photo or plate; what is made up is in its colour space, float where it is.
        options: of the layers.

    Raises:
        UserError: no face is left.
    """
    colours = np.nan_to_num(read_float_image(picture)[..., :3])  # what is no number would spread in what is made up
    front, behind, plate = layered_meshes(
        depth, colours, intrinsics, mesh, reveal=options.reveal, extend=options.extend
    )
    shape = new_mesh(made, name, front)
    if behind is None:
        return shape, None
    return shape, Behind(new_mesh(made, f"{name} behind", behind), _new_plate(made, f"{name} behind", plate, picture))


def put_behind(
    made: NewDatablocks, name: str, rig: bpy.types.Object, behind: Behind | None, material: str
) -> bpy.types.Object | None:
    """The object of what is hidden: a new child of the rig, or that which it has with a new mesh. None, and gone, where
    nothing is hidden. Its materials stay if they are of the kind asked for.
    """
    thing = behind_of(rig)
    before: Any = None if thing is None else thing.data
    old = [] if before is None else [before, *(one for one in before.materials if one is not None), *_plates(before)]
    if behind is None:
        if thing is not None:
            bpy.data.objects.remove(thing)
        replace_old(old, [])
        return None
    kept = [one for one in old if isinstance(one, bpy.types.Material)]
    if thing is None or thing[BEHIND_KEY] != material or not kept:
        kept = [new_material(made, name, behind.plate, material)]
    for one in kept:
        behind.mesh.materials.append(one)
    for node in _nodes(behind.mesh):  # the same nodes, with the new plate
        node.image = behind.plate
    if thing is None:
        thing = made.add(bpy.data.objects.new(name, behind.mesh))
        thing.parent = rig
    else:
        thing.data = behind.mesh
    catch_shadows(thing, material)
    thing[BEHIND_KEY] = material
    replace_old(old, [behind.mesh, behind.plate, *kept])
    return thing


def behind_of(rig: bpy.types.Object) -> bpy.types.Object | None:
    """The object of what a rig hides, if it has one."""
    return next((child for child in rig.children if has(child, BEHIND_KEY) and child.type == "MESH"), None)


def _new_plate(
    made: NewDatablocks, name: str, colours: NDArray[np.float32], picture: bpy.types.Image
) -> bpy.types.Image:
    """An image like the photo, packed, so that it can be painted on."""
    height, width = colours.shape[:2]
    rgba = np.ones((height, width, 4), np.float32)
    rgba[::-1, :, :3] = colours
    image = made.add(bpy.data.images.new(name, width, height, alpha=False, float_buffer=picture.is_float))
    space: Any = image.colorspace_settings
    space.name = picture.colorspace_settings.name
    pixels: Any = image.pixels
    pixels.foreach_set(rgba.reshape(-1))
    image.pack()
    image[BEHIND_KEY] = True
    return image


def _nodes(mesh: bpy.types.Mesh) -> list[Any]:
    """The nodes of its materials that show a plate."""
    trees: list[Any] = [one.node_tree for one in mesh.materials if one is not None and one.node_tree]
    return [node for tree in trees for node in tree.nodes if node.type == "TEX_IMAGE" and _is_plate(node.image)]


def _plates(mesh: bpy.types.Mesh) -> list[bpy.types.Image]:
    """The plates that its materials show."""
    return [node.image for node in _nodes(mesh)]


def _is_plate(image: bpy.types.Image | None) -> bool:
    return image is not None and has(image, BEHIND_KEY)
