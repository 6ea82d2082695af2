# SPDX-License-Identifier: GPL-3.0-or-later
"""The photo under the render in Blender's compositor, with its distance and mask at hand. The scene owns a tree of
nodes up to Blender 4.5; from 5.0 on it names a group of nodes, whose output is the picture.
"""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from ..maths.mesh import Intrinsics
from ..maths.passes import CameraPose, passes_of
from ..maths.simplify import FloatMap
from .build import PHOTO_KEY, Built, unit_of
from .datablocks import NewDatablocks, new_float_image
from .plate import keep_time

PLAIN = {"R_LAYERS", "COMPOSITE", "VIEWER", "REROUTE", "GROUP_OUTPUT"}  # nodes of a tree in which nobody built anything


def set_up(scene: bpy.types.Scene, parts: Built, depth: FloatMap | None, lens: Intrinsics) -> bool:
    """Put the render over the photo. Returns whether it is what the scene shows; else the nodes are there, beside those
    of the user, whose links stay.

    The film becomes transparent, as nothing of the photo would be seen behind it. Depth and lens are those of what is
    built, see `shown_depth`; without depth, of a shot, there are no nodes for it and its mask.
    """
    rig = parts.rig
    stands = np.eye(3, dtype=np.float32) * np.float32(unit_of(parts.camera))
    maps = {} if depth is None else passes_of(depth, lens, CameraPose(stands, np.zeros(3, np.float32)))
    with NewDatablocks() as made:
        images = [
            rig[PHOTO_KEY],
            *(new_float_image(made, f"{rig.name} {name}", maps[name]["Y"]) for name in ("z", "mask") if maps),
        ]
        tree = _tree_of(scene, rig.name)
        is_ours = all(node.type in PLAIN for node in tree.nodes)
        if is_ours:
            tree.nodes.clear()
        frame: Any = tree.nodes.new("NodeFrame")
        frame.label = f"PRO {rig.name}"
        nodes = [
            _node(tree, "CompositorNodeImage", frame, -400, -300 * k, image=image) for k, image in enumerate(images)
        ]
        render = _node(tree, "CompositorNodeRLayers", frame, -400, 400, scene=scene)
        over = _node(tree, "CompositorNodeAlphaOver", frame, 0, 200)
        for name, node in zip(("Photo", "Z, units of the scene", "Mask"), nodes, strict=False):
            node.label = name
        keep_time(nodes[0], parts)
        below, above = [socket for socket in over.inputs if socket.type == "RGBA"][:2]
        tree.links.new(nodes[0].outputs["Image"], below)
        tree.links.new(render.outputs["Image"], above)
        if is_ours:
            output = "NodeGroupOutput" if bpy.app.version >= (5, 0) else "CompositorNodeComposite"
            tree.links.new(over.outputs[0], _node(tree, output, None, 300, 200).inputs[0])
    scene.render.film_transparent = scene.render.use_compositing = True
    return is_ours


def _tree_of(scene: Any, name: str) -> Any:
    """The nodes of a scene, as this Blender keeps them; a new tree where it has none."""
    if bpy.app.version < (5, 0):
        scene.use_nodes = True
        return scene.node_tree
    if scene.compositing_node_group is None:
        tree: Any = bpy.data.node_groups.new(f"{name} compositing", "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        scene.compositing_node_group = tree
    return scene.compositing_node_group


def _node(tree: Any, kind: str, frame: Any, x: float, y: float, **values: Any) -> Any:
    node = tree.nodes.new(kind)
    node.parent, node.location = frame, (x, y)
    for name, value in values.items():
        setattr(node, name, value)
    return node
