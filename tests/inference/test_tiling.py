"""Plans for any image size, and the resizing between image, patches and canvas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pro_engine.errors import InputError
from pro_engine.inference import tiling
from pro_engine.models.contract import PsiSpec

CHANNELS = (8, 8, 8, 8, 8, 8)
OURS = PsiSpec(CHANNELS, input_area=512 * 384, multiple=32, keep_aspect=True)
PUBLISHED = PsiSpec(CHANNELS, input_area=518 * 518, multiple=14, keep_aspect=False, published_resize=True)

sides = st.one_of(st.integers(32, 200), st.integers(64, 12000))
grids = st.one_of(st.just("auto"), st.tuples(st.integers(1, 32), st.integers(1, 32)))


@given(sides, sides, st.sampled_from([OURS, PUBLISHED]), grids)
@settings(max_examples=300, deadline=None)
def test_patches_tile_the_picture_exactly(height, width, spec, tiles):
    layout = tiling.plan(height, width, spec, tiles)
    rows, cols = layout.grid
    boxes = np.array(layout.boxes).reshape(rows, cols, 4)
    assert (boxes[0, :, 1] == 0).all()
    assert (boxes[-1, :, 3] == 1).all()
    assert (boxes[:, 0, 0] == 0).all()
    assert (boxes[:, -1, 2] == 1).all()
    assert (boxes[1:, :, 1] == boxes[:-1, :, 3]).all()
    assert (boxes[:, 1:, 0] == boxes[:, :-1, 2]).all()
    assert ((boxes[..., 2:] - boxes[..., :2]) > 0).all()
    if spec is PUBLISHED:
        cuts = np.array(layout.cuts)
        assert (np.array(layout.enlarged) % layout.grid == 0).all()
        assert ((cuts[:, 2] - cuts[:, 0]) * (cuts[:, 3] - cuts[:, 1])).sum() == np.prod(layout.enlarged)
        assert height <= layout.enlarged[0] < height + rows and width <= layout.enlarged[1] < width + cols
    covered = np.zeros(layout.canvas, dtype=np.uint8) if rows * cols <= 16 else None
    for index in range(layout.patches if covered is not None else 0):
        covered[layout.cell(index)] += 1
    assert covered is None or (covered == 1).all()


@given(sides, sides, st.sampled_from([OURS, PUBLISHED]))
@settings(max_examples=300, deadline=None)
def test_input_sizes_keep_area_multiple_and_shape(height, width, spec):
    layout = tiling.plan(height, width, spec)
    for shape in (layout.coarse, layout.patch):
        assert all(side % spec.multiple == 0 and side >= 2 * spec.multiple for side in shape)
        assert 0.75 < shape[0] * shape[1] / spec.input_area < 1.35
    rows, cols = layout.grid
    assert rows * cols <= 64
    if height * width > 1e6 and max(height, width) <= 30 * min(height, width):
        patch_aspect = width / cols / (height / rows)
        assert 1 / 4 < patch_aspect < 4  # 1:2 wanted, but not at the price of tiny patches


@pytest.mark.parametrize(
    ("height", "width", "grid"),
    [
        (2160, 3840, (4, 4)),
        (3840, 2160, (4, 4)),
        (1080, 1920, (3, 3)),
        (480, 640, (2, 2)),
        (440, 580, (1, 1)),
        (64, 64, (1, 1)),
        (8660, 11547, (8, 8)),
        (1000, 20000, (2, 20)),
        (20000, 1000, (20, 2)),
    ],
)
def test_auto_grid(height, width, grid):
    assert tiling.plan(height, width, OURS).grid == grid


def test_published_input_is_518_square():
    layout = tiling.plan(2160, 3840, PUBLISHED)
    assert layout.coarse == layout.patch == (518, 518)
    assert layout.canvas == (4 * 518, 4 * 518)


@pytest.mark.parametrize("size", [(31, 100), (100, 1), (0, 0)])
def test_too_small_is_refused(size):
    with pytest.raises(InputError, match="at least 32 pixels"):
        tiling.plan(*size, OURS)


def test_published_cut_and_resize_match_torch():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (102, 204, 3), dtype=np.uint8)
    spec = PsiSpec(CHANNELS, input_area=56 * 56, multiple=14, keep_aspect=False, published_resize=True)
    layout = tiling.plan(102, 204, spec, (3, 4))
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    expected = F.interpolate(tensor, layout.coarse, mode="bilinear", align_corners=True)[0].permute(1, 2, 0)
    np.testing.assert_allclose(tiling.coarse_input(image, layout), expected, atol=0.01)
    x0, y0, x1, y1 = layout.cuts[6]
    assert (x0, y0, x1, y1) == (102, 34, 153, 68)
    expected = F.interpolate(tensor[..., y0:y1, x0:x1], layout.patch, mode="bilinear", align_corners=True)
    source = tiling.patch_source(image, layout)
    np.testing.assert_allclose(tiling.patch_input(source, layout, 6), expected[0].permute(1, 2, 0), atol=0.01)
    canvas = rng.random(layout.canvas, dtype=np.float32)
    expected = F.interpolate(torch.from_numpy(canvas)[None, None], (102, 204), mode="bilinear", align_corners=True)
    np.testing.assert_allclose(tiling.to_image(canvas, layout), expected[0, 0], atol=1e-4)


@pytest.mark.parametrize("spec", [OURS, PUBLISHED], ids=["ours", "published"])
@pytest.mark.parametrize("size", [(301, 517), (997, 1499), (700, 97)])
def test_nothing_is_stretched(spec, size):
    """A picture of its own coordinates, cut into patches and laid back, still has each coordinate in its place."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 255 / (width - 1), y * 255 / (height - 1), 0 * x], axis=2).round().astype(np.uint8)
    layout = tiling.plan(height, width, spec, (3, 5))
    source = tiling.patch_source(image, layout)
    for channel, (length, truth) in enumerate(((width, x), (height, y))):
        canvas = np.empty(layout.canvas, dtype=np.float32)
        for index in range(layout.patches):
            canvas[layout.cell(index)] = tiling.patch_input(source, layout, index)[..., channel]
        back = tiling.to_image(canvas, layout) * (length - 1) / 255
        tolerance = 1.5 + (length - 1) / 255  # one level of the 8-bit picture, and a pixel
        assert np.abs(back - truth).max() < tolerance


