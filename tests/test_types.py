from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_engine import DepthResult, InferenceOptions, InputError, Intrinsics, ScaleShift

sizes = st.integers(1, 20_000)


def test_fov_of_a_known_lens() -> None:
    camera = Intrinsics.from_fov(640, 480, fov_x_deg=90)
    assert camera.fx == pytest.approx(320)
    assert camera.fy == pytest.approx(320)
    assert (camera.cx, camera.cy) == (319.5, 239.5)


@given(width=sizes, height=sizes, fov=st.floats(0.5, 179))
def test_fov_comes_back(width: int, height: int, fov: float) -> None:
    assert Intrinsics.from_fov(width, height, fov_x_deg=fov).fov_x_deg == pytest.approx(fov, rel=1e-9)


def test_a_50_mm_lens_on_a_3_to_2_picture() -> None:
    camera = Intrinsics.from_focal_35mm(3600, 2400, focal_35mm=50)
    assert camera.fx == pytest.approx(5000)
    assert camera.fov_x_deg == pytest.approx(39.6, abs=0.05)


def test_turning_a_picture_keeps_its_focal_length() -> None:
    wide = Intrinsics.from_focal_35mm(4000, 3000, focal_35mm=28)
    tall = Intrinsics.from_focal_35mm(3000, 4000, focal_35mm=28)
    assert wide.fx == pytest.approx(tall.fx)


def test_matrix_round_trip() -> None:
    camera = Intrinsics(500, 510, 320.25, 239.5, 640, 480)
    assert Intrinsics.from_matrix(camera.matrix(), 640, 480) == camera


@given(width=sizes, height=sizes, new_width=sizes, new_height=sizes)
def test_resizing_keeps_the_view_and_comes_back(width: int, height: int, new_width: int, new_height: int) -> None:
    camera = Intrinsics.from_fov(width, height, fov_x_deg=60)
    there = camera.resized(new_width, new_height)
    assert there.fov_x_deg == pytest.approx(60)
    assert (there.cx, there.cy) == pytest.approx(((new_width - 1) / 2, (new_height - 1) / 2), abs=1e-6)
    back = there.resized(width, height)
    assert dataclasses.astuple(back) == pytest.approx(dataclasses.astuple(camera), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"fx": 0}, "fx"),
        ({"fy": -1.0}, "fy"),
        ({"fx": math.nan}, "fx"),
        ({"fy": math.inf}, "fy"),
        ({"width": 0}, "width"),
        ({"height": -480}, "height"),
        ({"cx": math.nan}, "principal point"),
        ({"cy": math.inf}, "principal point"),
        ({"fx": "5"}, "fx is '5'"),
        ({"fy": None}, "fy"),
        ({"fx": True}, "fx"),
        ({"fx": 500j}, "fx"),
        ({"width": "640"}, "width"),
        ({"height": 10**400}, "height"),
        ({"cx": "319.5"}, "principal point"),
        ({"cy": None}, "principal point"),
    ],
)
def test_bad_intrinsics_are_refused(change: dict[str, object], word: str) -> None:
    good: dict[str, object] = {"fx": 500.0, "fy": 500.0, "cx": 319.5, "cy": 239.5, "width": 640, "height": 480}
    with pytest.raises(InputError, match=word):
        Intrinsics(**{**good, **change})  # type: ignore[arg-type]


def test_numbers_of_numpy_are_numbers() -> None:
    given = [np.float32(500), np.float64(500), np.int64(320), np.float32(239.5), np.int32(640), np.uint16(480)]
    assert Intrinsics(*given) == Intrinsics(500, 500, 320, 239.5, 640, 480)
    assert Intrinsics.from_fov(640, 480, fov_x_deg=np.float32(90)).fx == pytest.approx(320)
    assert Intrinsics.from_focal_35mm(640, 480, focal_35mm=np.int64(28)).fx > 0


@pytest.mark.parametrize("fov", [0, 180, -10, 400, math.nan, math.inf, "60", None, True, 60j, [60]])
def test_bad_fields_of_view_are_refused(fov: Any) -> None:
    with pytest.raises(InputError, match="fov_x_deg"):
        Intrinsics.from_fov(640, 480, fov_x_deg=fov)


