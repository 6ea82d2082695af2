"""Scenes that are not as the add-on left them: hidden, moved, incomplete or linked rigs, and names that are none."""

from __future__ import annotations

import pytest

from tests.blender.blenders import facts_of, needs_blender
from tests.blender.engines import one_sentence

facts = facts_of("inside_odd.py")

pytestmark = needs_blender


def test_looking_through_shows_what_was_hidden_or_says_what_is(python):
    seen = facts(python, "hidden")
    for name, (result, is_shown, text) in seen.items():
        by_itself = name.startswith("Object.")
        assert result == "FINISHED" and is_shown != by_itself and ("is hidden in" in text) == by_itself, name
    assert len(seen) == 6


def test_a_rig_is_seen_without_those_in_its_place(python):
    seen = facts(python, "second")
    assert seen["before"] == [True, True]
    *second, text = seen["second"]
    assert second == ["FINISHED", False, True] and "card, in the same place, is left out" in text
    assert seen["elsewhere"] == ["FINISHED", True, True]


@pytest.mark.parametrize("kind", ["uneven", "mirrored", "nothing"])
def test_a_scale_that_breaks_the_match_is_told(python, kind):
    looked, text, *refused = facts(python, "uneven")[kind]
    assert looked == "FINISHED" and "so the photo does not line up" in text
    for sentence in refused:
        assert "so the photo does not line up" in one_sentence(sentence)


def test_an_even_scale_of_a_parent_is_none_of_these(python):
    seen = facts(python, "uneven")
    looked, text, *done = seen["even"]
    assert {looked, *done} == {"FINISHED"} and "line up" not in text
    assert "so the photo does not line up" in seen["exported"]


def test_a_rig_that_is_not_whole_is_neither_shown_nor_exported(python):
    seen = facts(python, "gone")
    for name in ("surface", "photo"):
        assert all("is not whole" in one_sentence(sentence) for sentence in seen[name])
    assert "is gone" in one_sentence(seen["pixels"][1]) and not seen["file"]
    assert seen["whole"] == "FINISHED"


def test_names_of_files_that_are_none_are_refused(python):
    seen = facts(python, "names")
    words = {"unsaved": "not saved yet", "none": "No file name", "folder": "is a folder", "nowhere": "cannot be"}
    assert all(word in one_sentence(seen[name]) for name, word in words.items())
    assert "not saved yet" in one_sentence(seen["shot"]) and seen["left"] == []


@pytest.mark.parametrize("kind", ["layers", "layers, catcher", "torn", "live", "adaptive", "sphere", "metres", "point"])
def test_7_what_is_saved_opened_and_rebuilt_is_the_same_bit_for_bit(python, kind):
    result, count, opened, rebuilt = facts(python, "reopened")[kind]
    assert result == "FINISHED" and count >= 2 and opened == [] and rebuilt == []


def test_a_linked_rig_is_looked_at_and_not_changed(python):
    seen = facts(python, "linked")
    assert seen["look_through"] == "FINISHED" and not seen["relief"]
    assert all("comes from another file" in one_sentence(seen[name]) for name in ("rebuild", "background"))
