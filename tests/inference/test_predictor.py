"""From an image to a result, with tiny networks: modes, batches, threads, memory, cancelling and bad input."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from pro_engine.errors import CancelledError, DeviceError, InputError, ProEngineError
from pro_engine.inference.seams import seam_jumps
from pro_engine.options import InferenceOptions
from pro_engine.types import Intrinsics

PHASES = {"preprocess", "coarse", "patches", "refiner", "canvas", "total"}


def picture(height: int = 150, width: int = 241, seed: int = 0) -> np.ndarray:
    """Smooth colours with a few hard edges."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    image = np.stack([x * 200 / width, y * 200 / height, (x + y) * 100 / (height + width)], axis=2)
    for _ in range(12):
        top, left = rng.integers(height), rng.integers(width)
        image[top : top + height // 5, left : left + width // 5] = rng.integers(0, 256, 3)
    return image.astype(np.uint8)


@pytest.fixture(scope="module")
def predictor(tiny):
    return tiny.predictor()


def test_result_is_complete(predictor):
    image = picture()
    lens = Intrinsics.from_fov(241, 150, fov_x_deg=60)
    result = predictor.infer(image, intrinsics=lens, options=InferenceOptions(tiles=(2, 3)))
    assert result.disparity.shape == result.valid.shape == (150, 241)
    assert result.disparity.dtype == np.float32
    assert result.valid.dtype == bool
    assert result.valid.all()
    assert np.isfinite(result.disparity).all()
    assert (result.tiles, result.model, result.intrinsics) == ((2, 3), "tiny", lens)
    assert result.depth is None
    assert result.coarse is None
    assert set(result.timings) == PHASES
    assert 0 < result.seconds == result.timings["total"]


@pytest.mark.parametrize("size", [(32, 32), (64, 500), (333, 64), (101, 103)])
@pytest.mark.parametrize("refine", ["trained", "blend", "none"])
@pytest.mark.parametrize("spec", ["ours", "published"])
def test_any_size_and_mode(tiny, size, refine, spec):
    predictor = tiny.predictor(psi=tiny.Psi(tiny.SPECS[spec]))
    for tiles in ("auto", (3, 2)):
        result = predictor.infer(picture(*size), options=InferenceOptions(tiles=tiles, refine=refine))
        assert result.disparity.shape == size
        assert np.isfinite(result.disparity).all()


def test_coarse_map_is_normalised(predictor):
    result = predictor.infer(picture(), options=InferenceOptions(refine="none"))
    assert result.tiles == (1, 1)
    assert abs(float(np.median(result.disparity))) < 0.1
    assert abs(float(np.abs(result.disparity).mean()) - 1) < 0.1


def test_coarse_is_kept_on_request_and_equals_no_refinement(predictor):
    kept = predictor.infer(picture(), options=InferenceOptions(tiles=(2, 2), keep_coarse=True))
    alone = predictor.infer(picture(), options=InferenceOptions(refine="none"))
    np.testing.assert_allclose(kept.coarse, alone.disparity, atol=1e-6)
    assert np.abs(kept.disparity - kept.coarse).max() > 0.01


@pytest.mark.parametrize("spec", ["ours", "published"])
def test_patches_land_where_they_were_cut(tiny, spec):
    """Without a residual the canvas is the coarse map again, whatever the grid."""
    predictor = tiny.predictor(tiny.CoarseOnly(), psi=tiny.Psi(tiny.SPECS[spec]))
    result = predictor.infer(picture(160, 256), options=InferenceOptions(tiles=(3, 4), keep_coarse=True))
    inner = (slice(8, -8), slice(8, -8))
    error = np.abs(result.disparity - result.coarse)[inner]
    assert np.median(error) < 0.02 * np.ptp(result.coarse)
    assert seam_jumps(result.disparity, result.tiles).ratio < 1.5


@pytest.mark.parametrize("refine", ["trained", "blend"])
@pytest.mark.parametrize("batch_size", [2, 3, 5, 12, 100, "auto"])
def test_batch_size_does_not_change_the_result(predictor, refine, batch_size):
    image = picture(200, 300)
    one = predictor.infer(image, options=InferenceOptions(tiles=(3, 4), refine=refine, batch_size=1)).disparity
    other = predictor.infer(
        image, options=InferenceOptions(tiles=(3, 4), refine=refine, batch_size=batch_size)
    ).disparity
    assert np.abs(one - other).max() <= 1e-5 * np.ptp(one)


def test_two_threads_share_one_predictor(predictor):
    images = [picture(seed=1), picture(120, 333, seed=2)]
    options = InferenceOptions(tiles=(3, 3), batch_size=2)
    expected = [predictor.infer(image, options=options).disparity for image in images]
    results: dict[tuple[int, int], np.ndarray] = {}

    def work(which: int) -> None:
        for turn in range(5):
            results[which, turn] = predictor.infer(images[which], options=options).disparity

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 10
    for (which, _), disparity in results.items():
        np.testing.assert_array_equal(disparity, expected[which])


def test_progress_counts_the_passes_and_false_cancels(predictor):
    calls: list[tuple[int, int]] = []
    options = InferenceOptions(tiles=(2, 3), batch_size=4)
    predictor.infer(picture(), options=options, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 7), (5, 7), (7, 7)]

    seen: list[int] = []

    def stop_at_five(done: int, total: int) -> bool:
        seen.append(done)
        return done < 5

    with pytest.raises(CancelledError, match="after 5 of 7"):
        predictor.infer(picture(), options=options, progress=stop_at_five)
    assert seen == [1, 5]


