"""Where one photo's metres and lens come from, and what to tell people when they are only assumed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from pro_engine.errors import InputError, ScaleUnknownError
from pro_engine.geometry.depth import (
    AGREEMENT_RATIO,
    SPAN_REACH,
    fit_scale_shift,
    range_scale_shift,
    span_scale_shift,
)
from pro_engine.geometry.known import Measured, fit_known
from pro_engine.geometry.sparse import SparseFit
from pro_engine.inference.resize import resized
from pro_engine.inference.video import ScaleHold
from pro_engine.jobs.metres import PhotoLens, PhotoScale
from pro_engine.jobs.options import JobOptions
from pro_engine.jobs.panorama import ONE_UNIT, is_whole_panorama, panorama_scale
from pro_engine.jobs.points import fit_to_points, has_points, is_reconstruction, view_of
from pro_engine.jobs.scale_ground import ground_scale
from pro_engine.jobs.sensor import Sensor, read_sensor
from pro_engine.options import GeometryOptions
from pro_engine.types import BoolMap, DepthResult, FloatMap, ImageArray, Intrinsics, LoadedPhoto, ScaleShift

_MAX_FIT_SAMPLES = 2_000_000
_FEW_INLIERS = 0.5
_SENSOR_REACH = 3.0  # a mesh scaled by a sensor ends at this many times the farthest reading
_METRIC_FAR_M = 200.0
_DISAGREE = 0.1
_SCALE_ALONE = (
    "One distance tells no shift: the farthest surface counts as infinitely far; give one more at another depth."
)
_ASSUMED_LENS = (
    f"The model's metres depend on the lens, which is unknown: {GeometryOptions.fov_x_deg:g} degrees are assumed, so "
    "distances may be off by a factor; give --fov or --focal-35mm."
)


def find_lens(photo: LoadedPhoto, job: JobOptions, path: Path) -> PhotoLens:
    """The lens that the job names, or the reconstruction it aligns to, else the photo's own, else 55 degrees across
    the longer side.

    A photo that lies on a plate has the lens of the plate: its field of view is the plate's, its axis in the middle.
    """
    height, width = photo.image.shape[:2]

    def seen(make: Callable[[int, int], Intrinsics]) -> Intrinsics:
        return make(width, height) if photo.plate is None else photo.plate.lens(make)

    if is_whole_panorama(photo, job, path):
        return PhotoLens(_assumed(width, height), "given", sphere=True)
    if job.fov_x_deg is not None:
        return PhotoLens(seen(partial(Intrinsics.from_fov, fov_x_deg=job.fov_x_deg)), "given")
    if job.focal_35mm is not None:
        return PhotoLens(seen(partial(Intrinsics.from_focal_35mm, focal_35mm=job.focal_35mm)), "given")
    if job.align is not None and is_reconstruction(job.align):
        lens = view_of(job.align, path, width, height).lens
        return PhotoLens(lens.pinhole, "given", None if lens.is_pinhole else lens)
    if photo.intrinsics is not None:
        return PhotoLens(photo.intrinsics, "exif" if photo.lens_is_sure else "assumed")
    return PhotoLens(seen(_assumed), "assumed")


def _assumed(width: int, height: int) -> Intrinsics:
    focal_px = max(width, height) / (2 * math.tan(math.radians(GeometryOptions.fov_x_deg) / 2))
    return Intrinsics(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, width, height)


def find_scale(
    result: DepthResult, name: str, job: JobOptions, lens: PhotoLens, *, assume: bool, photo: Path | None = None
) -> PhotoScale | None:
    """The photo's scale: from the sensor, the ground, the range or a metric model; assumed if `assume` says so; else
    None.

    Raises:
        ScaleUnknownError: the metres of the model are asked for, and it gives none, or none without a lens.
        FileError, InputError: a sensor depth that cannot be read or does not fit; too little ground in view; a picture
            without contrast.
    """
    own = result.scale_shift
    if job.scale_from == "metric":
        if own is None:
            raise ScaleUnknownError(no_metres(result.model))
        if own.source == "assumed":
            raise ScaleUnknownError(
                f"Model {result.model} needs the lens for metres and the photo tells none; give --fov or --focal-35mm."
            )
        return PhotoScale(own, job.far_m or _METRIC_FAR_M)
    if job.align is not None and has_points(job.align, name):
        return _points_scale(
            fit_to_points(_surfaces(result), job.align, name, lens.intrinsics, photo or Path(name)), job
        )
    if job.align is not None:
        height, width = result.disparity.shape
        return _sensor_scale(result, read_sensor(job.align, name, job, (height, width)), job)
    if job.camera_height_m is not None and lens.sphere:
        return panorama_scale(result, job.camera_height_m, job)
    if job.camera_height_m is not None:
        return ground_scale(result, job, lens, job.camera_height_m)
    if measured := job.measured():
        return _known_scale(result, job, lens, measured)
    if job.near_m is not None and job.far_m is not None:
        return PhotoScale(_range(result, job.near_m, job.far_m, job), job.far_m, job.near_m)
    if own is not None:
        guessed = (_ASSUMED_LENS,) if own.source == "assumed" else ()
        return PhotoScale(own, _METRIC_FAR_M, warnings=guessed)
    if not assume:
        return None
    if lens.sphere:
        return panorama_scale(result, None, job)
    if result.span_m is not None:
        return _estimated_scale(result, result.span_m, job)
    link = replace(_range(result, GeometryOptions.near_m, GeometryOptions.far_m, job), source="assumed")
    text = (
        f"The scale is unknown: assumed nearest surface {GeometryOptions.near_m:g} m, farthest "
        f"{GeometryOptions.far_m:g} m; give --near and --far, or --align."
    )
    return PhotoScale(link, GeometryOptions.far_m, GeometryOptions.near_m, (text,))


def no_metres(model: str) -> str:
    """What to do where metres are asked of a model that gives none."""
    return (
        f"Model {model} gives no metres; choose one that does (`pro-engine models` lists them), or give near and far, "
        "or sensor depth to align to."
    )


def find_anchors(disparity: FloatMap, sky: BoolMap | None = None) -> dict[str, float] | None:
    """Disparity of the nearest surface, of the farthest, and of the farthest in front of sky; None without contrast.

    sky: (H, W) bool where the model tells it; else an even far end counts as such.
    Any range of metres gives a scale through them: near_m and far_m give (1 / near_m - 1 / far_m) / (near - far).
    """

    surfaces = None if sky is None else ~sky

    def ends(cut_plateau: bool) -> tuple[float, float]:
        valid, cut = (surfaces, False) if cut_plateau and surfaces is not None else (None, cut_plateau)
        link = range_scale_shift(disparity, near_m=1.0, far_m=2.0, valid=valid, cut_plateau=cut)
        return (1.0 - link.shift) / link.scale, (0.5 - link.shift) / link.scale

    try:
        (near, far), (_, before_sky) = ends(False), ends(True)
    except InputError:  # no contrast
        return None
    return {"near": near, "far": far, "far_before_sky": before_sky}


class Written(NamedTuple):
    """What an earlier job left of a frame: the picture that the model saw, the map, the scale if there was one, and the
    lens if it was the model's."""

    image: ImageArray
    disparity: FloatMap
    scale: PhotoScale | None
    lens: PhotoLens | None = None


