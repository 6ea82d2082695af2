# SPDX-License-Identifier: GPL-3.0-or-later
"""From what the engine found and what the user asked for to a rig in the scene, and again from what a rig keeps.

A `Recipe` holds plain values only: taken when a run starts, it stays what it is whatever happens in Blender meanwhile.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import bpy
import mathutils
import numpy as np

from ..engine.run import MAX_PIXELS, EngineOptions, PhotoDepth
from ..errors import UserError
from ..maths.layers import with_dome
from ..maths.lens import LensOptions
from ..maths.mesh import Estimate, Intrinsics, MeshOptions, estimate_of, open_cells, ray_slopes
from ..maths.scale import SKY_CHOICES, Anchors, DepthScale, disparity_to_depth, place_sky, read_map, scale_of_distance
from ..maths.scale import scale_of_range as range_scale
from ..maths.simplify import FloatMap, cell_corners
from ..options import Checked, option, same_as
from .build import FRAME_KEY, PHOTO_KEY, SOURCE_KEY, Built, build, parts_of
from .build import rebuild as build_again
from .datablocks import has, read_float_image
from .surface_kinds import BuildOptions

# on the rig: what the engine knew of the photo
ANCHORS_KEY, EXIF_KEY, METRIC_KEY = "pro_anchors", "pro_exif", "pro_metric"
SOURCES_KEY = "pro_sources"  # of lens and metres, as the engine says
BUILT_KEY = "pro_built"  # the lens in pixels and the metres of what is built, as JSON
RANGE = "range_m"  # in it: distances of the nearest and of the farthest surface, null for metres of the model
TOLD_KEY = "pro_told"  # where lens and metres of what is built came from, for the panel
SCALE_CHOICES = ("NEAR_FAR", "POINT", "METRIC")
KEPT_CHOICES = ("FAR", "NEAR")
UNKNOWN, SKY = 0.0, 0.5  # in the mask of the engine's map, which is 1 elsewhere
PLATES = (".exr", ".hdr")  # files that hold more than a screen shows, and are never turned
BANDS, BAND_ROWS = 16, 24  # of a map of which the vertices are counted by samples


@dataclass(frozen=True)
class ScaleChoice(Checked):
    """How the engine's numbers become metres, and what becomes of the sky. UserError: distances that are none."""

    by: str = option("NEAR_FAR", "Which distances are known", label="Scale from", choices=SCALE_CHOICES)
    near_m: float = same_as("GeometryOptions.near_m", help="Distance of the nearest surface in the photo", label="Near")
    far_m: float = same_as(
        "GeometryOptions.far_m",
        default=3.0,  # three times near: too little looks like a relief, too much like needles; a slider moves it
        help="Distance of the farthest surface in the photo; what lies beyond is sky",
        label="Far",
    )
    point: tuple[int, int] = option(
        (0, 0), "Pixel of the photo whose distance is known, from its top left corner", label="Point", minimum=0
    )
    distance_m: float = option(5.0, "Distance of that pixel along the camera's axis of view", label="Distance", above=0)
    kept: str = option("FAR", "Which end stays where it is", label="Keep", choices=KEPT_CHOICES)
    sky: str = same_as(
        "GeometryOptions.sky",
        default="drop",  # a render shows the world of the scene there
        help="What becomes of what lies beyond Far",
        label="Sky",
        choices=SKY_CHOICES,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.far_m < math.inf and (self.by == "METRIC" or 0 < self.near_m < self.far_m)):
            raise UserError(f"Near is {self.near_m:g} m and far {self.far_m:g} m; give 0 < near < far.")
        if self.by == "POINT" and not 0 < self.distance_m < math.inf:
            raise UserError(f"The distance of the point is {self.distance_m:g} m; give a number above 0.")


@dataclass(frozen=True)
class Recipe:
    """All that a run and its result depend on."""

    engine: EngineOptions = field(default_factory=EngineOptions)
    build: BuildOptions = field(default_factory=BuildOptions)
    lens: LensOptions = field(default_factory=LensOptions)
    scale: ScaleChoice = field(default_factory=ScaleChoice)


