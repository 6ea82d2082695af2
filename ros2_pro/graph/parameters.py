"""Settings as ROS parameters: descriptors from the fields of `ros2_pro.settings`, and checked values back.

Types are checked by the settings instead of by rclpy, so that `max_depth_m: 20` serves as well as `20.0`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node
from rclpy.parameter import Parameter

from pro_engine.options import choices_of, field_of, limits_in_words
from ros2_pro.settings import Settings, from_values, home_of, options, value_of

_OPTIONS = dict(options())


def declare(node: Node) -> Settings:
    """Declare all parameters on the node, with the values given at start.

    Raises:
        OptionError: a value of a wrong type or outside its limits; it names the parameter.
    """
    return from_values({name: declared(node, name, *home_of(name)) for name in _OPTIONS})


def declared(node: Node, name: str, owner: type, field: str, *, read_only: bool = False) -> Any:
    """The value given at start of a parameter of a node, which is the option `field` of the class `owner`."""
    default, described = field_of(owner, field).default, descriptor(owner, field)
    described.read_only |= read_only
    node.declare_parameter(name, list(default) if isinstance(default, tuple) else default, described)
    return _typed(default, node.get_parameter(name).value)


def undeclared(node: Node) -> list[str]:
    """Names of parameters that were given at start and mean nothing to this node: misspelt ones, mostly."""
    given: Iterable[str] = getattr(node, "_parameter_overrides", {})
    return sorted(name for name in given if not node.has_parameter(name) and not name.startswith("qos_overrides."))


def changed(settings: Settings, parameters: list[Parameter[Any]]) -> Settings:
    """The settings after a set of parameters; those of other names (use_sim_time, ...) are not looked at.

    Raises:
        OptionError: a value of a wrong type or outside its limits; it names the parameter.
    """
    values = {name: value_of(settings, name) for name in _OPTIONS}
    for parameter in parameters:
        if parameter.name in _OPTIONS:
            values[parameter.name] = _typed(_OPTIONS[parameter.name].default, parameter.value)
    return from_values(values)


def descriptor(owner: type, name: str) -> ParameterDescriptor:
    """What `ros2 param describe` shows of the option `name` of the class `owner`."""
    default, limits = field_of(owner, name).default, field_of(owner, name).metadata
    message = ParameterDescriptor(
        description=limits["help"], read_only=bool(limits.get("read_only")), dynamic_typing=True
    )
    words = limits_in_words(owner, name)
    low, high = limits.get("minimum", limits.get("above")), limits.get("maximum", limits.get("below"))
    if choices_of(owner, name):
        message.additional_constraints = f"One of {words}"
    elif isinstance(default, tuple):
        message.additional_constraints = f"({limits['items']})" + (f", each {words}" if words else "")
    elif low is not None and high is not None:
        # A range of ROS includes its ends; where they are not meant, the settings refuse them.
        if isinstance(default, float):
            message.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
        else:
            message.integer_range = [IntegerRange(from_value=low, to_value=high, step=limits.get("step", 1))]
    return message


def _typed(default: Any, value: Any) -> Any:
    """A value of rclpy in the type that the settings have, as its default shows; others are for them to refuse."""
    if isinstance(default, tuple) and not isinstance(value, (str, bytes)) and hasattr(value, "__iter__"):
        return tuple(_typed(default[0], item) for item in value)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    return list(value) if isinstance(value, array) else value