class ShotTurn(NamedTuple):
    """What `ShotScale.held` leaves for `begin`: cuts so far; of a frame behind skipped ones the scale of the last."""

    cuts: int
    resumed: bool
    scale: PhotoScale | None


class ShotScale:
    """What the frames of one shot share: the scale of their maps, their anchors, the lens and, but for sensors, their
    metres.

    Frames go through `skip`, `lens` and `held` in their order as they are inferred, and through `begin`, `scale` and
    `anchors` in their order as they are written, which may be in another thread.
    """

    def __init__(self) -> None:
        self._hold = ScaleHold()
        self._skipped: Callable[[], Written] | None = None
        self._cuts = 0
        self._scale: PhotoScale | None = None
        self._lens: PhotoLens | None = None
        self._anchors: dict[str, float] | None = None
        self._estimate: dict[str, float] | None = None

    @property
    def cuts(self) -> int:
        """How often the shot began anew up to the frame that is written."""
        return self._cuts

    def skip(self, read: Callable[[], Written]) -> None:
        """Pass over the next frame, which is done already; `read` is called if one comes after it that is not."""
        self._skipped = read

    def lens(self, found: PhotoLens) -> PhotoLens:
        """The lens of the next frame: as it was found, or where that is assumed what the model gave for the first frame
        of this size. Raises FileError: the frame before it was skipped, and cannot be read."""
        if found.source == "assumed" and self._lens is None and self._skipped is not None:
            written = self._skipped()
            self._skipped, self._lens = (lambda: written), written.lens
        if found.source != "assumed" or self._lens is None:
            return found
        sizes = [(one.intrinsics.width, one.intrinsics.height) for one in (self._lens, found)]
        return self._lens if sizes[0] == sizes[1] else found

    def held(self, image: ImageArray, result: DepthResult) -> tuple[DepthResult, ShotTurn]:
        """The result of the next frame on the scale of those before it, and what `begin` is to be told."""
        resumed, scale = self._skipped is not None, None
        if self._skipped is not None:
            written, self._skipped = self._skipped(), None
            scale = written.scale
            link = None if scale is None else scale.scale_shift
            self._hold.resume(written.image, written.disparity, link if result.depth is not None else None)
        if result.lens_source == "model" and result.intrinsics is not None:
            self._lens = PhotoLens(result.intrinsics, "model")
        # A sensor's metres need no frame before.
        if result.scale_shift is None or result.scale_shift.source != "fitted":
            result = self._hold.apply(image, result)
        return result, ShotTurn(self._hold.cuts, resumed, scale)

    def begin(self, turn: ShotTurn) -> None:
        """Before `scale` and `anchors` of a frame."""
        if turn.resumed:
            self._scale = turn.scale
        if turn.cuts != self._cuts:
            self._cuts, self._scale, self._anchors, self._estimate = turn.cuts, None, None, None

    def scale(
        self,
        result: DepthResult,
        name: str,
        job: JobOptions,
        lens: PhotoLens,
        *,
        assume: bool,
        photo: Path | None = None,
    ) -> PhotoScale | None:
        """As `find_scale`; a range and the ground are those of the first frame, as what is in view changes later."""
        if self._scale is None or job.align is not None or result.scale_shift is not None:
            self._scale = find_scale(result, name, job, lens, assume=assume, photo=photo)
        return self._scale

    def anchors(self, result: DepthResult) -> dict[str, float] | None:
        """As `find_anchors`; those of the first frame that has any."""
        self._anchors = self._anchors or find_anchors(result.disparity, result.sky)
        return self._anchors

    def estimate(self, result: DepthResult) -> dict[str, float] | None:
        """How far the nearest surface of the anchors is, and the farthest in front of a sky, in metres, as a model
        without metres estimates it; that of the first frame that has any."""
        if self._estimate is None and self._anchors is not None and result.span_m is not None:
            try:
                link, limit = _estimated_link(result, result.span_m), SPAN_REACH * result.span_m[1]
            except InputError:  # no contrast but for a few pixels
                return None
            ends = (1 / (link.scale * self._anchors[name] + link.shift) for name in ("near", "far_before_sky"))
            near, far = (end if 0 < end < limit else limit for end in ends)
            self._estimate = {"near_m": near, "far_m": far}
        return self._estimate