class Source(NamedTuple):
    """What the engine said of a photo.

    `disparity` is (H, W), `metres` too, or None if the model knows none; `anchors` None for a photo without contrast;
    `exif` (fx, fy, cx, cy) in pixels, or None if neither the photo nor the model tells; `lens_source` and
    `scale_source` (of `metres`) in the engine's words, "" where it says none.
    """

    disparity: FloatMap
    metres: FloatMap | None
    anchors: dict[str, float] | None
    exif: tuple[float, float, float, float] | None
    lens_source: str = ""
    scale_source: str = ""
    own: DepthScale | None = None  # of `metres`, where they follow from the disparity but for the sky

    @classmethod
    def of_result(cls, result: PhotoDepth) -> Source:
        """From the engine's files. UserError: they are gone, or not of the size that was told."""
        maps = [None if path is None else read_map(path) for path in (result.disparity, result.depth)]
        for values in maps:
            if values is not None and values.shape != (result.height, result.width):
                raise UserError(
                    f"The depth map of {result.photo.name} has the shape {values.shape} instead of "
                    f"{(result.height, result.width)}; press Estimate again."
                )
        anchors = dict(result.anchors) if result.anchors else None
        disparity, metres = maps
        own = None if metres is None or result.scale is None else DepthScale(*result.scale)
        if own is not None and not _follows(metres, disparity, own):
            own = None
        return cls(disparity, metres, anchors, result.intrinsics, result.lens_source, result.scale_source, own)

    @classmethod
    def of_rig(cls, rig: bpy.types.Object) -> Source:
        """From the images that a rig keeps. UserError: they are gone."""
        image = rig.get(SOURCE_KEY)
        if image is None:
            raise UserError(f"{rig.name} does not keep the engine's map; press Estimate again.")
        pixels = read_float_image(image)
        disparity, metres, mask = (np.ascontiguousarray(pixels[..., k]) for k in (0, 1, 3))
        disparity[mask == UNKNOWN] = np.nan
        anchors, exif, metric = rig.get(ANCHORS_KEY), rig.get(EXIF_KEY), rig.get(METRIC_KEY)
        lens_source, _, scale_source = str(rig.get(SOURCES_KEY, "|")).partition("|")
        own = DepthScale(*metric) if hasattr(metric, "__len__") else None
        if own is not None:
            metres = np.where(mask == SKY, np.float32(np.inf), own.depth(disparity))
        metres[metres == 0] = np.nan
        return cls(
            disparity,
            None if metric is None else metres,
            None if anchors is None else dict(zip(Anchors._fields, anchors, strict=True)),
            None if exif is None else tuple(exif),
            lens_source,
            scale_source,
            own,
        )

    def kept(self) -> FloatMap:
        """What a rig keeps, without any NaN: (H, W) disparity; (H, W, 2) with a mask, if anything is unknown or is the
        model's sky; (H, W, 4) with metres between them that do not follow from the disparity.
        """
        mask = np.where(np.isnan(self.disparity), np.float32(UNKNOWN), np.float32(1))
        disparity = np.where(mask == UNKNOWN, np.float32(0), self.disparity)
        if self.metres is not None and self.own is None:
            metres = np.where(np.isnan(self.metres), np.float32(0), self.metres)
            return np.dstack([disparity, metres, metres, mask])
        if self.metres is not None and self.own is not None:
            mask[np.isposinf(self.metres) & np.isfinite(self.own.depth(self.disparity))] = SKY
        return disparity if (mask == 1).all() else np.dstack([disparity, mask])

    def rows(self, part: slice) -> Source:
        """Some rows of the maps; anchors and lens are those of the photo."""
        return self._replace(disparity=self.disparity[part], metres=None if self.metres is None else self.metres[part])

    def scale(self, choice: ScaleChoice) -> DepthScale | None:
        """From the whole map; None for metres of the model. UserError: the distances fit no scale."""
        if choice.by == "METRIC":
            if self.metres is None:
                raise UserError("This model gives no metres; choose Near/Far or a point under Scale.")
            return None
        anchors, has_sky = Anchors.of(self.anchors), choice.sky != "keep"
        if choice.by == "NEAR_FAR":
            return range_scale(anchors, choice.near_m, choice.far_m, has_sky=has_sky)
        (column, row), (height, width) = choice.point, self.disparity.shape
        if not (0 <= column < width and 0 <= row < height):
            raise UserError(f"The point {column}, {row} is outside the photo of {width}x{height}; pick another.")
        ends = {"far_m": choice.far_m} if choice.kept == "FAR" else {"near_m": choice.near_m}
        at_point = float(self.disparity[row, column])
        return scale_of_distance(anchors, at_point, choice.distance_m, has_sky=has_sky, **ends)

    def ends(self, choice: ScaleChoice, scale: DepthScale) -> tuple[float, float]:
        """Metres of the nearest and of the farthest surface."""
        anchors = Anchors.of(self.anchors)
        return scale.distance(anchors.near), scale.distance(anchors.farthest(choice.sky != "keep"))

    def told(self, recipe: Recipe) -> str:
        """Where metres and lens come from, in the words of the engine."""
        scale = self.scale_source if recipe.scale.by == "METRIC" else "given"
        lens = (self.lens_source or "assumed") if recipe.lens.source == "EXIF" else "given"
        return f"Metres: {scale}, lens: {lens}"

    def doubts(self, recipe: Recipe) -> str:
        """What the user has to know of a lens or of metres that are guesses of the engine; "" if nothing."""
        found = []
        if recipe.lens.source == "EXIF" and self.lens_source == "model" and self.exif is not None:
            fov_deg = math.degrees(2 * math.atan(self.disparity.shape[1] / 2 / self.exif[0]))
            found.append(f"The photo does not tell its lens, the model estimates {fov_deg:.0f}°.")
        if recipe.scale.by == "METRIC" and self.scale_source == "assumed":
            found.append("The model's metres follow from an assumed lens: sizes may be off by a factor.")
        return " ".join(found)

    def depth(self, choice: ScaleChoice, scale: DepthScale | None, lens: Intrinsics | None = None) -> FloatMap:
        """(H, W) metres, by a scale of `scale`; a dome needs the lens and is a card without."""
        far_m = choice.far_m
        if scale is not None and choice.by == "POINT" and choice.kept == "NEAR":
            far_m = scale.distance(Anchors.of(self.anchors).farthest(choice.sky != "keep"))
        sky = "card" if choice.sky == "dome" and lens is None else choice.sky
        if scale is None:
            assert self.metres is not None
            depth = place_sky(self.metres, far_m, sky=sky)
        else:
            depth = disparity_to_depth(self.disparity, scale, far_m, sky=sky)
        if sky != "dome" or lens is None:
            return depth
        x, y = ray_slopes(lens, *(np.arange(n) for n in depth.shape))
        return with_dome(depth, np.isposinf(depth), far_m, x, y)


