"""Path tracer for training pictures: Blender Cycles renders what `embree.py` does, with true light.

Light bounces, lamps and the sky light the scene by themselves, mirrors and glass show each other, and Open Image
Denoise takes out the noise. The labels come from the rays of `embree.py`, not from Cycles' depth pass: that one is
sampled at a random place of the pixel, and it looks through clear glass. So both renderers give the same labels for the
same scene. Cycles' pass is kept as a witness: a picture that does not lie on its labels is an error.

Importing this module needs Blender as a module (the extra `blender`). It holds one file per process, so only the scene
that was made last can be rendered.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import OpenEXR
from mathutils import Matrix
from numpy.typing import NDArray

from .cycles_nodes import BOXED, MAPPED, float_image, node_material
from .embree import EmbreeScene
from .scene import Camera, Light, Scene
from .sky import sky_radiance
from .soup import Soup
from .textures import box_axes
from .view import Rendered, camera_axes, camera_intrinsics

Array = NDArray[np.float32]

THREADS = 1
"""Scenes are rendered side by side by several workers instead."""
SAMPLES = (4, 16)
"""Fewest and most paths per pixel ..."""
PATHS = 2e6
"""... and about how many in all: large pictures get fewer per pixel, which the denoiser makes up for."""
BOUNCES = 4
CLAMP_INDIRECT = 4.0
"""Brightest indirect light of one path; keeps lone bright dots away."""
SKY_SIZE = (2048, 1024)
FAR_M = 1e6
ALIGNED_SHARE = 0.9
"""A picture is refused when fewer of its pixels than this agree with the labels."""

SUN_SCALE, POINT_SCALE, AREA_SCALE = math.pi, 4 * math.pi**2, math.pi**2
"""What a `Light.power` is multiplied by for Blender, whose lamps are in watts and whose suns in watts per square metre:
a matt surface of albedo 1, lit at right angles by power 1 (1 m below a lamp), has radiance 1 in either renderer."""

_made = 0
"""Scenes made in this process so far; the number of the one that Blender holds."""


class CyclesScene:
    """A `Scene` made ready for Cycles. Build once, render many cameras; building another one ends its life."""

    def __init__(self, scene: Scene) -> None:
        """Hand the scene to Blender, whose file is emptied first.

        Raises ValueError when it holds no triangle, OSError when a texture cannot be read.
        """
        global _made
        _made += 1
        self._number = _made
        self._rays = EmbreeScene(scene)
        with _quiet():
            bpy.ops.wm.read_factory_settings(use_empty=True)
            self._settings()
        holder = bpy.context.scene.collection.objects
        holder.link(bpy.data.objects.new("scene", _mesh(self._rays.soup)))
        for number, light in enumerate(scene.lights):
            holder.link(_lamp(light, f"light{number}"))
        self._camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        holder.link(self._camera)
        bpy.context.scene.camera = self._camera
        _world(scene)

    def probe(self, camera: Camera, nx: int = 7, ny: int = 5, aspect: float = 0.75) -> Array:
        """z-depth (ny, nx) on a grid of rays from corner to corner of a picture with `aspect` = height / width."""
        return self._rays.probe(camera, nx, ny, aspect)

    def depth_behind_glass(self, camera: Camera, rendered: Rendered) -> Array:
        """As `EmbreeScene.depth_behind_glass`: labels are embree's here, too."""
        return self._rays.depth_behind_glass(camera, rendered)

    def render(self, camera: Camera, width: int, height: int, rng: np.random.Generator) -> Rendered:
        """Render one picture. The same generator state gives the same picture.

        Raises RuntimeError when another scene was made since, or the picture does not lie on its labels.
        """
        seed = int(rng.integers(2**31))
        samples = int(min(max(PATHS / (width * height), SAMPLES[0]), SAMPLES[1]))
        depth, transparent = self._rays.labels(camera, width, height)
        rgb, witness = self.paint(camera, width, height, samples=samples, seed=seed)
        agreeing = aligned_share(depth, witness, transparent)
        if agreeing < ALIGNED_SHARE:
            raise RuntimeError(f"only {agreeing:.0%} of the pixels of a Cycles picture lie on their labels")
        return Rendered(rgb, depth, transparent, camera_intrinsics(camera, width, height))

    def paint(
        self, camera: Camera, width: int, height: int, *, samples: int, seed: int = 0, filter_px: float = 1.5
    ) -> tuple[Array, Array]:
        """Linear RGB (H, W, 3) and Cycles' own z-depth (H, W), +inf at the sky, through glass what is behind it.

        That depth is taken at one random place of each pixel, within `filter_px`, the width of the pixel filter.
        """
        if self._number != _made:
            raise RuntimeError("Blender holds another scene by now; render a scene before the next one is made")
        _aim(self._camera, camera)
        blender = bpy.context.scene
        blender.render.resolution_x, blender.render.resolution_y = width, height
        blender.cycles.samples, blender.cycles.seed, blender.cycles.filter_width = samples, seed, filter_px
        with tempfile.TemporaryDirectory(prefix="pro-engine-cycles-") as folder:
            blender.render.filepath = str(Path(folder, "picture.exr"))
            with _quiet():
                bpy.ops.render.render(write_still=True)
            layers = _read(Path(folder, "picture.exr"))
        rgb = np.stack([layers[f"Combined.{channel}"] for channel in "RGB"], -1)
        depth = layers["Depth.Z"] if "Depth.Z" in layers else layers["Depth.V"]
        return np.nan_to_num(rgb, posinf=1e4), np.where(depth >= 0.99 * FAR_M, np.inf, depth).astype(np.float32)

    def _settings(self) -> None:
        blender = bpy.context.scene
        render, cycles, layer = blender.render, blender.cycles, bpy.context.view_layer
        render.engine, cycles.device = "CYCLES", "CPU"
        render.threads_mode, render.threads = "FIXED", THREADS
        render.use_persistent_data = True
        render.resolution_percentage = 100
        render.use_compositing = render.use_sequencer = False
        layer.use_pass_z = True
        if hasattr(render.image_settings, "media_type"):  # from Blender 5.0
            render.image_settings.media_type = "MULTI_LAYER_IMAGE"
        render.image_settings.file_format = "OPEN_EXR_MULTILAYER"
        if hasattr(render.image_settings, "use_exr_interleave"):  # all passes in one part, as before Blender 5.0
            render.image_settings.use_exr_interleave = True
        render.image_settings.color_depth, render.image_settings.exr_codec = "32", "NONE"
        cycles.use_adaptive_sampling = False
        cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
        cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB_ALBEDO_NORMAL", "FAST"
        cycles.max_bounces = cycles.diffuse_bounces = cycles.glossy_bounces = BOUNCES
        cycles.transmission_bounces, cycles.transparent_max_bounces = BOUNCES, 24
        cycles.caustics_reflective = cycles.caustics_refractive = False
        cycles.sample_clamp_indirect = CLAMP_INDIRECT
        cycles.blur_glossy = 0.5


