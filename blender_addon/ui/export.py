# SPDX-License-Identifier: GPL-3.0-or-later
"""A rig as a file for other programs: GLB, USD or Alembic, with the camera, in metres.

What a format cannot hold:

- GLB knows no lens shift. A camera with one gets a larger frame around its optical axis instead, so that what it sees
  still lines up with the mesh; the photo is a part of that frame, and the camera says which ("pro_crop").
- Alembic holds no materials; the UV of the photo is there.
- No format holds what Cycles displaces while it renders; such a rig is refused.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import bpy
from bpy.props import EnumProperty, StringProperty
from bpy_extras.io_utils import ExportHelper

from ..errors import UserError
from ..rig.export_scene import Stage, emissive, unlit
from ..work.current import rig_in
from .sentence import Returned

NO_REASON = "its exporter does not say why"


class Format(NamedTuple):
    """A file format: what panels call it, its endings with the dot, and the exporter of Blender with its settings."""

    label: str
    endings: tuple[str, ...]
    operator: str
    options: Mapping[str, Any]


FORMATS = {
    "GLB": Format(
        "GLB",
        (".glb",),
        "export_scene.gltf",
        {
            "export_format": "GLB",
            "use_active_scene": True,
            "export_cameras": True,
            "export_extras": True,
            "export_apply": True,
            "export_animations": False,
            "export_current_frame": True,
            "export_skins": False,
            "export_morph": False,
        },
    ),
    "USD": Format(
        "USD",
        (".usdc", ".usd"),
        "wm.usd_export",
        {
            "selected_objects_only": False,
            "visible_objects_only": False,
            "export_animation": False,
            "export_textures": True,
            "export_textures_mode": "NEW",
            "convert_world_material": False,
            "merge_parent_xform": True,  # newer than 4.2: one prim an object, of its name
            "evaluation_mode": "VIEWPORT",
        },
    ),
    "ABC": Format(
        "Alembic",
        (".abc",),
        "wm.alembic_export",
        {
            "selected": False,
            "visible_objects_only": False,
            "export_hair": False,
            "export_particles": False,
            "evaluation_mode": "VIEWPORT",
            "as_background_job": False,
        },
    ),
}


class ExportedFiles(NamedTuple):
    """The file, then its textures if they are files of their own; and what the user should know, "" if nothing."""

    files: tuple[Path, ...]
    note: str


def formats() -> tuple[str, ...]:
    """The keys of `FORMATS` that this Blender can write; some are built without USD and Alembic."""
    return tuple(key for key, format_ in FORMATS.items() if _exporter(format_) is not None)


def export_rig(rig: bpy.types.Object, path: str | Path, format: str) -> ExportedFiles:
    """Write a rig with everything that hangs on it, as it is at the present frame, and nothing else of the scene.

    Modifiers are applied as the viewport shows them. A file of that name is replaced once the new one is whole.

    Args:
        rig: of `build`; where it was moved it stays.
        path: of the file; the ending of the format is added if it lacks.
        format: a key of `FORMATS`.

    Raises:
        UserError: this Blender lacks the exporter, the rig cannot be exported, or the file cannot be written. There is
            no new file and no new datablock then.
    """
    if format not in FORMATS:
        raise UserError(f"The format {format!r} is unknown; give {', '.join(FORMATS)}.")
    wanted = FORMATS[format]
    exporter = _exporter(wanted)
    if exporter is None:
        there = " or ".join(FORMATS[key].label for key in formats())
        advice = f"export as {there}" if there else "turn on the add-on glTF 2.0 in the preferences"
        raise UserError(f"This Blender has no exporter for {wanted.label}; {advice}.")
    path = Path(path)
    if path.suffix.lower() not in wanted.endings:
        path = path.with_name(path.name + wanted.endings[0])
    if path.is_dir():
        raise UserError(f"{path} is a folder; choose another name.")
    with ExitStack() as undo:
        stage = Stage(undo, rig)
        folder = _folder_beside(undo, path)
        notes = [stage.uneven, *([stage.widen(), stage.clipped()] if format == "GLB" else [])]
        if format == "GLB":
            stage.dress(unlit)
        elif format == "USD":
            stage.dress(emissive, folder / "images", path.name)
        _write(exporter, stage.scene, folder / path.name, wanted.options)
        return ExportedFiles(_publish(folder, path), " ".join(filter(None, notes)))


def _write(exporter: Any, scene: bpy.types.Scene, path: Path, options: Mapping[str, Any]) -> None:
    """Export a scene. UserError: the exporter failed."""
    known = exporter.get_rna_type().properties
    options = {**options, "start": scene.frame_current, "end": scene.frame_current}
    options = {name: value for name, value in options.items() if name in known}
    why = ""
    try:
        with _showing(scene):
            exporter("EXEC_DEFAULT", filepath=str(path), **options)
    except RuntimeError as error:  # what the exporter reports, or its traceback
        lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("Location:")]
        why = lines[-1].strip().removeprefix("Error: ").rstrip(".") if lines else NO_REASON
    if why or not path.is_file():
        why = why or NO_REASON
        raise UserError(f"{path.name} could not be written ({why}); check the disk, or export in another format.")


@contextmanager
def _showing(scene: bpy.types.Scene) -> Iterator[None]:
    """Make a scene the one of the context; in the end the window shows what it did: GLB's exporter switches it."""
    window = bpy.context.window or next(iter(bpy.context.window_manager.windows), None)  # timers have none
    shown = (window.scene, window.view_layer) if window else None
    try:
        # In two steps: a window brings its own scene along, and with the layer of another one Blender crashes.
        with (
            bpy.context.temp_override(window=window),
            bpy.context.temp_override(scene=scene, view_layer=scene.view_layers[0]),
        ):
            yield
    finally:
        if shown and window.scene != shown[0]:
            window.scene, window.view_layer = shown


