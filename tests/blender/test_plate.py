"""What is added to the photo: shadows, projection, backgrounds, and maps for compositors."""

from __future__ import annotations

import pytest

from tests.blender.blenders import facts_of, needs_blender
from tests.blender.engines import one_sentence

facts = facts_of("inside_plate.py")

pytestmark = needs_blender


@pytest.mark.parametrize("lens", ["shifted", "portrait", "wide pixels"])
def test_what_is_projected_is_the_photo_from_the_camera(python, lens):
    seen = facts(python, "projection")[lens]
    assert seen["psnr"] >= 38 and max(map(abs, seen["offset"])) <= 0.05
    assert seen["names"] == ["mine"] and seen["own"] == "own"


def test_a_projection_is_one_material(python):
    seen = facts(python, "projection")
    assert seen["again"] == ["mine"] and seen["materials"] == ["card", "card projection", "own"]


def test_the_photo_is_the_background_of_its_camera_once(python):
    seen = facts(python, "background")
    assert seen["shifted"] == seen["portrait"] == [1, True, "CROP", 1.0, True]
    assert seen["wide pixels"] == [1, True, "STRETCH", 1.0, True]


def test_a_catcher_shows_the_shadow_and_nothing_of_the_photo(python):
    seen = facts(python, "catcher")
    assert seen["switch"] and seen["switched back"] and seen["the user's"]
    assert 0.005 < seen["opaque"] < 0.2 and seen["shadow"] > 0.01 and seen["nothing"] > 0.6


@pytest.mark.parametrize("space", ["CAMERA", "WORLD"])
def test_maps_for_compositors_are_finite_and_lie_on_the_surface_and_the_plate(python, space):
    seen = facts(python, "passes")[space]
    assert seen["files"] == [f"{space}.{name}.exr" for name in ("z", "position", "normal", "mask")]
    assert seen["finite"] and seen["mask"] and seen["z"] < 1e-6
    assert seen["wall"][0] == pytest.approx(seen["wall"][1])
    assert seen["off the surface"] < 1e-3 and seen["normals"] < 1e-5 and seen["facing"] == 1
    assert seen["frame"] == [[7, -3, 246, 156], [0, 0, 299, 199]]


def test_no_file_is_replaced_unasked(python):
    assert "is there already" in one_sentence(facts(python, "passes")["twice"])


def test_the_buttons_do_it_on_a_rig_of_the_engine(python):
    seen = facts(python, "buttons")
    names = ("background", "passes", "again", "compositor")
    assert [seen[name] for name in names] == ["FINISHED"] * 4
    assert (
        seen["project"][0] == "FINISHED" and "onto Cube" in seen["project"][1] and seen["catcher"] == ["FINISHED", True]
    )
    assert seen["files"] == [f"card.{name}.exr" for name in ("mask", "normal", "position", "z")]
    assert seen["textures"] == ["card projection"]
    assert "Nothing to project onto" in one_sentence(seen["nothing"]) and "is there already" in one_sentence(
        seen["twice"]
    )


def test_the_compositor_puts_the_render_over_the_photo(python):
    seen = facts(python, "compositor")
    assert seen["psnr"] >= 38 and seen["film"] and seen["ours"] == [True, False]
    assert seen["labels"] == sorted(["Mask", "Photo", "Z, units of the scene"] * 2)
