"""Makes teaser.jpg, the picture at the top of the README: `python docs/teaser.py`. It needs the extra `train` (Embree).

Photo, coarse map, refined map, and the mesh of the refined map, seen from the left of the camera. The lens, range
and edge tolerance are those of the tour in blender.md. The maps share one colour range; near is red, far is blue.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

import pro_engine as pro
from pro_engine.inference.resize import resized
from pro_engine.types import ImageArray, Mesh

HERE = Path(__file__).parent
WIDTH, HEIGHT, STRIP, GAP = 300, 450, 26, 6
NEAR_M, FAR_M, FOV_X_DEG, EDGE_RTOL = 1.2, 2.6, 40.0, 0.02
PIVOT_M, TURN_DEG, BACK_M = 1.9, 13.0, 0.3  # the camera goes round a point at this depth, then back
SUPERSAMPLING = 3
PAPER, INK, NOTHING = 255, 40, 225


def view_of(mesh: Mesh, intrinsics: pro.Intrinsics) -> ImageArray:
    """The textured mesh through a camera that was turned to the left of the photo's."""
    assert mesh.texture is not None and mesh.uv is not None
    width, height = WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING
    lens = intrinsics.resized(width, height)
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([(columns - lens.cx) / lens.fx, (rows - lens.cy) / lens.fy, np.ones_like(columns)], axis=-1)
    turn, _ = cv2.Rodrigues(np.radians([0.0, TURN_DEG, 0.0]))
    pivot = np.array([0.0, 0.0, PIVOT_M])
    origin = pivot + turn @ (-pivot - (0.0, 0.0, BACK_M))
    directions = (rays.reshape(-1, 3) @ turn.T).astype(np.float32)

    scene = EmbreeScene()
    TriangleMesh(scene, mesh.vertices, mesh.faces)
    origins = np.broadcast_to(origin.astype(np.float32), directions.shape).copy()
    face = scene.run(origins, directions)

    uv = mesh.uv[mesh.faces].mean(axis=1)  # a face is smaller than a pixel of the view
    h, w = mesh.texture.shape[:2]
    colours = mesh.texture[((1 - uv[:, 1]) * h).astype(int).clip(0, h - 1), (uv[:, 0] * w).astype(int).clip(0, w - 1)]
    view = np.where((face >= 0)[:, None], colours[face], np.uint8(NOTHING)).reshape(height, width, 3)
    return resized(view, (HEIGHT, WIDTH))


def labelled(text: str, panel: ImageArray) -> ImageArray:
    """The panel under a strip with its name."""
    strip = np.full((STRIP, panel.shape[1], 3), PAPER, dtype=np.uint8)
    cv2.putText(strip, text, (2, STRIP - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (INK,) * 3, 1, cv2.LINE_AA)
    return np.concatenate([strip, panel])


def main() -> None:
    """Write teaser.jpg beside this file."""
    image, _ = pro.load_image(HERE / "photos/drum.jpg")
    camera = pro.Intrinsics.from_fov(image.shape[1], image.shape[0], fov_x_deg=FOV_X_DEG)
    options = pro.InferenceOptions(keep_coarse=True)
    result = pro.load_model("compact", device="cpu").infer(image, intrinsics=camera, options=options)
    assert result.coarse is not None
    scale = pro.range_scale_shift(result.disparity, near_m=NEAR_M, far_m=FAR_M)
    depth = pro.disparity_to_depth(result.disparity, scale)
    mesh = pro.depth_to_mesh(depth, camera, image=image, stride=2, edge_rtol=EDGE_RTOL)

    size = (HEIGHT, WIDTH)
    refined, coarse = resized(result.disparity, size), resized(result.coarse, size)
    low, high = (float(value) for value in np.percentile(refined, (0.5, 99.5)))
    rows, cols = result.tiles
    panels = [
        labelled("photo", resized(image, size)),
        labelled("coarse: one pass of the network", pro.colorize(coarse, low=low, high=high)),
        labelled(f"refined: {rows}x{cols} patches, once each", pro.colorize(refined, low=low, high=high)),
        labelled("mesh, seen from the left", view_of(mesh, camera)),
    ]
    gap = np.full((HEIGHT + STRIP, GAP, 3), PAPER, dtype=np.uint8)
    row = [part for panel in panels for part in (panel, gap)][:-1]
    picture = np.ascontiguousarray(np.concatenate(row, axis=1)[..., ::-1])
    if not cv2.imwrite(str(HERE / "teaser.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 88]):
        raise SystemExit(f"{HERE / 'teaser.jpg'} could not be written.")


if __name__ == "__main__":
    main()