def aligned_share(depth: Array, witness: Array, transparent: NDArray[np.bool_]) -> float:
    """Share of the pixels without glass whose `witness` lies between the nearest and farthest label around it.

    All (H, W); depths z in metres, +inf at the sky. 1 % is allowed for, and all of it where only glass is seen.
    """
    inverse, seen = 1 / np.maximum(depth, 1e-6), 1 / np.maximum(witness, 1e-6)
    padded = np.pad(inverse, 1, mode="edge")
    around = np.stack([padded[y : y + depth.shape[0], x : x + depth.shape[1]] for y in range(3) for x in range(3)])
    good = (seen >= around.min(0) * 0.99 - 1e-5) & (seen <= around.max(0) * 1.01 + 1e-5)
    return float(good[~transparent].mean()) if not transparent.all() else 1.0


def _mesh(soup: Soup) -> Any:
    """All triangles as one Blender mesh with its materials and both sets of texture coordinates."""
    count = len(soup.faces)
    mesh = bpy.data.meshes.new("scene")
    mesh.vertices.add(len(soup.vertices))
    mesh.vertices.foreach_set("co", soup.vertices.ravel())
    mesh.loops.add(3 * count)
    mesh.loops.foreach_set("vertex_index", soup.faces.ravel())
    mesh.polygons.add(count)
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * count, 3, dtype=np.int32))
    mesh.polygons.foreach_set("material_index", soup.face_material)
    mesh.polygons.foreach_set("use_smooth", soup.smooth)
    for number, material in enumerate(soup.materials):
        mesh.materials.append(node_material(material, f"material{number}"))
    corners = soup.local[soup.faces]  # (F, 3, 3)
    axes = np.stack(box_axes(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])), -1)
    boxed = np.take_along_axis(corners, axes[:, None, :], 2)
    mapped = boxed if soup.uv is None else np.where(soup.has_uv[:, None, None], soup.uv, boxed)
    for name, values in ((MAPPED, mapped), (BOXED, boxed)):
        layer = mesh.attributes.new(name, "FLOAT2", "CORNER")
        layer.data.foreach_set("vector", np.ascontiguousarray(values, np.float32).ravel())
    mesh.update(calc_edges=True)
    return mesh


