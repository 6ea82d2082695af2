"""The photo in front and what goes on behind it, on scenes small enough to be counted."""

from __future__ import annotations

import numpy as np
import pytest

from pro_engine import Intrinsics, depth_to_layers, place_sky, project
from pro_engine.errors import InputError
from pro_engine.geometry.layers import layers_of
from pro_engine.geometry.push_pull import push_pull
from pro_engine.types import LayeredMesh, Mesh

HEIGHT, WIDTH = 48, 64
CAMERA = Intrinsics.from_fov(WIDTH, HEIGHT, fov_x_deg=60)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def disc_before_wall() -> tuple[np.ndarray, np.ndarray]:
    """A red disc at 1 m before a blue wall that slants from 3 to 5 m."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    depth = (1 / (1 / 3 + (1 / 5 - 1 / 3) * x / WIDTH)).astype(np.float32)
    disc = (x - 30) ** 2 + (y - 24) ** 2 < 12**2
    depth[disc] = 1
    return depth, np.where(disc[..., None], np.uint8(RED), np.uint8(BLUE))


def seen_from(layers: LayeredMesh, move: tuple[float, float, float], samples: int = 6) -> np.ndarray:
    """(H, W): 0 where a camera moved by so much sees nothing, 1 for the front, 2 for what is behind."""
    nearest = np.full((HEIGHT, WIDTH), np.inf)
    layer = np.zeros((HEIGHT, WIDTH), int)
    shares = (np.stack(np.meshgrid(np.arange(samples), np.arange(samples)), -1).reshape(-1, 2) + 0.5) / samples
    shares = shares[shares.sum(1) < 1]
    for number, mesh in enumerate((layers.front, layers.behind), 1):
        if mesh is None:
            continue
        a, b, c = (mesh.vertices[mesh.faces[:, k]][:, None] for k in range(3))
        points = a + shares[:, :1] * (b - a) + shares[:, 1:] * (c - a)
        pixels, z = project((points.reshape(-1, 3) - move).astype(np.float32), CAMERA)
        column, row = np.rint(pixels).astype(int).T
        inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
        order = np.argsort(-z[inside])
        place = row[inside][order], column[inside][order]
        depth = np.full((HEIGHT, WIDTH), np.inf)
        depth[place] = z[inside][order]
        layer[depth < nearest] = number
        nearest = np.minimum(nearest, depth)
    return layer


def pixels_of(mesh: Mesh, margin: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Column and row of each vertex in the photo."""
    pixels, _ = project(mesh.vertices, CAMERA)
    return np.rint(pixels).astype(int).T


def test_front_shows_every_pixel_of_the_photo() -> None:
    depth, image = disc_before_wall()
    layers = depth_to_layers(depth, CAMERA, image=image)
    assert (seen_from(layers, (0, 0, 0)) == 1).all()
    pixels, _ = project(layers.front.vertices, CAMERA)
    a, b, c = (pixels[layers.front.faces[:, k]] for k in range(3))
    ab, ac = b - a, c - a
    areas = (ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]) / 2
    assert (areas < 0).all(), "counter-clockwise as the camera sees them, y down"
    assert -areas.sum() == pytest.approx((HEIGHT + 1) * (WIDTH + 1), rel=1e-4), (
        "each cell once, a pixel over the border"
    )
    assert layers.front.texture is image


@pytest.mark.parametrize("move", [(0.12, 0, 0), (-0.12, 0, 0), (0, 0.12, 0), (0.08, -0.08, 0)])
def test_a_moved_camera_sees_what_is_behind_and_no_gap(move: tuple[float, float, float]) -> None:
    depth, image = disc_before_wall()
    layer = seen_from(depth_to_layers(depth, CAMERA, image=image), move)
    inner = layer[8:-8, 8:-8]
    assert np.count_nonzero(inner == 0) == 0
    assert np.count_nonzero(inner == 2) > 30


def test_without_reveal_the_moved_camera_sees_a_gap() -> None:
    depth, image = disc_before_wall()
    narrow = depth_to_layers(depth, CAMERA, image=image, reveal=1e-3)
    assert np.count_nonzero(seen_from(narrow, (0.35, 0, 0))[8:-8, 8:-8] == 0) > 30


@pytest.mark.parametrize("rtol", [0.05, 0.02])
def test_no_face_spans_a_step_and_nothing_behind_is_in_front(rtol: float) -> None:
    depth, image = disc_before_wall()
    depth *= np.random.default_rng(0).uniform(0.97, 1.03, depth.shape).astype(np.float32)
    layers = depth_to_layers(depth, CAMERA, image=image, edge_rtol=rtol)
    assert layers.behind is not None
    for mesh in (layers.front, layers.behind):
        z = mesh.vertices[:, 2][mesh.faces]
        assert (z.max(axis=1) <= z.min(axis=1) * (1 + rtol) * (1 + 1e-6)).all()
    column, row = pixels_of(layers.behind)
    inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
    assert (layers.behind.vertices[inside, 2] >= depth[row[inside], column[inside]] * (1 - 1e-6)).all()