def _follows(metres: FloatMap, disparity: FloatMap, own: DepthScale) -> bool:
    """Whether metres are those of a scale, bit for bit, but for a sky that is infinitely far."""
    there = own.depth(disparity)
    return bool(np.all((metres == there) | np.isposinf(metres) | (np.isnan(metres) & np.isnan(there))))


class Placed(NamedTuple):
    """A rig, what it was made of, and a sentence about what had to be guessed ("" if nothing)."""

    built: Built
    source: Source
    note: str


def place(scene: bpy.types.Scene, result: PhotoDepth, recipe: Recipe, plate: bpy.types.Image | None = None) -> Placed:
    """A new rig of a photo in a scene, named after its file; either all of it or, after an error, nothing.

    Args:
        scene: where it goes.
        result: of the engine.
        recipe: of the run.
        plate: the image of the .blend that the photo was written from, if it was.

    Raises:
        UserError: files are gone, the distances or the lens do not fit the photo, or no face is left.
    """
    if scene.library is not None:
        raise UserError(f"The scene {scene.name} comes from another file; make it local, or choose another scene.")
    source = Source.of_result(result)
    intrinsics, note = recipe.lens.intrinsics(result.width, result.height, source.exif)
    built = build(
        scene,
        name=result.photo.stem,
        photo=result.picture,
        depth=source.depth(recipe.scale, source.scale(recipe.scale), intrinsics),
        intrinsics=intrinsics,
        options=recipe.build,
        sensor_mm=recipe.lens.sensor_width_mm(result.width, result.height),
        source=source.kept(),
        plate=result.photo if plate is None and result.photo.suffix.lower() in PLATES else plate,
    )
    if source.anchors is not None:
        built.rig[ANCHORS_KEY] = [source.anchors[key] for key in Anchors._fields]
    if source.metres is not None:
        built.rig[METRIC_KEY] = True if source.own is None else list(source.own)
    if source.exif is not None:
        built.rig[EXIF_KEY] = list(source.exif)
    built.rig[SOURCES_KEY] = f"{source.lens_source}|{source.scale_source}"
    _note_built(built.rig, recipe, source, intrinsics)
    note = f"{note} {source.doubts(recipe)}".strip()
    stand_at(built.rig, recipe.lens)
    if result.reduced:
        note = f"{note} It was reduced to {result.width}x{result.height}: Blender keeps no larger map.".lstrip()
    return Placed(built, source, note)


