"""What a build leaves in Blender: the photo seen again through the camera, the same surface in every kind, the depth.

Each check runs in a Blender of its own; see `blenders`.
"""

from __future__ import annotations

import sys

import pytest

from tests.blender.blenders import facts_of, needs_blender

facts = facts_of("inside_build.py")

pytestmark = needs_blender


RIGHT = ["landscape", "portrait", "square", "odd", "off-centre", "wide pixels", "tall pixels", "live", "live, half",
         "adaptive", "merged", "centimetres", "second photo"]  # fmt: skip


@pytest.mark.parametrize("case", RIGHT)
def test_4_a_render_through_the_camera_is_the_photo(python, case):
    seen = facts(python, "match")[case]
    assert seen["psnr"] >= 38 and max(map(abs, seen["offset"])) <= 0.05


def test_4_the_match_would_show_a_mistake(python):
    seen = facts(python, "match")
    assert seen["WRONG shift"]["psnr"] < 20
    assert seen["WRONG half a pixel"]["psnr"] < 33 and abs(seen["WRONG half a pixel"]["offset"][0]) > 0.4


def test_a_metre_is_a_metre_in_the_units_of_the_scene(python):
    seen = facts(python, "match")["centimetres"]
    assert 800 < seen["size"] < 1400 and seen["far"] > 1100


@pytest.mark.parametrize("kind", ["live 1", "adaptive 1"])
def test_6_all_kinds_have_the_same_shape(python, kind):
    seen = facts(python, "parallax")
    assert seen[kind] > 35
    assert seen["live 0"] < 20  # else the view from beside tells nothing
    assert max(seen["hole"]) < 0.01


@pytest.mark.parametrize("mesh", ["whole", "merged", "even"])
def test_6_the_mesh_is_that_of_the_arrays_and_the_live_plane_moves_onto_it(python, mesh):
    seen = facts(python, "kinds")[mesh]
    assert seen["baked"] and seen["vertices"] == seen["expected"]
    assert seen["live"] <= 1e-4
    assert seen["facing"] >= 0.999
    assert seen["edges"] > seen["vertices"] and not seen["invalid"] and not seen["sharp"]


def test_the_result_goes_to_the_scene_given_and_changes_nothing_else(python):
    seen = facts(python, "scene")
    assert seen["in the scene given"] and seen["not in the other"] and seen["scene unchanged"] and seen["parents"]
    assert seen["names"] == ["card", "card", "card camera"]
    assert seen["photo alpha"] == "NONE"


def test_13_a_failure_is_one_sentence_and_leaves_nothing(python):
    for case, (message, as_before) in facts(python, "scene")["failures"].items():
        assert as_before, case
        if case == "late bug":
            assert message.startswith("bug")
        else:
            assert message.endswith(".") and ";" in message and not message.startswith("bug"), case
    assert "is no camera of a photo" in facts(python, "scene")["foreign camera"]


def test_7_maps_survive_saving_bit_for_bit(python):
    seen = facts(python, "reload")
    assert seen["same"] == [True] * 8 and seen["offsets"] and seen["not black"]
    assert set(seen["spaces"]) == {"Non-Color"}
    assert seen["holes"] == 0
    grey, *_ = seen["packed"]
    assert grey < 60 * 40 * 4 + 1000, "one channel"
    assert all(path.startswith("//") and path.count("/") == 2 for path in seen["paths"]), "no folder that will be gone"


def test_7_another_blender_finds_the_maps_bit_for_bit_and_builds_from_them(python, tmp_path):
    assert facts(python, "save", str(tmp_path))
    seen = facts(python, "open", str(tmp_path))
    assert seen["same"] and seen["space"] == "Non-Color"
    assert seen["rebuilt"]


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read as Linux tells it")
def test_5_the_estimate_holds(python):
    seen = facts(python, "memory")
    assert seen["vertices"][0] == seen["vertices"][1] == 2_000_000
    assert 0.85 < seen["bytes"][0] / seen["bytes"][1] < 1.15
