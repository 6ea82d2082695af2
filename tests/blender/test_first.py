"""What a first run leaves: the result selected, the photo in view, and a relief to be turned.

Each check runs in a Blender of its own; see `blenders`.
"""

from __future__ import annotations

import pytest

from tests.blender.blenders import facts_of, needs_blender
from tests.blender.engines import one_sentence

facts = facts_of("inside_first.py")

pytestmark = needs_blender


def test_the_result_is_selected_alone_and_active(python):
    seen = facts(python, "first")
    assert seen["estimate"] == "FINISHED" and seen["active"] == "card surface"
    assert seen["selected"] == ["card", "card behind", "card camera", "card surface"]


def test_show_photo_looks_through_the_camera_in_the_colours_of_the_photo(python):
    seen = facts(python, "first")
    assert seen["photo"][0] == "FINISHED" and "was AgX and is Standard now" in seen["photo"][1]
    assert seen["view"] == ["Standard", "None", 0, 1, True]


def test_what_hides_the_whole_photo_is_put_away_and_comes_back(python):
    seen = facts(python, "first")
    cube, aside, surface = seen["hidden"][0]
    assert cube == [True, True] and aside == surface == [False, False]
    assert "Cube stood before the camera and is hidden" in seen["photo"][1]
    assert seen["hidden"][1:] == ["FINISHED", True], "looked through once more it is hidden still"
    assert seen["again"] == ["FINISHED", False, False, False] and not seen["nothing hidden"]
    assert not seen["behind"], "what stands behind the surface is in nobody's way"


def test_what_stands_around_the_rig_is_told_and_stays(python):
    shown, text = facts(python, "first")["around"]
    assert not shown and "From outside it is hidden by Cube" in text


def test_metres_of_a_model_are_cut_by_no_distance_that_nobody_typed(python):
    seen = facts(python, "reach")
    note, farthest, no_sky = seen["whole"]
    assert farthest == pytest.approx(seen["farthest"]) and farthest > 4 and no_sky
    assert f"reach to {farthest:.3g} m" in note
    note, farthest, _ = seen["cut"]
    assert farthest <= 4 and "Beyond Far, 4 m, all is taken for sky" in note


def test_the_relief_moves_the_mesh_at_once_along_its_rays(python):
    seen = facts(python, "relief")
    assert seen["begins"] == pytest.approx(seen["of"])
    assert seen["set"][3] == "NEAR_FAR" and seen["set"][:3] == pytest.approx([5, 1, 5])
    assert seen["rays"] < 1e-5 and seen["ends"] == pytest.approx([1, 5], rel=1e-5)
    assert seen["depth"] == pytest.approx(5, rel=1e-5)
    assert seen["rebuilt"][0] and seen["rebuilt"][1] < 1e-5, "Rebuild gives the same"
    assert seen["live"] and seen["cube"] == 1


def test_metres_of_a_model_that_has_none_are_refused_before_the_run(python):
    seen = facts(python, "metres")
    assert "hybrid gives no metres" in seen["refused"] and not seen["asked"]
    assert "gives no metres" in seen["unknown"]


def test_near_and_far_are_the_models_estimate_until_they_are_typed(python):
    seen = facts(python, "estimate")
    assert seen["ends"] == pytest.approx([2, 9]) and "near 2 m, far 9 m" in seen["note"]
    assert seen["told"].startswith("Metres: estimated") and seen["again"] == [seen["ends"], [2.0, 9.0]]
    assert seen["without"][0] == pytest.approx([1, 3]) and seen["without"][1].startswith("Metres: assumed")
    assert seen["chosen"] == ["ESTIMATE", "NEAR_FAR"]


def test_a_photo_from_the_menu_or_dropped_becomes_a_rig(python):
    seen = facts(python, "open")
    assert seen["open"] == "FINISHED" and seen["rigs"] == ["dropped"]
    for name, words in {"clip.mp4": "is a video", "gone.png": "is not there", "bad.png": "is damaged"}.items():
        assert words in one_sentence(seen[name])
    assert seen["operator"] == "pro_depth.open" and ".jpg;" in seen["endings"]


def test_what_an_export_clips_is_said(python):
    seen = facts(python, "exports")
    assert seen["GLB"].startswith("75% of plate behind and 75% of plate are brighter than white and are clipped")
    assert seen["USD"] == ""


def test_a_video_is_called_one(python):
    assert "clip.MP4 is a video, not a photo" in facts(python, "exports")["video"]


def test_metres_that_follow_from_the_disparity_take_no_room(python):
    seen = facts(python, "kept")
    for *same, source, _size, finite in seen.values():
        assert same == [True, True] and source == "metric" and finite
    assert seen["follows"][3] < 0.6 * seen["does not"][3]
