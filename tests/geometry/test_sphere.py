"""Panoramas as geometry: where pixels look, what a view sees, meshes and clouds, the height above the ground."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from pro_engine.errors import InputError
from pro_engine.geometry.camera import directions
from pro_engine.geometry.sphere import SphereView, height_above_ground, sphere_to_cloud, sphere_to_mesh

H, W = 48, 96


def rays() -> np.ndarray:
    return directions(np.arange(H), np.arange(W), H, W)


def test_pixels_look_where_the_conventions_say() -> None:
    ahead, right, up = rays()[H // 2, W // 2], rays()[H // 2, 3 * W // 4], rays()[0, 0]
    assert ahead == pytest.approx((0, 0, 1), abs=0.04)
    assert right == pytest.approx((1, 0, 0), abs=0.04)
    assert up == pytest.approx((0, -1, 0), abs=0.04)
    assert np.linalg.norm(rays(), axis=-1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (180, 0), (100, 30), (-60, -90), (20, 90)])
def test_a_view_shows_what_lies_in_its_direction(yaw: float, pitch: float) -> None:
    panorama = ((directions(np.arange(256), np.arange(512), 256, 512) + 1) * 127.5).round().astype(np.uint8)
    view = SphereView.towards(yaw, pitch, 90, 64)
    seen = view.picture(panorama) / 127.5 - 1
    k = view.intrinsics
    x, y = np.meshgrid((np.arange(64) - k.cx) / k.fx, (np.arange(64) - k.cy) / k.fy)
    expected = np.stack([x, y, np.ones_like(x)], -1) @ view.turn
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    assert np.abs(seen - expected).max() < 0.03
    columns, rows, cosine = view.seen(expected.astype(np.float32))
    assert np.allclose(columns, np.arange(64), atol=1e-2) and np.allclose(rows, np.arange(64)[:, None], atol=1e-2)
    assert np.allclose(cosine, 1 / np.sqrt(1 + x**2 + y**2), atol=1e-4)
    assert np.linalg.det(view.turn) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("stride", [1, 5])
def test_mesh_is_closed_and_seen_from_within(stride: int) -> None:
    image = np.zeros((H, W, 3), np.uint8)
    mesh = sphere_to_mesh(np.full((H, W), 2.0, np.float32), image=image, stride=stride)
    assert np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(2, abs=1e-4)
    assert mesh.uv is not None and mesh.uv[:, 1].min() >= 0 and mesh.uv[:, 1].max() <= 1
    solid = trimesh.Trimesh(mesh.vertices, mesh.faces, process=True, merge_tex=True, merge_norm=True)
    solid.merge_vertices(merge_tex=True, merge_norm=True)
    assert solid.is_watertight
    inwards = np.einsum("fc,fc->f", solid.face_normals, solid.triangles_center)
    assert (inwards < 0).all()
    assert abs(solid.volume) == pytest.approx(4 / 3 * np.pi * 8, rel=0.15 if stride > 1 else 0.02)


def test_mesh_tears_at_outlines_also_where_the_columns_meet() -> None:
    distance = np.full((H, W), 2.0, np.float32)
    distance[10:30, :8] = 1.0
    mesh = sphere_to_mesh(distance)
    lengths = np.linalg.norm(mesh.vertices, axis=1)[mesh.faces]
    assert np.ptp(lengths, axis=1).max() < 1e-4
    assert {1.0, 2.0} == set(np.unique(lengths.round(3)))


def test_cloud_has_a_point_a_pixel() -> None:
    distance = np.full((H, W), 3.0, np.float32)
    distance[0] = np.nan
    distance[1] = np.inf
    cloud = sphere_to_cloud(distance, image=np.full((H, W, 3), 9, np.uint8))
    assert len(cloud.xyz) == (H - 2) * W and cloud.rgb is not None and len(cloud.rgb) == len(cloud.xyz)
    assert np.linalg.norm(cloud.xyz, axis=1) == pytest.approx(3, abs=1e-4)


def test_height_above_ground() -> None:
    down = rays()[..., 1]
    with np.errstate(divide="ignore"):
        disparity = np.where(down > 0, down / 1.7, 0.01).astype(np.float32)  # a plane 1.7 below
    disparity[28:31, 10:30] = 2.0  # things on it
    assert height_above_ground(disparity) == pytest.approx(1.7, rel=1e-3)
    with pytest.raises(InputError, match="no ground"):
        height_above_ground(np.where(down > 0, np.nan, 0.5).astype(np.float32))


def test_what_is_no_panorama_is_refused() -> None:
    for call in (sphere_to_mesh, sphere_to_cloud, height_above_ground):
        with pytest.raises(InputError, match="twice as wide as high"):
            call(np.ones((48, 60), np.float32))
