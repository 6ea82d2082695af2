"""A panorama of a world whose distances are known, and a model that is right but for each view's scale and shift."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pro_engine.errors import CancelledError, InputError
from pro_engine.geometry.camera import directions
from pro_engine.inference.panorama import infer_panorama
from pro_engine.types import DepthResult, ScaleShift

H, W = 256, 512
WALLS = np.array([[-3.0, -1.2, -2.0], [2.0, 1.6, 5.0]])  # the room's corners around the camera


def distances(rays: np.ndarray) -> np.ndarray:
    """From the middle of the room to its walls, and to a pillar in it."""
    with np.errstate(divide="ignore"):
        walls = np.min(np.where(rays < 0, WALLS[0] / rays, WALLS[1] / rays), axis=-1)
    pillar = np.abs(np.arctan2(rays[..., 0], rays[..., 2]) - 0.9) < 0.1
    return np.where(pillar, np.minimum(walls, 1.0 / np.hypot(rays[..., 0], rays[..., 2]).clip(1e-3)), walls)


def panorama() -> np.ndarray:
    """Its colours say in which direction each pixel lies, to the model below."""
    return ((directions(np.arange(H), np.arange(W), H, W) + 1) * 127.5).round().astype(np.uint8)


class Knowing:
    """A model that reads the directions."""

    def __init__(self, *, metric: bool = False, sky: bool = False) -> None:
        self._random, self._metric, self._sky = np.random.default_rng(1), metric, sky

    def refiner_for(self, options: Any) -> object:
        return object()

    def plans(self, height: int, width: int, options: Any) -> list[Any]:
        return [SimpleNamespace(patches=4)]

    def infer(self, image: np.ndarray, *, intrinsics: Any, progress: Any = None, **_: Any) -> DepthResult:
        for done in range(1, 6):
            if progress is not None and progress(done, 5) is False:
                raise CancelledError("stopped")
        rays = image / 127.5 - 1
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        x, y = np.meshgrid(
            (np.arange(intrinsics.width) - intrinsics.cx) / intrinsics.fx,
            (np.arange(intrinsics.height) - intrinsics.cy) / intrinsics.fy,
        )
        z = (distances(rays) / np.sqrt(1 + x**2 + y**2)).astype(np.float32)
        valid = np.ones(z.shape, np.bool_)
        sky = rays[..., 1] < -0.9 if self._sky else None
        if self._metric:
            wrong = z * np.float32(self._random.uniform(0.8, 1.25))
            return DepthResult(1 / wrong, valid, wrong, scale_shift=ScaleShift(1.0, 0.0, source="metric"), sky=sky)
        scale, shift = self._random.uniform(0.5, 2.0), self._random.uniform(-1, 1)
        return DepthResult((scale / z + shift).astype(np.float32), valid, sky=sky)


def errors(found: np.ndarray) -> np.ndarray:
    """Relative, away from outlines, where a pixel of a view is no pixel of the panorama."""
    true = distances(directions(np.arange(H), np.arange(W), H, W))
    steps = np.abs(np.diff(np.log(true), axis=1, append=np.log(true[:, :1]))) > 0.05
    near = np.zeros_like(steps)
    for shift in range(-6, 7):
        near |= np.roll(steps, shift, axis=1)
    return np.abs(found / true - 1)[~near]


def test_scales_and_shifts_of_the_views_are_found() -> None:
    result = infer_panorama(Knowing(), panorama())  # type: ignore[arg-type]
    true = distances(directions(np.arange(H), np.arange(W), H, W))
    assert result.disparity.shape == (H, W) and result.valid.all() and result.depth is None
    assert np.median(result.disparity) == pytest.approx(1, abs=1e-3)
    unit = np.median(true * result.disparity)  # the one thing that a panorama does not tell
    wrong = errors(unit / result.disparity)
    assert np.median(wrong) < 0.02 and np.percentile(wrong, 95) < 0.08


def test_nothing_shows_where_the_columns_meet_and_where_views_do() -> None:
    found = infer_panorama(Knowing(), panorama()).disparity  # type: ignore[arg-type]
    across = np.abs(np.diff(np.concatenate([found, found[:, :1]], axis=1), axis=1))[H // 4 : H // 2]
    assert across[:, -1].max() <= np.percentile(across, 99)


def test_metric_views_keep_their_mean_metres() -> None:
    result = infer_panorama(Knowing(metric=True), panorama())  # type: ignore[arg-type]
    assert result.depth is not None and result.scale_shift is not None and result.scale_shift.source == "metric"
    true = distances(directions(np.arange(H), np.arange(W), H, W))
    factor = np.median(result.depth / true)
    assert 0.8 < factor < 1.25
    wrong = errors(result.depth / factor)
    assert np.median(wrong) < 0.02 and np.percentile(wrong, 95) < 0.08


def test_the_sky_is_where_the_views_see_it() -> None:
    sky = infer_panorama(Knowing(sky=True), panorama()).sky  # type: ignore[arg-type]
    assert sky is not None
    expected = directions(np.arange(H), np.arange(W), H, W)[..., 1] < -0.9
    assert (sky != expected).mean() < 0.01 and sky.any()


def test_progress_counts_over_all_views_and_stops() -> None:
    told: list[tuple[int, int]] = []
    infer_panorama(Knowing(), panorama(), progress=lambda done, total: told.append((done, total)))  # type: ignore[arg-type]
    assert [done for done, _ in told] == list(range(1, 41)) and {total for _, total in told} == {40}
    with pytest.raises(CancelledError):
        infer_panorama(Knowing(), panorama(), progress=lambda done, _: done < 12)  # type: ignore[arg-type]


@pytest.mark.parametrize(("shape", "words"), [((64, 96), "twice as wide as high"), ((50, 100), "at least 128")])
def test_other_pictures_are_refused(shape: tuple[int, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        infer_panorama(Knowing(), np.zeros((*shape, 3), np.uint8))  # type: ignore[arg-type]
