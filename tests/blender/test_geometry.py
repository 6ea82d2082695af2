"""Depth in metres, the mesh of a depth map, its tears, its budget and its camera; nothing here needs Blender."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest

from blender_addon.errors import UserError
from blender_addon.maths.mesh import (
    Intrinsics,
    MeshOptions,
    camera_of,
    depth_to_mesh,
    open_cells,
    plane_mesh,
    position_map,
)
from blender_addon.maths.scale import (
    Anchors,
    DepthScale,
    disparity_to_depth,
    place_sky,
    read_map,
    scale_of_distance,
    scale_of_range,
)
from blender_addon.maths.simplify import cell_corners
from pro_engine.io.depth import save_depth

ANCHORS = Anchors(near=9.0, far=1.0, far_before_sky=2.0)
UNTORN = MeshOptions(edge_rtol=10.0)


def street(height=240, width=320):
    """A ground, a wall behind it, a ball in front of both and a hole where the sky is."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    inverse = 0.05 + 0.3 * np.maximum(0, y / height - 0.4) + 4e-4 * np.sin(x / 9) * np.sin(y / 7)
    r = np.hypot(x - 0.4 * width, y - 0.5 * height) / (0.2 * height)
    depth = (1 / np.where(r < 1, 0.4 - 0.1 * r**2, inverse)).astype(np.float32)
    depth[: height // 6, : width // 3] = np.nan
    return depth, Intrinsics.from_fov(60, width, height)


def faces_of(mesh):
    """(F, 4) vertices of each face; a triangle repeats its last."""
    sizes = np.diff(np.append(mesh.starts, len(mesh.corners)))
    assert set(sizes.tolist()) <= {3, 4}
    return mesh.corners[mesh.starts[:, None] + np.minimum(np.arange(4), sizes[:, None] - 1)]


def edges_of(mesh):
    """Every edge (2,) in the direction its face has it."""
    faces = faces_of(mesh)
    edges = np.stack([faces, np.roll(faces, -1, axis=1)], axis=2).reshape(-1, 2)
    return edges[edges[:, 0] != edges[:, 1]]


def pixels_of(mesh, intrinsics):
    """(N, 2) column and row of each vertex."""
    return np.rint(mesh.uv * (1, -1) * (intrinsics.width, intrinsics.height) + (-0.5, intrinsics.height - 0.5)).astype(
        int
    )


def double_areas(mesh, points):
    """Twice the signed area of each face of a mesh in the plane (N, 2), positive when counter-clockwise."""
    x, y = np.moveaxis(points[faces_of(mesh)].astype(float), -1, 0)
    return (x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1)).sum(axis=1)


# ---- files of the engine


def npy(values):
    """The bytes of an array's file."""
    with io.BytesIO() as file:
        np.save(file, values)
        return file.getvalue()


