# SPDX-License-Identifier: GPL-3.0-or-later
"""The photo behind and on what the user adds: as the camera's background, and projected onto own objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import bpy

from ..errors import UserError
from .build import FRAME_KEY, NAME_LENGTH, PHOTO_KEY, Built
from .datablocks import NewDatablocks, has
from .nodes import Nodes
from .place import rig_of

PROJECTION_KEY = "pro_projection"  # on the rig: the material that projects its photo
OUTSIDE = (0.2, 0.2, 0.2, 1.0)  # of a projection, where the photo shows nothing


def show_behind(parts: Built) -> None:
    """The photo as the background of its camera, in the viewport; it fills the frame, which holds the lens shift.

    Raises:
        UserError: it is a panorama.
    """
    _check_flat(parts)
    data, photo = parts.camera.data, parts.rig[PHOTO_KEY]
    images: Any = data.background_images
    shown = next((one for one in images if one.image == photo), None) or images.new()
    shown.source, shown.image, shown.alpha, shown.display_depth = "IMAGE", photo, 1.0, "BACK"
    _, _, aspect_x, aspect_y = parts.camera[FRAME_KEY]
    shown.frame_method = "CROP" if aspect_x == aspect_y else "STRETCH"  # the photo has the shape of the frame
    shown.show_background_image = data.show_background_images = True
    keep_time(shown.image_user, parts)


def _check_flat(parts: Built) -> None:
    if parts.camera.data.type != "PERSP":
        raise UserError(f"{parts.rig.name} is a panorama; this is for photos of a lens.")


def keep_time(user: Any, parts: Built) -> None:
    """Show the same frame as the surface, if the photo is a movie or a sequence."""
    trees = [material.node_tree for material in parts.surface.data.materials if material and material.node_tree]
    for node in (node for tree in trees for node in tree.nodes):
        if isinstance(node, bpy.types.ShaderNodeTexImage) and node.image == parts.rig[PHOTO_KEY]:
            for name in ("frame_start", "frame_offset", "frame_duration", "use_auto_refresh", "use_cyclic"):
                setattr(user, name, getattr(node.image_user, name))


def project(parts: Built, things: Iterable[bpy.types.Object], material: str) -> list[str]:
    """Project the photo from its camera onto objects of the user; names of those objects.

    It follows camera and lens. What the objects hide of each other gets the photo too. Their own materials stay with
    their meshes: the slots show the projection instead, as materials of the object.

    Args:
        parts: of the rig.
        things: to project onto; those of a rig and those that show no material are passed over.
        material: as of `BuildOptions`; but for "emission" the surface is lit.

    Raises:
        UserError: no object is left, or it is a panorama.
    """
    _check_flat(parts)
    chosen = [one for one in things if one.type == "MESH" and rig_of(one) is None and one.library is None]
    if not chosen:
        raise UserError(
            "Nothing to project onto is selected; select your own mesh objects, and a part of the rig last."
        )
    with NewDatablocks() as made:
        projection = _projection(made, parts, "emission" if material == "emission" else "principled")
    for thing in chosen:
        if not thing.material_slots:
            thing.data.materials.append(None)
        for slot in thing.material_slots:
            slot.link = "OBJECT"
            slot.material = projection
    return [thing.name for thing in chosen]


def _projection(made: NewDatablocks, parts: Built, shading: str) -> bpy.types.Material:
    """The material of a rig; made anew where there is none of this shading."""
    rig = parts.rig
    known: bpy.types.Material | None = rig.get(PROJECTION_KEY) if has(rig, PROJECTION_KEY) else None
    if known is not None and known.get(PROJECTION_KEY) == shading:
        return known
    material = made.add(bpy.data.materials.new(f"{rig.name[:NAME_LENGTH]} projection"))
    material[PROJECTION_KEY] = shading
    if bpy.app.version < (5, 0):
        material.use_nodes = True
    nodes = Nodes(material.node_tree)
    nodes.tree.nodes.clear()
    u, v, ahead = _seen_at(nodes, parts.camera)
    place = nodes.new("ShaderNodeCombineXYZ")
    nodes.join(u, place.inputs[0])
    nodes.join(v, place.inputs[1])
    picture = nodes.new("ShaderNodeTexImage", image=rig[PHOTO_KEY], extension="CLIP")
    keep_time(picture.image_user, parts)
    nodes.join(place.outputs[0], picture.inputs[0])
    plain = nodes.new("ShaderNodeBsdfPrincipled")
    plain.inputs["Base Color"].default_value = OUTSIDE
    shader = nodes.new("ShaderNodeEmission" if shading == "emission" else "ShaderNodeBsdfPrincipled")
    nodes.join(picture.outputs["Color"], shader.inputs[0])
    if shading != "emission":
        shader.inputs["Roughness"].default_value = 1.0
    mix = nodes.new("ShaderNodeMixShader")
    nodes.join(nodes.maths("MULTIPLY", ahead, picture.outputs["Alpha"]), mix.inputs[0])
    nodes.join(plain.outputs[0], mix.inputs[1])
    nodes.join(shader.outputs[0], mix.inputs[2])
    nodes.join(mix.outputs[0], nodes.new("ShaderNodeOutputMaterial").inputs["Surface"])
    rig[PROJECTION_KEY] = material
    return material


def _seen_at(nodes: Nodes, camera: bpy.types.Object) -> tuple[Any, Any, Any]:
    """Where in its picture a camera of sensor fit HORIZONTAL sees what is shaded, and 1 where that lies before it."""
    data = camera.data
    where = nodes.new("ShaderNodeTexCoord", object=camera)
    apart = nodes.new("ShaderNodeSeparateXYZ")
    nodes.join(where.outputs["Object"], apart.inputs[0])
    focal = nodes.driven("lens / sensor", lens=(data, "lens"), sensor=(data, "sensor_width"))
    frame = {name: (camera, f'["{FRAME_KEY}"][{k}]') for k, name in enumerate(("w", "h", "ax", "ay"))}
    per_distance = nodes.maths("DIVIDE", focal, nodes.maths("MULTIPLY", apart.outputs[2], -1.0))
    across, up = (
        nodes.maths(
            "SUBTRACT", nodes.maths("MULTIPLY", apart.outputs[k], per_distance), nodes.driven("s", s=(data, shift))
        )
        for k, shift in enumerate(("shift_x", "shift_y"))
    )
    up = nodes.maths("MULTIPLY", up, nodes.driven("w * ax / (h * ay)", **frame))
    u, v = (nodes.maths("ADD", side, 0.5) for side in (across, up))
    return u, v, nodes.maths("LESS_THAN", apart.outputs[2], 0.0)
