"""The files of one photo: its maps one after the other, then what is made of the depth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pro_engine.geometry.normals import depth_to_normals
from pro_engine.io.depth import save_depth
from pro_engine.io.depth_formats import png_reach, png_step
from pro_engine.io.image import save_image
from pro_engine.io.normals import save_alpha, save_mask, save_normals
from pro_engine.jobs.intrinsics import png_step_of
from pro_engine.jobs.metres import PhotoLens, PhotoScale
from pro_engine.jobs.options import JobOptions
from pro_engine.jobs.outputs import Output
from pro_engine.jobs.photos import FramePhoto, Photo
from pro_engine.jobs.preview import make_preview
from pro_engine.jobs.scale import ShotScale
from pro_engine.jobs.shapes import write_shapes
from pro_engine.options import GeometryOptions
from pro_engine.types import DepthResult, FloatMap, ImageArray, LoadedPhoto

if TYPE_CHECKING:
    from pro_engine.jobs.photo_job import PhotoJob

_AUTO_POINTS = 1_000_000


@dataclass(frozen=True)
class PhotoWork:
    """What every writer of one photo needs to know."""

    job: PhotoJob
    photo: Photo
    outputs: list[Output]
    loaded: LoadedPhoto
    lens: PhotoLens
    shot: ShotScale

    @property
    def image(self) -> ImageArray:
        """The picture that the model sees."""
        return self.loaded.image

    def without_picture(self) -> PhotoWork:
        """The same, without the picture where no file needs it any more."""
        if isinstance(self.photo, FramePhoto) or self.has_geometry or self.of("preview") or self.of("picture"):
            return self
        return replace(self, loaded=replace(self.loaded, image=self.image[:0, :0].copy()))

    @property
    def has_geometry(self) -> bool:
        """Whether a mesh, a cloud or a page is to be written."""
        return any(out.kind in ("mesh", "cloud", "view") for out in self.outputs)

    def of(self, kind: str) -> list[Output]:
        """The outputs of one kind."""
        return [out for out in self.outputs if out.kind == kind]


@dataclass(frozen=True)
class WrittenMaps:
    """What is left of a result when its maps are written: depth in metres if it has a scale, and what to tell of it."""

    depth: FloatMap | None
    scale: PhotoScale | None
    lens: PhotoLens
    anchors: dict[str, float] | None
    estimate: dict[str, float] | None
    tiles: tuple[int, int]
    timings: dict[str, float]
    about: dict[str, Any]
    notes: tuple[str, ...]


def write_maps(result: DepthResult, work: PhotoWork) -> WrittenMaps:
    """Write the pictures, the disparity, then the depth if there is a scale."""
    job, shot = work.job.options, work.shot
    for out in work.of("preview"):
        save_image(out.path, make_preview(work.image, result))
    work.photo.show(work.image, result)
    for out in work.of("picture"):
        save_image(out.path, work.image)
    for out in work.of("mask"):
        save_mask(out.path, result.valid if result.sky is None else result.valid & ~result.sky)
    for out in work.of("alpha"):
        assert result.alpha is not None
        save_alpha(out.path, result.alpha)
    disparity = result.disparity if result.valid.all() else np.where(result.valid, result.disparity, np.float32(np.nan))
    result = replace(
        result, disparity=disparity, coarse=None, alpha=None
    )  # free the coarse map before the next map is made
    about: dict[str, Any] = {"photo": work.photo.path.name, "model": result.model, "tiles": list(result.tiles)}
    about["dtype"] = result.dtype
    if work.photo.number is not None:
        about |= {"frame": work.photo.number, "time_s": work.photo.time_s}
    for out in work.of("disparity"):
        save_depth(
            out.path, disparity, quantity="disparity", metadata=about, plate=work.loaded.plate, half=job.exr_half
        )
    anchors, lens = shot.anchors(result) if job.anchors else None, work.lens.seen_by(result)
    shape_wanted = work.has_geometry or bool(job.normal_maps)
    estimate = shot.estimate(result) if anchors else None
    scale = shot.scale(result, work.photo.name, job, lens, assume=shape_wanted, photo=work.photo.path)
    if scale is None:
        return WrittenMaps(None, None, lens, anchors, estimate, result.tiles, result.timings, about, result.notes)
    about |= {"scale": scale.summary(), "lens": lens.summary()}
    depth = result.depth
    if depth is None or scale.scale_shift is not result.scale_shift:
        depth = scale.depth(disparity, far_m=job.far_m, sky=result.sky)
    for out in work.of("depth"):
        save_depth(
            out.path,
            depth,
            quantity="depth",
            metadata=about,
            plate=work.loaded.plate,
            channel=job.channel,
            half=job.exr_half,
            far_m=job.exr_far_m,
            step_m=png_step_of(job),
        )
    if wanted := work.of("normals"):
        normals = depth_to_normals(depth, lens.intrinsics, edge_rtol=job.edge_rtol)
        for out in wanted:
            save_normals(out.path, normals, y=job.normal_y, metadata=about, plate=work.loaded.plate)
        del normals
    scale = replace(scale, warnings=scale.warnings + _png_notes(depth, work))
    return WrittenMaps(depth, scale, lens, anchors, estimate, result.tiles, result.timings, about, result.notes)


def _png_notes(depth: FloatMap, work: PhotoWork) -> tuple[str, ...]:
    """What has to be known of the depth in 16-bit PNG by those who read it elsewhere."""
    if not any(out.format == "png16" for out in work.of("depth")):
        return ()
    step = png_step_of(work.job.options)
    notes: tuple[str, ...] = ()
    if step != png_step(0):
        notes += (
            f"PNG depth has a step of {step * 1000:g} mm: give other programs the depth scale {1 / step:g} (numbers a "
            "metre), not 1000.",
        )
    reach = png_reach(step)
    with np.errstate(invalid="ignore"):
        beyond = np.isfinite(depth) & (depth > reach)
    if beyond.any():
        notes += (
            f"{beyond.mean():.1%} of the picture lies farther than the {reach:.1f} m that PNG depth reaches, and is 0 "
            "(none) there; EXR and NPZ have no such end.",
        )
    return notes


def _stride(depth: FloatMap, job: JobOptions) -> int:
    return max(1, math.ceil(math.sqrt(depth.size / _AUTO_POINTS))) if job.stride == "auto" else job.stride


def write_geometry(maps: WrittenMaps, work: PhotoWork) -> int | None:
    """Write clouds, meshes and pages; the depth is changed in place. Gives pixels per point, None if none.

    Raises:
        ProEngineError: a mask does not fit, nothing is left, or a file cannot be written.
    """
    if not work.has_geometry or maps.scale is None or maps.depth is None:
        return None
    stride = _stride(maps.depth, work.job.options)
    write_shapes(
        maps.depth,
        work.image,
        None if maps.lens.sphere else maps.lens.intrinsics,
        name=work.photo.name,
        far_m=maps.scale.far_m,
        stride=stride,
        job=work.job.options,
        outputs=work.outputs,
        about={**maps.about, "notes": list(notes_of(maps, work))},
    )
    return stride


def notes_of(maps: WrittenMaps, work: PhotoWork) -> tuple[str, ...]:
    """What was found or assumed on the way, a sentence each."""
    notes = work.loaded.notes + maps.notes + (() if maps.scale is None else maps.scale.warnings)
    said = work.loaded.panorama
    if maps.lens.sphere:
        why = "" if said is None else f" ({said.reason})"
        notes += (f"It is a whole panorama{why}: depth is the distance along each ray.",)
        if any(out.kind == "mesh" for out in work.outputs) and work.job.options.surface == "layers":
            notes += ("The mesh of a panorama is torn at outlines; layers are for photos.",)
    elif said is not None:
        notes += (f"It is a panorama ({said.reason}): metres and the lens are those of no camera.",)
    if work.has_geometry and maps.lens.source == "assumed" and work.loaded.intrinsics is None:
        notes += (
            f"The lens is unknown: assumed {GeometryOptions.fov_x_deg:g} degrees across the longer side; give --fov or "
            "--focal-35mm.",
        )
    if maps.scale is not None and maps.lens.source == "model":
        fov_x_deg = maps.lens.intrinsics.fov_x_deg
        notes += (
            f"The lens is unknown: the model estimates {fov_x_deg:.0f} degrees across the width; give --fov or "
            "--focal-35mm if you know it.",
        )
    return notes
