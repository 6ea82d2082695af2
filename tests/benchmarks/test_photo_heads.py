"""What a model tells of a photo: that the hand-drawn skies are sound, and that errors are measured as they are said."""

from __future__ import annotations

import numpy as np
import pytest
from photo_heads import (
    SHARES,
    Overlaps,
    fovs_at_shares,
    lens_line,
    lens_lines,
    log2_error,
    longer_fov_deg,
    overlap,
    read_focal,
    read_outlines,
    sky_of,
)

from pro_engine.datasets.sample import EvalSample
from pro_engine.inference import whole
from pro_engine.models.photo_heads import READ_SHARE, USUAL_FOCAL
from pro_engine.types import DepthResult, Intrinsics


def test_twelve_skies_lie_in_their_pictures():
    outlines = read_outlines()
    assert len(outlines) == 12
    for name, polygons in outlines.items():
        points = np.concatenate([np.array(polygon) for polygon in polygons])
        assert points.min() >= 0 and points.max() <= 1000, name
        assert 0.03 < sky_of(polygons, 700, 1000).mean() < 0.8, name


def test_overlaps_are_of_all_pixels_and_of_each_picture_with_a_sky_where_it_is_known():
    skies, true = Overlaps(), np.zeros((4, 4), bool)
    skies.add(None, true)
    true[:3] = True
    found = np.zeros((4, 4), bool)
    found[0] = found[3, 0] = True
    skies.add(found, true)
    small = np.zeros((4, 4), bool)
    small[0] = True
    assert skies.add(found, small, known=np.repeat([True, True, True, False], 4).reshape(4, 4)) == 1
    assert (skies.both, skies.either) == (8, 17)
    assert skies.each == pytest.approx([4 / 13, 1])
    assert str(skies) == "overlap of all pixels 0.471, mean of 2 pictures 0.654, least 0.308"


def test_overlap_is_intersection_over_union():
    true = np.zeros((4, 4), bool)
    assert overlap(None, true) == 1.0
    true[:2] = True
    assert (overlap(true, true), overlap(~true, true), overlap(None, true)) == (1.0, 0.0, 0.0)
    half = true.copy()
    half[0] = False
    assert overlap(half, true) == 0.5


def test_metres_are_compared_where_they_are_known():
    inverse = np.linspace(1, 0.1, 100, dtype=np.float32)[:, None].repeat(100, 1)  # 1 to 10 m
    low, high = np.percentile(inverse, (2, 98))
    ends = (1 / high, 1 / low)
    image = np.zeros((100, 100, 3), np.uint8)
    valid = np.arange(100)[:, None].repeat(100, 1) < 90
    sample = EvalSample("a", "g", image, np.where(valid, inverse, 0), valid)
    result = DepthResult(inverse * 7 - 3, np.ones_like(valid), span_m=ends)
    assert log2_error(result, sample) == pytest.approx(0, abs=0.02)
    double = DepthResult(inverse * 7 - 3, np.ones_like(valid), span_m=(2 * ends[0], 2 * ends[1]))
    assert log2_error(double, sample) == pytest.approx(1, abs=0.02)


def test_the_lens_is_held_against_the_best_constant():
    line = lens_line([50, 60, 80], [40, 60, 70])
    assert "3 pictures: median error 10.0 degrees, of the best constant 10.0; rank correlation 1.00" in line


def test_shares_of_what_is_read_lie_between_the_usual_lens_and_all_of_it():
    image = np.zeros((300, 400, 3), np.uint8)
    side = np.sqrt(300 * 400)
    without, with_lines = np.split(np.array(fovs_at_shares(2 * USUAL_FOCAL, image)), 2)  # twice the usual was read
    degrees = dict(zip(SHARES, without, strict=True))
    assert degrees[1.0] == pytest.approx(longer_fov_deg(2 * USUAL_FOCAL * side, image))
    assert degrees[READ_SHARE] == pytest.approx(longer_fov_deg(2**READ_SHARE * USUAL_FOCAL * side, image))
    assert degrees[0.0] == pytest.approx(60, abs=0.1)
    assert (with_lines == without).all()  # of an even picture
    lines = list(lens_lines([[*without, *with_lines]] * 3, [50, 60, 70]))
    assert len(lines) == 2 * len(SHARES) and sum("(told)" in line for line in lines) == 1


def test_what_the_head_reads_is_known_without_the_lines():
    image = np.zeros((300, 400, 3), np.uint8)
    image[::40], image[:, ::40] = 255, 255

    class Predictor:
        """Tells what a network's guess becomes by the lines."""

        def infer(self, image, options):
            side = np.sqrt(300 * 400)
            focal = whole.focal_from_lines(image, USUAL_FOCAL * 2**READ_SHARE) * side
            lens = Intrinsics(focal, focal, 199.5, 149.5, 400, 300)
            return DepthResult(np.zeros((300, 400), np.float32), np.ones((300, 400), bool), intrinsics=lens)

    assert read_focal(Predictor(), image) == pytest.approx(2 * USUAL_FOCAL)
