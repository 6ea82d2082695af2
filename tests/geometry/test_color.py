from __future__ import annotations

import cv2
import numpy as np
import pytest

from pro_engine import InputError, colorize
from pro_engine.geometry.color import COLOR_MAPS

RAMP = np.arange(256, dtype=np.float32).reshape(16, 16)


@pytest.mark.parametrize("cmap", sorted(set(COLOR_MAPS) - {"gray"}))
def test_the_colours_are_those_of_opencv_as_rgb(cmap: str) -> None:
    code = COLOR_MAPS[cmap]
    assert code is not None
    expected = cv2.applyColorMap(RAMP.astype(np.uint8), code)[..., ::-1]
    picture = colorize(RAMP, cmap=cmap, low=0, high=255)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, expected)


def test_gray_is_the_value_itself() -> None:
    picture = colorize(RAMP, cmap="gray", low=0, high=255)
    np.testing.assert_array_equal(picture, np.repeat(RAMP.astype(np.uint8)[..., None], 3, axis=2))


def test_values_outside_the_range_take_its_end_colours() -> None:
    picture = colorize([[-9.0, 0.0, 1.0, 9.0, np.inf, -np.inf]], cmap="gray", low=0, high=1)
    assert picture[0, :, 0].tolist() == [0, 0, 255, 255, 255, 0]


def test_unknown_pixels_take_their_own_colour() -> None:
    picture = colorize([[0.0, np.nan, 1.0]], invalid=(1, 2, 3))
    assert picture[0, 1].tolist() == [1, 2, 3]
    assert picture[0, 0].tolist() != [1, 2, 3]


def test_single_wild_values_do_not_wash_out_the_picture() -> None:
    values = np.random.default_rng(0).uniform(0, 1, (100, 100))
    values[50, 50] = 1e6
    values[3, 3] = np.inf
    assert colorize(values, cmap="gray").std() > 60


def test_a_large_map_takes_its_range_from_a_sample() -> None:
    values = np.tile(np.linspace(0, 1, 2000, dtype=np.float32), (1500, 1))
    gray = colorize(values, cmap="gray")[0, :, 0].astype(int)
    assert (gray[0], gray[-1]) == (0, 255)
    assert gray[1000] == pytest.approx(128, abs=1)


def test_a_finite_value_that_the_sample_misses_is_found() -> None:
    values = np.full((1500, 1500), np.inf, np.float32)
    values[1, 1] = 5
    assert colorize(values, cmap="gray")[1, 1, 0] == 128


def test_an_even_map_is_one_middle_colour() -> None:
    picture = colorize(np.full((4, 4), 7.0), cmap="gray")
    assert np.unique(picture).tolist() == [128]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"cmap": "jet2"}, "turbo"),
        ({"low": 2.0, "high": 1.0}, "low"),
        ({"low": 1.0, "high": 1.0}, "low"),
        ({"low": np.nan}, "low"),
        ({"high": np.inf}, "high"),
        ({"high": "1"}, "high"),
        ({"low": 1000.0}, "low"),
        ({"invalid": (0, 0)}, "invalid"),
        ({"invalid": (0, 0, 256)}, "invalid"),
        ({"invalid": (0, 0, -1)}, "invalid"),
        ({"invalid": (0.5, 0, 0)}, "invalid"),
        ({"invalid": "red"}, "invalid"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], word: str) -> None:
    with pytest.raises(InputError, match=word):
        colorize(RAMP, **options)  # type: ignore[arg-type]


def test_a_map_of_infinities_needs_a_range() -> None:
    values = np.full((2, 2), np.inf)
    with pytest.raises(InputError, match="low and high"):
        colorize(values)
    assert colorize(values, cmap="gray", low=0, high=1).min() == 255
