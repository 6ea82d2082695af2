from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pro_engine import InputError, Intrinsics, Mesh, depth_edges, depth_to_mesh, project, unproject


def camera(depth: np.ndarray) -> Intrinsics:
    return Intrinsics.from_fov(depth.shape[1], depth.shape[0], fov_x_deg=60)


def pixels_of(mesh: Mesh, shape: tuple[int, ...]) -> np.ndarray:
    """(V, 2) row and column, from the texture coordinates."""
    assert mesh.uv is not None
    return np.stack([(1 - mesh.uv[:, 1]) * shape[0] - 0.5, mesh.uv[:, 0] * shape[1] - 0.5], axis=1)


def wavy(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (3 + 0.01 * np.sin(columns / 3) + 0.02 * np.cos(rows / 5)).astype(np.float32)


def test_two_by_two_pixels_make_two_triangles() -> None:
    depth = np.full((2, 2), 2.0, np.float32)
    mesh = depth_to_mesh(depth, camera(depth))
    assert mesh.faces.shape == (2, 3)
    np.testing.assert_allclose(mesh.vertices, unproject(depth, camera(depth)).reshape(-1, 3))
    assert mesh.uv is not None
    np.testing.assert_allclose(mesh.uv, [[0.25, 0.75], [0.75, 0.75], [0.25, 0.25], [0.75, 0.25]])
    assert (mesh.vertices.dtype, mesh.faces.dtype, mesh.uv.dtype) == (np.float32, np.int32, np.float32)
    assert mesh.texture is None


def test_a_whole_surface_keeps_every_pixel_and_the_photo() -> None:
    depth = wavy(12, 17)
    image = np.zeros((12, 17, 3), np.uint8)
    mesh = depth_to_mesh(depth, camera(depth), image=image)
    assert len(mesh.faces) == 2 * 11 * 16
    np.testing.assert_allclose(mesh.vertices, unproject(depth, camera(depth)).reshape(-1, 3), rtol=1e-6)
    rows, columns = np.mgrid[:12, :17]
    np.testing.assert_allclose(pixels_of(mesh, depth.shape), np.stack([rows.ravel(), columns.ravel()], 1), atol=1e-4)
    assert mesh.texture is image


@given(seed=st.integers(0, 2**32 - 1), stride=st.integers(1, 4))
def test_what_holds_for_any_mesh(seed: int, stride: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(2, 25, 2)
    depth = wavy(height, width)
    for _ in range(3):
        top, left = rng.integers(0, height), rng.integers(0, width)
        depth[top : top + 5, left : left + 7] = rng.choice([1.0, 6.0, np.nan, np.inf, 0.0])
    try:
        mesh = depth_to_mesh(depth, camera(depth), stride=stride)
    except InputError:
        return
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normals * corners.mean(axis=1)).sum(axis=1) < 0).all(), "every face looks at the camera"
    assert np.isfinite(mesh.vertices).all()
    assert set(np.unique(mesh.faces)) == set(range(len(mesh.vertices))), "no vertex is left over, none is missing"
    assert len(np.unique(np.sort(mesh.faces, axis=1), axis=0)) == len(mesh.faces), "no face is there twice"
    assert (corners[..., 2].max(axis=1) <= 1.04001 ** (2 * stride) * corners[..., 2].min(axis=1)).all()
    pixels = pixels_of(mesh, depth.shape).round().astype(int)
    np.testing.assert_allclose(mesh.vertices[:, 2], depth[pixels[:, 0], pixels[:, 1]])
    found, _ = project(mesh.vertices, camera(depth))
    np.testing.assert_allclose(found, pixels[:, ::-1], atol=1e-3)


