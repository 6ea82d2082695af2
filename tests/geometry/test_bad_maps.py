"""Every function that takes a map refuses the same bad ones, in a sentence that names the map and the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pro_engine import (
    InputError,
    Intrinsics,
    ScaleShift,
    colorize,
    depth_edges,
    depth_to_cloud,
    depth_to_mesh,
    disparity_to_depth,
    fit_scale_shift,
    range_scale_shift,
    unproject,
)

CAMERA = Intrinsics.from_fov(6, 5, fov_x_deg=60)
GOOD = np.linspace(1, 1.1, 30, dtype=np.float32).reshape(5, 6)

FUNCTIONS: dict[str, Callable[[Any], object]] = {
    "colorize": colorize,
    "depth_edges": depth_edges,
    "depth_to_cloud": lambda depth: depth_to_cloud(depth, CAMERA),
    "depth_to_mesh": lambda depth: depth_to_mesh(depth, CAMERA),
    "disparity_to_depth": lambda disparity: disparity_to_depth(disparity, ScaleShift(1, 0)),
    "fit_scale_shift to": lambda depth: fit_scale_shift(GOOD, depth),
    "fit_scale_shift": lambda disparity: fit_scale_shift(disparity, GOOD),
    "range_scale_shift": lambda disparity: range_scale_shift(disparity, 1, 20),
    "unproject": lambda depth: unproject(depth, CAMERA),
}
BAD_MAPS = {
    "one dimension": np.ones(30),
    "colours": np.ones((5, 6, 3)),
    "a batch": np.ones((1, 5, 6)),
    "a number": 3.0,
    "no rows": np.ones((0, 6)),
    "no columns": np.ones((5, 0)),
    "objects": GOOD.astype(object),
    "text": np.full((5, 6), "near"),
    "truth values": np.ones((5, 6), bool),
    "complex": np.ones((5, 6), complex),
    "ragged": [[1.0, 2.0], [3.0]],
    "dates": np.zeros((5, 6), "datetime64[s]"),
    "all NaN": np.full((5, 6), np.nan),
    "nothing": None,
}


def arrays_in(result: Any) -> list[Any]:
    """The numbers of a map, a mesh, a cloud or a scale and shift."""
    if isinstance(result, np.ndarray):
        return [result]
    values = vars(result).values() if hasattr(result, "__dict__") else result
    return [value for value in values if isinstance(value, (np.ndarray, float))]


@pytest.mark.parametrize("bad", BAD_MAPS)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_bad_maps_are_refused(function: str, bad: str) -> None:
    with pytest.raises(InputError, match=r"[;,] (give|check)") as caught:
        FUNCTIONS[function](BAD_MAPS[bad])
    assert str(caught.value).split()[0] in ("values", "depth", "disparity")


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.uint8, np.int32, ">f4"])
@pytest.mark.parametrize("function", set(FUNCTIONS) - {"fit_scale_shift", "fit_scale_shift to"})
def test_any_real_numbers_will_do(function: str, kind: object) -> None:
    values = np.arange(200, 230).reshape(5, 6)
    wanted, found = (arrays_in(FUNCTIONS[function](values.astype(of))) for of in (np.float32, kind))
    assert wanted
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_input_is_left_as_it_was(function: str) -> None:
    values = (3 - GOOD).copy() if function == "fit_scale_shift" else GOOD.copy()
    values[2, 3] = np.nan
    before = values.copy()
    try:
        FUNCTIONS[function](values)
    except InputError:
        assert "fit" in function
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("function", [depth_to_cloud, depth_to_mesh])
@pytest.mark.parametrize("stride", [0, -1, 1.5, "2", True, None])
def test_bad_strides_are_refused(function: Callable[..., object], stride: object) -> None:
    with pytest.raises(InputError, match="stride"):
        function(GOOD, CAMERA, stride=stride)


@pytest.mark.parametrize("function", [depth_to_cloud, depth_to_mesh])
@pytest.mark.parametrize(
    "image",
    [
        np.zeros((5, 6), np.uint8),
        np.zeros((5, 6, 4), np.uint8),
        np.zeros((5, 6, 3), np.float32),
        np.zeros((6, 5, 3), np.uint8),
        np.zeros((10, 12, 3), np.uint8),
    ],
)
def test_bad_images_are_refused(function: Callable[..., object], image: np.ndarray) -> None:
    with pytest.raises(InputError, match="image"):
        function(GOOD, CAMERA, image=image)


@pytest.mark.parametrize("function", [depth_to_cloud, depth_to_mesh, unproject])
@pytest.mark.parametrize("nothing", [np.inf, 0.0, -1.0])
def test_a_map_without_a_surface_is_refused(function: Callable[..., object], nothing: float) -> None:
    with pytest.raises(InputError, match="finite depth above 0"):
        function(np.full((5, 6), nothing, np.float32), CAMERA)


@pytest.mark.parametrize("function", [depth_to_cloud, depth_to_mesh, unproject])
def test_intrinsics_of_another_size_are_refused(function: Callable[..., object]) -> None:
    with pytest.raises(InputError, match="resized"):
        function(GOOD, Intrinsics.from_fov(5, 6, fov_x_deg=60))