def test_progress_may_raise_cancelled(predictor):
    def stop(done: int, total: int) -> None:
        raise CancelledError("the user closed the window")

    with pytest.raises(CancelledError, match="closed the window"):
        predictor.infer(picture(), progress=stop)


def test_out_of_memory_halves_the_batch_and_goes_on(tiny):
    torch.manual_seed(0)
    refiner = tiny.LimitedRefiner(limit=2)
    predictor = tiny.predictor(refiner)
    options = InferenceOptions(tiles=(3, 3), batch_size=9)
    disparity = predictor.infer(picture(), options=options).disparity
    assert refiner.batches == [2, 2, 2, 2, 1]
    refiner.limit = 9
    np.testing.assert_allclose(disparity, predictor.infer(picture(), options=options).disparity, atol=1e-5)


def test_no_memory_at_all_is_one_clear_error(tiny):
    predictor = tiny.predictor(tiny.LimitedRefiner(limit=0))
    with pytest.raises(DeviceError, match="does not hold even one patch"):
        predictor.infer(picture())


@pytest.mark.parametrize("refine", ["trained", "blend", "none"])
@pytest.mark.parametrize("value", [0, 127, 255])
def test_featureless_pictures_stay_finite(tiny, refine, value):
    image = np.full((96, 128, 3), value, dtype=np.uint8)
    for predictor in (tiny.predictor(psi=tiny.FlatPsi()), tiny.predictor()):
        result = predictor.infer(image, options=InferenceOptions(tiles=(2, 2), refine=refine))
        assert np.isfinite(result.disparity).all()


def test_refine_needs_a_trained_refiner(tiny):
    predictor = tiny.predictor(trained=False)
    with pytest.raises(InputError, match=r"no refiner of its own; give refine blend"):
        predictor.infer(picture())
    assert predictor.infer(picture(), options=InferenceOptions(refine="blend")).disparity.shape == (150, 241)


def test_values_that_are_not_finite_are_refused(tiny):
    class Broken(tiny.Psi):
        def forward(self, image):
            output = super().forward(image)
            return output._replace(disparity=output.disparity * float("nan"))

    with pytest.raises(ProEngineError, match="not finite in"):
        tiny.predictor(psi=Broken()).infer(picture())


def test_metric_model_gives_metres(tiny):
    spec = dataclasses.replace(tiny.SPECS["ours"], unit="inverse metres")
    result = tiny.predictor(psi=tiny.Psi(spec)).infer(picture(), options=InferenceOptions(refine="none"))
    assert result.scale_shift.source == "metric"
    inverse = result.scale_shift.scale * result.disparity + result.scale_shift.shift
    np.testing.assert_allclose(1 / result.depth, inverse, rtol=1e-4)


def test_bfloat16_is_close(tiny, predictor):
    options = InferenceOptions(tiles=(2, 2))
    low = tiny.predictor(dtype="bfloat16").infer(picture(), options=options).disparity
    full = predictor.infer(picture(), options=options).disparity
    assert low.dtype == np.float32
    assert np.abs(low - full).mean() < 0.05 * np.ptp(full)