def _range(result: DepthResult, near_m: float, far_m: float, job: JobOptions) -> ScaleShift:
    """A sky that the model tells is no surface; without one an even far end may be taken for it."""
    surfaces = None if result.sky is None or job.keep_background else ~result.sky
    cut = surfaces is None and not job.keep_background
    return range_scale_shift(result.disparity, near_m, far_m, surfaces, cut_plateau=cut)


def _estimated_scale(result: DepthResult, span_m: tuple[float, float], job: JobOptions) -> PhotoScale:
    """Metres as a model without metres estimates them."""
    near_m, far_m = span_m
    near, far = (f"{float(f'{end:.2g}'):g}" for end in span_m)  # 140, not 1.4e+02
    text = (
        f"The scale is the model's estimate: nearest surface about {near} m, farthest about {far} m; sizes "
        "may be off by a factor of two. Give --near and --far, or --align."
    )
    return PhotoScale(_estimated_link(result, span_m), job.far_m or SPAN_REACH * far_m, near_m, (text,))


def _estimated_link(result: DepthResult, span_m: tuple[float, float]) -> ScaleShift:
    return span_scale_shift(result.disparity, *span_m, None if result.sky is None else ~result.sky)


def _known_scale(result: DepthResult, job: JobOptions, lens: PhotoLens, measured: list[Measured]) -> PhotoScale:
    """Metres from distances and lengths."""
    rays, link = (None, ONE_UNIT) if lens.sphere else (lens.intrinsics, result.scale_shift)
    found = fit_known(_surfaces(result), rays, measured, link)
    told = f"The distances and lengths contradict each other or the map by up to {found.worst:.0%}."
    warnings = (told,) if found.worst > _DISAGREE else ()
    alone = not found.shift_is_known and link is None
    return PhotoScale(
        found.scale_shift, job.far_m or _METRIC_FAR_M, None, warnings + ((_SCALE_ALONE,) if alone else ())
    )


