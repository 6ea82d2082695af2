# SPDX-License-Identifier: GPL-3.0-or-later
"""A rig alone in a scene of its own, in metres, for exporters that write scenes.

The scene is filled with copies of the rig's objects, which share meshes and images with them and have their names
meanwhile. Selection, active object, frame and render settings of the user's scene are not touched.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import bpy
import numpy as np
from mathutils import Matrix

from ..errors import UserError
from .build import FRAME_KEY, ends_of, frame_scene, lines_up_told
from .datablocks import has, read_float_image

Datablock = TypeVar("Datablock", bound="bpy.types.ID")
Shade = Callable[["bpy.types.NodeTree", "bpy.types.Node"], "bpy.types.NodeSocket"]

CROP_KEY = "pro_crop"  # on a camera with a larger frame: left, top, width, height of the photo in it, pixels
UNSEEN_PX = 0.01  # a shift that nobody can see
AWAY = "pro original"  # name of an original while its copy has its own


class Stage:
    """A scene with copies of a rig and all that hangs on it. `undo` takes everything back. `uneven` says what keeps the
    photo from lining up, "" if nothing.

    Raises:
        UserError: the rig is in no scene, its camera is missing or not perspective, or its shape exists only in Cycles.
    """

    def __init__(self, undo: ExitStack, rig: bpy.types.Object) -> None:
        home = bpy.context.scene if bpy.context.scene in rig.users_scene else next(iter(rig.users_scene), None)
        if home is None:
            raise UserError(f"{rig.name} is in no scene; link its collection to one, then export.")
        home.view_layers[0].update()  # places of new objects are not known before
        self.uneven = lines_up_told(ends_of(rig)[0])
        originals = _family(rig, home)
        camera = next((thing for thing in originals if thing.type == "CAMERA" and has(thing, FRAME_KEY)), None)
        if camera is None or camera.data.type not in ("PERSP", "PANO"):
            raise UserError(f"{rig.name} has no perspective camera of its photo; build it again, then export.")
        for thing in originals:
            _refuse_displacement(thing)
        self._made: list[bpy.types.ID] = []
        self._names: list[tuple[bpy.types.ID, str]] = []  # of originals that had to lend theirs
        self.scene = bpy.data.scenes.new("PRO export")
        undo.callback(self._strike)
        self.scene.frame_current = home.frame_current
        units = home.unit_settings
        metre = 1.0 if units.system == "NONE" else units.scale_length
        self._copies = self._copy_objects(originals, metre)
        self._camera = self._copy_camera(camera, metre)

    def _strike(self) -> None:
        """Take everything back."""
        bpy.data.scenes.remove(self.scene)
        bpy.data.batch_remove(self._made)  # at once: an object goes with its data
        for original, name in reversed(self._names):
            original.name = name

    def _replace(self, original: bpy.types.ID, made: Datablock) -> Datablock:
        """`made`, with the name of `original` for as long as the stage stands. What a library holds keeps its own."""
        self._made.append(made)
        name = original.name
        if original.library is None:
            self._names.append((original, name))
            original.name = AWAY
        made.name = name
        return made

    def _copy_objects(
        self, originals: list[bpy.types.Object], metre: float
    ) -> dict[bpy.types.Object, bpy.types.Object]:
        """Copies by original, in metres; `metre` is the size of a unit of their scene. The rig comes first."""
        rig, *children = originals
        root = self._replace(rig, bpy.data.objects.new(rig.name, None))
        root.matrix_world = Matrix.Scale(metre, 4) @ rig.matrix_world
        copies = {rig: root}
        for original in children:
            copies[original] = copy = self._replace(original, original.copy())
            copy.parent = copies[original.parent]
            copy.hide_viewport = copy.hide_render = False
            if original.type == "MESH" and original.data.is_editmode:  # exporters cannot read it
                original.update_from_editmode()
                copy.data = self._replace(original.data, original.data.copy())
        for copy in copies.values():
            self.scene.collection.objects.link(copy)
        return copies

    def _copy_camera(self, original: bpy.types.Object, metre: float) -> bpy.types.Object:
        """The copy of the camera of the photo, with the photo's frame and data of its own, of sensor fit HORIZONTAL.

        Readers of Alembic take the height of the sensor literally, and those of GLB and USD the frame of the scene.
        """
        camera = self._copies[original]
        camera.data = data = self._replace(original.data, original.data.copy())
        flat: Any = data
        flat.type = "PERSP"  # what no format knows, a panorama, becomes the view of 90 degrees of the viewport
        frame_scene(self.scene, camera)
        corners = [(-corner.x / corner.z, -corner.y / corner.z) for corner in data.view_frame(scene=self.scene)]
        (left, right), (bottom, top) = ((min(side), max(side)) for side in zip(*corners, strict=True))
        width = right - left  # at a distance of 1
        data.sensor_fit, data.lens = "HORIZONTAL", data.sensor_width / width
        data.sensor_height = data.sensor_width * (top - bottom) / width
        data.shift_x, data.shift_y = (left + right) / 2 / width, (bottom + top) / 2 / width
        data.clip_start, data.clip_end = data.clip_start * metre, data.clip_end * metre
        return camera

    def widen(self) -> str:
        """Put the optical axis into the middle of a larger frame; what the user should know, "" if it was there."""
        camera, data = self._camera, self._camera.data
        width, height, aspect_x, aspect_y = camera[FRAME_KEY]
        right, up = data.shift_x * width, data.shift_y * width * aspect_x / aspect_y  # of the axis, pixels
        data.shift_x = data.shift_y = 0.0
        if max(abs(right), abs(up)) < UNSEEN_PX:
            return ""
        wide, high = math.ceil(width + 2 * abs(right)), math.ceil(height + 2 * abs(up))
        crop = ((wide - width) / 2 + right, (high - height) / 2 - up, width, height)
        data.lens *= width / wide
        data.sensor_height = data.sensor_width * high * aspect_y / (wide * aspect_x)
        camera[FRAME_KEY], camera[CROP_KEY] = [float(wide), float(high), aspect_x, aspect_y], crop
        frame_scene(self.scene, camera)
        return (
            f"GLB knows no lens shift, so the camera sees {wide}x{high} pixels; in a render of that size the photo is "
            f"the {width:g}x{height:g} pixels from column {crop[0]:.6g} and row {crop[1]:.6g}."
        )

    def clipped(self) -> str:
        """What the user should know of colours over white, which 8 bits do not hold; "" if there are none."""
        slots = [slot for thing in self._copies.values() for slot in thing.material_slots if slot.material]
        nodes = [node for slot in slots for node in _image_nodes(slot.material)]
        found = []
        for image in {node.image: None for node in nodes if node.image.is_float}:
            share = float((read_float_image(image)[..., :3] > 1).any(axis=2).mean())
            if share:
                found.append(f"{share:.0%} of {image.name}")
        what = "is brighter than white and is" if len(found) == 1 else "are brighter than white and are"
        return f"{' and '.join(found)} {what} clipped: GLB holds 8 bits a colour; USD keeps it." if found else ""

    def dress(self, shade: Shade, folder: Path | None = None, name: str = "") -> None:
        """Materials that emit an image become what the format has for it; `shade` links the image's node.

        With a folder, a new one, materials show copies of their images there, called `name` and a number, but for the
        first. An exporter copies them under these names, which belong to its file alone.

        Raises:
            UserError: an image has no pixels, or cannot be written.
        """
        twins: dict[bpy.types.Image, bpy.types.Image] = {}
        dressed: dict[bpy.types.Material, bpy.types.Material] = {}

        def shown(image: bpy.types.Image) -> bpy.types.Image:
            if folder is not None and image not in twins:
                twins[image] = _twin(image, folder / (f"{name} {len(twins) + 1}" if twins else name))
                self._made.append(twins[image])
            return twins.get(image, image)

        if folder is not None:
            folder.mkdir()
        slots = [slot for thing in self._copies.values() for slot in thing.material_slots if slot.material]
        for image in (node.image for slot in slots for node in _image_nodes(slot.material)):
            if not _is_there(image):
                raise UserError(f"The file of the image {image.name} is gone; find it, or estimate the photo again.")
        for original in {slot.material: None for slot in slots}:
            if image := _emitted_image(original):
                dressed[original] = self._replace(original, _image_material(shown(image), shade))
            elif folder is not None and _image_nodes(original):
                # Before 4.5 Blender counts one user too many of an image that a copied material shows.
                dressed[original] = self._replace(original, original.copy())
                for node in _image_nodes(dressed[original]):
                    node.image = shown(node.image)
        for slot in slots:
            if slot.material in dressed:
                slot.link, slot.material = "OBJECT", dressed[slot.material]  # the mesh is the original's


def _family(rig: bpy.types.Object, home: bpy.types.Scene) -> list[bpy.types.Object]:
    """The rig and all that hangs on it in a scene, parents first."""
    family = {rig: None}
    for thing in rig.children_recursive:
        if thing.parent in family and home in thing.users_scene:
            family[thing] = None
    return list(family)


def _refuse_displacement(thing: bpy.types.Object) -> None:
    """UserError: a material moves the surface, which only Cycles does."""
    for slot in thing.material_slots:
        material = slot.material
        output = _output(material) if material and material.displacement_method != "BUMP" else None
        if output is not None and output.inputs["Displacement"].is_linked:
            raise UserError(
                f'{thing.name} has its shape only while Cycles renders; rebuild it as "mesh" or "live", then export.'
            )


def _is_there(image: bpy.types.Image) -> bool:
    """Whether an exporter can read an image: some read the file, whatever is in memory."""
    if image.source in ("MOVIE", "SEQUENCE"):
        return True
    if image.source == "FILE" and not image.packed_file and not image.is_dirty:
        return Path(bpy.path.abspath(image.filepath, library=image.library)).is_file()
    return 0 not in image.size


def _output(material: bpy.types.Material) -> bpy.types.Node | None:
    """The node whose inputs are what is seen; None for a material without nodes."""
    return material.node_tree.get_output_node("ALL") if material.node_tree else None


def _emitted_image(material: bpy.types.Material | None) -> bpy.types.Image | None:
    """The image that is the light of a material; None for any other material."""
    output = _output(material) if material else None
    emission = _linked(output.inputs["Surface"], "EMISSION") if output else None
    picture = _linked(emission.inputs["Color"], "TEX_IMAGE") if emission else None
    image: bpy.types.Image | None = picture.image if picture else None
    return image


def _linked(socket: bpy.types.NodeSocket, kind: str) -> Any:
    """The node that a socket hangs on, if it is of that kind; else None."""
    node = socket.links[0].from_node if socket.links else None
    return node if node is not None and node.type == kind else None


def _twin(image: bpy.types.Image, path: Path) -> bpy.types.Image:
    """An image with the same pixels in a file of its own; `path` lacks the ending. UserError: there are no pixels."""
    try:
        if image.source == "GENERATED" or image.is_dirty:
            twin = _painted(image, path)
        else:
            ending = Path(image.filepath).suffix or (".exr" if image.is_float else ".png")
            path = path.with_name(path.name + ending)
            if image.packed_file:
                path.write_bytes(image.packed_file.data)
            else:
                shutil.copyfile(bpy.path.abspath(image.filepath, library=image.library), path)
            twin = bpy.data.images.load(str(path))
            twin.colorspace_settings.name = image.colorspace_settings.name
    except (OSError, RuntimeError) as error:
        raise UserError(f"The image {image.name} cannot be copied ({error}); pack it or choose another.") from error
    twin.alpha_mode = image.alpha_mode
    return twin


def _painted(image: bpy.types.Image, path: Path) -> bpy.types.Image:
    """A copy of pixels that are in no file yet. Saving the image itself would make it look saved."""
    twin = bpy.data.images.new(path.name, *image.size, alpha=True, float_buffer=image.is_float)
    twin.colorspace_settings.name = image.colorspace_settings.name
    here: Any = image.pixels
    there: Any = twin.pixels
    pixels = np.empty(len(here), np.float32)
    here.foreach_get(pixels)
    there.foreach_set(pixels)
    twin.file_format, ending = ("OPEN_EXR", ".exr") if image.is_float else ("PNG", ".png")
    twin.filepath_raw = str(path.with_name(path.name + ending))
    twin.save()
    return twin


def _image_nodes(material: bpy.types.Material) -> list[bpy.types.ShaderNodeTexImage]:
    nodes = material.node_tree.nodes if material.node_tree else ()
    return [node for node in nodes if isinstance(node, bpy.types.ShaderNodeTexImage) and node.image]


def _image_material(image: bpy.types.Image, shade: Shade) -> bpy.types.Material:
    """A new material that shows an image."""
    material = bpy.data.materials.new(image.name)
    if bpy.app.version < (5, 0):
        material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    picture: Any = tree.nodes.new("ShaderNodeTexImage")
    picture.image, picture.extension = image, "EXTEND"
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    tree.links.new(shade(tree, picture), output.inputs["Surface"])
    return material


def unlit(tree: bpy.types.NodeTree, picture: bpy.types.Node) -> bpy.types.NodeSocket:
    """What the exporter of GLB takes for KHR_materials_unlit: a colour where a shader belongs."""
    return picture.outputs["Color"]


def emissive(tree: bpy.types.NodeTree, picture: bpy.types.Node) -> bpy.types.NodeSocket:
    """A black surface that shines; the exporter of USD knows no other shader that does."""
    shader: Any = tree.nodes.new("ShaderNodeBsdfPrincipled")
    shader.inputs["Base Color"].default_value = (0, 0, 0, 1)
    shader.inputs["Roughness"].default_value = 1.0
    shader.inputs["IOR"].default_value = 1.0  # reflects nothing
    shader.inputs["Emission Strength"].default_value = 1.0
    tree.links.new(picture.outputs["Color"], shader.inputs["Emission Color"])
    light: bpy.types.NodeSocket = shader.outputs["BSDF"]
    return light
