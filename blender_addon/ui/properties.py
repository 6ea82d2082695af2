# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings that the panel shows. They live on the scene; what runs and what came of it does not (`work.current`).

Annotations are evaluated here: Blender makes properties of them.
"""

import math
from typing import Any

import bpy
from bpy.props import (
    BoolProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    IntVectorProperty,
    PointerProperty,
    StringProperty,
)

from ..engine.models import check_metres
from ..engine.run import EngineOptions
from ..errors import UserError
from ..maths.lens import BlendCamera, LensOptions
from ..maths.mesh import MIN_BUDGET, MeshOptions
from ..options import of
from ..rig.build import FRAME_KEY
from ..rig.place import Recipe
from ..rig.shot_cache import ShotOptions
from ..rig.source import ScaleChoice
from ..rig.space import KnownLengths
from ..rig.surface_kinds import BuildOptions
from ..work import current

DEFAULT_BUDGET = 500_000
SHOWS_PHOTO = True  # a run of somebody new ends with the photo in view
CUSTOM_TILES, FINE_TILES = (4, 4), (8, 8)
RELATIVE = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5) else set()  # before, every path does
MODELS = ("hybrid", "compact")  # come with the engine; it tells of others when it is tested


SMALLEST = 1e-4  # what a number that has to be above 0 may be in the panel


def _shown(owner: type, name: str, **more: Any) -> dict[str, Any]:
    """Label, help, default and limits of an option as arguments of a property of Blender; `more` replaces them."""
    field = of(owner, name)
    found = {"name": field.metadata["label"], "description": field.metadata["help"]}
    if field.default is not None:
        found["default"] = field.default
    if "minimum" in field.metadata or "above" in field.metadata:
        found["min"] = field.metadata.get("minimum", SMALLEST)
    if "maximum" in field.metadata:
        found["max"] = field.metadata["maximum"]
    return {**found, **more}


def _enum(owner: type, name: str, texts: dict[str, tuple[str, str]]) -> Any:
    """An enumeration of the choices that an option has; a choice without a text is an error here."""
    items = [(choice, *texts[choice]) for choice in of(owner, name).metadata["choices"]]
    return EnumProperty(items=items, **_shown(owner, name))


def _distance(name: str, soft_max: float) -> dict[str, Any]:
    return _shown(ScaleChoice, name, soft_max=soft_max, subtype="DISTANCE", unit="LENGTH")


def _typed(settings: Any, _context: bpy.types.Context) -> None:
    """Who types a distance wants that one and no estimate."""
    if settings.scale_source == "ESTIMATE":
        settings.scale_source = "NEAR_FAR"


def _typed_far(settings: Any, context: bpy.types.Context) -> None:
    """So it is for metres of the model: what nobody typed cuts nothing off."""
    settings.cuts = True
    _typed(settings, context)


def _models(_settings: Any, _context: bpy.types.Context, _typed: str) -> tuple[str, ...]:
    return (current.test.models if current.test is not None else ()) or MODELS


def _is_camera(_settings: Any, thing: bpy.types.Object) -> bool:
    return thing.type == "CAMERA"


class PRO_DEPTH_PG_settings(bpy.types.PropertyGroup):  # noqa: N801 - Blender's manner
    """What to do with which photo."""

    photo_source: EnumProperty(
        name="Photo from",
        description="Where the photo is",
        items=[
            ("FILE", "File", "A picture on disk; EXIF gives lens and orientation"),
            ("IMAGE", "Image", "An image of this .blend: loaded, packed, painted or generated"),
        ],
    )
    photo: StringProperty(
        name="Photo", description="The photo that becomes a mesh", subtype="FILE_PATH", options=RELATIVE
    )
    image: PointerProperty(
        name="Image", description="The image of this .blend that becomes a mesh", type=bpy.types.Image
    )
    model: StringProperty(
        name="Model",
        description=f"{of(EngineOptions, 'model').metadata['help']}; Test engine in the preferences lists them",
        default=EngineOptions.model,
        search=_models,
        search_options={"SUGGESTION"},
    )
    quality: EnumProperty(
        name="Quality",
        description="How closely the photo is looked at",
        items=[
            ("DRAFT", "Draft", "One look at the whole photo, nothing refined: the quickest, with soft edges"),
            ("STANDARD", "Standard", "As many patches as the size of the photo asks for, and refined edges"),
            ("FINE", "Fine", "{} x {} patches: the finest detail, slower".format(*FINE_TILES)),
            ("CUSTOM", "Custom", "Rows and columns of patches as given, and refined edges"),
        ],
        default="STANDARD",
    )
    tiles: IntVectorProperty(
        **_shown(EngineOptions, "tiles", description="Rows and columns of patches", default=CUSTOM_TILES), size=2
    )

    projection: _enum(
        EngineOptions,
        "projection",
        {
            "auto": ("Auto", "As the file of the photo says; where it says nothing, through a lens"),
            "pinhole": ("Lens", "The photo was taken through a lens"),
            "equirectangular": ("Panorama", "A whole panorama, twice as wide as high, becomes a sphere"),
        },
    )
    camera_source: _enum(
        LensOptions,
        "source",
        {
            "EXIF": ("Photo", "The photo's EXIF data; the field of view below, if it has none"),
            "FOCAL": ("Focal", "Focal length and size of the sensor"),
            "FOV": ("FOV", "Field of view"),
            "CAMERA": ("Camera", "A camera of the scene that matches the photo; the rig is put where it stands"),
        },
    )
    focal_mm: FloatProperty(**_shown(LensOptions, "focal_mm", min=0.1, soft_max=1000.0, unit="CAMERA"))
    sensor_mm: FloatProperty(**_shown(LensOptions, "sensor_mm", min=0.1, soft_max=100.0, unit="CAMERA"))
    fov: FloatProperty(
        **_shown(
            LensOptions,
            "fov_deg",
            default=math.radians(LensOptions.fov_deg),  # Blender's angles are in radians
            min=math.radians(1.0),
            max=math.radians(170.0),  # wider pictures are no intrinsics's
            subtype="ANGLE",
        )
    )
    camera: PointerProperty(**_shown(LensOptions, "camera"), type=bpy.types.Object, poll=_is_camera)

    scale_source: _enum(
        ScaleChoice,
        "by",
        {
            "ESTIMATE": ("Estimate", "Near and far as the model estimates them; where it does not, as below"),
            "NEAR_FAR": ("Near/Far", "Distances of the nearest and of the farthest surface"),
            "POINT": ("Point", "The distance of one pixel, and of the nearest or the farthest surface"),
            "METRIC": ("Model", "Metres of the model itself, where it knows them"),
        },
    )
    near: FloatProperty(**_distance("near_m", 1000.0), update=_typed)
    far: FloatProperty(**_distance("far_m", 10_000.0), update=_typed_far)
    cuts: BoolProperty(**_shown(ScaleChoice, "cuts"))
    point: IntVectorProperty(**_shown(ScaleChoice, "point"), size=2)
    distance: FloatProperty(**_shown(ScaleChoice, "distance_m", soft_max=1000.0, subtype="DISTANCE", unit="LENGTH"))
    point_keeps: _enum(
        ScaleChoice,
        "kept",
        {
            "FAR": ("Far", "The farthest surface stays at Far"),
            "NEAR": ("Near", "The nearest surface stays at Near"),
        },
    )
    sky: _enum(
        ScaleChoice,
        "sky",
        {
            "dome": ("Dome", "The sky as a far sphere around the camera"),
            "drop": ("Drop", "No mesh where the sky is"),
            "card": ("Card", "The sky as a card at Far"),
            "keep": ("Keep", "There is no sky: the even background is a surface at Far"),
        },
    )

    kind: _enum(
        BuildOptions,
        "kind",
        {
            "mesh": ("Mesh", "A baked mesh"),
            "live": ("Live", "A flat mesh with a Displace modifier: its strength is the relief"),
            "adaptive": ("Adaptive", "A single quad that Cycles divides while it renders"),
        },
    )
    material: _enum(
        BuildOptions,
        "material",
        {
            "emission": ("Emission", "The photo as it is, whatever the lights"),
            "principled": ("Principled", "A rough surface that the lights of the scene light"),
            "catcher": (
                "Catcher",
                "Shadow catcher: with Film > Transparent, Cycles shows only what falls onto it. EEVEE shows Principled",
            ),
        },
    )
    vertices: IntProperty(
        **_shown(
            MeshOptions,
            "vertices",
            description=f"{of(MeshOptions, 'vertices').metadata['help']}; {MIN_BUDGET} at least",
            default=DEFAULT_BUDGET,  # what a viewport turns with ease; a script that builds takes every pixel
            soft_max=10_000_000,
            step=10_000,
        )
    )
    reduce: _enum(
        MeshOptions,
        "reduce",
        {
            "flat": ("Flat", "Large faces where the surface is flat, small ones where it is not"),
            "even": ("Even", "Faces of the same size everywhere"),
        },
    )
    layers: BoolProperty(**_shown(BuildOptions, "layers", default=True))  # the photo is whole; scripts choose a surface
    reveal: FloatProperty(**_shown(BuildOptions, "reveal", soft_max=0.2, precision=3, step=1, subtype="FACTOR"))
    extend: BoolProperty(**_shown(BuildOptions, "extend"))
    edge_rtol: FloatProperty(
        **_shown(MeshOptions, "edge_rtol", min=0.001, soft_max=1.0, precision=3, step=1, subtype="FACTOR")
    )
    erode_px: IntProperty(**_shown(MeshOptions, "erode_px", soft_max=8, subtype="PIXEL"))

    length: FloatProperty(**_shown(KnownLengths, "length", soft_max=1000.0, subtype="DISTANCE", unit="LENGTH"))
    height: FloatProperty(**_shown(KnownLengths, "height", soft_max=1000.0, subtype="DISTANCE", unit="LENGTH"))

    shot: StringProperty(
        name="Frames", description="A movie, or any frame of an image sequence", subtype="FILE_PATH", options=RELATIVE
    )
    shot_first: IntProperty(**_shown(ShotOptions, "first"))
    shot_last: IntProperty(**_shown(ShotOptions, "last"))
    shot_vertices: IntProperty(**_shown(ShotOptions, "vertices", soft_max=2_000_000, step=10_000))

    show_photo: BoolProperty(
        name="Show photo",
        description="When done, look through the new camera at the photo in its own colours, as the button of this "
        "name does. It sets camera, render size and view transform of the scene; Undo takes all of it back",
        default=SHOWS_PHOTO,
    )

    batch_folder: StringProperty(
        name="Folder", description="All photos in this folder, one after another", subtype="DIR_PATH", options=RELATIVE
    )
    batch_pattern: StringProperty(
        name="Names",
        description="Only files of such names: * and ? as usual, # for digits, as in plate.####.exr; empty for all",
    )
    batch_shot: BoolProperty(
        name="One shot", description="The photos are frames of one shot, and are to have the same scale"
    )


def metres_per_unit(scene: bpy.types.Scene) -> float:
    """What one unit of the scene is in metres."""
    return 1.0 if scene.unit_settings.system == "NONE" else scene.unit_settings.scale_length


def settings_of(scene: bpy.types.Scene) -> PRO_DEPTH_PG_settings:
    """What the panel shows."""
    settings: PRO_DEPTH_PG_settings = scene.pro_depth  # type: ignore[attr-defined]
    return settings


def recipe_of(scene: bpy.types.Scene, device: str = EngineOptions.device) -> Recipe:
    """The settings of a scene as plain values. UserError: numbers that contradict each other, or no camera."""
    s, metres = settings_of(scene), metres_per_unit(scene)
    refine = "none" if s.quality == "DRAFT" else EngineOptions.refine
    tiles = {"FINE": FINE_TILES, "CUSTOM": tuple(s.tiles)}.get(s.quality, EngineOptions.tiles)
    mesh = MeshOptions(edge_rtol=s.edge_rtol, erode_px=s.erode_px, vertices=s.vertices, reduce=s.reduce)
    return Recipe(
        engine=EngineOptions(
            model=s.model.strip() or EngineOptions.model,
            device=device,
            tiles=tiles,
            refine=refine,
            projection=s.projection,
        ),
        build=BuildOptions(
            kind=s.kind, material=s.material, layers=s.layers, reveal=s.reveal, extend=s.extend, mesh=mesh
        ),
        lens=LensOptions(
            source=s.camera_source,
            focal_mm=s.focal_mm,
            sensor_mm=s.sensor_mm,
            fov_deg=math.degrees(s.fov),
            camera=camera_numbers(s.camera) if s.camera_source == "CAMERA" and s.camera else None,
        ),
        scale=ScaleChoice(
            by=s.scale_source,
            near_m=s.near * metres,
            far_m=s.far * metres,
            point=tuple(s.point),
            distance_m=s.distance * metres,
            kept=s.point_keeps,
            cuts=s.cuts,
            sky=s.sky,
        ),
    )


def check_metres_of(scene: bpy.types.Scene) -> None:
    """UserError: metres of the model are wanted, and it gives none."""
    settings = settings_of(scene)
    if settings.scale_source == "METRIC":
        told = current.test.units if current.test is not None else {}
        check_metres(settings.model.strip() or EngineOptions.model, told)


def camera_numbers(camera: bpy.types.Object) -> BlendCamera:
    """A camera of the scene as numbers. A camera of a rig counts with its own pixel aspect, any other with none."""
    data = camera.data
    if data.type != "PERSP":
        raise UserError(f"{camera.name} is no perspective camera; choose one that is.")
    aspect_x, aspect_y = tuple(camera.get(FRAME_KEY, (0, 0, 1, 1)))[2:]
    return BlendCamera(
        lens_mm=data.lens,
        sensor_mm=data.sensor_height if data.sensor_fit == "VERTICAL" else data.sensor_width,
        fit=data.sensor_fit,
        shift_x=data.shift_x,
        shift_y=data.shift_y,
        aspect=aspect_y / aspect_x,
        world_from_camera=tuple(camera.matrix_world[row][column] for row in range(4) for column in range(4)),
    )


classes = (PRO_DEPTH_PG_settings,)


def register() -> None:
    """Add `scene.pro_depth`."""
    for cls in classes:
        bpy.utils.register_class(cls)
    bpy.types.Scene.pro_depth = PointerProperty(type=PRO_DEPTH_PG_settings)  # type: ignore[attr-defined, func-returns-value]


def unregister() -> None:
    """Take `scene.pro_depth` away; the values stay in the file."""
    del bpy.types.Scene.pro_depth  # type: ignore[attr-defined]
    for cls in reversed(classes):
        bpy.utils.unregister_class(cls)
