"""Rigs made level, scaled and moved; and the ground in a cloud of points, which needs no Blender."""

from __future__ import annotations

import numpy as np
import pytest

from blender_addon.errors import UserError
from blender_addon.maths.planes import ground_in, plane_around, plane_through, up_of_horizon
from tests.blender.blenders import facts_of, needs_blender
from tests.blender.engines import one_sentence

facts = facts_of("inside_space.py")


def down(pitch_deg, roll_deg):
    """Up in the space of a camera that looks down and is turned."""
    pitch, roll = np.radians([pitch_deg, roll_deg])
    return np.array([np.sin(roll) * np.cos(pitch), np.cos(roll) * np.cos(pitch), np.sin(pitch)])


def room(up, height=1.5):
    """(N, 3): a floor that is seen to 8 m, with noise, a wall behind it and a box on it."""
    rng = np.random.default_rng(1)
    rays = np.stack([rng.uniform(-0.7, 0.7, 6000), rng.uniform(-0.5, 0.5, 6000), np.full(6000, -1.0)], 1)
    with np.errstate(divide="ignore"):
        far = -height / (rays @ up)
    far[(far < 0) | (far > 8)] = 8
    box = (np.abs(rays[:, 0]) < 0.15) & (np.abs(rays[:, 1] + 0.1) < 0.15)
    far[box] = np.minimum(far[box], 2.5)
    return rays * (far * rng.normal(1, 0.004, 6000))[:, None]


@pytest.mark.parametrize(("pitch", "roll"), [(10, 0), (25, 6), (50, -4)])
def test_the_ground_is_found_beside_a_wall_and_a_box(pitch, roll):
    plane = ground_in(room(down(pitch, roll)))
    assert np.degrees(np.arccos(plane.normal @ down(pitch, roll))) < 0.5
    assert -plane.normal @ plane.point == pytest.approx(1.5, rel=0.02)


def test_a_wall_is_no_ground():
    rng = np.random.default_rng(0)
    rays = np.stack([*rng.uniform(-0.6, 0.6, (2, 3000)), np.full(3000, -1.0)], 1)
    with pytest.raises(UserError) as error:
        ground_in(rays * 4)
    assert "No ground" in one_sentence(str(error.value))


def test_what_lies_beside_a_plane_does_not_turn_it():
    rng = np.random.default_rng(0)
    points = np.stack([*rng.uniform(-1, 1, (2, 500)), np.full(500, -3.0)], 1)
    points[:60, 2] = -5
    assert np.degrees(np.arccos(plane_around(points).normal[2])) < 0.1


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.eye(3)[:2], np.arange(9.0).reshape(3, 3)])
def test_points_that_make_no_plane_are_told(points):
    with pytest.raises(UserError) as error:
        plane_through(points)
    assert "make no plane" in one_sentence(str(error.value))


def test_up_is_across_the_horizon():
    assert up_of_horizon(np.array([[0.3, 0.2, -1]])) == pytest.approx(down(np.degrees(np.arctan(0.2)), 0), abs=1e-9)
    for points in (np.zeros((0, 3)), np.array([[1.0, 1, -2], [2.0, 2, -4]])):
        with pytest.raises(UserError) as error:
            up_of_horizon(points)
        one_sentence(str(error.value))


@needs_blender
@pytest.mark.parametrize("way", ["GROUND", "CURSOR", "POINTS"])
def test_a_rig_is_level_with_its_ground_a_plane_and_three_points(python, way):
    seen = facts(python, "space")
    result, height, text, camera = seen[way]
    assert result == "FINISHED" and "turned by" in text and seen["leaning"] > 5
    assert height < 0.01 and camera > 1


@needs_blender
def test_a_length_and_a_height_give_the_scale_in_units_of_the_scene(python):
    seen = facts(python, "space")
    assert seen["picks"] == 3 and seen["by vertices"] == seen["by height"] == "FINISHED"
    assert seen["length"] == pytest.approx(7, rel=1e-4) and seen["height"] == pytest.approx(16, rel=1e-3)
    assert "make no plane" in one_sentence(seen["too few"]) and "pick two" in one_sentence(seen["no picks"])


@needs_blender
def test_a_rig_goes_to_the_cursor_and_to_the_horizon_and_can_be_built_again(python):
    seen = facts(python, "space")
    assert seen["at cursor"] == ["FINISHED", pytest.approx([1, 2, 3], abs=1e-4)]
    assert seen["horizon"] == seen["rebuilt"] == "FINISHED"
    assert seen["level"] < 1e-5 and seen["upright"] > 0.9