def test_modules_keep_no_state_of_an_image(predictor):
    before = {name: value.clone() for name, value in predictor.psi.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in predictor.refiner.named_modules()}
    predictor.infer(picture(), options=InferenceOptions(tiles=(2, 2)))
    assert all(torch.equal(before[name], value) for name, value in predictor.psi.state_dict().items())
    assert attributes == {name: set(vars(module)) for name, module in predictor.refiner.named_modules()}


GOOD = np.zeros((64, 64, 3), dtype=np.uint8)
BAD_IMAGES = {
    "none": (None, "NoneType"),
    "path": (Path("photo.jpg"), r"path \('photo.jpg'\).*load_image"),
    "text": ("photo.jpg", "load_image"),
    "list": ([[1, 2], [3, 4]], "is a list"),
    "tensor": (torch.zeros(3, 64, 64), "is a Tensor"),
    "grey": (GOOD[..., 0], "grey.*np.repeat"),
    "one channel": (GOOD[..., :1], "grey"),
    "two channels": (GOOD[..., :2], "2 channels"),
    "alpha": (np.zeros((64, 64, 4), dtype=np.uint8), r"alpha.*image\[..., :3\]"),
    "channels first": (np.zeros((3, 64, 80), dtype=np.uint8), "channels first.*transpose"),
    "batch": (GOOD[None], "batch"),
    "one number": (np.uint8(3), "uint8"),
    "vector": (np.zeros(64, dtype=np.uint8), "shape"),
    "float": (GOOD / 255.0, r"float64.*\(image \* 255\)"),
    "nan": (np.full((64, 64, 3), np.nan, dtype=np.float32), "NaN"),
    "sixteen bits": (GOOD.astype(np.uint16), "uint16.*>> 8"),
    "bool": (GOOD.astype(bool), "bool"),
    "objects": (GOOD.astype(object), "object"),
    "empty": (np.zeros((0, 64, 3), dtype=np.uint8), "no pixels"),
    "thin": (np.zeros((31, 640, 3), dtype=np.uint8), "640x31.*at least 32"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images(predictor, name):
    image, message = BAD_IMAGES[name]
    with pytest.raises(InputError, match=message):
        predictor.infer(image)


def test_intrinsics_of_another_size(predictor):
    lens = Intrinsics.from_fov(100, 80, fov_x_deg=60)
    with pytest.raises(InputError, match=r"100x80.*resized\(241, 150\)"):
        predictor.infer(picture(), intrinsics=lens)


def test_options_that_are_none(predictor):
    with pytest.raises(InputError, match="InferenceOptions"):
        predictor.infer(picture(), options={"tiles": (2, 2)})


def test_views_of_a_larger_array_are_fine(predictor):
    large = picture(300, 482)
    view = large[::2, ::2]
    np.testing.assert_array_equal(
        predictor.infer(view).disparity, predictor.infer(np.ascontiguousarray(view)).disparity
    )
    flipped = large[:, ::-1, ::-1]
    assert predictor.infer(flipped, options=InferenceOptions(tiles=(2, 2))).disparity.shape == (300, 482)


@pytest.mark.parametrize("spec", ["ours", "published"])
def test_shifted_patches_land_where_they_were_cut(tiny, spec):
    predictor = tiny.predictor(tiny.CoarseOnly(), psi=tiny.Psi(tiny.SPECS[spec]))
    options = InferenceOptions(tiles=(3, 4), keep_coarse=True)
    result = predictor.infer(picture(240, 320), options=options, shifted=True)
    assert result.valid[40:200, 40:280].all() and result.valid.sum() == 160 * 240
    inner = (slice(48, -48), slice(48, -48))
    assert np.median(np.abs(result.disparity - result.coarse)[inner]) < 0.02 * np.ptp(result.coarse)


@pytest.mark.parametrize("tiles", [(2, 2), (1, 2)])
def test_shifted_patches_are_refined(predictor, tiles):
    options = InferenceOptions(tiles=tiles, refine="blend", keep_coarse=True)
    plain, shifted = (predictor.infer(picture(120, 160), options=options, shifted=s) for s in (False, True))
    inside = shifted.valid
    assert plain.valid.all() and 0.2 < inside.mean() < 0.6
    assert np.abs(shifted.disparity - plain.disparity)[inside].mean() > 1e-3
    assert np.abs(shifted.disparity - shifted.coarse)[inside].mean() > 1e-3
