"""How whole the surface of a photo is: seen through its own camera and by one that moves aside.

    python benchmarks/surface_views.py --maps FOLDER [--thresholds 0.05,0.02] [--surfaces layers,torn] [photo names]

FOLDER has NAME.disparity.npz and NAME.picture.png, as `pro-engine infer PHOTO... --picture --max-pixels 2000000` leaves
them. The nearest surface is at 1 m, the farthest at 20 m, the lens has 55 degrees across the longer side. Embree casts
the rays. A row of the table says, for each photo and threshold:

- front: share of the picture that the photo's own camera sees through, and PSNR against the photo, beside that of a
  flat card of the photo; both are averages of 16 rays within a pixel and a half, as a renderer takes them;
- left, right, up: share of the pixels that a camera moved by `--move` of the median depth sees through, inside the
  photo's border, and in brackets the share in which it sees what was behind. Such a camera sees each line of the photo
  that runs along its way on the same line: inside are the pixels between the places of its first and its last pixel.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pro_engine import (
    Intrinsics,
    LayeredMesh,
    depth_to_layers,
    depth_to_mesh,
    disparity_to_depth,
    load_depth,
    load_image,
    place_sky,
    range_scale_shift,
)

NEAR_M, FAR_M, FOV_DEG = 1.0, 20.0, 55.0
MOVES = {"left": (-1, 0), "right": (1, 0), "up": (0, -1)}
LINES, PIXELS, RAYS = 60, 6000, 16
FILTER_PX = 1.5

Floats = NDArray[np.float32]


class Scene(NamedTuple):
    """A photo as maps: image (H, W, 3) uint8, depth (H, W) metres with the sky in it, and its camera."""

    image: NDArray[np.uint8]
    depth: Floats
    camera: Intrinsics


class Hits(NamedTuple):
    """What rays met: layer (N,) 0 for nothing, 1 the front, 2 what is behind; colour (N, 3), depth (N,)."""

    layer: NDArray[np.intp]
    colour: Floats
    depth: Floats


class Tracer:
    """Rays onto the meshes of a photo."""

    def __init__(self, surface: LayeredMesh) -> None:
        from embreex import rtcore_scene
        from embreex.mesh_construction import TriangleMesh

        self.meshes = [mesh for mesh in (surface.front, surface.behind) if mesh is not None]
        self.scene = rtcore_scene.EmbreeScene(robust=True)
        for mesh in self.meshes:
            TriangleMesh(self.scene, mesh.vertices, mesh.faces)

    def look(self, pixels: Floats, camera: Intrinsics, origin: Floats) -> Hits:
        """Through pixels (N, 2), column and row, of a camera at `origin` that looks along z."""
        return self.cast(ways_of(pixels, camera), origin)

    def cast(self, ways: Floats, origin: Floats) -> Hits:
        """Rays (N, 3) from `origin`; depth is in lengths of theirs."""
        origins = np.broadcast_to(origin.astype(np.float32), ways.shape).copy()
        found = self.scene.run(origins, ways, output=True)
        layer = np.where(found["primID"] < 0, 0, found["geomID"].astype(np.intp) + 1)
        colour = np.zeros((len(ways), 3), np.float32)
        for number, mesh in enumerate(self.meshes, 1):
            met = layer == number
            corners = mesh.faces[found["primID"][met]]
            u, v = found["u"][met][:, None], found["v"][met][:, None]
            assert mesh.uv is not None and mesh.texture is not None
            a, b, c = (mesh.uv[corners[:, k]] for k in range(3))
            colour[met] = sampled(mesh.texture, a * (1 - u - v) + b * u + c * v)
        return Hits(layer, colour, found["tfar"].astype(np.float32))


def ways_of(pixels: Floats, camera: Intrinsics) -> Floats:
    """(N, 3) rays with z 1 through pixels (N, 2), column and row."""
    ways = np.ones((len(pixels), 3), np.float32)
    ways[:, :2] = (pixels - (camera.cx, camera.cy)) / (camera.fx, camera.fy)
    return ways


def sampled(texture: NDArray[np.uint8], uv: Floats) -> Floats:
    """Colours (N, 3) of a texture between its pixels."""
    height, width = texture.shape[:2]
    x = np.clip(uv[:, 0] * width - 0.5, 0, width - 1)
    y = np.clip((1 - uv[:, 1]) * height - 0.5, 0, height - 1)
    left, top = (np.minimum(line.astype(np.intp), length - 2) for line, length in ((x, width), (y, height)))
    right, low = (x - left)[:, None], (y - top)[:, None]
    lower = texture[top + 1, left] * (1 - right) + texture[top + 1, left + 1] * right
    upper = texture[top, left] * (1 - right) + texture[top, left + 1] * right
    return np.asarray(upper * (1 - low) + lower * low, np.float32)


def read(folder: Path, name: str) -> Scene:
    """The maps of a photo."""
    disparity, _ = load_depth(folder / f"{name}.disparity.npz")
    image, _ = load_image(folder / f"{name}.picture.png")
    height, width = disparity.shape
    focal_px = Intrinsics.from_fov(max(height, width), 1, fov_x_deg=FOV_DEG).fx
    camera = Intrinsics(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, width, height)
    scale = range_scale_shift(disparity, NEAR_M, FAR_M)
    return Scene(image, place_sky(disparity_to_depth(disparity, scale), camera, FAR_M), camera)


def front(tracer: Tracer, scene: Scene, random: np.random.Generator) -> str:
    """What the photo's own camera sees."""
    height, width = scene.depth.shape
    pixels = np.stack([random.integers(0, n, PIXELS) for n in (width, height)], axis=1)
    rays = (pixels[:, None] + random.uniform(-FILTER_PX / 2, FILTER_PX / 2, (PIXELS, RAYS, 2))).astype(np.float32)
    rays = rays.clip(-0.499, (width - 0.501, height - 0.501)).reshape(-1, 2).astype(np.float32)
    hits = tracer.look(rays, scene.camera, np.zeros(3, np.float32))
    card = sampled(scene.image, np.stack([(rays[:, 0] + 0.5) / width, 1 - (rays[:, 1] + 0.5) / height], axis=1))
    photo = scene.image[pixels[:, 1], pixels[:, 0]].astype(np.float64)
    ours, flat = (psnr(colours.reshape(PIXELS, RAYS, 3).mean(axis=1), photo) for colours in (hits.colour, card))
    return f"{(hits.layer == 0).mean():.3%}, {ours:.1f} dB, card {flat:.1f} dB"


