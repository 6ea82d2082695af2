# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender datablocks from numpy arrays: meshes, float images, and the photo with its materials.

Whatever is made goes through `NewDatablocks`, which takes all of it back if something fails before the end.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import bpy
import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..maths.exr import zipped_exr
from ..maths.mesh import MeshArrays
from ..maths.simplify import FloatMap

Datablock = TypeVar("Datablock", bound="bpy.types.ID")

MATERIAL_CHOICES = ("emission", "principled", "catcher")
UV_NAME = "UVMap"
CATCHER_KEY = "pro_catcher"  # on objects whose switch was set here
TEXTURES = ("IMAGE", "UV_TEST")  # types of images that a shader can show; the latter are generated ones
CHANNELS = {1: "Y", 2: "YA", 3: "RGB", 4: "RGBA"}  # of a float image, by their number
KEPT_ALPHA = 0.999  # between a pixel that is kept and one that is not, alpha is interpolated


class NewDatablocks:
    """The datablocks made inside a `with` block; an exception removes them all."""

    def __init__(self) -> None:
        self._made: list[bpy.types.ID] = []

    def add(self, datablock: Datablock) -> Datablock:
        """Remember a new datablock."""
        self._made.append(datablock)
        return datablock

    def __enter__(self) -> NewDatablocks:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is not None:
            bpy.data.batch_remove(self._made)


def has(thing: bpy.types.ID, key: str) -> bool:
    """Whether a datablock has a custom property. It may be one of a datablock that is gone, whose value is None."""
    return key in thing  # type: ignore[operator]


def new_mesh(made: NewDatablocks, name: str, arrays: MeshArrays) -> bpy.types.Mesh:
    """A mesh with UV. Attributes are written whole: five times faster than lists, at a quarter of the memory."""
    mesh = made.add(bpy.data.meshes.new(name))
    mesh.vertices.add(len(arrays.vertices))
    attributes: Any = mesh.attributes
    attributes["position"].data.foreach_set("vector", arrays.vertices.reshape(-1))
    mesh.loops.add(len(arrays.corners))
    attributes[".corner_vert"].data.foreach_set("value", arrays.corners)
    mesh.polygons.add(len(arrays.starts))
    mesh.polygons.foreach_set("loop_start", arrays.starts)
    uv = mesh.uv_layers.new(name=UV_NAME, do_init=False)
    pairs = arrays.uv.view(np.complex64)[:, 0]  # u and v are picked in one go
    uv.uv.foreach_set("vector", pairs[arrays.corners].view(np.float32))
    mesh.update(calc_edges=True)
    for name in (".select_vert", ".select_edge", ".select_poly"):  # Blender 5.0 writes 8 bytes for each edge
        if name in attributes:
            attributes.remove(attributes[name])
    return mesh


def new_float_image(made: NewDatablocks, name: str, values: NDArray[np.float32]) -> bpy.types.Image:
    """A Non-Color image that holds float32 bit for bit, packed as a zipped EXR of the channels given.

    It takes no memory until somebody reads it.

    Args:
        made: remembers it.
        name: of the datablock.
        values: (H, W), seen as grey, or (H, W, C) where the channels are grey and alpha, or RGB, or RGBA; row 0 at the
            top.
    """
    channels = CHANNELS[1 if values.ndim == 2 else values.shape[2]]
    planes = np.moveaxis(values, -1, 0) if values.ndim == 3 else [values]
    height, width = values.shape[:2]
    image = made.add(bpy.data.images.new(name, width, height, alpha=True, float_buffer=True, is_data=True))
    image.source = "FILE"
    _name_file(image, ".exr")
    data = zipped_exr(dict(zip(channels, planes, strict=True)))
    image.pack(data=data, data_len=len(data))
    space: Any = image.colorspace_settings
    space.name = "Non-Color"
    image.alpha_mode = "CHANNEL_PACKED"
    image.buffers_free()
    return image


def _name_file(image: bpy.types.Image, ending: str) -> None:
    """What a packed image says of its file: no folder that is gone tomorrow, but where it would be unpacked."""
    image.filepath_raw = f"//{bpy.path.clean_name(image.name)}{ending}"
    for packed in image.packed_files:
        packed.filepath = image.filepath_raw


def read_float_image(image: bpy.types.Image) -> FloatMap:
    """(H, W, 4) float32 of an image, row 0 at the top.

    Raises:
        UserError: it has no pixels.
    """
    width, height = image.size
    if not (width and height):
        raise UserError(f"The image {image.name} has no pixels; run the engine again.")
    rgba = np.empty(width * height * 4, np.float32)
    pixels: Any = image.pixels
    pixels.foreach_get(rgba)
    return np.ascontiguousarray(rgba.reshape(height, width, 4)[::-1])


def load_photo(made: NewDatablocks, name: str, path: Path, width: int, height: int) -> bpy.types.Image:
    """The photo, always read anew, and packed; its alpha makes no holes.

    Blender ignores the orientation that a camera noted.

    Raises:
        UserError: Blender cannot read it, or it is of another size than the depth map.
    """
    try:
        image = made.add(bpy.data.images.load(str(path)))
    except RuntimeError as error:
        raise UserError(f"{path} cannot be read; check that the photo is still there.") from error
    if 0 in image.size:
        raise UserError(f"Blender cannot read {path}; save the photo as PNG, JPEG, TIFF or EXR.")
    if tuple(image.size) != (width, height):
        raise UserError(
            f"{path.name} is {image.size[0]}x{image.size[1]} but the depth map {width}x{height}; "
            "use the picture that the engine wrote, which is upright."
        )
    image.alpha_mode = "NONE"
    image.name = name
    image.pack()  # the file is the engine's and does not last
    _name_file(image, path.suffix)
    return image


