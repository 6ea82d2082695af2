"""Enlarged maps get the outlines of the full-size picture, tile by tile without a trace of the tiles."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from pro_engine.inference import sharpen as module
from pro_engine.inference.sharpen import TILE_PX, sharpen, snap
from pro_engine.models.outlines import snap_to_outlines

CANVAS = (200, 300)
SIZE = (600, 900)


@pytest.fixture
def photo() -> np.ndarray:
    """(600, 900, 3) uint8: a bright disc that crosses borders of tiles, on a dark ground."""
    picture = np.full((*SIZE, 3), 60, np.uint8)
    cv2.circle(picture, (2 * TILE_PX, TILE_PX), 130, (200, 180, 160), -1)
    return picture


@pytest.fixture
def enlarged(photo: np.ndarray) -> np.ndarray:
    """(600, 900) float32: the disc's disparity, seen at a third of the size."""
    truth = (photo[..., 0] > 100).astype(np.float32)
    return cv2.resize(cv2.resize(truth, CANVAS[::-1], interpolation=cv2.INTER_AREA), SIZE[::-1])


def test_slopes_become_steps(photo, enlarged):
    truth = (photo[..., 0] > 100).astype(np.float32)
    sharp = enlarged.copy()
    sharpen(sharp, photo, CANVAS)
    assert np.abs(sharp - truth).mean() < 0.8 * np.abs(enlarged - truth).mean()
    between = (sharp > 0.2) & (sharp < 0.8)
    assert between.sum() < 0.75 * ((enlarged > 0.2) & (enlarged < 0.8)).sum()


def test_tiles_leave_no_trace(photo, enlarged):
    at_once = snap(enlarged, photo, (8, 4, 2, 1))
    sharp = enlarged.copy()
    sharpen(sharp, photo, CANVAS)
    worked_on = sharp != enlarged
    assert worked_on.any() and not worked_on.all()
    np.testing.assert_allclose(sharp[worked_on], at_once[worked_on], atol=1e-6)
    np.testing.assert_allclose(sharp, at_once, atol=0.02)  # what was left out has nothing to sharpen


def test_the_filter_is_that_of_the_refiner(photo, enlarged):
    noisy = np.clip(photo + np.random.default_rng(0).normal(0, 6, photo.shape), 0, 255).astype(np.uint8)
    colours = torch.from_numpy(noisy.transpose(2, 0, 1).copy())[None].float() / 255
    expected = snap_to_outlines(torch.from_numpy(enlarged)[None, None], colours, (4, 2, 1))[0, 0].numpy()
    assert np.abs(snap(enlarged, noisy, (4, 2, 1)) - expected).mean() < 0.03 * np.abs(enlarged - expected).mean()


@pytest.mark.parametrize("canvas", [SIZE, (500, 760)])
def test_what_was_hardly_enlarged_stays(photo, enlarged, canvas):
    sharp = enlarged.copy()
    sharpen(sharp, photo, canvas)
    np.testing.assert_array_equal(sharp, enlarged)


def test_a_map_without_outlines_costs_nothing(photo, monkeypatch):
    monkeypatch.setattr(module, "snap", lambda *_: pytest.fail("there is nothing to snap"))
    slope = np.linspace(0, 1, SIZE[1], dtype=np.float32) * np.ones((SIZE[0], 1), np.float32)
    for even in (slope, np.ones_like(slope)):
        before = even.copy()
        sharpen(even, photo, CANVAS)
        np.testing.assert_array_equal(even, before)
