"""Shots as one rig: every frame is its photo again, runs and their ends, and what is kept on disk."""

from __future__ import annotations

import pytest

from tests.blender.blenders import facts_of, needs_blender
from tests.blender.engines import one_sentence

facts = facts_of("inside_shot.py")

pytestmark = needs_blender


def test_each_frame_has_its_own_shape_and_is_its_photo(python):
    seen = facts(python, "frames")
    assert max(seen["shape"]) < 1e-6 and seen["left out"] < 1e-6
    for frame in seen["match"].values():
        assert frame["psnr"] >= 38 and max(map(abs, frame["offset"])) <= 0.05
    assert seen["aside"] > 0.01  # torn between the block and the ground, not stretched


def test_z_of_a_shot_is_that_of_its_frame(python):
    assert facts(python, "frames")["depth"] < 1e-5
    seen = facts(python, "estimate")
    assert seen["size"] == [120, 160] and min(seen["between vertices"]) > 0.9  # but at the block's outline


def test_the_compositor_shows_each_frame_of_a_shot(python):
    for frame in facts(python, "frames")["composed"].values():
        assert frame["psnr"] >= 38 and max(map(abs, frame["offset"])) <= 0.05


def test_the_models_estimate_of_lens_and_metres_holds_for_the_shot(python):
    seen = facts(python, "estimate")
    assert seen["ends"][0] == pytest.approx([2, 8], rel=1e-4) and seen["ends"][1] == pytest.approx([2, 8], rel=1e-4)
    assert seen["ends"][2] == pytest.approx([3, 30], rel=1e-4), "a cut begins anew"
    assert seen["hides from"] == pytest.approx(30, rel=1e-2), "what is farther after a cut is not taken for sky"
    assert seen["lens"] == pytest.approx(150 / 160) and seen["told"] == "Metres: estimated, lens: model"
    assert "estimates 56°" in seen["note"] and "near 2 m, far 8 m" in seen["note"]


def test_metres_of_a_model_are_cut_where_a_far_distance_is_chosen_alone(python):
    seen = facts(python, "metric")
    assert seen["whole"] == pytest.approx([120 / 1.25, 0.25], rel=1e-3)
    assert seen["cut"][0] <= 40 and seen["cut"][1] > 0.7


def test_background_and_projection_of_a_shot_keep_its_time(python):
    seen = facts(python, "frames")
    assert seen["projected"]["psnr"] >= 38 and seen["background"] == [101, 100, 8, True]


def test_a_shot_is_built_again_without_the_engine(python):
    seen = facts(python, "frames")
    assert seen["rebuilt"] < 1e-6 and seen["materials"] == 2


def test_a_shot_stays_whole_where_its_folder_goes(python):
    seen = facts(python, "frames")
    assert seen["paths"] == ["//plate.shot", "//plate.shot/points.pc2", "//plates/plate.0101.png"]
    assert seen["again"] < 1e-6 and seen["match again"]["psnr"] >= 38


def test_a_shot_keeps_to_its_vertices(python):
    seen = facts(python, "coarse")
    assert abs(seen["vertices"] - 2000) < 100 and seen["finite"]


def test_17_a_run_makes_one_rig_and_a_cache_beside_the_file(python):
    seen = facts(python, "runs")
    assert "save the file first" in one_sentence(seen["unsaved"])
    assert seen["run"][0] == "FINISHED" and seen["run"][1][0].startswith("plate has the frames 1 to 5")
    assert seen["numbers"] == [1, 2, 3, 5] and seen["rig"] == "plate" and seen["rigs"] == 1 and seen["left"] == []
    assert seen["active"] == "plate surface"
    assert seen["looks without"][0] == "FINISHED" and "is no depth cache" in seen["looks without"][1]
    assert seen["asked"] == [f"plate.{k:04d}.png of a shot" for k in (1, 2, 3, 5)]
    assert seen["rebuilt"][0] == seen["looks"] == seen["exported"] == seen["loaded"] == "FINISHED"


def test_the_buttons_of_the_plate_and_of_space_work_on_a_shot(python):
    seen = facts(python, "runs")
    assert seen["passes"] == "FINISHED" and seen["all"][:2] == ["FINISHED", 3] and "4 frames before" in seen["all"][2]
    assert seen["files"] == [f"shot.z.{k:04d}.exr" for k in range(1, 6)]
    assert seen["level"][0] == "FINISHED" and "is level" in seen["level"][1]
    assert seen["compositor"][0] == "FINISHED" and "Z and mask of a shot are files" in seen["compositor"][1]


def test_12_what_is_no_shot_is_told_in_a_sentence(python):
    seen = facts(python, "runs")
    assert "shot.z.0003.exr is there already" in one_sentence(seen["again"])
    assert "no depth cache" in one_sentence(seen["no cache"]) and "has no number" in one_sentence(seen["no number"])
    assert "1 to 5" in one_sentence(seen["no frame"])
    assert "is damaged" in one_sentence(seen["bad"][0]) and not seen["bad"][1]


def test_a_shot_that_is_cancelled_has_what_is_done(python):
    seen = facts(python, "cancelled")
    (text, is_error, _), count = seen["said"], len(seen["numbers"])
    assert not is_error and text.endswith("Cancelled.") and 2 <= count < 4
    assert seen["numbers"] == list(range(1, count + 1))
    assert seen["head"] == [1, seen["vertices"], 1.0, 1.0, count]


def test_memory_does_not_grow_with_the_length(python):
    seen = facts(python, "memory")
    assert seen["grown"] < 40 and seen["file"] == 32 + 40 * 640 * 480 * 12  # MiB; all points would be 140
