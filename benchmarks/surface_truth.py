"""What the surface of a picture shows where a second camera sees behind things, beside the truth of a rendered scene.

    pro-engine train scenes --out FOLDER --count 8 --orbit 40
    python benchmarks/surface_truth.py FOLDER [--apart 0.04] [--threshold 0.05]

The surface is made of the middle view and its true depth, for a camera that moves as far as the second view is. That is
the view whose distance is nearest to `--apart` of the median depth. Revealed are the pixels of the second view whose
true point lies within the first one's frame and behind all that is seen around it there. A row says, for each scene:

- apart: distance of the cameras, a share of the median depth; area: share of the second picture that is revealed;
- open: share of that in which the surface of layers shows nothing;
- depth and colour: median relative error of depth and mean difference of colours, of 255, over what is revealed, for
  the layers and for a mesh that is not torn, whose faces are stretched from the near to the far side. Sky lies on its
  dome, in the truth as well.

Scenes in which less than a thousandth of the picture is revealed are left out: their few pixels lie at outlines, to
which the near side keeps half a pixel more than it has.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from surface_views import Floats, Hits, Tracer, ways_of

from pro_engine import LayeredMesh, depth_to_layers, depth_to_mesh, load_depth, load_image, place_sky
from pro_engine.io.reconstruction import Reconstruction, View, load_reconstruction

UNTORN = 1e6  # threshold of a mesh whose faces span every step
LEAST_AREA = 1e-3
AROUND = np.ones((3, 3), np.uint8)


class Errors(NamedTuple):
    """Of the pixels that are not open, (N,) each: relative ones of depth, differences of colour."""

    depth: Floats
    colour: Floats


class Found(NamedTuple):
    """Of a scene, as the module says; shares of the picture's pixels, and of those that are revealed."""

    apart: float
    area: float
    gap: float
    layers: Errors
    stretched: Errors

    def line(self, name: str) -> str:
        """Of the table."""
        depths = " | ".join(f"{np.median(errors.depth):.1%}" for errors in (self.layers, self.stretched))
        colours = " | ".join(f"{errors.colour.mean():.1f}" for errors in (self.layers, self.stretched))
        return f"| {name} | {self.apart:.1%} | {self.area:.2%} | {self.gap:.2%} | {depths} | {colours} |"


def pooled(found: Sequence[Found]) -> Found:
    """All pixels of all scenes."""
    area = [one.area for one in found]
    apart = float(np.average([one.apart for one in found], weights=area))
    gap = float(np.average([one.gap for one in found], weights=area))
    kinds = [
        Errors(*(np.concatenate(column) for column in zip(*errors, strict=True)))
        for errors in zip(*((one.layers, one.stretched) for one in found), strict=True)
    ]
    return Found(apart, float(np.mean(area)), gap, *kinds)


def second_of(views: Sequence[View], first: View, apart: float) -> View:
    """The view whose distance from the first is nearest to this, in the unit of the scene."""
    others = [view for view in views if view is not first]
    return min(others, key=lambda view: abs(float(np.linalg.norm(view.center - first.center)) - apart))


def maps_of(folder: Path, view: View) -> tuple[Floats, NDArray[np.uint8]]:
    """Depth (H, W) and picture (H, W, 3) of a view."""
    depth, _ = load_depth(folder / "depth" / f"{Path(view.name).stem}.npz")
    return depth, load_image(folder / "images" / view.name)[0]


def errors_of(hits: Hits, depth: Floats, image: Floats) -> Errors:
    """Of what rays met, beside the truth: depth (N,) and colours (N, 3)."""
    met = hits.layer > 0
    return Errors(np.abs(hits.depth[met] / depth[met] - 1), np.abs(hits.colour - image)[met].mean(axis=1))


def measured(folder: Path, model: Reconstruction, apart: float, rtol: float) -> Found | None:
    """What the second view of a scene shows, or None where next to nothing is revealed."""
    first = model.views[len(model.views) // 2]
    depth, image = maps_of(folder, first)
    known = np.isfinite(depth)
    median = float(np.median(depth[known]))
    second = second_of(model.views, first, apart * median)
    true_depth, true_image = maps_of(folder, second)
    camera = first.lens.pinhole
    height, width = depth.shape
    turn = first.pose[:, :3] @ second.pose[:, :3].T  # from the second camera's frame to the first one's
    origin = (first.pose[:, :3] @ second.center + first.pose[:, 3]).astype(np.float32)
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2).astype(np.float32)
    ways = (ways_of(pixels, second.lens.pinhole) @ turn.T).astype(np.float32)
    far = np.float32(depth[known].max())
    solid = place_sky(np.where(known, depth, np.float32(np.inf)), camera, float(far))
    beyond = np.where(np.isfinite(true_depth), true_depth, np.float32(np.inf))
    z = place_sky(beyond, second.lens.pinhole, float(far)).reshape(-1)
    points = origin + ways * z[:, None]
    seen = points[:, :2] / points[:, 2:] * (camera.fx, camera.fy) + (camera.cx, camera.cy)
    column, row = np.rint(seen).astype(np.intp).T
    within = (points[:, 2] > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    around = cv2.dilate(solid, AROUND)[row.clip(0, height - 1), column.clip(0, width - 1)]
    revealed = within & (points[:, 2] > around * (1 + rtol))
    if revealed.mean() < LEAST_AREA:
        return None
    distance = float(np.linalg.norm(origin)) / median
    layers = depth_to_layers(solid, camera, image=image, edge_rtol=rtol, reveal=max(distance, 0.01))
    stretched = depth_to_mesh(solid, camera, image=image, edge_rtol=UNTORN)
    alone = LayeredMesh(stretched, None, camera, np.zeros(depth.shape, np.bool_))
    ours, theirs = (Tracer(meshes).cast(ways[revealed], origin) for meshes in (layers, alone))
    truth = z[revealed], true_image.reshape(-1, 3)[revealed].astype(np.float32)
    shares = float(revealed.mean()), float((ours.layer == 0).mean())
    return Found(distance, *shares, errors_of(ours, *truth), errors_of(theirs, *truth))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--apart", type=float, default=0.04)
    parser.add_argument("--threshold", type=float, default=0.05)
    given = parser.parse_args(arguments)
    print("| scene | apart | area | open | depth: layers | stretched | colour: layers | stretched |")
    print("|---|---|---|---|---|---|---|---|")
    found = []
    for done in sorted(given.folder.glob("scene_*.done")):
        folder = done.with_suffix("")
        if not (folder / "sparse/0").is_dir():
            continue
        one = measured(folder, load_reconstruction(folder / "sparse/0"), given.apart, given.threshold)
        if one is not None:
            found.append(one)
            print(one.line(folder.name), flush=True)
    print(pooled(found).line("all"))


if __name__ == "__main__":
    main()