def _surfaces(result: DepthResult) -> FloatMap:
    """The disparity without the sky: what anything tells of metres there is no surface either."""
    return result.disparity if result.sky is None else np.where(result.sky, np.float32(np.nan), result.disparity)


def _points_scale(fit: SparseFit, job: JobOptions) -> PhotoScale:
    """Metres from sparse points."""
    warnings: tuple[str, ...] = ()
    if fit.scale_shift.inlier_share < _FEW_INLIERS:
        warnings += (f"Only {fit.scale_shift.inlier_share:.0%} of {fit.points} points agree with the map.",)
    depth = fit.held_out[fit.used]
    far_m = job.far_m or _SENSOR_REACH * float(np.percentile(depth, 99))
    return PhotoScale(fit.scale_shift, far_m, float(depth.min()), warnings, fit)


def _sensor_scale(result: DepthResult, sensor: Sensor, job: JobOptions) -> PhotoScale:
    """Metres from a sensor: fitted to it robustly, or those of a model that was told it."""
    disparity, depth, path = _surfaces(result), sensor.depth, sensor.path
    if depth.size > disparity.size:
        h, w = disparity.shape
        depth = np.asarray(cv2.resize(depth, (w, h), interpolation=cv2.INTER_NEAREST), dtype=np.float32)
    elif depth.shape != disparity.shape:
        disparity = resized(disparity, (depth.shape[0], depth.shape[1]))
    usable = np.isfinite(depth) & (depth > 0) & np.isfinite(disparity)
    d, z = disparity[usable], depth[usable]  # one row of samples: a sparse sensor has few among many pixels
    step = max(1, math.ceil(z.size / _MAX_FIT_SAMPLES))
    if z.size == 0:
        raise InputError(f"{path} has no pixel with a depth above 0; check its unit (metres).")
    told = result.scale_shift
    if told is None or told.source != "fitted":
        link, what = fit_scale_shift(d[None, ::step], z[None, ::step]), "the fitted scale"
    else:
        link, what = replace(told, inlier_share=float(_agree(d[::step], z[::step], told).mean())), "the model"
    warnings: tuple[str, ...] = ()
    if not sensor.unit_is_known:
        warnings += (f"{path} does not say its unit: taken as metres.",)
    if link.inlier_share < _FEW_INLIERS:
        warnings += (f"Only {link.inlier_share:.0%} of the sensor's samples agree with {what}; check {path}.",)
    return PhotoScale(
        link, _reach(d[::step], z[::step], link) if job.far_m is None else job.far_m, float(z.min()), warnings
    )


def _reach(disparity: FloatMap, depth: FloatMap, link: ScaleShift) -> float:
    """Where the mesh of a photo ends that a sensor scales: beyond its farthest readings, but for those that do not fit.

    Readings that stand for no surface, such as the largest number of a sensor or the background of a renderer, would
    carry it away.
    """
    agree = _agree(disparity, depth, link)
    return _SENSOR_REACH * float(np.percentile(depth[agree] if agree.any() else depth, 99))


def _agree(disparity: FloatMap, depth: FloatMap, link: ScaleShift) -> BoolMap:
    """Which readings agree with the metres of a link."""
    fitted = (link.scale * disparity + link.shift) * depth  # 1 where they are the same
    return np.asarray((fitted < AGREEMENT_RATIO) & (fitted > 1 / AGREEMENT_RATIO))
