"""Reconstructions of rendered scenes by COLMAP, and what `pro-engine scene` makes of them, against the truth.

    pro-engine train scenes --out FOLDER --count 6 --seed 0 --orbit 12 --size 960x720
    python benchmarks/scene.py FOLDER --scenes 1,3,5

For each scene: COLMAP (pycolmap: SIFT, exhaustive matching, incremental mapping with the known lens), then the verb.
The reconstruction's unit is taken from the true depth at its points (their median ratio), its frame from the true
poses. The lines give the median relative error of all pixels of the aligned maps, of each map with its own scale and
shift, and of all maps with one; the error at points that were held out as `scene` tells it, that without the points'
own, and the true one at the same pixels, once as it is and once in the reconstruction's frame: of each view the scale,
the place along the axis and two turns are first brought to the reconstruction's, whose error is no map's; and the
median distance of the fused surface to the truth and of the truth to the surface, of the surface that is fused
from maps with one scale and shift, and of COLMAP's points meshed by its Poisson mesher, as a share of the size of the
scene.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycolmap
import trimesh
from scipy.spatial import cKDTree

from pro_engine.geometry.depth import disparity_to_depth
from pro_engine.geometry.sparse import fit_points
from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.io.depth import load_depth, save_depth
from pro_engine.io.image import load_image
from pro_engine.io.reconstruction import Reconstruction, View, load_reconstruction
from pro_engine.jobs.options import SceneOptions
from pro_engine.jobs.photos import Failure
from pro_engine.jobs.scene import SceneJob, ViewReport
from pro_engine.jobs.scene_results import finish
from pro_engine.options import InferenceOptions, choices_of
from pro_engine.types import Intrinsics

Array = np.ndarray[Any, np.dtype[Any]]

NOTHING = (float("nan"), float("nan"))


def reconstruct(folder: Path) -> Path:
    """COLMAP's model of a scene's pictures; made once."""
    model = folder / "colmap/0"
    if (model / "images.bin").exists():
        return model
    database = folder / "database.db"
    database.unlink(missing_ok=True)
    camera = next(iter(pycolmap.Reconstruction(str(folder / "sparse/0")).cameras.values()))
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model, reader.camera_params = "PINHOLE", ",".join(map(str, camera.params))
    single = pycolmap.CameraMode.SINGLE
    pycolmap.extract_features(database, folder / "images", camera_mode=single, reader_options=reader)
    pycolmap.match_exhaustive(database)
    (folder / "colmap").mkdir(exist_ok=True)
    pycolmap.incremental_mapping(database, folder / "images", folder / "colmap")
    return model


def true_depth(folder: Path, name: str) -> Array:
    """(H, W) of a view."""
    return load_depth(folder / "depth" / Path(name).with_suffix(".npz"))[0]


def at(values: Array, pixels: Array) -> Array:
    """(N,) of a map at pixels (N, 2), between its own; NaN outside it."""
    column, row = pixels.astype(np.float32).T
    inside = (column > -0.5) & (column < values.shape[1] - 0.5) & (row > -0.5) & (row < values.shape[0] - 0.5)
    found: Array = np.full(len(pixels), np.nan)
    border = cv2.BORDER_REPLICATE
    found[inside] = cv2.remap(values, column[None, inside], row[None, inside], cv2.INTER_LINEAR, borderMode=border)[0]
    return found


def to_truth(model: Reconstruction, truth: Reconstruction, folder: Path) -> tuple[float, Array, Array]:
    """Scale, rotation (3, 3) and translation (3,) from the reconstruction's world to the true one."""
    ratios = [at(true_depth(folder, view.name), view.pixels) / view.depth for view in model.views]
    scale = float(np.nanmedian(np.where(np.isfinite(np.concatenate(ratios)), np.concatenate(ratios), np.nan)))
    pairs = [(view, truth.view_of(Path(view.name))) for view in model.views]
    total = sum(true.pose[:, :3].T @ view.pose[:, :3] for view, true in pairs)
    left, _, right = np.linalg.svd(total)
    turn = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    return scale, turn, np.mean([true.center - scale * turn @ view.center for view, true in pairs], axis=0)


