"""Makes docs/surface.jpg: shipped photos and rendered pictures by a camera that moves aside, with gaps and without.

    pro-engine train scenes --out FOLDER --count 8 --orbit 40
    python docs/surface.py FOLDER

Each row: the picture; from aside the torn mesh, then the surface of layers. What is open is magenta; Embree casts rays.
Depth is the bundled model's, for rendered pictures, too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pro_engine import (
    DepthPredictor,
    Intrinsics,
    LayeredMesh,
    depth_to_layers,
    depth_to_mesh,
    disparity_to_depth,
    load_image,
    load_model,
    place_sky,
    range_scale_shift,
)

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "benchmarks"))
from surface_views import Scene, Tracer  # noqa: E402

PHOTOS = {"drum": (1.2, 2.6), "dandelion": (0.3, 5.0)}  # nearest and farthest surface, metres
SCENES = {1: (0.5, 2.0), 2: (5.0, 60.0), 6: (1.0, 6.0), 7: (0.5, 2.0)}
VIEW = "images/view_020.jpg"
HEIGHT = 200
MOVE = 0.06  # of the median depth, to the right
OPEN = (255, 0, 255)


def scene_of(path: Path, near_m: float, far_m: float, model: DepthPredictor) -> Scene:
    """A picture, smaller, with depth."""
    whole, _ = load_image(path)
    width = round(whole.shape[1] * 2 * HEIGHT / whole.shape[0])
    image = np.asarray(Image.fromarray(whole).resize((width, 2 * HEIGHT), Image.Resampling.LANCZOS))
    disparity = model.infer(image).disparity
    camera = Intrinsics.from_fov(width, 2 * HEIGHT, fov_x_deg=50)
    scale = range_scale_shift(disparity, near_m, far_m, cut_plateau=False)
    return Scene(image, place_sky(disparity_to_depth(disparity, scale), camera, far_m), camera)


def seen(surface: LayeredMesh, scene: Scene) -> Image.Image:
    """The picture of the moved camera."""
    height, width = scene.depth.shape
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float32)
    median = np.float32(np.median(scene.depth))
    origin = np.array([MOVE * median, 0, 0], np.float32)
    pixels[:, 0] -= MOVE * scene.camera.fx  # what is at the median depth stays where it was
    hits = Tracer(surface).look(pixels, scene.camera, origin)
    colours = np.where(hits.layer[:, None] > 0, hits.colour, OPEN).reshape(height, width, 3)
    picture = Image.fromarray(np.rint(colours).astype(np.uint8))
    return picture.resize((width // 2, height // 2), Image.Resampling.BOX)


def main() -> None:
    """Write the picture."""
    pictures = {DOCS / "photos" / f"{name}.jpg": depths for name, depths in PHOTOS.items()}
    pictures |= {Path(sys.argv[1]) / f"scene_{number:06d}" / VIEW: depths for number, depths in SCENES.items()}
    model, rows = load_model(), []
    for path, depths in pictures.items():
        scene = scene_of(path, *depths, model)
        torn = depth_to_mesh(scene.depth, scene.camera, image=scene.image)
        nothing = np.zeros(scene.depth.shape, np.bool_)
        layers = depth_to_layers(scene.depth, scene.camera, image=scene.image, extend=True, reveal=MOVE)
        height, width = scene.depth.shape
        photo = Image.fromarray(scene.image).resize((width // 2, height // 2), Image.Resampling.LANCZOS)
        meshes = [LayeredMesh(torn, None, scene.camera, nothing), layers]
        rows.append(np.hstack([np.asarray(photo), *(np.asarray(seen(mesh, scene)) for mesh in meshes)]))
    width = max(row.shape[1] for row in rows)
    page = np.vstack([np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows])
    Image.fromarray(page).save(DOCS / "surface.jpg", quality=88)


if __name__ == "__main__":
    main()
