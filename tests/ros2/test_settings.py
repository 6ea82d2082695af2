"""Settings: limits, descriptors and sets of parameters."""

from __future__ import annotations

import math

import pytest

from ros2_pro.settings import Settings, from_values, options, value_of

pytest.importorskip("rclpy")

from rclpy.parameter import Parameter

from ros2_pro import parameters

NAMES = [name for name, _ in options()]


def test_there_are_twenty_settings_or_more_each_with_help_and_limits_or_choices():
    assert len(NAMES) >= 20
    free_texts = {"engine.model", "engine.device", "engine.weights", "engine.refiner_weights", "snapshot_folder"}
    for name, option in options():
        assert len(option.metadata["help"]) > 10, name
        bounded = {"minimum", "maximum"} <= set(option.metadata) or "choices" in option.metadata
        assert bounded or isinstance(option.default, bool) or name in free_texts, name


def test_values_go_in_and_come_out_under_the_same_names():
    given = {"points.stride": 4, "engine.tiles": (2, 3), "scale.mode": "fixed", "autostart": False}
    settings = from_values(given)
    assert {name: value_of(settings, name) for name in given} == given
    assert value_of(settings, "points.max_points") == value_of(Settings(), "points.max_points")


@pytest.mark.parametrize("name", [n for n, o in options() if "minimum" in o.metadata])
def test_a_value_outside_its_limits_is_refused_with_its_name(name):
    option = dict(options())[name]
    for outside in (option.metadata["minimum"] - 1, option.metadata["maximum"] * 2 + 1):
        value = (outside,) * option.metadata["length"] if "length" in option.metadata else outside
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            from_values({name: value})


@pytest.mark.parametrize("name", [n for n, o in options() if isinstance(o.default, float)])
def test_a_number_that_is_not_finite_is_refused(name):
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        from_values({name: math.nan})


@pytest.mark.parametrize("name", [n for n, o in options() if "choices" in o.metadata])
def test_a_choice_that_is_none_is_refused_and_the_choices_are_named(name):
    with pytest.raises(ValueError, match=dict(options())[name].metadata["choices"][-1]):
        from_values({name: "unheard-of"})


@pytest.mark.parametrize(
    "values",
    [
        {"depth.min_depth_m": 5.0, "depth.max_depth_m": 2.0},
        {"points.min_depth_m": 5.0, "points.max_depth_m": 5.0},
        {"engine.tiles": (0, 4)},
        {"engine.tiles": (4,)},
    ],
)
def test_values_that_contradict_each_other_are_refused(values):
    with pytest.raises(ValueError, match=r"; give|must be smaller"):
        from_values(values)


def test_a_whole_number_serves_as_a_number():
    settings = parameters.changed(Settings(), [Parameter("depth.max_depth_m", value=20)])
    assert settings.depth.max_depth_m == 20.0 and isinstance(settings.depth.max_depth_m, float)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points.stride", 2.0),
        ("points.stride", True),
        ("points.edge_filter", 1),
        ("engine.model", 3),
        ("engine.tiles", "4x4"),
        ("scale.sensor_pose", 1.0),
        ("depth.max_depth_m", "20"),
        ("depth.max_depth_m", None),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(name, value):
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        parameters.changed(Settings(), [Parameter(name, value=value)])


def test_a_list_of_numbers_is_taken_as_it_is_sent():
    settings = parameters.changed(Settings(), [Parameter("engine.tiles", value=[2, 3])])
    assert settings.engine.tiles == (2, 3)


def test_other_parameters_are_not_looked_at():
    assert parameters.changed(Settings(), [Parameter("use_sim_time", value=True)]) == Settings()


@pytest.mark.parametrize("name", NAMES)
def test_descriptors_carry_help_and_limits(name):
    option = dict(options())[name]
    message = parameters.descriptor(option)
    assert message.description == option.metadata["help"]
    assert message.read_only == option.metadata.get("read_only", False)
    default = option.default
    if "choices" in option.metadata:
        assert all(choice in message.additional_constraints for choice in option.metadata["choices"])
    elif isinstance(default, float):
        assert message.floating_point_range[0].to_value == option.metadata["maximum"]
    elif isinstance(default, int) and not isinstance(default, bool):
        assert message.integer_range[0].from_value == option.metadata["minimum"]
