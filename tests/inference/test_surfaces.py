"""Sharp outlines at the picture's size: their place, that nothing lies beyond both sides, and the share of the near."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pro_engine.inference import surfaces, tiling
from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.models.contract import PsiSpec
from pro_engine.models.refiner_published import ProRefiner
from pro_engine.options import InferenceOptions, OptionError


def two_sides(height: int = 6, width: int = 16, at: float = 7.3) -> np.ndarray:
    """Near 1 on the left and far 0 on the right of a line at x = `at` of the canvas, in its pixels."""
    share = at - np.arange(width, dtype=np.float32)
    return np.stack([np.full((height, width), v, np.float32) for v in (1, 0)] + [np.tile(share, (height, 1))])


def test_an_outline_lies_between_the_pixels_of_the_canvas():
    shown = surfaces.on_picture(two_sides(), (60, 160))
    assert set(np.unique(shown)) == {0.0, 1.0}  # neither a slope nor anything beyond both sides
    assert (shown == shown[0]).all() and shown[0].sum() == 78  # (7.3 + 0.5) x 10


@pytest.mark.parametrize("published", [False, True])
def test_one_surface_is_enlarged_like_any_map(published):
    spec = PsiSpec((), 32 * 48, 16, keep_aspect=True, published_resize=published)
    layout = tiling.plan(150, 220, spec, (2, 2))
    canvas = np.random.default_rng(0).normal(0, 1, layout.canvas).astype(np.float32)
    same = np.stack((canvas, canvas, np.zeros_like(canvas)))
    mine = surfaces.on_picture(same, layout.image, aligned=layout.published)
    np.testing.assert_allclose(mine, tiling.to_image(canvas, layout), atol=1e-4)


def test_alpha_is_the_share_of_the_near_side_and_1_elsewhere():
    both = two_sides()
    alpha = surfaces.alpha_of(both, (6, 16))
    np.testing.assert_allclose(alpha[0], 1 / (1 + np.exp(-both[2, 0])), atol=1e-6)
    both[1] = both[0]
    assert (surfaces.alpha_of(both, (6, 16)) == 1).all()


def soft_disc() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A near disc of 1 before a slope up to 0.2, blurred and moved by two pixels; its picture; and where it is."""
    y, x = np.mgrid[:160, :200].astype(np.float32)
    disc = (y - 80) ** 2 + (x - 100) ** 2 < 50**2
    colours = np.where(disc[..., None], (200, 80, 60), (60, 90, 160))
    image = np.clip(colours + np.random.default_rng(0).normal(0, 4, (160, 200, 3)), 0, 255).astype(np.uint8)
    values = cv2.GaussianBlur(np.roll(np.where(disc, 1, 0.001 * x), 2, 1).astype(np.float32), (0, 0), 3)
    return values, image, disc


def test_a_soft_step_becomes_one_where_the_picture_has_it_and_nothing_beyond_both_sides():
    values, image, disc = soft_disc()
    shown = surfaces.shown(surfaces.find(values, image))
    near = shown > 0.6
    assert np.mean((values > 0.6) != disc) > 0.01
    assert np.mean(near != disc) < 0.002
    outline = disc[:, 1:] != disc[:, :-1]
    soft, sharp = (np.median(np.abs(np.diff(one, axis=1))[outline]) for one in (values, shown))
    assert soft < 0.1 and sharp > 0.6  # of a step of 0.8 to 1
    low, high = cv2.erode(values, np.ones((11, 11))), cv2.dilate(values, np.ones((11, 11)))
    assert (shown >= low - 1e-6).all() and (shown <= high + 1e-6).all()
    away = cv2.dilate((cv2.Laplacian(disc.astype(np.uint8), cv2.CV_8U) > 0).astype(np.uint8), np.ones((41, 41))) == 0
    assert np.array_equal(shown[away], values[away])


def test_slopes_and_steps_without_a_colour_stay_as_they_are():
    values, image, _ = soft_disc()
    plain = np.full_like(image, 128)
    assert np.array_equal(surfaces.shown(surfaces.find(values, plain)), values)
    slope = np.tile(np.linspace(0, 1, 200, dtype=np.float32), (160, 1))
    assert np.array_equal(surfaces.shown(surfaces.find(slope, image)), slope)


def test_scale_and_shift_of_a_map_do_not_matter():
    values, image, _ = soft_disc()
    one, other = surfaces.find(values, image), surfaces.find(values * 7 + 3, image)
    np.testing.assert_allclose(other[:2], one[:2] * 7 + 3, atol=1e-3)


def test_bands_leave_no_trace(monkeypatch):
    values, image, _ = soft_disc()
    whole = surfaces.find(values, image)
    monkeypatch.setattr(surfaces, "_BAND_PX", 40)
    np.testing.assert_allclose(surfaces.find(values, image), whole, atol=1e-4)


def test_alpha_comes_with_sharp_steps_when_asked(device):
    predictor = load_model("compact", device=str(device))
    image = cv2.resize(soft_disc()[1], (400, 320))
    sharp = InferenceOptions(tiles=(2, 2), refine="sharp")
    assert predictor.infer(image, options=sharp).alpha is None
    alpha = predictor.infer(image, options=replace(sharp, keep_alpha=True)).alpha
    assert alpha is not None and alpha.shape == (320, 400)
    assert alpha.min() >= 0 and alpha.max() == 1
    assert predictor.infer(image, options=replace(sharp, refine="trained", keep_alpha=True)).alpha is None


def test_what_has_no_steps_to_sharpen_says_so(tiny):
    predictor = DepthPredictor(tiny.Psi(), ProRefiner(tiny.Psi().spec.feature_channels, start="coarse"), device="cpu")
    with pytest.raises(OptionError, match="no steps to sharpen; give refine trained"):
        predictor.infer(soft_disc()[1], options=InferenceOptions(refine="sharp"))