def psnr(colours: NDArray[np.floating], photo: NDArray[np.float64]) -> float:
    """In dB, of colours from 0 to 255."""
    return float(20 * np.log10(255) - 10 * np.log10(np.mean((colours - photo) ** 2)))


def aside(tracer: Tracer, scene: Scene, way: tuple[int, int], move: float, random: np.random.Generator) -> str:
    """What a moved camera sees, on whole lines of the picture along its way."""
    height, width = scene.depth.shape
    lines, length = (height, width) if way[0] else (width, height)
    line = np.repeat(random.integers(0, lines, LINES), length)
    along = np.tile(np.arange(length), LINES)
    pixels = np.stack([along, line] if way[0] else [line, along], axis=1) + random.uniform(-0.5, 0.5, (len(line), 2))
    origin = np.array([*way, 0], np.float32) * np.float32(move * np.median(scene.depth))
    layer = tracer.look(pixels.astype(np.float32), scene.camera, origin).layer
    first, last = borders(scene, way, move)
    inside = (along >= first[line]) & (along <= last[line])
    return f"{(inside & (layer == 0)).mean():.3%} ({(layer == 2).mean():.1%})"


def borders(scene: Scene, way: tuple[int, int], move: float) -> tuple[Floats, Floats]:
    """Where a moved camera has the first and the last pixel of each row, or of each column if it moves up.

    Args:
        scene: a photo.
        way: of the camera, x and y, one of them 0.
        move: length of the way, a share of the median depth.

    Returns:
        (lines,) columns of the one and of the other, or rows.
    """
    depth, focal_px = (scene.depth, scene.camera.fx) if way[0] else (scene.depth.T, scene.camera.fy)
    shift_px = np.float32(sum(way) * move * np.median(depth) * focal_px)
    return -shift_px / depth[:, 0], depth.shape[1] - 1 - shift_px / depth[:, -1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="photos; all in the folder by default")
    parser.add_argument("--maps", type=Path, required=True)
    parser.add_argument("--thresholds", default="0.05,0.02", help="relative steps in depth that make an outline")
    parser.add_argument("--surfaces", default="layers", help="layers, torn or both")
    parser.add_argument("--move", type=float, default=0.04, help="share of the median depth")
    given = parser.parse_args(arguments)
    names = given.names or sorted(path.name.partition(".")[0] for path in given.maps.glob("*.disparity.npz"))
    print("| photo | surface | step | front: open, PSNR | left: open (behind) | right | up |")
    print("|---|---|---|---|---|---|---|")
    for name in names:
        scene = read(given.maps, name)
        for surface in given.surfaces.split(","):
            for rtol in map(float, given.thresholds.split(",")):
                random = np.random.default_rng(0)
                if surface == "torn":
                    torn = depth_to_mesh(scene.depth, scene.camera, image=scene.image, edge_rtol=rtol)
                    meshes = LayeredMesh(torn, None, scene.camera, np.zeros(scene.depth.shape, np.bool_))
                else:
                    meshes = depth_to_layers(scene.depth, scene.camera, image=scene.image, edge_rtol=rtol)
                tracer = Tracer(meshes)
                cells = [front(tracer, scene, random)]
                cells += [aside(tracer, scene, way, given.move, random) for way in MOVES.values()]
                print(f"| {name} | {surface} | {rtol:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