def bits_of_picture(path: Path) -> int:
    """Bits a colour of a PNG, or 16 for a TIFF of more than 8; 8 for all else, and what cannot be read."""
    try:
        if path.suffix.lower() == ".png":
            with path.open("rb") as file:
                return max(8, file.read(25)[24])
        if path.suffix.lower() in (".tif", ".tiff"):
            image = bpy.data.images.load(str(path))
            is_deep = image.is_float
            bpy.data.images.remove(image)
            return 16 if is_deep else 8
    except (OSError, IndexError, RuntimeError):
        return 8
    return 8


def load_plate(made: NewDatablocks, plate: Path | bpy.types.Image, width: int, height: int) -> bpy.types.Image | None:
    """A picture that holds more than a screen shows, as Blender has it: a file, which is read, or an image as it is.

    None if it is of another size than the depth map, has no float pixels, or cannot be a texture.
    """
    is_file = isinstance(plate, Path)
    try:
        image = bpy.data.images.load(str(plate)) if isinstance(plate, Path) else plate
    except RuntimeError:
        return None
    if image.is_float and image.type in TEXTURES and tuple(image.size) == (width, height):
        return made.add(image) if is_file else image
    if is_file:
        bpy.data.images.remove(image)
    return None


def new_material(
    made: NewDatablocks,
    name: str,
    photo: bpy.types.Image,
    kind: str,
    offsets: bpy.types.Image | None = None,
    *,
    extension: str = "EXTEND",
) -> bpy.types.Material:
    """The photo as light ("emission"), or as a surface to be lit ("principled", "catcher").

    `offsets` makes Cycles move the surface: RGB is added to the position in object space, and what has no alpha is not
    drawn. `extension` says what lies beyond the border of the photo.
    """
    material = made.add(bpy.data.materials.new(name))
    if bpy.app.version < (5, 0):
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    output = _node(tree, "ShaderNodeOutputMaterial", 600)
    picture = _node(tree, "ShaderNodeTexImage", -300, image=photo, extension=extension)
    if kind == "emission":
        shader = _node(tree, "ShaderNodeEmission", 0)
        tree.links.new(picture.outputs["Color"], shader.inputs["Color"])
    else:
        shader = _node(tree, "ShaderNodeBsdfPrincipled", 0)
        shader.inputs["Roughness"].default_value = 1.0
        tree.links.new(picture.outputs["Color"], shader.inputs["Base Color"])
    surface = shader.outputs[0]
    if offsets is not None:
        surface = _moved(tree, surface, offsets, output)
        material.displacement_method = "DISPLACEMENT"
    tree.links.new(surface, output.inputs["Surface"])
    return material


def catch_shadows(thing: bpy.types.Object, material: str) -> None:
    """Let Cycles show nothing of a surface but what falls onto it; a switch of the user's stays as it is."""
    if material == "catcher":
        thing.is_shadow_catcher = thing[CATCHER_KEY] = True
    elif has(thing, CATCHER_KEY):
        thing.is_shadow_catcher = False
        del thing[CATCHER_KEY]


def replace_old(old: list[bpy.types.ID], new: list[bpy.types.ID]) -> None:
    """Remove what nobody uses any more; the new takes over its name."""
    names = {(type(thing), thing.name) for thing in old if thing is not None}
    for thing in dict.fromkeys(old):  # one by one, users before what they use
        if thing is not None and thing not in new and not thing.users:
            bpy.data.batch_remove([thing])
    for thing in new:
        plain = thing.name.rpartition(".")[0] if thing is not None else ""
        if (type(thing), plain) in names:
            thing.name = plain


def _moved(
    tree: bpy.types.NodeTree, surface: bpy.types.NodeSocket, offsets: bpy.types.Image, output: bpy.types.Node
) -> bpy.types.NodeSocket:
    """Link the displacement; the surface with holes where the offsets have no alpha."""
    place = _node(tree, "ShaderNodeTexImage", -300, -350, image=offsets, extension="EXTEND")
    move = _node(tree, "ShaderNodeVectorDisplacement", 300, -350, space="OBJECT")
    move.inputs["Midlevel"].default_value = 0.0
    move.inputs["Scale"].default_value = 1.0
    tree.links.new(place.outputs["Color"], move.inputs["Vector"])
    tree.links.new(move.outputs["Displacement"], output.inputs["Displacement"])
    kept = _node(tree, "ShaderNodeMath", 0, -350, operation="GREATER_THAN")
    kept.inputs[1].default_value = KEPT_ALPHA
    tree.links.new(place.outputs["Alpha"], kept.inputs[0])
    mix = _node(tree, "ShaderNodeMixShader", 300)
    tree.links.new(kept.outputs[0], mix.inputs[0])
    tree.links.new(_node(tree, "ShaderNodeBsdfTransparent", 0, -150).outputs[0], mix.inputs[1])
    tree.links.new(surface, mix.inputs[2])
    mixed: bpy.types.NodeSocket = mix.outputs[0]
    return mixed


def _node(tree: bpy.types.NodeTree, kind: str, x: float, y: float = 0, **values: Any) -> Any:
    """A new node, as what the kind makes it."""
    node = tree.nodes.new(kind)
    node.location = (x, y)
    for name, value in values.items():
        setattr(node, name, value)
    return node
