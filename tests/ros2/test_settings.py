"""Settings: limits, descriptors and sets of parameters."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from domain import own_domain
from installed import METRIC_MODELS

from pro_engine.options import InferenceOptions, ModelOptions, OptionError, choices_of, limits_in_words
from ros2_pro.settings import EngineSettings, Settings, from_values, home_of, options, value_of

pytest.importorskip("rclpy")

import rclpy
from rclpy.parameter import Parameter

from ros2_pro.graph import parameters

ROOT = Path(__file__).parents[2]
NAMES = [name for name, _ in options()]


def test_there_are_twenty_settings_or_more_each_with_help_and_limits_or_choices():
    assert len(NAMES) >= 20
    paths = {"engine.weights", "engine.refiner_weights", "snapshot_folder"}
    free_texts = paths | {"engine.model", "engine.device", "engine.fine", "scale.ground_frame", "cameras"}
    for name, option in options():
        assert len(option.metadata["help"]) > 10, name
        assert limits_in_words(*home_of(name)) or isinstance(option.default, bool) or name in free_texts, name


def test_values_go_in_and_come_out_under_the_same_names():
    given = {"points.stride": 4, "engine.tiles": (2, 3), "scale.mode": "fixed", "autostart": False}
    settings = from_values(given)
    assert {name: value_of(settings, name) for name in given} == given
    assert value_of(settings, "points.max_points") == value_of(Settings(), "points.max_points")


@pytest.mark.parametrize("name", [n for n, o in options() if "minimum" in o.metadata])
def test_a_value_outside_its_limits_is_refused_with_its_name(name):
    option = dict(options())[name]
    limits = option.metadata
    for outside in (limits["minimum"] - 1, limits.get("maximum", limits.get("below")) * 2 + 1):
        value = (outside,) * len(option.default) if isinstance(option.default, tuple) else outside
        with pytest.raises(OptionError, match="^" + name.replace(".", r"\.")):
            from_values({name: value})


@pytest.mark.parametrize("name", [n for n, o in options() if isinstance(o.default, float)])
def test_a_number_that_is_not_finite_is_refused(name):
    with pytest.raises(OptionError, match=name.replace(".", r"\.")):
        from_values({name: math.nan})


@pytest.mark.parametrize("name", [n for n, o in options() if "choices" in o.metadata])
def test_a_choice_that_is_none_is_refused_and_the_choices_are_named(name):
    with pytest.raises(OptionError, match=dict(options())[name].metadata["choices"][-1]):
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
    with pytest.raises(OptionError, match=r"^(depth|points|engine)\..*(; give|must be smaller)"):
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
    with pytest.raises(OptionError, match=name.replace(".", r"\.")):
        parameters.changed(Settings(), [Parameter(name, value=value)])


def test_what_the_engine_is_asked_for():
    engine = EngineSettings(weights="~/w", tiles=(2, 3), batch_size=5, refine="blend")
    assert engine.of_model() == ModelOptions("compact", weights=Path.home() / "w")
    assert engine.of_inference() == InferenceOptions(tiles=(2, 3), refine="blend", batch_size=5)
    assert (
        EngineSettings().of_model() == ModelOptions("compact") and EngineSettings().of_inference() == InferenceOptions()
    )


def test_a_list_of_numbers_is_taken_as_it_is_sent():
    settings = parameters.changed(Settings(), [Parameter("engine.tiles", value=[2, 3])])
    assert settings.engine.tiles == (2, 3)


def test_other_parameters_are_not_looked_at():
    assert parameters.changed(Settings(), [Parameter("use_sim_time", value=True)]) == Settings()


def test_every_metric_model_has_a_file_of_parameters():
    presets = pytest.importorskip("pro_engine.models.presets", reason="PyTorch is not here", exc_type=ImportError)
    assert {name for name, preset in presets.PRESETS.items() if preset.spec.metric} == set(METRIC_MODELS)
    files = {path.stem for path in (ROOT / "config").glob("*.yaml")}
    assert files == {"pro", *METRIC_MODELS}
    page = (ROOT / "docs/ros2.md").read_text("utf-8")
    assert all(f"`{name}.yaml`" in page for name in METRIC_MODELS)


@pytest.mark.parametrize("name", METRIC_MODELS)
def test_the_node_reads_the_file_of_a_metric_model(name):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=own_domain())
    arguments = ["--ros-args", "--params-file", str(ROOT / f"config/{name}.yaml")]
    try:
        node = rclpy.create_node("pro", context=context, cli_args=arguments)
        settings, unknown = parameters.declare(node), parameters.undeclared(node)
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    assert (settings.engine.model, settings.scale.mode) == (name, "metric") and unknown == []
    assert settings.engine.of_model() == ModelOptions(name)


@pytest.mark.parametrize("name", NAMES)
def test_descriptors_carry_help_and_limits(name):
    option = dict(options())[name]
    message = parameters.descriptor(*home_of(name))
    assert message.description == option.metadata["help"]
    assert message.read_only == option.metadata.get("read_only", False)
    default, limits = option.default, option.metadata
    if choices_of(*home_of(name)):
        assert all(choice in message.additional_constraints for choice in choices_of(*home_of(name)))
    elif isinstance(default, tuple):
        assert limits["items"] in message.additional_constraints
    elif isinstance(default, float):
        assert message.floating_point_range[0].to_value == limits.get("maximum", limits.get("below"))
    elif isinstance(default, int) and not isinstance(default, bool):
        assert message.integer_range[0].from_value == limits["minimum"]
