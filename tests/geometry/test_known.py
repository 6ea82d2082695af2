"""Metres from distances and lengths: right where they tell enough, and said where they do not."""

from __future__ import annotations

import numpy as np
import pytest

from pro_engine.errors import InputError
from pro_engine.geometry.known import Measured, fit_known
from pro_engine.types import Intrinsics, ScaleShift

K = Intrinsics(100.0, 100.0, 49.5, 39.5, 100, 80)
DEPTH = np.broadcast_to(np.linspace(2, 10, 80)[::-1, None], (80, 100))
DISPARITY = ((1 / DEPTH - 0.05) / 0.4).astype(np.float32)


def point(pixel: tuple[int, int]) -> np.ndarray:
    x, y = pixel
    return DEPTH[y, x] * np.array([(x - K.cx) / K.fx, (y - K.cy) / K.fy, 1])


def distance(pixel: tuple[int, int]) -> Measured:
    return Measured(pixel, float(np.linalg.norm(point(pixel))))


def length(first: tuple[int, int], second: tuple[int, int]) -> Measured:
    return Measured(first, float(np.linalg.norm(point(first) - point(second))), second)


@pytest.mark.parametrize(
    "measured",
    [
        [distance((10, 10)), distance((90, 70))],
        [distance((50, 75)), length((10, 10), (90, 12))],
        [length((20, 20), (80, 20)), length((20, 70), (80, 70))],
    ],
)
def test_two_measurements_give_scale_and_shift(measured):
    fit = fit_known(DISPARITY, K, measured)
    assert fit.shift_is_known and fit.worst < 0.01
    found = 1 / (fit.scale_shift.scale * DISPARITY + fit.scale_shift.shift)
    np.testing.assert_allclose(found, DEPTH, rtol=0.05)


def test_one_distance_gives_the_scale_alone():
    fit = fit_known(DISPARITY, K, [distance((50, 40))])
    assert not fit.shift_is_known
    z = 1 / (fit.scale_shift.scale * DISPARITY[40, 50] + fit.scale_shift.shift)
    assert z == pytest.approx(DEPTH[40, 50], rel=0.01)
    own = fit_known(
        DISPARITY, K, [distance((50, 40))], ScaleShift(4.0, 0.5)
    )  # a model's own metres, ten times too near
    assert own.scale_shift.scale == pytest.approx(0.4, rel=0.01)
    assert own.scale_shift.shift == pytest.approx(0.05, rel=0.01)
    level = fit_known(DISPARITY, K, [distance((10, 40)), distance((90, 40))])
    assert not level.shift_is_known


def test_contradictions_and_points_outside_are_told():
    wrong = distance((10, 10))
    assert fit_known(DISPARITY, K, [distance((11, 10)), Measured(wrong.pixel, 2 * wrong.metres)]).worst > 0.3
    with pytest.raises(InputError, match="outside the picture"):
        fit_known(DISPARITY, K, [Measured((100, 0), 1.0)])
    hole = DISPARITY.copy()
    hole[:20, :20] = np.nan
    with pytest.raises(InputError, match="knows no surface"):
        fit_known(hole, K, [Measured((5, 5), 1.0)])