def rebuild(scene: bpy.types.Scene, rig: bpy.types.Object, recipe: Recipe) -> Placed:
    """A rig anew from what it keeps, without the engine; either all of it or, after an error, nothing.

    Raises:
        UserError: something that the rig keeps is gone, the distances or the lens do not fit the photo, or no face is
            left.
    """
    parts_of(rig)
    source = Source.of_rig(rig)
    height, width = source.disparity.shape
    intrinsics, note = recipe.lens.intrinsics(width, height, source.exif)
    depth = source.depth(recipe.scale, source.scale(recipe.scale), intrinsics)
    sensor_mm = recipe.lens.sensor_width_mm(width, height)
    built = build_again(scene, rig, depth=depth, intrinsics=intrinsics, options=recipe.build, sensor_mm=sensor_mm)
    _note_built(rig, recipe, source, intrinsics)
    stand_at(rig, recipe.lens)
    return Placed(built, source, f"{note} {source.doubts(recipe)}".strip())


def _note_built(rig: bpy.types.Object, recipe: Recipe, source: Source, lens: Intrinsics) -> None:
    """Note on a rig what it was built with."""
    rig[TOLD_KEY] = source.told(recipe)
    scale = source.scale(recipe.scale)
    ends = None if scale is None else source.ends(recipe.scale, scale)
    rig[BUILT_KEY] = json.dumps({"lens": asdict(lens), "scale": asdict(recipe.scale), RANGE: ends})


def built_with(rig: bpy.types.Object) -> tuple[Intrinsics, ScaleChoice]:
    """The lens and the metres with which a rig was built last. UserError: it does not tell."""
    if not has(rig, BUILT_KEY):
        raise UserError(f"{rig.name} has no map of one photo: a shot has none, and others need Rebuild.")
    told = json.loads(rig[BUILT_KEY])
    return Intrinsics(**told["lens"]), ScaleChoice(**{**told["scale"], "point": tuple(told["scale"]["point"])})


def depth_of(rig: bpy.types.Object) -> FloatMap:
    """(H, W) metres of what is built, NaN where there is nothing. UserError: the rig lacks the engine's map."""
    lens, choice = built_with(rig)
    source = Source.of_rig(rig)
    return source.depth(choice, source.scale(choice), lens)


