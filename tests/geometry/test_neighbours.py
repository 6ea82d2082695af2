"""The map's share of errors at points: neighbours have the map's in common, and the points' own each for itself."""

from __future__ import annotations

import numpy as np
import pytest

from pro_engine.geometry.neighbours import REACH, SURFACE, shared_error

COUNT = 3000


def errors(of_map: float, of_points: float) -> tuple[np.ndarray, ...]:
    """Errors, places, log depth and folds: the map's error waves over the picture, some points are far off."""
    rng = np.random.default_rng(0)
    uv = rng.uniform(0, 1, (COUNT, 2)) * (1, 0.75)
    wave = np.sqrt(2) * np.sin(12 * uv[:, 0]) * np.sqrt(2) * np.cos(9 * uv[:, 1])
    found = of_map * wave + rng.normal(0, of_points, COUNT)
    found[::20] += rng.normal(0, 1, len(found[::20]))
    return found, uv, np.full(COUNT, 0.5), rng.integers(0, 5, COUNT)


@pytest.mark.parametrize(("of_map", "of_points", "share"), [(0.01, 0.0, 1.0), (0.01, 0.01, 0.5), (0.0, 0.01, 0.0)])
def test_the_share_of_the_map_is_what_neighbours_have_in_common(of_map, of_points, share):
    found, pairs = shared_error(*errors(of_map, of_points))
    assert pairs > 500 and found == pytest.approx(share, abs=0.12)


def test_pairs_are_of_one_fold_on_one_surface_and_apart():
    two = np.array([0.01, 0.01])

    def pairs(apart: float, step: float, folds: list[int]) -> int:
        return shared_error(two, np.array([[0.5, 0.5], [0.5 + apart, 0.5]]), np.array([0, step]), np.array(folds))[1]

    assert pairs(0.9 * REACH, 0.0, [3, 3]) == 2
    assert pairs(1.1 * REACH, 0.0, [3, 3]) == 0
    assert pairs(0.9 * REACH, 1.1 * SURFACE, [3, 3]) == 0
    assert pairs(0.9 * REACH, 0.0, [3, 4]) == 0
    assert pairs(0.0, 0.0, [3, 3]) == 0  # twins
    assert shared_error(np.empty(0), np.empty((0, 2)), np.empty(0), np.empty(0, dtype=np.int64)) == (0.0, 0)
