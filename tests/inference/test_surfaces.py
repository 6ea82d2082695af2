"""Sharp outlines at the picture's size: their place, that nothing lies beyond both sides, and the share of the near."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from pro_engine.inference import sides, surfaces, tiling
from pro_engine.inference.load import load_model
from pro_engine.inference.predictor import DepthPredictor
from pro_engine.inference.surfaces import Sides
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


def told(near: np.ndarray, certainty: float = 4.0) -> Sides:
    """What a network says that knows which pixels (h, w) are near, and that outlines are within seven pixels."""
    inside, outside = (cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, 5) for part in (near, ~near))
    away = np.maximum(inside, outside)
    logit = certainty * np.clip(inside - outside, -1, 1)
    return Sides(np.clip((8 - away) / 2, 0, 1).astype(np.float32), logit.astype(np.float32))


def test_a_soft_step_becomes_one_where_the_picture_has_it_and_nothing_beyond_both_sides():
    values, image, disc = soft_disc()
    off = np.roll(disc, 1, 1)  # a network that is off by a pixel, and not sure of it
    shown = surfaces.shown(surfaces.find(values, image, told(off, 0.8)))
    near = shown > 0.6
    assert np.mean((values > 0.6) != disc) > 0.01
    assert np.mean(near != disc) < 0.5 * np.mean(off != disc)  # its colours tell
    outline = disc[:, 1:] != disc[:, :-1]
    soft, sharp = (np.median(np.abs(np.diff(one, axis=1))[outline]) for one in (values, shown))
    assert soft < 0.1 and sharp > 0.5  # of a step of 0.8 to 1
    low, high = cv2.erode(values, np.ones((33, 33))), cv2.dilate(values, np.ones((33, 33)))
    assert (shown >= low - 1e-6).all() and (shown <= high + 1e-6).all()


def test_where_no_outline_is_the_map_is_smooth_and_slopes_stay():
    values, image, disc = soft_disc()
    nowhere = Sides(np.zeros_like(values), told(disc).near_side)
    one, other, _ = surfaces.find(values, image, nowhere)
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(one, cv2.GaussianBlur(values, (0, 0), surfaces.FLAT_SIGMA_PX), atol=1e-5)
    slope = np.tile(np.linspace(0, 1, 200, dtype=np.float32), (160, 1))
    shown = surfaces.shown(surfaces.find(slope, image, nowhere))
    np.testing.assert_allclose(shown[:, 20:-20], slope[:, 20:-20], atol=1e-4)


def test_without_two_sides_an_outline_changes_nothing():
    values, image, _ = soft_disc()
    one_side = Sides(np.ones_like(values), np.ones_like(values))
    np.testing.assert_allclose(surfaces.shown(surfaces.find(values, image, one_side)), values, atol=1e-6)


def test_scale_and_shift_of_a_map_do_not_matter():
    values, image, disc = soft_disc()
    one, other = (surfaces.find(each, image, told(disc)) for each in (values, values * 7 + 3))
    np.testing.assert_allclose(other[:2], one[:2] * 7 + 3, atol=1e-3)


def test_bands_leave_no_trace(monkeypatch):
    values, image, disc = soft_disc()
    whole = surfaces.find(values, image, told(disc))
    monkeypatch.setattr(surfaces, "_BAND_PX", 40)
    np.testing.assert_allclose(surfaces.find(values, image, told(disc)), whole, atol=1e-4)


def test_the_network_sees_the_outline_of_a_thing_and_its_side(device, monkeypatch):
    values, image, disc = soft_disc()
    predictor = load_model("compact", device=str(device))
    assert predictor.outlines is not None
    with torch.inference_mode():
        said = sides.see(predictor.outlines, values, values, image, device)
        monkeypatch.setattr(sides, "_BAND_PX", 96)
        banded = sides.see(predictor.outlines, values, values, image, device)
    line = (cv2.morphologyEx(disc.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0)[20:-20, 20:-20]
    away = cv2.dilate(line.astype(np.uint8), np.ones((31, 31))) == 0
    near_by = said.near_by[20:-20, 20:-20]
    assert near_by[line].mean() > 0.6 > 0.1 > near_by[away].mean()
    beside = cv2.dilate(line.astype(np.uint8), np.ones((9, 9))) > 0
    assert np.mean((said.near_side > 0)[20:-20, 20:-20][beside] == disc[20:-20, 20:-20][beside]) > 0.8
    assert np.abs(banded.near_by - said.near_by).mean() < 0.05


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
