"""What the panel shows and promises: the cost before the click, labels, tooltips and units, progress and sentences.

Numbers in names: see conftest.py.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from PIL import Image

from blender_addon.engine.models import UNITS, check_metres
from blender_addon.errors import UserError
from blender_addon.ui.picture_size import picture_size
from pro_engine.io.image import IMAGE_SUFFIXES
from pro_engine.io.video import VIDEO_SUFFIXES
from pro_engine.models.presets import PRESETS
from tests.blender.blenders import facts_of, needs_blender

facts = facts_of("inside_panel.py")

LABEL = 11  # letters in a split row of the sidebar at its default width


# ---- 5: before the click


@needs_blender
@pytest.mark.parametrize("case", ["whole", "eroded", "torn", "budget", "live", "adaptive"])
def test_5_the_estimate_of_a_rebuild_is_within_ten_percent(python, case):
    guess, truth, result = facts(python, "promises")[case]
    assert result == "FINISHED" and guess == pytest.approx(truth, rel=0.1)


@needs_blender
def test_5_the_estimate_before_any_depth_comes_from_the_header(python):
    seen = facts(python, "promises")
    assert seen["size"] == [1200, 900] and seen["before"][0] == pytest.approx(seen["before"][1], rel=0.1)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "gif", "bmp"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_size_of_a_picture_is_read_from_its_header(tmp_path, suffix, mode):
    Image.new(mode, (321, 123)).save(path := tmp_path / f"x.{suffix}")
    assert picture_size(path) == (321, 123)
    whole = path.read_bytes()
    for cut in (0, 1, 9, 20, 40):
        path.write_bytes(whole[:cut])
        os.utime(path, ns=(cut, cut))
        assert picture_size(path) in (None, (321, 123))


def test_the_size_of_other_files_is_unknown(tmp_path):
    plane = np.zeros((123, 321), np.float32)
    OpenEXR.File({}, {"RGB": np.dstack([plane] * 3)}).write(str(tmp_path / "x.exr"))
    assert picture_size(tmp_path / "x.exr") == (321, 123)
    Image.new("RGB", (321, 123)).save(tmp_path / "x.webp", lossless=True)
    assert picture_size(tmp_path / "x.webp") == (321, 123)
    (tmp_path / "text.jpg").write_text("no picture")
    assert picture_size(tmp_path / "text.jpg") is picture_size(tmp_path) is picture_size(tmp_path / "none") is None


def test_the_suffixes_are_those_of_the_engine():
    source = (Path(__file__).parents[2] / "blender_addon" / "ui" / "photos.py").read_text("utf-8")
    for name, known in (("SUFFIXES", IMAGE_SUFFIXES), ("VIDEOS", VIDEO_SUFFIXES)):
        text = source.partition(f"\n{name} = ")[2].partition("\n)")[0]
        assert set(re.findall(r'"(\.\w+)"', text)) == known


def test_the_models_without_metres_are_those_of_the_engine():
    assert set(UNITS) == {one.name for one in PRESETS.values() if not one.spec.metric or one.spec.takes_prompt}
    with pytest.raises(UserError, match="moge-2-vits"):
        check_metres("compact", {})
    with pytest.raises(UserError, match="no metres"):
        check_metres("new", {"new": "relative"})
    check_metres("new", {})
    check_metres("moge-2-vits", {"moge-2-vits": "metres"})


# ---- 10, 19: the panel


@needs_blender
def test_19_labels_fit_and_everything_has_a_tooltip_and_a_unit(python):
    seen = facts(python, "labels")
    for name, (label, tooltip, kind, subtype, unit) in seen["shown"].items():
        assert len(label) <= LABEL and tooltip and not tooltip.endswith("."), name
        if kind == "FLOAT":
            assert unit != "NONE" or subtype == "FACTOR", name
    for name, items in seen["enums"].items():
        assert all(len(label) <= LABEL and tooltip for label, tooltip in items), name
    assert all(label and tooltip for label, tooltip in seen["operators"].values())
    assert all(place == ["VIEW_3D", "UI", "PRO"] for _, *place in seen["panels"].values())


@needs_blender
def test_the_panel_shows_the_photo_the_cost_the_progress_and_the_result(python):
    seen = facts(python, "drawn")
    assert "operator pro_depth.estimate" in seen["empty"] and "operator pro_depth.cancel" not in seen["empty"]
    assert "label 96 x 64, 0.0 MP" in seen["chosen"]
    assert any(line.startswith("label About 6 144 vertices and outlines") for line in seen["chosen"])
    work = seen["at work"]
    assert "operator pro_depth.cancel" in work and "operator pro_depth.estimate" not in work
    assert any(line.startswith("progress Estimating") and "left" in line for line in work)
    done = seen["done"]
    assert "label slow" in done and any(line.startswith("label About 6 144 vertices and outlines") for line in done)
    assert any(line.startswith("label slow is done") for line in done)
    for setting, words in (("near", "Near is 100 m"), ("vertices", "Vertices is 3"), ("camera_source", "No camera")):
        assert words in " ".join(line.removeprefix("label ") for line in seen[setting]), setting
    assert any("Engine 0.2.0 on cpu" in line for line in seen["tested"])
    assert any("-m venv" in line for line in seen["empty"])


@needs_blender
def test_10_run_state_is_not_on_the_scene(python):
    assert facts(python, "labels")["run state on the scene"] == []


@needs_blender
def test_14_files_go_where_blender_has_those_of_extensions_unless_told(python):
    assert facts(python, "labels")["cache"] == ".user/user_default/pro_depth/maps"