def _lamp(light: Light, name: str) -> Any:
    """A light as a Blender object."""
    kinds = {"sun": ("SUN", SUN_SCALE), "point": ("POINT", POINT_SCALE), "area": ("AREA", AREA_SCALE)}
    kind, scale = kinds[light.kind]
    data = bpy.data.lights.new(name, kind)
    data.energy, data.color = light.power * scale, light.color
    item = bpy.data.objects.new(name, data)
    if light.kind == "sun":
        data.angle = min(2 * light.size, math.pi / 2)
        x, y, z = np.asarray(light.vector) / np.linalg.norm(light.vector)
        item.rotation_euler = (0, math.acos(z), math.atan2(y, x))  # its -z axis points where the light goes
        return item
    item.location = light.vector
    if light.kind == "point":
        data.shadow_soft_size = light.size / 2
    else:
        data.shape, data.size = "DISK", light.size
    return item


def _world(scene: Scene) -> None:
    """The sky as an equirectangular picture around everything."""
    width, height = SKY_SIZE
    azimuth = math.pi - (np.arange(width) + 0.5) / width * 2 * math.pi  # Blender's picture runs clockwise from -x
    rise = ((np.arange(height) + 0.5) / height - 0.5) * math.pi
    level = np.cos(rise)[:, None]
    parts = np.broadcast_arrays(level * np.cos(azimuth), level * np.sin(azimuth), np.sin(rise)[:, None])
    direction = np.stack(parts, -1)
    radiance = sky_radiance(scene.sky, direction.reshape(-1, 3).astype(np.float32)).reshape(height, width, 3)
    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    picture = nodes.new("ShaderNodeTexEnvironment")
    picture.image = float_image("sky", radiance)
    background = next(node for node in nodes if node.bl_idname == "ShaderNodeBackground")
    links.new(picture.outputs[0], background.inputs[0])
    bpy.context.scene.world = world


def _aim(item: Any, camera: Camera) -> None:
    """Place Blender's camera, which looks along its -z axis with y up."""
    right, down, forward = camera_axes(camera).T
    place = np.eye(4)
    place[:3, :3], place[:3, 3] = np.stack([right, -down, -forward], 1), camera.position
    item.matrix_world = Matrix(place.tolist())
    item.data.sensor_fit, item.data.angle_x = "HORIZONTAL", camera.fov_x
    item.data.clip_start, item.data.clip_end = 1e-3, FAR_M


def _read(path: Path) -> dict[str, Array]:
    """Channels of a multi-layer EXR file by their name without the layer, (H, W) float32 each."""
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return {
            name.split(".", 1)[-1]: np.asarray(channel.pixels, np.float32) for name, channel in file.channels().items()
        }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Blender says off the standard output."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
