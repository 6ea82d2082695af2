# SPDX-License-Identifier: GPL-3.0-or-later
"""The surface of a rig. Three kinds, all of which look the same from the camera:

- mesh: the surface itself, baked.
- live: the same vertices and faces on a flat plane, moved by a Displace modifier. Its strength flattens the surface
  (0) or exaggerates it, and every point stays on its ray, so the photo still lines up.
- adaptive: one quad that Cycles divides while it renders. It does not tear between two surfaces unless pixels are
  eroded, and shows flat in the viewport.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import bpy
import numpy as np

from ..errors import UserError
from ..maths.mesh import Intrinsics, MeshOptions, depth_to_mesh, open_cells, plane_mesh, position_map
from ..maths.simplify import FloatMap, cell_corners
from ..maths.sphere import Sphere, sphere_mesh
from ..options import Checked, option, same_as
from .datablocks import MATERIAL_CHOICES, UV_NAME, NewDatablocks, catch_shadows, new_float_image, new_mesh
from .layers import Behind, LayerOptions, new_layers

KIND_CHOICES = ("mesh", "live", "adaptive")
SURFACE_KEY = "pro_surface"  # on the surface object: kind and material
MODIFIER = "Depth"


@dataclass(frozen=True)
class BuildOptions(Checked):
    """What is built. UserError: an unknown kind or material."""

    kind: str = option("mesh", "How the surface gets its shape", label="Kind", choices=KIND_CHOICES)
    material: str = option(
        "emission",
        "The photo as light, as a surface to be lit, or for its shadows alone",
        label="Material",
        choices=MATERIAL_CHOICES,
    )
    layers: bool = option(
        False,
        "The photo in front without a gap, and what it hides as a second object; for the kind Mesh",
        label="Layers",
    )
    reveal: float = same_as("GeometryOptions.reveal", label="Reveal")
    extend: bool = same_as("GeometryOptions.extend", label="Extend")
    mesh: MeshOptions = field(default_factory=MeshOptions)

    @property
    def has_layers(self) -> bool:
        """Whether two surfaces are built."""
        return self.layers and self.kind == "mesh"


class Shape(NamedTuple):
    """A mesh without material, and the image of where it is moved to: by a texture, or by its material."""

    mesh: bpy.types.Mesh
    texture: bpy.types.Texture | None = None  # of a live surface
    shifts: bpy.types.Image | None = None  # for the material of an adaptive one
    behind: Behind | None = None  # what it hides


def new_shape(
    made: NewDatablocks,
    name: str,
    depth: FloatMap,
    intrinsics: Intrinsics | Sphere,
    options: BuildOptions,
    picture: bpy.types.Image,
) -> Shape:
    """The mesh of the kind asked for.

    Args:
        made: remembers what is made.
        name: of the mesh.
        depth, intrinsics, options: as of `build.build`.
        picture: the photo or plate.

    Raises:
        UserError: no face is left, or a panorama is to be of another kind than mesh.
    """
    if isinstance(intrinsics, Sphere):
        if options.kind != "mesh":
            raise UserError("A panorama becomes a surface of the kind Mesh only; choose that under Surface.")
        return Shape(new_mesh(made, name, sphere_mesh(depth, intrinsics, options.mesh, whole=options.layers)))
    if options.has_layers:
        layers = LayerOptions(options.reveal, options.extend)
        mesh, behind = new_layers(made, name, depth, intrinsics, picture, options.mesh, layers)
        return Shape(mesh, behind=behind)
    if options.kind == "mesh":
        return Shape(new_mesh(made, name, depth_to_mesh(depth, intrinsics, options.mesh)))
    used = cell_corners(open_cells(depth, options.mesh))
    if not used.any():
        raise UserError("No face is left: all is torn, masked or sky; raise Tear or keep the sky.")
    plane_m = float(np.median(depth[used]))
    moves = np.dstack([position_map(depth, intrinsics, plane_m), used.astype(np.float32)])
    offsets = new_float_image(made, f"{name} offsets", moves)
    if options.kind == "adaptive":
        return Shape(new_mesh(made, name, plane_mesh(intrinsics, plane_m)), shifts=offsets)
    texture: Any = made.add(bpy.data.textures.new(offsets.name, "IMAGE"))
    texture.image, texture.extension, texture.use_interpolation = offsets, "EXTEND", False
    flat = depth_to_mesh(depth, intrinsics, options.mesh).on_plane(plane_m)
    return Shape(new_mesh(made, name, flat), texture=texture)


def dress(surface: bpy.types.Object, options: BuildOptions, shape: Shape) -> None:
    """Give a surface the modifier of its kind, before those that the user added. A live one keeps its strength."""
    old: Any = surface.modifiers.get(MODIFIER)
    strength = old.strength if old is not None and old.type == "DISPLACE" else 1.0
    if old is not None:
        surface.modifiers.remove(old)
    catch_shadows(surface, options.material)
    surface[SURFACE_KEY] = [options.kind, options.material]
    if bpy.app.version < (5, 0):  # later it is a switch of the modifier
        surface.cycles.use_adaptive_subdivision = options.kind == "adaptive"
    if shape.texture is not None:
        _displace(surface, shape.texture, strength)
    elif shape.shifts is not None:
        _subdivide(surface)
    else:
        return
    surface.modifiers.move(len(surface.modifiers) - 1, 0)


def keeps_material(surface: bpy.types.Object, options: BuildOptions) -> bool:
    """Whether its material does for a surface of these options; one that moves the surface never does."""
    kind, material = surface[SURFACE_KEY]
    return material == options.material and "adaptive" not in (kind, options.kind)


def maps_of(surface: bpy.types.Object) -> list[bpy.types.ID]:
    """What only the modifier or the material of a surface knows: textures first, then their images."""
    texture = getattr(surface.modifiers.get(MODIFIER), "texture", None)
    if texture is not None:
        return [thing for thing in (texture, texture.image) if thing is not None]
    trees = [material.node_tree for material in surface.data.materials if material and material.node_tree]
    nodes = [node for tree in trees for node in tree.nodes if node.type == "TEX_IMAGE" and node.image]
    return [node.image for node in nodes if node.image.is_float]


def _displace(surface: bpy.types.Object, texture: bpy.types.Texture, strength: float) -> None:
    """Add the offsets to the vertices, each from the very pixel of its UV."""
    modifier: Any = surface.modifiers.new(MODIFIER, "DISPLACE")
    modifier.texture, modifier.texture_coords, modifier.uv_layer = texture, "UV", UV_NAME
    modifier.direction, modifier.space = "RGB_TO_XYZ", "LOCAL"
    modifier.mid_level, modifier.strength = 0.0, strength


def _subdivide(surface: bpy.types.Object) -> None:
    """Let Cycles divide the surface to the size of a pixel; the switch is on the object before Blender 5.0."""
    modifier: Any = surface.modifiers.new(MODIFIER, "SUBSURF")
    modifier.subdivision_type = "SIMPLE"
    modifier.levels = modifier.render_levels = 0
    if bpy.app.version >= (5, 0):
        modifier.use_adaptive_subdivision = True
