"""What Blender's Cycles shows of the surface of a photo, through its own camera and through one that moves aside.

    python benchmarks/surface_cycles.py --maps FOLDER [--thresholds 0.05,0.02] [photo names]

For a Python that has Blender as a module and the project. FOLDER is as of `surface_views.py`, whose near, far, lens and
moves hold here, too. Materials are emission, the view is Standard. A row of the table says, for each photo and
threshold:

- front: share of the picture that is open, PSNR against the photo, and that of a flat card of the photo;
- left, right, up: share that is open inside the photo's border, of a camera moved by `--move` of the median depth;
- steep: faces of either mesh that span more than the threshold a pixel;
- thousands of vertices in front and behind.

The front is rendered in the photo's size, the others in half of it. Open is what alpha says of a render without world;
where it is open, PSNR has magenta.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from surface_views import FOV_DEG, MOVES, Scene, borders, psnr, read  # noqa: E402

from pro_engine import LayeredMesh, Mesh, depth_to_layers  # noqa: E402

bpy: Any = importlib.import_module("bpy")  # whose stubs think that every part of it may be missing
MARKER = np.array([255, 0, 255], np.float32)
FRONT, ASIDE = (100, 2), (50, 1)  # percent of the photo's size, samples a pixel
TO_BLENDER = np.array([1, -1, -1], np.float32)
STRIDE = 2

Floats = NDArray[np.float32]


class Stage:
    """A new scene of Blender with meshes and the camera of a photo."""

    def __init__(self, photo: Scene, meshes: Sequence[Mesh], folder: Path) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = bpy.context.scene
        self.folder = folder
        render = self.scene.render
        render.engine, render.film_transparent, render.use_persistent_data = "CYCLES", True, True
        render.resolution_y, render.resolution_x = photo.depth.shape
        render.threads_mode, render.threads = "FIXED", 1
        render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGBA"
        render.image_settings.compression = 0
        self.scene.view_settings.view_transform = "Standard"
        cycles = self.scene.cycles
        cycles.device, cycles.max_bounces, cycles.use_denoising, cycles.use_adaptive_sampling = "CPU", 0, False, False
        cycles.debug_bvh_type = "DYNAMIC_BVH"  # quicker to make
        lens = bpy.data.cameras.new("camera")
        lens.angle, lens.clip_start, lens.clip_end = np.radians(FOV_DEG), 0.01, 1000
        self.camera = bpy.data.objects.new("camera", lens)
        self.scene.collection.objects.link(self.camera)
        self.scene.camera = self.camera
        for mesh in meshes:
            self.scene.collection.objects.link(bpy.data.objects.new("part", _data(mesh)))

    def seen(self, origin: Sequence[float], effort: tuple[int, int]) -> tuple[Floats, Floats]:
        """Colours (H, W, 3) from 0 to 255 and alpha (H, W) from 0 to 1 of a camera at `origin`."""
        self.camera.location = np.asarray(origin) * TO_BLENDER
        self.scene.render.resolution_percentage, self.scene.cycles.samples = effort
        path = self.folder / "render.png"
        self.scene.render.filepath = str(path)
        bpy.ops.render.render(write_still=True)
        picture: Any = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        return picture[..., 2::-1].astype(np.float32), picture[..., 3].astype(np.float32) / 255


def _data(mesh: Mesh) -> Any:
    """A mesh of Blender with its texture as emission."""
    assert mesh.uv is not None and mesh.texture is not None
    data = bpy.data.meshes.new("part")
    data.vertices.add(len(mesh.vertices))
    data.vertices.foreach_set("co", (mesh.vertices * TO_BLENDER).ravel())
    data.loops.add(mesh.faces.size)
    data.loops.foreach_set("vertex_index", mesh.faces.ravel())
    data.polygons.add(len(mesh.faces))
    data.polygons.foreach_set("loop_start", np.arange(0, mesh.faces.size, 3, dtype=np.int32))
    data.uv_layers.new(name="UV").uv.foreach_set("vector", mesh.uv[mesh.faces.ravel()].ravel())
    data.update()
    height, width = mesh.texture.shape[:2]
    image = bpy.data.images.new("part", width, height)
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = mesh.texture[::-1] / np.float32(255)
    image.pixels.foreach_set(pixels.ravel())
    image.pack()
    material = bpy.data.materials.new("part")
    material.use_nodes = True
    material.cycles.emission_sampling = "NONE"  # no face lights another: without it a tree of them all is made
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    texture, emission, output = (nodes.new(f"ShaderNode{kind}") for kind in ("TexImage", "Emission", "OutputMaterial"))
    texture.image, texture.extension = image, "EXTEND"
    links.new(texture.outputs["Color"], emission.inputs["Color"])
    links.new(emission.outputs["Emission"], output.inputs["Surface"])
    data.materials.append(material)
    return data


def card_of(photo: Scene) -> Mesh:
    """The photo on a rectangle at 5 m that reaches a pixel over the frame, as a renderer's filter does."""
    height, width = photo.depth.shape
    size = np.array([width, height])
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]], np.float32) * (1 + 2 / size)
    vertices = np.column_stack([corners * 5 * size / 2 / photo.camera.fx, np.full(4, 5)]).astype(np.float32)
    uv = ((corners * (1, -1) + 1) / 2).astype(np.float32)
    return Mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]], np.int32), uv, photo.image)


