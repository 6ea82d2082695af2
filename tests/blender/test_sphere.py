"""A whole panorama as a sphere with the camera inside.

Each check runs in a Blender of its own; see `blenders`.
"""

from __future__ import annotations

import pytest

from pro_engine.jobs.options import JobOptions
from pro_engine.options import choices_of
from tests.blender.blenders import facts_of, needs_blender

facts = facts_of("inside_sphere.py")
run = pytest.importorskip("blender_addon.engine.run")


def test_the_projections_are_those_of_the_engine():
    assert choices_of(JobOptions, "projection") == run.PROJECTIONS


@needs_blender
def test_a_panorama_becomes_a_sphere_seen_from_within(python):
    seen = facts(python, "sphere")
    assert seen["estimate"] == "FINISHED" and "It is a whole panorama" in seen["said"]
    assert seen["camera"] == ["PANO", "EQUIRECTANGULAR"] and "panorama" in seen["told"]
    assert seen["distance"] == pytest.approx([2, 800], rel=1e-5), "near as typed; the sky is a dome"
    assert seen["inwards"][0] == 1 and seen["inwards"][1] > 30_000
    assert seen["pixels"] == [[128, 64], [192, 64], [255, 0]]


@needs_blender
def test_a_render_all_around_is_the_panorama(python):
    seen = facts(python, "sphere")
    assert seen["psnr"] > 45 and seen["gaps"] == 0


@needs_blender
def test_a_panorama_is_rebuilt_from_what_it_keeps(python):
    seen = facts(python, "sphere")
    assert seen["rebuilt"] == ["FINISHED", True], "saved and opened, bit for bit"
    assert seen["torn"][0] == "FINISHED" and seen["torn"][1] == pytest.approx(3000, rel=0.05)
    assert seen["height"][0] == seen["export"] == "FINISHED"


@needs_blender
def test_what_panoramas_do_not_have_is_one_sentence(python):
    seen = facts(python, "sphere")
    assert all("is a panorama; this is for photos of a lens" in text for text in seen["refused"])
    assert "kind Mesh only" in seen["live"] and not seen["relief"]