def in_frame(depth: Array, view: View) -> Array:
    """True depth (N,) at a view's points as its camera in the reconstruction sees it, whose pose is a little off: the
    relative difference of a scale, a place along the axis and two turns, fitted robustly to that of the points."""
    known, k = np.isfinite(depth), view.lens.pinhole
    relative = np.median(depth[known]) / np.where(known, depth, 1)
    turns = (view.pixels - (k.cx, k.cy)) / (k.fx, k.fy)
    design = np.stack([np.ones(len(depth)), relative, *turns.T], axis=1)
    apart, weight = (view.depth / depth - 1)[known], np.ones(int(known.sum()))
    for _ in range(30):
        found = np.linalg.lstsq(design[known] * weight[:, None], apart * weight, rcond=None)[0]
        rest = np.abs(apart - design[known] @ found)
        weight = np.clip(1 - (rest / (4 * 1.4826 * np.median(rest) + 1e-9)) ** 2, 0, None)
    framed: Array = depth * (1 + design @ found)
    return framed


def points_of(folder: Path, truth: Reconstruction, step: int) -> Array:
    """True surface points of all views, in the world."""
    found = []
    for view in truth.views:
        depth = true_depth(folder, view.name)[::step, ::step]
        k: Intrinsics = view.lens.pinhole
        row, column = np.nonzero(np.isfinite(depth))
        z = depth[row, column].astype(np.float64)
        there = np.stack([(column * step - k.cx) / k.fx * z, (row * step - k.cy) / k.fy * z, z], axis=1)
        found.append((there - view.pose[:, 3]) @ view.pose[:, :3])
    return np.concatenate(found)


def distance(vertices: Array, move: tuple[float, Array, Array], tree: cKDTree, size: float) -> tuple[float, float]:
    """Median distance of vertices to the truth, and of the truth to the nearest vertex, as a share of the scene's
    size: the first is of what a surface has, the second also of what it lacks."""
    scale, turn, shift = move
    found = scale * vertices @ turn.T + shift
    there, back = tree.query(found)[0], cKDTree(found).query(tree.data[::10])[0]
    return float(np.median(there)) / size, float(np.median(back)) / size


def poisson(
    folder: Path, model: Path, move: tuple[float, Array, Array], tree: cKDTree, size: float
) -> tuple[float, float]:
    """COLMAP's points, whose normals point at the cameras that see them, meshed by its Poisson mesher."""
    made = load_reconstruction(model)
    normals = np.zeros_like(made.xyz)
    for view in made.views:
        ray = view.center - made.xyz[view.points]
        normals[view.points] += ray / np.linalg.norm(ray, axis=1, keepdims=True)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    rows = np.concatenate([made.xyz, normals], axis=1).astype(np.float32)
    fields = "".join(f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz"))
    colors = "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    table = np.zeros(len(rows), dtype=[("p", "<f4", 6), ("c", "u1", 3)])
    table["p"], table["c"] = rows, made.rgb
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(rows)}\n{fields}{colors}end_header\n"
    (folder / "points.ply").write_bytes(head.encode() + table.tobytes())
    options = pycolmap.PoissonMeshingOptions()
    options.trim = 5  # the default of 10 leaves nothing of so few points
    pycolmap.poisson_meshing(folder / "points.ply", folder / "poisson.ply", options)
    mesh: Any = trimesh.load(folder / "poisson.ply", process=False)
    vertices = np.asarray(getattr(mesh, "vertices", ()))  # a file without faces is no mesh
    return distance(vertices, move, tree, size) if len(vertices) else NOTHING