def compared(picture: tuple[Floats, Floats], photo: NDArray[np.uint8]) -> tuple[float, float]:
    """Share that is open, and PSNR in dB."""
    colours, alpha = picture
    shown = colours * alpha[..., None] + MARKER * (1 - alpha[..., None])
    return float(1 - alpha.mean()), psnr(shown, photo.astype(np.float64))


def open_inside(alpha: Floats, ends: tuple[Floats, Floats], axis: int) -> float:
    """Share that is open between the first and the last pixel of each line of the photo.

    alpha (h, w) of a picture that may be smaller than the photo; ends: of its lines, as of `borders`.
    """
    lines, length = alpha.shape if axis else alpha.shape[::-1]
    line = ((np.arange(lines) + 0.5) * len(ends[0]) / lines).astype(np.intp)
    along = (np.arange(length) + 0.5) * len(ends[0]) / lines - 0.5
    inside = (along >= ends[0][line, None]) & (along <= ends[1][line, None])
    return float(((1 - alpha) * (inside if axis else inside.T)).mean())


def steep(layers: LayeredMesh, rtol: float, stride: int) -> int:
    """Faces whose corners differ in depth by more than the threshold for each pixel that they can span."""
    count = 0
    for mesh in (layers.front, layers.behind):
        if mesh is not None:
            z = mesh.vertices[:, 2][mesh.faces]
            count += int((z.max(axis=1) > z.min(axis=1) * (1 + rtol) ** stride * (1 + 1e-5)).sum())
    return count


def rows_of(name: str, photo: Scene, given: argparse.Namespace, folder: Path) -> None:
    """Print the rows of one photo."""
    _, flat = compared(Stage(photo, [card_of(photo)], folder).seen((0, 0, 0), FRONT), photo.image)
    for rtol in map(float, given.thresholds.split(",")):
        layers = depth_to_layers(photo.depth, photo.camera, image=photo.image, edge_rtol=rtol, stride=given.stride)
        parts = [layers.front] if layers.behind is None else [layers.front, layers.behind]
        stage = Stage(photo, parts, folder)
        gap, ours = compared(stage.seen((0, 0, 0), FRONT), photo.image)
        step = given.move * float(np.median(photo.depth))
        aside = []
        for way in MOVES.values():
            _, alpha = stage.seen((way[0] * step, way[1] * step, 0), ASIDE)
            aside.append(f"{open_inside(alpha, borders(photo, way, given.move), 1 if way[0] else 0):.3%}")
        counts = " + ".join(f"{len(part.vertices) / 1000:.0f}" for part in parts)
        front = f"{gap:.3%} | {ours:.2f} | {flat:.2f}"
        bad = steep(layers, rtol, given.stride)
        print(f"| {name} | {rtol:g} | {front} | {' | '.join(aside)} | {bad} | {counts} |", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, to stderr, as Blender writes to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="photos; all in the folder by default")
    parser.add_argument("--maps", type=Path, required=True)
    parser.add_argument("--thresholds", default="0.05,0.02", help="relative steps in depth that make an outline")
    parser.add_argument("--stride", type=int, default=STRIDE, help="as the command line takes it for 2 megapixels")
    parser.add_argument("--move", type=float, default=0.04, help="share of the median depth")
    given = parser.parse_args(arguments)
    names = given.names or sorted(path.name.partition(".")[0] for path in given.maps.glob("*.disparity.npz"))
    head = ("photo", "step", "front: open", "PSNR", "card", "left: open", "right", "up", "steep", "1000 vertices")
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            rows_of(name, read(given.maps, name), given, Path(folder))


if __name__ == "__main__":
    main()