def test_vertices_of_the_front_lie_where_their_pixels_do_or_hold_an_outline_of_what_is_nearer() -> None:
    depth, image = disc_before_wall()
    front = layers_of(depth, image, focal_px=CAMERA.fx, edge_rtol=0.05, reveal=0.05, stride=1).front
    column, row = front.pixels.astype(int).T
    of_pixel = depth[row.clip(0, HEIGHT - 1), column.clip(0, WIDTH - 1)]
    assert np.array_equal(front.depth[front.own], of_pixel[front.own])
    assert (front.depth[~front.own] < of_pixel[~front.own]).all()
    assert 0 < np.count_nonzero(~front.own) < 200
    near = (of_pixel == 1) & front.own
    assert np.count_nonzero(near) == np.count_nonzero(depth == 1), "what is near keeps all its pixels"


def test_a_wire_of_one_pixel_stays_whole() -> None:
    depth, image = np.full((HEIGHT, WIDTH), 4, np.float32), np.full((HEIGHT, WIDTH, 3), BLUE, np.uint8)
    depth[:, 30], image[:, 30] = 1, RED
    layers = depth_to_layers(depth, CAMERA, image=image)
    front = layers.front.vertices[layers.front.vertices[:, 2] == 1]
    assert len(np.unique(front[:, 1].round(5))) == HEIGHT + 2
    moved = project(layers.front.vertices - np.float32([0.1, 0, 0]), CAMERA)[0]
    wire = moved[layers.front.vertices[:, 2] == 1]
    assert np.ptp(wire[:, 0]) == pytest.approx(2, abs=1e-3), "the pixel and both its neighbours, moved as one"


def test_colours_behind_have_none_of_what_is_in_front() -> None:
    depth, image = disc_before_wall()
    layers = depth_to_layers(depth, CAMERA, image=image)
    assert layers.behind is not None and layers.behind.texture is not None
    assert layers.covered[depth == 1].any()
    assert (layers.behind.texture[layers.covered] == BLUE).all()
    assert np.array_equal(layers.behind.texture[~layers.covered], image[~layers.covered])


def test_depth_behind_goes_on_as_the_wall_does() -> None:
    depth, image = disc_before_wall()
    layers = depth_to_layers(depth, CAMERA, image=image, reveal=0.2)
    assert layers.behind is not None
    column, row = pixels_of(layers.behind)
    wall = 1 / (1 / 3 + (1 / 5 - 1 / 3) * column / WIDTH)
    hidden = depth[row.clip(0, HEIGHT - 1), column.clip(0, WIDTH - 1)] == 1
    assert hidden.sum() > 200
    assert np.median(np.abs(layers.behind.vertices[hidden, 2] / wall[hidden] - 1)) < 0.08


def test_what_is_behind_lies_at_one_of_several_depths_around_and_not_between_them() -> None:
    depth, image = disc_before_wall()
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    wall = np.where(x < 30, 3, 300).astype(np.float32)  # a house, and the sky beside it
    depth = np.where(depth == 1, 1, wall).astype(np.float32)
    layers = depth_to_layers(depth, CAMERA, image=image, reveal=0.2)
    assert layers.behind is not None
    column, row = pixels_of(layers.behind)
    hidden = depth[row.clip(0, HEIGHT - 1), column.clip(0, WIDTH - 1)] == 1
    nearest = np.minimum.reduceat(*_sorted_by_pixel(column[hidden], row[hidden], layers.behind.vertices[hidden, 2]))
    assert len(nearest) > 300
    house = np.abs(nearest / 3 - 1) < 0.1
    assert 0.35 < house.mean() < 0.65 and (np.abs(nearest[~house] / 300 - 1) < 0.1).all()
    for move in ((0.1, 0, 0), (-0.1, 0, 0)):
        assert np.count_nonzero(seen_from(layers, move)[8:-8, 8:-8] == 0) == 0


