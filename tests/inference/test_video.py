"""Frames of a video: their scale is held, cuts begin anew, and reading runs ahead."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import pro_engine as pro
from pro_engine.inference.video import ScaleHold, VideoPredictor

PHOTO = Path(__file__).parents[2] / "docs/photos"
SIZE = (96, 128)


def scene(seed: int, width: int = SIZE[1]) -> tuple[np.ndarray, np.ndarray]:
    """A picture with some structure, (H, W, 3) uint8, and a disparity map that goes with it."""
    rng = np.random.default_rng(seed)
    grey = cv2.resize(rng.random((24, width // 4)).astype(np.float32), (width, SIZE[0]))
    map_ = cv2.resize(rng.random((5, 2 * width // 32)).astype(np.float32), (width, SIZE[0]))
    return np.repeat((255 * grey)[..., None], 3, 2).astype(np.uint8), 2 * map_ + grey


def result(disparity: np.ndarray) -> pro.DepthResult:
    return pro.DepthResult(disparity.astype(np.float32), np.ones(disparity.shape, bool))


def jump(one: np.ndarray, other: np.ndarray) -> float:
    """By how much the scale differs."""
    return abs(float(other.std() / one.std()) - 1)


def test_a_static_scene_keeps_its_scale_to_a_percent() -> None:
    rng, hold = np.random.default_rng(0), ScaleHold()
    picture, disparity = scene(1)
    raw, held = [], []
    for _ in range(40):
        noisy = np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
        changed = disparity * rng.uniform(0.8, 1.25) + rng.uniform(-0.3, 0.3) + rng.normal(0, 0.02, SIZE)
        raw.append(changed)
        held.append(hold.apply(noisy, result(changed)).disparity)
    jumps = [jump(a, b) for a, b in itertools.pairwise(held)]
    shifts = [abs(np.median(b) - np.median(a)) / disparity.std() for a, b in itertools.pairwise(held)]
    assert max(jump(a, b) for a, b in itertools.pairwise(raw)) > 0.2
    assert max(jumps) <= 0.01 and max(shifts) <= 0.01
    assert hold.cuts == 0


def test_a_pan_does_not_flatten_the_map() -> None:
    picture, disparity = scene(2, 1200)
    rng, hold, gains = np.random.default_rng(3), ScaleHold(), []
    for left in range(0, 1000, 5):
        window = slice(left, left + SIZE[1])
        held = hold.apply(picture[:, window], result(rng.uniform(0.8, 1.25) * disparity[:, window]))
        gains.append(held.disparity.std() / disparity[:, window].std())
    assert hold.cuts == 0
    assert max(abs(b / a - 1) for a, b in itertools.pairwise(gains)) < 0.05
    assert max(gains) < 2 * min(gains)


def test_someone_who_walks_in_does_not_change_the_rest() -> None:
    picture, disparity = scene(3)
    hold = ScaleHold()
    before = hold.apply(picture, result(disparity)).disparity
    picture, disparity = picture.copy(), disparity / 2  # the model makes room for what is nearer
    picture[20:, 40:80], disparity[20:, 40:80] = 200, 6.0
    after = hold.apply(picture, result(disparity)).disparity
    away = np.ones(SIZE, bool)
    away[10:, 30:90] = False
    assert jump(before[away], after[away]) < 0.05


def wobbles(count: int) -> Iterator[np.ndarray]:
    """Smooth changes of a map, each another, which no scale and shift takes away."""
    rng = np.random.default_rng(9)
    for _ in range(count):
        yield cv2.resize(rng.normal(0, 0.1, (4, 5)).astype(np.float32), SIZE[::-1], interpolation=cv2.INTER_CUBIC)


def test_parts_of_a_still_picture_stop_flickering_and_outlines_stay() -> None:
    picture, disparity = scene(10)
    disparity = np.where(picture[..., 0] > 140, disparity + 2, disparity)
    hold, held, raw = ScaleHold(), [], []
    for wobble in wobbles(20):
        raw.append(disparity + wobble)
        held.append(hold.apply(picture, result(raw[-1])).disparity)
    flicker = [np.mean([np.abs(b - a).mean() for a, b in itertools.pairwise(maps)]) for maps in (raw, held)]
    assert flicker[1] < 0.3 * flicker[0]
    steps = [np.abs(np.diff(maps[-1], axis=1)).max() for maps in (raw, held)]
    assert abs(steps[1] / steps[0] - 1) < 0.05


def test_what_comes_nearer_by_a_jump_is_there_at_once_though_it_looks_the_same() -> None:
    picture, disparity = scene(11)
    hold = ScaleHold()
    for wobble in wobbles(5):
        before = hold.apply(picture, result(disparity + wobble)).disparity
    disparity = disparity.copy()
    disparity[30:60, 40:80] += 6
    after = hold.apply(picture, result(disparity)).disparity
    jumped = (after - before)[35:55, 45:75]
    assert jumped.min() > 5 and jumped.max() < 7


def test_a_cut_begins_anew() -> None:
    hold = ScaleHold()
    for seed, gain in ((4, 1.0), (4, 1.3), (5, 3.0)):
        picture, disparity = scene(seed)
        picture = picture // 3 if seed == 5 else picture
        held = hold.apply(picture, result(gain * disparity))
    assert hold.cuts == 1
    np.testing.assert_array_equal(held.disparity, (3 * disparity).astype(np.float32))
    hold.apply(picture[:50], result(disparity[:50]))  # another size
    assert hold.cuts == 2
    hold.reset()
    hold.apply(picture, result(disparity))
    assert hold.cuts == 2


def test_a_flat_map_is_moved_only() -> None:
    picture, disparity = scene(6)
    hold = ScaleHold()
    hold.apply(picture, result(disparity))
    flat = hold.apply(picture, result(np.full(SIZE, 7.0))).disparity
    assert np.ptp(flat) < 1e-6 and abs(flat.mean() - np.median(disparity)) < 0.2


def test_metres_are_held_by_their_scale_and_the_map_stays() -> None:
    picture, disparity = scene(7)
    hold = ScaleHold()
    depths = []
    for gain in (1.0, 1.2):
        own = pro.ScaleShift(0.1 * gain, 0.2, source="metric")
        given = result(disparity).with_depth(pro.disparity_to_depth(disparity, own), own)
        held = hold.apply(picture, given)
        np.testing.assert_allclose(held.disparity, given.disparity, atol=2e-3)
        assert held.scale_shift is not None and held.scale_shift.source == "metric"
        depths.append(held.depth)
    assert np.median(np.abs(depths[1] / depths[0] - 1)) < 0.01


def test_the_coarse_map_stays_on_the_same_scale() -> None:
    picture, disparity = scene(8)
    hold = ScaleHold()
    hold.apply(picture, result(disparity))
    given = result(3 * disparity + 1)
    held = hold.apply(picture, replace(given, coarse=given.disparity))
    np.testing.assert_array_equal(held.coarse, held.disparity)


class Fake:
    """A predictor that tells what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def infer(self, image: np.ndarray, **_: object) -> pro.DepthResult:
        self.asked.append(int(image[0, 0, 0]))
        if self.asked[-1] == 99:
            raise pro.InputError("no such frame")
        return result(image[..., 0].astype(np.float32))


