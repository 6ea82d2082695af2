"""The meshes and clouds of one photo: which parts of it they show, and their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pro_engine.geometry.cloud import depth_to_cloud
from pro_engine.geometry.depth import DEPTH_SLACK
from pro_engine.geometry.mesh import depth_to_mesh
from pro_engine.geometry.surface import depth_to_layers, place_sky
from pro_engine.io.cloud import save_cloud
from pro_engine.io.mesh import save_mesh
from pro_engine.io.normals import load_mask, save_mask
from pro_engine.io.splats import save_splats
from pro_engine.io.viewer import save_page
from pro_engine.jobs.options import JobOptions
from pro_engine.jobs.outputs import Output
from pro_engine.jobs.panorama import write_panorama
from pro_engine.jobs.points import file_of_photo
from pro_engine.types import BoolMap, FloatMap, ImageArray, Intrinsics, LayeredMesh, Mesh

_FOR_PRINTING = "stl"  # one body without what is made up
_SPLATS = "splat"
_PAGE_PIXELS = 1_000_000  # of a page's mesh; its picture has more


class Masks(NamedTuple):
    """(H, W) each, or None: what of a photo is no part of its shapes, and what is taken away from in front."""

    absent: BoolMap | None = None
    dropped: BoolMap | None = None

    @classmethod
    def of(cls, job: JobOptions, name: str, shape: tuple[int, int]) -> Masks:
        """Those of a photo. Raises FileError: a mask is missing, cannot be read, or is of another shape."""
        kept, dropped = (
            None if path is None else load_mask(file_of_photo(path, name, what, "mask"), shape)
            for path, what in ((job.keep_mask, "masks"), (job.drop_mask, "masks"))
        )
        return cls(None if kept is None else ~kept, dropped)

    @property
    def away(self) -> BoolMap | None:
        """Both together."""
        found = [mask for mask in self if mask is not None]
        return np.logical_or.reduce(found) if found else None


def write_shapes(
    depth: FloatMap,
    image: ImageArray,
    intrinsics: Intrinsics | None,
    *,
    name: str,
    far_m: float,
    stride: int,
    job: JobOptions,
    outputs: Sequence[Output],
    about: Mapping[str, Any],
) -> None:
    """Write the clouds and meshes among `outputs`, and the masks used.

    Args:
        depth: (H, W) metres, changed in place.
        image, intrinsics: of the same size; None for those of a whole panorama.
        name: of the photo.
        far_m: metres at which the scale ends.
        stride: pixels between neighbouring points.
        job: what is wanted.
        outputs: of the photo, others are left out.
        about: facts for the files.

    Raises:
        ProEngineError: a mask does not fit, nothing is left, or a file cannot be written.
    """
    masks = Masks.of(job, name, image.shape[:2])
    away = masks.away
    for out in _of(outputs, "kept"):
        save_mask(out.path, np.ones(image.shape[:2], np.bool_) if away is None else ~away)
    if intrinsics is None:
        return write_panorama(depth, image, far_m, stride=stride, job=job, dropped=away, outputs=outputs, about=about)
    if masks.absent is not None:
        depth[masks.absent] = np.nan
    splats = [out for out in _of(outputs, "cloud") if out.format == _SPLATS]
    layered = [out for out in _of(outputs, "mesh") if job.surface == "layers" and out.format != _FOR_PRINTING]
    torn = [out for out in _of(outputs, "mesh") if out not in layered]
    pages = _of(outputs, "view")
    if layered or splats or pages:
        photo = _SolidPhoto(place_sky(depth, intrinsics, far_m, sky=job.sky), image, intrinsics, masks.dropped)
        if layered or splats:
            layers = photo.layers(job, stride)
            _save(layered, layers, about)
            for out in splats:
                save_splats(out.path, layers, metadata=about)
            del layers
        for out in pages:
            small = photo.at_most(_PAGE_PIXELS)
            save_page(out.path, small.layers(job, 1), reveal=job.reveal, texture=image, metadata=about)
        del photo
    if masks.dropped is not None:
        depth[masks.dropped] = np.nan
    depth[depth > far_m * (1 + DEPTH_SLACK)] = np.inf
    if torn:
        _save(torn, depth_to_mesh(depth, intrinsics, image=image, edge_rtol=job.edge_rtol, stride=stride), about)
    if clouds := [out for out in _of(outputs, "cloud") if out not in splats]:
        cloud = depth_to_cloud(depth, intrinsics, image=image, stride=stride)
        for out in clouds:
            save_cloud(out.path, cloud, metadata=about)


class _SolidPhoto(NamedTuple):
    """A photo with a surface everywhere: depth (H, W), image (H, W, 3), its camera, and what is dropped (H, W)."""

    depth: FloatMap
    image: ImageArray
    intrinsics: Intrinsics
    dropped: BoolMap | None

    def layers(self, job: JobOptions, stride: int) -> LayeredMesh:
        """The two meshes."""
        return depth_to_layers(
            self.depth,
            self.intrinsics,
            image=self.image,
            edge_rtol=job.edge_rtol,
            reveal=job.reveal,
            extend=job.extend,
            dropped=self.dropped,
            stride=stride,
        )

    def at_most(self, pixels: int) -> _SolidPhoto:
        """The same with fewer pixels, where it has more: each map by the nearest pixel, so that outlines stay steps."""
        share = (pixels / self.depth.size) ** 0.5
        if share >= 1:
            return self
        height, width = (max(2, round(length * share)) for length in self.depth.shape)
        rows, columns = (
            ((np.arange(n) + 0.5) * length / n).astype(np.intp)
            for n, length in zip((height, width), self.depth.shape, strict=True)
        )
        at = np.ix_(rows, columns)
        dropped = None if self.dropped is None else self.dropped[at]
        picture = np.ascontiguousarray(self.image[at])
        return _SolidPhoto(self.depth[at], picture, self.intrinsics.resized(width, height), dropped)


def _of(outputs: Sequence[Output], *kinds: str) -> list[Output]:
    return [out for out in outputs if out.kind in kinds]


def _save(outputs: Sequence[Output], mesh: Mesh | LayeredMesh, about: Mapping[str, Any]) -> None:
    for out in outputs:
        save_mesh(out.path, mesh, metadata=about)
