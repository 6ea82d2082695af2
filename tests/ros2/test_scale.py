"""The tracker of the scale: fits, smoothing, what is refused, what is held and for how long."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pro_engine as pro
from ros2_pro.scale.tracker import CONFIRMATIONS, FrameScale, ScaleTracker
from ros2_pro.settings import ScaleSettings

ALIGN = ScaleSettings(mode="align")
HEIGHT, WIDTH = 90, 160
PERIOD_S = 0.1
SHAPES = ("room", "road", "two walls", "stairs", "wall and poles")


@dataclass(frozen=True)
class Points:
    """Of the form of ros2_pro.scale.sensor_samples.Samples."""

    columns: np.ndarray
    rows: np.ndarray
    depth: np.ndarray
    stamp: float = 0.0


def scene(shape: str, seed: int = 0) -> np.ndarray:
    """Inverse depth (H, W) in 1/m."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    down, right = rows / (HEIGHT - 1), columns / (WIDTH - 1)
    if shape == "room":
        return 1 / np.minimum(5.0, np.minimum(1.2 / np.maximum(np.abs(down - 0.5), 0.05), 1 + 6 * right))
    if shape == "road":
        return np.maximum(1 / 60, (down - rng.uniform(0.35, 0.5)) / 1.5)
    if shape == "two walls":
        return np.where(right < rng.uniform(0.3, 0.7), 1 / (1 + 0.5 * down), 1 / (4 + 2 * right))
    if shape == "stairs":
        return 1 / (6 - np.floor(5 * down))
    image = 1 / (8 - 2 * right)
    for column in rng.integers(10, WIDTH - 10, 4):
        image[:, column - 5 : column + 6] = 1 / rng.uniform(1, 4)
    return image


def disparity_of(inverse: np.ndarray, scale: float = 0.2, shift: float = 0.4) -> np.ndarray:
    """What a perfect model gives: inverse = scale * disparity + shift."""
    return ((inverse - shift) / scale).astype(np.float32)


def samples(
    inverse: np.ndarray, seed: int, *, count: int = 500, noise: float = 0.03, outliers: float = 0.0, kind: int = 0
) -> Points:
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, HEIGHT, count), rng.integers(0, WIDTH, count)
    depth = np.maximum(1 / inverse[rows, columns] * (1 + noise * rng.standard_normal(count)), 0.05)
    wrong = rng.permutation(count)[: round(outliers * count)]
    depth[wrong] = (
        rng.uniform(0.1, 100, len(wrong)),
        np.full(len(wrong), 0.01),
        np.full(len(wrong), 500.0),
        depth[wrong] * 0.4,
    )[kind]
    return Points(*(values.astype(np.float32) for values in (columns, rows, depth)))


def everywhere(disparity: np.ndarray) -> np.ndarray:
    return np.ones(disparity.shape, bool)


class Drive:
    """A tracker, at 10 Hz unless told otherwise."""

    def __init__(self, period_s: float = PERIOD_S, **changes: object) -> None:
        self.tracker = ScaleTracker(replace(ALIGN, **changes))
        self.time_s, self.period_s = 100.0, period_s

    def frame(self, disparity: np.ndarray, points: Points | None) -> FrameScale:
        self.time_s += self.period_s
        return self.tracker.update(disparity, everywhere(disparity), points, self.time_s, self.time_s)


def error(scale: FrameScale, disparity: np.ndarray, inverse: np.ndarray) -> float:
    """Median relative error of the depth."""
    assert scale.scale_shift is not None, scale.reason
    depth = pro.disparity_to_depth(disparity, scale.scale_shift)
    return float(np.median(np.abs(depth * inverse - 1)))


@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("shape", SHAPES)
def test_depth_is_within_three_percent_in_spite_of_a_fifth_of_outliers(shape: str, kind: int) -> None:
    for seed in range(15):
        inverse = scene(shape, seed)
        rng = np.random.default_rng(seed)
        disparity = disparity_of(inverse, 10 ** rng.uniform(-2, 2), rng.uniform(-1, 1))
        scale = Drive().frame(disparity, samples(inverse, seed, noise=0.05, outliers=0.2, kind=kind))
        assert scale.state == "ok" and not scale.rejected
        assert scale.samples > 250 and scale.inlier_share > 0.7
        assert error(scale, disparity, inverse) <= 0.03, (seed, scale)


