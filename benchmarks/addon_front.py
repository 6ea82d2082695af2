"""What Cycles shows of photos through the whole add-on: estimated by the real engine, built with the panel's defaults.

    python benchmarks/addon_front.py --engine ENGINE [--pictures FOLDER] PHOTO...

For a Python that has Blender as a module; ENGINE is a Python that has the engine. The buttons are *Estimate* and *Show
photo*, in a new file with its cube. A row of the table says, for each photo:

- front: share of the render that shows the world, PSNR against the photo, and that of a flat card of the photo in its
  place, in the same scene; the PSNR is with all that *Show photo* leaves visible, the rest with the rig alone;
- left, right, up: share that shows the world where the camera is moved by `--move` of the median depth, inside the
  photo's border, and in brackets of the whole picture, beyond the border too.

The world counts by the alpha of a render with a transparent film; where it shows, PSNR has magenta.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from addon_session import begin, bpy, done, leave, part, rig
from numpy.typing import NDArray

Floats = NDArray[np.float32]
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, 1)}
FRONT, ASIDE = (100, 4), (50, 2)  # percent of the photo's size, samples a pixel
MARKER = np.array([1, 0, 1], np.float32)


def pixels_of(path: Path) -> Floats:
    """(H, W, 4), row 0 at the top, as stored."""
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    image.alpha_mode = "CHANNEL_PACKED"
    found: Floats = part("rig.datablocks").read_float_image(image)
    bpy.data.images.remove(image)
    return found


def rendered(path: Path, effort: tuple[int, int]) -> Floats:
    """(H, W, 4) of what the scene's camera sees, straight alpha."""
    scene = bpy.context.scene
    scene.render.engine, scene.render.film_transparent = "CYCLES", True
    scene.render.threads_mode, scene.render.threads = "FIXED", 2
    scene.render.resolution_percentage, scene.cycles.samples = effort
    cycles = scene.cycles
    cycles.device, cycles.use_denoising, cycles.use_adaptive_sampling = "CPU", False, False
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode, settings.compression = "PNG", "RGBA", 0
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    return pixels_of(path)


def psnr(picture: Floats, photo: Floats) -> float:
    """dB between a render and the photo, magenta where the render is open."""
    alpha = picture[..., 3:]
    off = picture[..., :3] * alpha + MARKER * (1 - alpha) - photo[..., :3]
    return float(-10 * np.log10(np.mean(np.square(off, dtype=np.float64))))


def inside(alpha: Floats, axis: int) -> float:
    """Share that is open between the first and the last that is seen along each line."""
    seen = alpha > 0.5
    between = np.logical_or.accumulate(seen, axis) & np.flip(np.logical_or.accumulate(np.flip(seen, axis), axis), axis)
    return float(((1 - alpha) * between).mean())


def card(parts: Any) -> Any:
    """The photo on a rectangle before the rig's camera, reaching a pixel over the frame as a renderer's filter does."""
    corners = parts.camera.data.view_frame(scene=bpy.context.scene)
    mesh = bpy.data.meshes.new("flat")
    mesh.from_pydata(corners, [], [(0, 1, 2, 3)])
    at = np.array(corners)[:, :2]
    mesh.uv_layers.new().uv.foreach_set("vector", ((at - at.min(0)) / np.ptp(at, axis=0)).astype(np.float32).ravel())
    mesh.materials.append(parts.surface.data.materials[0])
    flat = bpy.data.objects.new("flat", mesh)
    flat.parent = parts.camera
    bpy.context.scene.collection.objects.link(flat)
    return flat


def row(photo: Path, given: argparse.Namespace, folder: Path) -> str:
    """The row of one photo."""
    settings = begin(given.engine, empty=False)
    settings.photo = str(photo)
    settings.extend = given.extend
    if given.model:
        settings.model = given.model
    told = done(bpy.ops.pro_depth.estimate)
    if rig() is None:
        return f"| {photo.stem} | {told} |"
    done(bpy.ops.pro_depth.show_photo)
    parts = part("rig.build").parts_of(rig())
    keep = given.pictures or folder
    as_left = rendered(keep / f"{photo.stem}.front.png", FRONT)
    for thing in bpy.context.scene.objects:
        thing.hide_render = thing.hide_render or thing not in rig().children
    alone = rendered(keep / f"{photo.stem}.alone.png", (100, 1))
    as_stored = keep / f"{photo.stem}.photo.png"
    as_stored.write_bytes(rig()["pro_photo"].packed_file.data)
    original = pixels_of(as_stored)
    depth = part("rig.place").depth_of(rig())
    step = given.move * float(np.median(depth[np.isfinite(depth)]))
    aside = []
    for name, way in WAYS.items():
        parts.camera.location = (way[0] * step, way[1] * step, 0)
        alpha = rendered(keep / f"{photo.stem}.{name}.png", ASIDE)[..., 3]
        aside.append(f"{inside(alpha, 1 if way[0] else 0):.3%} ({1 - alpha.mean():.2%})")
    parts.camera.location = (0, 0, 0)
    for child in rig().children:
        child.hide_render = child.type == "MESH"
    card(parts)
    flat = psnr(rendered(keep / f"{photo.stem}.card.png", FRONT), original)
    front = f"{1 - alone[..., 3].mean():.4%} | {psnr(as_left, original):.2f} | {flat:.2f}"
    return f"| {photo.stem} | {original.shape[1]}x{original.shape[0]} | {front} | {' | '.join(aside)} | {told} |"


def main() -> None:
    """Print the table, to stderr, as Blender writes to stdout."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--model", help="as in the panel; its default if not given")
    parser.add_argument("--extend", action="store_true", help="go on beyond the border of the photo")
    parser.add_argument("--move", type=float, default=0.04, help="share of the median depth")
    parser.add_argument("--pictures", type=Path, help="folder that keeps the renders")
    given = parser.parse_args()
    head = ("photo", "size", "front: world", "PSNR", "card", *WAYS, "the panel says")
    print(f"Blender {bpy.app.version_string}\n| {' | '.join(head)} |\n{'|---' * len(head)}|", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        for photo in given.photos:
            print(row(photo.absolute(), given, Path(folder)), file=sys.stderr, flush=True)
    leave()


if __name__ == "__main__":
    main()
