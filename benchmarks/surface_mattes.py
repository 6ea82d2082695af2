"""Whether thin things stay whole on the surface of a photo: twigs, wires and hair of photos with a known matte.

    python benchmarks/surface_mattes.py FOLDER... [--move 0.04] [--threshold 0.05]

Each FOLDER has image.png and alpha.png. What the matte covers (alpha above a half) stands at 1 m, the rest at 4 m.
Thin is what an opening with a circle of 7 pixels takes from the matte. The table says how much of it a camera still
sees at 1 m, in front and moved by `--move` of the median depth to the left, to the right and up, on the surface of
layers and on the torn one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from surface_views import MOVES, Floats, Tracer

from pro_engine import Intrinsics, LayeredMesh, depth_to_layers, depth_to_mesh, load_image

NEAR_M, FAR_M, FOV_DEG = 1.0, 4.0, 55.0
CIRCLE = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
SAMPLES, WITHIN_PX, SAME = 9, 0.25, 0.01


def kept(tracer: Tracer, points: Floats, origin: Floats) -> float:
    """Share of points (N, 3) that a camera at `origin` sees where they are."""
    hits = tracer.cast(points - origin, origin)
    return float(((hits.layer == 1) & (np.abs(hits.depth - 1) < SAME)).mean())


def line_of(folder: Path, move: float, rtol: float) -> str:
    """The row of a photo."""
    image, _ = load_image(folder / "image.png")
    alpha = cv2.imread(str(folder / "alpha.png"), cv2.IMREAD_GRAYSCALE)
    assert alpha is not None and alpha.shape == image.shape[:2]
    matte = (alpha > 127).astype(np.uint8)
    thin = matte.astype(bool) & ~cv2.morphologyEx(matte, cv2.MORPH_OPEN, CIRCLE).astype(bool)
    height, width = matte.shape
    focal_px = Intrinsics.from_fov(max(height, width), 1, fov_x_deg=FOV_DEG).fx
    camera = Intrinsics(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, width, height)
    depth = np.where(matte, NEAR_M, FAR_M).astype(np.float32)
    torn = depth_to_mesh(depth, camera, image=image, edge_rtol=rtol)
    surfaces = {
        "layers": depth_to_layers(depth, camera, image=image, edge_rtol=rtol),
        "torn": LayeredMesh(torn, None, camera, np.zeros(depth.shape, np.bool_)),
    }
    rows, columns = np.nonzero(thin)
    inside = np.random.default_rng(0).uniform(-WITHIN_PX, WITHIN_PX, (SAMPLES, len(rows), 2))
    pixels = (np.stack([columns, rows], axis=1) + inside).reshape(-1, 2)
    points = np.ones((len(pixels), 3), np.float32)
    points[:, :2] = (pixels - (camera.cx, camera.cy)) / focal_px * NEAR_M
    step = move * float(np.median(depth))
    cells = [f"{thin.sum()} | {thin.sum() / matte.sum():.1%}"]
    for surface in surfaces.values():
        tracer = Tracer(surface)
        for way in ((0, 0), *MOVES.values()):
            cells.append(f"{kept(tracer, points, np.array([*way, 0], np.float32) * np.float32(step)):.2%}")
    return f"| {folder.name} | {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--move", type=float, default=0.04)
    parser.add_argument("--threshold", type=float, default=0.05)
    given = parser.parse_args(arguments)
    views = ["front", *MOVES]
    head = ["photo", "thin pixels", "of the matte", *(f"layers: {view}" for view in views)]
    head += [f"torn: {view}" for view in views]
    print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    for folder in given.folders:
        print(line_of(folder, given.move, given.threshold), flush=True)


if __name__ == "__main__":
    main()