@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3), shift=st.floats(-2, 2))
@settings(max_examples=40, deadline=None)
def test_exact_samples_give_the_exact_scale_at_any_normalisation(seed: int, scale: float, shift: float) -> None:
    inverse = scene("road", seed)
    found = Drive().frame(disparity_of(inverse, scale, shift), samples(inverse, seed, noise=0)).scale_shift
    assert found is not None and found.source == "fitted"
    assert found.scale == pytest.approx(scale, rel=1e-3)
    assert found.shift == pytest.approx(shift, abs=1e-3)


def test_samples_between_pixels_are_read_in_between_and_none_at_outlines() -> None:
    columns = np.tile(np.arange(WIDTH, dtype=np.float64), (HEIGHT, 1))
    inverse = 0.2 + columns / 1000
    inverse[:, WIDTH // 2 :] += 1
    at = np.random.default_rng(0).uniform(0, WIDTH - 1, 400)
    hanging = (at > WIDTH // 2 - 1) & (at < WIDTH // 2)
    at = np.concatenate([at[~hanging], np.full(100, WIDTH / 2 - 0.5)])
    depth = 1 / (0.2 + at / 1000 + (at > WIDTH / 2))
    points = Points(at.astype(np.float32), np.full(len(at), 7.25, np.float32), depth.astype(np.float32))
    scale = Drive().frame(disparity_of(inverse), points)
    assert scale.samples == len(at) - 100
    assert scale.inlier_share == 1
    assert scale.scale_shift.scale == pytest.approx(0.2, rel=1e-4)


def test_only_valid_pixels_within_the_image_are_read() -> None:
    inverse = scene("road")
    disparity = disparity_of(inverse)
    points = samples(inverse, 0)
    valid = everywhere(disparity)
    valid[:, : WIDTH // 2] = False
    disparity[60:70] = np.nan
    disparity[:, 0] = 1e9  # not looked at
    outside = Points(points.columns + WIDTH, points.rows, points.depth)
    scale = ScaleTracker(ALIGN).update(disparity, valid, points, 1.0, 1.0)
    assert 100 < scale.samples < 250 and scale.scale_shift.scale == pytest.approx(0.2, rel=0.05)
    scale = ScaleTracker(ALIGN).update(disparity, valid, outside, 1.0, 1.0)
    assert (scale.samples, scale.rejected, scale.scale_shift) == (0, True, None)


def test_a_still_scene_keeps_its_depth_however_each_frame_is_normalised() -> None:
    inverse = scene("room")
    rng = np.random.default_rng(1)
    means = {}
    for smoothing_s in (0.0, 1.0):
        drive = Drive(smoothing_s=smoothing_s)
        depths = []
        for seed in range(40):
            disparity = disparity_of(inverse, 10 ** rng.uniform(-1, 1), rng.uniform(-2, 2))
            scale = drive.frame(disparity, samples(inverse, seed, count=80, noise=0.15))
            depths.append(pro.disparity_to_depth(disparity, scale.scale_shift)[::10, ::10] * inverse[::10, ::10])
        means[smoothing_s] = np.std(np.mean(np.log(depths[10:]), axis=(1, 2)))
    assert means[1.0] < 0.6 * means[0.0]


def test_smoothing_does_not_lag_behind_where_the_view_changes() -> None:
    drive = Drive(smoothing_s=5.0)
    errors = []
    for step in range(40):  # 1 m/s towards the scene
        inverse = 1 / (1 / scene("stairs") + 6 - PERIOD_S * step)
        disparity = disparity_of(inverse)
        normal = (disparity - np.median(disparity)) / disparity.std()
        scale = drive.frame(normal, samples(inverse, step, noise=0.03))
        errors.append(error(scale, normal, inverse))
    assert max(errors) < 0.02  # the camera's way in 5 s is most of the depth


def garbage(kind: str, step: int) -> Points:
    rng = np.random.default_rng(step)
    columns, rows = rng.integers(0, WIDTH, 500), rng.integers(0, HEIGHT, 500)
    depth = {
        "random": rng.uniform(0.3, 10, 500),
        "random, near the truth": rng.uniform(1.5, 2.0, 500),
        "constant": np.full(500, 2.0),
        "constant with noise": 2.0 + 0.01 * rng.standard_normal(500),
        "zeros": np.zeros(500),
        "negative": -np.ones(500),
        "not finite": np.where(rng.random(500) < 0.5, np.nan, np.inf),
        "nothing": np.zeros(0),
    }[kind]
    count = len(depth)
    return Points(*(v[:count].astype(np.float32) for v in (columns, rows, depth)))


GARBAGE = (
    "random", "random, near the truth", "constant", "constant with noise", "zeros", "negative", "not finite", "nothing",
)  # fmt: skip


@pytest.mark.parametrize("kind", GARBAGE)
@pytest.mark.parametrize("shape", SHAPES)
def test_garbage_is_refused_at_once_told_within_a_second_and_ends_depth_after_a_while(kind: str, shape: str) -> None:
    inverse = scene(shape)
    disparity = disparity_of(inverse)
    drive = Drive(hold_s=2.0)
    for seed in range(5):
        drive.frame(disparity, samples(inverse, seed))
    scales = [drive.frame(disparity, garbage(kind, step)) for step in range(30)]
    assert all(scale.rejected for scale in scales)
    assert [scale.state for scale in scales[:3]] == ["held"] * 3
    assert all(scale.state == "stale" for scale in scales[9:])
    for scale in scales[:19]:
        assert error(scale, disparity, inverse) < 0.02
    assert all(scale.scale_shift is None for scale in scales[21:])
    assert scales[-1].age_s == pytest.approx(3.0)
    back = drive.frame(disparity, samples(inverse, 99))
    assert (back.state, back.age_s, back.rejected) == ("ok", 0.0, False)


@pytest.mark.parametrize("kind", ["random", "constant", "zeros"])
def test_garbage_from_the_start_gives_no_metres_and_is_told_within_a_second(kind: str) -> None:
    drive = Drive()
    scales = [drive.frame(disparity_of(scene("room")), garbage(kind, step)) for step in range(10)]
    assert all(scale.rejected and scale.scale_shift is None and scale.age_s == math.inf for scale in scales)
    assert scales[0].state == "none" and scales[9].state == "stale"


def test_a_sensor_that_stops_is_told_within_a_second_and_nothing_counts_as_rejected() -> None:
    inverse = scene("room")
    disparity = disparity_of(inverse)
    drive = Drive()
    drive.frame(disparity, samples(inverse, 0))
    scales = [drive.frame(disparity, None) for _ in range(60)]
    assert not any(scale.rejected for scale in scales)
    assert scales[0].state == "held" and scales[8].state == "stale"
    assert scales[49].scale_shift is not None and scales[51].scale_shift is None
    assert "no samples came" in scales[8].reason


def test_status_tells_that_no_frames_come() -> None:
    inverse = scene("room")
    drive = Drive()
    assert drive.tracker.status(5.0).state == "none"
    drive.frame(disparity_of(inverse), samples(inverse, 0))
    assert drive.tracker.status(drive.time_s + 0.5).state == "ok"
    late = drive.tracker.status(drive.time_s + 1.0)
    assert (late.state, late.age_s) == ("stale", pytest.approx(1.0))
    assert late.scale_shift is not None
    assert drive.tracker.status(drive.time_s + 5.5).scale_shift is None


def test_frames_that_come_slowly_are_no_silence() -> None:
    inverse = scene("room")
    drive = Drive(period_s=3.0)
    for seed in range(3):
        drive.frame(disparity_of(inverse), samples(inverse, seed))
    assert drive.tracker.status(drive.time_s + 5.0).state == "ok"
    assert drive.tracker.status(drive.time_s + 7.0).state == "stale"
    drive.frame(disparity_of(inverse), None)  # a sensor that stops is told with the first frame that has none
    assert drive.tracker.status(drive.time_s).state == "stale"


def test_a_held_fit_follows_the_normalisation_of_the_frames() -> None:
    inverse = scene("room")
    drive = Drive()
    drive.frame(disparity_of(inverse), samples(inverse, 0))
    for factor, shift in ((3.0, 0.1), (0.01, -5.0), (40.0, 2.0)):
        disparity = disparity_of(inverse, factor, shift)
        assert error(drive.frame(disparity, None), disparity, inverse) < 0.02


def test_a_fit_far_off_the_last_good_one_must_be_confirmed() -> None:
    inverse = scene("room")
    disparity = disparity_of(inverse)
    drive = Drive()
    drive.frame(disparity, samples(inverse, 0))
    glitch = drive.frame(disparity, samples(inverse / 3, 1))
    assert (glitch.state, glitch.rejected) == ("held", True)
    assert error(glitch, disparity, inverse) < 0.02
    assert drive.frame(disparity, samples(inverse, 2)).state == "ok"
    for step in range(CONFIRMATIONS - 1):
        assert drive.frame(disparity, samples(inverse / 3, step)).state == "held"
    moved = drive.frame(disparity, samples(inverse / 3, 9))
    assert moved.state == "ok" and error(moved, disparity, inverse / 3) < 0.02


def test_a_frame_without_a_fit_ends_a_row_of_confirmations() -> None:
    inverse = scene("room")
    disparity = disparity_of(inverse)
    drive = Drive()
    drive.frame(disparity, samples(inverse, 0))
    for step in range(CONFIRMATIONS - 1):
        drive.frame(disparity, samples(inverse / 3, step))
    drive.frame(disparity, garbage("random", 0))
    assert drive.frame(disparity, samples(inverse / 3, 9)).rejected


def test_fits_that_contradict_each_other_confirm_nothing() -> None:
    inverse = scene("room")
    disparity = disparity_of(inverse)
    drive = Drive()
    drive.frame(disparity, samples(inverse, 0))
    for step in range(10):
        assert drive.frame(disparity, samples(inverse * (3 if step % 2 else 1 / 3), step)).rejected


@pytest.mark.parametrize("jump", ["stamp", "clock"])
def test_time_that_goes_back_starts_anew(jump: str) -> None:
    inverse = scene("room")
    disparity = disparity_of(inverse)
    drive = Drive()
    drive.frame(disparity, samples(inverse, 0))
    stamp_s, now_s = (5.0, drive.time_s + 0.1) if jump == "stamp" else (drive.time_s + 0.1, 5.0)
    valid = everywhere(disparity)
    scale = drive.tracker.update(disparity, valid, None, stamp_s, now_s)
    assert (scale.scale_shift, scale.age_s) == (None, math.inf)
    scale = drive.tracker.update(disparity, valid, samples(inverse / 3, 0), stamp_s + 0.1, now_s + 0.1)
    assert error(scale, disparity, inverse / 3) < 0.02  # not held against what was before


@pytest.mark.parametrize("speed", [0.1, 1.0, 10.0])
def test_hold_is_told_by_stamps_at_any_speed_of_a_simulation(speed: float) -> None:
    disparity = disparity_of(scene("room"))
    tracker = ScaleTracker(replace(ALIGN, hold_s=5.0))
    states = []
    for step in range(64):  # 10 images a second of simulated time, and one fit at the beginning
        points = None if step else samples(scene("room"), 0)
        stamp_s = 100 + step / 10
        states.append(tracker.update(disparity, everywhere(disparity), points, stamp_s, 7 + (stamp_s - 100) / speed))
    held = [scale.scale_shift is not None for scale in states]
    assert held == [True] * 51 + [False] * 13 or held == [True] * 50 + [False] * 14  # 5.0 s are held, more or less
    assert states[-1].age_s == pytest.approx(6.3)


def test_settings_change_at_run_time_and_the_state_stays() -> None:
    inverse = scene("room")
    disparity = disparity_of(inverse)
    drive = Drive()
    good = drive.frame(disparity, samples(inverse, 0))
    drive.tracker.configure(replace(ALIGN, min_samples=10_000))
    held = drive.frame(disparity, samples(inverse, 1))
    assert (held.state, held.rejected) == ("held", True)
    assert held.scale_shift.scale == pytest.approx(good.scale_shift.scale, rel=1e-4)
    assert "10000" in held.reason
    drive.tracker.configure(replace(ALIGN, min_inlier_share=0.95))
    assert drive.frame(disparity, samples(inverse, 2, outliers=0.2)).rejected
    drive.tracker.configure(replace(ALIGN, hold_s=0.0))
    assert drive.frame(disparity, None).scale_shift is None
    drive.tracker.configure(replace(ALIGN, mode="fixed", factor=0.5, shift=0.25))
    fixed = drive.frame(disparity, None)
    assert (fixed.scale_shift.scale, fixed.scale_shift.shift, fixed.state) == (0.5, 0.25, "ok")
    drive.tracker.configure(ALIGN)
    assert drive.frame(disparity, None).state == "held"


def test_the_other_modes() -> None:
    disparity = disparity_of(scene("room"))
    assert Drive(mode="none").frame(disparity, None).state == "none"
    tracker = ScaleTracker(replace(ALIGN, mode="metric"))
    given_by_model = pro.ScaleShift(2.0, 0.1, source="metric")
    valid = everywhere(disparity)
    assert tracker.update(disparity, valid, None, 1.0, 1.0, metric=given_by_model).scale_shift is given_by_model
    scale = tracker.update(disparity, valid, None, 1.0, 1.0)
    assert (scale.scale_shift, scale.state) == (None, "none")
    assert tracker.status(50.0).state == "none"


def test_stamps_that_are_always_zero_are_smoothed_by_the_clock() -> None:
    inverse = scene("room")
    disparity = disparity_of(inverse)
    valid = everywhere(disparity)
    stamped, unstamped = (ScaleTracker(replace(ALIGN, smoothing_s=0.2)) for _ in range(2))
    for step in range(5):
        points, time_s = samples(inverse, step, count=80, noise=0.15), PERIOD_S * step
        expected = stamped.update(disparity, valid, points, time_s, time_s).scale_shift
        found = unstamped.update(disparity, valid, points, 0.0, time_s).scale_shift
        assert (found.scale, found.shift) == pytest.approx((expected.scale, expected.shift))


@pytest.mark.parametrize("fill", [0.0, math.nan, math.inf, 1e30])
def test_a_map_without_contrast_gives_no_fit_and_no_error(fill: float) -> None:
    inverse = scene("room")
    drive = Drive()
    drive.frame(disparity_of(inverse), samples(inverse, 0))
    scale = drive.frame(np.full((HEIGHT, WIDTH), fill, np.float32), samples(inverse, 1))
    assert (scale.state, scale.rejected) == ("held", True)
    assert all(math.isfinite(v) for v in (scale.scale_shift.scale, scale.scale_shift.shift))


@given(
    values=st.lists(st.floats(width=32), min_size=0, max_size=60),
    size=st.sampled_from([(1, 1), (1, 7), (5, 1), (12, 9)]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=150, deadline=None)
def test_any_samples_and_maps_are_taken(values: list[float], size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    disparity = rng.choice(np.array([*values, 1.0], np.float32), size)
    columns, rows, depth = (rng.permutation(np.array(values, np.float32)) for _ in range(3))
    tracker = ScaleTracker(replace(ALIGN, min_samples=10))
    for step in range(3):
        scale = tracker.update(disparity, rng.random(size) < 0.9, Points(columns, rows, depth), step, step)
        if scale.scale_shift is not None:
            assert scale.scale_shift.scale > 0 and math.isfinite(scale.scale_shift.shift)