def test_the_mesh_is_torn_at_an_outline() -> None:
    depth = wavy(20, 30)
    depth[5:15, 10:20] = 1
    mesh = depth_to_mesh(depth, camera(depth))
    nearest = mesh.vertices[mesh.faces][..., 2]
    assert ((nearest < 2).all(axis=1) | (nearest > 2).all(axis=1)).all()
    inside = (nearest < 2).all(axis=1).sum()
    assert inside == 2 * 9 * 9
    assert len(mesh.faces) == 2 * (19 * 29 - 11 * 11) + 4 + inside, "cells on the outline are gone, half at its corners"


def test_a_slanted_outline_is_followed_by_half_cells() -> None:
    rows, columns = np.mgrid[:20, :20]
    for nearer in (rows > columns, rows + columns > 19):
        depth = np.where(nearer, 1.0, 5.0).astype(np.float32)
        mesh = depth_to_mesh(depth, camera(depth))
        near = (mesh.vertices[mesh.faces][..., 2] == 1).all(axis=1).sum()
        assert near == 18 * 18, "the near triangle of every cell on the diagonal is kept"


@pytest.mark.parametrize("hole", [np.nan, np.inf, 0.0, -3.0])
def test_a_hole_takes_only_the_faces_that_touch_it(hole: float) -> None:
    depth = np.full((7, 9), 2.0, np.float32)
    depth[3, 4] = hole
    mesh = depth_to_mesh(depth, camera(depth))
    assert len(mesh.vertices) == 7 * 9 - 1
    assert len(mesh.faces) == 2 * 6 * 8 - 4


def test_the_tolerance_is_the_one_of_depth_edges() -> None:
    depth = np.tile(np.array([1.0, 1.1, 1.21, 1.331], np.float32), (3, 1))
    with pytest.raises(InputError, match="edge_rtol"):
        depth_to_mesh(depth, camera(depth), edge_rtol=0.09)
    assert depth_edges(depth, rtol=0.09).all()
    assert len(depth_to_mesh(depth, camera(depth), edge_rtol=0.11).faces) == 12
    assert not depth_edges(depth, rtol=0.11).any()


@pytest.mark.parametrize("stride", [2, 3, 5, 100])
def test_a_coarse_mesh_still_spans_the_picture(stride: int) -> None:
    depth = wavy(20, 31)
    mesh = depth_to_mesh(depth, camera(depth), stride=stride)
    pixels = pixels_of(mesh, depth.shape)
    np.testing.assert_allclose(pixels.min(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(pixels.max(axis=0), (19, 30), atol=1e-4)
    assert len(mesh.faces) == 2 * -(-19 // stride) * -(-30 // stride)


def test_a_coarse_mesh_spans_no_edge_or_hole_between_its_vertices() -> None:
    depth = np.full((9, 17), 2.0, np.float32)
    depth[:, 5] = 1
    depth[3, 14] = np.nan
    mesh = depth_to_mesh(depth, camera(depth), stride=4)
    assert len(mesh.faces) == 2 * (2 * 3 - 1), "the column of cells with the pole and the cell with the hole are gone"


def test_a_steep_floor_is_not_torn_by_a_stride() -> None:
    depth = np.tile((2 * 1.03 ** np.arange(33))[:, None], (1, 9)).astype(np.float32)
    assert len(depth_to_mesh(depth, camera(depth), stride=4).faces) == 2 * 8 * 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_a_map_of_one_row_or_column_is_refused(shape: tuple[int, int]) -> None:
    depth = np.ones(shape, np.float32)
    with pytest.raises(InputError, match="2x2"):
        depth_to_mesh(depth, camera(depth))


def test_scattered_pixels_are_refused() -> None:
    depth = np.full((4, 4), np.nan, np.float32)
    depth[1, 1] = 1
    with pytest.raises(InputError, match="No face"):
        depth_to_mesh(depth, camera(depth))


@pytest.mark.parametrize("rtol", [0, -1, np.nan, np.inf, "4%"])
def test_bad_tolerances_are_refused(rtol: float) -> None:
    with pytest.raises(InputError, match="edge_rtol"):
        depth_to_mesh(wavy(4, 4), Intrinsics.from_fov(4, 4, fov_x_deg=60), edge_rtol=rtol)
