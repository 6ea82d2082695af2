"""What is made of the aligned maps of a reconstruction: a check against each other, files, and one surface."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pro_engine.errors import InputError
from pro_engine.geometry.depth import depth_edges
from pro_engine.geometry.normals import depth_to_normals
from pro_engine.geometry.tsdf import Volume
from pro_engine.geometry.views import Agreement, DepthView, compare, tolerance
from pro_engine.io import scene_files as files
from pro_engine.io.cloud import save_cloud
from pro_engine.io.depth import load_depth, save_depth
from pro_engine.io.image import load_image, save_image
from pro_engine.io.lens import ColmapLens
from pro_engine.io.mesh import save_mesh
from pro_engine.io.reconstruction import Reconstruction, View, load_reconstruction
from pro_engine.jobs.scene import SceneJob, ViewReport, picture_name, safe_name
from pro_engine.jobs.straight import straight_view
from pro_engine.types import FloatMap, ImageArray, Intrinsics, PointCloud

WORK_SIDE = 1600  # pixels of the longer side at which maps are compared and fused
NEIGHBOURS = 6  # that a map is held against
VOXEL_PIXELS = 3.0  # that a voxel at the usual distance of points covers
DIVISIONS = 800  # of the scene's diagonal at most, which bound its number of voxels
MARGIN = 0.15  # of the scene's size, around what the points span
FAR = 3.0  # times the farthest usual point of a view, up to which its map is fused
MOST_POINTS = 3_000_000
MIN_PAIRS = 200  # of neighbouring points, that tell the maps' share of errors


@dataclass(frozen=True)
class SceneReport:
    """What came of a scene: its views, and figures of the fused surface in the unit of the reconstruction.

    error: median over the views of the relative error at points that were held out, which is of maps and points.
    map_error: the same without what points have each for itself; None where too few points are neighbours.
    """

    views: tuple[ViewReport, ...]
    error: float
    map_error: float | None
    contradicted: float
    voxel: float
    faces: int
    points: int
    outputs: tuple[str, ...]
    notes: tuple[str, ...]


def finish(job: SceneJob, done: Sequence[ViewReport], step: Callable[[str], object]) -> SceneReport:
    """Compare, write and fuse the maps of the views that are done; `step` is called for each view, twice.

    Raises:
        InputError: fewer than two views, or no surface that they have in common.
        FileError: a file cannot be read or written.
    """
    if len(done) < 2:
        raise InputError(f"Only {len(done)} views were aligned; a scene needs two.")
    scene = _AlignedMaps(job, tuple(done), load_reconstruction(job.model))
    shares, notes = [], []
    for number in range(len(done)):
        step("compare")
        agreement = scene.agreement(number)
        shares.append(float(agreement.contradicted.mean()))
        notes += scene.write(number, agreement)
    outputs = scene.write_indices()
    mesh, points, made = scene.fuse(step)
    error, share = float(np.median([view.error for view in done])), float(np.mean(shares))
    figures = (error, map_error(done), share, scene.voxel, mesh, points)
    report = SceneReport(tuple(done), *figures, (*outputs, *made), tuple(notes))
    files.write_json(job.folder / "scene.json", {**vars(report), "views": [view.to_json() for view in done]})
    return report


def map_error(views: Sequence[ViewReport]) -> float | None:
    """Median relative error of maps at points that were held out, without the points' own; None: too few neighbours.

    The share of the maps is told by all views together: in one there are few neighbours.
    """
    pairs = np.array([view.pairs for view in views])
    if pairs.sum() < MIN_PAIRS:
        return None
    share = float(np.average([view.shared for view in views], weights=pairs))
    return float(np.median([view.error for view in views])) * math.sqrt(max(share, 0.0))


class _AlignedMaps:
    """The views of a scene that were aligned."""

    def __init__(self, job: SceneJob, done: tuple[ViewReport, ...], source: Reconstruction) -> None:
        self.job, self.done, self.source = job, done, source
        views = {view.name: view for view in source.views}
        self.views = [views[report.name] for report in done]
        self.names = [report.name for report in done]
        self.near = _neighbours([view.points for view in self.views], len(source.xyz))
        seen = source.xyz[np.unique(np.concatenate([view.points for view in self.views]))]
        low, high = np.percentile(seen, (2, 98), axis=0)
        room = MARGIN * (high - low).max()
        self.low, self.high = low - room, high + room
        self.small = lru_cache(maxsize=2 * NEIGHBOURS)(self._small)
        self.cameras: dict[int, Intrinsics] = {}
        self.agreed: dict[int, NDArray[np.uint8]] = {}
        self.nearest = 0.0
        self.voxel = job.options.voxel or self._usual_voxel()

    def _small(self, number: int) -> DepthView:
        """A view's map, thinned to `WORK_SIDE`."""
        depth, info = load_depth(self.job.map_of(self.names[number]))
        k = Intrinsics(**info.metadata["camera"])
        self.cameras[number] = k
        by = math.ceil(max(depth.shape) / WORK_SIDE)
        start = by // 2
        thin = np.ascontiguousarray(depth[start::by, start::by])
        height, width = thin.shape
        camera = Intrinsics(k.fx / by, k.fy / by, (k.cx - start) / by, (k.cy - start) / by, width, height)
        return DepthView(thin, camera, self.views[number].pose, self.done[number].error)

    def _usual_voxel(self) -> float:
        pixels = [float(np.median(view.depth)) / view.lens.pinhole.fx for view in self.views]
        sides = [max(view.lens.width, view.lens.height) for view in self.views]
        pixel = float(np.median([one * math.ceil(side / WORK_SIDE) for one, side in zip(pixels, sides, strict=True)]))
        return max(VOXEL_PIXELS * pixel, float(np.linalg.norm(self.high - self.low)) / DIVISIONS)

    def _picture(self, number: int) -> ImageArray:
        """A view's picture, thinned as its map."""
        image = load_image(self.job.picture_of(self.names[number]))[0]
        by = math.ceil(max(image.shape[:2]) / WORK_SIDE)
        return np.ascontiguousarray(image[by // 2 :: by, by // 2 :: by])

    def _confidence_file(self, number: int) -> Path:
        return self.job.folder / "confidence" / f"{safe_name(self.names[number])}.png"

    def agreement(self, number: int) -> Agreement:
        """What its neighbours say of a view."""
        return compare(self.small(number), {self.names[other]: self.small(other) for other in self.near[number]})

    def write(self, number: int, agreement: Agreement) -> list[str]:
        """The files of one view. Gives notes."""
        name, folder, layouts = safe_name(self.names[number]), self.job.folder, self.job.options.layouts
        small = self.small(number)
        grey = np.round(agreement.confidence * 255).astype(np.uint8)
        grey[agreement.contradicted] = 0
        save_image(self._confidence_file(number), np.repeat(grey[..., None], 3, axis=2))
        self.agreed[number] = np.packbits(agreement.agree > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.nearest = max(self.nearest, float(np.nanpercentile(1 / small.depth, 99.9)))
        if "colmap" in layouts:
            stereo, end = folder / "stereo", f"{picture_name(name)}.geometric.bin"
            kept = np.where(np.isfinite(small.depth) & ~agreement.contradicted, small.depth, 0).astype(np.float32)
            files.write_colmap_map(stereo / "depth_maps" / end, kept)
            normals = depth_to_normals(small.depth, small.intrinsics)
            files.write_colmap_map(stereo / "normal_maps" / end, np.nan_to_num(normals))
            order = {name: place for place, name in enumerate(self.names)}
            files.write_consistency_graph(stereo / "consistency_graphs" / end, agreement, order)
        if "exr" in layouts or "nerfstudio" in layouts:
            return self._write_whole(number, name)
        return []

    def _write_whole(self, number: int, name: str) -> list[str]:
        depth, info = load_depth(self.job.map_of(self.names[number]))
        layouts, notes = self.job.options.layouts, []
        if "exr" in layouts:
            save_depth(self.job.folder / "exr" / f"{name}.exr", depth, metadata=info.metadata)
        if "nerfstudio" in layouts:
            beyond = files.write_millimetres(self.job.folder / "depths_mm" / f"{name}.png", depth)
            if beyond > 0.01:
                notes.append(f"{name}: {beyond:.0%} of the depth for nerfstudio lies beyond 65.535, and is left out.")
        return notes

    def write_indices(self) -> list[str]:
        """The files of all views together. Gives what was written."""
        folder, layouts = self.job.folder, self.job.options.layouts
        straight = [self._straight(number) for number in range(len(self.done))]
        cameras = [self.cameras[number] for number in range(len(self.done))]
        made = ["maps", "confidence", "images"]
        if "colmap" in layouts:
            files.write_colmap_model(folder / "sparse", self.source, straight, cameras)
            pairs = [f"{picture_name(name)}\n__auto__, 20" for name in self.names]
            files.write_text(folder / "stereo/patch-match.cfg", "\n".join(pairs) + "\n")
            files.write_text(folder / "stereo/fusion.cfg", "\n".join(map(picture_name, self.names)) + "\n")
            made += ["sparse", "stereo"]
        if "graphdeco" in layouts:
            scale = self.nearest * files.CODES / (files.CODES - 1)
            for name in self.names:
                target = Path(picture_name(name)).with_suffix(".png")
                files.write_inverse_depth(folder / "depths" / target, load_depth(self.job.map_of(name))[0], scale)
            files.write_colmap_model(folder / "sparse/0", self.source, straight, cameras)
            files.write_depth_params(
                folder / "sparse/0/depth_params.json", [picture_name(n) for n in self.names], scale
            )
            made += ["depths", "sparse/0"]
        if "nerfstudio" in layouts:
            frames = [
                files.nerfstudio_frame(view, k, f"images/{view.name}", f"depths_mm/{safe_name(name)}.png")
                for view, k, name in zip(straight, cameras, self.names, strict=True)
            ]
            text: dict[str, Any] = {"camera_model": "OPENCV", "depth_unit_scale_factor": 0.001, "frames": frames}
            files.write_json(folder / "transforms.json", text)
            made += ["depths_mm", "transforms.json"]
        return made

    def _straight(self, number: int) -> View:
        """A view as its map shows it: without distortion, and by the name of its picture."""
        self.small(number)
        k, view = self.cameras[number], self.views[number]
        made = straight_view(view).resized(k.width, k.height)
        lens = ColmapLens("PINHOLE", (k.fx, k.fy, k.cx + 0.5, k.cy + 0.5), k.width, k.height)
        return View(picture_name(view.name), lens, view.pose, made.pixels, view.depth, view.points)

    def fuse(self, step: Callable[[str], object]) -> tuple[int, int, list[str]]:
        """Write the surface and the points. Gives how many faces and points they have, and the files."""
        error = float(np.median([tolerance(report.error) for report in self.done]))
        depth = float(np.median([np.median(view.depth) for view in self.views]))
        truncation = float(np.clip(error * depth, 3 * self.voxel, 8 * self.voxel))
        volume = Volume(self.voxel, truncation, self.low, self.high)
        for number in range(len(self.done)):
            volume.reserve(self._fusible(number, self._confidence(number)))
        points: list[NDArray[np.float32]] = []
        colors: list[NDArray[np.uint8]] = []
        for number in range(len(self.done)):
            step("fuse")
            confidence = self._confidence(number)
            view = self._fusible(number, confidence)
            trust = confidence * (depth / np.nan_to_num(view.depth, nan=np.inf, posinf=np.inf)) ** 2
            trust = np.where(np.isfinite(view.depth) & ~depth_edges(view.depth), trust, 0).astype(np.float32)
            image = self._picture(number)
            volume.add(view, trust, image)
            agreed = np.unpackbits(self.agreed[number], count=trust.size).reshape(trust.shape)
            chosen = (trust > 0) & (agreed > 0)
            every = max(1, math.ceil(chosen.sum() * len(self.done) / MOST_POINTS))
            rows = np.flatnonzero(chosen)[::every]  # a slice of what is chosen would keep all of it
            points.append(view.world_points().reshape(-1, 3)[rows])
            colors.append(image.reshape(-1, 3)[rows])
        mesh = volume.surface(min(2, len(self.done) - 1))
        made, about = [], {"unit": "of the reconstruction", "views": len(self.done), "voxel": self.voxel}
        for form in self.job.options.surface:
            save_mesh(self.job.folder / f"surface.{form}", mesh, metadata=about)
            made.append(f"surface.{form}")
        cloud = PointCloud(np.concatenate(points), np.concatenate(colors))
        for form in self.job.options.points:
            target = self.job.folder / f"points.{form}"
            save_cloud(target, cloud, metadata=about) if form == "ply" else files.save_las(target, cloud)
            made.append(target.name)
        return len(mesh.faces), len(cloud.xyz), made

    def _confidence(self, number: int) -> FloatMap:
        """(H, W) as `write` left it: from 0, where others contradict, to 1."""
        grey = load_image(self._confidence_file(number))[0][..., 0]
        return np.asarray(grey / np.float32(255), dtype=np.float32)

    def _fusible(self, number: int, confidence: FloatMap) -> DepthView:
        """A view without what others contradict and what lies far behind its points."""
        view = self.small(number)
        far = FAR * float(np.percentile(self.views[number].depth, 95))
        with np.errstate(invalid="ignore"):
            depth: FloatMap = np.where((confidence == 0) | (view.depth > far), np.float32(np.nan), view.depth)
        return DepthView(depth, view.intrinsics, view.pose, view.error)


def _neighbours(points: Sequence[NDArray[np.int64]], count: int) -> list[list[int]]:
    """For each view those that share most points with it, at most `NEIGHBOURS`."""
    seen = np.zeros((len(points), count), dtype=np.float32)
    for number, rows in enumerate(points):
        seen[number, rows] = 1
    shared = seen @ seen.T
    np.fill_diagonal(shared, 0)
    order = np.argsort(-shared, axis=1, kind="stable")[:, :NEIGHBOURS]
    return [[int(other) for other in row if shared[number, other] > 0] for number, row in enumerate(order)]