def test_a_map_of_the_engine_is_read_bit_for_bit(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    values[0, :3] = np.nan, np.inf, -0.0
    save_depth(tmp_path / "a.npy", values, quantity="disparity", metadata={"photo": "a.jpg"})
    read = read_map(tmp_path / "a.npy")
    assert read.dtype == np.float32 and read.shape == (3, 4) and read.tobytes() == values.tobytes()


MAP = npy(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    "content",
    [
        b"no map\n",
        b"\xff" * 100_000,
        npy(np.zeros((2, 3))),
        npy(np.zeros((2, 3), np.int32)),
        npy(np.zeros(6, np.float32)),
        MAP.replace(b"(2, 3)", b"(2, -3)"),
        MAP.replace(b"(2, 3)", b"(2, 3 "),
        MAP.replace(b"(2, 3), ", b"(10**9,)"),
        MAP.replace(b"(2, 3), }       ", b"(2000000, 2000000), }"[:16]),
        MAP.replace(b"<f4", b"|O8"),
        MAP.replace(b"<f4", b"foo"),
        None,
        *(MAP[:length] for length in range(0, len(MAP), 5)),
    ],
)
def test_what_is_no_whole_map_is_one_sentence(tmp_path, content):
    if content is not None:
        (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"^[^\n]*; run the engine again\.$"):
        read_map(tmp_path / "a.npy")


# ---- metres


@pytest.mark.parametrize(("has_sky", "farthest"), [(True, 2.0), (False, 1.0)])
def test_near_and_far_lie_where_they_were_put(has_sky, farthest):
    scale = scale_of_range(ANCHORS, 2.0, 50.0, has_sky=has_sky)
    assert scale.distance(9.0) == pytest.approx(2.0)
    assert scale.distance(farthest) == pytest.approx(50.0)


@pytest.mark.parametrize("kept", [{"near_m": 2.0}, {"far_m": 50.0}])
def test_a_point_lies_where_it_was_put_and_the_end_stays(kept):
    scale = scale_of_distance(ANCHORS, 5.0, 4.0, **kept)
    assert scale.distance(5.0) == pytest.approx(4.0)
    assert scale.distance(9.0 if "near_m" in kept else 2.0) == pytest.approx(next(iter(kept.values())))


@pytest.mark.parametrize(
    ("disparity", "distance", "kept"),
    [
        (5.0, 1.0, {"near_m": 2.0}),  # in front of what is nearest
        (5.0, 60.0, {"far_m": 50.0}),
        (9.0, 4.0, {"near_m": 2.0}),  # the nearest surface itself
        (2.0, 4.0, {"far_m": 50.0}),
        (math.nan, 4.0, {"near_m": 2.0}),
        (8.0, 20.0, {"near_m": 2.0}),  # puts the background beyond infinity
    ],
)
def test_a_distance_that_contradicts_is_refused(disparity, distance, kept):
    with pytest.raises(UserError):
        scale_of_distance(ANCHORS, disparity, distance, **kept)


def test_bad_ranges_and_pictures_without_contrast_are_refused():
    for near, far in ((0, 1), (2, 2), (3, 2), (1, math.inf), (math.nan, 2)):
        with pytest.raises(UserError, match="near < far"):
            scale_of_range(ANCHORS, near, far)
    with pytest.raises(UserError, match="nothing near"):
        Anchors.of(None)
    assert Anchors.of({"near": 9, "far": 1, "far_before_sky": 2}) == ANCHORS


def test_sky_is_dropped_becomes_a_card_or_stays():
    scale = DepthScale.through((9.0, 2.0), (2.0, 50.0))
    disparity = np.array([[9, 2, 1.9, 0, -5, np.nan]], np.float32)
    drop, card, keep = (disparity_to_depth(disparity, scale, 50.0, sky=sky)[0] for sky in ("drop", "card", "keep"))
    assert np.isnan(drop).tolist() == [False, False, True, True, True, True]
    np.testing.assert_allclose(card, [2, 50, 50, 50, 50, np.nan], rtol=1e-6)
    assert 50 < keep[2] < 500 and keep[3] == 500 and keep[4] == 500 and np.isnan(keep[5])
    np.testing.assert_allclose(drop[:2], [2, 50], rtol=1e-6)
    metric = np.array([[1, 70, np.inf, np.nan]], np.float32)
    np.testing.assert_array_equal(place_sky(metric, 50.0), [[1, np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(place_sky(metric, 50.0, sky="keep"), [[1, 70, 500, np.nan]])
    np.testing.assert_array_equal(place_sky(metric, 50.0, sky="dome"), [[1, np.inf, np.inf, np.nan]])
    with pytest.raises(UserError, match="globe"):
        place_sky(metric, 50.0, sky="globe")


# ---- the full mesh


def test_8_vertices_lie_on_the_rays_of_their_pixels_and_faces_look_at_the_camera():
    depth, _ = street(40, 60)
    intrinsics = Intrinsics(50.0, 60.0, 33.0, 11.0, 60, 40)
    mesh = depth_to_mesh(depth, intrinsics)
    column, row = pixels_of(mesh, intrinsics).T
    np.testing.assert_allclose(mesh.uv[:, 0], (column + 0.5) / 60, rtol=1e-6)
    np.testing.assert_allclose(mesh.uv[:, 1], 1 - (row + 0.5) / 40, rtol=1e-6)
    z = -mesh.vertices[:, 2]
    np.testing.assert_array_equal(z, depth[row, column])
    np.testing.assert_allclose(mesh.vertices[:, 0] / z * 50 + 33, column, atol=1e-4)
    np.testing.assert_allclose(-mesh.vertices[:, 1] / z * 60 + 11, row, atol=1e-4)
    assert mesh.vertices.dtype == mesh.uv.dtype == np.float32 and mesh.corners.dtype == mesh.starts.dtype == np.int32
    assert (double_areas(mesh, mesh.vertices[:, :2] / z[:, None]) > 0).all()


def test_8_nothing_but_usable_pixels_and_no_loose_vertex():
    depth, intrinsics = street(40, 60)
    depth[20:23, 30:33] = [[np.nan, np.inf, -np.inf], [0, -1, np.nan], [np.nan, np.nan, np.nan]]
    mesh = depth_to_mesh(depth, intrinsics, UNTORN)
    usable = np.isfinite(depth) & (depth > 0)
    column, row = pixels_of(mesh, intrinsics).T
    assert usable[row, column].all() and np.isfinite(mesh.vertices).all()
    np.testing.assert_array_equal(np.unique(mesh.corners), np.arange(len(mesh.vertices)))
    assert len(mesh.vertices) == usable.sum()


def test_8_a_step_tears_exactly_where_it_is_and_no_face_exceeds_the_ratio():
    depth = np.full((20, 30), 2.0, np.float32)
    depth[:, 12:] = 2.2
    assert np.count_nonzero(~open_cells(depth, MeshOptions(edge_rtol=0.09))) == 19
    assert open_cells(depth, MeshOptions(edge_rtol=0.11)).all()
    rough = np.random.default_rng(0).uniform(2, 3, (40, 50)).astype(np.float32)
    mesh = depth_to_mesh(rough, Intrinsics.from_fov(50, 50, 40), MeshOptions(edge_rtol=0.2))
    z = -mesh.vertices[:, 2][mesh.corners.reshape(-1, 4)]
    assert (z.max(axis=1) <= z.min(axis=1) * 1.2 * (1 + 1e-6)).all()


@pytest.mark.parametrize("erode", [0, 1, 3, 8])
def test_8_erosion_takes_as_many_pixels_on_both_sides_of_a_tear_and_around_a_hole(erode):
    depth = np.full((40, 60), 2.0, np.float32)
    depth[:, 30:] = 4.0
    cells = open_cells(depth, MeshOptions(erode_px=erode))
    assert (~cells).sum(axis=1).tolist() == [1 + 2 * erode] * 39
    hole = np.full((40, 60), 2.0, np.float32)
    hole[20, 30] = np.nan
    assert np.count_nonzero(~open_cells(hole, MeshOptions(erode_px=erode))) == (2 + 2 * erode) ** 2


def test_what_leaves_no_face_is_refused_in_words():
    intrinsics = Intrinsics.from_fov(50, 6, 4)
    nothing = np.full((4, 6), np.nan, np.float32)
    for depth in (nothing, -np.ones((4, 6), np.float32), np.indices((4, 6)).sum(0).astype(np.float32) * 100 + 1):
        with pytest.raises(UserError, match="No face is left"):
            depth_to_mesh(depth, intrinsics)
    with pytest.raises(UserError, match="at least 2x2"):
        depth_to_mesh(np.ones((1, 6), np.float32), Intrinsics.from_fov(50, 6, 1))
    with pytest.raises(UserError, match="6x4 but the photo 4x6"):
        depth_to_mesh(np.ones((4, 6), np.float32), Intrinsics.from_fov(50, 4, 6))


@pytest.mark.parametrize(
    "options", [{"edge_rtol": 0}, {"edge_rtol": math.nan}, {"erode_px": -1}, {"vertices": 7}, {"reduce": "some"}]
)
def test_options_outside_their_limits_are_refused(options):
    with pytest.raises(UserError, match="give"):
        MeshOptions(**options)


# ---- the budget


@pytest.mark.parametrize("reduce", ["flat", "even"])
@pytest.mark.parametrize("vertices", [2000, 8000, 30000])
@pytest.mark.parametrize("scene", ["street", "wall", "noise"])
def test_5_the_budget_is_met_within_five_percent(scene, vertices, reduce):
    depth, intrinsics = street()
    if scene == "wall":
        depth[:] = 3
    elif scene == "noise":
        depth[:] = np.random.default_rng(0).uniform(3, 3.1, depth.shape)
    options = MeshOptions(vertices=vertices, reduce=reduce)
    mesh = depth_to_mesh(depth, intrinsics, options)
    assert abs(len(mesh.vertices) - vertices) <= 0.05 * vertices


def test_the_corners_of_open_cells_are_the_vertices_of_the_whole_map_and_a_large_budget_changes_nothing():
    depth, intrinsics = street()
    whole = depth_to_mesh(depth, intrinsics, MeshOptions(erode_px=2))
    assert np.count_nonzero(cell_corners(open_cells(depth, MeshOptions(erode_px=2)))) == len(whole.vertices)
    roomy = depth_to_mesh(depth, intrinsics, MeshOptions(erode_px=2, vertices=10**6))
    assert all(np.array_equal(a, b) for a, b in zip(whole, roomy, strict=True))


@pytest.mark.parametrize("size", [(240, 320), (129, 257), (97, 61), (131, 300)])
@pytest.mark.parametrize("share", [0.2, 0.4, 0.7])
def test_merged_meshes_cover_the_same_area_without_cracks_or_duplicates(size, share):
    depth, intrinsics = street(*size)
    options = MeshOptions(erode_px=1)
    drawn = open_cells(depth, options)
    mesh = depth_to_mesh(depth, intrinsics, MeshOptions(erode_px=1, vertices=int(share * drawn.sum())))
    pixels = pixels_of(mesh, intrinsics)
    assert len(np.unique(pixels, axis=0)) == len(pixels) == len(np.unique(mesh.corners))
    areas = double_areas(mesh, pixels * (1, -1))
    assert (areas > 0).all()
    assert areas.sum() == 2 * drawn.sum()
    edges = edges_of(mesh)
    assert len(np.unique(edges, axis=0)) == len(edges)  # else two faces lie on the same side of it
    there, back = (edges @ (len(pixels), 1)), (edges @ (1, len(pixels)))
    open_edges = edges[~np.isin(back, there)]
    assert border_length(drawn) == np.abs(np.diff(pixels[open_edges], axis=1)).sum()  # a crack would add to it


def border_length(drawn):
    """How many sides of cells have a cell on one side only."""
    padded = np.pad(drawn, 1).astype(int)
    return np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()


def test_merging_spends_vertices_where_the_surface_bends():
    depth, intrinsics = street()
    flat, even = (
        depth_to_mesh(depth, intrinsics, MeshOptions(vertices=8000, reduce=reduce)) for reduce in ("flat", "even")
    )
    ball = np.hypot(*(pixels_of(flat, intrinsics) - (128, 120)).T) < 48
    assert ball.sum() > 1.5 * (np.hypot(*(pixels_of(even, intrinsics) - (128, 120)).T) < 48).sum()


def test_merging_keeps_the_texture_of_a_slope_in_place():
    y = np.mgrid[:256, :320][0].astype(np.float32)
    depth, intrinsics = 1 / (0.02 + 0.002 * y), Intrinsics.from_fov(60, 320, 256)
    mesh = depth_to_mesh(depth, intrinsics, MeshOptions(vertices=2000))
    edges = edges_of(mesh)
    z = -mesh.vertices[:, 2][edges]
    length = np.abs(np.diff(pixels_of(mesh, intrinsics)[edges], axis=1)).max(axis=(1, 2))
    slide = length * np.abs(np.diff(z, axis=1)[:, 0]) / (2 * z.sum(axis=1))  # pixels, in the middle of an edge
    assert length.max() >= 16 and slide.max() < 0.5


def test_a_wall_of_equal_depth_merges_into_large_blocks():
    depth = np.full((257, 257), 3.0, np.float32)
    mesh = depth_to_mesh(depth, Intrinsics.from_fov(50, 257, 257), MeshOptions(vertices=100))
    assert len(mesh.vertices) <= 105


# ---- maps and camera


def test_any_share_of_the_offsets_keeps_every_point_on_its_ray():
    depth, intrinsics = street(40, 60)
    mesh = depth_to_mesh(depth, intrinsics)
    column, row = pixels_of(mesh, intrinsics).T
    offsets, base = position_map(depth, intrinsics, 3.0)[row, column], mesh.on_plane(3.0).vertices
    np.testing.assert_allclose(base[:, 2], -3.0, rtol=1e-6)
    np.testing.assert_allclose(base + offsets, mesh.vertices, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(position_map(depth, intrinsics)[row, column], mesh.vertices, rtol=1e-6)
    half = base + 0.5 * offsets
    np.testing.assert_allclose(half[:, :2] / half[:, 2:], base[:, :2] / base[:, 2:], atol=1e-6)
    assert (position_map(depth, intrinsics, 3.0)[np.isnan(depth)] == 0).all()


def test_the_plane_spans_the_pixel_centres():
    intrinsics = Intrinsics(50.0, 60.0, 33.0, 11.0, 60, 40)
    mesh = plane_mesh(intrinsics, 2.0)
    assert len(mesh.vertices) == 4 and mesh.starts.tolist() == [0]
    np.testing.assert_allclose(mesh.vertices[0], [-33 / 50 * 2, 11 / 60 * 2, -2], rtol=1e-6)
    np.testing.assert_allclose(mesh.uv[[0, -1]], [[0.5 / 60, 1 - 0.5 / 40], [1 - 0.5 / 60, 0.5 / 40]], rtol=1e-5)


def test_the_camera_is_that_of_the_notes_on_blender():
    assert camera_of(Intrinsics.from_fov(90, 200, 100)) == pytest.approx((18.0, 36.0, 0.0, 0.0, 1.0, 1.0))
    off = camera_of(Intrinsics(300.0, 300.0, 99.5 + 23, 49.5 - 11, 200, 100))
    assert off == pytest.approx((54.0, 36.0, -23 / 200, -11 / 200, 1.0, 1.0))
    assert camera_of(Intrinsics(300.0, 200.0, 99.5, 59.5, 200, 100))[3:] == pytest.approx((10 * 1.5 / 200, 1.0, 1.5))
    assert camera_of(Intrinsics(200.0, 300.0, 99.5, 49.5, 200, 100))[4:] == pytest.approx((1.5, 1.0))
    for numbers in ((0, 1, 0, 0, 4, 4), (1, math.nan, 0, 0, 4, 4), (1, 1, 0, 0, 4, 0)):
        with pytest.raises(UserError, match="no camera"):
            Intrinsics(*numbers)
    with pytest.raises(UserError, match="180"):
        Intrinsics.from_fov(180, 4, 4)
