"""Settings as ROS parameters: descriptors from the fields of `ros2_pro.settings`, and checked values back.

Types are checked here instead of by rclpy, so that `max_depth_m: 20` serves as well as `20.0`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import Field
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from ros2_pro.settings import Settings, from_values, options, value_of

_OPTIONS = dict(options())
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def declare(node: Node) -> Settings:
    """Declare all parameters on the node, with the values given at start.

    Raises:
        ValueError: a value of a wrong type or outside its limits; the sentence names the parameter.
    """
    given = {}
    for name, option in _OPTIONS.items():
        default = list(option.default) if isinstance(option.default, tuple) else option.default
        node.declare_parameter(name, default, descriptor(option))
        given[name] = _typed(name, node.get_parameter(name).value)
    return from_values(given)


def undeclared(node: Node) -> list[str]:
    """Names of parameters that were given at start and mean nothing to this node: misspelt ones, mostly."""
    given: Iterable[str] = getattr(node, "_parameter_overrides", {})
    return sorted(name for name in given if not node.has_parameter(name) and not name.startswith("qos_overrides."))


def changed(settings: Settings, parameters: list[Parameter[Any]]) -> Settings:
    """The settings after a set of parameters; those of other names (use_sim_time, ...) are not looked at.

    Raises:
        ValueError: a value of a wrong type or outside its limits.
    """
    values = {name: value_of(settings, name) for name in _OPTIONS}
    for parameter in parameters:
        if parameter.name in _OPTIONS:
            values[parameter.name] = _typed(parameter.name, parameter.value)
    return from_values(values)


def descriptor(option: Field[Any]) -> ParameterDescriptor:
    """What `ros2 param describe` shows of a setting."""
    limits = option.metadata
    message = ParameterDescriptor(
        description=limits["help"], read_only=bool(limits.get("read_only")), dynamic_typing=True
    )
    if "choices" in limits:
        message.additional_constraints = "One of " + ", ".join(limits["choices"])
    default = option.default
    if isinstance(default, tuple):
        message.additional_constraints = (
            f"{limits['length']} numbers from {limits['minimum']:g} to {limits['maximum']:g}"
        )
    elif isinstance(default, float):
        message.floating_point_range = [FloatingPointRange(from_value=limits["minimum"], to_value=limits["maximum"])]
    elif isinstance(default, int) and not isinstance(default, bool):
        message.integer_range = [IntegerRange(from_value=limits["minimum"], to_value=limits["maximum"], step=1)]
    return message


def _typed(name: str, value: Any) -> Any:
    """The value as the type of its default; a whole number serves where a number is wanted."""
    default = _OPTIONS[name].default
    if isinstance(default, tuple):
        wanted = type(default[0])
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            raise ValueError(f"{name} is {value!r}; give a list of {len(default)} numbers.")
        return tuple(_one(name, item, wanted) for item in value)
    return _one(name, value, type(default))


def _one(name: str, value: Any, wanted: type) -> Any:
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise ValueError(f"{name} is {value!r}; give {_KINDS[wanted]}.")
    return value
