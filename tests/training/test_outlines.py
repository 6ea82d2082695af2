"""The network for outlines: its labels, what is painted over its pictures, a run, and the file that ships."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pro_engine.inference.load import load_model
from pro_engine.io.weights import read_weights
from pro_engine.options import OptionError
from pro_engine.training.bundle import bundle
from pro_engine.training.options import BundleConfig, OutlinesConfig
from pro_engine.training.outlines import labels, run_outlines
from pro_engine.training.prints import printed


def step(ratio: float) -> np.ndarray:
    """A wall of disparity 1 with one in front of it on the right, from column 40 on."""
    disparity = np.ones((60, 80), np.float32)
    disparity[:, 40:] = ratio
    return disparity


def test_labels_say_where_an_outline_is_and_which_side_is_near():
    disparity = step(1.5)
    known = np.ones_like(disparity, bool)
    soft = cv2.GaussianBlur(disparity, (0, 0), 4)
    near_by, weight, near_side, side_weight = labels(disparity, known, soft)
    assert near_by[:, 36:44].all() and not near_by[:, :30].any() and not near_by[:, 50:].any()
    assert (weight[:, 32:34] == 0).all() and (weight[:, 36:44] == 1).all() and (weight[:, :30] == 1).all()
    assert not near_side[:, 34:40].any() and near_side[:, 40:46].all()
    assert side_weight[:, 38:42].min() > 0.9 and side_weight[:, :20].max() == 0
    turned = labels(disparity, known, -soft)[2]  # sides are those of the map
    assert turned[:, 34:40].all() and not turned[:, 40:46].any()


def test_small_steps_are_no_outlines_and_what_is_not_known_does_not_count():
    disparity, known = step(1.03), np.ones((60, 80), bool)
    near_by, weight, _, _ = labels(disparity, known, disparity)
    assert not near_by.any() and 0 < weight[30, 40] < 1 == weight[30, 10]
    known[:20] = False
    _, weight, _, side_weight = labels(step(1.5), known, disparity)
    assert not weight[:20].any() and not side_weight[:20].any() and weight[30:].any()


def test_prints_change_a_part_of_the_picture_and_are_the_same_for_a_seed():
    image = np.full((120, 160, 3), 90, np.uint8)
    other = np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    before = image.copy()
    one, again = (printed(image, other, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(image, before)
    changed = (one != image).any(2).mean()
    assert one.dtype == np.uint8 and 0.01 < changed < 0.99


def test_a_run_of_a_step_gives_a_file_that_loads(rendered: Path, tmp_path: Path) -> None:
    config = OutlinesConfig(
        steps=1, batch=2, maps=2, data=(rendered,), out=tmp_path / "run", models=("compact",), prints=1, warm_up=1
    )
    run_outlines(config)
    assert list((tmp_path / "run" / "maps").glob("*.npz"))
    file = tmp_path / "outlines.safetensors"
    bundle(BundleConfig(outlines=tmp_path / "run" / "model.safetensors", out=file))
    made, shipped = read_weights(file), load_model("compact", device="cpu").outlines
    assert shipped is not None
    kept = "trunk.blocks.3.project.0.weight"  # compact's, as in the file that ships
    ours = read_weights(Path("pro_engine/weights/outlines.safetensors"))
    assert made.keys() == ours.keys() and (made[kept] == ours[kept]).all()
    with pytest.raises(OptionError, match="a file of its own"):
        bundle(BundleConfig(outlines=file, base=file, out=tmp_path / "none.safetensors"))