def _exporter(format_: Format) -> Any:
    """The operator, None where Blender was built without it or its add-on is off."""
    module, name = format_.operator.split(".")
    operator = getattr(getattr(bpy.ops, module), name)
    try:
        operator.get_rna_type()
    except KeyError:
        return None
    return operator


def _folder_beside(undo: ExitStack, path: Path) -> Path:
    """A new folder on the disk of `path`, removed in the end. UserError: the place cannot be written to."""
    try:
        folder = tempfile.mkdtemp(prefix=f".{path.stem}-", dir=path.parent)
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written to ({error.strerror}); choose another folder.") from error
    undo.callback(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _publish(folder: Path, path: Path) -> tuple[Path, ...]:
    """Move what an exporter wrote in `folder` beside and onto `path`; the paths, that of the file first.

    Raises:
        UserError: the disk refuses.
    """
    textures = sorted(folder.glob("textures/*"))
    targets = [path.parent / texture.relative_to(folder) for texture in textures]
    try:
        for texture, target in zip(textures, targets, strict=True):
            target.parent.mkdir(exist_ok=True)
            os.replace(texture, target)
        os.replace(folder / path.name, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another name or folder.") from error
    return (path, *targets)


class PRO_DEPTH_OT_export(bpy.types.Operator, ExportHelper):  # type: ignore[misc]  # noqa: N801, Blender wants the underscores
    """Write the selected rig, or the last one, with its camera as a file for other programs."""

    if TYPE_CHECKING:
        filepath: str  # of ExportHelper

    bl_idname = "pro_depth.export"
    bl_label = "Export rig"
    bl_description = "Write the selected rig, or the last one, with its camera as a file for other programs"

    format: EnumProperty(
        name="Format",
        description="The kind of file",
        items=[
            ("GLB", "GLB", "One file with the photo; knows no lens shift, so a shifted camera gets a larger frame"),
            ("USD", "USD", "A binary .usdc file, and the photo in the folder textures beside it"),
            ("ABC", "Alembic", "Mesh, UV and camera; no materials"),
        ],
    )
    filter_glob: StringProperty(default="*.glb;*.usdc;*.usd;*.abc", options={"HIDDEN"})

    @property
    def filename_ext(self) -> str:
        """The ending of the format, for the file browser."""
        return FORMATS[self.format].endings[0]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there is a rig to write."""
        cls.poll_message_set("Select a rig, its camera or its surface")
        return rig_in(context) is not None

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> Returned:  # type: ignore[override]
        """Ask for the file; it is named after the rig, beside the saved .blend."""
        if not self.filepath:
            name = bpy.path.clean_name(rig_in(context).name)
            self.filepath = os.path.join(os.path.dirname(bpy.data.filepath), name + self.filename_ext)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> Returned:
        """Export, and say what came of it."""
        try:
            exported = export_rig(rig_in(context), _absolute(self.filepath), self.format)
        except UserError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"WARNING"} if exported.note else {"INFO"}, exported.note or f"Wrote {exported.files[0]}.")
        return {"FINISHED"}


def _absolute(path: str) -> Path:
    """A path as Blender writes it. UserError: none, or one beside a .blend that was never saved."""
    if not path.strip():
        raise UserError("There is no file name; give one.")
    if path.startswith("//") and not bpy.data.filepath:
        raise UserError(f"{path} lies beside the .blend, which was never saved; save it, or give a whole path.")
    return Path(bpy.path.abspath(path))


classes = (PRO_DEPTH_OT_export,)