def test_area_average_when_one_side_shrinks_and_one_grows():
    image = np.zeros((64, 640, 3), dtype=np.uint8)
    image[:, ::2] = 200  # stripes of one pixel: sampling would alias to 0 or 200, averaging gives 100
    layout = tiling.plan(64, 640, PsiSpec(CHANNELS, 128 * 128, 32, keep_aspect=False), (1, 1))
    assert layout.coarse == (128, 128)
    assert abs(int(tiling.coarse_input(image, layout)[..., 0].mean()) - 100) <= 1
    assert np.ptp(tiling.coarse_input(image, layout)[..., 0].astype(int)) <= 80


@pytest.mark.parametrize("spec", [OURS, PUBLISHED])
def test_a_shifted_plan_moves_every_patch_by_half_of_one(spec):
    plain, shifted = (tiling.plan(2160, 3840, spec, (4, 4), shifted=s) for s in (False, True))
    assert (shifted.laid, shifted.patches, shifted.canvas) == ((3, 3), 9, plain.canvas)
    kept = [0, 1, 2, 4, 5, 6, 8, 9, 10]
    np.testing.assert_allclose(np.array(shifted.boxes), np.array(plain.boxes)[kept] + 0.125)
    assert spec is OURS or shifted.cuts[0] == (480, 270, 1440, 810)
    h, w = plain.patch
    for index, before in enumerate(kept):
        (rows, columns), (rows_before, columns_before) = shifted.cell(index), plain.cell(before)
        assert (rows.start - rows_before.start, columns.stop - columns_before.stop) == (h // 2, w // 2)
    assert shifted.covered == (slice(h // 2, h // 2 + 3 * h), slice(w // 2, w // 2 + 3 * w))
    pixels = tiling.covered_pixels(shifted)
    assert pixels[270:1890, 480:3360].all() and pixels.sum() == 1620 * 2880
    assert tiling.covered_pixels(plain).all()


def test_a_side_with_one_patch_is_not_shifted():
    layout = tiling.plan(200, 900, OURS, (1, 3), shifted=True)
    assert layout.laid == (1, 2)
    assert layout.covered[0] == slice(0, layout.canvas[0])
    assert tiling.plan(200, 300, OURS, (1, 1), shifted=True) == tiling.plan(200, 300, OURS, (1, 1))


@pytest.mark.parametrize("size", [(101, 203), (100, 203), (99, 204)])
def test_a_picture_that_the_grid_does_not_divide_is_enlarged_as_published(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    layout = tiling.plan(*size, PUBLISHED, (3, 4))
    assert (layout.enlarged, layout.patches) == ((102 if size[0] > 99 else 99, 204), 12)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    large = F.interpolate(tensor, layout.enlarged, mode="bicubic", align_corners=True)
    expected = F.interpolate(large, layout.coarse, mode="bilinear", align_corners=True)[0].permute(1, 2, 0)
    np.testing.assert_allclose(tiling.coarse_input(image, layout), expected, atol=0.01)
    x0, y0, x1, y1 = layout.cuts[6]
    assert (x0, y0, x1, y1) == (102, layout.enlarged[0] // 3, 153, layout.enlarged[0] // 3 * 2)
    expected = F.interpolate(large[..., y0:y1, x0:x1], layout.patch, mode="bilinear", align_corners=True)
    np.testing.assert_allclose(tiling.patch_input(image, layout, 6), expected[0].permute(1, 2, 0), atol=0.01)
    canvas = np.random.default_rng(1).random(layout.canvas, dtype=np.float32)
    back = F.interpolate(torch.from_numpy(canvas)[None, None], layout.enlarged, mode="bilinear", align_corners=True)
    back = F.interpolate(back, size, mode="bilinear", align_corners=True)
    np.testing.assert_allclose(tiling.to_image(canvas, layout), back[0, 0], atol=3e-4)  # torch rounds places


def test_moved_grids_begin_at_half_a_patch_of_whole_pixels():
    layout = tiling.plan(303, 404, PUBLISHED, (3, 4), shifted=(False, True))  # patches of 101 x 101
    assert (layout.laid, layout.offset, layout.cuts[0]) == ((3, 3), (0, 259), (50, 0, 151, 101))
    layout = tiling.plan(303, 404, PUBLISHED, (3, 4), shifted=(True, True))
    assert (layout.laid, layout.offset, layout.cuts[-1]) == ((2, 3), (259, 259), (252, 151, 353, 252))
