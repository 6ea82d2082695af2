"""Flying points: slopes that a blur makes at steps go, surfaces stay."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import pro_engine as pro

HEIGHT, WIDTH = 720, 960
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)


def box():
    z = np.full((HEIGHT, WIDTH), 4, dtype=np.float32)
    z[150:570, 300:660] = 2
    return z


def sphere():
    z = np.full((HEIGHT, WIDTH), 4, dtype=np.float32)
    distance = np.hypot(X - 480, Y - 360)
    inside = distance < 270
    z[inside] = 2 - 0.5 * np.sqrt(1 - (distance[inside] / 270) ** 2)
    return z


def post_on_floor():
    z = np.minimum(1.5 * 900 / np.maximum(Y - 270, 1e-3), 12).astype(np.float32)
    z[180:600, 390:480] = 3
    return z


def small_step():
    z = np.full((HEIGHT, WIDTH), 8, dtype=np.float32)
    z[150:570, 300:660] = 6.5
    return z


def posts():
    z = np.minimum(1.5 * 900 / np.maximum(Y - 270, 1e-3), 12).astype(np.float32)
    for i in range(8):
        z[200 : 500 + 20 * i, 60 + 110 * i : 72 + 114 * i] = 6 - 0.5 * i
    return z


def layers():
    z = np.full((HEIGHT, WIDTH), 8, dtype=np.float32)
    z[100:600, 200:600] = 5
    z[200:660, 350:800] = 3
    z[300:700, 500:700] = 1.5
    return z


def tilted(degrees, axis):
    """A plane whose normal is turned away from the view by so many degrees; 60 degrees across."""
    focal = WIDTH / (2 * np.tan(np.radians(30)))
    u = (X - WIDTH / 2 if axis == "x" else Y - HEIGHT / 2) / focal
    inverse = np.cos(np.radians(degrees)) + u * np.sin(np.radians(degrees))
    return np.where(inverse > 0.05, 3 / np.maximum(inverse, 0.05), np.inf).astype(np.float32)


@pytest.mark.parametrize(("kind", "noise"), [("depth", 0.0), ("depth", 0.01), ("disparity", 0.01)])
@pytest.mark.parametrize("blur_px", [2, 4, 8])
@pytest.mark.parametrize("scene", [box, sphere, post_on_floor, posts, layers, small_step])
def test_nine_of_ten_flyers_go_and_two_of_a_hundred_good_points_at_most(scene, blur_px, kind, noise):
    sharp = scene()
    blur = (blur_px, blur_px)
    blurred = cv2.blur(sharp, blur) if kind == "depth" else 1 / cv2.blur(1 / sharp, blur)
    reach = np.ones((2 * blur_px + 1, 2 * blur_px + 1), dtype=np.uint8)
    nearest, farthest = cv2.erode(sharp, reach), cv2.dilate(sharp, reach)
    step = farthest > 1.3 * nearest if scene is not small_step else farthest > 1.1 * nearest
    # Off the true surface, and off all others around.
    off = 1.06 + 2 * noise
    flyers = step & (np.abs(blurred / sharp - 1) > off - 1) & (blurred > off * nearest) & (blurred * off < farthest)
    noisy = (blurred * (1 + noise * np.random.default_rng(0).standard_normal(sharp.shape))).astype(np.float32)
    found = pro.flying_points(noisy)
    assert not flyers.any() or found[flyers].mean() >= 0.9
    assert found[~flyers & (np.abs(blurred / sharp - 1) < 0.01)].mean() <= 0.02
    assert flyers.sum() > 1000 or scene is small_step


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("degrees", [0, 45, 70, 80])
def test_slanted_planes_stay(degrees, axis):
    z = tilted(degrees, axis)
    assert pro.flying_points(z)[np.isfinite(z)].mean() <= 0.02


@pytest.mark.parametrize(("degrees", "across", "down"), [(75, 1, 0), (75, 0.6, 0.8), (80, 0, 1)])
def test_slanted_planes_stay_up_to_the_border(degrees, across, down):
    u = (across * (X - 160) + down * (Y - 120))[:240, :320] / 900
    z = 3 / (np.cos(np.radians(degrees)) + u * np.sin(np.radians(degrees)))
    assert z.min() > 0 and not pro.flying_points(z).any()


@pytest.mark.parametrize("width_px", [2, 3])
def test_thin_wires_stay(width_px):
    z = np.full((HEIGHT, WIDTH), 4, dtype=np.float32)
    for i in range(width_px):
        z[:, i::40] = 1.5
    assert not pro.flying_points(z).any()
    softened = cv2.GaussianBlur(z, (3, 3), 0)[:, 20:]  # a wire's middle stays, or both of its two pixels
    nearest = softened <= softened.min() * 1.001
    assert nearest.sum() == (4 - width_px) * HEIGHT * (WIDTH // 40 - 1)
    assert not pro.flying_points(softened)[nearest].any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 4), (7, 9)])
def test_small_maps_are_looked_at(shape):
    z = np.ones(shape, dtype=np.float32)
    assert pro.flying_points(z).shape == shape and not pro.flying_points(z).any()


def test_a_row_of_pixels_has_flyers():
    z = np.array([[2] * 15 + [3] + [4] * 15], dtype=np.float32)
    assert np.flatnonzero(pro.flying_points(z)).tolist() == [15]


def test_unknown_pixels_neither_fly_nor_make_others_fly():
    z = box()
    z[:, 90:100] = np.nan
    z[0, 0] = -1
    assert not pro.flying_points(z).any()


def test_a_slope_to_the_sky_flies():
    z = np.full((HEIGHT, WIDTH), 5, dtype=np.float32)
    z[:100] = np.inf
    z[100:103] = [[10], [20], [40]]
    found = pro.flying_points(z)
    assert found[101:103].all() and not found[110:].any() and not found[:100].any()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"rtol": 0}, "rtol"), ({"radius_px": 0}, "radius_px"), ({"radius_px": 1.5}, "radius_px")],
)
def test_bad_options_are_refused(options, words):
    with pytest.raises(pro.InputError, match=words):
        pro.flying_points(box(), **options)