def _sorted_by_pixel(column: np.ndarray, row: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depths in the order of their pixels, and where each pixel's begin."""
    place = row * WIDTH + column
    order = np.argsort(place, kind="stable")
    return depth[order], np.flatnonzero(np.append(True, np.diff(place[order]) > 0))


def test_larger_squares_behind_are_not_in_front() -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    slope = np.where(y < 24, 3, 0.8 * 1.03**x).astype(np.float32)  # below, what is near reaches the wall
    depth = slope * (1 + 0.05 * (-1.0) ** (x + y)).astype(np.float32)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    layers = depth_to_layers(depth, CAMERA, image=image, edge_rtol=0.15, reveal=0.1, stride=2)
    seen = seen_from(layers, (0, 0, 0), 20)
    assert (seen == 1).all()


def test_what_is_dropped_is_filled_from_around() -> None:
    depth, image = disc_before_wall()
    layers = depth_to_layers(depth, CAMERA, image=image, dropped=depth == 1)
    layer = seen_from(layers, (0, 0, 0))
    assert (layer > 0).all()
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inner = (x - 30) ** 2 + (y - 24) ** 2 < 10.5**2
    assert (layer[inner] == 2).all(), "all but the half pixels to which the wall reaches"
    assert (layers.front.vertices[:, 2] > 1).all()
    assert layers.behind is not None and layers.behind.texture is not None
    assert (layers.behind.texture[depth == 1] == BLUE).all()


def test_extend_goes_on_beyond_the_border() -> None:
    depth, image = disc_before_wall()
    plain, extended = (depth_to_layers(depth, CAMERA, image=image, extend=extend) for extend in (False, True))
    move = (-0.18, 0, 0)
    assert np.count_nonzero(seen_from(plain, move) == 0) > 40
    assert np.count_nonzero(seen_from(extended, move) == 0) == 0
    assert extended.behind is not None and extended.behind.texture is not None
    margin = int(np.ceil(CAMERA.fx * 0.05))
    assert extended.behind.texture.shape == (HEIGHT + 2 * margin, WIDTH + 2 * margin, 3) == (*extended.covered.shape, 3)
    assert extended.behind.uv is not None
    column, row = pixels_of(extended.behind)
    u = (column + margin + 0.5) / (WIDTH + 2 * margin)
    assert np.abs(extended.behind.uv[:, 0] - u.clip(0, 1)).max() < 0.5 / WIDTH


@pytest.mark.parametrize("stride", [2, 3, 7])
def test_a_stride_saves_vertices_but_no_outline(stride: int) -> None:
    depth, image = disc_before_wall()
    fine, coarse = (depth_to_layers(depth, CAMERA, image=image, stride=n) for n in (1, stride))
    assert len(coarse.front.vertices) < 0.7 * len(fine.front.vertices)
    seen = seen_from(coarse, (0, 0, 0), 5 * stride)
    assert (seen > 0).all() and (seen == 1).mean() > 0.99, "both meet where the far side begins"
    assert np.count_nonzero(seen_from(coarse, (0.12, 0, 0), 5 * stride)[8:-8, 8:-8] == 0) == 0
    near = [
        np.unique(np.stack(pixels_of(one.front))[:, one.front.vertices[:, 2] == 1], axis=1) for one in (fine, coarse)
    ]
    outline = [cells[:, np.hypot(cells[0] - 30, cells[1] - 24) > 11] for cells in near]
    assert np.array_equal(*outline)


def test_nothing_is_behind_a_smooth_surface() -> None:
    depth = np.full((HEIGHT, WIDTH), 2, np.float32)
    layers = depth_to_layers(depth, CAMERA, image=np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert layers.behind is None and not layers.covered.any()


def test_unknown_depth_leaves_a_gap() -> None:
    depth, image = disc_before_wall()
    depth[:10] = np.nan
    layer = seen_from(depth_to_layers(depth, CAMERA, image=image), (0, 0, 0))
    assert (layer[:9] == 0).all() and (layer[11:] == 1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reveal": 0.0}, "reveal"),
        ({"edge_rtol": -1.0}, "edge_rtol"),
        ({"dropped": np.ones((HEIGHT, WIDTH), bool)}, "drops all"),
        ({"dropped": np.ones((3, 4), bool)}, "same size"),
        ({"image": np.zeros((4, 4, 3), np.uint8)}, "4x4"),
    ],
)
def test_bad_input_is_told(changes: dict[str, object], message: str) -> None:
    depth, image = disc_before_wall()
    with pytest.raises(InputError, match=message):
        depth_to_layers(depth, CAMERA, **{"image": image, **changes})  # type: ignore[arg-type]


def test_push_pull_keeps_what_is_known_and_fills_the_rest_smoothly() -> None:
    values = np.linspace(0, 1, 40, dtype=np.float32)[None, :, None] * np.ones((17, 1, 1), np.float32)
    weight = np.ones((17, 40), np.float32)
    weight[4:12, 10:30] = 0
    source = np.flatnonzero(weight)
    known = values.reshape(-1, 1)[source]
    everywhere = np.arange(weight.size)
    filled = push_pull(weight.shape, source, known, weight[weight > 0], everywhere).reshape(values.shape)
    some = np.array([40 * 5 + 12, 3, 40 * 11 + 29])
    there = push_pull(weight.shape, source, known, weight[weight > 0], some)
    assert np.array_equal(there[:, 0], filled.reshape(-1)[some])
    assert np.array_equal(filled[weight > 0], values[weight > 0])
    assert np.abs(filled - values).max() < 0.25
    assert np.abs(np.diff(filled[..., 0], axis=1)).max() < 0.2


def test_sky_is_a_dome_where_it_reaches_the_top_and_a_wall_else() -> None:
    depth = np.full((HEIGHT, WIDTH), 5, np.float32)
    depth[:20] = np.inf
    dome = place_sky(depth, CAMERA, 10.0)
    middle = dome[round(CAMERA.cy) - 5, round(CAMERA.cx)]
    assert 38 < middle < 40.01 and dome[0, 0] < middle and (dome[20:] == 5).all()
    assert (place_sky(depth, CAMERA, 10.0, sky="card")[:20] == 10).all()
    assert np.isinf(place_sky(depth, CAMERA, 10.0, sky="drop")[:20]).all()
    low = depth[::-1].copy()
    assert (place_sky(low, CAMERA, 10.0)[-20:] == 10).all(), "a far floor is no sky"
