# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes of shaders, in fewer words."""

from __future__ import annotations

from typing import Any

import bpy


class Nodes:
    """Nodes of a tree, put side by side as they come."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree

    def new(self, kind: str, **values: Any) -> Any:
        """A node."""
        node: Any = self.tree.nodes.new(kind)
        node.location = (len(self.tree.nodes) * 180, 0)
        for name, value in values.items():
            setattr(node, name, value)
        return node

    def join(self, source: Any, target: Any) -> None:
        """A link."""
        self.tree.links.new(source, target)

    def maths(self, operation: str, *values: Any) -> Any:
        """What comes out of a calculation with sockets and numbers."""
        node = self.new("ShaderNodeMath", operation=operation)
        for value, socket in zip(values, node.inputs, strict=False):
            if isinstance(value, float):
                socket.default_value = value
            else:
                self.join(value, socket)
        return node.outputs[0]

    def driven(self, expression: str, **variables: tuple[bpy.types.ID, str]) -> Any:
        """A number that follows properties, each of a datablock; Blender computes it without Python."""
        output = self.new("ShaderNodeValue", label=expression).outputs[0]
        driver = output.driver_add("default_value").driver
        for name, (owner, path) in variables.items():
            variable = driver.variables.new()
            variable.name = name
            variable.targets[0].id_type = "CAMERA" if isinstance(owner, bpy.types.Camera) else "OBJECT"
            variable.targets[0].id, variable.targets[0].data_path = owner, path
        driver.expression = expression
        return output
