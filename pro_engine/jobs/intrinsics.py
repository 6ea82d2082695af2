"""The cameras of a job in one file beside its maps, for programs that turn depth into points."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pro_engine.errors import FileError
from pro_engine.geometry.depth import DEPTH_SLACK
from pro_engine.io.atomic import atomic_path
from pro_engine.io.depth_formats import png_step
from pro_engine.io.paths import reading_failed
from pro_engine.jobs.options import JobOptions
from pro_engine.jobs.outputs import Output

FILE_NAME = "intrinsics.json"
_KEY = "pro_engine_intrinsics"
_VERSION = 1


def png_step_of(job: JobOptions) -> float:
    """The step in metres of all 16-bit PNGs of a job: a millimetre, unless its farthest surface lies beyond."""
    return png_step(0 if job.far_m is None else job.far_m * (1 + DEPTH_SLACK))


def camera_of(
    lens: Mapping[str, Any], size: tuple[int, int], outputs: Iterable[Output], job: JobOptions
) -> dict[str, Any]:
    """The entry of a photo. lens: as `PhotoLens.summary` gives it; size: height and width in pixels."""
    camera: dict[str, Any] = {"width": size[1], "height": size[0]}
    if "projection" in lens:
        camera["projection"] = lens["projection"]
    else:
        fx, fy, cx, cy = (lens[name] for name in ("fx", "fy", "cx", "cy"))
        camera |= {"fx": fx, "fy": fy, "cx": cx, "cy": cy, "intrinsic_matrix": [fx, 0, 0, 0, fy, 0, cx, cy, 1]}
    camera["source"] = lens["source"]
    if any((out.kind, out.format) == ("depth", "png16") for out in outputs):
        camera["png16_depth_scale"] = round(1 / png_step_of(job), 6)
    return camera


def write_intrinsics(folder: Path, cameras: Mapping[str, Mapping[str, Any]]) -> None:
    """Write or complete `intrinsics.json` in the folder of the results; photos of earlier jobs stay in it.

    An entry for each photo, by the name that its results begin with: pixels of the pinhole camera (pixel centres at
    whole numbers), the same as the nine numbers of a matrix column by column, as Open3D reads them, or the projection
    of a panorama, which has none; the source of the lens, and by what the numbers of a 16-bit PNG of its depth are
    divided for metres.

    Raises:
        FileError: the file cannot be written, or another program's file of this name is there.
    """
    if not cameras:
        return
    target = folder / FILE_NAME
    text = json.dumps({_KEY: _VERSION, "photos": {**_known(target), **cameras}}, indent=1)
    with atomic_path(target) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _known(path: Path) -> dict[str, Any]:
    """The entries that are there already."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise reading_failed(path, error) from error
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get(_KEY) != _VERSION or not isinstance(found.get("photos"), dict):
        raise FileError(f"{path} is not of this program and was left; choose another output folder for the cameras.")
    return dict(found["photos"])