def frames(numbers: list[int], read: list[int]) -> Iterator[np.ndarray]:
    for number in numbers:
        read.append(number)
        yield np.full((40, 40, 3), number, np.uint8)


def test_frames_are_read_and_inferred_ahead_of_their_turn_and_come_in_order() -> None:
    fake, read = Fake(), []
    stream = VideoPredictor(fake, hold_scale=False).stream(frames(list(range(20)), read))
    assert next(stream)[0][0, 0, 0] == 0
    for _ in range(200):
        if len(fake.asked) >= 3 and len(read) >= 5:
            break
        threading.Event().wait(0.01)
    assert 3 <= len(fake.asked) <= 4 and 5 <= len(read) <= 7  # ahead, and not further than needed
    assert [int(image[0, 0, 0]) for image, _ in stream] == list(range(1, 20))
    assert fake.asked == list(range(20))


@pytest.mark.parametrize("stage", ["reading", "inference"])
def test_an_error_comes_after_the_results_before_it(stage: str) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from frames([1, 2], [])
        if stage == "reading":
            raise OSError("the disk is gone")
        yield from frames([99], [])

    stream = VideoPredictor(Fake(), hold_scale=False).stream(broken())
    assert [int(image[0, 0, 0]) for image, _ in itertools.islice(stream, 2)] == [1, 2]
    with pytest.raises(OSError if stage == "reading" else pro.InputError, match=r"gone|no such frame"):
        next(stream)


def test_a_stream_that_is_left_early_leaves_no_thread() -> None:
    before = threading.active_count()
    stream = VideoPredictor(Fake(), hold_scale=False).stream(frames(list(range(100)), []))
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_a_real_model_on_a_still_camera(device: torch.device) -> None:
    picture, _ = pro.load_image(next(PHOTO.glob("*.jpg")))
    small = cv2.resize(picture, (320, 240), interpolation=cv2.INTER_AREA)
    rng = np.random.default_rng(1)
    noisy = [np.clip(small * gain + rng.normal(0, 4, small.shape), 0, 255).astype(np.uint8)
             for gain in (1.0, 0.9, 1.05, 0.95)]  # fmt: skip
    video = VideoPredictor(pro.load_model("compact", device=str(device)), options=pro.InferenceOptions(tiles=(1, 1)))
    maps = [found.disparity for _, found in video.stream(noisy)]
    assert video.hold is not None and video.hold.cuts == 0
    assert max(jump(a, b) for a, b in itertools.pairwise(maps)) <= 0.01


def test_the_lens_of_the_first_frame_is_that_of_all(tiny):
    """The model gives another one for every frame; frames of another size are another shot."""
    psi = tiny.WallPsi(by_focal=True, focal_px=50.0)
    psi.register_forward_pre_hook(lambda *_: setattr(psi, "focal_px", psi.focal_px + 1))
    video = VideoPredictor(tiny.predictor(psi=psi, trained=False), options=pro.InferenceOptions(refine="none"))
    picture = np.full((128, 192, 3), 90, np.uint8)
    first, second, turned = (
        video.infer(one) for one in (picture, picture, np.ascontiguousarray(picture.swapaxes(0, 1)))
    )
    assert first.intrinsics == second.intrinsics and second.lens_source == "model"
    np.testing.assert_allclose(second.depth, first.depth, rtol=1e-5)
    assert turned.intrinsics.width == 128 and turned.lens_source == "model"
