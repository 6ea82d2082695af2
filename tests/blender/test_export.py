"""Exports of a rig, imported again: the photo still lines up, and the user's file is as it was.

Each check runs in a Blender of its own; see `blenders`.
"""

from __future__ import annotations

import math

import pytest

from tests.blender.blenders import facts_of, needs_blender

facts = facts_of("inside_export.py")

pytestmark = needs_blender

FORMATS = ["GLB", "USD", "ABC"]
CENTRED = ["centred", "portrait", "principled"]
SHIFTED = ["off-centre", "tall pixels", "live", "live, half", "merged", "moved", "vertical fit", "centimetres"]
CASES = CENTRED + SHIFTED


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("format", FORMATS)
def test_16_the_photo_lines_up_after_the_way_there_and_back(python, format, case):
    seen = facts(python, "return")[f"{format} {case}"]
    assert seen["off before"] < 0.01
    assert seen["off"] < 0.01
    assert seen["vertices"][0] == seen["vertices"][1]
    assert seen["box"] < 1e-4 and seen["middle"] < 1e-4  # metres, of a surface some metres away


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("format", ["USD", "ABC"])
def test_16_shift_and_angle_are_kept(python, format, case):
    seen = facts(python, "return")[f"{format} {case}"]
    before, after = seen["lens"]
    assert after[:2] == pytest.approx(before[:2], abs=0.01)
    assert after[2:] == pytest.approx(before[2:], abs=1e-5)
    near, far, near_again, far_again = seen["clip"]
    assert far_again == pytest.approx(far)
    assert near_again == pytest.approx(near if format == "USD" else max(near, 0.1))  # Blender reads none nearer
    assert seen["faces"] == 4 or case == "merged"
    across, up = (math.tan(math.radians(angle) / 2) for angle in before[:2])
    assert seen["sensor"] == pytest.approx(across / up, rel=1e-5)  # as other programs need it
    assert seen["note"] == ""


@pytest.mark.parametrize("case", CENTRED)
def test_glb_keeps_a_lens_without_shift(python, case):
    seen = facts(python, "return")[f"GLB {case}"]
    before, after = seen["lens"]
    assert after[:2] == pytest.approx(before[:2], abs=0.01)
    assert seen["note"] == ""


@pytest.mark.parametrize("case", SHIFTED)
def test_16_glb_gets_a_larger_frame_for_a_shifted_lens_and_says_so(python, case):
    seen = facts(python, "return")[f"GLB {case}"]
    before, after = seen["lens"]
    assert after[2:] == pytest.approx([0, 0], abs=1e-6) and after[0] > before[0] and after[1] > before[1]
    assert "no lens shift" in seen["note"] and seen["note"].endswith(".")


def test_the_larger_frame_is_told_in_pixels(python):
    seen = facts(python, "return")["GLB off-centre"]
    assert "sees 75x50 pixels" in seen["note"] and "the 60x40 pixels from column 0.2 and row 9.6" in seen["note"]


@pytest.mark.parametrize("material", ["emission", "principled"])
def test_only_the_rig_and_its_photo_are_in_the_file(python, material):
    seen = facts(python, "content")
    this = seen[material]
    assert this["nodes"] == ["card", "card camera", "card surface"] and this["meshes"] == ["card"]
    assert this["image"] and this["texture"] and this["usd again"]
    assert this["usd files"] == [f"{material}.usdc", f"textures/{material}.usdc.png"]
    assert this["painted"] == [True, True, [0, 1, 0]]
    assert [found["name"] for found in this["materials"]] == ["card"]
    assert ("KHR_materials_unlit" in this["extensions"]) == (material == "emission")
    assert "baseColorTexture" in this["materials"][0]["pbrMetallicRoughness"]
    assert seen["left over"] == []


def test_usd_shows_a_photo_that_shines(python):
    light = facts(python, "content")["usd light"]
    assert light["image"] == "emission.usdc.png" and light["size"] == [60, 40]
    assert light["strength"] == 1 and light["base"] == [0, 0, 0]


@pytest.mark.parametrize("mode", ["OBJECT", "EDIT"])
@pytest.mark.parametrize("format", FORMATS)
def test_the_users_file_is_as_it_was(python, format, mode):
    seen = facts(python, "untouched")
    assert seen[f"{mode} {format}"] == []
    assert seen[f"{mode} {format} size"] > 1000
    assert seen["edited"]


def test_two_objects_of_one_mesh_that_is_edited_are_as_they_were(python):
    assert facts(python, "untouched")["twins"] == []


FAILURES = {
    "no such folder": "none cannot be written to (No such file or directory)",
    "a file as folder": "file cannot be written to (Not a directory)",
    "a folder as file": "taken.glb is a folder",
    "unknown format": "'OBJ' is unknown",
    "adaptive": "only while Cycles renders",
    "no camera": "is not whole",
    "orthographic": "no perspective camera",
    "in no scene": "in no scene",
    "no folder for textures": "a.usdc cannot be written (File exists)",
    "an image without file": "is gone",
    "no exporter": "no exporter for USD; export as GLB.",
    "no exporter at all": "turn on the add-on glTF",
    "half a file": "kept.glb could not be written (No space left on device); ",
    "no file": "does not say why",
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_is_one_sentence_and_leaves_nothing(python, case):
    message, as_before = facts(python, "failures")[case]
    assert FAILURES[case] in message
    assert message.endswith(".") and ";" in message and "\n" not in message
    assert as_before
    assert facts(python, "failures")["kept"]


def test_the_operator_exports_the_rig_of_the_active_object(python):
    seen = facts(python, "operator")
    assert not seen["without a rig"]
    for kind in ("EMPTY", "CAMERA", "MESH"):
        assert seen[kind] == [["FINISHED"], True]
    assert seen["usd"] and seen["beside"]
    assert "cannot be written to" in seen["missing folder"]
    assert "no file name" in seen["no name"]
    assert "never saved" in seen["unsaved"]


@pytest.mark.parametrize(("format", "limit_mb"), [("GLB", 70), ("USD", 110), ("ABC", 70)])
def test_a_million_vertices_take_tens_of_megabytes(python, format, limit_mb):
    seen = facts(python, "size")
    seconds, size = seen[format]
    print(f"{format}: {seconds:.1f} s of the processor, {size / 1e6:.0f} MB")
    assert seen["vertices"] == 1_000_000
    assert 10e6 < size < limit_mb * 1e6