def stand_at(rig: bpy.types.Object, lens: LensOptions) -> None:
    """Put the rig where the camera is from which the lens was taken, so that both see the same."""
    if lens.source == "CAMERA" and lens.camera is not None:
        numbers = lens.camera.world_from_camera
        world_from_camera = mathutils.Matrix([numbers[k : k + 4] for k in range(0, 16, 4)])
        place, turn, _ = world_from_camera.decompose()
        rig.matrix_world = mathutils.Matrix.LocRotScale(place, turn, rig.scale)


def rig_of(thing: bpy.types.Object | None) -> bpy.types.Object | None:
    """The rig that an object is or belongs to, if any."""
    while thing is not None and not has(thing, PHOTO_KEY):
        thing = thing.parent
    return thing


def camera_of_rig(rig: bpy.types.Object) -> bpy.types.Object | None:
    """Its camera, if it is still there."""
    return next((child for child in rig.children if has(child, FRAME_KEY) and child.type == "CAMERA"), None)


def pixel_of(rig: bpy.types.Object, place: mathutils.Vector) -> tuple[int, int]:
    """The pixel of the photo, column and row, at which a rig's camera sees a place in the world.

    Raises:
        UserError: the camera is gone, or does not see the place.
    """
    camera = camera_of_rig(rig)
    if camera is None:
        raise UserError(f"The camera of {rig.name} is gone; press Estimate again.")
    x, y, z = (camera.matrix_world.inverted_safe() @ place).to_tuple()
    width, height, aspect_x, aspect_y = camera[FRAME_KEY]
    data, ratio = camera.data, aspect_y / aspect_x
    focal_px = data.lens / data.sensor_width * width
    if z >= 0:
        raise UserError("The 3D cursor is behind the camera; put it on the surface (Shift + right mouse button).")
    column = width * (0.5 - data.shift_x) - focal_px * x / z
    row = height * 0.5 + (data.shift_y * width + focal_px * y / z) / ratio
    if not (0 <= column < width and 0 <= row < height):
        raise UserError("The camera does not see the 3D cursor; put it on the surface (Shift + right mouse button).")
    return int(column), int(row)


def estimate_before(width: int, height: int, options: BuildOptions) -> Estimate:
    """What a photo of this size takes at most: nobody knows yet what is sky or torn."""
    pixels = min(width * height, MAX_PIXELS)
    vertices = 4 if options.kind == "adaptive" else min(options.mesh.vertices or pixels, pixels)
    return estimate_of(vertices, pixels, extra_maps=1 + (options.kind != "mesh"))


def estimate_again(source: Source, recipe: Recipe) -> Estimate:
    """What `rebuild` will take. Of large maps the vertices are counted in bands of rows.

    Raises:
        UserError: the distances do not fit the photo.
    """
    height, width = source.disparity.shape
    options = recipe.build
    if options.kind == "adaptive":
        return estimate_before(width, height, options)
    scale = source.scale(recipe.scale)
    seen = used = 0
    for rows, inner in _bands(height, options.mesh):
        depth = source.rows(rows).depth(recipe.scale, scale)
        corners = cell_corners(open_cells(depth, options.mesh))[inner]
        seen, used = seen + len(corners), used + int(np.count_nonzero(corners))
    whole = round(used * height / seen)
    return estimate_of(
        min(options.mesh.vertices or whole, whole), width * height, extra_maps=1 + (options.kind != "mesh")
    )


def _bands(height: int, options: MeshOptions) -> list[tuple[slice, slice]]:
    """Rows to look at, and which of those to count: away from the edges, where erosion is not whole."""
    margin = options.erode_px + 1
    step = height / BANDS
    if step <= BAND_ROWS + 2 * margin:
        return [(slice(0, height), slice(0, height))]
    bands = []
    for k in range(BANDS):
        first = round((k + 0.5) * step - BAND_ROWS / 2)
        start, stop = max(0, first - margin), min(height, first + BAND_ROWS + margin)
        bands.append((slice(start, stop), slice(first - start, first - start + BAND_ROWS)))
    return bands
