"""See the package."""

from __future__ import annotations

from typing import Any

import yaml
from launch import LaunchContext, Substitution


class ParameterValue:
    """A text that becomes a value by the rules of YAML, which must have the type that is asked for."""

    def __init__(self, value: Substitution, *, value_type: type) -> None:
        assert isinstance(value, Substitution) and value_type in (str, int, float, bool)
        self._value, self._type = value, value_type

    def evaluate(self, context: LaunchContext) -> Any:
        text = context.text(self._value)
        if self._type is str:
            return text
        value = yaml.safe_load(text)
        if self._type is float and type(value) is int:
            value = float(value)
        if type(value) is not self._type:
            raise ValueError(f"{text!r} cannot be converted to {self._type.__name__}")
        return value
