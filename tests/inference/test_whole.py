"""What holds for a photo as such: metres, lens, sky and normals of a Ψ that gives them, and which lens goes first."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from pro_engine.geometry.depth import disparity_to_depth
from pro_engine.geometry.vanishing import focal_from_lines
from pro_engine.inference.whole import Lens, settle
from pro_engine.models.contract import PsiOutput, WholeOutput
from pro_engine.models.vit import VIT_HEADS_SPEC, VIT_SPEC
from pro_engine.options import InferenceOptions
from pro_engine.types import Intrinsics

HEIGHT, WIDTH = 128, 192  # twice the input of the tiny networks, 64 x 96
IMAGE = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
IMAGE[: HEIGHT // 2] = (120, 170, 250)
FOCAL_PX = 200.0  # of the picture: 100 of the input
LENS = Intrinsics(FOCAL_PX, FOCAL_PX, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT)


def seen(tiny, *, intrinsics=None, lens_source="given", keep_normals=False, refine="blend", **wall):
    predictor = tiny.predictor(psi=tiny.WallPsi(**wall), trained=False)
    options = InferenceOptions(tiles=(2, 2), refine=refine, keep_normals=keep_normals)
    return predictor.infer(IMAGE, intrinsics=intrinsics, lens_source=lens_source, options=options)


def test_lines_mend_a_lens_that_is_a_guess_and_no_other():
    image = np.full((480, 640, 3), 230, np.uint8)
    for x in range(-600, 1300, 60):  # a floor and a wall, in two-point perspective
        for far in ((50, 200), (900, 200)):
            cv2.line(image, (x, 480), far, (20, 20, 20), 2, cv2.LINE_AA)
        cv2.line(image, (x, 0), (x, 480), (20, 20, 20), 2, cv2.LINE_AA)
    side = np.sqrt(480 * 640)
    output = PsiOutput(torch.rand(1, 1, 42, 56), (), WholeOutput(focal_px=torch.tensor([[48.5]])))
    guess = settle(output, VIT_SPEC, (42, 56), image, None).lens
    mended = settle(output, VIT_HEADS_SPEC, (42, 56), image, None).lens
    assert guess is not None and mended is not None and guess.source == mended.source == "model"
    expected = focal_from_lines(image, 48.5 * 480 / 42 / side) * side
    assert mended.intrinsics.fx == mended.intrinsics.fy == pytest.approx(expected, rel=1e-6)
    assert guess.intrinsics.fx == pytest.approx(48.5 * 640 / 56, rel=1e-6)
    assert expected < 0.9 * guess.intrinsics.fx
    given = Lens(guess.intrinsics, "given")
    assert settle(output, VIT_HEADS_SPEC, (42, 56), image, given).lens is given


@pytest.mark.parametrize("refine", ["blend", "none"])
def test_metres_of_a_metric_model_need_no_lens(tiny, refine):
    result = seen(tiny, refine=refine)
    np.testing.assert_allclose(result.depth, 3.0, rtol=5e-3)
    assert (result.scale_shift.source, result.intrinsics, result.lens_source) == ("metric", None, None)


@pytest.mark.parametrize("source", ["given", "exif"])
def test_metres_by_the_lens_follow_a_known_lens(tiny, source):
    for factor in (1, 2):
        lens = Intrinsics(factor * FOCAL_PX, factor * FOCAL_PX, LENS.cx, LENS.cy, WIDTH, HEIGHT)
        result = seen(tiny, by_focal=True, focal_px=77.0, intrinsics=lens, lens_source=source)
        np.testing.assert_allclose(result.depth, factor * 3.0, rtol=5e-3)
        assert (result.scale_shift.source, result.lens_source, result.intrinsics) == ("metric", source, lens)


def test_the_models_own_lens_is_taken_where_none_is_known(tiny):
    for given in ({}, {"intrinsics": LENS, "lens_source": "assumed"}):
        result = seen(tiny, by_focal=True, focal_px=50.0, **given)
        np.testing.assert_allclose(result.depth, 1.5, rtol=5e-3)
        assert (result.scale_shift.source, result.lens_source) == ("metric", "model")
        assert (result.intrinsics.fx, result.intrinsics.fy, result.intrinsics.cx) == (100.0, 100.0, LENS.cx)


@pytest.mark.parametrize("focal_px", [1e-3, float("nan"), float("inf"), 1e9])
def test_a_lens_that_cannot_be_is_none(tiny, focal_px):
    result = seen(tiny, focal_px=focal_px)
    assert (result.intrinsics, result.lens_source) == (None, None) and result.depth is not None


def test_metres_by_an_assumed_lens_are_assumed_and_without_a_lens_there_are_none(tiny):
    assumed = seen(tiny, by_focal=True, intrinsics=LENS, lens_source="assumed")
    np.testing.assert_allclose(assumed.depth, 3.0, rtol=5e-3)
    assert (assumed.scale_shift.source, assumed.lens_source) == ("assumed", "assumed")
    without = seen(tiny, by_focal=True)
    assert (without.depth, without.scale_shift) == (None, None)


def test_the_sky_is_infinitely_far_and_its_outline_that_of_the_picture(tiny):
    result = seen(tiny, sky_share=0.5)
    assert result.sky[: HEIGHT // 2 - 2].all() and not result.sky[HEIGHT // 2 + 2 :].any()
    assert np.isposinf(result.depth[result.sky]).all() and result.valid.all()
    np.testing.assert_allclose(result.depth[HEIGHT // 2 + 4 :], 3.0, rtol=0.02)
    assert np.ptp(result.disparity[result.sky]) == 0
    far = disparity_to_depth(result.disparity, result.scale_shift)
    assert (far[result.sky] > 1e4).all()


def test_an_estimated_sky_is_even_and_far_and_surfaces_stay_as_they_are(tiny):
    result, without = seen(tiny, span=(2.0, 9.0), sky_share=0.5), seen(tiny, span=(2.0, 9.0))
    assert result.sky.any() and without.sky is None
    assert (result.depth, result.scale_shift) == (None, None)
    np.testing.assert_array_equal(result.disparity[HEIGHT // 2 + 4 :], without.disparity[HEIGHT // 2 + 4 :])
    top = result.disparity[: HEIGHT // 4]  # below, the map of this Ψ rises towards the wall
    assert result.sky[: HEIGHT // 4].all() and np.ptp(top) == 0
    assert top[0, 0] <= np.percentile(result.disparity[HEIGHT // 2 + 4 :], 1)


@pytest.mark.parametrize(("span", "told"), [((2.0, 9.0), (2.0, 9.0)), ((9.0, 2.0), None), ((1.0, float("inf")), None)])
def test_an_estimated_range_is_told_where_it_can_be(tiny, span, told):
    assert seen(tiny, span=span).span_m == told


def test_normals_are_the_models_own_of_unit_length(tiny):
    assert seen(tiny).normals is None
    normals = seen(tiny, keep_normals=True).normals
    assert normals.dtype == np.float32 and normals.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(normals, np.broadcast_to((0, 0, -1), normals.shape), atol=1e-6)


def test_relative_models_say_nothing_of_it(tiny):
    result = tiny.predictor().infer(IMAGE, intrinsics=LENS)
    assert (result.depth, result.scale_shift, result.sky, result.normals) == (None,) * 4
    assert (result.intrinsics, result.lens_source) == (LENS, "given")