def measure(folder: Path, predictor: DepthPredictor, refine: str) -> None:
    """Print the figures of one scene."""
    model = reconstruct(folder)
    made, truth = load_reconstruction(model), load_reconstruction(folder / "sparse/0")
    move = to_truth(made, truth, folder)
    inference = InferenceOptions(refine=refine)  # type: ignore[arg-type]
    job = SceneJob(model, folder / "scene", SceneOptions(folder / "images", layouts=("colmap",)), inference)
    reports = [
        outcome for photo in job.photos()[0] if not isinstance(outcome := job.attempt(photo, predictor), Failure)
    ]
    report = finish(job, reports, lambda _text: None)
    maps = {name: infer(folder, name, predictor, inference) for name in (view.name for view in made.views)}
    everything = [at(maps[view.name], view.pixels) for view in made.views]
    shared = fit_points(
        np.concatenate(everything)[None].astype(np.float32),
        np.stack([np.arange(sum(map(len, everything))), np.zeros(sum(map(len, everything)))], axis=1),
        np.concatenate([view.depth for view in made.views]),
        correct=False,
    )
    aligned, own, one, real, framed = [], [], [], [], []
    for view in made.views:
        z, k = true_depth(folder, view.name), move[0]
        known = np.isfinite(z)
        fit, _ = job.align(maps[view.name], view, load_image(folder / "images" / view.name)[0])
        aligned.append(np.abs(fit.depth(maps[view.name]) * k / z - 1)[known])
        own.append(np.abs(disparity_to_depth(maps[view.name], fit.scale_shift) * k / z - 1)[known])
        one.append(np.abs(disparity_to_depth(maps[view.name], shared.scale_shift) * k / z - 1)[known])
        there = at(z, view.pixels)
        usable = fit.used & np.isfinite(there)
        real.append(np.abs(fit.held_out * k / there - 1)[usable])
        framed.append(np.abs(fit.held_out / in_frame(there / k, view) - 1)[usable])
    figures = [float(np.median(np.concatenate(errors))) for errors in (aligned, own, one, real, framed)]
    truth_points = points_of(folder, truth, 3)
    low, high = np.percentile(truth_points, (2, 98), axis=0)
    tree, size = cKDTree(truth_points), float(np.linalg.norm(high - low))
    surface: Any = trimesh.load(job.folder / "surface.ply", process=False)
    fused = distance(np.asarray(surface.vertices), move, tree, size)
    rough = fuse_unaligned(folder, job, reports, maps, shared.scale_shift)
    plain = NOTHING if rough is None else distance(rough, move, tree, size)
    meshed = poisson(folder, model, move, tree, size)
    print(
        f"{folder.name}: {len(reports)} views, {len(made.xyz)} points, {report.contradicted:.0%} of pixels contradicted"
    )
    print("  error of maps: aligned {:.4f}, own scale and shift {:.4f}, one for all {:.4f}".format(*figures[:3]))
    told = f"told {report.error:.4f}, without the points' own {report.map_error or np.nan:.4f}"
    print("  error at held-out points: {}; true {:.4f}, in its frame {:.4f}".format(told, *figures[3:]))
    surfaces = {"fused": fused, "unaligned": plain, "COLMAP's points meshed": meshed}
    told = ", ".join(f"{name} {there:.4f} / {back:.4f}" for name, (there, back) in surfaces.items())
    print(f"  surface to truth / truth to surface, of the scene's size: {told}", flush=True)


def infer(folder: Path, name: str, predictor: DepthPredictor, inference: InferenceOptions) -> Array:
    """(H, W) disparity of a view; inferred once."""
    kept = folder / "disparity" / f"{name}.{predictor.full_name}.{inference.refine}.npz"
    if not kept.exists():
        image = load_image(folder / "images" / name)[0]
        save_depth(kept, predictor.infer(image, options=inference).disparity, quantity="disparity")
    return load_depth(kept)[0]


def fuse_unaligned(
    folder: Path, job: SceneJob, reports: list[ViewReport], maps: dict[str, Array], shared: Any
) -> Array | None:
    """Vertices of the surface from maps that share one scale and shift."""
    rough = replace(job, folder=folder / "unaligned", options=replace(job.options, layouts=("exr",)))
    for report in reports:
        about = load_depth(job.map_of(report.name))[1].metadata
        save_depth(rough.map_of(report.name), disparity_to_depth(maps[report.name], shared), metadata=about)
        rough.picture_of(report.name).parent.mkdir(parents=True, exist_ok=True)
        rough.picture_of(report.name).write_bytes(job.picture_of(report.name).read_bytes())
    finish(rough, reports, lambda _text: None)
    surface: Any = trimesh.load(rough.folder / "surface.ply", process=False)
    return np.asarray(surface.vertices)


def main() -> None:
    """Measure the scenes that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", default="1,3,5")
    parser.add_argument("--model", default="hybrid")
    parser.add_argument("--refine", default="none", choices=choices_of(InferenceOptions, "refine"))
    given = parser.parse_args()
    predictor = load_model(given.model, device="cpu")
    for number in map(int, given.scenes.split(",")):
        measure(given.folder / f"scene_{number:06d}", predictor, given.refine)


if __name__ == "__main__":
    main()
