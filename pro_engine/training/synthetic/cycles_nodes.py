"""Materials as Blender node trees: the patterns of `textures.py`, from the same tables, on coordinates of the mesh.

The mesh carries two sets of texture coordinates: `MAPPED`, in mesh uv or object metres as `textures.albedo` takes them,
and `BOXED`, always object metres, for bumps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import bpy
import numpy as np

from .scene import Color, Material
from .textures import CELL_UNITS, NOISE_UNITS, Pyramid, bump_heights, noise, voronoi

MAPPED, BOXED = "mapped", "boxed"
MIRROR = 0.85
"""Reflectance from which a surface is a flawless mirror."""
METAL = 0.5
POLISHED_ROUGHNESS, METAL_ROUGHNESS, MATT_ROUGHNESS = 0.12, 0.22, 0.75
GLASS_INDEX = 1.5

Value = Any
"""A number, or the output socket of a node."""


class _Tree:
    """The node tree of one material, with short ways to add nodes."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.tree.nodes.clear()

    def node(self, kind: str, inputs: Mapping[Any, Value] | None = None, **settings: Any) -> Any:
        """A node `ShaderNode<kind>`; inputs by name or place are values or sockets."""
        node = self.tree.nodes.new(f"ShaderNode{kind}")
        for name, setting in settings.items():
            setattr(node, name, setting)
        for key, value in (inputs or {}).items():
            self.feed(node.inputs[key], value)
        return node

    def feed(self, socket: Any, value: Value) -> None:
        """Link a socket, or set it."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = value

    def math(self, operation: str, *values: Value) -> Any:
        """Result of a `Math` node."""
        return self.node("Math", dict(enumerate(values)), operation=operation).outputs[0]

    def mix(self, share: Value, first: Value, second: Value, blend: str = "MIX") -> Any:
        """The first colour with `share` of the second."""
        inputs = {0: share, 6: _rgba(first), 7: _rgba(second)}
        return self.node("Mix", inputs, data_type="RGBA", blend_type=blend).outputs[2]

    def vector(self, x: Value, y: Value) -> Any:
        """(x, y, 0)."""
        return self.node("CombineXYZ", {0: x, 1: y}).outputs[0]

    def split(self, vector: Value) -> tuple[Any, Any]:
        """x and y."""
        node = self.node("SeparateXYZ", {0: vector})
        return node.outputs[0], node.outputs[1]

    def ramp(self, material: Material, value: Value, softness: float | None = None) -> Any:
        """Colour from the first, below the threshold, to the second."""
        soft = max(material.softness if softness is None else softness, 1e-3)
        inputs = {0: value, 1: material.threshold - soft / 2, 2: material.threshold + soft / 2, 3: 0.0, 4: 1.0}
        share = self.node("MapRange", inputs, clamp=True).outputs[0]
        return self.mix(share, material.color, material.color2)

    def table(self, name: str, pyramid: Pyramid, vector: Value, per_unit: tuple[float, float]) -> Any:
        """Look-up in a periodic table; `per_unit` repeats per unit of the vector along x and y."""
        size = int(pyramid.sizes[0])
        values = pyramid.texels[: size * size, 0]
        place = self.node("Mapping", {0: vector, 3: (*per_unit, 1.0)}).outputs[0]
        return self.node("TexImage", {0: place}, image=_table_image(name, values.reshape(size, size))).outputs[0]


def node_material(material: Material, name: str) -> Any:
    """The Blender material (bpy.types.Material). Raises OSError when its picture cannot be read."""
    tree = _Tree(name)
    mapped = tree.node("UVMap", uv_map=MAPPED).outputs[0]
    scaled = tree.node("Mapping", {0: mapped, 2: (0, 0, material.angle), 3: (material.scale,) * 3}).outputs[0]
    offset, stretch = (*material.offset, 0.0), (1.0, material.stretch, 1.0)
    place = tree.node("Mapping", {0: scaled, 1: offset, 3: stretch}).outputs[0]
    color = material.color if material.pattern == "solid" else _PATTERNS[material.pattern](tree, material, place)
    surface = _glass(tree, color) if material.transparent else _opaque(tree, material, color)
    tree.node("OutputMaterial", {0: surface})
    return tree.material


def _opaque(tree: _Tree, material: Material, color: Value) -> Any:
    shiny = material.reflectance
    if shiny >= METAL:
        rough, index = (0.0 if shiny >= MIRROR else METAL_ROUGHNESS), 1.5
    elif shiny > 0:
        root = math.sqrt(shiny)
        rough, index = POLISHED_ROUGHNESS, (1 + root) / (1 - root)  # Fresnel at normal incidence
    else:
        rough, index = MATT_ROUGHNESS, 1.3
    inputs: dict[str | int, Value] = {
        "Base Color": _rgba(color),
        "Metallic": float(shiny >= METAL),
        "Roughness": rough,
        "IOR": index,
    }
    if material.emission > 0:
        inputs |= {"Emission Color": _rgba(color), "Emission Strength": material.emission}
    if material.bump > 0:
        inputs["Normal"] = _bump(tree, material)
    return tree.node("BsdfPrincipled", inputs).outputs[0]


def _glass(tree: _Tree, color: Value) -> Any:
    """A thin pane: what is behind shows unbent through the tint, and the surface mirrors by Fresnel's law.

    The index is turned round on back faces, where the node would otherwise see light leave a solid block.
    """
    behind = tree.node("BsdfTransparent", {0: tree.mix(0.04, color, (0.6, 0.6, 0.6))}).outputs[0]
    back = tree.node("NewGeometry").outputs["Backfacing"]
    index = tree.node("MapRange", {0: back, 1: 0.0, 2: 1.0, 3: GLASS_INDEX, 4: 1 / GLASS_INDEX}).outputs[0]
    share = tree.node("Fresnel", {0: index}).outputs[0]
    mirrored = tree.node("BsdfGlossy", {"Color": (1, 1, 1, 1), "Roughness": 0.0}).outputs[0]
    return tree.node("MixShader", {0: share, 1: behind, 2: mirrored}).outputs[0]


def _bump(tree: _Tree, material: Material) -> Any:
    """Normal bent as by the slopes of `textures.slopes`."""
    heights, spread = bump_heights()
    boxed = tree.node("UVMap", uv_map=BOXED).outputs[0]
    per_metre = material.bump_scale / NOISE_UNITS
    place = tree.node("Mapping", {0: boxed, 3: (per_metre, per_metre, 1.0)}).outputs[0]
    height = tree.node("TexImage", {0: place}, image=_table_image("heights", heights)).outputs[0]
    texel = 1 / (per_metre * len(heights))
    return tree.node(
        "Bump", {"Strength": 1.0, "Distance": 0.35 * material.bump / spread * 2 * texel, "Height": height}
    ).outputs[0]


def _noise(tree: _Tree, material: Material, place: Value) -> Any:
    return tree.ramp(material, tree.table("noise", noise(), place, (1 / NOISE_UNITS,) * 2))


def _cells(tree: _Tree, material: Material, place: Value) -> Any:
    return tree.ramp(material, tree.table("cells", voronoi()[0], place, (1 / CELL_UNITS,) * 2))


def _flakes(tree: _Tree, material: Material, place: Value) -> Any:
    return tree.ramp(material, tree.table("flakes", voronoi()[1], place, (1 / CELL_UNITS,) * 2))


def _checker(tree: _Tree, material: Material, place: Value) -> Any:
    u, v = tree.split(place)
    total = tree.math("ADD", tree.math("FLOOR", u), tree.math("FLOOR", v))
    return tree.mix(tree.math("FLOORED_MODULO", total, 2.0), material.color, material.color2)


def _bricks(tree: _Tree, material: Material, place: Value) -> Any:
    u, v = tree.split(place)
    u, v = tree.math("MULTIPLY", u, 2.0), tree.math("MULTIPLY", v, 4.0)
    row = tree.math("FLOOR", v)
    if material.stretch >= 0.75:
        u = tree.math("ADD", u, tree.math("MULTIPLY", tree.math("FLOORED_MODULO", row, 2.0), 0.5))
    column = tree.math("FLOOR", u)
    joint_v = min(0.45, material.joint * 2 * material.stretch)
    in_joint = tree.math(
        "MAXIMUM",
        tree.math("LESS_THAN", tree.math("SUBTRACT", u, column), material.joint),
        tree.math("LESS_THAN", tree.math("SUBTRACT", v, row), joint_v),
    )
    own = tree.node("TexWhiteNoise", {0: tree.vector(column, row)}, noise_dimensions="2D").outputs[0]
    grain = tree.table("noise", noise(), tree.vector(u, v), (0.31, 0.31))
    shade = tree.math(
        "MULTIPLY", tree.math("MULTIPLY_ADD", own, -0.3, 1.0), tree.math("MULTIPLY_ADD", grain, 0.3, 0.85)
    )
    face = tree.mix(
        1.0, material.color, tree.node("CombineColor", {0: shade, 1: shade, 2: shade}).outputs[0], "MULTIPLY"
    )
    return tree.mix(in_joint, face, material.color2)


def _wood(tree: _Tree, material: Material, place: Value) -> Any:
    u, _ = tree.split(place)
    bend = tree.table("noise", noise(), place, (0.05, 0.012))
    turns = tree.math("MULTIPLY", tree.math("MULTIPLY_ADD", bend, 3.0, u), 2 * math.pi)
    rings = tree.math("MULTIPLY_ADD", tree.math("SINE", turns), 0.5, 0.5)
    fibres = tree.table("noise", noise(), place, (0.9, 0.03))
    value = tree.math("MULTIPLY_ADD", rings, 0.7, tree.math("MULTIPLY", fibres, 0.3))
    return tree.ramp(material, value, max(material.softness, 0.8))


def _waves(tree: _Tree, material: Material, place: Value) -> Any:
    u, v = tree.split(place)

    def wave(along: Value, across: Value, bend: float) -> Any:
        inner = tree.math("SINE", tree.math("MULTIPLY", across, 2 * math.pi * bend))
        return tree.math("SINE", tree.math("MULTIPLY_ADD", along, 2 * math.pi, tree.math("MULTIPLY", inner, 2.0)))

    both = tree.math("ADD", wave(u, v, 0.6), wave(v, u, 0.5))
    return tree.ramp(material, tree.math("MULTIPLY_ADD", both, 0.25, 0.5))


def _image(tree: _Tree, material: Material, place: Value) -> Any:
    if material.image is None:
        return material.color
    picture = bpy.data.images.load(material.image, check_existing=True)
    if not picture.size[0]:
        raise OSError(f"cannot read texture {material.image}")
    picture.alpha_mode = "NONE"
    texel = tree.node("TexImage", {0: place}, image=picture).outputs[0]
    return tree.mix(1.0, material.color, texel, "MULTIPLY") if material.tint else texel


_PATTERNS: dict[str, Callable[[_Tree, Material, Value], Any]] = {
    "noise": _noise,
    "cells": _cells,
    "flakes": _flakes,
    "checker": _checker,
    "bricks": _bricks,
    "wood": _wood,
    "waves": _waves,
    "image": _image,
}


def _rgba(color: Color | Value) -> Value:
    return (*color, 1.0) if isinstance(color, tuple) and len(color) == 3 else color


def _table_image(name: str, values: np.ndarray) -> Any:
    """A table (S, S) as a float picture of the current Blender file, row 0 at v = 0; made once."""
    found = bpy.data.images.get(name)
    return found if found is not None else float_image(name, np.repeat(values[..., None], 3, 2))


def float_image(name: str, rgb: np.ndarray) -> Any:
    """A linear float picture (bpy.types.Image) from rgb (H, W, 3), row 0 at the bottom."""
    height, width = rgb.shape[:2]
    picture = bpy.data.images.new(name, width, height, float_buffer=True, is_data=True)
    rgba = np.concatenate([rgb, np.ones((height, width, 1))], 2).astype(np.float32)
    picture.pixels.foreach_set(rgba.ravel())
    picture.pack()
    return picture
