"""Runs of the add-on in Blender, as scripts and `blender -b` start them, and what its user does meanwhile.

The window itself, with clicks, undo and redo, is tested by `test_window`; the engine's process by `test_client` and
`test_run`; rigs by `test_build` and `test_rig`; what is shown by `test_panel`. Tests carry the number of the
requirement that they hold the add-on to.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.blender.blenders import facts_of, needs_blender
from tests.blender.engines import one_sentence

facts = facts_of("inside_ui.py")

ADDON = Path(__file__).parents[2] / "blender_addon"


# ---- 2, 9, 20: life


@needs_blender
def test_2_ten_times_enabled_and_disabled_leaves_nothing(python):
    seen = facts(python, "life")
    assert seen["with"] and seen["same without"] and seen["same with"] and seen["nothing"]


@needs_blender
def test_12_disabled_during_a_run_ends_the_engine_and_leaves_the_scene(python):
    seen = facts(python, "life")
    assert seen["scene as before"] and seen["files"] == [] and seen["threads"] == ["MainThread"]


def test_20_the_syntax_is_that_of_python_3_11():
    for path in ADDON.rglob("*.py"):
        ast.parse(path.read_text("utf-8"), feature_version=(3, 11))


# ---- 12: what goes wrong

REASONS = {
    "bad": "bad.png is damaged",
    "bug": "please report",
    "crash": "The engine crashed",
    "killed": "The engine was killed",
    "incomplete": "The engine's answer is not complete",
    "constant": "No face is left",
    "nan": "No face is left",
    "short": "not a whole map",
    "other": "but the depth map 96x63",
    "uneven": "instead of",
    "flat": "nothing near and nothing far",
    "no photo": "No photo is chosen",
    "no image": "No image is chosen",
    "unsaved": "is not saved yet",
    "no face": "at least 2x2",
    "all torn": "No face is left",
    "near beyond far": "Near is 30 m and far 20 m",
    "no camera": "No camera is chosen",
    "orthographic": "no perspective camera",
    "budget": "Vertices is 7",
    "wrong engine": "does not exist",
    "no engine": "no program that can be started",
    "another program": "is not the engine",
    "old engine": "protocol 0",
    "no cache": "cannot be written to",
    "unsaved cache": "is not saved yet",
    "no metres": "gives no metres",
    "point outside": "outside the photo",
    "point too far": "cannot be at 50 m",
}


@needs_blender
@pytest.mark.parametrize("case", REASONS)
def test_12_a_failure_is_one_sentence_and_leaves_the_scene(python, case):
    reported, shown, is_error, as_before = facts(python, "failures")[case]
    assert one_sentence(reported) == shown and REASONS[case] in shown and is_error
    assert as_before


@needs_blender
def test_13_a_failure_adds_no_undo_step(python):
    assert facts(python, "failures")["steps"] == []


@needs_blender
@pytest.mark.parametrize("case", ["holes", "garbage", "reversed", "xxxxxxxxxx", "thin"])
def test_12_what_is_odd_still_gives_a_sound_mesh(python, case):
    result, vertices, finite, nearest = facts(python, "doubtful")[case]
    assert result == "FINISHED" and finite and nearest < 0
    assert vertices > 1000 or case == "thin"


# ---- 10, 13, 14, 23: a run


@needs_blender
def test_13_a_result_is_one_step_of_undo_named_after_the_photo(python):
    seen = facts(python, "estimate")
    assert seen["result"] == "FINISHED" and seen["steps"] == ["PRO mein Foto ü"] and seen["said"][1] is False
    assert seen["collection"] == "mein Foto ü" and seen["photo name"] == "mein Foto ü photo" and seen["photo packed"]
    assert seen["scene camera"] == "Camera" and seen["resolution"] == 1920, "nothing of the user's changes"
    assert seen["range"] == pytest.approx([1, 20], rel=1e-4)


@needs_blender
def test_12_a_photo_larger_than_blender_holds_is_reduced_and_that_is_told(python):
    result, said, is_error = facts(python, "huge")
    assert result == "FINISHED" and not is_error
    assert said.endswith("It was reduced to 96x64: Blender keeps no larger map.")


@needs_blender
def test_looking_through_frames_the_photo(python):
    assert facts(python, "estimate")["looks"] == ["mein Foto ü camera", 96, 64]


@needs_blender
def test_12_a_photo_that_changed_on_disk_leaves_the_earlier_result(python):
    assert facts(python, "estimate")["second"] == ["mein Foto ü.001", [48, 80], [96, 64]]


@needs_blender
def test_12_distances_are_in_the_units_of_the_scene(python):
    near, far, scale = facts(python, "estimate")["centimetres"]
    assert [near, far, scale] == pytest.approx([1.5, 9, 100], rel=1e-4)


@needs_blender
def test_14_files_of_a_run_stay_in_the_cache_and_do_not_pile_up(python):
    seen = facts(python, "estimate")
    assert seen["photo kept"] and seen["files"] == seen["files later"] == 1


@needs_blender
def test_7_rebuild_needs_neither_the_engine_nor_its_files(python):
    seen = facts(python, "estimate")
    assert seen["rebuilt"] == "FINISHED" and seen["same again"]


@needs_blender
def test_10_the_result_goes_to_the_scene_that_asked_as_it_was_asked(python):
    seen = facts(python, "meanwhile")
    assert seen["to the scene that asked"] == ["renamed"]
    assert seen["near as it was"] == pytest.approx(1, rel=1e-4)


@needs_blender
def test_12_a_second_run_is_refused_while_one_is_under_way(python):
    seen = facts(python, "meanwhile")
    assert all("poll()" in text for text in seen["second press"])
    assert "is being worked on" in one_sentence(seen["second run"])


@needs_blender
def test_9_cancel_frees_the_button_and_ends_the_engine(python):
    seen = facts(python, "meanwhile")
    assert seen["cancel"] == ["FINISHED", False, ["Cancelled.", False, []]]
    assert seen["cancel leaves nothing"] and "poll()" in seen["cancel nothing"]


@needs_blender
def test_17_photos_of_a_cancelled_batch_are_kept_and_can_be_placed(python):
    seen = facts(python, "meanwhile")
    assert seen["batch at work"] == ["Estimating 3/3", True], "rigs are built after the engine's last photo"
    (text, is_error, _), as_before = seen["batch cancelled"]
    assert text == "Cancelled. 0 of 3 photos are done; 2 more are kept, press Place to build them."
    assert as_before and not is_error
    assert seen["batch placed"] == ["FINISHED", ["early, late placed.", False, []]]
    assert seen["batch shown"] == ["early"]


@needs_blender
def test_9_a_killed_engine_is_reported(python):
    seen = facts(python, "meanwhile")
    assert "killed" in one_sentence(seen["killed"][0]) and seen["killed"][1]


@needs_blender
def test_10_a_result_whose_scene_is_gone_is_kept_and_can_be_placed(python):
    seen = facts(python, "meanwhile")
    assert "The scene renamed is gone" in one_sentence(seen["scene gone"][0]) and seen["scene gone"][1]
    assert seen["placed elsewhere"] == ["FINISHED", ["slow.001 placed.", False, []], True]
    assert "poll()" in seen["nothing left to place"]


@needs_blender
def test_12_a_result_waits_until_the_user_is_done_editing(python):
    assert facts(python, "meanwhile")["waits in edit mode"] == ["Waiting for Object Mode", True, 1]


@needs_blender
def test_12_all_objects_deleted_during_a_run_do_not_matter(python):
    assert facts(python, "meanwhile")["all deleted"][0].startswith("slow is done")


@needs_blender
def test_12_another_file_opened_during_a_run_ends_it_with_a_sentence(python):
    seen = facts(python, "meanwhile")
    busy, notice, any_rig = seen["file opened"]
    assert not busy and not any_rig and not seen["and nothing later"]
    assert "Another file was opened" in one_sentence(notice[0])


# ---- 17: many photos


@needs_blender
def test_17_twenty_photos_with_three_bad_give_17_results_and_3_reasons(python):
    seen = facts(python, "batch")
    text, is_error, details = seen["said"]
    assert seen["result"] == "FINISHED" and seen["rigs"] == seen["steps"] == 17
    assert text.startswith("17 of 20 photos are done") and is_error
    assert [line.split(":")[0] for line in details] == ["bad.3.png", "bad.11.png", "crash.7.png"]
    assert all(one_sentence(line) for line in details)
    assert seen["shown"] == ["shot.0"]
    assert seen["looked at"] == ["FINISHED", [seen["looked at"][2]], seen["looked at"][2]]
    assert seen["checked"] == [["shot.0", seen["looked at"][2]], seen["looked at"][2]]
    assert seen["order"][:4] == ["bad.3.png", "bad.11.png", "crash.7.png", "shot.0.png"]
    assert seen["order"][4:] == [f"shot.{k}.png" for k in range(20) if k not in (0, 3, 7, 11)]


@needs_blender
def test_17_a_sequence_loads_the_model_once(python):
    seen = facts(python, "batch")
    assert seen["pattern"][0] == "FINISHED" and seen["pattern"][1][0].startswith("17 of 17")
    assert seen["loads"] == 1 and len(seen["pattern order"]) == 17


@needs_blender
def test_17_a_batch_without_a_photo_is_refused(python):
    seen = facts(python, "batch")
    for case, word in (("*.exr photos", "no photo"), (" nowhere", "cannot be read"), (" cache", "no photo")):
        text, as_before = seen[case]
        assert word in one_sentence(text) and as_before
    assert "None of the 2 photos gave depth" in seen["all bad"][0] and len(seen["all bad"][1][2]) == 2
