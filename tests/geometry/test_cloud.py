from __future__ import annotations

import numpy as np
import pytest

from pro_engine import Intrinsics, depth_to_cloud, project, unproject

CAMERA = Intrinsics.from_fov(7, 5, fov_x_deg=70)
RNG = np.random.default_rng(1)
DEPTH = RNG.uniform(1, 9, (5, 7)).astype(np.float32)
IMAGE = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_every_pixel_gives_its_point_and_colour_in_row_order() -> None:
    cloud = depth_to_cloud(DEPTH, CAMERA, image=IMAGE)
    np.testing.assert_allclose(cloud.xyz, unproject(DEPTH, CAMERA).reshape(-1, 3), rtol=1e-6)
    assert cloud.rgb is not None
    np.testing.assert_array_equal(cloud.rgb, IMAGE.reshape(-1, 3))
    assert (cloud.xyz.dtype, cloud.rgb.dtype) == (np.float32, np.uint8)


def test_no_image_no_colours() -> None:
    assert depth_to_cloud(DEPTH, CAMERA).rgb is None


def test_sky_and_unknown_pixels_are_left_out() -> None:
    depth = DEPTH.copy()
    depth[0, 0], depth[1, 1], depth[2, 2], depth[3, 3] = np.nan, np.inf, 0, -2
    cloud = depth_to_cloud(depth, CAMERA, image=IMAGE)
    keep = np.isfinite(depth) & (depth > 0)
    assert len(cloud.xyz) == 31
    assert cloud.rgb is not None
    np.testing.assert_array_equal(cloud.rgb, IMAGE[keep])
    np.testing.assert_array_equal(cloud.xyz[:, 2], depth[keep])


@pytest.mark.parametrize("stride", [1, 2, 3, 10])
def test_a_stride_thins_the_cloud_and_keeps_the_camera(stride: int) -> None:
    cloud = depth_to_cloud(DEPTH, CAMERA, image=IMAGE, stride=stride)
    pixels, _ = project(cloud.xyz, CAMERA)
    rows, columns = np.mgrid[0:5:stride, 0:7:stride]
    np.testing.assert_allclose(pixels, np.stack([columns.ravel(), rows.ravel()], axis=1), atol=1e-4)
    assert cloud.rgb is not None
    np.testing.assert_array_equal(cloud.rgb, IMAGE[::stride, ::stride].reshape(-1, 3))
