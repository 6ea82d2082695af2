"""`--camera-height`: the metres of a photo from the ground, and what is told of guesses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rooms import LENS, relative, room

from pro_engine.errors import InputError
from pro_engine.jobs.options import JobOptions
from pro_engine.jobs.photo_job import PhotoJob
from pro_engine.jobs.photos import Photo
from pro_engine.jobs.scale import PhotoLens, ShotScale, find_scale
from pro_engine.options import InferenceOptions, OptionError
from pro_engine.types import DepthResult


def result(camera_m: float = 1.2, pitch: float = 10.0) -> tuple[DepthResult, np.ndarray]:
    depth, floor = room(camera_m, pitch, 0.0)
    return DepthResult(relative(depth), np.ones(depth.shape, dtype=np.bool_)), depth


@pytest.mark.parametrize(
    ("source", "pitch", "told"),
    [("exif", 10.0, []), ("assumed", 10.0, ["lens"]), ("given", 0.0, []), ("given", None, ["level"])],
)
def test_a_photo_gets_metres_and_guesses_are_told(source: str, pitch: float | None, told: list[str]) -> None:
    seen, depth = result(pitch=pitch or 0.0)
    job = JobOptions(camera_height_m=1.2, pitch_deg=pitch)
    scale = find_scale(seen, "a", job, PhotoLens(LENS, source), assume=False)
    assert scale is not None and scale.scale_shift.source == "fitted"
    found = 1 / (scale.scale_shift.scale * seen.disparity + scale.scale_shift.shift)
    assert np.median(np.abs(found / depth - 1)) < 0.03 and scale.far_m > 6.0
    assert len(scale.warnings) == len(told) and all(
        word in text for word, text in zip(told, scale.warnings, strict=True)
    )


@pytest.mark.parametrize("pitch", [0.0, 12.0, 25.0])
def test_the_attitude_is_estimated_where_the_model_estimates_depth(pitch: float) -> None:
    seen, depth = result(pitch=pitch)
    flat = LENS.height * LENS.width
    ends = 1 / np.partition(1 / depth.ravel(), (flat // 100, flat - flat // 100))[[flat - flat // 100, flat // 100]]
    estimated = replace(seen, span_m=(1.7 * float(ends[0]), 1.7 * float(ends[1])))  # its unit is off
    job = JobOptions(camera_height_m=1.2)
    scale = find_scale(estimated, "a", job, PhotoLens(LENS, "given"), assume=False)
    assert scale is not None and "estimated to look down" in scale.warnings[0]
    found = 1 / (scale.scale_shift.scale * seen.disparity + scale.scale_shift.shift)
    assert np.median(np.abs(found / depth - 1)) < 0.05
    wall = replace(estimated, disparity=np.tile(np.linspace(1, 2, LENS.width, dtype=np.float32), (LENS.height, 1)))
    with pytest.raises(InputError, match="give --pitch and --roll"):
        find_scale(wall, "a", job, PhotoLens(LENS, "given"), assume=False)


def test_frames_of_a_shot_keep_the_metres_of_the_first() -> None:
    (first, _), (later, _), shot = result(), result(pitch=14.0), ShotScale()
    job, lens = JobOptions(camera_height_m=1.2, pitch_deg=10.0, sequence=True), PhotoLens(LENS, "given")
    scale = shot.scale(first, "a", job, lens, assume=False)
    assert scale is not None and shot.scale(later, "b", job, lens, assume=False) is scale


def test_without_ground_the_photo_fails_with_the_reason() -> None:
    flat = DepthResult(
        np.full((LENS.height, LENS.width), 2.0, np.float32), np.ones((LENS.height, LENS.width), np.bool_)
    )
    with pytest.raises(InputError, match="The ground cannot be found"):
        find_scale(flat, "a", JobOptions(camera_height_m=1.0), PhotoLens(LENS, "given"), assume=True)


def test_depth_maps_are_written(tmp_path) -> None:
    job = PhotoJob(tmp_path, JobOptions(camera_height_m=1.0), InferenceOptions())
    assert {out.kind for out in job.outputs(Photo(tmp_path / "a.png", "a"))} == {"disparity", "depth"}


@pytest.mark.parametrize(
    "options",
    [
        {"camera_height_m": 1.0, "near_m": 1.0, "far_m": 2.0},
        {"camera_height_m": 1.0, "scale_from": "metric"},
        {"pitch_deg": 5.0},
        {"roll_deg": 5.0},
        {"camera_height_m": 1.0, "pitch_deg": 91.0},
        {"camera_height_m": 0.0},
    ],
)
def test_options_that_contradict_each_other(options: dict) -> None:
    with pytest.raises(OptionError):
        JobOptions(**options)