@pytest.mark.parametrize("focal", [0, -28, math.nan, math.inf, "28", None, True, 28j, [28]])
def test_bad_focal_lengths_are_refused(focal: Any) -> None:
    with pytest.raises(InputError, match="focal_35mm"):
        Intrinsics.from_focal_35mm(640, 480, focal_35mm=focal)


@pytest.mark.parametrize(("size", "word"), [(("640", 480), "width"), ((640, None), "height"), ((0, 480), "width")])
def test_bad_sizes_are_refused_by_every_way_to_make_a_camera(size: tuple[Any, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        Intrinsics.from_fov(*size, fov_x_deg=60)
    with pytest.raises(InputError, match=word):
        Intrinsics.from_focal_35mm(*size, focal_35mm=28)
    with pytest.raises(InputError, match=word):
        Intrinsics.from_matrix(np.array([[500, 0, 320], [0, 500, 240], [0, 0, 1]]), *size)
    with pytest.raises(InputError, match=word):
        Intrinsics.from_fov(640, 480, fov_x_deg=60).resized(*size)


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(4),
        np.ones(9),
        np.array([[500, 20, 320], [0, 500, 240], [0, 0, 1]]),
        np.array([[500, 0, 320], [1, 500, 240], [0, 0, 1]]),
        np.array([[500, 0, 320], [0, 500, 240], [0, 0, 2]]),
        np.zeros((3, 3)),
        np.array([[500, math.nan, 320], [0, 500, 240], [0, 0, 1]]),
        np.array([[500, 0, math.inf], [0, 500, 240], [0, 0, 1]]),
        np.array([[500, 0, 320], [0, 500, 240], [0, 0, 1]], complex),
        [["500", "0", "320"], ["0", "500", "240"], ["0", "0", "1"]],
        [[500, 0, 320], [0, 500, 240], [0, 0, None]],
        [[500, 0, 320], [0, 500], [0, 0, 1]],
        "500 0 320 0 500 240 0 0 1",
        None,
    ],
)
def test_bad_matrices_are_refused(matrix: Any) -> None:
    with pytest.raises(InputError, match=r"camera matrix|Intrinsics"):
        Intrinsics.from_matrix(matrix, 640, 480)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tiles", (0, 4)),
        ("tiles", (4, 33)),
        ("tiles", (4,)),
        ("tiles", [4, 4]),
        ("tiles", (2.0, 2)),
        ("tiles", (True, 2)),
        ("tiles", "4x4"),
        ("tiles", np.array([4, 4])),
        ("refine", "yes"),
        ("refine", None),
        ("refine", 1),
        ("refine", 0),
        ("refine", 1.0),
        ("refine", np.array([True, False])),
        ("batch_size", 0),
        ("batch_size", 4097),
        ("batch_size", 2.5),
        ("batch_size", True),
        ("batch_size", "all"),
        ("batch_size", np.array([1, 2])),
    ],
)
def test_bad_options_are_refused(option: str, value: object) -> None:
    with pytest.raises(InputError, match=option):
        InferenceOptions(**{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [{}, {"tiles": (4, 4)}, {"tiles": (1, 32)}, {"refine": "blend"}, {"refine": "none"}, {"batch_size": 16}],
)
def test_good_options_are_taken(options: dict[str, object]) -> None:
    assert InferenceOptions(**options) == InferenceOptions(**options)  # type: ignore[arg-type]


def test_every_option_explains_itself() -> None:
    for option in dataclasses.fields(InferenceOptions):
        assert len(option.metadata["help"]) > 20, option.name


def test_values_cannot_be_changed_by_accident() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        InferenceOptions().refine = False  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        ScaleShift(1.0, 0.0).scale = 2.0  # type: ignore[misc]


def test_with_depth_leaves_the_original_alone() -> None:
    disparity = np.ones((2, 3), np.float32)
    result = DepthResult(disparity=disparity, valid=np.ones((2, 3), bool), model="compact")
    scale = ScaleShift(0.5, 0.0)
    metric = result.with_depth(2 * disparity, scale)
    assert result.depth is None
    assert metric.depth is not None
    assert metric.depth[0, 0] == 2
    assert metric.scale_shift == scale
    assert metric.disparity is disparity
    assert metric.model == "compact"
