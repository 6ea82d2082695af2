# SPDX-License-Identifier: GPL-3.0-or-later
"""A movie or an image sequence as one rig.

Annotations are evaluated here: Blender makes properties of them.
"""

import re
from pathlib import Path

import bpy
from bpy.props import StringProperty

from ..engine.activity import Activity
from ..errors import UserError
from ..rig.shot import build_shot, load_frames
from ..rig.shot_cache import ShotCache
from ..work import current
from ..work.folders import drop_folder, new_folder
from ..work.shot_job import Frames, ShotJob
from . import preferences, properties
from .operators import Running, invoke_and_show
from .panel import PanelBase
from .photos import file_of
from .sentence import AtOnce, Returned

NUMBERED = re.compile(r"(?P<head>.*?)(?P<number>\d+)(?P<tail>\D*)")  # the last number of a name


def frames_of(path: Path, first: int, last: int) -> tuple[Frames, tuple[int, int]]:
    """The frames of a movie, or of the sequence that a file belongs to; and the size that Blender shows.

    Args:
        path: the movie, or any frame.
        first, last: of the frames, by their numbers; 0 for the first and the last that there are.

    Raises:
        UserError: the file cannot be read, its name has no number, or no frame is left.
    """
    photo, size = load_frames(path)
    is_movie, count = photo.source == "MOVIE", photo.frame_duration
    bpy.data.images.remove(photo)
    found = dict.fromkeys(range(1, count + 1), path) if is_movie else _sequence(path)
    numbers = [number for number in sorted(found) if number >= first and (not last or number <= last)]
    if not numbers:
        raise UserError(f"{path.name} has the frames {min(found)} to {max(found)}; choose a range within.")
    return Frames([found[number] for number in numbers], numbers, is_movie), size


def _sequence(path: Path) -> dict[int, Path]:
    match = NUMBERED.fullmatch(path.stem)
    if match is None:
        raise UserError(f"{path.name} has no number; choose a movie, or a frame such as plate.0001.png.")
    like = re.compile(re.escape(match["head"]) + r"(\d+)" + re.escape(match["tail"] + path.suffix))
    digits = len(match["number"])
    found = {}
    for one in path.parent.iterdir():
        number = like.fullmatch(one.name)
        if number is not None and (len(number[1]) == digits or (len(number[1]) > digits and number[1][0] != "0")):
            found[int(number[1])] = one
    return found


def new_cache(path: Path) -> Path:
    """A folder beside the .blend that is not there yet. UserError: the .blend is not saved."""
    if not bpy.data.filepath:
        raise UserError("The depth of a shot is kept beside the .blend; save the file first.")
    match = NUMBERED.fullmatch(path.stem)
    stem = (match["head"] if match is not None else path.stem).rstrip("._- ") or path.stem
    beside = Path(bpy.data.filepath).parent
    k, folder = 1, beside / f"{stem}.shot"
    while folder.exists():
        k += 1
        folder = beside / f"{stem} {k}.shot"
    return folder


class PRO_DEPTH_OT_shot(Running, bpy.types.Operator):  # noqa: N801 - Blender's manner
    """Estimate every frame of a movie or an image sequence, and build one rig of them. Cancel builds what is done"""

    bl_idname = "pro_depth.shot"
    bl_label = "Estimate shot"

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> Returned:
        """Start, and show the frames in the end."""
        return invoke_and_show(super().invoke(context, event))

    def begin(self, scene: bpy.types.Scene) -> Activity:
        """Start the run."""
        settings, chosen = properties.settings_of(scene), preferences.chosen()
        recipe = properties.recipe_of(scene, chosen.device)
        properties.check_metres_of(scene)
        if scene.library is not None:
            raise UserError(f"The scene {scene.name} comes from another file; make it local, or use another scene.")
        path = file_of(settings.shot, "movie or frame")
        frames, size = frames_of(path, settings.shot_first, settings.shot_last)
        cache = new_cache(path)
        folder = new_folder(preferences.cache_folder())
        try:
            job = ShotJob(
                scene,
                frames,
                recipe,
                folder,
                cache=cache,
                vertices=settings.shot_vertices,
                size=size,
                engine=chosen.engine,
                online=bpy.app.online_access,
            )
            return current.begin(job)
        except Exception:
            drop_folder(folder)
            raise


class PRO_DEPTH_OT_load_shot(AtOnce, bpy.types.Operator):  # noqa: N801
    """Build a rig of a depth cache that an earlier run left, with the settings as they are now"""

    bl_idname = "pro_depth.load_shot"
    bl_label = "Load shot"

    directory: StringProperty(name="Folder", description="The depth cache of a shot", subtype="DIR_PATH")

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> Returned:
        """Ask for the folder."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def work(self, context: bpy.types.Context, _rig: bpy.types.Object) -> str:
        """Build it."""
        cache = ShotCache.read(file_of(self.directory, "folder"))
        placed = build_shot(context.scene, cache, properties.recipe_of(context.scene))
        return f"{placed.built.rig.name} has {len(placed.shot.numbers)} frames. {placed.note}".strip()


class PRO_DEPTH_PT_shot(PanelBase, bpy.types.Panel):  # noqa: N801
    """Movies and sequences."""

    bl_parent_id = "PRO_DEPTH_PT_main"
    bl_label = "Shot"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        settings, column = properties.settings_of(context.scene), self.columns()
        for name in ("shot", "shot_first", "shot_last", "shot_vertices"):
            column.prop(settings, name)
        self.layout.operator("pro_depth.shot", icon="FILE_MOVIE")
        self.layout.operator("pro_depth.load_shot", icon="FILE_FOLDER")


classes = (PRO_DEPTH_OT_shot, PRO_DEPTH_OT_load_shot, PRO_DEPTH_PT_shot)
